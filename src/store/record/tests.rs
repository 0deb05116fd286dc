//! Tests of the record encoding: round trips, and every way in which bytes can be wrong.

use proptest::prelude::*;

use super::*;
use crate::broker::policy::{Action, AttemptRange, Class, RetryDelay, Rule, RuleAnnotation, RuleOutcome};
use crate::broker::{
    Annotations, Cause, Death, DeathReason, Failure, FailureOutcome, Fingerprint, Lifetime, QueuePolicy,
    Replay,
};

prop_compose! {
    fn message()(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), format in any::<u32>(), durable in any::<bool>(),
        priority in any::<u8>(), first_acquirer in any::<bool>(), delivery_count in any::<u32>(),
        expires in proptest::option::of(any::<u64>()),
    ) -> Message {
        Message {
            from: 0,
            bytes: bytes.into(), format, durable, priority, first_acquirer, delivery_count,
            expires: expires.map(Millis),
        }
    }
}

fn full_state() -> EntryState {
    let annotations = Annotations(vec![(Box::from(&b"k"[..]), Box::from(&b"v"[..]))]);
    let cause =
        Cause { condition: "a:b".into(), description: Some("why".into()), info: Some(Box::from([1, 2])) };
    EntryState {
        delivery_count: 3,
        acquired_count: 4,
        not_before: Some(Millis(5)),
        annotations: annotations.clone(),
        excluded: vec!["x".into()],
        failures: vec![Failure {
            time: Millis(6),
            consumer: "c".into(),
            outcome: FailureOutcome::Rejected,
            cause: Some(cause.clone()),
            annotations,
            delay_ms: 7,
            rule: "default".into(),
        }],
        failures_dropped: 8,
        death: Some(Box::new(Death {
            reason: DeathReason::Policy,
            cause: Some(cause),
            time: Millis(9),
            attempts: 10,
            queue: "q".into(),
            address: "a".into(),
            first: ("f".into(), DeathReason::Expired),
        })),
        replays: vec![Replay { id: "again".into(), time: Millis(11) }],
    }
}

fn definition(max_bytes: Option<u64>) -> QueueDefinition {
    let rule = Rule {
        name: "r".into(),
        outcome: Some(RuleOutcome::Lost),
        condition: Some("*\"?".into()),
        annotation: Some(RuleAnnotation { name: "x".into(), value: None }),
        attempt: Some(AttemptRange { from: 2, to: u32::MAX }),
        class: Class::Transient,
        action: Action::Release,
        delay: None,
    };
    let open = Rule { outcome: None, condition: None, annotation: None, attempt: None, ..rule.clone() };
    let policy = QueuePolicy {
        max_bytes,
        dead_letter_queue: Some("elsewhere".into()),
        rules: vec![rule, Rule { delay: Some("slow ä".into()), ..open }],
        delays: [("slow ä".into(), RetryDelay::default())].into(),
        ..QueuePolicy::default()
    };
    QueueDefinition {
        id: QueueId(8),
        name: "ä \"q\"".into(),
        policy,
        lifetime: Lifetime::Permanent,
        shard: 0,
        settings: "max-bytes = 7\n[breaker]\nenabled = false\n".into(),
    }
}

fn decode_all(bytes: &[u8]) -> Vec<Written<'_>> {
    let mut rest = bytes;
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(decode(&mut rest).expect("a record"));
    }
    records
}

proptest! {
    #[test]
    fn a_put_comes_back(message in message(), queue in any::<u32>(), seq in any::<u64>(), keep in any::<bool>()) {
        let mut bytes = Vec::new();
        encode_put(&mut bytes, QueueId(queue), Seq(seq), &message, keep);
        prop_assert_eq!(bytes.len(), message.bytes.len() + PUT_OVERHEAD_BYTES as usize);
        let mut rest = &bytes[..];
        let put = decode_put(&mut rest, true).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!((put.queue.0, put.seq.0, put.keep), (queue, seq, keep));
        prop_assert_eq!(put.to_message(), message);
    }

    #[test]
    fn a_put_with_a_flipped_bit_is_noticed(message in message(), bit in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        encode_put(&mut bytes, QueueId(2), Seq(3), &message, false);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode_put(&mut &bytes[..], true).is_err());
    }

    #[test]
    fn small_records_come_back(queue in any::<u32>(), seq in any::<u64>(), a in any::<u32>(), b in any::<u32>()) {
        let (queue, seq) = (QueueId(queue), Seq(seq));
        let mut bytes = Vec::new();
        encode_settle(&mut bytes, queue, seq);
        encode_count(&mut bytes, queue, seq, a, b);
        encode_delete(&mut bytes, queue);
        encode_next_seq(&mut bytes, queue, seq.0);
        let id = |number| SeenId { number, key: Fingerprint([a as u8; 16]), at: Millis(b.into()) };
        let oldest = seq.0 >> 1;
        let ids = vec![id(oldest), id(oldest + 7), id(oldest + u64::from(u32::MAX))];
        encode_seen(&mut bytes, queue, &ids, oldest);
        prop_assert_eq!(decode_all(&bytes), [
            Written::Settle { queue, seq },
            Written::Count { queue, seq, delivery_count: a, acquired_count: b },
            Written::Delete(queue),
            Written::NextSeq(queue, seq.0),
            Written::Seen { queue, ids, oldest },
        ]);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), tag in 0u8..10) {
        let mut input = bytes.clone();
        if let Some(first) = input.first_mut() {
            *first = tag;
        }
        let mut rest = &input[..];
        while decode(&mut rest).is_ok() && !rest.is_empty() {}
    }
}

