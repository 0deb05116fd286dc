//! Tests of the commands on queues, connections, consumers, replays, and of what every management command does: what is
//! asked, what is shown, what a refusal looks like.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::fake::{Ran, found, no, ok, page, run, run_words};

fn orders() -> Json {
    json!({
        "name": "orders", "dynamic": false, "ready": 12, "acquired": 3, "delayed": 1, "moving": 0, "bytes": 1_288_490_189,
        "dead": 4, "dead-bytes": 2048, "consumers": 1, "publishers": 2, "oldest-age-ms": 192_000, "published": 100,
        "refused": 0, "accepted": 80, "breaker": "open", "breaker-until": "2026-11-24T06:13:59.123Z", "configured": true,
        "settings": { "max-attempts": 3, "retry-delay": { "first": "0ms", "initial": "1s" } },
    })
}

fn jobs() -> Json {
    json!({
        "name": "jobs", "dynamic": false, "ready": 0, "acquired": 0, "delayed": 0, "moving": 0, "bytes": 0, "dead": 0,
        "dead-bytes": 0, "consumers": 0, "publishers": 0, "oldest-age-ms": 0, "published": 0, "refused": 0, "accepted": 0,
        "breaker": "closed", "breaker-until": null, "configured": false, "settings": {},
    })
}

