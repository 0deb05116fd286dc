//! What a consumer is told in annotations: each with its type, and nothing that is not true here.

use fe2o3_amqp_types::messaging;
use serde_amqp::{
    Value,
    primitives::{Symbol, Timestamp},
};

use super::{annotations_of, delivery, died, get, outcome, published, read_failed, sent};
use crate::{
    amqp::codec::section,
    broker::{Death, DeathReason, EntryState, NotBefore, Outcome, Replay, Tally},
    time::Millis,
};

fn dead(change: impl FnOnce(&mut Death)) -> EntryState {
    let mut state = died();
    change(state.death.as_mut().expect("a death"));
    state
}

/// settlement.md, The dead-letter tree: "Message annotations, scalars so that existing tools read them".
#[test]
fn each_dead_letter_annotation_has_its_type_and_there_are_no_others() {
    let string = |text: &str| Value::String(text.to_owned());
    let symbol = |text: &str| Value::Symbol(Symbol::from(text));
    let expected = [
        ("x-opt-ORIG-QUEUE", string("here")),
        ("x-opt-ORIG-ADDRESS", string("there")),
        ("x-first-death-queue", string("first")),
        ("x-first-death-reason", string("expired")),
        ("x-last-death-queue", string("here")),
        ("x-last-death-reason", string("rejected")),
        ("x-opt-deadletter-source", string("here")),
        ("x-opt-dl-reason", symbol("rejected")),
        ("x-opt-dl-condition", symbol("amqp:decode-error")),
        ("x-opt-dl-description", string("no such field")),
        ("x-opt-dl-time", Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000))),
        ("x-opt-dl-attempts", Value::Uint(3)),
    ];
    let state = dead(|death| {
        (death.queue, death.address) = ("here".into(), "there".into());
        death.first = ("first".into(), DeathReason::Expired);
    });
    let fields = annotations_of(&sent(&delivery(published(&[]), Some(state)), true), false);
    for (key, value) in &expected {
        assert_eq!(get(&fields, key), Some(value), "{key}");
    }
    assert_eq!(fields.len(), expected.len());
}

