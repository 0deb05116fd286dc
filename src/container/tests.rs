//! What the container writes of a message, and how it reads outcomes.

mod filters;
mod links;
mod words;

use std::sync::Arc;

use fe2o3_amqp_types::{
    definitions::{Error, ErrorCondition, Fields},
    messaging,
};
use serde_amqp::{Value, primitives::Symbol};

use super::{encode, outcome};
use crate::{
    amqp::codec::{DeliveryState, section},
    broker::{
        Annotations, Cause, Death, DeathReason, Delivery, EntryState, Message, Modified, NotBefore, Outcome,
        Seq,
    },
    limits,
    time::Millis,
};

/// message-annotations {x-old: 1, x-opt-dl-reason: "forged"}, then data "hi".
fn published(annotations: &[(&str, u32)]) -> Vec<u8> {
    let pairs: Vec<_> = annotations
        .iter()
        .map(|(key, value)| encode::pair(key, |out| crate::amqp::codec::write::uint(out, *value)))
        .collect();
    let mut bytes = Vec::new();
    if !pairs.is_empty() {
        section::encode_map_section(0x72, pairs.iter().map(|(k, v)| (&k[..], &v[..])), &mut bytes);
    }
    bytes.extend_from_slice(&[0x00, 0x53, 0x75, 0xa0, 2, b'h', b'i']);
    bytes
}

fn delivery(bytes: Vec<u8>, state: Option<EntryState>) -> Delivery {
    let message = Message {
        bytes: bytes.into(),
        from: 0,
        format: 0,
        durable: true,
        priority: 4,
        first_acquirer: true,
        delivery_count: 0,
        expires: None,
    };
    Delivery {
        seq: Seq(1),
        message: Arc::new(message),
        delivery_count: 0,
        acquired_count: 0,
        ttl_ms: None,
        state: state.map(Arc::new),
    }
}

fn sent(delivery: &Delivery, dead_letter: bool) -> Vec<u8> {
    let (mut prefix, from) = encode::sections(delivery, dead_letter);
    prefix.extend_from_slice(&delivery.message.bytes[from..]);
    prefix
}

fn annotations_of(bytes: &[u8], delivery: bool) -> Fields {
    let sections = section::walk(bytes).expect("valid sections");
    let range = if delivery { sections.delivery_annotations } else { sections.message_annotations };
    let range = range.expect("annotations");
    // After the descriptor (00 53 7x).
    crate::amqp::codec::decode_fields("annotations", &bytes[range.start + 3..range.end]).expect("a map")
}

fn get<'f>(fields: &'f Fields, key: &str) -> Option<&'f Value> {
    fields.get(&Symbol::from(key))
}

fn died() -> EntryState {
    let cause = Cause {
        condition: "amqp:decode-error".into(),
        description: Some("no such field".into()),
        info: Some(vec![0xc1, 1, 0].into()),
    };
    let death = Death {
        reason: DeathReason::Rejected,
        cause: Some(cause),
        time: Millis(1_700_000_000_000),
        attempts: 3,
        queue: "orders".into(),
        address: "orders".into(),
        first: ("orders".into(), DeathReason::Rejected),
    };
    EntryState { death: Some(Box::new(death)), ..EntryState::default() }
}

#[test]
fn a_first_delivery_forwards_annotations_and_bare_message_bit_for_bit() {
    let bytes = published(&[("x-old", 1)]);
    let sent = sent(&delivery(bytes.clone(), None), false);
    let header = section::walk(&sent).unwrap().header.unwrap();
    assert_eq!(&sent[header.end..], &bytes[..]);
    let header = section::decode_header(&sent[header]).unwrap();
    assert!(header.durable && header.first_acquirer);
    assert_eq!(header.delivery_count, 0);
}

