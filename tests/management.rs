//! The built binary, managed over AMQP: what only a real process with a disk and sockets can show.
//!
//! Invariant: no process outlives its `Broker`; every wait ends at what it waits for, or fails. Each operation by itself is
//! in `interop-tests`, with clients of other houses.
#![cfg(feature = "server")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fe2o3_amqp::{
    Connection, Receiver, Sender, Session,
    connection::ConnectionHandle,
    session::SessionHandle,
    types::{
        messaging::{ApplicationProperties, Body, Header, Message, Outcome, Properties},
        primitives::{OrderedMap, SimpleValue, Value},
    },
};

const LIMIT: Duration = Duration::from_secs(30);
const QUEUE: &str = "verdict.queue";

/// A running broker; its directory outlives it.
struct Broker {
    child: Child,
    url: String,
}

impl Broker {
    fn start(directory: &Path, config: &str) -> Self {
        std::fs::write(directory.join("verdict.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_verdict"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(directory.join("data"));
        command.arg("--config").arg(directory.join("verdict.toml"));
        command.env_remove("RUST_LOG").env("NO_COLOR", "1");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listening = log.by_ref().find_map(|line| {
            line.split_once("listening on ").map(|(_, rest)| rest.split(' ').next().unwrap_or("").to_owned())
        });
        // What is logged from then on must not fill the pipe.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, url: format!("amqp://{}", listening.expect("a broker that listens")) }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A connection with links to and from `$management`.
struct Manager {
    _connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
    requests: Sender,
    answers: Receiver,
}

type Map = OrderedMap<String, Value>;

impl Manager {
    async fn connect(broker: &Broker) -> Self {
        let mut connection = soon("open", Connection::open("manager", &*broker.url)).await.unwrap();
        let mut session = soon("begin", Session::begin(&mut connection)).await.unwrap();
        let requests = soon("attach", Sender::attach(&mut session, "requests", "$management")).await.unwrap();
        let answers = Receiver::builder().name("answers").source("$management").target("me");
        let answers = soon("attach", answers.attach(&mut session)).await.unwrap();
        Self { _connection: connection, session, requests, answers }
    }

    async fn ask(&mut self, kind: &str, operation: &str, name: &str, body: Map) -> (i32, String, Map) {
        let properties = ApplicationProperties::builder()
            .insert("type", kind)
            .insert("operation", operation)
            .insert("name", name)
            .build();
        let request = Message::builder()
            .properties(Properties::builder().reply_to("me").build())
            .application_properties(properties)
            .value(body)
            .build();
        let outcome = soon("an outcome", self.requests.send(request)).await.unwrap();
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
        let answer = soon("an answer", self.answers.recv::<Body<Value>>()).await.unwrap();
        self.answers.accept(&answer).await.unwrap();
        let answer = answer.into_message();
        let said = answer.application_properties.expect("application properties").0;
        let Some(SimpleValue::Int(status)) = said.get("statusCode") else { panic!("{said:?}") };
        let Some(SimpleValue::String(words)) = said.get("statusDescription") else { panic!("{said:?}") };
        let Body::Value(body) = answer.body else { panic!("no value") };
        let Value::Map(pairs) = body.0 else { panic!("{body:?}") };
        let text = |key| if let Value::String(text) = key { text } else { panic!("{key:?}") };
        (*status, words.clone(), pairs.into_iter().map(|(key, value)| (text(key), value)).collect())
    }
}

fn settings(pairs: &[(&str, Value)]) -> Map {
    let pairs = pairs.iter().map(|(key, value)| (Value::String((*key).to_owned()), value.clone()));
    [("settings".to_owned(), Value::Map(pairs.collect()))].into_iter().collect()
}

fn setting<'a>(attributes: &'a Map, key: &str) -> &'a Value {
    let Some(Value::Map(settings)) = attributes.get("settings") else { panic!("{attributes:?}") };
    settings.get(&Value::String(key.to_owned())).expect(key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_answered_is_there_after_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let config = "create = []\n[[queue]]\nname = \"own\"\nmax-attempts = 4\n";
    let broker = Broker::start(directory.path(), config);
    let mut manager = Manager::connect(&broker).await;
    let two = settings(&[("max-attempts", Value::Uint(2))]);
    for (operation, name, body, expected) in [
        ("CREATE", "made", two.clone(), 201),
        ("CREATE", "gone", Map::new(), 201),
        ("DELETE", "gone", Map::new(), 204),
        ("UPDATE", "own", two, 200),
        ("UPDATE", "own", settings(&[("max-attempts", Value::Null), ("expired", "discard".into())]), 200),
    ] {
        let (status, words, _) = manager.ask(QUEUE, operation, name, body).await;
        assert_eq!(status, expected, "{operation} {name}: {words}");
    }
    broker.kill();
    let broker = Broker::start(directory.path(), config);
    let mut manager = Manager::connect(&broker).await;
    let (status, _, made) = manager.ask(QUEUE, "READ", "made", Map::new()).await;
    assert_eq!((status, setting(&made, "max-attempts")), (200, &Value::Ulong(2)));
    let (_, _, own) = manager.ask(QUEUE, "READ", "own", Map::new()).await;
    assert_eq!(setting(&own, "max-attempts"), &Value::Ulong(4));
    assert_eq!(setting(&own, "expired"), &Value::String("discard".to_owned()));
    assert_eq!(manager.ask(QUEUE, "READ", "gone", Map::new()).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_purge_takes_many_steps_and_what_it_removed_stays_removed() {
    const MESSAGES: usize = 9000;
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), "");
    let mut manager = Manager::connect(&broker).await;
    let mut sender = soon("attach", Sender::attach(&mut manager.session, "to", "q")).await.unwrap();
    let mut sent = Vec::with_capacity(MESSAGES);
    for _ in 0..MESSAGES {
        let header = Header { durable: true, ..Header::default() };
        let message = Message::builder().header(header).value("hello".to_owned()).build();
        sent.push(soon("credit", sender.send_batchable(message)).await.unwrap());
    }
    for delivery in sent {
        assert!(matches!(soon("an outcome", delivery).await, Ok(Outcome::Accepted(_))));
    }
    let (status, words, body) = manager.ask(QUEUE, "PURGE", "q", Map::new()).await;
    assert_eq!(status, 200, "{words}");
    assert_eq!(body.get("removed"), Some(&Value::Ulong(MESSAGES as u64)));
    broker.kill();
    let broker = Broker::start(directory.path(), "");
    let mut manager = Manager::connect(&broker).await;
    let (_, _, read) = manager.ask(QUEUE, "READ", "q", Map::new()).await;
    assert_eq!(read.get("ready"), Some(&Value::Ulong(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_may_not_manage_is_answered_403_and_nothing_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), "[auth]\nmanagers = [\"alice\"]\n");
    let mut manager = Manager::connect(&broker).await;
    let (status, words, _) = manager.ask(QUEUE, "CREATE", "q", Map::new()).await;
    assert_eq!(status, 403);
    assert_eq!(words, "user \"anonymous\" may not manage this broker (auth.managers in its configuration)");
    let to_q = Sender::builder().name("relay").target("q").attach(&mut manager.session);
    assert!(soon("attach", to_q).await.is_ok(), "q is created by this attach, as it was not before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reload_by_management_says_what_is_wrong_and_takes_what_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), "");
    let mut manager = Manager::connect(&broker).await;
    std::fs::write(directory.path().join("verdict.toml"), "memory = 3\n").unwrap();
    let (status, words, _) = manager.ask("verdict.broker", "RELOAD", "self", Map::new()).await;
    assert!(status == 400 && words.contains("memory = 3: expected a size of at least 1MiB"), "{words}");
    std::fs::write(directory.path().join("verdict.toml"), "[[queue]]\nname = \"new\"\n").unwrap();
    assert_eq!(manager.ask("verdict.broker", "RELOAD", "self", Map::new()).await.0, 200);
    let (_, _, read) = manager.ask(QUEUE, "READ", "new", Map::new()).await;
    assert_eq!(read.get("configured"), Some(&Value::Bool(true)));
}
