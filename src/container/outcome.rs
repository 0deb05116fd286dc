//! Delivery states ↔ settlement outcomes, both ways.
//!
//! Invariant: only the four outcomes of part 3.4 reach the core. Keys of `modified` annotations that
//! the broker keeps for itself are skipped, never an error (settlement: `modified.message-annotations`). What a
//! consumer says along with an outcome is kept within `limits`: it is copied to every message it is about.

use fe2o3_amqp_types::{
    definitions::{AmqpError, Error, Fields},
    messaging,
};
use serde_amqp::{
    Value,
    primitives::{Symbol, Timestamp},
};

use crate::{
    amqp::codec::{
        DeliveryState, OUTCOMES, condition_name, decode_fields, encode_fields, encode_value, error_condition,
        from_wire_outcome, section, to_wire_outcome,
    },
    broker::{Annotations, Cause, Modified, NotBefore, Outcome},
    limits,
    time::Millis,
};

/// Bytes kept of `x-opt-error-condition`: it comes with every failed attempt, and many are remembered.
const CONDITION_KEPT: usize = 256;
/// The same of `x-opt-error-description`.
const DESCRIPTION_KEPT: usize = 2048;

/// A set of outcomes, as source.outcomes gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Set(u8);

impl Set {
    /// From symbols; unknown ones were refused by the codec.
    pub(super) fn of<'a>(symbols: impl IntoIterator<Item = &'a Symbol>) -> Self {
        Self(symbols.into_iter().fold(0, |set, symbol| {
            OUTCOMES.iter().position(|name| *name == symbol.as_str()).map_or(set, |bit| set | 1 << bit)
        }))
    }

    pub(super) fn has(self, outcome: &Outcome) -> bool {
        self.0 & (1 << index(outcome)) != 0
    }

    fn names(self) -> String {
        let names = OUTCOMES.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        names.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }
}

fn index(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Accepted => 0,
        Outcome::Rejected(_) => 1,
        Outcome::Released => 2,
        Outcome::Modified(_) => 3,
    }
}

/// The error for an outcome that the link's source.outcomes does not list.
pub(super) fn not_in_force(outcome: &Outcome, allowed: &Set) -> Error {
    let got = OUTCOMES.get(index(outcome)).copied().unwrap_or_default();
    let why = format!(
        "outcome {got} is not among the link's source.outcomes, expected one of: {}",
        allowed.names()
    );
    Error::new(AmqpError::NotAllowed, Some(why), None)
}

/// The outcome in a delivery state; `None`: the state is not terminal, or there is none.
pub(super) fn read(state: Option<DeliveryState>) -> Result<Option<Outcome>, Error> {
    let unsupported = |what: &str| {
        let why =
            format!("delivery state {what} is not supported here, expected one of: {}", OUTCOMES.join(", "));
        Err(Error::new(AmqpError::NotImplemented, Some(why), None))
    };
    Ok(Some(match state {
        None | Some(DeliveryState::Received(..)) => return Ok(None),
        Some(DeliveryState::Accepted) => Outcome::Accepted,
        Some(DeliveryState::Released) => Outcome::Released,
        Some(DeliveryState::Rejected(error)) => Outcome::Rejected(error.map(|error| Box::new(cause(*error)))),
        Some(DeliveryState::Modified(modified, skipped)) => {
            let mut read = read_modified(*modified);
            read.skipped += skipped;
            Outcome::Modified(Box::new(read))
        }
        Some(DeliveryState::Transactional(_)) => return unsupported("amqp:transactional-state:list"),
        Some(DeliveryState::Declared(_)) => return unsupported("amqp:declared:list"),
        Some(DeliveryState::Unknown(descriptor)) => return unsupported(&descriptor),
    }))
}

/// The outcome a source names as its default (already known to be one of the four).
pub(super) fn read_default(outcome: &messaging::Outcome) -> Outcome {
    read(Some(from_wire_outcome(outcome))).ok().flatten().unwrap_or(Outcome::Released)
}

fn read_modified(modified: messaging::Modified) -> Modified {
    let mut read = Modified {
        delivery_failed: modified.delivery_failed.unwrap_or(false),
        undeliverable_here: modified.undeliverable_here.unwrap_or(false),
        ..Modified::default()
    };
    let mut error = Cause::default();
    let mut room = limits::MODIFIED_ANNOTATIONS_BYTES;
    for (key, value) in modified.message_annotations.unwrap_or_default() {
        match key.as_str() {
            "x-opt-delivery-delay" => read.not_before = number(&value).map(NotBefore::After),
            "x-opt-delivery-time" => read.not_before = number(&value).map(Millis).map(NotBefore::At),
            // `modified` has no error field: these two stand in for it. They say why this attempt failed,
            // so they go to the failure record and not among the message's annotations.
            "x-opt-error-condition" => {
                error.condition =
                    words(&value).map(|text| shortened(text, CONDITION_KEPT)).unwrap_or_default();
            }
            "x-opt-error-description" => {
                error.description = words(&value).map(|text| shortened(text, DESCRIPTION_KEPT));
            }
            name if kept_for_the_broker(name) => read.skipped += 1,
            name => {
                let pair = super::encode::pair(name, |out| encode_value(&value, out));
                if let Some(left) = room.checked_sub(pair.0.len() + pair.1.len()) {
                    room = left;
                    read.annotations.merge(Annotations(vec![pair]));
                    read.words.extend(words(&value).map(|text| (name.to_owned(), text)));
                } else {
                    read.skipped += 1;
                }
            }
        }
    }
    read.cause = (error != Cause::default()).then(|| Box::new(error));
    read
}

