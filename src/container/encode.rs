//! What the broker writes anew of a message: header, delivery-annotations, message-annotations.
//!
//! Invariant: the bare message is never touched (part 3.2); where nothing was added, neither are its
//! message-annotations, which are then forwarded bit for bit with it.

use serde_amqp::Value;

use super::outcome;
use crate::{
    amqp::codec::section,
    broker::{Death, Delivery, EntryState},
};

/// The sections to send before the message's own bytes, and where in those to go on.
pub(super) fn sections(delivery: &Delivery, dead_letter: bool) -> (Vec<u8>, usize) {
    let message = &delivery.message;
    let mut out = Vec::with_capacity(16);
    let header = section::Header {
        durable: message.durable,
        priority: message.priority,
        ttl_ms: delivery.ttl_ms,
        first_acquirer: message.first_acquirer && delivery.acquired_count == 0,
        delivery_count: delivery.delivery_count,
    };
    if header != section::Header::default() {
        section::encode_header(&header, &mut out);
    }
    let state = delivery.state.as_deref();
    let death = state.and_then(|state| state.death.as_deref());
    if let Some(death) = death.filter(|_| dead_letter) {
        delivery_annotations(death, &mut out);
    }
    let from = message.from as usize;
    let changed = delivery.acquired_count > 0
        || state.is_some_and(|state| !state.annotations.is_empty() || state.death.is_some());
    if !changed {
        return (out, from);
    }
    // The sections were walked when the message came in, so this cannot fail; if it does, send as it was.
    let Ok(found) = section::walk(message.payload()) else { return (out, from) };
    let published = found.message_annotations.clone().and_then(|range| message.payload().get(range));
    message_annotations(delivery, state, published, &mut out);
    (out, from + found.bare_from())
}

/// Delivery-annotation `rejected`: the consumer's error, for whoever looks at the dead letter (3.4.2).
fn delivery_annotations(death: &Death, out: &mut Vec<u8>) {
    let Some(cause) = &death.cause else { return };
    if let Ok(error) = serde_amqp::to_vec(&outcome::error_of(cause)) {
        let pairs = [(section::canonical_key("rejected"), error.into_boxed_slice())];
        section::encode_delivery_annotations(pairs.iter().map(|(k, v)| (&k[..], &v[..])), out);
    }
}

/// The published annotations, overridden by merged ones, overridden by the broker's own.
fn message_annotations(delivery: &Delivery, state: Option<&EntryState>, published: Option<&[u8]>, out: &mut Vec<u8>) {
    let mut added: Vec<(Box<[u8]>, Box<[u8]>)> = Vec::new();
    if delivery.acquired_count > 0 {
        added.push((section::canonical_key("x-opt-acquired-count"), encode(Value::Uint(delivery.acquired_count))));
    }
    if let Some(state) = state {
        if let Some(death) = &state.death {
            added.extend(death_annotations(death));
        }
        let ours: Vec<_> = state.annotations.0.iter().filter(|(key, _)| added.iter().all(|(k, _)| k != key)).cloned().collect();
        added.extend(ours);
    }
    let kept: Vec<(&[u8], &[u8])> = published
        .map(|bytes| section::map_pairs(bytes).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, _)| added.iter().all(|(k, _)| !section::same_key(k, key)))
        .collect();
    let all = kept.into_iter().chain(added.iter().map(|(k, v)| (&k[..], &v[..])));
    section::encode_message_annotations(all, out);
}

/// The dead-letter annotations (settlement: the dead-letter tree), scalars all.
fn death_annotations(death: &Death) -> Vec<(Box<[u8]>, Box<[u8]>)> {
    let symbol = |text: &str| Value::Symbol(text.into());
    let string = |text: &str| Value::String(text.to_owned());
    let mut values = vec![
        ("x-opt-ORIG-QUEUE", string(&death.queue)),
        ("x-opt-ORIG-ADDRESS", string(&death.address)),
        ("x-first-death-queue", string(&death.first.0)),
        ("x-first-death-reason", string(death.first.1.as_str())),
        ("x-last-death-queue", string(&death.queue)),
        ("x-last-death-reason", string(death.reason.as_str())),
        ("x-opt-deadletter-source", string(&death.queue)),
        ("x-opt-dl-reason", symbol(death.reason.as_str())),
        ("x-opt-dl-time", Value::Timestamp(serde_amqp::primitives::Timestamp::from_milliseconds(
            i64::try_from(death.time.0).unwrap_or(i64::MAX),
        ))),
        ("x-opt-dl-attempts", Value::Uint(death.attempts)),
    ];
    if let Some(cause) = &death.cause {
        if !cause.condition.is_empty() {
            values.push(("x-opt-dl-condition", symbol(&cause.condition)));
        }
        if let Some(description) = &cause.description {
            values.push(("x-opt-dl-description", string(description)));
        }
    }
    values.into_iter().map(|(key, value)| (section::canonical_key(key), encode(value))).collect()
}

fn encode(value: Value) -> Box<[u8]> {
    serde_amqp::to_vec(&value).unwrap_or_else(|_| vec![0x40]).into()
}
