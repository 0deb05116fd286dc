//! What the broker writes anew of a message: header, delivery-annotations, message-annotations.
//!
//! Invariant: the bare message is never touched (part 3.2); where nothing was added, neither are its
//! message-annotations, which are then forwarded bit for bit with it.

use super::outcome;
use crate::{
    amqp::codec::{
        code::descriptor::{DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS},
        encode_error, section, write,
    },
    broker::{Death, DeathReason, Delivery, EntryState},
};

/// Whether a message is not of the format of part 3.2, which has the code 0. 2.8.11: "the upper three octets of a
/// message format code identify a particular message format", the lowest its version.
pub(super) fn is_foreign(message_format: u32) -> bool {
    message_format >> 8 != 0
}

/// The sections to send before the message's own bytes, and where in those to go on.
pub(super) fn sections(delivery: &Delivery, dead_letter: bool) -> (Vec<u8>, usize) {
    let message = &delivery.message;
    if is_foreign(message.format) {
        return (Vec::new(), message.from as usize);
    }
    let mut out = Vec::with_capacity(16);
    let header = section::Header {
        durable: message.durable,
        priority: message.priority,
        ttl: delivery.ttl_ms,
        first_acquirer: message.first_acquirer && delivery.acquired_count == 0,
        delivery_count: delivery.delivery_count,
    };
    if header != section::Header::default() {
        section::encode_header(&header, &mut out);
    }
    let state = delivery.state.as_deref();
    let death = state.and_then(|state| state.death.as_deref());
    if let (Some(state), Some(death)) = (state, death)
        && (dead_letter || is_dead(state, death))
    {
        delivery_annotations(death, &mut out);
    }
    let from = message.from as usize;
    let changed = delivery.acquired_count > 0
        || state.is_some_and(|state| !state.annotations.is_empty() || state.death.is_some())
        || claims_acquisitions(message.payload());
    if !changed {
        return (out, from);
    }
    // The sections were walked when the message came in, so this cannot fail; if it does, send as it was.
    let Ok(found) = section::walk(message.payload()) else { return (out, from) };
    let published = found.message_annotations.clone().and_then(|range| message.payload().get(range));
    message_annotations(delivery, state, published, &mut out);
    (out, from + found.bare.start)
}

/// Annotations that say what only the broker can know. A publisher that sends on what it got has them from there: "only
/// when > 0", and of another death, they would not be true here.
pub(super) fn only_ours(name: &[u8], dead: bool) -> bool {
    name == ACQUIRED_COUNT.as_bytes() || (dead && name.starts_with(b"x-opt-dl-"))
}

/// Whether a publisher says how often a message was acquired. Most have no annotations and are not looked into.
fn claims_acquisitions(payload: &[u8]) -> bool {
    if matches!(payload, [0x00, 0x53, 0x73..=0x78, ..]) {
        return false;
    }
    let range = section::walk(payload).ok().and_then(|sections| sections.message_annotations);
    let annotations = range.and_then(|range| payload.get(range)).unwrap_or_default();
    annotations.windows(ACQUIRED_COUNT.len()).any(|name| name == ACQUIRED_COUNT.as_bytes())
}

/// How often a message was handed to a consumer and came back.
const ACQUIRED_COUNT: &str = "x-opt-acquired-count";

/// An annotation, encoded.
type Pair = (Box<[u8]>, Box<[u8]>);

/// Whether a message is a dead letter where it is: "A queue may name another queue as target" of its own. One that a
/// replay put back has its death in its annotations, and lives.
fn is_dead(state: &EntryState, death: &Death) -> bool {
    state.replays.last().is_none_or(|replay| replay.time < death.time)
}

/// Delivery-annotation `rejected`: the consumer's error, for whoever looks at the dead letter (3.4.2).
fn delivery_annotations(death: &Death, out: &mut Vec<u8>) {
    // A cause that came with FAILED is in the annotations; nobody rejected the message.
    let Some(cause) = death.cause.as_ref().filter(|_| death.reason == DeathReason::Rejected) else { return };
    let error = pair("rejected", |out| encode_error(&outcome::error_of(cause), out));
    section::encode_map_section(DELIVERY_ANNOTATIONS, borrowed(&[error]), out);
}

