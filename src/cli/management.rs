//! Asking the broker's `$management` node (docs/management.md), over fe2o3-amqp-management's client.
//!
//! Its own request and response types are one for each operation of the working draft, and know a fixed status code
//! and no `errorCondition`. Ours are one pair for all operations instead: the operation is said in the application
//! properties, which the crate lets go before its constant, and an answer is taken whatever its code.
//!
//! Invariant: one request is under way at a time, so that the next answer is its answer; after a time-out the client is
//! not used again. What the broker refuses becomes a `Failure` in the broker's words.

use std::time::Duration;

use fe2o3_amqp::link::{ReceiverAttachError, RecvError, SendError, SenderAttachError};
use fe2o3_amqp_management::{
    MgmtClient, Request, Response,
    constants::{ENTITY_TYPE, NAME, OPERATION, TYPE},
    error::{AttachError, Error, InvalidType},
    mgmt_ext::AmqpMessageManagementExt as _,
};
use fe2o3_amqp_types::{
    definitions::{AmqpError, ErrorCondition},
    messaging::{AmqpValue, ApplicationProperties, Body, Message, Outcome},
    primitives::{SimpleValue, Value},
};
use serde_json::{Map, Value as Json, json};
use tokio::time::timeout;

use super::{
    Failure,
    client::{Client, condition, detached, link_gone, stopped, within},
    json,
    send::outcome_text,
    url::Url,
};

/// How long an answer may take: the causes of millions of dead letters take a while.
const ANSWER: Duration = Duration::from_secs(120);
/// Things asked for at once.
const PAGE: u64 = 500;

pub(super) const QUEUE: &str = "verdict.queue";
pub(super) const DEAD_LETTER: &str = "verdict.dead-letter";
pub(super) const REPLAY: &str = "verdict.replay";
pub(super) const CONNECTION: &str = "verdict.connection";
pub(super) const CONSUMER: &str = "verdict.consumer";
pub(super) const BROKER: &str = "verdict.broker";

/// What every command that asks the broker takes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Common {
    /// The broker: `amqp://[USER:PASSWORD@]HOST[:PORT]`
    #[arg(
        long,
        value_name = "URL",
        default_value = "amqp://127.0.0.1:5672",
        global = true,
        display_order = 900
    )]
    pub url: Url,
    /// Print JSON, for programs: names as in docs/management.md, times as RFC 3339, binary as base64
    #[arg(long, global = true, display_order = 901)]
    pub json: bool,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    operation: &'static str,
    entity: &'static str,
    name: Option<String>,
    more: Vec<(&'static str, SimpleValue)>,
    body: Value,
}

impl Ask {
    pub fn new(operation: &'static str, entity: &'static str, name: impl Into<String>) -> Self {
        let body = Value::Map(json::map(std::iter::empty()));
        Self { operation, entity, name: Some(name.into()), more: Vec::new(), body }
    }

    /// Of any name: all of them are searched.
    pub fn anywhere(operation: &'static str, entity: &'static str) -> Self {
        Self { name: None, ..Self::new(operation, entity, "") }
    }

    /// The arguments, an object; those that are null are left out.
    pub fn with(mut self, arguments: Json) -> Self {
        self.body = json::to_amqp(&json::without_nulls(arguments));
        self
    }

    /// Arguments that JSON cannot say.
    pub fn with_value(mut self, arguments: Value) -> Self {
        self.body = arguments;
        self
    }
}

impl Request for Ask {
    /// Not sent: `encode_application_properties` names the operation.
    const OPERATION: &'static str = "";
    type Response = Answer;
    type Body = AmqpValue<Value>;

    fn encode_application_properties(&mut self) -> Option<ApplicationProperties> {
        let mut properties = ApplicationProperties::default();
        let all = properties.as_inner_mut();
        let text = |text: &str| SimpleValue::String(text.to_owned());
        all.insert(OPERATION.to_owned(), text(self.operation));
        all.insert(TYPE.to_owned(), text(self.entity));
        if let Some(name) = &self.name {
            all.insert(NAME.to_owned(), text(name));
        }
        all.extend(self.more.drain(..).map(|(key, value)| (key.to_owned(), value)));
        Some(properties)
    }

    fn encode_body(self) -> Self::Body {
        AmqpValue(self.body)
    }
}