#[test]
fn a_default_header_is_not_sent_at_all() {
    let bytes = published(&[]);
    let mut delivery = delivery(bytes.clone(), None);
    let message = Arc::get_mut(&mut delivery.message).unwrap();
    (message.durable, message.first_acquirer) = (false, false);
    assert_eq!(sent(&delivery, false), bytes);
}

#[test]
fn acquired_count_is_annotated_and_clears_first_acquirer() {
    let mut delivery = delivery(published(&[]), None);
    delivery.acquired_count = 2;
    let sent = sent(&delivery, false);
    assert_eq!(get(&annotations_of(&sent, false), "x-opt-acquired-count"), Some(&Value::Uint(2)));
    let sections = section::walk(&sent).unwrap();
    assert!(!section::decode_header(&sent[sections.header.unwrap()]).unwrap().first_acquirer);
    assert!(sent.ends_with(&[0x00, 0x53, 0x75, 0xa0, 2, b'h', b'i']));
}

#[test]
fn merged_annotations_override_published_ones_and_keep_the_others() {
    let merged = vec![encode::pair("x-old", |out| crate::amqp::codec::write::string(out, "new"))];
    let state = EntryState { annotations: Annotations(merged), ..EntryState::default() };
    let sent = sent(&delivery(published(&[("x-old", 1), ("x-kept", 7)]), Some(state)), false);
    let fields = annotations_of(&sent, false);
    assert_eq!(get(&fields, "x-old"), Some(&Value::String("new".into())));
    assert_eq!(get(&fields, "x-kept"), Some(&Value::Uint(7)));
    assert_eq!(fields.len(), 2);
}

#[test]
fn a_dead_letter_says_why_in_scalars_and_carries_the_consumers_error_whole() {
    let sent = sent(&delivery(published(&[("x-opt-dl-reason", 9)]), Some(died())), true);
    let fields = annotations_of(&sent, false);
    let text = |key: &str| match get(&fields, key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Symbol(symbol)) => symbol.as_str().to_owned(),
        other => panic!("{key}: {other:?}"),
    };
    for (key, expected) in [
        ("x-opt-ORIG-QUEUE", "orders"),
        ("x-opt-ORIG-ADDRESS", "orders"),
        ("x-first-death-queue", "orders"),
        ("x-first-death-reason", "rejected"),
        ("x-last-death-queue", "orders"),
        ("x-last-death-reason", "rejected"),
        ("x-opt-deadletter-source", "orders"),
        ("x-opt-dl-reason", "rejected"),
        ("x-opt-dl-condition", "amqp:decode-error"),
        ("x-opt-dl-description", "no such field"),
    ] {
        assert_eq!(text(key), expected, "{key}");
    }
    assert_eq!(get(&fields, "x-opt-dl-attempts"), Some(&Value::Uint(3)));
    assert!(
        matches!(get(&fields, "x-opt-dl-time"), Some(Value::Timestamp(at)) if at.milliseconds() == 1_700_000_000_000)
    );
    let rejected = annotations_of(&sent, true);
    let Some(Value::Described(error)) = get(&rejected, "rejected") else { panic!("{rejected:?}") };
    let Value::List(error) = &error.value else { panic!("{error:?}") };
    assert_eq!(error[0], Value::Symbol(Symbol::from("amqp:decode-error")));
    assert_eq!(error[1], Value::String("no such field".into()));
    assert!(matches!(error[2], Value::Map(_)));
}

#[test]
fn modified_annotations_are_taken_except_those_the_broker_keeps_for_itself() {
    let mut annotations = Fields::new();
    annotations.insert(Symbol::from("x-mine"), Value::Uint(1));
    annotations.insert(Symbol::from("x-opt-dl-reason"), Value::String("forged".into()));
    annotations.insert(Symbol::from("x-opt-acquired-count"), Value::Uint(99));
    annotations.insert(Symbol::from("x-opt-delivery-delay"), Value::Uint(500));
    let modified = messaging::Modified {
        delivery_failed: Some(true),
        undeliverable_here: None,
        message_annotations: Some(annotations),
    };
    let read = outcome::read(Some(DeliveryState::Modified(Box::new(modified), 0))).unwrap();
    let Some(Outcome::Modified(read)) = read else { panic!("{read:?}") };
    assert!(read.delivery_failed && !read.undeliverable_here);
    assert_eq!(read.not_before, Some(NotBefore::After(500)));
    assert_eq!(read.annotations.0.len(), 1);
    assert_eq!(&*read.annotations.0[0].0, b"\xa3\x06x-mine");
    assert_eq!(read.skipped, 2, "counted");
}

