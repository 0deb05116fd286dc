//! Messages as answers: the maps that docs/management.md calls SUMMARY, failure and cause.
//!
//! Invariant: the names are those of the contract, in its order; what is not known is null. Decides nothing.

use super::{Found, walk};
use crate::{
    amqp::codec::{self, section},
    broker::{Annotations, Cause, CauseCount, DeathReason, Failure, FailureOutcome, Judged, Standing},
    management::{Key, Tree},
};

/// Bytes of a body shown in a page of many.
const BODY_SHOWN: usize = 64 * 1024;

/// A cause's or another identity's id as text.
fn id(id: u64) -> Tree {
    format!("{id:016x}").into()
}

/// SUMMARY.
pub fn summary(queue: &str, found: &Found, body: bool) -> Tree {
    let mut pairs = fields(queue, found);
    if body {
        let payload = found.message.as_ref().map(|message| message.payload());
        let shown = payload.map(|bytes| Tree::Binary(bytes.get(..BODY_SHOWN).unwrap_or(bytes).into()));
        pairs.push(("body".into(), shown.unwrap_or(Tree::Null)));
    }
    Tree::Map(pairs)
}

/// The fields of a SUMMARY.
pub fn fields(queue: &str, found: &Found) -> Vec<(Key, Tree)> {
    let Found { seen, state, .. } = found;
    debug_assert!(seen.judged != Judged::No, "what does not match is not found");
    let delayed =
        state.as_ref().and_then(|state| state.not_before).filter(|_| seen.standing == Standing::Delayed);
    let mut pairs: Vec<(Key, Tree)> = vec![
        ("sequence".into(), seen.seq.0.into()),
        ("queue".into(), queue.into()),
        ("message-id".into(), walk::message_id(found).into()),
        ("size".into(), seen.size.into()),
        ("delivery-count".into(), seen.delivery_count.into()),
        ("acquired-count".into(), seen.acquired_count.into()),
        ("priority".into(), seen.priority.into()),
        ("status".into(), seen.standing.as_str().into()),
        ("expires".into(), seen.expires.into()),
        ("not-before".into(), delayed.into()),
    ];
    let Some(state) = state else { return pairs };
    let consumer = state.failures.last().map(|failure| failure.consumer.to_string());
    if let Some(death) = &state.death {
        let cause = death.cause.as_ref();
        pairs.extend([
            ("reason".into(), death.reason.as_str().into()),
            ("condition".into(), condition(cause)),
            ("description".into(), cause.and_then(|cause| cause.description.clone()).into()),
            ("time".into(), death.time.into()),
            ("attempts".into(), death.attempts.into()),
            ("origin".into(), death.queue.clone().into()),
            ("address".into(), death.address.clone().into()),
            ("consumer".into(), consumer.filter(|consumer| !consumer.is_empty()).into()),
            ("cause".into(), seen.letter.as_ref().map_or(Tree::Null, |letter| id(letter.cause))),
        ]);
    }
    if !state.replays.is_empty() || state.death.is_some() {
        let replays = state.replays.iter();
        let replays =
            replays.map(|replay| Tree::map([("id", replay.id.clone().into()), ("time", replay.time.into())]));
        pairs.push(("replays".into(), Tree::List(replays.collect())));
    }
    pairs
}

fn condition(cause: Option<&Cause>) -> Tree {
    cause.map(|cause| cause.condition.clone()).filter(|condition| !condition.is_empty()).into()
}

/// A failed attempt.
pub fn failure(failure: &Failure) -> Tree {
    let cause = failure.cause.as_ref();
    let outcome = match failure.outcome {
        FailureOutcome::Failed => "failed",
        FailureOutcome::Rejected => "rejected",
        FailureOutcome::Lost => "lost",
        FailureOutcome::Expired => "expired",
    };
    let consumer = Some(failure.consumer.to_string()).filter(|consumer| !consumer.is_empty());
    Tree::map([
        ("time", failure.time.into()),
        ("consumer", consumer.into()),
        ("outcome", outcome.into()),
        ("condition", condition(cause)),
        ("description", cause.and_then(|cause| cause.description.clone()).into()),
        ("info", cause.and_then(|cause| cause.info.as_deref()).map_or(Tree::Null, encoded)),
        ("annotations", annotations(&failure.annotations)),
        ("delay-ms", failure.delay_ms.into()),
        ("rule", failure.rule.clone().into()),
    ])
}

