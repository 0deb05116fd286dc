//! Filters of an attach, and what selectors see of a message.

use fe2o3_amqp_types::{definitions::Fields, messaging::Source};
use serde_amqp::{
    Value,
    described::Described,
    descriptor::Descriptor,
    primitives::{Symbol, Timestamp},
};

use super::{annotations_of, died, get, published, sent};
use crate::{
    amqp::codec::{encode_fields, encode_value, section, write},
    broker::{Annotations, Chooser, Delivery, EntryState, Message, Seq},
    container::{encode, filter},
    limits,
    time::Millis,
};

const CODE: Descriptor = Descriptor::Code(0x0000_468c_0000_0004);

fn named(name: &str) -> Descriptor {
    Descriptor::Name(Symbol::from(name))
}

fn described(descriptor: Descriptor, value: impl Into<Value>) -> Value {
    Value::Described(Box::new(Described { descriptor, value: value.into() }))
}

fn source(filters: &[(&str, Value)]) -> Source {
    let filters = filters.iter().map(|(key, value)| (Symbol::from(*key), value.clone())).collect();
    Source { filter: Some(filters), ..Source::default() }
}

/// Keys left in the source, and whether there is a filter.
fn in_force(filters: &[(&str, Value)]) -> (Vec<String>, bool) {
    let mut source = source(filters);
    let filter = filter::in_force(&mut source).unwrap();
    let kept = source.filter.unwrap_or_default();
    for (key, value) in kept.iter() {
        let written = filters.iter().find(|(given, _)| *given == key.as_str());
        assert_eq!(written.map(|(_, value)| value), Some(value), "echoed as it was written");
    }
    (kept.iter().map(|(key, _)| key.as_str().to_owned()).collect(), filter.is_some())
}

fn refused(value: Value) -> String {
    let Err(error) = filter::in_force(&mut source(&[("mine", value)])) else { panic!("it was taken") };
    assert_eq!(crate::amqp::codec::condition_name(&error.condition), "amqp:invalid-field");
    error.description.unwrap()
}

#[test]
fn a_selector_is_known_by_either_descriptor_whatever_its_key() {
    for descriptor in [CODE, named("apache.org:selector-filter:string")] {
        for key in ["jms-selector", "selector", "x"] {
            assert_eq!(in_force(&[(key, described(descriptor.clone(), "a = 1"))]), (vec![key.into()], true));
        }
    }
}

#[test]
fn what_is_no_known_filter_is_not_in_force_and_hurts_nobody() {
    let others = [
        ("a", described(named("apache.org:no-local-filter:list"), Value::List(vec![]))),
        ("b", described(Descriptor::Code(0x0000_468c_0000_0003), Value::List(vec![]))),
        ("c", Value::String("a = 1".into())),
        ("d", Value::Null),
        ("e", Value::List(vec![Value::Uint(1)])),
        ("f", described(CODE, "a = 1")),
    ];
    assert_eq!(in_force(&others), (vec!["f".into()], true));
    assert_eq!(in_force(&others[..5]), (vec![], false));
    let mut none = source(&[]);
    assert!(filter::in_force(&mut none).unwrap().is_none() && none.filter.is_none());
}

#[test]
fn a_selector_that_is_none_is_refused_with_its_key_and_place() {
    let why = refused(described(CODE, "colour = "));
    assert!(why.starts_with("source.filter \"mine\": not a selector: at character 10: got the end"), "{why}");
    assert!(refused(described(CODE, Symbol::from("a = 1"))).ends_with("got a symbol, expected a string"));
    assert!(refused(described(CODE, Value::Null)).contains("got null"));
    assert!(refused(described(CODE, "a".repeat(limits::SELECTOR_BYTES + 1))).contains("at most 8192"));
}

#[test]
fn several_selectors_must_all_be_passed_and_are_bounded_together() {
    let mut both = source(&[("a", described(CODE, "one = 1")), ("b", described(CODE, "two = 2"))]);
    let filter = filter::in_force(&mut both).unwrap().unwrap();
    assert_eq!(both.filter.map(|kept| kept.len()), Some(2));
    let wants = |pairs: &[(&str, i32)]| {
        let properties: Vec<_> = pairs.iter().map(|(key, value)| (*key, Value::Int(*value))).collect();
        wants_message(filter.as_ref(), &message(&[], &[], &properties), None)
    };
    assert!(wants(&[("one", 1), ("two", 2)]));
    assert!(!wants(&[("one", 1)]) && !wants(&[("two", 2)]));
    let long = "a = 1 AND ".repeat(limits::SELECTOR_BYTES / 20) + "TRUE";
    let many: Vec<_> = ["a", "b", "c"].map(|key| (key, described(CODE, long.clone()))).into();
    assert!(filter::in_force(&mut source(&many)).is_err());
}

