//! Spans of delivery attempts, as a collector on the loopback interface gets them.
//!
//! Invariant: the collector is a real HTTP server, and what it was sent is decoded as OTLP's JSON; it ends with its test.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver as Spans, Sender as ToTest, channel},
};

use fe2o3_amqp::{
    Receiver, Sender,
    types::{
        definitions::{AmqpError, Error, Fields},
        messaging::{ApplicationProperties, Header, Message, MessageAnnotations, Modified, Properties},
    },
};
use serde_json::Value;

use crate::{Broker, Client, LIMIT, WATCHED};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

struct Collector {
    address: SocketAddr,
    spans: Spans<Span>,
}

/// A span as it was sent, its attributes by name.
#[derive(Debug)]
struct Span {
    value: Value,
    attributes: BTreeMap<String, String>,
}

impl Span {
    fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_default()
    }

    fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }

    fn ns(&self, field: &str) -> u64 {
        self.text(field).parse().expect("nanoseconds as a text")
    }
}

impl Collector {
    fn start(address: SocketAddr) -> Self {
        let socket = TcpListener::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let (to_test, spans) = channel();
        // Ends with the process: nothing of it outlives the tests.
        std::thread::spawn(move || {
            for stream in socket.incoming().map_while(Result::ok) {
                let to_test = to_test.clone();
                std::thread::spawn(move || serve(stream, &to_test));
            }
        });
        Self { address, spans }
    }