/// "`x-opt-dl-reason` (symbol: `rejected`, `max-attempts`, `expired`, `undeliverable`, `overflow`, `policy`)".
#[test]
fn the_reasons_are_these_six() {
    let expected = ["rejected", "max-attempts", "expired", "undeliverable", "overflow", "policy"];
    let told = Tally::REASONS.map(|reason| {
        let fields = annotations_of(
            &sent(&delivery(published(&[]), Some(dead(|death| death.reason = reason))), true),
            false,
        );
        match get(&fields, "x-opt-dl-reason") {
            Some(Value::Symbol(word)) => word.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(told, expected);
}

/// "Delivery-annotation `rejected` (symbol) carries the consumer's error": in another queue that takes the dead letters, too,
/// but not on a message that a replay brought back to life.
#[test]
fn a_dead_letter_in_another_queue_carries_the_consumers_error_and_a_replayed_message_does_not() {
    let told = |state: EntryState| {
        let sent = sent(&delivery(published(&[]), Some(state)), false);
        let range = section::walk(&sent).unwrap().delivery_annotations;
        range.is_some_and(|_| get(&annotations_of(&sent, true), "rejected").is_some())
    };
    assert!(told(died()));
    let replay = |ms: u64| Replay { id: "r".into(), time: Millis(1_700_000_000_000 + ms) };
    assert!(!told(EntryState { replays: vec![replay(5)], ..died() }));
    let again = dead(|death| death.time = Millis(1_700_000_000_009));
    assert!(told(EntryState { replays: vec![replay(5)], ..again }));
}

/// A dead letter that was sent anew by hand and dies again of something else does not have the old cause on it.
#[test]
fn what_a_publisher_says_of_another_death_is_not_said_of_this_one() {
    let bytes = published(&[("x-opt-dl-condition", 1), ("x-opt-dl-description", 2), ("x-opt-kept", 3)]);
    let expired = dead(|death| (death.reason, death.cause) = (DeathReason::Expired, None));
    let fields = annotations_of(&sent(&delivery(bytes.clone(), Some(expired)), true), false);
    assert_eq!(get(&fields, "x-opt-kept"), Some(&Value::Uint(3)));
    let told = ["x-opt-dl-condition", "x-opt-dl-description"].map(|key| get(&fields, key));
    assert_eq!(told, [None, None]);
    // Alive, it is the publisher's affair.
    assert!(sent(&delivery(bytes.clone(), None), false).ends_with(&bytes));
}

/// "`acquired-count` (message annotation `x-opt-acquired-count`, uint, only when > 0)", whatever the publisher says.
#[test]
fn acquired_count_is_never_the_publishers() {
    let bare = published(&[]);
    let sent_of = |annotations: &[(&str, u32)]| sent(&delivery(published(annotations), None), false);
    let fields = annotations_of(&sent_of(&[("x-opt-acquired-count", 7), ("x-opt-kept", 3)]), false);
    assert_eq!((get(&fields, "x-opt-acquired-count"), fields.len()), (None, 1));
    let alone = sent_of(&[("x-opt-acquired-count", 7)]);
    assert!(section::walk(&alone).unwrap().message_annotations.is_none() && alone.ends_with(&bare));
    let again =
        super::Delivery { acquired_count: 2, ..delivery(published(&[("x-opt-acquired-count", 7)]), None) };
    let fields = annotations_of(&sent(&again, false), false);
    assert_eq!(get(&fields, "x-opt-acquired-count"), Some(&Value::Uint(2)));
}

/// "message-annotations={x-opt-delivery-delay: ms | x-opt-delivery-time: ts}", as any integer or as a timestamp.
#[test]
fn a_retry_is_put_off_by_a_delay_or_to_a_time() {
    let table = [
        ("x-opt-delivery-delay", Value::Uint(500), Some(NotBefore::After(500))),
        ("x-opt-delivery-delay", Value::Int(500), Some(NotBefore::After(500))),
        ("x-opt-delivery-delay", Value::Ulong(500), Some(NotBefore::After(500))),
        ("x-opt-delivery-delay", Value::Long(-1), None),
        ("x-opt-delivery-delay", Value::String("500".into()), None),
        (
            "x-opt-delivery-time",
            Value::Timestamp(Timestamp::from_milliseconds(7_000)),
            Some(NotBefore::At(Millis(7_000))),
        ),
        ("x-opt-delivery-time", Value::Long(7_000), Some(NotBefore::At(Millis(7_000)))),
    ];
    for (key, value, expected) in table {
        let read = read_failed([(key, value.clone())]);
        assert_eq!((read.not_before, read.annotations.is_empty()), (expected, true), "{key} {value:?}");
    }
}

/// settlement.md, Attach: "The attach reply states the default-outcome that will really be applied."
#[test]
fn a_default_outcome_is_stated_with_the_annotations_that_are_applied() {
    let of = |pairs: &[(&str, Value)]| messaging::Modified {
        delivery_failed: Some(true),
        undeliverable_here: Some(false),
        message_annotations: Some(pairs.iter().map(|(k, v)| (Symbol::from(*k), v.clone())).collect()),
    };
    let taken = [
        ("x-mine", Value::Uint(1)),
        ("x-opt-delivery-delay", Value::Ulong(500)),
        ("x-opt-error-condition", Value::Symbol(Symbol::from("app:busy"))),
        ("x-opt-error-description", Value::String("later".into())),
    ];
    let asked = [&taken[..], &[("x-opt-acquired-count", Value::Uint(9))]].concat();
    let applied = outcome::read_default(&messaging::Outcome::Modified(of(&asked)));
    let messaging::Outcome::Modified(told) = outcome::write_default(&applied) else { panic!() };
    assert_eq!(told, of(&taken));
    assert_eq!(outcome::read_default(&messaging::Outcome::Modified(told)), {
        let Outcome::Modified(mut applied) = applied else { panic!() };
        applied.skipped = 0;
        Outcome::Modified(applied)
    });
}
