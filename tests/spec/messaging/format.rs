//! 3.2 Message format: what a broker forwards, what it rewrites, what it refuses.

use crate::{
    frames::{data, new, settle, transfer},
    peer::Peer,
    subject::Whole,
    value::{Composite, V, decode, symbol},
};

const HEADER: u8 = 0x70;
const DELIVERY_ANNOTATIONS: u8 = 0x71;
const MESSAGE_ANNOTATIONS: u8 = 0x72;
const APPLICATION_PROPERTIES: u8 = 0x74;
const SEQUENCE: u8 = 0x76;
const VALUE: u8 = 0x77;
const FOOTER: u8 = 0x78;

fn section(code: u8, value: &V) -> Vec<u8> {
    [&[0x00, 0x53, code][..], &value.encode()].concat()
}

fn map(key: &str, value: impl Into<V>) -> V {
    V::Map(vec![(symbol(key), value.into())])
}

/// A message's first section where it is this one, and the rest.
fn split(code: u8, message: &[u8]) -> (Option<V>, Vec<u8>) {
    if !message.starts_with(&[0x00, 0x53, code]) {
        return (None, message.to_vec());
    }
    let mut rest = message;
    let value = decode(&mut rest);
    (Some(value), rest.to_vec())
}

fn header_of(message: &[u8]) -> Composite {
    match split(HEADER, message).0 {
        Some(V::Composite(header)) => header,
        None => new("header"),
        other => panic!("{other:?}"),
    }
}

/// Sends a message in through one link and takes it out through another.
fn through(message: &[u8]) -> Vec<u8> {
    let mut peer = Peer::ready();
    peer.fill("q", &[message.to_vec()]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 1);
    peer.expect("transfer").payload
}

/// Sends a message and returns how the broker answers: the state's name and condition, or the detach's.
fn answer_to(message: &[u8]) -> (Peer<Whole>, String, String) {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.drain();
    peer.publish(0, 0, 0, message);
    let frame = peer.next().expect("an answer");
    if frame.name() == "disposition" {
        let state = frame.inner("state").clone();
        let condition = if state.name() == "rejected" { state.condition().to_owned() } else { String::new() };
        return (peer, state.name().to_owned(), condition);
    }
    let condition = frame.condition().to_owned();
    (peer, frame.name().to_owned(), condition)
}

/// 3.2 "The bare message is immutable within the AMQP network. [...] The exact encoding of sections of the bare message MUST
/// NOT be modified."
#[test]
fn bare_message_and_footer_are_forwarded_bit_for_bit() {
    let properties = new("properties")
        .with("message-id", V::Ulong(7))
        .with("user-id", &b"me"[..])
        .with("to", "q")
        .with("subject", "s")
        .with("correlation-id", "c")
        .with("content-type", symbol("text/plain"))
        .with("creation-time", V::Timestamp(1))
        .with("group-sequence", 4_u32);
    let message = [
        section(MESSAGE_ANNOTATIONS, &map("x-opt-mine", 1_u32)),
        properties.encode(),
        section(
            APPLICATION_PROPERTIES,
            &V::Map(vec![("key".into(), V::Null), ("other".into(), 7_u64.into())]),
        ),
        data(b"payload"),
        section(FOOTER, &map("x-hash", &b"\x01\x02"[..])),
    ]
    .concat();
    assert_eq!(split(HEADER, &through(&message)).1, message);
}

/// 3.2, as above: encodings that a codec would write otherwise stay as they are.
#[test]
fn unusual_encodings_are_forwarded_bit_for_bit() {
    let bodies: &[&[u8]] = &[
        // The descriptor as eight octets, as a symbol; the binary with four octets of length.
        &[0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x75, 0xb0, 0, 0, 0, 1, b'x'],
        b"\x00\xa3\x10amqp:data:binary\xa0\x01x",
        b"\x00\xb3\x00\x00\x00\x10amqp:data:binary\xa0\x01x",
        // properties: an empty list in three encodings; a list of nulls only.
        &[0x00, 0x53, 0x73, 0xc0, 1, 0, 0x00, 0x53, 0x75, 0xa0, 0],
        &[0x00, 0x53, 0x73, 0xd0, 0, 0, 0, 4, 0, 0, 0, 0, 0x00, 0x53, 0x75, 0xa0, 0],
        &[0x00, 0x53, 0x73, 0x45, 0x00, 0x53, 0x75, 0xa0, 0],
        &[0x00, 0x53, 0x73, 0xc0, 3, 2, 0x40, 0x40, 0x00, 0x53, 0x75, 0xa0, 0],
        // application-properties as a map of 32 bit size; booleans in two octets; a zero that is not 0x43.
        &[
            0x00, 0x53, 0x74, 0xd1, 0, 0, 0, 9, 0, 0, 0, 2, 0xa1, 1, b'k', 0x56, 0x01, 0x00, 0x53, 0x77,
            0x70, 0, 0, 0, 0,
        ],
        // An array whose elements have no octets of their own; an array of nothing.
        &[0x00, 0x53, 0x77, 0xe0, 2, 200, 0x41],
        &[0x00, 0x53, 0x77, 0xe0, 2, 0, 0xa1],
        &[0x00, 0x53, 0x77, 0x45],
    ];
    for body in bodies {
        assert_eq!(split(HEADER, &through(body)).1, *body, "{body:02x?}");
    }
}

