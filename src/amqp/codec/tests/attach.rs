//! Parts 2.7.3, 3.5, 4.5.1: what in an attach fails the link, and only the link.

use fe2o3_amqp_types::{
    definitions::{AmqpError, ErrorCondition, Role, SenderSettleMode},
    messaging::{Outcome, Source, TargetArchetype, TerminusExpiryPolicy},
};
use serde_amqp::{Value, descriptor::Descriptor as ValueDescriptor, primitives::Array};

use super::{bytes, long_list, null, string, symbol};
use crate::amqp::codec::{
    AttachFrame, DecodeError, Performative, code::descriptor, decode, encode_attach, encode_source, write,
};

/// Decodes an attach with these fields behind name, handle and role.
fn attach(more: &[Vec<u8>]) -> AttachFrame {
    let fields = [&[string("link"), vec![0x52, 3], vec![0x41]], more].concat();
    match decode(&long_list(descriptor::ATTACH, &fields)).expect("an attach") {
        (Performative::Attach(frame), _) => {
            assert_eq!(frame.attach.name, "link");
            assert_eq!(frame.attach.handle.0, 3);
            assert_eq!(frame.attach.role, Role::Receiver);
            *frame
        }
        other => panic!("{other:?}"),
    }
}

fn with_source(fields: &[Vec<u8>]) -> AttachFrame {
    attach(&[null(), null(), long_list(descriptor::SOURCE, fields)])
}

fn with_target(target: Vec<u8>) -> AttachFrame {
    attach(&[null(), null(), null(), target])
}

/// Fields of a source up to `field`, which is at this place.
fn at(place: usize, field: Vec<u8>) -> Vec<Vec<u8>> {
    let mut fields = vec![null(); place];
    fields.push(field);
    fields
}

fn source(frame: &AttachFrame) -> &Source {
    frame.attach.source.as_deref().expect("a source")
}

fn refused(frame: &AttachFrame) -> (&AmqpError, &str) {
    let error = frame.refuse.as_deref().expect("to be refused");
    let ErrorCondition::AmqpError(condition) = &error.condition else { panic!("{error:?}") };
    (condition, error.description.as_deref().unwrap_or_default())
}