/// A message with these annotations, properties (by place) and application properties.
fn message(
    annotations: &[(&str, Value)],
    properties: &[(usize, Value)],
    application: &[(&str, Value)],
) -> Message {
    let value = |value: &Value| {
        let mut out = Vec::new();
        encode_value(value, &mut out);
        out
    };
    let mut bytes = Vec::new();
    let annotated: Vec<_> =
        annotations.iter().map(|(key, v)| encode::pair(key, |out| encode_value(v, out))).collect();
    section::encode_map_section(0x72, annotated.iter().map(|(k, v)| (&k[..], &v[..])), &mut bytes);
    let fields = properties.iter().map(|(place, _)| place + 1).max().unwrap_or(0);
    let mut list = Vec::new();
    for place in 0..fields {
        let given = properties.iter().find(|(at, _)| *at == place);
        list.extend(given.map_or(vec![0x40], |(_, given)| value(given)));
    }
    bytes.extend_from_slice(&[0x00, 0x53, 0x73]);
    write::list(&mut bytes, fields, &list);
    let mut map = Vec::new();
    for (key, given) in application {
        write::string(&mut map, key);
        map.extend(value(given));
    }
    bytes.extend_from_slice(&[0x00, 0x53, 0x74]);
    write::map(&mut bytes, application.len() * 2, &map);
    bytes.extend_from_slice(&[0x00, 0x53, 0x75, 0xa0, 2, b'h', b'i']);
    Message {
        from: 0,
        format: 0,
        bytes: bytes.into(),
        ..super::delivery(Vec::new(), None).message.as_ref().clone()
    }
}

fn wants_message(filter: &dyn Chooser, message: &Message, state: Option<&EntryState>) -> bool {
    let (delivered, acquired) = state.map_or((0, 0), |state| (state.delivery_count, state.acquired_count));
    filter.wants(message, delivered, acquired, state)
}

fn selects(selector: &str, message: &Message, state: Option<&EntryState>) -> bool {
    let filter = filter::in_force(&mut source(&[("s", described(CODE, selector))]));
    let filter = filter.unwrap_or_else(|error| panic!("{selector}: {error:?}")).unwrap();
    wants_message(filter.as_ref(), message, state)
}

fn all_select(message: &Message, state: Option<&EntryState>, selectors: &[&str]) {
    for selector in selectors {
        assert!(selects(selector, message, state), "{selector}");
    }
}

#[test]
fn application_properties_go_by_their_names_and_all_simple_types_are_known() {
    let uuid = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8];
    let message = message(
        &[],
        &[],
        &[
            ("text", Value::String("ä".into())),
            ("symbol", Value::Symbol(Symbol::from("s"))),
            ("yes", Value::Bool(true)),
            ("byte", Value::Byte(-1)),
            ("ushort", Value::Ushort(65_535)),
            ("int", Value::Int(-70_000)),
            ("long", Value::Long(i64::MIN)),
            ("ulong", Value::Ulong(u64::MAX)),
            ("float", Value::from(1.5f32)),
            ("double", Value::from(0.1f64)),
            ("char", Value::Char('c')),
            ("time", Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000))),
            ("uuid", Value::Uuid(uuid.into())),
            ("binary", Value::Binary(vec![1].into())),
            ("null", Value::Null),
            ("two words", Value::Int(2)),
        ],
    );
    all_select(
        &message,
        None,
        &[
            "text = 'ä' AND symbol = 's' AND yes AND byte = -1 AND ushort = 65535 AND int = -70000",
            "long = -9223372036854775808 AND ulong = 18446744073709551615 AND float = 1.5 AND double = 0.1",
            "char = 'c' AND time > 1699999999999 AND uuid = '12345678-9abc-def0-0102-030405060708'",
            "binary IS NULL AND null IS NULL AND none IS NULL AND Text IS NULL"
                .replace("null IS", "\"null\" IS")
                .leak(),
            "\"two words\" = 2",
        ],
    );
}

