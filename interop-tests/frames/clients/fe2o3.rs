//! fe2o3-amqp: one call for one message, then a clean close.
//!
//! usage: frames-fe2o3 SCENARIO URL QUEUE
//!
//! Invariant: a scenario is one call of the library, with what it takes by default around it. Checks nothing: what
//! was sent is told by the recorder in between (`interop-tests/frames`).
#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::time::Duration;

use fe2o3_amqp::link::Receiver;
use fe2o3_amqp::link::delivery::Delivery;
use fe2o3_amqp::types::definitions::{Error, ErrorCondition, Fields, ReceiverSettleMode};
use fe2o3_amqp::types::messaging::Modified;
use fe2o3_amqp::types::primitives::{OrderedMap, Symbol, Value};
use fe2o3_amqp::{Connection, Session};

const WAIT_LIMIT: Duration = Duration::from_secs(10);

type Outcome = Result<(), Box<dyn StdError>>;

fn error() -> Error {
    let mut info = Fields::new();
    info.insert(Symbol::from("field"), Value::String("customer".to_owned()));
    let condition = ErrorCondition::Custom(Symbol::from("app:bad"));
    Error::new(condition, "no such customer".to_owned(), Some(info))
}

fn modified(failed: Option<bool>, here: Option<bool>, annotations: &[(&str, Value)]) -> Modified {
    let annotations: OrderedMap<Symbol, Value> =
        annotations.iter().map(|(key, value)| (Symbol::from(*key), value.clone())).collect();
    Modified {
        delivery_failed: failed,
        undeliverable_here: here,
        message_annotations: (!annotations.is_empty()).then_some(annotations),
    }
}

/// The `modified` of a scenario.
fn answer(scenario: &str) -> Option<Modified> {
    let text = |text: &str| Value::String(text.to_owned());
    let condition = Value::Symbol(Symbol::from("app:parse-error"));
    let yes = Some(true);
    Some(match scenario {
        "modified" => modified(None, None, &[]),
        "failed" | "second-failed" => modified(yes, None, &[]),
        "failed-undeliverable" => modified(yes, yes, &[]),
        "annotations" => modified(yes, None, &[("x-note", text("slow"))]),
        "delay" => modified(yes, None, &[("x-opt-delivery-delay", Value::Ulong(300))]),
        "reason" => modified(
            yes,
            None,
            &[
                ("x-opt-error-condition", condition),
                ("x-opt-error-description", text("line 3: expected a number")),
            ],
        ),
        _ => return None,
    })
}

/// The call of a scenario that says something about the message.
async fn settle(scenario: &str, receiver: &Receiver, letter: &Delivery<String>) -> Outcome {
    match scenario {
        "accept" | "second-accept" => receiver.accept(letter).await?,
        "reject" => receiver.reject(letter, None).await?,
        "reject-error" => receiver.reject(letter, error()).await?,
        "release" => receiver.release(letter).await?,
        "auto-accept" | "close" | "close-link" => {}
        "drop" => std::process::exit(0),
        _ => {
            let modified = answer(scenario).ok_or_else(|| format!("unknown scenario '{scenario}'"))?;
            receiver.modify(letter, modified).await?;
        }
    }
    Ok(())
}

async fn run(scenario: &str, url: &str, queue: &str) -> Outcome {
    let mut connection = Connection::open("frames-fe2o3", url).await?;
    let mut session = Session::begin(&mut connection).await?;
    let mode =
        if scenario.starts_with("second") { ReceiverSettleMode::Second } else { ReceiverSettleMode::First };
    let mut receiver = Receiver::builder()
        .name("link")
        .source(queue)
        .receiver_settle_mode(mode)
        .auto_accept(scenario == "auto-accept")
        .attach(&mut session)
        .await?;
    let letter: Delivery<String> = receiver.recv().await?;
    settle(scenario, &receiver, &letter).await?;
    if scenario != "close" {
        receiver.close().await?;
        session.end().await?;
    }
    connection.close().await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, url, queue] = words.as_slice() else {
        return Err(format!("got {} arguments, expected SCENARIO URL QUEUE", words.len()).into());
    };
    tokio::time::timeout(WAIT_LIMIT, run(scenario, url, queue)).await?
}
