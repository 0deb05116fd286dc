//! `verdict send`: messages from the command line, a file or standard input; one outcome told for each.
//!
//! Invariant: exit code 0 means that every message was accepted. At most `IN_FLIGHT` messages wait for
//! their outcome at once; outcomes are told in the order of sending.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use fe2o3_amqp::{
    Sendable, Sender,
    link::{SendError, SenderAttachError, delivery::DeliveryFut},
};
use fe2o3_amqp_types::{
    messaging::{
        AmqpValue, ApplicationProperties, Body, Data, Header, Message, MessageId, Outcome, Priority,
        Properties,
    },
    primitives::{Binary, SimpleValue, Value},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines, Stdin},
    time::timeout,
};

use super::{
    Failure, block_on,
    client::{BrokerArgs, Client, condition, detached, link_gone, stopped, within},
    print_line,
};
use crate::config::{parse_duration_ms, parse_size};

const IN_FLIGHT: usize = 256;

type Waiting = VecDeque<(u64, DeliveryFut<Result<Outcome, SendError>>)>;

/// Send messages, and say what became of each
///
/// Without --body, --size or --file, every line of standard input is one message.
/// Exit code 0: every message was accepted. 1: at least one was not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict send orders --body 'hello'\n  \
                        verdict send orders --size 1KiB --count 1000 --quiet\n  \
                        verdict send orders < lines.txt")]