#[test]
fn a_dead_letter_that_nobody_rejected_says_its_cause_in_annotations_only() {
    let mut state = died();
    if let Some(death) = &mut state.death {
        death.reason = DeathReason::Policy;
    }
    let sent = sent(&delivery(published(&[]), Some(state)), true);
    assert!(section::walk(&sent).unwrap().delivery_annotations.is_none());
    let fields = annotations_of(&sent, false);
    assert_eq!(get(&fields, "x-opt-dl-condition"), Some(&Value::Symbol(Symbol::from("amqp:decode-error"))));
    assert_eq!(get(&fields, "x-opt-dl-reason"), Some(&Value::Symbol(Symbol::from("policy"))));
}

/// A `modified` with these annotations, as it is read.
fn read_failed<const N: usize>(annotations: [(&str, Value); N]) -> Modified {
    let annotations: Fields =
        annotations.into_iter().map(|(key, value)| (Symbol::from(key), value)).collect();
    let modified = messaging::Modified {
        delivery_failed: Some(true),
        undeliverable_here: None,
        message_annotations: Some(annotations),
    };
    let read = outcome::read(Some(DeliveryState::Modified(Box::new(modified), 0))).unwrap();
    let Some(Outcome::Modified(read)) = read else { panic!("{read:?}") };
    *read
}

#[test]
fn a_failed_outcome_says_its_cause_in_two_annotations_that_are_not_the_messages() {
    let symbol = Value::Symbol(Symbol::from("app:busy"));
    for condition in [symbol, Value::String("app:busy".into())] {
        let read = read_failed([
            ("x-opt-error-condition", condition),
            ("x-opt-error-description", Value::String("try later".into())),
        ]);
        let cause =
            read.cause.as_deref().map(|cause| (cause.condition.as_str(), cause.description.as_deref()));
        assert_eq!(cause, Some(("app:busy", Some("try later"))));
        assert!(read.annotations.is_empty() && read.words.is_empty());
    }
    assert_eq!(read_failed([]).cause, None);
    let odd = read_failed([("x-opt-error-condition", Value::List(vec![]))]);
    assert_eq!((odd.cause, odd.annotations.is_empty()), (None, true));
}

#[test]
fn the_cause_of_a_failed_outcome_is_bounded() {
    let long = Value::String("ä".repeat(2000));
    let read = read_failed([("x-opt-error-condition", long.clone()), ("x-opt-error-description", long)]);
    let cause = read.cause.unwrap_or_default();
    assert_eq!((cause.condition.len(), cause.description.map(|text| text.len())), (256, Some(2048)));
}

#[test]
fn annotations_that_are_texts_or_scalars_can_be_what_a_rule_is_about() {
    let read = read_failed([
        ("x-text", Value::String("slow".into())),
        ("x-symbol", Value::Symbol(Symbol::from("s"))),
        ("x-yes", Value::Bool(true)),
        ("x-number", Value::Int(-3)),
        ("x-large", Value::Ulong(u64::MAX)),
        ("x-list", Value::List(vec![])),
    ]);
    let mut words: Vec<_> = read.words.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    words.sort_unstable();
    let expected = [
        ("x-large", "18446744073709551615"),
        ("x-number", "-3"),
        ("x-symbol", "s"),
        ("x-text", "slow"),
        ("x-yes", "true"),
    ];
    assert_eq!(words, expected);
    assert_eq!(read.annotations.0.len(), 6);
}