fn encoded(bytes: &[u8]) -> Tree {
    match codec::validate(bytes) {
        Ok(len) if len == bytes.len() => Tree::Encoded(bytes.into()),
        _ => Tree::Binary(bytes.into()),
    }
}

/// Annotations that were merged in.
pub fn annotations(annotations: &Annotations) -> Tree {
    let pair = |(key, value): &(Box<[u8]>, Box<[u8]>)| Some((words(key)?.into(), encoded(value)));
    Tree::Map(annotations.0.iter().filter_map(pair).collect())
}

/// A symbol, string or number used as a key, in words.
fn words(key: &[u8]) -> Option<String> {
    match Tree::from_value(codec::decode_value(key).ok()?).ok()? {
        Tree::Text(text) | Tree::Symbol(text) => Some(text),
        Tree::Unsigned(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The message as published: its sections, and what is in them.
pub fn content(found: &Found) -> Vec<(Key, Tree)> {
    let Some(message) = &found.message else { return vec![("body".into(), Tree::Null)] };
    let payload = message.payload();
    let sections = section::walk(payload).ok();
    let map = |range: Option<std::ops::Range<usize>>| {
        let section = range.and_then(|range| payload.get(range));
        let pairs = section.and_then(|section| section::map_pairs(section).ok()).into_iter().flatten();
        Tree::Map(pairs.filter_map(|(key, value)| Some((words(key)?.into(), encoded(value)))).collect())
    };
    let properties =
        sections.as_ref().and_then(|s| s.properties.clone()).and_then(|range| payload.get(range));
    vec![
        ("body".into(), Tree::Binary(payload.into())),
        ("properties".into(), properties.map_or_else(|| Tree::map([]), properties_of)),
        (
            "application-properties".into(),
            map(sections.as_ref().and_then(|s| s.application_properties.clone())),
        ),
        ("message-annotations".into(), map(sections.as_ref().and_then(|s| s.message_annotations.clone()))),
    ]
}

fn properties_of(properties: &[u8]) -> Tree {
    use section::PropertyField as Field;
    let named = [
        ("message-id", Field::MessageId),
        ("user-id", Field::UserId),
        ("to", Field::To),
        ("subject", Field::Subject),
        ("reply-to", Field::ReplyTo),
        ("correlation-id", Field::CorrelationId),
        ("content-type", Field::ContentType),
        ("content-encoding", Field::ContentEncoding),
        ("absolute-expiry-time", Field::AbsoluteExpiryTime),
        ("creation-time", Field::CreationTime),
        ("group-id", Field::GroupId),
        ("group-sequence", Field::GroupSequence),
        ("reply-to-group-id", Field::ReplyToGroupId),
    ];
    let pair = |(name, field): (&'static str, Field)| {
        Some((name.into(), section::property(properties, field).map(encoded)?))
    };
    Tree::Map(named.into_iter().filter_map(pair).collect())
}

/// Dead letters that died of the same.
pub fn cause(cause: &CauseCount) -> Tree {
    let text = |text: &str| Tree::from(Some(text.to_owned()).filter(|text| !text.is_empty()));
    let (condition, description) = match cause.various {
        true => (Tree::Null, Tree::from("(various: there are too many causes to tell these apart)")),
        false => (text(&cause.condition), text(&cause.description)),
    };
    let reason: DeathReason = cause.reason;
    Tree::map([
        ("id", id(cause.id)),
        ("reason", reason.as_str().into()),
        ("condition", condition),
        ("description", description),
        ("origin", text(&cause.origin)),
        ("count", cause.count.into()),
        ("first", cause.times.0.into()),
        ("last", cause.times.1.into()),
        ("example", cause.example.0.into()),
    ])
}
