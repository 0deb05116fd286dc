//! `verdict receive`: takes messages from a queue, prints them, and answers each with the outcome asked for.
//!
//! Invariant: with --count, no more credit is given than messages are wanted, so that nobody else's message
//! is touched. A message is answered after it was printed. Interrupted, it detaches in good order.

use std::time::Duration;

use clap::ValueEnum;
use fe2o3_amqp::{
    Delivery, Receiver,
    link::{CreditMode, ReceiverAttachError, RecvError},
};
use fe2o3_amqp_types::{
    definitions::{self, ErrorCondition},
    messaging::{Body, DistributionMode, Modified, Source},
    primitives::{Symbol, Value},
};
use serde_amqp::{described::Described, descriptor::Descriptor};
use tokio::time::timeout;

use super::{
    Failure, block_on,
    client::{BrokerArgs, Client, condition, link_gone, stopped, within},
    interrupted, print_line,
    send::duration,
    show,
};

/// What our filter is called in the filter-set.
const FILTER: &str = "selector";

/// Receive messages, print them, and settle them as you say
///
/// The outcome is for every message: `accepted` removes it, `failed` has it tried again (and dead-lettered
/// after the queue's max-attempts), `rejected` sends it to the dead letters, `released` puts it back.
/// With another outcome than `accepted` the same messages come again: --count says how many to take.
/// Dead letters are in the address QUEUE/$deadletter.
/// Exit code 0: done, or interrupted. 1: fewer than --count came before the timeout.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict receive orders --count 1\n  \
                        verdict receive orders --outcome rejected --condition app:bad-date --count 1\n  \
                        verdict receive 'orders/$deadletter' --browse --timeout 1s --format json\n  \
                        verdict receive 'orders/$deadletter' --filter \"x-opt-dl-reason = 'rejected' AND x-opt-dl-attempts > 1\"")]