    fn anywhere() -> Self {
        Self::start(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn next(&self) -> Span {
        self.spans.recv_timeout(LIMIT).expect("a span")
    }
}

/// Answers requests on one connection; `None` when it ends.
fn serve(stream: TcpStream, to_test: &ToTest<Span>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_ascii_lowercase());
        }
        assert_eq!(lines[0], "post /v1/traces http/1.1");
        let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        assert_eq!(header("content-type"), Some("application/json"));
        let mut body = vec![0; header("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        for span in decode(&body) {
            to_test.send(span).ok()?;
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

fn decode(body: &[u8]) -> Vec<Span> {
    let request: Value = serde_json::from_slice(body).expect("JSON");
    let resource = &request["resourceSpans"][0];
    assert_eq!(attributes(&resource["resource"])["service.name"], "verdict");
    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
    spans.iter().map(|value| Span { value: value.clone(), attributes: attributes(value) }).collect()
}

fn attributes(of: &Value) -> BTreeMap<String, String> {
    let pair = |attribute: &Value| {
        let value = &attribute["value"];
        let text = value["stringValue"].as_str().or_else(|| value["intValue"].as_str()).expect("a value");
        (attribute["key"].as_str().expect("a key").to_owned(), text.to_owned())
    };
    of["attributes"].as_array().expect("attributes").iter().map(pair).collect()
}

fn configured(address: SocketAddr, more: &str) -> String {
    let queue =
        "[[queue]]\nname = \"orders\"\nretry-delay = { first = \"1h\", max = \"2h\" }\nmax-attempts = 5\n";
    format!("{WATCHED}[telemetry]\notlp = \"http://{address}\"\n{more}\n{queue}")
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// Publishes a message with an id for each traceparent, as application property.
async fn publish(client: &mut Client, traceparents: &[Option<String>]) {
    let mut sender = Sender::attach(&mut client.session, "tracing", "orders").await.unwrap();
    for (n, traceparent) in traceparents.iter().enumerate() {
        let properties = Properties::builder().message_id(format!("m{n}")).build();
        let mut application = ApplicationProperties::builder();
        if let Some(traceparent) = traceparent {
            application = application.insert("traceparent", traceparent.clone());
        }
        let message = Message::builder()
            .header(Header { durable: true, ..Header::default() })
            .properties(properties)
            .application_properties(application.build())
            .value("hello".to_owned())
            .build();
        sender.send(message).await.unwrap();
    }
    sender.close().await.unwrap();
}

fn failed(condition: Option<&str>) -> Modified {
    let annotations = condition.map(|condition| {
        let pair = ("x-opt-error-condition".into(), condition.to_owned().into());
        std::iter::once(pair).collect::<Fields>()
    });
    Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: annotations }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_attempt_is_a_span_in_its_publishers_trace_with_what_came_of_it() {
    let collector = Collector::anywhere();
    let broker = Broker::start(&configured(collector.address, ""));
    let mut client = Client::connect(&broker).await;
    publish(&mut client, &[Some(traceparent("01")), Some(traceparent("01")), None]).await;
    let mut receiver = Receiver::attach(&mut client.session, "worker", "orders").await.unwrap();
    let first = receiver.recv::<String>().await.unwrap();
    let second = receiver.recv::<String>().await.unwrap();
    let third = receiver.recv::<String>().await.unwrap();
    receiver.accept(&first).await.unwrap();
    receiver.modify(&second, failed(Some("app:busy"))).await.unwrap();
    let error = Error::new(AmqpError::DecodeError, Some("no JSON".to_owned()), None);
    receiver.reject(&third, error).await.unwrap();

    let span = collector.next();
    assert_eq!((span.text("traceId"), span.text("parentSpanId")), (TRACE, PARENT));
    assert_eq!((span.text("name"), span.value["kind"].as_u64()), ("deliver orders", Some(1)));
    assert_eq!(span.get("verdict.outcome"), "accepted");
    assert_eq!(span.get("messaging.destination.name"), "orders");
    assert_eq!(span.get("messaging.message.id"), "m0");
    assert_eq!(span.get("verdict.consumer"), "watched/worker (anonymous)");
    assert_eq!((span.get("verdict.delivery_count"), span.get("verdict.next")), ("0", "done"));
    assert_eq!((&span.value["status"], span.get("error.type")), (&Value::Null, ""));
    let took_ns = span.ns("endTimeUnixNano") - span.ns("startTimeUnixNano");
    assert!(took_ns < 60_000_000_000 && span.ns("startTimeUnixNano") > 1_600_000_000_000_000_000);

    let other = collector.next();
    assert_ne!(other.text("spanId"), span.text("spanId"));
    assert_eq!((other.text("traceId"), other.get("messaging.message.id")), (TRACE, "m1"));
    assert_eq!((other.get("verdict.outcome"), other.get("error.type")), ("failed", "app:busy"));
    assert_eq!((other.get("verdict.rule"), other.get("verdict.next")), ("default", "redelivery"));
    let delay_ms: u64 = other.get("verdict.next.delay_ms").parse().unwrap();
    assert!((2_880_000..=4_320_000).contains(&delay_ms), "an hour, 20 % more or less: {delay_ms}");
    assert_eq!(other.value["status"]["code"].as_u64(), Some(2));

    let rejected = collector.next();
    assert_eq!(
        (rejected.text("traceId").len(), rejected.text("parentSpanId")),
        (32, ""),
        "a trace of its own"
    );
    assert_ne!(rejected.text("traceId"), TRACE);
    assert_eq!(rejected.get("verdict.outcome"), "rejected");
    assert_eq!(rejected.get("verdict.dead_letter.reason"), "rejected");
    assert_eq!(rejected.value["status"]["message"], "amqp:decode-error: no JSON");
    receiver.close().await.unwrap();
    client.close().await;
    broker.until(&[("verdict_telemetry_spans_exported_total", 3.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn failed_attempts_are_told_of_whatever_is_sampled() {
    let collector = Collector::anywhere();
    let mut broker = Broker::start(&configured(collector.address, "sample = 0.0"));
    let mut client = Client::connect(&broker).await;
    publish(&mut client, &[None, Some(traceparent("01")), Some(traceparent("00"))]).await;
    let mut receiver = Receiver::attach(&mut client.session, "worker", "orders").await.unwrap();
    for n in 0..3 {
        let delivery = receiver.recv::<String>().await.unwrap();
        match n {
            0 | 1 => receiver.accept(&delivery).await.unwrap(),
            _ => receiver.modify(&delivery, failed(None)).await.unwrap(),
        }
    }
    let span = collector.next();
    assert_eq!((span.get("messaging.message.id"), span.get("verdict.outcome")), ("m2", "failed"));
    assert_eq!((span.text("traceId"), span.get("error.type")), (TRACE, "failed"));
    receiver.close().await.unwrap();
    client.close().await;
    // What is left goes out before it ends.
    broker.stop();
    assert!(collector.spans.try_recv().is_err(), "nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_that_is_away_costs_spans_and_no_messages() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut broker = Broker::start(&configured(address, ""));
    let mut client = Client::connect(&broker).await;
    publish(&mut client, &[None]).await;
    let mut receiver = Receiver::attach(&mut client.session, "worker", "orders").await.unwrap();
    let delivery = receiver.recv::<String>().await.unwrap();
    receiver.accept(&delivery).await.unwrap();
    broker.until(&[
        ("verdict_telemetry_spans_dropped_total{reason=\"not-taken\"}", 1.0),
        ("verdict_telemetry_spans_exported_total", 0.0),
        ("verdict_queue_settlements_total{queue=\"orders\",outcome=\"accepted\"}", 1.0),
    ]);
    broker.logged("telemetry: spans are lost: cannot connect to the collector");
    let (_, page) = broker.get("/metrics");
    assert_eq!(crate::lint::lint(&page), Vec::<String>::new());

    let collector = Collector::start(address);
    let annotations = MessageAnnotations::builder().insert("traceparent", traceparent("01")).build();
    let message = Message::builder().message_annotations(annotations).value("hello".to_owned()).build();
    let mut sender = Sender::attach(&mut client.session, "again", "orders").await.unwrap();
    sender.send(message).await.unwrap();
    sender.close().await.unwrap();
    let delivery = receiver.recv::<String>().await.unwrap();
    receiver.accept(&delivery).await.unwrap();
    let span = collector.next();
    assert_eq!((span.text("traceId"), span.text("parentSpanId")), (TRACE, PARENT), "by the annotation");
    broker.logged("the collector takes spans again");
    receiver.close().await.unwrap();
    client.close().await;
}