/// What came back, whatever it says.
#[derive(Debug)]
pub(super) struct Answer {
    code: u16,
    description: String,
    condition: Option<String>,
    /// Of a QUERY: how many there are.
    total: Option<u64>,
    body: Value,
}

impl Response for Answer {
    /// Not looked at: `from_message` takes any.
    const STATUS_CODE: u16 = 200;
    type Body = Body<Value>;
    type Error = Error;

    fn from_message(mut message: Message<Self::Body>) -> Result<Self, Error> {
        let wrong = |got: &dyn std::fmt::Debug| InvalidType {
            expected: "an integer as statusCode".to_owned(),
            actual: format!("{got:?}"),
        };
        let code = message.remove_status_code().ok_or(Error::StatusCodeNotFound)?;
        let code = code.map_err(|got| wrong(&got))?.0.get();
        let description = message.remove_status_description().and_then(Result::ok).unwrap_or_default();
        let own = message.application_properties.as_ref();
        let condition = own.and_then(|own| match own.get("errorCondition")? {
            SimpleValue::Symbol(symbol) => Some(symbol.as_str().to_owned()),
            SimpleValue::String(text) => Some(text.clone()),
            _ => None,
        });
        let total = own.and_then(|own| match own.get("total")? {
            SimpleValue::Ulong(total) => Some(*total),
            _ => None,
        });
        let body = match message.body {
            Body::Value(value) => value.0,
            _ => Value::Null,
        };
        Ok(Self { code, description, condition, total, body })
    }

    fn decode_message(message: Message<Self::Body>) -> Result<Self, Error> {
        Self::from_message(message)
    }
}

/// The broker's management node, and the way to it.
pub(super) struct Management {
    client: Client,
    node: MgmtClient,
}

impl Management {
    pub async fn connect(url: &Url) -> Result<Self, Failure> {
        let mut client = Client::connect(url).await?;
        let name = format!("verdict-cli-{}", std::process::id());
        let attaching = MgmtClient::attach(&mut client.session, name);
        match within("attaching", attaching).await? {
            Ok(node) => Ok(Self { client, node }),
            Err(error) => {
                client.close().await;
                Err(no_node(url, &error))
            }
        }
    }

    pub async fn close(self) {
        let _ = timeout(Duration::from_secs(10), self.node.close()).await;
        self.client.close().await;
    }

    /// The answer's body, if the broker did what was asked.
    pub async fn ask(&mut self, ask: Ask) -> Result<Json, Failure> {
        Ok(json::from_amqp(&self.ask_value(ask).await?))
    }

    /// The same, for whom it matters what is binary.
    pub async fn ask_value(&mut self, ask: Ask) -> Result<Value, Failure> {
        Ok(self.answer(ask).await?.body)
    }

    async fn answer(&mut self, ask: Ask) -> Result<Answer, Failure> {
        let (operation, entity) = (ask.operation, ask.entity);
        let answer = timeout(ANSWER, self.node.call(ask)).await.map_err(|_| {
            Failure::new(format!(
                "{operation} {entity}: no answer within {} s; it may be done or not",
                ANSWER.as_secs()
            ))
        })?;
        let answer: Answer = answer.map_err(|error| unanswered(&error))?;
        if (200..300).contains(&answer.code) { Ok(answer) } else { Err(refused(&answer, operation, entity)) }
    }

    /// All things of a type, page by page; `queue` is a glob, for types that know it.
    pub async fn query(&mut self, entity: &'static str, queue: Option<&str>) -> Result<Vec<Json>, Failure> {
        let mut found = Vec::new();
        loop {
            let mut ask = Ask::new("QUERY", "org.amqp.management", "self");
            let offset = found.len() as u64;
            ask.more = vec![
                (ENTITY_TYPE, SimpleValue::String(entity.to_owned())),
                ("offset", SimpleValue::Ulong(offset)),
                ("count", SimpleValue::Ulong(PAGE)),
            ];
            let answer = self.answer(ask.with(json!({ "attributeNames": [], "queue": queue }))).await?;
            let page = json::from_amqp(&answer.body);
            let names = json::list(&page, "attributeNames");
            let results = json::list(&page, "results");
            for row in results.iter().filter_map(Json::as_array) {
                let pairs =
                    names.iter().zip(row).map(|(name, value)| (json::cell(Some(name)), value.clone()));
                found.push(Json::Object(pairs.collect::<Map<_, _>>()));
            }
            if results.is_empty() || answer.total.is_none_or(|total| found.len() as u64 >= total) {
                return Ok(found);
            }
        }
    }
}