pub(super) struct Args {
    /// Queue to receive from
    address: String,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Stop after so many messages [default: go on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop when no message came for this long, such as 500ms or 10s [default: wait]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// How to settle each message
    #[arg(long, value_enum, default_value_t = Verdict::Accepted, conflicts_with = "browse")]
    outcome: Verdict,
    /// With --outcome rejected: the error condition, such as app:bad-date
    #[arg(long, value_name = "SYMBOL")]
    condition: Option<String>,
    /// With --outcome rejected: the error in words
    #[arg(long, value_name = "TEXT", requires = "condition")]
    description: Option<String>,
    /// Only messages that this selector selects, in the syntax of JMS (docs/selectors.md)
    #[arg(long, value_name = "SELECTOR")]
    filter: Option<String>,
    /// Look at messages and leave them where they are; --timeout ends it after the last one
    #[arg(long)]
    browse: bool,
    /// Most messages the broker may send ahead
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    credit: u32,
    /// How to print messages
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verdict {
    /// Done: remove it
    Accepted,
    /// Not my business: back to the queue, nothing counted
    Released,
    /// It went wrong: try again later (modified, delivery-failed)
    Failed,
    /// It can never go right: to the dead letters
    Rejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    if args.condition.is_some() && args.outcome != Verdict::Rejected {
        return Err(
            Failure::usage("--condition says why a message is rejected").hint("add --outcome rejected")
        );
    }
    block_on(receive_all(args))
}

async fn receive_all(args: Args) -> Result<(), Failure> {
    let mut client = Client::connect(&args.broker.url).await?;
    let mut source = Source::builder().address(args.address.as_str());
    if args.browse {
        source = source.distribution_mode(DistributionMode::Copy);
    }
    if let Some(selector) = &args.filter {
        source = source.add_to_filter(FILTER, Some(described(selector)));
    }
    let attaching = Receiver::builder()
        .name(format!("verdict-receive-{}", std::process::id()))
        .source(source.build())
        .credit_mode(CreditMode::Manual)
        .attach(&mut client.session);
    let mut receiver = match within("attaching", attaching).await? {
        Ok(receiver) => receiver,
        Err(error) => {
            client.close().await;
            return Err(refused(&args.address, &error));
        }
    };
    // "The sending endpoint sets the filter actually in place" (3.5.3): without it, the wrong messages would be settled.
    let in_place = receiver.source().as_ref().and_then(|source| source.filter.as_ref());
    if args.filter.is_some() && in_place.is_none_or(|filter| filter.get(FILTER).is_none()) {
        let _ = timeout(Duration::from_secs(10), receiver.close()).await;
        client.close().await;
        return Err(Failure::new(format!("the broker does not filter what it sends from {}", args.address)));
    }
    let result = tokio::select! {
        result = receive_some(&mut receiver, &args) => result,
        () = interrupted() => Ok(None),
    };
    let _ = timeout(Duration::from_secs(10), receiver.close()).await;
    client.close().await;
    match (result?, args.count) {
        (Some(received), Some(count)) if received < count => {
            Err(Failure::new(format!("{received} of {count} messages came before the timeout")))
        }
        (Some(0), None) => {
            eprintln!("no message came before the timeout");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A selector as a filter (part 3.5.8): a text described as one.
fn described(selector: &str) -> Described<Value> {
    let descriptor = Descriptor::Name(Symbol::from("apache.org:selector-filter:string"));
    Described { descriptor, value: Value::String(selector.to_owned()) }
}

/// Returns how many came.
async fn receive_some(receiver: &mut Receiver, args: &Args) -> Result<Option<u64>, Failure> {
    let wanted = args.count.unwrap_or(u64::MAX);
    let mut received = 0;
    let mut granted = 0u64;
    while received < wanted {
        // Credit is topped up when half is used: fewer flows than one for each message.
        let ahead = granted - received;
        let target = u64::from(args.credit).min(wanted - received);
        if ahead < target && ahead <= u64::from(args.credit / 2) {
            let credit = u32::try_from(target).unwrap_or(u32::MAX);
            receiver.set_credit(credit).await.map_err(|error| Failure::new(error.to_string()))?;
            granted = received + target;
        }
        let receiving = receiver.recv::<Body<Value>>();
        let delivery = match args.timeout {
            None => receiving.await,
            Some(wait) => match timeout(wait, receiving).await {
                Ok(delivery) => delivery,
                Err(_) => break,
            },
        };
        let delivery = delivery.map_err(|error| lost(&error))?;
        received += 1;
        print_line(&match args.format {
            Format::Text => show::text(received, delivery.message()),
            Format::Json => show::json(delivery.message()),
        })?;
        settle(receiver, &delivery, args).await?;
    }
    Ok(Some(received))
}

async fn settle(receiver: &Receiver, delivery: &Delivery<Body<Value>>, args: &Args) -> Result<(), Failure> {
    // What a browser says of a message changes nothing; accepting it frees the broker's record of the delivery.
    let settled = match args.outcome {
        Verdict::Accepted => receiver.accept(delivery).await,
        Verdict::Released => receiver.release(delivery).await,
        Verdict::Failed => {
            let failed =
                Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: None };
            receiver.modify(delivery, failed).await
        }
        Verdict::Rejected => receiver.reject(delivery, error(args)).await,
    };
    settled.map_err(|error| Failure::new(format!("cannot settle a message: {error}")))
}

fn error(args: &Args) -> Option<definitions::Error> {
    let condition = ErrorCondition::Custom(Symbol::from(args.condition.as_deref()?));
    Some(definitions::Error { condition, description: args.description.clone(), info: None })
}

fn lost(error: &RecvError) -> Failure {
    match error {
        RecvError::LinkStateError(error) => Failure::new(link_gone(error)),
        other => Failure::new(other.to_string()),
    }
}

fn refused(address: &str, error: &ReceiverAttachError) -> Failure {
    let why = match error {
        ReceiverAttachError::RemoteClosedWithError(error) => condition(error),
        ReceiverAttachError::SessionStopped(reason) => stopped(reason),
        other => other.to_string(),
    };
    Failure::new(format!("cannot receive from {address}: {why}"))
}