#[test]
fn header_and_properties_go_by_their_names_in_jms_and_in_amqp() {
    let text = |text: &str| Value::String(text.into());
    let time = |at| Value::Timestamp(Timestamp::from_milliseconds(at));
    let mut message = message(
        &[],
        &[
            (0, text("ID:1")),
            (1, Value::Binary(b"alice".to_vec().into())),
            (2, text("orders")),
            (3, text("kind")),
            (4, text("answers")),
            (5, text("c-1")),
            (6, Value::Symbol(Symbol::from("text/plain"))),
            (7, Value::Symbol(Symbol::from("gzip"))),
            (8, time(9000)),
            (9, time(8000)),
            (10, text("g")),
            (11, Value::Uint(7)),
            (12, text("rg")),
        ],
        &[("JMSType", text("mine")), ("amqp.to", text("mine")), ("JMSXOther", Value::Int(1))],
    );
    message.priority = 6;
    let state = EntryState { delivery_count: 2, acquired_count: 3, ..EntryState::default() };
    let as_known = [
        "JMSMessageID = 'ID:1' AND JMSCorrelationID = 'c-1' AND JMSType = 'kind' AND JMSDestination = 'orders'",
        "JMSReplyTo = 'answers' AND JMSTimestamp = 8000 AND JMSExpiration = 9000 AND JMSPriority = 6",
        "JMSDeliveryMode = 'PERSISTENT' AND JMSRedelivered AND JMSXDeliveryCount = 3",
        "JMSXGroupID = 'g' AND JMSXGroupSeq = 7 AND JMSXUserID = 'alice' AND JMSXOther = 1",
        "amqp.message_id = 'ID:1' AND amqp.user_id = 'alice' AND amqp.to = 'orders' AND amqp.subject = 'kind'",
        "amqp.reply_to = 'answers' AND amqp.correlation_id = 'c-1' AND amqp.content_type = 'text/plain'",
        "amqp.content_encoding = 'gzip' AND amqp.absolute_expiry_time = 9000 AND amqp.creation_time = 8000",
        "amqp.group_id = 'g' AND amqp.group_sequence = 7 AND amqp.reply_to_group_id = 'rg'",
        "amqp.durable AND amqp.priority = 6 AND amqp.delivery_count = 2 AND NOT amqp.first_acquirer",
    ];
    all_select(&message, Some(&state), &as_known);
    let bare = published(&[]);
    let mut bare = Message { bytes: bare.into(), durable: false, ..message.clone() };
    all_select(
        &bare,
        None,
        &[
            "JMSDeliveryMode = 'NON_PERSISTENT' AND NOT JMSRedelivered AND JMSXDeliveryCount = 1",
            "JMSMessageID IS NULL AND JMSTimestamp IS NULL AND JMSExpiration = 0 AND amqp.first_acquirer",
        ],
    );
    bare.expires = Some(Millis(5));
    assert!(selects("JMSExpiration = 5", &bare, None));
}

#[test]
fn ids_that_are_no_texts_are_those_of_the_jms_mapping() {
    let of = |id: Value| message(&[], &[(0, id.clone()), (5, id)], &[]);
    let number = of(Value::Ulong(7));
    all_select(&number, None, &["JMSMessageID = 'ID:AMQP_ULONG:7'", "amqp.message_id = 7"]);
    let bytes = of(Value::Binary(vec![0xab, 1].into()));
    all_select(&bytes, None, &["JMSCorrelationID = 'ID:AMQP_BINARY:AB01'", "amqp.correlation_id IS NULL"]);
    let uuid = of(Value::Uuid([0xff; 16].into()));
    let text = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    assert!(selects(&format!("JMSMessageID = 'ID:AMQP_UUID:{text}'"), &uuid, None));
    assert!(selects(&format!("amqp.message_id = '{text}'"), &uuid, None));
}

#[test]
fn annotations_go_by_m_and_by_their_names_behind_application_properties() {
    let text = |text: &str| Value::String(text.into());
    let message = message(
        &[("x-opt-a", text("annotated")), ("x-opt-both", text("annotated")), ("colour", text("annotated"))],
        &[],
        &[("x-opt-both", text("property"))],
    );
    all_select(
        &message,
        None,
        &[
            "x-opt-a = 'annotated' AND m.x-opt-a = 'annotated' AND \"m.x-opt-a\" = \"x-opt-a\"",
            "x-opt-both = 'property' AND m.x-opt-both = 'annotated'",
            "colour IS NULL AND m.colour = 'annotated'",
            "m.x-opt-none IS NULL AND x-opt-none IS NULL",
        ],
    );
}