/// 3.2 "The body consists of one of the following three choices: one or more data sections, one or more amqp-sequence
/// sections, or a single amqp-value section."
#[test]
fn every_kind_of_body_is_forwarded() {
    let sequence = section(SEQUENCE, &V::List(vec![V::Null, 1_u32.into(), "x".into()]));
    let nested = V::List(vec![V::Map(vec![(1_u32.into(), V::List(vec![V::Bool(true)]))]), V::Timestamp(-1)]);
    for body in [
        data(b""),
        [data(b"one"), data(b"two"), data(b"")].concat(),
        sequence.clone(),
        [sequence.clone(), sequence].concat(),
        section(VALUE, &V::Null),
        section(VALUE, &nested),
        section(VALUE, &V::Described(Box::new(symbol("my:type")), Box::new(nested.clone()))),
        section(VALUE, &crate::value::symbols(&["a", "b"])),
        data(&[7; 300]),
    ] {
        assert_eq!(split(HEADER, &through(&body)).1, body);
    }
}

/// 3.2.1 durable, priority: they travel with the message.
#[test]
fn durable_and_priority_are_kept() {
    for (durable, priority) in [(true, 9_u8), (false, 0), (true, 4), (false, 200)] {
        let header = new("header").with("durable", durable).with("priority", priority);
        let got = header_of(&through(&[header.encode(), data(b"x")].concat()));
        assert_eq!(got.flag("durable"), durable);
        let got = if let V::Ubyte(got) = got.get("priority") { *got } else { 4 };
        assert_eq!(got, priority);
    }
}

/// 3.2.1 "If the header section is omitted the receiver MUST assume the appropriate default values": durable false, priority
/// 4, no ttl, first-acquirer false, delivery-count 0.
#[test]
fn without_a_header_the_defaults_are_forwarded() {
    let got = header_of(&through(&data(b"x")));
    assert!(!got.flag("durable") && !got.flag("first-acquirer"));
    assert!(matches!(got.get("priority"), V::Null | V::Ubyte(4)));
    assert_eq!(got.get("ttl"), &V::Null);
    assert!(matches!(got.get("delivery-count"), V::Null | V::Uint(0)));
}

/// 3.2.1 ttl: "the transmitted message's header SHOULD contain a ttl that is computed as the difference between the current
/// time and the formerly computed message expiration time, i.e., the reduced ttl".
#[test]
fn ttl_is_forwarded_reduced_by_the_time_in_the_queue() {
    let mut peer = Peer::ready();
    peer.fill("q", &[[new("header").with("ttl", 10_000_u32).encode(), data(b"x")].concat()]);
    peer.pass_ms(4_000);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 1);
    assert_eq!(header_of(&peer.expect("transfer").payload).uint("ttl"), 6_000);
}

/// 3.2.1 "Messages that live longer than their expiration time will be discarded (or dead lettered)."
#[test]
fn a_message_past_its_ttl_is_not_delivered() {
    let mut peer = Peer::ready();
    peer.fill("q", &[[new("header").with("ttl", 10_000_u32).encode(), data(b"x")].concat()]);
    peer.pass_ms(10_001);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 1);
    peer.quiet();
    assert_eq!(peer.subject.house.borrow().counts("q").1.available, 1);
}

/// 3.2.1 first-acquirer: "If this value is true, then this message has not been acquired by any other link." Passed on as it
/// came the first time; false once another link had it.
#[test]
fn first_acquirer_is_true_for_the_first_link_alone() {
    let mut peer = Peer::ready();
    peer.fill("q", &[[new("header").with("first-acquirer", true).encode(), data(b"x")].concat()]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 2);
    assert!(header_of(&peer.expect("transfer").payload).flag("first-acquirer"));
    peer.send(0, &settle(0, 0, new("released")));
    assert!(!header_of(&peer.expect("transfer").payload).flag("first-acquirer"));
}

