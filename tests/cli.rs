//! The built binary's management commands, against the built binary's broker.
//!
//! Invariant: no process outlives its test; every wait ends at what it waits for, or fails. What is asked of the node and
//! how answers are shown has tests of its own, in `cli`; here is whether both ends mean the same.
#![cfg(feature = "server")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

const LIMIT: Duration = Duration::from_secs(30);
const PROGRAM: &str = env!("CARGO_BIN_EXE_verdict");

/// A running broker.
struct Broker {
    child: Child,
    url: String,
    _directory: tempfile::TempDir,
}

impl Broker {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(directory.path())
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("listening on ")).expect("a broker that listens");
        std::thread::spawn(move || log.for_each(drop));
        let address = line.split_once("listening on ").unwrap().1.split([' ', ',']).next().unwrap();
        Self { child, url: format!("amqp://{address}"), _directory: directory }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(line.split(' ')).args(["--url", &self.url]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, line: &str) -> Ran {
        Ran::of(self.command(line).output().unwrap())
    }

    /// What a command that must go well prints.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        ran.out
    }

    #[track_caller]
    fn json(&self, line: &str) -> Json {
        let out = self.ok(&format!("{line} --json"));
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line}: {error}: {out}"))
    }

    /// Asks until the answer is so: what clients do is seen some moments later.
    #[track_caller]
    fn until(&self, line: &str, good: impl Fn(&Json) -> bool) -> Json {
        let deadline = Instant::now() + LIMIT;
        loop {
            let got = self.json(line);
            if good(&got) {
                return got;
            }
            assert!(Instant::now() < deadline, "{line}: {got}");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

#[test]
fn queues_are_made_seen_changed_and_removed() {
    let broker = Broker::start();
    broker.ok("queue create jobs --set max-attempts=3 --set retry-delay.initial=1s");
    let queue = broker.json("queue show jobs");
    assert_eq!(queue["settings"]["max-attempts"], json!(3));
    assert_eq!(queue["settings"]["retry-delay"]["initial"], json!("1s"));
    assert_eq!(queue["settings"]["retry-delay"]["max"], json!("30s"));
    broker.ok("queue update jobs --set max-bytes=1GiB --unset max-attempts");
    let shown = broker.ok("queue show jobs");
    let line = |key: &str, value: &str| shown.lines().any(|line| line.split_whitespace().eq([key, value]));
    assert!(line("max-bytes", "1GiB") && line("max-attempts", "10"), "{shown}");
    broker.ok("send jobs --body one");
    let listed = broker.until("queue ls jo*", |got| got["queues"][0]["ready"] == json!(1));
    assert_eq!(listed["queues"].as_array().map(Vec::len), Some(1));
    let refused = broker.run("queue delete jobs");
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    assert!(refused.err.contains("hint: --force"), "{}", refused.err);
    assert_eq!(broker.ok("queue purge jobs --yes"), "1 message removed from jobs\n");
    assert_eq!(broker.ok("queue delete jobs"), "queue jobs is removed\n");
    let none = broker.run("queue ls");
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (Some(0), "", "no queues\n"));
}

#[test]
fn exit_codes_and_hints() {
    let broker = Broker::start();
    broker.ok("queue create q");
    let table = [
        ("queue show nope", 1, "hint: `verdict queue ls`"),
        ("queue create q", 1, "hint: `verdict queue show"),
        ("queue create r --set max-attempts=0", 2, "max-attempts"),
        ("queue create r --set nosuch=1", 2, "nosuch"),
        ("queue delete q --force", 2, "hint: --yes"),
        ("queue purge q", 2, "hint: --yes"),
        ("connection close 4000000000", 1, "hint: `verdict connection ls`"),
        ("dead-letter purge q", 2, "hint: say --all"),
        ("dead-letter import q no/such/file", 1, "cannot read no/such/file"),
    ];
    for (line, code, words) in table {
        let ran = broker.run(line);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{line}: {ran:?}");
        assert!(ran.err.contains("error: ") && ran.err.contains(words), "{line}: {}", ran.err);
    }
}

#[test]
fn broker_that_is_not_there_is_told_as_such() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("amqp://{free}");
    let ran = Command::new(PROGRAM).args(["queue", "ls", "--url", &url]).output().unwrap();
    let ran = Ran::of(ran);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with(&format!("error: cannot connect to {url}: ")), "{}", ran.err);
    assert!(ran.err.contains("hint: is the broker running?"), "{}", ran.err);
}

#[test]
fn breaker_is_opened_and_closed_by_hand() {
    let broker = Broker::start();
    broker.ok("queue create q");
    broker.ok("queue breaker q open --for 10m");
    let queue = broker.json("queue show q");
    assert_eq!(queue["breaker"], json!("open"));
    assert!(broker.ok("queue ls").contains("open for 9m"), "{queue}");
    broker.ok("queue breaker q close");
    assert_eq!(broker.json("queue show q")["breaker"], json!("closed"));
}

#[test]
fn consumers_are_seen_and_their_connection_is_closed() {
    let broker = Broker::start();
    let mut receiver = broker.command("receive q").spawn().unwrap();
    let seen = broker.until("consumer ls q", |got| !got["consumers"].as_array().unwrap().is_empty());
    let consumer = &seen["consumers"][0];
    assert_eq!((&consumer["queue"], &consumer["credit"]), (&json!("q"), &json!(10)));
    let id = &consumer["connection"];
    let connections = broker.json("connection ls");
    let all = connections["connections"].as_array().unwrap();
    assert!(all.iter().any(|one| one["id"] == *id && one["consumers"] == json!(1)), "{connections}");
    broker.ok(&format!("connection close {id} --description enough"));
    let status = receiver.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut why = String::new();
    std::io::Read::read_to_string(&mut receiver.stderr.take().unwrap(), &mut why).unwrap();
    assert!(why.contains("amqp:connection:forced"), "{why}");
    broker.until("consumer ls q", |got| got["consumers"] == json!([]));
}