/// The published annotations, overridden by merged ones, overridden by the broker's own.
fn message_annotations(
    delivery: &Delivery,
    state: Option<&EntryState>,
    published: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    let death = state.and_then(|state| state.death.as_deref());
    let mut added: Vec<Pair> = own_annotations(delivery.acquired_count, death).map(own_pair).collect();
    if let Some(state) = state {
        let merged = state.annotations.0.iter();
        let merged: Vec<Pair> =
            merged.filter(|(key, _)| added.iter().all(|(ours, _)| ours != key)).cloned().collect();
        added.extend(merged);
    }
    let kept = published.and_then(|bytes| section::map_pairs(bytes).ok()).into_iter().flatten();
    let kept: Vec<(&[u8], &[u8])> = kept
        .filter(|(key, _)| {
            section::canonical_key(key).is_none_or(|key| {
                // A symbol's encoding and length, then its text.
                let name = key.get(2..).unwrap_or_default();
                !only_ours(name, death.is_some()) && added.iter().all(|(ours, _)| *ours != key)
            })
        })
        .collect();
    if !(kept.is_empty() && added.is_empty()) {
        section::encode_map_section(MESSAGE_ANNOTATIONS, kept.into_iter().chain(borrowed(&added)), out);
    }
}

fn borrowed(pairs: &[Pair]) -> impl Iterator<Item = (&[u8], &[u8])> {
    pairs.iter().map(|(key, value)| (&key[..], &value[..]))
}

/// An annotation whose key is a symbol.
pub(super) fn pair(key: &str, value: impl FnOnce(&mut Vec<u8>)) -> Pair {
    let (mut encoded_key, mut encoded_value) = (Vec::new(), Vec::new());
    write::symbol(&mut encoded_key, key);
    value(&mut encoded_value);
    (encoded_key.into(), encoded_value.into())
}

/// A value of an annotation that the broker makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said<'d> {
    Symbol(&'d str),
    String(&'d str),
    Timestamp(i64),
    Uint(u32),
}

/// The broker's own annotations: how often it was acquired, and those of a dead letter.
pub(super) fn own_annotations(
    acquired_count: u32,
    death: Option<&Death>,
) -> impl Iterator<Item = (&'static str, Said<'_>)> {
    let acquired = (acquired_count > 0).then_some((ACQUIRED_COUNT, Said::Uint(acquired_count)));
    acquired.into_iter().chain(death.into_iter().flat_map(death_annotations))
}

/// The dead-letter annotations (settlement: the dead-letter tree), scalars all.
fn death_annotations(death: &Death) -> impl Iterator<Item = (&'static str, Said<'_>)> {
    let time = i64::try_from(death.time.0).unwrap_or(i64::MAX);
    let cause = death.cause.as_ref();
    let condition = cause.map(|cause| cause.condition.as_str()).filter(|condition| !condition.is_empty());
    let description = cause.and_then(|cause| cause.description.as_deref());
    [
        ("x-opt-ORIG-QUEUE", Said::String(&death.queue)),
        ("x-opt-ORIG-ADDRESS", Said::String(&death.address)),
        ("x-first-death-queue", Said::String(&death.first.0)),
        ("x-first-death-reason", Said::String(death.first.1.as_str())),
        ("x-last-death-queue", Said::String(&death.queue)),
        ("x-last-death-reason", Said::String(death.reason.as_str())),
        ("x-opt-deadletter-source", Said::String(&death.queue)),
        ("x-opt-dl-reason", Said::Symbol(death.reason.as_str())),
        ("x-opt-dl-time", Said::Timestamp(time)),
        ("x-opt-dl-attempts", Said::Uint(death.attempts)),
    ]
    .into_iter()
    .chain(condition.map(|condition| ("x-opt-dl-condition", Said::Symbol(condition))))
    .chain(description.map(|description| ("x-opt-dl-description", Said::String(description))))
}

fn own_pair((key, value): (&'static str, Said<'_>)) -> Pair {
    pair(key, |out| match value {
        Said::Symbol(text) => write::symbol(out, text),
        Said::String(text) => write::string(out, text),
        Said::Timestamp(time) => write::timestamp(out, time),
        Said::Uint(number) => write::uint(out, number),
    })
}
