//! A management node that is none: it answers what the test's script says, on a loopback port, and keeps what it was
//! asked.
//!
//! Made of fe2o3-amqp's acceptor, which is good enough for one well-behaved client.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use clap::Parser as _;
use fe2o3_amqp::{
    Sendable,
    acceptor::{ConnectionAcceptor, LinkAcceptor, LinkEndpoint, SaslAnonymousMechanism, SessionAcceptor},
};
use fe2o3_amqp_types::{
    messaging::{AmqpValue, ApplicationProperties, Body, Message, Properties},
    primitives::{SimpleValue, Symbol, Value},
};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;

use crate::cli::{
    Cli, Command, Failure, json,
    management::Management,
    out::{Kept, Out},
};

/// When all tests' commands are given: 2026-11-24T06:13:47.123Z.
pub const NOW_MS: u64 = 1_795_500_827_123;

/// What the node was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub properties: Json,
    pub body: Value,
}

impl Asked {
    /// `LIST verdict.dead-letter orders {..}`
    pub fn text(&self) -> String {
        let word = |key: &str| json::cell(self.properties.get(key));
        let arguments = json::from_amqp(&self.body);
        format!("{} {} {} {arguments}", word("operation"), word("type"), word("name"))
    }
}

/// What it answers.
#[derive(Debug, Clone)]
pub struct Reply {
    code: i32,
    description: String,
    condition: Option<String>,
    total: Option<u64>,
    body: Value,
}

pub fn ok(body: Json) -> Reply {
    ok_value(json::to_amqp(&body))
}

pub fn ok_value(body: Value) -> Reply {
    Reply { code: 200, description: "OK".to_owned(), condition: None, total: None, body }
}

pub fn no(code: i32, description: &str, condition: &str) -> Reply {
    let condition = Some(condition.to_owned());
    Reply { code, description: description.to_owned(), condition, total: None, body: Value::Null }
}

/// A page of a QUERY that has them all.
pub fn found(all: Json) -> Reply {
    let all = all.as_array().expect("a list").clone();
    let names: Vec<String> = all[0].as_object().expect("an object").keys().cloned().collect();
    let row = |one: &Json| names.iter().map(|name| one[name].clone()).collect::<Json>();
    let rows: Vec<Json> = all.iter().map(row).collect();
    page(&names, &rows, rows.len() as u64)
}

/// A page of a QUERY.
pub fn page(names: &[String], rows: &[Json], total: u64) -> Reply {
    Reply { total: Some(total), ..ok(json!({ "attributeNames": names, "results": rows })) }
}

/// What a command did and said.
#[derive(Debug)]
pub struct Ran {
    pub result: Result<(), Failure>,
    pub said: Kept,
    pub asked: Vec<Asked>,
}

impl Ran {
    pub fn asked(&self) -> Vec<String> {
        self.asked.iter().map(Asked::text).collect()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.result, Ok(()), "{:?}", self.asked());
        self
    }
}

/// Runs a command line against a node that answers so.
pub async fn run(line: &str, replies: impl IntoIterator<Item = Reply>) -> Ran {
    let words: Vec<&str> = line.split_whitespace().collect();
    run_words(&words, Some(100), replies).await
}

pub async fn run_words(
    words: &[&str],
    width: Option<usize>,
    replies: impl IntoIterator<Item = Reply>,
) -> Ran {
    let Command::Managed(command) = Cli::try_parse_from(words).expect("a good command line").command else {
        panic!("{words:?} asks no management node");
    };
    let mut out = Out::kept(command.common().json, width, NOW_MS);
    if let Err(failure) = command.check() {
        return Ran { result: Err(failure), said: out.said(), asked: Vec::new() };
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let node = tokio::spawn(answer(listener, asked.clone(), replies.into_iter().collect()));
    let url = format!("127.0.0.1:{port}").parse().expect("a URL");
    let mut management = Management::connect(&url).await.expect("a node");
    let result = command.perform(&mut management, &mut out).await;
    management.close().await;
    node.abort();
    let asked = asked.lock().expect("no panic").clone();
    Ran { result, said: out.said(), asked }
}

async fn answer(listener: TcpListener, asked: Arc<Mutex<Vec<Asked>>>, mut replies: VecDeque<Reply>) {
    let (stream, _) = listener.accept().await.expect("a client");
    let acceptor =
        ConnectionAcceptor::builder().container_id("fake").sasl_acceptor(SaslAnonymousMechanism {});
    let mut connection = acceptor.build().accept(stream).await.expect("a connection");
    let mut session = SessionAcceptor::new().accept(&mut connection).await.expect("a session");
    let link = LinkAcceptor::new();
    let LinkEndpoint::Receiver(mut requests) = link.accept(&mut session).await.expect("a link") else {
        panic!("expected the link for requests first");
    };
    let LinkEndpoint::Sender(mut answers) = link.accept(&mut session).await.expect("a link") else {
        panic!("expected a link for answers");
    };
    while let Ok(delivery) = requests.recv::<Body<Value>>().await {
        requests.accept(&delivery).await.expect("a disposition");
        let message = delivery.into_message();
        asked.lock().expect("no panic").push(request(&message));
        let reply = replies
            .pop_front()
            .unwrap_or_else(|| no(500, "the test has no answer to this", "amqp:internal-error"));
        answers.send(Sendable::from(response(&message, reply))).await.expect("a client that listens");
    }
}

fn request(message: &Message<Body<Value>>) -> Asked {
    let own = message.application_properties.as_ref().expect("application properties");
    let properties =
        own.0.iter().map(|(key, value)| (key.clone(), json::from_amqp(&Value::from(value.clone()))));
    let body = match &message.body {
        Body::Value(value) => value.0.clone(),
        other => panic!("expected a map, got {other:?}"),
    };
    Asked { properties: Json::Object(properties.collect()), body }
}

fn response(request: &Message<Body<Value>>, reply: Reply) -> Message<AmqpValue<Value>> {
    let asked = request.properties.as_ref().expect("properties");
    let own = ApplicationProperties::builder()
        .insert("statusCode", reply.code)
        .insert("statusDescription", reply.description);
    let own = match reply.condition {
        Some(condition) => own.insert("errorCondition", SimpleValue::Symbol(Symbol::from(condition))),
        None => own,
    };
    let own = match reply.total {
        Some(total) => own.insert("total", total),
        None => own,
    };
    let properties = Properties {
        to: asked.reply_to.clone(),
        correlation_id: asked.message_id.clone(),
        ..Properties::default()
    };
    Message::builder()
        .properties(properties)
        .application_properties(own.build())
        .body(AmqpValue(reply.body))
        .build()
}