/// 3.2.1 delivery-count: "The number of unsuccessful previous attempts to deliver this message." A publisher's own attempts
/// count.
#[test]
fn the_publishers_delivery_count_is_kept() {
    let got =
        header_of(&through(&[new("header").with("delivery-count", 3_u32).encode(), data(b"x")].concat()));
    assert_eq!(got.uint("delivery-count"), 3);
}

/// 3.2.2 "Delivery annotations convey information from the sending peer to the receiving peer": to us, not through us.
#[test]
fn delivery_annotations_are_not_forwarded() {
    let annotations = section(DELIVERY_ANNOTATIONS, &map("x-opt-for-the-broker", 1_u32));
    let got = through(&[annotations, data(b"x")].concat());
    assert_eq!(split(HEADER, &got).1, data(b"x"));
}

/// 3.2.3 "Intermediaries MUST propagate the annotations unless the annotations are explicitly augmented or modified".
#[test]
fn message_annotations_are_forwarded() {
    let all = V::Map(vec![
        (symbol("x-opt-a"), V::List(vec![V::Null])),
        (symbol("x-other"), "text".into()),
        (V::Ulong(77), V::Null),
    ]);
    let message = [section(MESSAGE_ANNOTATIONS, &all), data(b"x")].concat();
    assert_eq!(split(HEADER, &through(&message)).1, message);
}

/// 2.7.5 message-format: of a format other than 0 the broker knows nothing, and hands it on as it is.
#[test]
fn a_message_of_another_format_is_passed_whole() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.drain();
    let body = b"\xff\xfe\x00no sections at all";
    peer.send_with(0, &transfer(0, 0).with("message-format", 0x1234_5600_u32), body);
    let answer = peer.expect("disposition");
    assert_eq!(answer.inner("state").name(), "accepted", "{answer:?}");
    peer.receiver(0, 1, "q");
    peer.credit(0, 1, 0, 1);
    let got = peer.expect("transfer");
    assert_eq!(got.uint("message-format"), 0x1234_5600);
    assert_eq!(got.payload, body);
}

/// 3.2 What is no message of format 0 cannot be taken for one: the publisher learns so, and its connection lives.
#[test]
fn what_is_no_message_is_rejected_with_decode_error() {
    let deep = [vec![0x00, 0x53, 0x77], [0xc0, 0x05, 0x01].repeat(10_000)].concat();
    let messages: &[(&str, &[u8])] = &[
        ("text", b"hello"),
        ("a section cut short", &data(b"hello")[..6]),
        ("an unknown section", &[0x00, 0x53, 0x79, 0x45]),
        ("a header that is a map", &[0x00, 0x53, 0x70, 0xc1, 1, 0, 0x00, 0x53, 0x75, 0xa0, 0]),
        ("annotations that are a list", &[0x00, 0x53, 0x72, 0x45, 0x00, 0x53, 0x75, 0xa0, 0]),
        ("data that is a string", &[0x00, 0x53, 0x75, 0xa1, 1, b'x']),
        ("a string that is longer than everything", &[0x00, 0x53, 0x77, 0xb1, 0xff, 0xff, 0xff, 0xff, b'x']),
        ("a header behind the body", &[0x00, 0x53, 0x75, 0xa0, 0, 0x00, 0x53, 0x70, 0x45]),
        ("two headers", &[0x00, 0x53, 0x70, 0x45, 0x00, 0x53, 0x70, 0x45, 0x00, 0x53, 0x75, 0xa0, 0]),
        ("ten thousand lists in each other", &deep),
    ];
    for (what, message) in messages {
        let (mut peer, name, condition) = answer_to(message);
        assert!(["rejected", "detach"].contains(&&*name), "{what}: {name}");
        assert_eq!(condition, "amqp:decode-error", "{what}");
        if name == "detach" {
            peer.send(0, &crate::frames::detach(0));
        }
        peer.usable();
        let (queue, dead) = peer.subject.house.borrow().counts("q");
        assert_eq!((queue.available, dead.available), (0, 0), "{what}");
    }
}

/// 3.2 The body is the business of its sender and receivers: what is inside a section that is whole is not looked at, and
/// goes through bit for bit, be it valid or not. A message of no sections at all is one, too.
#[test]
fn what_is_inside_the_body_is_not_looked_at() {
    for body in [&b""[..], &[0x00, 0x53, 0x77, 0xc1, 2, 1, 0x40], &[0x00, 0x53, 0x77, 0xc0, 2, 9, 0x40]] {
        assert_eq!(split(HEADER, &through(body)).1, body);
    }
}
