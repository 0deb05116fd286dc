//! Tests of `dead-letter` and `explain` against the fake node.

use std::process::ExitCode;

use fe2o3_amqp_types::primitives::{Binary, Value};
use serde_json::{Value as Json, json};

use super::fake::{Reply, no, ok, ok_value, run, run_words};
use crate::cli::json;

fn letter(sequence: u64) -> Json {
    json!({
        "sequence": sequence, "queue": "orders", "message-id": "m-17", "size": 320, "delivery-count": 1,
        "acquired-count": 2, "priority": 4, "status": "ready", "expires": null, "not-before": null, "reason": "rejected",
        "condition": "shop:no-stock", "description": "none left", "time": "2026-11-24T06:10:35.123Z", "attempts": 2,
        "origin": "orders", "address": "orders", "consumer": "shop/worker (ann)", "cause": "3f1c", "replays": 0,
    })
}

#[tokio::test]
async fn ls_is_a_table_and_says_how_to_go_on() {
    let page = json!({ "letters": [letter(17)], "next": 18, "total": 3 });
    let ran = run("verdict dead-letter ls orders --limit 1", [ok(page)]).await.ok();
    let expected = "\
SEQ    AGE  REASON    CONDITION      DESCRIPTION  ATTEMPTS  MESSAGE-ID  CONSUMER
 17  3m12s  rejected  shop:no-stock  none left           2  m-17        shop/worker (ann)
";
    assert_eq!(ran.said.results, expected);
    assert_eq!(ran.said.remarks, "hint: 1 of 3 are shown; --from 18 goes on, --limit N shows more at once\n");
    assert_eq!(ran.asked(), [r#"LIST verdict.dead-letter orders {"count":1,"filter":{}}"#]);
}

#[tokio::test]
async fn ls_pages_until_the_limit() {
    let page = |next: Option<u64>| ok(json!({ "letters": [letter(1)], "next": next, "total": 9 }));
    let ran = run("verdict dead-letter ls orders --limit 1002 --from 5 --json", [page(Some(7)), page(None)])
        .await
        .ok();
    let got: Json = serde_json::from_str(&ran.said.results).unwrap();
    assert_eq!(got["letters"].as_array().map(Vec::len), Some(2));
    assert_eq!((&got["next"], &got["total"]), (&Json::Null, &json!(9)));
    let asked = ran.asked();
    assert_eq!(asked[0], r#"LIST verdict.dead-letter orders {"count":1000,"filter":{},"from":5}"#);
    assert_eq!(asked[1], r#"LIST verdict.dead-letter orders {"count":1000,"filter":{},"from":7}"#);
}

#[tokio::test]
async fn filters_are_the_contract_s() {
    let line = "verdict dead-letter causes orders --reason max-attempts --condition a* --description b --since 2h \
                --until 2026-11-24 --min-attempts 1 --max-attempts 9 --consumer c --text d --cause e --origin f --seq 1 \
                --seq 2";
    let ran = run(line, [ok(json!({ "causes": [] }))]).await.ok();
    let filter = r#"{"cause":"e","condition":"a*","consumer":"c","description":"b","max-attempts":9,"min-attempts":1,"origin":"f","reason":"max-attempts","sequences":[1,2],"since":1795493627123,"text":"d","until":1795478400000}"#;
    assert_eq!(ran.asked(), [format!("CAUSES verdict.dead-letter orders {{\"filter\":{filter}}}")]);
    assert_eq!(ran.said.remarks, "no dead letters in orders that match\n");
}

#[tokio::test]
async fn causes_are_a_table() {
    let cause = json!({
        "id": "3f1c", "reason": "rejected", "condition": "shop:no-stock", "description": "only <n> left", "count": 12,
        "first": "2026-11-24T06:10:35.123Z", "last": "2026-11-24T06:13:35.123Z", "example": 17,
    });
    let ran = run("verdict dead-letter causes orders", [ok(json!({ "causes": [cause] }))]).await.ok();
    let expected = "\
COUNT  REASON    CONDITION      DESCRIPTION        FIRST     LAST  EXAMPLE  CAUSE
   12  rejected  shop:no-stock  only <n> left  3m12s ago  12s ago       17  3f1c
";
    assert_eq!(ran.said.results, expected);
}

fn story() -> Json {
    let mut story = letter(17);
    story["failures"] = json!([
        { "time": "2026-11-24T06:10:30.000Z", "consumer": "shop/worker (ann)", "outcome": "failed",
          "condition": "shop:timeout", "description": "no answer", "info": null, "annotations": { "x": 1 },
          "delay-ms": 100, "rule": "default" },
        { "time": "2026-11-24T06:10:35.123Z", "consumer": "shop/worker (ann)", "outcome": "rejected",
          "condition": "shop:no-stock", "description": "none left", "info": { "sku": "4711" }, "annotations": null,
          "delay-ms": 0, "rule": null },
    ]);
    story["failures-dropped"] = json!(1);
    story["properties"] = json!({ "message-id": "m-17", "subject": null });
    story
}

const STORY: &str = "\
dead letter 17 of orders (m-17)
  status          ready
  dead because    rejected: shop:no-stock: none left
  died            2026-11-24 06:10:35.123Z (3m12s ago)
  published to    orders
  cause           3f1c
  attempts        2
  counts          delivery-count 1, acquired-count 2
  size            320 B
  priority        4
history
  1 earlier attempt not kept
  2026-11-24 06:10:30.000Z  attempt 2: failed by shop/worker (ann)
      shop:timeout: no answer
      annotations: x=1
      tried again after 100ms, rule default
  2026-11-24 06:10:35.123Z  attempt 3: rejected by shop/worker (ann)
      shop:no-stock: none left
      info: sku=4711
properties
  message-id  m-17
";

#[tokio::test]
async fn show_tells_the_whole_story() {
    let mut value = match json::to_amqp(&story()) {
        Value::Map(map) => map,
        other => panic!("{other:?}"),
    };
    let body = Value::Binary(Binary::from(b"\x00\x53\x75\xa0\x08order 17".to_vec()));
    value.insert(Value::String("body".to_owned()), body);
    let ran = run("verdict dead-letter show orders 17", [ok_value(Value::Map(value))]).await.ok();
    assert_eq!(ran.said.results, format!("{STORY}body (data, 8 B)\n  order 17\n"));
    assert_eq!(ran.asked(), [r#"SHOW verdict.dead-letter orders {"sequence":17}"#]);
    assert!(ran.said.remarks.contains("replay orders --seq 17"), "{}", ran.said.remarks);
    let ran = run("verdict dead-letter show orders --message-id m --json", [ok(story())]).await.ok();
    assert_eq!(ran.asked(), [r#"SHOW verdict.dead-letter orders {"message-id":"m"}"#]);
    assert_eq!(serde_json::from_str::<Json>(&ran.said.results).unwrap(), story());
}

#[tokio::test]
async fn message_that_was_replayed_is_no_dead_letter_any_more() {
    let mut message = story();
    message["dead-letter"] = json!(false);
    message["replays"] = json!([{ "id": "fix", "time": "2026-11-24T06:13:00.000Z" }]);
    message["deaths"] =
        json!([{ "queue": "orders", "reason": "rejected", "first-queue": "web", "first-reason": "expired" }]);
    message["why"] = json!([{ "reason": "no-consumer", "text": "no consumer is attached" }]);
    let ran = run("verdict explain m-17", [ok(json!({ "found": [message] }))]).await.ok();
    assert!(ran.said.results.starts_with("message 17 of orders (m-17)\n"), "{}", ran.said.results);
    for line in [
        "  died because    rejected: shop:no-stock: none left",
        "  first death     expired in web",
        "  replays         id=fix, time=2026-11-24T06:13:00.000Z",
    ] {
        assert!(ran.said.results.lines().any(|had| had == line), "{line}: {}", ran.said.results);
    }
}

#[tokio::test]
async fn purge_wants_a_filter_or_all_and_a_yes() {
    for line in
        ["verdict dead-letter purge orders --yes", "verdict dead-letter purge orders --yes --all --seq 1"]
    {
        let ran = run(line, []).await;
        assert_eq!(ran.result.unwrap_err().exit_code(), ExitCode::from(2), "{line}");
        assert!(ran.asked.is_empty());
    }
    let removed = || ok(json!({ "removed": 3 }));
    let ran = run("verdict dead-letter purge orders --all --yes", [removed()]).await.ok();
    assert_eq!(ran.asked(), [r#"PURGE verdict.dead-letter orders {"all":true}"#]);
    assert_eq!(ran.said.results, "3 dead letters of orders removed\n");
    let ran = run("verdict dead-letter purge orders --cause 3f1c --yes", [removed()]).await.ok();
    assert_eq!(ran.asked(), [r#"PURGE verdict.dead-letter orders {"filter":{"cause":"3f1c"}}"#]);
}

fn replay(state: &str, replayed: u64) -> Reply {
    ok(json!({
        "id": "fix", "queue": "orders", "state": state, "matching": 100, "replayed": replayed, "skipped": 0,
        "failed-again": 0, "error": null,
    }))
}

#[tokio::test]
async fn replay_is_watched_until_it_is_done() {
    let replies =
        [replay("running", 0), replay("waiting-for-canary", 1), replay("running", 60), replay("done", 100)];
    let line =
        "verdict dead-letter replay orders --cause 3f1c --id fix --rate 50 --canary --limit 100 --poll 1ms";
    let ran = run(line, replies).await.ok();
    let asked = ran.asked();
    let body =
        r#"{"canary":true,"dry-run":false,"filter":{"cause":"3f1c"},"id":"fix","limit":100,"rate":50}"#;
    assert_eq!(asked[0], format!("REPLAY verdict.dead-letter orders {body}"));
    assert_eq!(asked[1..], ["READ verdict.replay fix {}"; 3]);
    assert_eq!(ran.said.results, "100 of 100 put back into orders (replay fix)\n");
    let shown: Vec<&str> = ran.said.remarks.split('\r').collect();
    assert!(shown[1].starts_with("1 of 100 put back; waiting for what becomes of the canary"), "{shown:?}");
    assert!(shown[2].starts_with("60 of 100 put back"), "{shown:?}");
}

#[tokio::test]
async fn replay_that_did_not_put_all_back_has_failed() {
    for (state, hint) in [("canary-failed", "--since 5m"), ("stopped", "--id fix"), ("failed", "--id fix")] {
        let ran =
            run("verdict dead-letter replay orders --all --id fix --poll 1ms", [replay(state, 1)]).await;
        let failure = ran.result.unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::from(1));
        assert!(failure.text().contains(hint), "{}", failure.text());
    }
}

#[tokio::test]
async fn replay_without_an_id_makes_one_before_it_begins() {
    let ran = run("verdict dead-letter replay orders --all --detach", [replay("running", 0)]).await.ok();
    let id = json::from_amqp(&ran.asked[0].body)["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("r20261124061347123-"), "{id}");
    assert_eq!(
        ran.said.results,
        format!("replay {id} runs; `verdict replay show {id}` tells how far it is\n")
    );
}

#[tokio::test]
async fn replay_that_runs_dry_does_nothing() {
    let ran =
        run("verdict dead-letter replay orders --all --dry-run", [ok(json!({ "matching": 1 }))]).await.ok();
    assert_eq!(ran.said.results, "1 dead letter of orders would be put back; nothing was done\n");
    assert_eq!(ran.asked.len(), 1);
}

fn exported(id: &str) -> Value {
    let fields = [
        ("format", Value::Ulong(0)),
        ("id", Value::String(id.to_owned())),
        ("message", Value::Binary(Binary::from(vec![0xff, 0]))),
        ("state", Value::Binary(Binary::from(vec![1]))),
    ];
    Value::Map(json::map(fields.into_iter()))
}

fn export_page(letters: Vec<Value>, next: Option<u64>) -> Reply {
    let next = next.map_or(Value::Null, Value::Ulong);
    ok_value(Value::Map(json::map([("letters", Value::List(letters)), ("next", next)].into_iter())))
}

#[tokio::test]
async fn what_is_exported_is_imported_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dead.jsonl");
    let name = file.to_str().unwrap();
    let pages = || [export_page(vec![exported("a")], Some(2)), export_page(vec![exported("b")], None)];
    let ran = run(&format!("verdict dead-letter export orders {name}"), pages()).await.ok();
    assert_eq!(ran.said.results, format!("2 dead letters of orders exported to {name}\n"));
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().next(), Some(r#"{"format":0,"id":"a","message":"/wA=","state":"AQ=="}"#));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    let ran = run(&format!("verdict dead-letter export orders {name}"), pages()).await;
    assert_eq!(ran.result.unwrap_err().exit_code(), ExitCode::from(2), "it is not replaced");
    let answer = ok(json!({ "imported": 1, "skipped": 1 }));
    let ran = run(&format!("verdict dead-letter import orders {name}"), [answer]).await.ok();
    let sent = Value::List(vec![exported("a"), exported("b")]);
    assert_eq!(json::field(&ran.asked[0].body, "letters"), Some(&sent));
    let words = "1 dead letter imported into orders, 1 skipped that were there already\n";
    assert_eq!(ran.said.results, words);
}

#[tokio::test]
async fn export_that_fails_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("verdict dead-letter export orders {}", dir.path().join("dead.jsonl").display());
    let broken = [export_page(vec![exported("a")], Some(2)), no(503, "not now", "amqp:internal-error")];
    assert!(run(&line, broken).await.result.is_err());
    let new = Value::Map(json::map([("seal", Value::Binary(Binary::from(vec![1])))].into_iter()));
    let failure = run(&line, [export_page(vec![new], None)]).await.result.unwrap_err();
    assert!(failure.message().contains("binary field seal"), "{}", failure.message());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn export_to_standard_output_holds_letters_only() {
    let page = export_page(vec![exported("a")], None);
    let ran = run("verdict dead-letter export orders - --since 1d", [page]).await.ok();
    assert_eq!(ran.said.results.lines().count(), 1);
    assert_eq!(ran.said.remarks, "1 dead letter of orders exported\n");
}

#[tokio::test]
async fn import_names_the_bad_line_and_tells_what_is_in() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dead.jsonl");
    let good = r#"{"id":"a","message":"/wA="}"#;
    let mut lines = vec![good; 501];
    for (bad, why) in [
        ("{\"id\":", "got no JSON"),
        ("[]", "got other JSON"),
        (r#"{"id":"a"}"#, "got none with the field message"),
        (r#"{"id":"a","message":"!"}"#, "expected base64 as message"),
    ] {
        lines.truncate(501);
        lines.push(bad);
        std::fs::write(&file, lines.join("\n")).unwrap();
        let answer = ok(json!({ "imported": 499, "skipped": 1 }));
        let ran = run(&format!("verdict dead-letter import orders {}", file.display()), [answer]).await;
        let text = ran.result.unwrap_err().text();
        assert!(text.contains("dead.jsonl line 502: ") && text.contains(why), "{text}");
        assert!(text.contains("of lines 1 to 500, 499 were imported and 1 skipped"), "{text}");
        assert_eq!(ran.asked.len(), 1);
    }
}

#[tokio::test]
async fn import_that_is_refused_names_the_lines() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dead.jsonl");
    std::fs::write(&file, "{\"id\":\"a\",\"message\":\"/wA=\"}\n\n").unwrap();
    let refusal = no(400, "letter a: unknown field", "amqp:invalid-field");
    let ran = run(&format!("verdict dead-letter import orders {}", file.display()), [refusal]).await;
    let text = ran.result.unwrap_err().text();
    assert!(text.contains("lines 1 to 2: letter a: unknown field"), "{text}");
    assert!(text.contains("no line before it was imported"), "{text}");
}

#[tokio::test]
async fn explain_says_why_and_what_to_do() {
    let message = json!({
        "sequence": 7, "queue": "orders", "message-id": "m-7", "size": 8, "failures": [], "failures-dropped": 0,
        "status": "delayed", "why": [
            { "reason": "breaker-open", "text": "the queue's breaker is open", "until": "2026-11-24T06:13:59.123Z" },
            { "reason": "behind", "text": "3 messages are before it", "count": 3 },
        ],
    });
    let ran = run("verdict explain m-7", [ok(json!({ "found": [message] }))]).await.ok();
    let expected = "\
message 7 of orders (m-7)
  status          delayed
  size            8 B
why it is not delivered now
  - the queue's breaker is open (2026-11-24 06:13:59.123Z, in 12s)
  - 3 messages are before it
";
    assert_eq!(ran.said.results, expected);
    assert!(ran.said.remarks.starts_with("hint: ") && ran.said.remarks.contains("breaker orders close"));
    assert_eq!(ran.asked(), [r#"EXPLAIN verdict.queue  {"message-id":"m-7"}"#]);
    assert!(ran.asked[0].properties.get("name").is_none(), "all queues are searched");
}

#[tokio::test]
async fn explain_names_a_message_by_id_or_by_queue_and_sequence() {
    let none = || ok(json!({ "found": [] }));
    for (line, body) in [
        ("verdict explain 4711", r#"{"message-id":"4711"}"#),
        ("verdict explain --queue orders 4711", r#"{"sequence":4711}"#),
        ("verdict explain --queue orders m-7", r#"{"message-id":"m-7"}"#),
        ("verdict explain --queue orders --message-id 4711", r#"{"message-id":"4711"}"#),
    ] {
        let ran = run_words(&line.split(' ').collect::<Vec<_>>(), None, [none()]).await;
        assert!(ran.asked()[0].ends_with(&format!(" {body}")), "{:?}", ran.asked());
        let failure = ran.result.unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::from(1));
        assert!(failure.text().contains("no message "), "{}", failure.text());
    }
}
