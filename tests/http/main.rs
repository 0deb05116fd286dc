//! The built binary, watched over HTTP and told by SIGHUP to read its configuration again.
//!
//! Invariant: no process outlives its `Broker`; every wait ends at what it waits for, or fails.
#![cfg(feature = "server")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver as Lines, channel},
    time::{Duration, Instant},
};

use fe2o3_amqp::{
    Connection, Receiver, Sender, Session,
    connection::ConnectionHandle,
    link::receiver::CreditMode,
    session::SessionHandle,
    types::messaging::{Header, Message, Modified, Outcome},
};
use rustix::process::{Pid, Signal, kill_process};

#[path = "../../src/server/http/metrics/lint.rs"]
mod lint;
mod telemetry;

const LIMIT: Duration = Duration::from_secs(20);
const PROGRAM: &str = env!("CARGO_BIN_EXE_verdict");

/// A running broker and its log.
struct Broker {
    directory: tempfile::TempDir,
    child: Child,
    lines: Lines<String>,
    seen: Vec<String>,
    http: Option<SocketAddr>,
    amqp: SocketAddr,
}

impl Broker {
    fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("verdict.toml"), config).unwrap();
        let mut child = serve(directory.path()).spawn().unwrap();
        let (sender, lines) = channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut broker = Self { directory, child, lines, seen: Vec::new(), http: None, amqp: nowhere };
        let after = |line: &str, word: &str| {
            let rest = line.split_once(word).unwrap_or_else(|| panic!("{line}")).1;
            rest.split([' ', ':']).take(2).collect::<Vec<_>>().join(":").parse::<SocketAddr>().unwrap()
        };
        broker.amqp = after(&broker.logged("listening on "), "listening on ");
        broker.http = broker.seen.iter().find(|line| line.contains("HTTP on ")).map(|l| after(l, "HTTP on "));
        broker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits for a line with this in it.
    fn logged(&mut self, part: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {part:?} in the log:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    fn has_logged(&self, part: &str) -> bool {
        self.seen.iter().any(|line| line.contains(part))
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http.expect("an HTTP address")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: verdict\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn number(&self, series: &str) -> Option<f64> {
        let (status, page) = self.get("/metrics");
        assert_eq!(status, 200);
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    /// Scrapes until all numbers are these: what clients do reaches the queue some moments later.
    fn until(&self, expected: &[(&str, f64)]) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let got: Vec<_> = expected.iter().map(|(series, _)| self.number(series)).collect();
            if got.iter().zip(expected).all(|(got, (_, wanted))| *got == Some(*wanted)) {
                return;
            }
            assert!(Instant::now() < deadline, "got {got:?}, expected {expected:?}");
        }
    }

    /// Stops it in good order.
    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    fn configure(&mut self, text: &str) {
        std::fs::write(self.path("verdict.toml"), text).unwrap();
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(directory.join("data"));
    command.arg("--config").arg(directory.join("verdict.toml"));
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).current_dir(directory).output().unwrap()
}

struct Client {
    connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
}

impl Client {
    async fn connect(broker: &Broker) -> Self {
        let url = format!("amqp://{}", broker.amqp);
        let mut connection = Connection::open("watched", &*url).await.unwrap();
        let session = Session::begin(&mut connection).await.unwrap();
        Self { connection, session }
    }

    async fn publish(&mut self, queue: &str, count: usize) -> Vec<Outcome> {
        let mut sender = Sender::attach(&mut self.session, format!("to-{queue}"), queue).await.unwrap();
        let mut outcomes = Vec::new();
        for _ in 0..count {
            let header = Header { durable: true, ..Header::default() };
            let message = Message::builder().header(header).value("hello".to_owned()).build();
            outcomes.push(sender.send(message).await.unwrap());
        }
        sender.close().await.unwrap();
        outcomes
    }

    async fn close(mut self) {
        self.session.end().await.unwrap();
        self.connection.close().await.unwrap();
    }
}