pub(super) struct Args {
    /// Queue to send to
    address: String,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Send the message this often
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    #[command(flatten)]
    body: BodyArgs,
    /// message-id; %d stands for the message's number, from 1
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// The message need not survive a crash or `kill -9` of the broker
    #[arg(long, overrides_with = "durable")]
    non_durable: bool,
    /// The message must survive a crash of the broker (default)
    #[arg(long)]
    durable: bool,
    /// Time to live, such as 500ms or 1h
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    ttl: Option<u32>,
    /// Priority; higher ones are delivered first
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Application property, its value a string; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = property)]
    property: Vec<(String, String)>,
    /// group-id
    #[arg(long, value_name = "TEXT")]
    group_id: Option<String>,
    /// subject
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// Address that answers are to be sent to
    #[arg(long, value_name = "ADDRESS")]
    reply_to: Option<String>,
    /// Give up when the broker takes longer than this for a message, such as 500ms or 10s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Tell only what was not accepted
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct BodyArgs {
    /// Text of the message (an AMQP string)
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// Bytes of the message, such as 1KiB: filled with `x` (an AMQP data section)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<usize>,
    /// File that is the message (an AMQP data section)
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

fn ttl(text: &str) -> Result<u32, String> {
    let ms = parse_duration_ms(text).and_then(|ms| u32::try_from(ms).ok());
    ms.ok_or_else(|| "expected a duration of at most 49 days, such as 500ms or 1h".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let ms = parse_duration_ms(text).or_else(|| text.parse::<u64>().ok()?.checked_mul(1000));
    ms.map(Duration::from_millis).ok_or_else(|| "expected a duration such as 500ms or 30s".to_owned())
}

pub(super) fn size(text: &str) -> Result<usize, String> {
    let size = parse_size(text).and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= 1 << 30);
    size.ok_or_else(|| "expected a size of at most 1GiB, such as 100 or 16KiB".to_owned())
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Where bodies come from.
enum Bodies {
    Same { body: Body<Value>, left: u64 },
    Lines(Lines<BufReader<Stdin>>),
}

impl Bodies {
    fn new(args: &BodyArgs, count: u64) -> Result<Self, Failure> {
        let data = |bytes: Vec<u8>| Body::from(Data(Binary::from(bytes)));
        let body = if let Some(text) = &args.body {
            Body::Value(AmqpValue(Value::String(text.clone())))
        } else if let Some(size) = args.size {
            data(vec![b'x'; size])
        } else if let Some(file) = &args.file {
            let read = std::fs::read(file);
            data(read.map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))?)
        } else if count > 1 {
            return Err(Failure::usage("--count needs a message: --body, --size or --file"));
        } else {
            return Ok(Self::Lines(BufReader::new(tokio::io::stdin()).lines()));
        };
        Ok(Self::Same { body, left: count })
    }

    async fn next(&mut self) -> Result<Option<Body<Value>>, Failure> {
        match self {
            Self::Same { left: 0, .. } => Ok(None),
            Self::Same { body, left } => {
                *left -= 1;
                Ok(Some(body.clone()))
            }
            Self::Lines(lines) => {
                let line = lines.next_line().await;
                let line =
                    line.map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
                Ok(line.map(|line| Body::Value(AmqpValue(Value::String(line)))))
            }
        }
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    block_on(send_all(args))
}

async fn send_all(args: Args) -> Result<(), Failure> {
    let mut bodies = Bodies::new(&args.body, args.count)?;
    let mut client = Client::connect(&args.broker.url).await?;
    let name = format!("verdict-send-{}", std::process::id());
    let attaching = Sender::attach(&mut client.session, name, args.address.as_str());
    let mut sender = match within("attaching", attaching).await? {
        Ok(sender) => sender,
        Err(error) => {
            client.close().await;
            return Err(refused(&args.address, &error));
        }
    };
    let result = send_bodies(&mut sender, &mut bodies, &args).await;
    let _ = timeout(Duration::from_secs(10), sender.close()).await;
    client.close().await;
    let (sent, accepted) = result?;
    if sent == accepted {
        return Ok(());
    }
    Err(Failure::new(format!("{} of {sent} messages were not accepted", sent - accepted)))
}

/// Returns how many were sent and how many accepted.
async fn send_bodies(sender: &mut Sender, bodies: &mut Bodies, args: &Args) -> Result<(u64, u64), Failure> {
    let mut waiting = Waiting::new();
    let (mut sent, mut accepted) = (0, 0);
    while let Some(body) = bodies.next().await? {
        sent += 1;
        let message = Sendable::from(message(args, sent, body));
        let sending = timeout(args.timeout, sender.send_batchable(message)).await;
        let outcome = sending.map_err(|_| {
            Failure::new(format!("message {sent}: the broker gave no credit for it in time"))
                .hint("the queue may be full; --timeout waits longer")
        })?;
        waiting.push_back((sent, outcome.map_err(|error| failed(sent, &error))?));
        if waiting.len() >= IN_FLIGHT || matches!(bodies, Bodies::Lines(_)) {
            accepted += tell_first(&mut waiting, args).await?;
        }
    }
    while !waiting.is_empty() {
        accepted += tell_first(&mut waiting, args).await?;
    }
    Ok((sent, accepted))
}

/// Waits for the oldest outcome and tells it; 1 if that is accepted.
async fn tell_first(waiting: &mut Waiting, args: &Args) -> Result<u64, Failure> {
    let Some((number, outcome)) = waiting.pop_front() else { return Ok(0) };
    let outcome = timeout(args.timeout, outcome).await.map_err(|_| {
        Failure::new(format!("message {number}: no outcome in time; the broker may or may not have it"))
    })?;
    let outcome = outcome.map_err(|error| failed(number, &error))?;
    let accepted = matches!(outcome, Outcome::Accepted(_));
    if !(accepted && args.quiet) {
        print_line(&format!("{number}: {}", outcome_text(&outcome)))?;
    }
    Ok(u64::from(accepted))
}

fn message(args: &Args, number: u64, body: Body<Value>) -> Message<Body<Value>> {
    let header = Header {
        durable: !args.non_durable,
        priority: args.priority.map_or_else(Priority::default, Priority),
        ttl: args.ttl,
        ..Header::default()
    };
    let id = args.message_id.as_ref().map(|id| id.replace("%d", &number.to_string()));
    let properties = Properties {
        message_id: id.map(MessageId::String),
        subject: args.subject.clone(),
        reply_to: args.reply_to.clone(),
        group_id: args.group_id.clone(),
        ..Properties::default()
    };
    let own = args.property.iter().map(|(key, value)| (key.clone(), SimpleValue::String(value.clone())));
    Message {
        header: Some(header),
        delivery_annotations: None,
        message_annotations: None,
        properties: (properties != Properties::default()).then_some(properties),
        application_properties: (!args.property.is_empty()).then(|| ApplicationProperties(own.collect())),
        body,
        footer: None,
    }
}

pub(super) fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(_) => "accepted".to_owned(),
        Outcome::Released(_) => "released: not taken now, may be sent again".to_owned(),
        Outcome::Rejected(rejected) => match &rejected.error {
            Some(error) => format!("rejected: {}", condition(error)),
            None => "rejected, without a reason".to_owned(),
        },
        Outcome::Modified(modified) if modified.delivery_failed == Some(true) => {
            "modified: delivery failed".to_owned()
        }
        Outcome::Modified(_) => "modified".to_owned(),
        Outcome::Declared(_) => "declared: taken for a transaction, which it is not".to_owned(),
    }
}

fn failed(number: u64, error: &SendError) -> Failure {
    let why = match error {
        SendError::LinkStateError(error) => link_gone(error),
        SendError::Detached(error) => detached(error),
        other => other.to_string(),
    };
    Failure::new(format!("message {number}: {why}"))
}

fn refused(address: &str, error: &SenderAttachError) -> Failure {
    let why = match error {
        SenderAttachError::RemoteClosedWithError(error) => condition(error),
        SenderAttachError::SessionStopped(reason) => stopped(reason),
        other => other.to_string(),
    };
    Failure::new(format!("cannot send to {address}: {why}"))
}