#[test]
fn non_terminal_states_are_no_outcome_and_unknown_ones_are_refused() {
    assert_eq!(outcome::read(None).unwrap(), None);
    assert_eq!(outcome::read(Some(DeliveryState::Received(0, 0))).unwrap(), None);
    let refused = outcome::read(Some(DeliveryState::Unknown("x:mine:list".into()))).unwrap_err();
    assert!(refused.description.unwrap().contains("x:mine:list"));
}

#[test]
fn outcomes_survive_the_wire_and_back() {
    let cause = Cause { condition: "my:cause".into(), description: Some("d".into()), info: None };
    for outcome in [
        Outcome::Accepted,
        Outcome::Released,
        Outcome::Rejected(None),
        Outcome::Rejected(Some(Box::new(cause))),
        Outcome::Modified(Box::new(Modified { delivery_failed: true, ..Modified::default() })),
    ] {
        assert_eq!(outcome::read(Some(outcome::write(&outcome))).unwrap(), Some(outcome));
    }
}

#[test]
fn an_outcome_outside_source_outcomes_is_named_with_those_that_are_in_force() {
    let symbols = [Symbol::from("amqp:accepted:list"), Symbol::from("amqp:released:list")];
    let allowed = outcome::Set::of(&symbols);
    assert!(allowed.has(&Outcome::Accepted) && allowed.has(&Outcome::Released));
    assert!(!allowed.has(&Outcome::Rejected(None)));
    let error = outcome::not_in_force(&Outcome::Rejected(None), &allowed);
    let why = error.description.unwrap();
    assert!(
        why.contains("amqp:rejected:list") && why.contains("amqp:accepted:list, amqp:released:list"),
        "{why}"
    );
}

#[test]
fn what_is_kept_of_a_consumers_error_is_bounded() {
    let mut info = Fields::new();
    info.insert(Symbol::from("x"), Value::String("i".repeat(limits::CAUSE_INFO_BYTES)));
    let error = Error::new(
        ErrorCondition::Custom(Symbol::from("c".repeat(1000))),
        // Two bytes each: the limit falls between characters.
        Some("x".to_owned() + &"é".repeat(100_000)),
        Some(info),
    );
    let state = DeliveryState::Rejected(Some(Box::new(error)));
    let Ok(Some(Outcome::Rejected(Some(cause)))) = outcome::read(Some(state)) else { panic!() };
    assert_eq!(cause.condition.len(), limits::CAUSE_CONDITION_BYTES);
    let description = cause.description.unwrap();
    assert_eq!(description.len(), limits::CAUSE_DESCRIPTION_BYTES - 1);
    assert!(description.capacity() <= limits::CAUSE_DESCRIPTION_BYTES);
    assert_eq!(cause.info, None);
}

#[test]
fn annotations_of_modified_are_taken_up_to_a_limit() {
    let mut annotations = Fields::new();
    for key in 0..100 {
        annotations.insert(Symbol::from(format!("x-{key}")), Value::String("v".repeat(100)));
    }
    annotations.insert(Symbol::from("x-huge"), Value::String("v".repeat(100_000)));
    let modified = messaging::Modified { message_annotations: Some(annotations), ..outcome_modified() };
    let state = DeliveryState::Modified(Box::new(modified), 0);
    let Ok(Some(Outcome::Modified(read))) = outcome::read(Some(state)) else { panic!() };
    let bytes: usize = read.annotations.0.iter().map(|(key, value)| key.len() + value.len()).sum();
    let most = limits::MODIFIED_ANNOTATIONS_BYTES;
    assert!(bytes <= most && bytes > most - 200, "{bytes} bytes, expected at most {most} and nearly that");
    assert_eq!(read.skipped as usize, 101 - read.annotations.0.len());
}

fn outcome_modified() -> messaging::Modified {
    messaging::Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: None }
}