const WATCHED: &str = "http = \"127.0.0.1:0\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn numbers_follow_the_messages() {
    let broker = Broker::start(WATCHED);
    assert_eq!(broker.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(broker.get("/readyz"), (200, "ok\n".to_owned()));
    let mut client = Client::connect(&broker).await;
    assert!(client.publish("orders", 5).await.iter().all(|o| matches!(o, Outcome::Accepted(_))));
    broker.until(&[
        ("verdict_queue_messages{queue=\"orders\",state=\"ready\"}", 5.0),
        ("verdict_queue_messages_published_total{queue=\"orders\"}", 5.0),
        ("verdict_connections", 1.0),
        ("verdict_ready", 1.0),
    ]);
    assert!(broker.number("verdict_commits_total") >= Some(1.0));
    assert_eq!(
        broker.number("verdict_commit_duration_seconds_count"),
        broker.number("verdict_commits_total")
    );
    assert!(broker.number("verdict_journal_bytes") > Some(100.0));
    assert!(broker.number("process_resident_memory_bytes") > Some(1e6));

    let mut receiver = Receiver::builder()
        .name("from")
        .source("orders")
        .credit_mode(CreditMode::Manual)
        .attach(&mut client.session)
        .await
        .unwrap();
    receiver.set_credit(4).await.unwrap();
    let mut letters = Vec::new();
    for _ in 0..4 {
        letters.push(receiver.recv::<String>().await.unwrap());
    }
    receiver.accept(&letters[0]).await.unwrap();
    receiver.accept(&letters[1]).await.unwrap();
    receiver.reject(&letters[2], None).await.unwrap();
    receiver.release(&letters[3]).await.unwrap();
    broker.until(&[
        ("verdict_queue_messages{queue=\"orders\",state=\"ready\"}", 2.0),
        ("verdict_queue_messages{queue=\"orders\",state=\"acquired\"}", 0.0),
        ("verdict_queue_messages{queue=\"orders\",state=\"dead\"}", 1.0),
        ("verdict_queue_consumers{queue=\"orders\"}", 1.0),
        ("verdict_queue_messages_delivered_total{queue=\"orders\"}", 4.0),
        ("verdict_queue_settlements_total{queue=\"orders\",outcome=\"accepted\"}", 2.0),
        ("verdict_queue_settlements_total{queue=\"orders\",outcome=\"rejected\"}", 1.0),
        ("verdict_queue_settlements_total{queue=\"orders\",outcome=\"released\"}", 1.0),
        ("verdict_queue_messages_dead_lettered_total{queue=\"orders\",reason=\"rejected\"}", 1.0),
    ]);
    receiver.set_credit(2).await.unwrap();
    let again = receiver.recv::<String>().await.unwrap();
    receiver.accept(&again).await.unwrap();
    broker.until(&[("verdict_queue_messages_redelivered_total{queue=\"orders\"}", 1.0)]);
    client.close().await;
    broker.until(&[("verdict_connections", 0.0), ("verdict_connections_opened_total", 1.0)]);
}