#[test]
fn merged_annotations_go_before_published_ones_and_the_brokers_before_all() {
    let published = [("x-opt-a", Value::Int(1)), ("x-opt-dl-reason", Value::String("forged".into()))];
    let message = message(&published, &[], &[]);
    let merged = vec![encode::pair("x-opt-a", |out| write::string(out, "new"))];
    let state = EntryState { annotations: Annotations(merged), acquired_count: 2, ..died() };
    all_select(
        &message,
        Some(&state),
        &[
            "x-opt-a = 'new' AND x-opt-dl-reason = 'rejected' AND x-opt-acquired-count = 2",
            "x-opt-dl-reason = 'rejected' AND x-opt-dl-attempts > 1 AND x-opt-dl-attempts < 4",
            "x-opt-dl-condition LIKE 'amqp:%' AND x-opt-dl-time BETWEEN 1600000000000 AND 1800000000000",
            "x-first-death-queue = 'orders' AND x-last-death-reason IN ('expired', 'rejected')",
        ],
    );
    all_select(
        &message,
        None,
        &["x-opt-a = 1 AND x-opt-dl-reason = 'forged' AND x-opt-acquired-count IS NULL"],
    );
}

#[test]
fn a_selector_sees_the_annotations_that_the_consumer_gets() {
    let bytes = message(&[("x-opt-kept", Value::Uint(7)), ("x-opt-old", Value::Uint(1))], &[], &[]).bytes;
    let merged = vec![encode::pair("x-opt-old", |out| write::uint(out, 2))];
    let state = EntryState { annotations: Annotations(merged), acquired_count: 4, ..died() };
    let delivery = Delivery { acquired_count: 4, ..super::delivery(bytes.to_vec(), Some(state.clone())) };
    let delivery = Delivery { seq: Seq(1), ..delivery };
    let got: Fields = annotations_of(&sent(&delivery, true), false);
    assert!(got.len() > 12 && get(&got, "x-opt-kept").is_some());
    for (key, value) in got.iter() {
        let literal = match value {
            Value::String(text) => format!("'{text}'"),
            Value::Symbol(symbol) => format!("'{}'", symbol.as_str()),
            Value::Uint(number) => number.to_string(),
            Value::Timestamp(time) => time.milliseconds().to_string(),
            other => panic!("{key:?}: {other:?}"),
        };
        let selector = format!("{} = {literal}", key.as_str());
        assert!(selects(&selector, &delivery.message, Some(&state)), "{selector}");
    }
}

#[test]
fn what_is_not_of_the_format_or_not_well_formed_has_no_properties() {
    let whole = message(&[], &[], &[("a", Value::Int(1)), ("b", Value::Int(2))]);
    let foreign = Message { format: 0x1000, ..whole.clone() };
    all_select(&foreign, None, &["a IS NULL AND JMSPriority = 4"]);
    // Cut off, or with bytes that are none of a value: no panic, and the first may still be read.
    for cut in 0..whole.bytes.len() {
        let cut_off = Message { bytes: whole.bytes[..cut].into(), ..whole.clone() };
        selects("a = 1 OR b = 2 OR JMSMessageID = 'x' OR x-opt-a = 1", &cut_off, None);
        let mut broken = whole.bytes.to_vec();
        broken[cut] ^= 0xff;
        let broken = Message { bytes: broken.into(), ..whole.clone() };
        selects("a = 1 OR b = 2 OR JMSMessageID = 'x' OR x-opt-a = 1", &broken, None);
    }
}

#[test]
fn filters_cross_the_wire_as_they_were_written() {
    let mut filters = Fields::new();
    filters.insert(Symbol::from("a"), described(CODE, "x = 1"));
    filters.insert(Symbol::from("b"), described(named("apache.org:selector-filter:string"), "y = 'ä'"));
    let mut bytes = Vec::new();
    encode_fields(&filters, &mut bytes);
    assert_eq!(crate::amqp::codec::decode_fields("filter", &bytes).unwrap(), filters);
}