/// The broker understood, and says no.
fn refused(answer: &Answer, operation: &str, entity: &str) -> Failure {
    // The description says what the condition says, in words for people.
    let message = match (answer.description.as_str(), &answer.condition) {
        ("", Some(condition)) => format!("the broker refused {operation} {entity}: {condition}"),
        ("", None) => format!("the broker refused {operation} {entity} with status {}", answer.code),
        (description, _) => description.to_owned(),
    };
    let failure = if answer.code == 400 { Failure::usage(message) } else { Failure::new(message) };
    match (answer.code, entity) {
        (400, QUEUE) if matches!(operation, "CREATE" | "UPDATE") => {
            failure.hint("config.example.toml explains every setting of a queue")
        }
        (403, _) => failure.hint("auth.managers in the broker's configuration says who may manage it"),
        (404, QUEUE) if operation == "EXPLAIN" => {
            failure.hint("a settled message leaves nothing behind; --queue QUEUE SEQ names one by its place instead")
        }
        (404, QUEUE) => failure.hint("`verdict queue ls` shows the queues there are"),
        (404, DEAD_LETTER) => failure
            .hint("`verdict queue ls` shows the queues there are, `verdict dead-letter ls QUEUE` the dead letters of one"),
        (404, REPLAY) => failure.hint("`verdict replay ls` shows the replays the broker remembers"),
        (404, CONNECTION) => failure.hint("`verdict connection ls` shows the connections there are"),
        (409, QUEUE) if operation == "CREATE" => {
            failure.hint("`verdict queue show NAME` shows it, `verdict queue update NAME` changes it")
        }
        (409, QUEUE) if operation == "DELETE" => {
            failure.hint("--force deletes a queue with its messages and dead letters, and closes the links to it")
        }
        (501, _) => failure.hint("the broker is older than this command; `verdict --version` says its own version"),
        (503, _) => failure.hint("try again in a moment"),
        _ => failure,
    }
}

/// The broker's management node could not be attached to.
fn no_node(url: &Url, error: &AttachError) -> Failure {
    let (why, remote) = match error {
        AttachError::Sender(SenderAttachError::RemoteClosedWithError(error))
        | AttachError::Receiver(ReceiverAttachError::RemoteClosedWithError(error)) => {
            (condition(error), Some(&error.condition))
        }
        AttachError::Sender(SenderAttachError::SessionStopped(reason))
        | AttachError::Receiver(ReceiverAttachError::SessionStopped(reason)) => (stopped(reason), None),
        other => (other.to_string(), None),
    };
    let failure = Failure::new(format!("cannot manage {url}: {why}"));
    match remote {
        Some(ErrorCondition::AmqpError(AmqpError::NotImplemented | AmqpError::NotFound)) => failure.hint(
            "the broker there has no management node: it is older than this command, or no verdict broker",
        ),
        Some(ErrorCondition::AmqpError(AmqpError::UnauthorizedAccess)) => {
            failure.hint("auth.managers in the broker's configuration says who may manage it")
        }
        _ => failure,
    }
}

/// No answer came, or none that can be understood.
fn unanswered(error: &Error) -> Failure {
    let why = match error {
        Error::Send(SendError::LinkStateError(error)) => link_gone(error),
        Error::Send(SendError::Detached(error)) => detached(error),
        Error::Recv(RecvError::LinkStateError(error)) => link_gone(error),
        Error::NotAccepted(outcome @ Outcome::Rejected(_)) => {
            format!("the broker did not understand the request: {}", outcome_text(outcome))
        }
        Error::NotAccepted(outcome) => {
            format!("the broker did not take the request: {}", outcome_text(outcome))
        }
        Error::StatusCodeNotFound => "the broker's answer has no statusCode".to_owned(),
        Error::DecodeError(Some(wrong)) => {
            format!("the broker's answer is wrong: expected {}, got {}", wrong.expected, wrong.actual)
        }
        other => other.to_string(),
    };
    Failure::new(why)
}