/// Fails what it gets from "storm", 20 messages, so that the queue's breaker opens.
async fn storm(client: &mut Client, annotation: &str) {
    let fields: fe2o3_amqp::types::definitions::Fields =
        [(annotation.into(), true.into())].into_iter().collect();
    let mut receiver = Receiver::attach(&mut client.session, "failing", "storm").await.unwrap();
    for _ in 0..20 {
        let delivery = receiver.recv::<String>().await.unwrap();
        let failed = Modified {
            delivery_failed: Some(true),
            undeliverable_here: None,
            message_annotations: Some(fields.clone()),
        };
        receiver.modify(&delivery, failed).await.unwrap();
    }
    receiver.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_storm_is_seen_in_metrics_and_log_and_the_page_keeps_prometheus_rules() {
    let storm_queue = "[[queue]]\nname = \"storm\"\nbreaker = { pause = \"1h\", max-pause = \"1h\" }\n";
    let odd = "[[queue]]\nname = 'odd \"name\" \\ of a queue'\n";
    let mut broker = Broker::start(&format!("{WATCHED}{storm_queue}{odd}"));
    broker.until(&[("verdict_queue_breaker_state{queue=\"storm\",state=\"closed\"}", 1.0)]);
    let mut client = Client::connect(&broker).await;
    client.publish("storm", 30).await;
    storm(&mut client, "x-opt-acquired-count").await;
    broker.until(&[
        ("verdict_queue_breaker_state{queue=\"storm\",state=\"closed\"}", 0.0),
        ("verdict_queue_breaker_state{queue=\"storm\",state=\"open\"}", 1.0),
        ("verdict_queue_breaker_state{queue=\"storm\",state=\"half-open\"}", 0.0),
        ("verdict_queue_breaker_openings_total{queue=\"storm\"}", 1.0),
        ("verdict_queue_annotations_skipped_total{queue=\"storm\"}", 20.0),
        ("verdict_queue_settlements_total{queue=\"storm\",outcome=\"failed\"}", 20.0),
    ]);
    broker.logged("queue \"storm\": breaker open");
    let (_, page) = broker.get("/metrics");
    assert_eq!(lint::lint(&page), Vec::<String>::new(), "{page}");
    assert!(page.contains("queue=\"odd \\\"name\\\" \\\\ of a queue\""), "{page}");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_good_configuration_is_taken_while_it_runs() {
    let mut broker = Broker::start(WATCHED);
    let mut client = Client::connect(&broker).await;
    client.publish("small", 1).await;
    broker.configure(
        "http = \"127.0.0.1:0\"\ndata = \"elsewhere\"\nthreads = 3\n[log]\nlevel = \"warn\"\n\
         [[queue]]\nname = \"small\"\nmax-messages = 2\nwhen-full = \"reject\"\n[[queue]]\nname = \"new\"",
    );
    broker.logged("queue \"small\" has rules of its own");
    broker.logged("threads is different, which needs a restart");
    broker.logged("reload done: 3 changes, 1 need a restart");
    broker.until(&[
        ("verdict_config_reloads_total{result=\"applied\"}", 1.0),
        ("verdict_config_last_reload_successful", 1.0),
        ("verdict_queue_consumers{queue=\"new\"}", 0.0),
    ]);
    let outcomes = client.publish("small", 2).await;
    assert!(matches!(outcomes[0], Outcome::Accepted(_)), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Rejected(_)), "{outcomes:?}");
    broker.until(&[("verdict_queue_messages_refused_total{queue=\"small\"}", 1.0)]);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_configuration_is_refused_whole_with_all_that_is_wrong() {
    let mut broker = Broker::start(WATCHED);
    broker.configure("create = []\nmemory = \"much\"\n[limits]\nmax-links = 0");
    broker.logged("memory = \"much\"");
    broker.logged("limits.max-links = 0");
    broker.logged("reload refused, nothing was changed");
    let mut client = Client::connect(&broker).await;
    client.publish("still-created-on-attach", 1).await;
    broker.until(&[
        ("verdict_config_reloads_total{result=\"refused\"}", 1.0),
        ("verdict_config_reloads_total{result=\"applied\"}", 0.0),
        ("verdict_config_last_reload_successful", 0.0),
    ]);
    client.close().await;
}

#[test]
fn verdict_reload_finds_the_broker_by_its_data_directory() {
    let mut broker = Broker::start("");
    assert!(broker.http.is_none() && !broker.has_logged("HTTP"), "off unless configured");
    std::fs::write(broker.path("verdict.toml"), "memory = \"32MiB\"").unwrap();
    let data = broker.path("data");
    let output = run(broker.directory.path(), &["reload", "--data", data.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    broker.logged("memory: 33554432, was 67108864");
    broker.logged("reload done: 1 changes, 0 need a restart");
    let pid = broker.child.id().to_string();
    assert!(run(broker.directory.path(), &["reload", "--pid", &pid]).status.success());
    broker.logged("reload done: 0 changes, 0 need a restart");
}

#[test]
fn verdict_reload_signals_nobody_but_a_broker() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no broker runs on"), "{output:?}");
    // A lock file of a process that is gone names it no more, and a process that is no broker gets no signal.
    std::fs::create_dir(directory.path().join("verdict-data")).unwrap();
    std::fs::write(directory.path().join("verdict-data/lock"), std::process::id().to_string()).unwrap();
    assert_eq!(run(directory.path(), &["reload"]).status.code(), Some(1));
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let output = run(directory.path(), &["reload", "--pid", &other.id().to_string()]);
    assert!(other.try_wait().unwrap().is_none(), "it was ended");
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a verdict broker"), "{output:?}");
}

#[test]
fn a_busy_http_port_fails_the_start_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("verdict.toml"), "").unwrap();
    let output = serve(directory.path()).args(["--http", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains(&format!("cannot listen on {address} for HTTP")) && text.contains("--http"),
        "{text}"
    );
}