fn unsupported(frame: &AttachFrame) -> Vec<String> {
    let (condition, description) = refused(frame);
    assert_eq!(condition, &AmqpError::NotImplemented);
    assert_eq!(description, "Required Settlement Outcome Not Supported");
    let info = frame.refuse.as_ref().and_then(|error| error.info.as_ref()).expect("info");
    let Some(Value::Array(Array(names))) = info.get("unsupported") else { panic!("{info:?}") };
    names
        .iter()
        .map(|name| match name {
            Value::Symbol(name) => name.as_str().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_plain_attach_is_not_refused_and_comes_back_as_it_went() {
    let filter = bytes(|out| {
        let selector = [&[0x00][..], &symbol("apache.org:selector-filter:string"), &string("a = 1")].concat();
        write::map(out, 4, &[symbol("sel"), selector, symbol("none"), null()].concat());
    });
    let lifetime =
        bytes(|out| write::map(out, 2, &[symbol("lifetime-policy"), vec![0x00, 0x53, 0x2b, 0x45]].concat()));
    let source = long_list(
        descriptor::SOURCE,
        &[
            string("q"),
            vec![0x52, 2],
            symbol("never"),
            vec![0x52, 60],
            vec![0x41],
            lifetime,
            symbol("copy"),
            filter,
            vec![0x00, 0x53, 0x27, 0xc0, 2, 1, 0x41],
            symbol("amqp:accepted:list"),
            symbol("queue"),
        ],
    );
    let unsettled = bytes(|out| {
        let pairs = [vec![0xa0, 1, 1], null(), vec![0xa0, 1, 2], vec![0x00, 0x53, 0x24, 0x45]].concat();
        write::map(out, 4, &pairs);
    });
    let target = long_list(descriptor::TARGET, &[string("t")]);
    let frame = attach(&[vec![0x50, 1], vec![0x50, 1], source, target, unsettled]);
    assert_eq!(frame.refuse, None);
    assert_eq!(frame.attach.snd_settle_mode, SenderSettleMode::Settled);
    let decoded = self::source(&frame);
    assert!(matches!(decoded.default_outcome, Some(Outcome::Modified(_))));
    assert_eq!(decoded.expiry_policy, TerminusExpiryPolicy::Never);
    let selector = decoded.filter.as_ref().and_then(|filter| filter.get("sel")).expect("filter");
    let Value::Described(selector) = selector else { panic!("{selector:?}") };
    let name = ValueDescriptor::Name("apache.org:selector-filter:string".into());
    assert_eq!((&selector.descriptor, &selector.value), (&name, &Value::from("a = 1")));
    let encoded = bytes(|out| encode_attach(&frame.attach, out));
    assert_eq!(decode(&encoded).expect("again").0, Performative::Attach(Box::new(frame)));
}

#[test]
fn an_unknown_default_outcome_refuses_the_link() {
    let outcome = [&[0x00][..], &symbol("acme:undecided:list"), &[0x45]].concat();
    let frame = with_source(&at(8, outcome));
    assert_eq!(unsupported(&frame), ["acme:undecided:list"]);
    assert_eq!(source(&frame).default_outcome, None);
}

#[test]
fn a_state_that_is_no_outcome_refuses_the_link_as_default() {
    assert_eq!(
        unsupported(&with_source(&at(8, vec![0x00, 0x53, 0x23, 0xc0, 3, 2, 0x43, 0x44]))),
        ["amqp:received:list"]
    );
}

#[test]
fn unknown_outcomes_are_told_together() {
    let names = ["amqp:accepted:list", "acme:a:list", "acme:b:list"];
    let outcomes = bytes(|out| write::symbols(out, names.into_iter()));
    let mut fields = at(9, outcomes);
    fields[8] = [&[0x00][..], &symbol("acme:c:list"), &[0x45]].concat();
    assert_eq!(unsupported(&with_source(&fields)), ["acme:c:list", "acme:a:list", "acme:b:list"]);
    assert_eq!(unsupported(&with_source(&at(9, symbol("acme:a:list")))), ["acme:a:list"]);
}

#[test]
fn the_four_outcomes_are_known() {
    let names = ["amqp:accepted:list", "amqp:rejected:list", "amqp:released:list", "amqp:modified:list"];
    let frame = with_source(&at(9, bytes(|out| write::symbols(out, names.into_iter()))));
    assert_eq!(frame.refuse, None);
    assert_eq!(source(&frame).outcomes.as_ref().map(Array::len), Some(4));
}

#[test]
fn an_unknown_value_of_a_known_field_is_not_implemented() {
    let policy =
        bytes(|out| write::map(out, 2, &[symbol("lifetime-policy"), vec![0x00, 0x53, 0x2f, 0x45]].concat()));
    for (place, field, word) in [
        (0, symbol("q"), "source.address"),
        (2, symbol("at-dawn"), "at-dawn"),
        (5, policy, "lifetime-policy"),
        (6, symbol("borrow"), "borrow"),
    ] {
        let frame = with_source(&at(place, field));
        let (condition, description) = refused(&frame);
        assert_eq!(condition, &AmqpError::NotImplemented, "{description}");
        assert!(description.contains(word), "{description}");
    }
}

#[test]
fn a_value_of_the_wrong_type_or_range_is_an_invalid_field() {
    let number_keys = bytes(|out| write::map(out, 2, &[vec![0x52, 1], null()].concat()));
    for (place, field) in [
        (1, vec![0x52, 3]),
        (1, symbol("none")),
        (2, string("never")),
        (3, string("soon")),
        (4, vec![0x52, 1]),
        (5, vec![0x45]),
        (6, vec![0x52, 1]),
        (7, vec![0x45]),
        (7, number_keys),
        (8, symbol("amqp:accepted:list")),
        (9, vec![0x45]),
        (10, string("queue")),
    ] {
        let frame = with_source(&at(place, field.clone()));
        assert_eq!(refused(&frame).0, &AmqpError::InvalidField, "{place} {field:02x?}");
    }
}

#[test]
fn a_filter_that_cannot_be_taken_is_left_out_and_the_others_stay() {
    // A descriptor of a reserved type (1.2), then a list, then null.
    let odd = [vec![0x00, 0x45], string("x")].concat();
    let pairs = [symbol("odd"), odd, symbol("list"), vec![0x45], symbol("none"), null()].concat();
    let frame = with_source(&at(7, bytes(|out| write::map(out, 6, &pairs))));
    assert_eq!(frame.refuse, None);
    let filters = frame.attach.source.and_then(|source| source.filter).expect("a filter-set");
    let keys: Vec<_> = filters.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["list", "none"]);
}

#[test]
fn settle_modes_out_of_range_refuse_the_link() {
    assert_eq!(refused(&attach(&[vec![0x50, 3]])).0, &AmqpError::InvalidField);
    assert_eq!(refused(&attach(&[null(), vec![0x50, 2]])).0, &AmqpError::InvalidField);
}

#[test]
fn a_terminus_of_unknown_type_refuses_the_link_and_the_other_stays() {
    let frame = with_target(vec![0x00, 0x53, 0x99, 0x45]);
    assert_eq!(refused(&frame).0, &AmqpError::NotImplemented);
    assert_eq!(frame.attach.target, None);
    let frame = attach(&[
        null(),
        null(),
        vec![0x00, 0x53, descriptor::TARGET, 0x45],
        long_list(descriptor::TARGET, &[string("t")]),
    ]);
    assert_eq!(refused(&frame).0, &AmqpError::NotImplemented);
    assert_eq!(frame.attach.source, None);
    assert!(matches!(frame.attach.target.as_deref(), Some(TargetArchetype::Target(target))
        if target.address.as_deref() == Some("t")));
    assert_eq!(refused(&with_target(string("t"))).0, &AmqpError::InvalidField);
}

#[test]
fn a_coordinator_is_a_target() {
    let names = ["amqp:local-transactions", "acme:cheap-transactions"];
    let capabilities = bytes(|out| write::symbols(out, names.into_iter()));
    let frame = with_target(long_list(descriptor::COORDINATOR, &[capabilities]));
    assert_eq!(frame.refuse, None);
    let Some(TargetArchetype::Coordinator(coordinator)) = frame.attach.target.as_deref() else {
        panic!("{frame:?}")
    };
    assert_eq!(coordinator.capabilities.as_ref().map(Array::len), Some(1));
}

#[test]
fn an_unsettled_map_that_cannot_be_read_refuses_the_link() {
    let unsettled = |key: Vec<u8>, state: Vec<u8>| {
        let map = bytes(|out| write::map(out, 2, &[key, state].concat()));
        attach(&[null(), null(), null(), null(), map])
    };
    let tag = vec![0xa0, 1, 1];
    assert_eq!(unsettled(tag.clone(), null()).refuse, None);
    let frame = unsettled(tag.clone(), vec![0x00, 0x53, 0x99, 0x45]);
    assert_eq!(refused(&frame).0, &AmqpError::NotImplemented);
    assert_eq!(frame.attach.unsettled, None);
    assert_eq!(refused(&unsettled(string("tag"), null())).0, &AmqpError::InvalidField);
    assert_eq!(refused(&unsettled(tag, string("state"))).0, &AmqpError::InvalidField);
}

#[test]
fn only_name_handle_and_role_are_indispensable() {
    let without_role = long_list(descriptor::ATTACH, &[string("l"), vec![0x43]]);
    assert_eq!(decode(&without_role), Err(DecodeError::Missing { field: "attach.role" }));
    let odd = vec![0x45];
    let frame = attach(&vec![odd; 11]);
    assert_eq!(refused(&frame).0, &AmqpError::InvalidField);
}

#[test]
fn dynamic_node_properties_without_a_policy_stay() {
    let modes = bytes(|out| write::map(out, 2, &[symbol("supported-dist-modes"), symbol("copy")].concat()));
    let frame = with_source(&at(5, modes));
    assert_eq!(frame.refuse, None);
    assert_eq!(source(&frame).dynamic_node_properties.as_ref().map(|fields| fields.len()), Some(1));
}

#[test]
fn a_source_never_holds_an_empty_array() {
    let source = Source {
        outcomes: Some(Array(Vec::new())),
        capabilities: Some(Array(Vec::new())),
        ..Source::default()
    };
    assert_eq!(bytes(|out| encode_source(&source, out)), [0x00, 0x53, 0x28, 0x45]);
}