/// A text, or a scalar as people write it: what a rule can be about.
fn words(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.clone(),
        Value::Symbol(symbol) => symbol.as_str().to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Byte(n) => n.to_string(),
        Value::Short(n) => n.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Long(n) => n.to_string(),
        value => number(value)?.to_string(),
    })
}

/// At most `bytes` of a text, cut between characters.
fn shortened(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Annotations that say what the broker did; nobody else writes them.
fn kept_for_the_broker(name: &str) -> bool {
    name == "x-opt-acquired-count"
        || name.starts_with("x-opt-dl-")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Ubyte(n) => Some(u64::from(*n)),
        Value::Ushort(n) => Some(u64::from(*n)),
        Value::Uint(n) => Some(u64::from(*n)),
        Value::Ulong(n) => Some(*n),
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::Long(n) => u64::try_from(*n).ok(),
        Value::Timestamp(timestamp) => u64::try_from(timestamp.milliseconds()).ok(),
        _ => None,
    }
}

/// A consumer's error, as much of it as is kept.
fn cause(error: Error) -> Cause {
    let info = error.info.map(|info| {
        let mut bytes = Vec::new();
        encode_fields(&info, &mut bytes);
        bytes.into_boxed_slice()
    });
    Cause {
        condition: cut(condition_name(&error.condition), limits::CAUSE_CONDITION_BYTES),
        description: error.description.map(|text| cut(text, limits::CAUSE_DESCRIPTION_BYTES)),
        info: info.filter(|bytes| bytes.len() <= limits::CAUSE_INFO_BYTES),
    }
}

/// The text, or its beginning where it is longer than `max` bytes; without the room that is not needed.
pub(super) fn cut(mut text: String, max: usize) -> String {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text.shrink_to_fit();
    text
}

/// An outcome as it goes over the wire.
pub(super) fn write(outcome: &Outcome) -> DeliveryState {
    match outcome {
        Outcome::Accepted => DeliveryState::Accepted,
        Outcome::Released => DeliveryState::Released,
        Outcome::Rejected(cause) => {
            DeliveryState::Rejected(cause.as_deref().map(|cause| Box::new(error_of(cause))))
        }
        Outcome::Modified(modified) => {
            let modified = messaging::Modified {
                delivery_failed: Some(modified.delivery_failed),
                undeliverable_here: Some(modified.undeliverable_here),
                message_annotations: None,
            };
            DeliveryState::Modified(Box::new(modified), 0)
        }
    }
}

/// "The attach reply states the default-outcome that will really be applied": without the annotations that are skipped.
pub(super) fn write_default(outcome: &Outcome) -> messaging::Outcome {
    let mut state = write(outcome);
    if let (DeliveryState::Modified(told, _), Outcome::Modified(applied)) = (&mut state, outcome) {
        told.message_annotations = applied_annotations(applied);
    }
    // All four outcomes have a form on the wire.
    to_wire_outcome(&state).unwrap_or(messaging::Outcome::Released(messaging::Released {}))
}

fn applied_annotations(modified: &Modified) -> Option<Fields> {
    let mut merged = Vec::new();
    section::encode_map(modified.annotations.0.iter().map(|(key, value)| (&**key, &**value)), &mut merged);
    let mut fields = decode_fields("message-annotations", &merged).unwrap_or_default();
    let mut say = |key: &str, value: Value| fields.insert(Symbol::from(key), value);
    match modified.not_before {
        Some(NotBefore::After(ms)) => _ = say("x-opt-delivery-delay", Value::Ulong(ms)),
        Some(NotBefore::At(Millis(time))) => {
            let time = Timestamp::from_milliseconds(i64::try_from(time).unwrap_or(i64::MAX));
            say("x-opt-delivery-time", Value::Timestamp(time));
        }
        None => {}
    }
    if let Some(Cause { condition, description, .. }) = modified.cause.as_deref() {
        if !condition.is_empty() {
            say("x-opt-error-condition", Value::Symbol(Symbol::from(&**condition)));
        }
        if let Some(description) = description {
            say("x-opt-error-description", Value::String(description.clone()));
        }
    }
    (!fields.is_empty()).then_some(fields)
}

/// A cause as an error (part 2.8.14), whole.
pub(super) fn error_of(cause: &Cause) -> Error {
    let info = cause.info.as_deref().and_then(|bytes| decode_fields("info", bytes).ok());
    Error::new(error_condition(&cause.condition), cause.description.clone(), info)
}

/// An error in words, for the log; a peer's error is not logged at whatever length it has.
pub(super) fn describe(error: &Error) -> String {
    let condition = condition_name(&error.condition);
    let words = match &error.description {
        Some(description) => format!("{condition}: {description}"),
        None => condition,
    };
    cut(words, limits::CAUSE_DESCRIPTION_BYTES)
}
