//! A message as the core and the store see it: a few header fields and bytes nobody below looks into.
//!
//! Invariant: `bytes` is never changed after publication; everything the broker learns about a message
//! later is in `EntryState`. The core does not know AMQP's encoding: annotations are opaque pairs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// The immutable part of a message, from its publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message-annotations section if there was one, then the bare message and footer, bit for bit
    /// as published. Header and delivery-annotations are not in it (part 3.2).
    pub bytes: Arc<[u8]>,
    /// Where in `bytes` that begins: what came before (header, delivery-annotations) was for this hop
    /// only, and cutting it off by an offset spares a copy.
    pub from: u32,
    /// The transfer's message-format (part 2.7.5).
    pub format: u32,
    /// header.durable: survives a crash, and its `accepted` waits for the disk.
    pub durable: bool,
    /// header.priority, 0 to 9 used (larger values count as 9), default 4.
    pub priority: u8,
    /// header.first-acquirer as published.
    pub first_acquirer: bool,
    /// header.delivery-count as published.
    pub delivery_count: u32,
    /// When it expires: arrival + header.ttl, or properties.absolute-expiry-time, whichever is sooner.
    pub expires: Option<Millis>,
}

impl Message {
    /// The sections that are kept and forwarded.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(self.from as usize..).unwrap_or_default()
    }
}

/// What changes about a message while it is queued, and must survive a crash when the message does.
/// Absent (`None` where it is optional) means all default: most messages never have one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EntryState {
    /// Failed attempts, the publisher's value included.
    pub delivery_count: u32,
    /// Times handed to a consumer and given back.
    pub acquired_count: u32,
    /// Not to be delivered before this time (retry delay).
    pub not_before: Option<Millis>,
    /// Annotations merged in by `modified` outcomes; they override those in the message's bytes.
    pub annotations: Annotations,
    /// Link endpoints that declared the message undeliverable-here.
    pub excluded: Vec<String>,
    /// The failure record: one per failed attempt, newest last, bounded by `limits::FAILURES_KEPT`.
    pub failures: Vec<Failure>,
    /// How many older failures were dropped from `failures`.
    pub failures_dropped: u32,
    /// Why and whence it came, when this is in a dead-letter tree (or was replayed out of one).
    pub death: Option<Box<Death>>,
    /// The replays that put it back, newest last, bounded by `limits::REPLAYS_KEPT`. (Last, since layouts of before
    /// end where it begins: see `store::record`.)
    pub replays: Vec<Replay>,
}

impl EntryState {
    /// The queue it died in, if it is a dead letter that is kept in another queue, of this name.
    #[must_use]
    pub fn died_elsewhere(&self, here: &str) -> Option<&str> {
        let death = self.death.as_ref().filter(|death| death.queue != here)?;
        // One that was put back since is no dead letter where it is.
        let dead = self.replays.last().is_none_or(|replay| replay.time < death.time);
        dead.then_some(&*death.queue)
    }
}

/// A message was put back from the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The name the replay was given.
    pub id: String,
    /// When.
    pub time: Millis,
}

/// Annotation pairs, each key and value as its AMQP encoding; keys are unique and canonically encoded
/// (shortest form) by whoever makes them, so equality of bytes is equality of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Annotations(pub Vec<(Encoded, Encoded)>);

/// An AMQP value as its encoding.
pub type Encoded = Box<[u8]>;

impl Annotations {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Merges `newer` in; where both have a key, the newer value wins (settlement: `modified`).
    pub fn merge(&mut self, newer: Annotations) {
        for (key, value) in newer.0 {
            match self.0.iter_mut().find(|(k, _)| *k == key) {
                Some(pair) => pair.1 = value,
                None => self.0.push((key, value)),
            }
        }
    }
}

/// An error a consumer gave (part 2.8.14), with `info` as its AMQP encoding.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cause {
    /// error.condition, for example `amqp:decode-error`; empty if none was given.
    pub condition: String,
    /// error.description.
    pub description: Option<String>,
    /// error.info: the whole map as AMQP-encoded bytes.
    pub info: Option<Box<[u8]>>,
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When the broker learnt of it.
    pub time: Millis,
    /// The consumer: container-id, link name and user.
    pub consumer: Arc<str>,
    /// What the consumer answered.
    pub outcome: FailureOutcome,
    /// What it said about it.
    pub cause: Option<Cause>,
    /// Annotations it merged with this answer.
    pub annotations: Annotations,
    /// The delay given before the next attempt, in milliseconds.
    pub delay_ms: u64,
    /// The rule that decided (name from the configuration, or `default`).
    pub rule: String,
}

/// The kinds of failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureOutcome {
    /// `modified(delivery-failed=true)`.
    Failed,
    /// `rejected`.
    Rejected,
    /// The connection was lost with the delivery unsettled.
    Lost,
    /// It expired (no consumer involved).
    Expired,
}

/// Why a message is in a dead-letter tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeathReason {
    /// A consumer rejected it.
    Rejected,
    /// It failed `max-attempts` times.
    MaxAttempts,
    /// Its time to live passed.
    Expired,
    /// Every consumer declared it undeliverable-here.
    Undeliverable,
    /// Its queue was full and drops to dead letters.
    Overflow,
    /// A policy rule said so.
    Policy,
}

impl DeathReason {
    /// The wire word, value of `x-opt-dl-reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::MaxAttempts => "max-attempts",
            Self::Expired => "expired",
            Self::Undeliverable => "undeliverable",
            Self::Overflow => "overflow",
            Self::Policy => "policy",
        }
    }
}

/// What the dead-letter annotations are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Why, this time.
    pub reason: DeathReason,
    /// What the consumer said, where one did.
    pub cause: Option<Cause>,
    /// When.
    pub time: Millis,
    /// Attempts made when it died (`x-opt-dl-attempts`).
    pub attempts: u32,
    /// The queue it died in, this time.
    pub queue: String,
    /// The address it was published to (the queue's, where the publisher's is not known).
    pub address: String,
    /// The queue and reason of its first death.
    pub first: (String, DeathReason),
}
