//! `EXPLAIN`: the history of a message, and why it is not being delivered now.
//!
//! Invariant: says what the broker knows and no more: what a consumer gave as its reason is kept whole. Changes nothing.

use super::{
    super::House,
    Asked, Found, shown,
    walk::{self, one},
};
use crate::{
    broker::{EntryState, Why},
    management::{Key, Reply, Tree, Which},
    server::queue::ToQueue,
    time::Millis,
};

/// `verdict.queue` `EXPLAIN`: in this queue, or in all.
///
/// # Errors
/// 404 when there is no such queue, or no such message.
pub async fn explain(house: &House, queue: Option<&str>, which: Which) -> Result<Reply, Reply> {
    let queues = match queue {
        Some(name) => vec![Asked::find(house, name)?],
        None => {
            let names = house.registry.watched().0.into_iter().map(|watched| watched.name);
            names.filter_map(|name| Asked::find(house, &name).ok()).collect()
        }
    };
    let mut explained = Vec::new();
    for asked in &queues {
        for dead_letter in [false, true] {
            let found = match &which {
                Which::Sequence(seq) => one(house, asked, dead_letter, *seq).await.map(Vec::from_iter),
                Which::MessageId(id) => walk::by_message_id(house, asked, dead_letter, id).await,
            };
            // One queue of many that has no time must not hide what is in the others.
            let found = match found {
                Err(_) if queue.is_none() => continue,
                found => found?,
            };
            for one in found {
                let why = asked.ask(|reply| ToQueue::Explain(dead_letter, one.seen.seq, reply)).await?;
                let why = why.map(|(_, why)| why).unwrap_or_default();
                explained.push(Tree::Map(explanation(&asked.name, dead_letter, &one, &why)));
            }
        }
    }
    if explained.is_empty() {
        let what = match which {
            Which::Sequence(seq) => format!("no message {}", seq.0),
            Which::MessageId(id) => format!("no message with message-id {id:?}"),
        };
        let place = queue.map_or("any queue".to_owned(), |name| format!("queue {name:?}"));
        return Err(Reply::not_found(format!(
            "{what} in {place} or its dead letters: it was never there, or has been accepted, expired or removed"
        )));
    }
    Ok(Reply::ok(Tree::map([("found", Tree::List(explained))])))
}

/// EXPLANATION.
pub fn explanation(queue: &str, dead_letter: bool, found: &Found, why: &[Why]) -> Vec<(Key, Tree)> {
    let mut pairs = shown::fields(queue, found);
    let nothing = EntryState::default();
    let state = found.state.as_deref().unwrap_or(&nothing);
    let deaths = state.death.iter().map(|death| {
        Tree::map([
            ("time", death.time.into()),
            ("queue", death.queue.clone().into()),
            ("reason", death.reason.as_str().into()),
            ("attempts", death.attempts.into()),
            ("first-queue", death.first.0.clone().into()),
            ("first-reason", death.first.1.as_str().into()),
        ])
    });
    pairs.extend([
        ("dead-letter".into(), dead_letter.into()),
        ("failures".into(), Tree::List(state.failures.iter().map(shown::failure).collect())),
        ("failures-dropped".into(), state.failures_dropped.into()),
        ("annotations".into(), shown::annotations(&state.annotations)),
        ("excluded".into(), Tree::list(state.excluded.iter().map(String::as_str))),
        ("deaths".into(), Tree::List(deaths.collect())),
        ("why".into(), Tree::List(why.iter().map(reason).collect())),
    ]);
    pairs
}

fn reason(why: &Why) -> Tree {
    let (name, text, more): (&str, String, Vec<(&'static str, Tree)>) = match why {
        Why::Acquired { consumer } => {
            let text = format!("{consumer} has it and has not settled it");
            ("acquired", text, vec![("consumer", (&**consumer).into())])
        }
        Why::Delayed { until } => {
            ("delayed", "it waits for its time".to_owned(), vec![time("until", *until)])
        }
        Why::Unreadable => {
            let text = "its bytes could not be read; the broker's log says why, and it is tried again";
            ("unreadable", text.to_owned(), Vec::new())
        }
        Why::Moving => ("moving", "it is on its way to another queue".to_owned(), Vec::new()),
        Why::Dead => {
            let text = "it is a dead letter: consumers of the queue do not get it until it is replayed";
            ("dead", text.to_owned(), Vec::new())
        }
        Why::BreakerOpen { until } => {
            let text = "too much of this queue failed: its breaker is open, nothing is delivered";
            ("breaker-open", text.to_owned(), vec![time("until", *until)])
        }
        Why::BreakerProbing { allowed } => {
            let text = format!("the queue's breaker probes: {allowed} at a time are delivered");
            ("breaker-probing", text, vec![("allowed", (*allowed).into())])
        }
        Why::GroupHeld { by } => {
            let text = format!("message {} of its group failed and is being tried again", by.0);
            ("group-held", text, vec![("by", by.0.into())])
        }
        Why::NoConsumer => ("no-consumer", "no consumer is attached to the queue".to_owned(), Vec::new()),
        Why::NoCredit { consumers } => {
            let text = format!("none of the {consumers} consumers attached has credit for it");
            ("no-credit", text, vec![("consumers", (*consumers).into())])
        }
        Why::Excluded { endpoints } => {
            let text = "every consumer with credit has declared it undeliverable at its link";
            (
                "excluded",
                text.to_owned(),
                vec![("endpoints", Tree::list(endpoints.iter().map(String::as_str)))],
            )
        }
        Why::Filtered => {
            let text = "no consumer with credit that may have it selects it with its filter";
            ("filtered", text.to_owned(), Vec::new())
        }
        Why::Suspect => {
            let text = "its last consumer may have crashed on it: it goes alone, to a consumer that holds nothing else";
            ("suspect", text.to_owned(), Vec::new())
        }
        Why::Behind { messages } => {
            let text = format!("{messages} messages come before it");
            ("behind", text, vec![("count", (*messages).into())])
        }
        Why::Deliverable => {
            ("deliverable", "nothing stands in its way: it goes out next".to_owned(), Vec::new())
        }
    };
    let said = [("reason", Tree::from(name)), ("text", text.into())];
    Tree::Map(said.into_iter().chain(more).map(|(key, value)| (key.into(), value)).collect())
}

fn time(name: &'static str, at: Millis) -> (&'static str, Tree) {
    (name, at.into())
}