/// A queue with dead letters: messages that a consumer rejected.
fn with_dead_letters(count: u64) -> Broker {
    let broker = Broker::start();
    broker.ok(&format!("send orders --body hello --count {count} --message-id m-%d --quiet"));
    let reject = "receive orders --outcome rejected --condition shop:no-stock --description none-left";
    broker.ok(&format!("{reject} --count {count}"));
    broker.until("queue show orders", |queue| queue["dead"] == json!(count));
    broker
}

#[test]
fn dead_letters_are_found_counted_and_shown() {
    let broker = with_dead_letters(3);
    let page = broker.json("dead-letter ls orders --condition shop:* --limit 2");
    assert_eq!(page["letters"].as_array().map(Vec::len), Some(2));
    assert_eq!((&page["total"], page["next"].is_u64()), (&json!(3), true));
    let letter = &page["letters"][0];
    assert_eq!((&letter["reason"], &letter["message-id"]), (&json!("rejected"), &json!("m-1")));
    let none = broker.run("dead-letter ls orders --reason expired");
    assert_eq!((none.code, none.err.as_str()), (Some(0), "no dead letters in orders that match\n"));
    let causes = broker.json("dead-letter causes orders");
    assert_eq!(causes["causes"][0]["count"], json!(3));
    let cause = causes["causes"][0]["id"].as_str().unwrap();
    assert_eq!(broker.json(&format!("dead-letter ls orders --cause {cause}"))["total"], json!(3));
    let shown = broker.ok("dead-letter show orders --message-id m-2");
    for part in ["dead letter ", "(m-2)", "rejected by verdict-cli-", "shop:no-stock: none-left", "  hello"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let told = broker.run("explain m-2");
    assert!(told.out.contains("why it is not delivered now"), "{told:?}");
    assert!(told.err.contains("dead-letter replay orders"), "{told:?}");
}

#[test]
fn dead_letters_are_put_back_once() {
    let broker = with_dead_letters(3);
    let dry = broker.ok("dead-letter replay orders --all --dry-run");
    assert_eq!(dry, "3 dead letters of orders would be put back; nothing was done\n");
    let done = broker.json("dead-letter replay orders --all --id fix");
    assert_eq!((&done["state"], &done["replayed"]), (&json!("done"), &json!(3)));
    let again = broker.json("dead-letter replay orders --all --id fix");
    assert_eq!(again["replayed"].as_u64().unwrap_or(0) % 3, 0, "{again}");
    broker.until("queue show orders", |queue| queue["ready"] == json!(3) && queue["dead"] == json!(0));
    assert!(broker.ok("replay ls").contains("fix"));
    assert_eq!(broker.json("replay show fix")["queue"], json!("orders"));
}

#[test]
fn replay_goes_on_without_its_watcher_and_is_stopped() {
    let broker = with_dead_letters(50);
    let watcher = broker.command("dead-letter replay orders --all --id slow --rate 1").spawn().unwrap();
    let running = |got: &Json| got["replays"].as_array().is_some_and(|all| !all.is_empty());
    broker.until("replay ls", running);
    let pid = rustix::process::Pid::from_child(&watcher);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::of(watcher.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("verdict replay stop slow"), "{ran:?}");
    assert_eq!(broker.json("replay show slow")["state"], json!("running"));
    broker.ok("replay stop slow");
    broker.until("replay show slow", |got| got["state"] == json!("stopped"));
    let done = broker.json("dead-letter replay orders --all --id slow");
    assert_eq!(done["state"], json!("done"));
    broker.until("queue show orders", |queue| queue["ready"] == json!(50) && queue["dead"] == json!(0));
}

#[test]
fn dead_letters_are_exported_purged_and_imported() {
    let broker = with_dead_letters(3);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dead.jsonl");
    let name = file.to_str().unwrap();
    broker.ok(&format!("dead-letter export orders {name}"));
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 3);
    let told = broker.json(&format!("dead-letter import orders {name}"));
    assert_eq!(told, json!({ "imported": 0, "skipped": 3 }));
    let before = broker.json("dead-letter show orders --message-id m-2");
    assert_eq!(broker.ok("dead-letter purge orders --all --yes"), "3 dead letters of orders removed\n");
    let told = broker.json(&format!("dead-letter import orders {name}"));
    assert_eq!(told, json!({ "imported": 3, "skipped": 0 }));
    let after = broker.json("dead-letter show orders --message-id m-2");
    for field in ["body", "failures", "reason", "condition", "description", "time", "attempts", "properties"]
    {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[test]
fn top_tells_rates_in_batches() {
    let broker = Broker::start();
    broker.ok("send q --body x --count 3 --quiet");
    let out = broker.ok("top --batch -n 2 --interval 100ms --json");
    let snapshots: Vec<Json> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(snapshots[1]["queues"][0]["published"], json!(3));
    assert_eq!(snapshots[1]["queues"][0]["per-second"]["in"], json!(0.0));
    assert_eq!(snapshots[0]["broker"]["ready"], json!(true));
    let table = broker.ok("top -n 1 --interval 100ms");
    assert!(table.contains("3 ready, 0 acquired"), "{table}");
}

#[test]
fn completions_are_good_bash() {
    let script = Command::new(PROGRAM).args(["completions", "bash"]).output().unwrap();
    assert!(script.status.success());
    let Ok(mut bash) = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn() else { return };
    bash.stdin.take().unwrap().write_all(&script.stdout).unwrap();
    assert!(bash.wait().unwrap().success());
}
