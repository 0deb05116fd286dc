//! Parts 3.4 and 4.5: delivery states, known, odd and unknown.

use fe2o3_amqp_types::{
    definitions::{AmqpError, ErrorCondition},
    messaging::Modified,
};
use serde_amqp::Value;

use super::{bytes, long_list, null, string, symbol};
use crate::amqp::codec::{
    DecodeError, DeliveryState, code::descriptor, condition_name, decode_state, encode_state, encode_value,
    write,
};

#[test]
fn accepted_is_read_in_all_its_forms() {
    for form in [
        vec![0x00, 0x53, 0x24, 0x45],
        vec![0x00, 0x53, 0x24, 0xc0, 1, 0],
        vec![0x00, 0x53, 0x24, 0xd0, 0, 0, 0, 4, 0, 0, 0, 0],
        vec![0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x24, 0x45],
        [&[0x00][..], &symbol("amqp:accepted:list"), &[0x45]].concat(),
    ] {
        assert_eq!(decode_state(&form), Ok(DeliveryState::Accepted), "{form:02x?}");
    }
    assert_eq!(bytes(|out| encode_state(&DeliveryState::Accepted, out)), [0x00, 0x53, 0x24, 0x45]);
}

#[test]
fn an_unknown_descriptor_is_a_value() {
    let named = [&[0x00][..], &symbol("acme:later:list"), &[0x45]].concat();
    assert_eq!(decode_state(&named), Ok(DeliveryState::Unknown("acme:later:list".into())));
    let numbered = [0x00, 0x80, 0, 0, 0x12, 0x34, 0, 0, 0, 1, 0x40];
    assert_eq!(decode_state(&numbered), Ok(DeliveryState::Unknown("0x123400000001".into())));
    let performative = [0x00, 0x53, 0x10, 0x45];
    assert_eq!(decode_state(&performative), Ok(DeliveryState::Unknown("0x10".into())));
}

fn rejected(error: Vec<u8>) -> DeliveryState {
    decode_state(&long_list(descriptor::REJECTED, &[error])).expect("rejected")
}

fn error_of(state: &DeliveryState) -> (String, Option<String>) {
    let DeliveryState::Rejected(Some(error)) = state else { panic!("{state:?}") };
    (condition_name(&error.condition), error.description.clone())
}

#[test]
fn rejected_keeps_its_error_whole() {
    let info = bytes(|out| {
        let pairs = [symbol("k"), vec![0xe0, 6, 2, 0xa3, 1, b'a', 1, b'b']].concat();
        write::map(out, 2, &pairs);
    });
    let error = long_list(descriptor::ERROR, &[symbol("amqp:decode-error"), string("no"), info]);
    let state = rejected(error);
    let DeliveryState::Rejected(Some(error)) = &state else { panic!("{state:?}") };
    assert_eq!(error.condition, ErrorCondition::AmqpError(AmqpError::DecodeError));
    let info = error.info.as_ref().and_then(|info| info.get("k")).expect("info");
    assert!(matches!(info, Value::Array(values) if values.len() == 2));
    assert_eq!(decode_state(&bytes(|out| encode_state(&state, out))), Ok(state));
}

#[test]
fn an_odd_error_does_not_undo_the_rejection() {
    assert_eq!(rejected(null()), DeliveryState::Rejected(None));
    let no_condition = long_list(descriptor::ERROR, &[null(), string("why")]);
    assert_eq!(error_of(&rejected(no_condition)), (String::new(), Some("why".into())));
    let empty = long_list(descriptor::ERROR, &[]);
    assert_eq!(error_of(&rejected(empty)), (String::new(), None));
    let string_condition = long_list(descriptor::ERROR, &[string("acme:bad")]);
    assert_eq!(error_of(&rejected(string_condition)), ("acme:bad".into(), None));
    let number = long_list(descriptor::ERROR, &[vec![0x52, 7], string("why"), vec![0x52, 8]]);
    assert_eq!(error_of(&rejected(number)), ("Uint(7)".into(), Some("why".into())));
    assert_eq!(rejected(string("not an error at all")), DeliveryState::Rejected(None));
}

#[test]
fn keys_of_modified_that_are_not_taken_are_skipped() {
    let map = bytes(|out| {
        let pairs = [
            symbol("x-opt-a"),
            vec![0x52, 1],
            vec![0x53, 9],
            vec![0x52, 2],
            string("text"),
            vec![0x52, 3],
            symbol("x-opt-b"),
            vec![0x00, 0x53, 0x99, 0x45],
        ];
        write::map(out, 8, &pairs.concat());
    });
    let state = decode_state(&long_list(descriptor::MODIFIED, &[vec![0x41], null(), map])).expect("modified");
    let DeliveryState::Modified(modified, skipped) = state else { panic!("{state:?}") };
    assert_eq!((modified.delivery_failed, modified.undeliverable_here), (Some(true), None));
    let annotations = modified.message_annotations.expect("annotations");
    assert_eq!(annotations.keys().map(|key| key.as_str()).collect::<Vec<_>>(), ["x-opt-a", "x-opt-b"]);
    assert_eq!(skipped, 2);
}

#[test]
fn annotations_that_are_no_map_are_skipped() {
    let state = decode_state(&long_list(descriptor::MODIFIED, &[null(), null(), string("x")]));
    let modified = Modified { delivery_failed: None, undeliverable_here: None, message_annotations: None };
    assert_eq!(state, Ok(DeliveryState::Modified(Box::new(modified), 1)));
}

#[test]
fn transactional_states_do_not_nest() {
    let txn = vec![0xa0, 2, 1, 2];
    let inner = long_list(descriptor::TRANSACTIONAL_STATE, std::slice::from_ref(&txn));
    let outer = long_list(descriptor::TRANSACTIONAL_STATE, &[txn, inner]);
    let state = decode_state(&outer).expect("state");
    let DeliveryState::Transactional(state) = state else { panic!("{state:?}") };
    assert!(matches!(state.1, Some(DeliveryState::Unknown(_))));
}

#[test]
fn what_a_state_cannot_do_without_is_asked_for() {
    let no_offset = long_list(descriptor::RECEIVED, &[vec![0x43]]);
    assert_eq!(decode_state(&no_offset), Err(DecodeError::Missing { field: "received.section-offset" }));
    assert!(decode_state(&long_list(descriptor::DECLARED, &[])).is_err());
    assert!(decode_state(&[0x45]).is_err(), "not described");
    assert!(decode_state(&[0x00, 0x53, 0x24, 0x41]).is_err(), "not a list");
}

#[test]
fn empty_and_mixed_arrays_are_never_written() {
    let array = |values: Vec<Value>| {
        bytes(|out| encode_value(&Value::from(serde_amqp::primitives::Array(values)), out))
    };
    assert_eq!(array(vec![]), [0x40]);
    assert_eq!(array(vec![Value::Uint(1), Value::from("a")]), [0xc0, 6, 2, 0x52, 1, 0xa1, 1, b'a']);
}