#[test]
fn states_and_definitions_come_back_whole() {
    let state = Arc::new(full_state());
    let (from, to) = ((QueueId(2), Seq(9)), (QueueId(3), Seq(1)));
    let mut bytes = Vec::new();
    encode_state(&mut bytes, from.0, from.1, &Packed::of(&state));
    encode_move(&mut bytes, from, to, &Packed::of(&state));
    encode_define(&mut bytes, &definition(None));
    // Larger than TOML can say: the other layout.
    encode_define(&mut bytes, &definition(Some(u64::MAX)));
    let expected = [
        Written::State { queue: from.0, seq: from.1, state: Arc::clone(&state) },
        Written::Move { from, to, state },
        Written::Define(Arc::new(definition(None))),
        Written::Define(Arc::new(definition(Some(u64::MAX)))),
    ];
    assert_eq!(decode_all(&bytes), expected);
}

#[test]
fn a_state_of_another_layout_is_refused_with_its_number() {
    let mut bytes = state_to_bytes(&full_state());
    bytes[0] = 9;
    assert!(state_from_bytes(&bytes).unwrap_err().to_string().contains("layout 9, expected at most 2"));
}

#[test]
fn a_state_from_before_there_were_replays_is_read() {
    let old = EntryState { replays: Vec::new(), ..full_state() };
    let mut bytes = state_to_bytes(&old);
    assert_eq!(bytes.pop(), Some(0), "the empty list is the last byte");
    bytes[0] = 1;
    assert_eq!(state_from_bytes(&bytes), Ok(old));
}

#[test]
fn a_definition_in_postcard_from_before_there_were_rules_is_read() {
    let old = QueuePolicy { max_attempts: 3, max_bytes: Some(u64::MAX), ..QueuePolicy::default() };
    let mut bytes = vec![2];
    let (id, name, lifetime, shard) = (QueueId(8), "old", Lifetime::Permanent, 0u32);
    let policy =
        (old.max_attempts, &old.retry_delay, None::<String>, None::<u64>, old.max_bytes, old.when_full);
    let policy = (policy, old.max_ttl_ms, old.expired, old.stranded_after_ms, old.crash_suspects);
    bytes = postcard::to_extend(&(id, name, policy, lifetime, shard), bytes).unwrap();
    let expected =
        QueueDefinition { id, name: name.into(), policy: old, lifetime, shard, settings: String::new() };
    assert_eq!(definition_from_bytes(&bytes).unwrap(), expected);
}

#[test]
fn a_definition_in_postcard_from_before_there_were_settings_is_read() {
    let expected = QueueDefinition { settings: String::new(), ..definition(Some(u64::MAX)) };
    let QueueDefinition { id, name, policy, lifetime, shard, .. } = &expected;
    let bytes = postcard::to_extend(&(id, name, policy, lifetime, shard), vec![3]).unwrap();
    assert_eq!(definition_from_bytes(&bytes).unwrap(), expected);
}

#[test]
fn a_definition_in_toml_from_before_there_were_settings_is_read() {
    let expected = QueueDefinition { settings: String::new(), ..definition(None) };
    let bytes = definition_to_bytes(&expected);
    let text = std::str::from_utf8(&bytes).unwrap().replace("settings = \"\"\n", "");
    assert!(!text.contains("settings"), "{text}");
    assert_eq!(definition_from_bytes(text.as_bytes()).unwrap(), expected);
}