#[tokio::test]
async fn queue_ls_is_a_table() {
    let ran = run("verdict queue ls", [found(json!([orders(), jobs()]))]).await.ok();
    let expected = "\
QUEUE   READY  ACQUIRED  DELAYED     SIZE  DEAD  PUB  CONS  OLDEST  BREAKER
jobs        0         0        0      0 B     0    0     0       -  closed
orders     12         3        1  1.2 GiB     4    2     1   3m12s  open for 12s
";
    assert_eq!(ran.said.results, expected);
    assert_eq!(ran.asked(), [r#"QUERY org.amqp.management self {"attributeNames":[]}"#]);
    assert_eq!(ran.asked[0].properties["entityType"], json!("verdict.queue"));
}

#[tokio::test]
async fn queue_ls_asks_for_every_page_and_for_the_glob() {
    let page = |name: &str| page(&["name".to_owned()], &[json!([name])], 2);
    let ran = run("verdict queue ls o* --json", [page("o1"), page("o2")]).await.ok();
    let got: Json = serde_json::from_str(&ran.said.results).unwrap();
    assert_eq!(got, json!({ "queues": [{ "name": "o1" }, { "name": "o2" }] }));
    assert_eq!(ran.asked()[1], r#"QUERY org.amqp.management self {"attributeNames":[],"queue":"o*"}"#);
    assert_eq!(ran.asked[1].properties["offset"], json!(1));
}

#[tokio::test]
async fn empty_tables_say_so_and_leave_standard_output_empty() {
    let none = || page(&[], &[], 0);
    for (line, words) in [
        ("verdict queue ls x*", "no queue matches x*\n"),
        ("verdict connection ls", "no connections\n"),
        ("verdict consumer ls x", "no consumers of x\n"),
        ("verdict replay ls", "no replays since the broker started\n"),
    ] {
        let ran = run(line, [none()]).await.ok();
        assert_eq!((ran.said.results.as_str(), ran.said.remarks.as_str()), ("", words), "{line}");
    }
}

#[tokio::test]
async fn queue_show_has_settings_as_set_takes_them() {
    let ran = run("verdict queue show orders", [ok(orders())]).await.ok();
    let expected = "\
orders (named in the configuration)
  messages      12 ready, 3 acquired, 1 delayed, 0 moving; 1.2 GiB; oldest 3m12s
  dead letters  4; 2.0 KiB
  links         2 publishers, 1 consumer
  breaker       open for 12s
  since start   100 published, 80 accepted
settings
  max-attempts         3
  retry-delay.first    0ms
  retry-delay.initial  1s
";
    assert_eq!(ran.said.results, expected);
    assert_eq!(ran.asked(), ["READ verdict.queue orders {}"]);
}

#[tokio::test]
async fn json_is_the_broker_s_own_answer() {
    let ran = run("verdict queue show orders --json", [ok(orders())]).await.ok();
    assert_eq!(serde_json::from_str::<Json>(&ran.said.results).unwrap(), orders());
}

#[tokio::test]
async fn queues_are_made_and_changed_by_key_and_value() {
    let line =
        "verdict queue create jobs --set max-attempts=3 --set retry-delay.initial=1s --set max-bytes=1GiB";
    let ran = run(line, [ok(jobs())]).await.ok();
    let settings = r#"{"max-attempts":3,"max-bytes":"1GiB","retry-delay":{"initial":"1s"}}"#;
    assert_eq!(ran.asked(), [format!("CREATE verdict.queue jobs {{\"settings\":{settings}}}")]);
    let ran = run("verdict queue update jobs --unset max-bytes", [ok(jobs())]).await.ok();
    assert_eq!(ran.asked(), [r#"UPDATE verdict.queue jobs {"settings":{"max-bytes":null}}"#]);
    for line in ["verdict queue update jobs", "verdict queue update jobs --unset retry-delay.max"] {
        let ran = run(line, []).await;
        assert_eq!(ran.result.unwrap_err().exit_code(), ExitCode::from(2), "{line}");
    }
}

#[tokio::test]
async fn queue_delete_spares_what_is_used_unless_forced() {
    let ran = run("verdict queue delete jobs", [ok(json!({}))]).await.ok();
    assert_eq!(ran.asked(), ["DELETE verdict.queue jobs {}"]);
    let ran = run("verdict queue delete jobs --force --yes", [ok(json!({}))]).await.ok();
    assert_eq!(ran.asked(), [r#"DELETE verdict.queue jobs {"if-empty":false,"if-unused":false}"#]);
    assert_eq!(ran.said.results, "queue jobs is removed\n");
}

#[tokio::test]
async fn queue_purge_tells_how_many() {
    let ran = run("verdict queue purge jobs --yes", [ok(json!({ "removed": 1 }))]).await.ok();
    assert_eq!(ran.said.results, "1 message removed from jobs\n");
}

#[tokio::test]
async fn breakers_are_opened_for_a_while_and_closed() {
    let open = json!({ "breaker": "open", "breaker-until": "2026-11-24T06:23:47.123Z" });
    let ran = run("verdict queue breaker jobs open --for 10m", [ok(open)]).await.ok();
    assert_eq!(ran.asked(), [r#"BREAKER verdict.queue jobs {"for-ms":600000,"state":"open"}"#]);
    assert_eq!(ran.said.results, "the breaker of jobs is open, until 2026-11-24 06:23:47.123Z\n");
    let closed = json!({ "breaker": "closed", "breaker-until": null });
    let ran = run("verdict queue breaker jobs close", [ok(closed)]).await.ok();
    assert_eq!(ran.asked(), [r#"BREAKER verdict.queue jobs {"state":"closed"}"#]);
    let ran = run("verdict queue breaker jobs close --for 1s", []).await;
    assert_eq!(ran.result.unwrap_err().exit_code(), ExitCode::from(2));
}

#[tokio::test]
async fn connections_are_listed_and_closed() {
    let one = json!({
        "id": 17, "address": "127.0.0.1:40000", "container-id": "shop", "user": null, "product": "qpid-proton",
        "opened": "2026-11-24T06:10:35.123Z", "publishers": 1, "consumers": 2,
    });
    let ran = run("verdict connection ls", [found(json!([one]))]).await.ok();
    let expected = "\
ID  ADDRESS          CONTAINER  USER  PRODUCT      OPEN FOR  PUB  CONS
17  127.0.0.1:40000  shop             qpid-proton     3m12s    1     2
";
    assert_eq!(ran.said.results, expected);
    let words = ["verdict", "connection", "close", "17", "--description", "bye for now"];
    let ran = run_words(&words, None, [ok(Json::Null)]).await.ok();
    assert_eq!(ran.asked(), [r#"DELETE verdict.connection 17 {"description":"bye for now"}"#]);
    assert_eq!(ran.said.results, "connection 17 is closed\n");
}

#[tokio::test]
async fn consumers_are_listed_with_what_is_particular() {
    let one = json!({
        "connection": 17, "link": "l", "queue": "orders", "dead-letter": true, "container-id": "shop", "user": "ann",
        "credit": 10, "unsettled": 3, "browse": true, "filter": "x = 1", "delivered": 99, "suspect-alone": true,
    });
    let ran = run_words(&["verdict", "consumer", "ls"], None, [found(json!([one]))]).await.ok();
    let expected = "\
QUEUE               CONTAINER  LINK  USER  CONN  CREDIT  UNSETTLED  DELIVERED  REMARKS
orders/$deadletter  shop       l     ann     17      10          3         99  browses, has a crash suspect alone, filter x = 1
";
    assert_eq!(ran.said.results, expected);
}

#[tokio::test]
async fn replays_are_listed_shown_and_stopped() {
    let one = json!({
        "id": "fix", "queue": "orders", "state": "running", "matching": 100, "replayed": 40, "skipped": 2,
        "started": "2026-11-24T06:10:35.123Z", "finished": null, "canary": false, "failed-again": 0, "error": null,
    });
    let ran = run("verdict replay ls", [found(json!([one.clone()]))]).await.ok();
    let expected = "\
ID   QUEUE   STATE    REPLAYED   OF  SKIPPED  FAILED AGAIN    STARTED  ERROR
fix  orders  running        40  100        2             0  3m12s ago
";
    assert_eq!(ran.said.results, expected);
    let ran = run("verdict replay show fix", [ok(one)]).await.ok();
    assert!(ran.said.results.contains("started       2026-11-24 06:10:35.123Z\n"), "{}", ran.said.results);
    assert!(!ran.said.results.contains("finished"), "{}", ran.said.results);
    let ran = run("verdict replay stop fix", [ok(Json::Null)]).await.ok();
    assert_eq!(ran.asked(), ["DELETE verdict.replay fix {}"]);
}

fn why(ran: Ran) -> (String, ExitCode) {
    let failure = ran.result.unwrap_err();
    (failure.text(), failure.exit_code())
}

#[tokio::test]
async fn refusals_are_the_broker_s_words_with_a_hint() {
    let failed = ExitCode::from(1);
    let reply = no(404, "no queue named nope", "amqp:not-found");
    let ran = run("verdict queue show nope", [reply]).await;
    let text = "no queue named nope\nhint: `verdict queue ls` shows the queues there are";
    assert_eq!(why(ran), (text.to_owned(), failed));
    let reply = no(403, "ann may not manage", "amqp:unauthorized-access");
    let (text, _) = why(run("verdict queue show nope", [reply]).await);
    assert!(text.contains("auth.managers"), "{text}");
    let (text, _) = why(run("verdict replay ls", [no(501, "no such type", "amqp:not-implemented")]).await);
    assert!(text.contains("older than this command"), "{text}");
    let (text, _) = why(run("verdict queue delete q", [no(409, "not empty", "amqp:illegal-state")]).await);
    assert!(text.contains("--force"), "{text}");
    let (text, _) = why(run("verdict queue show q", [no(500, "", "amqp:internal-error")]).await);
    assert_eq!(text, "the broker refused READ verdict.queue: amqp:internal-error");
}

#[tokio::test]
async fn arguments_the_broker_calls_wrong_are_usage_errors() {
    let words = "setting max-attempts = 0: expected a whole number from 1";
    let ran =
        run("verdict queue create q --set max-attempts=0", [no(400, words, "amqp:invalid-field")]).await;
    let text = format!("{words}\nhint: config.example.toml explains every setting of a queue");
    assert_eq!(why(ran), (text, ExitCode::from(2)));
}

#[tokio::test]
async fn top_in_batches_tells_rates() {
    let broker = json!({ "version": "0.1.0", "uptime-ms": 5000, "connections": 1 });
    let later = json!({ "version": "0.1.0", "uptime-ms": 6000, "connections": 1 });
    let mut busy = orders();
    busy["published"] = json!(1_000_100);
    let replies = [found(json!([orders()])), ok(broker), found(json!([busy])), ok(later)];
    let ran = run("verdict top --batch -n 1 --interval 100ms --json", replies).await.ok();
    let got: Json = serde_json::from_str(&ran.said.results).unwrap();
    assert_eq!(got["queues"][0]["per-second"]["out"], json!(0.0));
    assert!(got["queues"][0]["per-second"]["in"].as_f64().unwrap() > 1000.0, "{got}");
    assert_eq!(got["queues"][0]["name"], json!("orders"));
    assert!(ran.said.results.trim_end().lines().count() == 1);
}
