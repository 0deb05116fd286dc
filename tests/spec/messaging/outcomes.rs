//! 3.3, 3.4: outcomes, and what they do to a message at its node.

use crate::{
    frames::{attach_receiver, data, error, new, settle},
    peer::Peer,
    subject::Whole,
    value::{Composite, V, decode, fields, symbol},
};

/// A queue with these messages, and a consumer with credit 10.
fn consuming(bodies: &[&[u8]]) -> Peer<Whole> {
    let mut peer = Peer::ready();
    peer.fill("q", &bodies.iter().map(|body| data(body)).collect::<Vec<_>>());
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 10);
    peer
}

/// The next delivery: id, header, sections of annotations by code, and the body.
struct Got {
    id: u32,
    header: Composite,
    delivery_annotations: V,
    message_annotations: V,
    bare: Vec<u8>,
}

fn next(peer: &mut Peer<Whole>) -> Got {
    let frame = peer.expect("transfer");
    let mut rest = &frame.payload[..];
    let mut got = Got {
        id: frame.uint("delivery-id"),
        header: new("header"),
        delivery_annotations: V::Map(Vec::new()),
        message_annotations: V::Map(Vec::new()),
        bare: Vec::new(),
    };
    while let [0x00, 0x53, code @ 0x70..=0x72, ..] = rest {
        let code = *code;
        match (code, decode(&mut rest)) {
            (0x70, V::Composite(header)) => got.header = header,
            (0x71, V::Described(_, map)) => got.delivery_annotations = *map,
            (0x72, V::Described(_, map)) => got.message_annotations = *map,
            (_, other) => panic!("{other:?}"),
        }
    }
    got.bare = rest.to_vec();
    got
}

fn delivery_count(got: &Got) -> u32 {
    if got.header.get("delivery-count") == &V::Null { 0 } else { got.header.uint("delivery-count") }
}

fn counts(peer: &Peer<Whole>) -> (u64, u64, u64) {
    let (queue, dead) = peer.subject.house.borrow().counts("q");
    (queue.available, queue.acquired, dead.available)
}

/// 3.4.2 "At the source the accepted state means that the message has been retired from the node".
#[test]
fn accepted_retires_the_message() {
    let mut peer = consuming(&[b"x"]);
    let got = next(&mut peer);
    assert_eq!(counts(&peer), (0, 1, 0));
    peer.send(0, &settle(got.id, got.id, new("accepted")));
    peer.quiet();
    assert_eq!(counts(&peer), (0, 0, 0));
}

/// 3.4.4 "the released outcome means that the message is no longer acquired by the receiver, and has been made available for
/// (re-)delivery to the same or other targets receiving from the node. The message is unchanged at the node (i.e., the
/// delivery-count of the header of the released message MUST NOT be incremented)."
#[test]
fn released_makes_the_message_available_unchanged() {
    let mut peer = consuming(&[b"x"]);
    for _ in 0..5 {
        let got = next(&mut peer);
        assert_eq!((delivery_count(&got), &got.bare), (0, &data(b"x")));
        peer.send(0, &settle(got.id, got.id, new("released")));
    }
    next(&mut peer);
}

/// 3.4.4 and 3.3.1: a released message is AVAILABLE where it was, in front of later ones.
#[test]
fn released_keeps_the_messages_place() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"1"), data(b"2"), data(b"3")]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 1);
    let got = next(&mut peer);
    peer.send(0, &settle(got.id, got.id, new("released")));
    peer.credit(0, 0, 1, 3);
    let order: Vec<Vec<u8>> = (0..3).map(|_| next(&mut peer).bare).collect();
    assert_eq!(order, [data(b"1"), data(b"2"), data(b"3")]);
}

/// 3.4.5 delivery-failed: "If the delivery-failed flag is set, any messages modified MUST have their delivery-count
/// incremented."
#[test]
fn modified_with_delivery_failed_increments_the_delivery_count() {
    let mut peer = consuming(&[b"x"]);
    let got = next(&mut peer);
    assert_eq!(delivery_count(&got), 0);
    peer.send(0, &settle(got.id, got.id, new("modified").with("delivery-failed", true)));
    let got = next(&mut peer);
    assert_eq!((delivery_count(&got), got.bare), (1, data(b"x")));
}

/// 3.4.5 Without delivery-failed nothing is incremented.
#[test]
fn modified_without_delivery_failed_does_not_count() {
    let mut peer = consuming(&[b"x"]);
    for state in [new("modified"), new("modified").with("delivery-failed", false)] {
        let got = next(&mut peer);
        peer.send(0, &settle(got.id, got.id, state));
    }
    assert_eq!(delivery_count(&next(&mut peer)), 0);
}

/// 3.4.5 undeliverable-here: "then any messages released MUST NOT be redelivered to the modifying link endpoint."
#[test]
fn undeliverable_here_is_not_delivered_to_this_link_again_but_to_another() {
    let mut peer = consuming(&[b"x"]);
    let got = next(&mut peer);
    peer.send(0, &settle(got.id, got.id, new("modified").with("undeliverable-here", true)));
    peer.quiet();
    peer.receiver(0, 1, "q");
    peer.credit(0, 1, 0, 1);
    assert_eq!(next(&mut peer).bare, data(b"x"));
}

/// 3.4.5 message-annotations: "Where the existing message-annotations of the message contain an entry with the same key as an
/// entry in this field, the value in this field associated with that key replaces the one in the existing headers; where the
/// existing message-annotations has no such value, the value in this map is added."
#[test]
fn annotations_of_modified_are_merged() {
    let mut peer = Peer::ready();
    let annotations = V::Map(vec![(symbol("x-opt-old"), 1_u32.into()), (symbol("x-opt-kept"), 2_u32.into())]);
    let section = [&[0x00, 0x53, 0x72][..], &annotations.encode()].concat();
    peer.fill("q", &[[section, data(b"x")].concat()]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 10);
    let got = next(&mut peer);
    let merge = fields(&[("x-opt-old", "new".into()), ("x-opt-added", V::Bool(true))]);
    peer.send(0, &settle(got.id, got.id, new("modified").with("message-annotations", merge)));
    let got = next(&mut peer);
    for (key, value) in
        [("x-opt-old", V::Str("new".into())), ("x-opt-kept", V::Uint(2)), ("x-opt-added", V::Bool(true))]
    {
        assert_eq!(got.message_annotations.at(key), Some(&value), "{key}");
    }
    assert_eq!(got.bare, data(b"x"));
}

/// 3.4.3 "The rejected outcome when applied to a message will cause the delivery-count to be incremented in the header of the
/// rejected message", and error: "The value supplied in this field will be placed in the delivery-annotations of the rejected
/// message associated with the symbolic key 'rejected'."
#[test]
fn rejected_moves_the_message_to_the_dead_letters_with_its_error() {
    let mut peer = consuming(&[b"x"]);
    let got = next(&mut peer);
    let why = error("my:app:broken").with("description", "no").with("info", fields(&[("k", 5_u32.into())]));
    peer.send(0, &settle(got.id, got.id, new("rejected").with("error", why.clone())));
    peer.quiet();
    assert_eq!(counts(&peer), (0, 0, 1));
    peer.receiver(0, 1, "q/$deadletter");
    peer.credit(0, 1, 0, 1);
    let got = next(&mut peer);
    assert_eq!((delivery_count(&got), got.bare), (1, data(b"x")));
    assert_eq!(got.delivery_annotations.at("rejected"), Some(&V::Composite(why)));
}

/// 3.4.3 error is optional.
#[test]
fn rejected_without_an_error_is_rejected_all_the_same() {
    let mut peer = consuming(&[b"x"]);
    let got = next(&mut peer);
    peer.send(0, &settle(got.id, got.id, new("rejected")));
    peer.quiet();
    assert_eq!(counts(&peer), (0, 0, 1));
}

/// 3.3.1 "Once in the ACQUIRED state, a message is ineligible for acquiring transfers to any other links."
#[test]
fn an_acquired_message_is_delivered_to_no_other_link() {
    let mut peer = consuming(&[b"1", b"2"]);
    next(&mut peer);
    next(&mut peer);
    peer.receiver(0, 1, "q");
    peer.credit(0, 1, 0, 10);
    peer.quiet();
}

/// 3.4 A delivery is settled once: a second outcome for it changes nothing.
#[test]
fn a_second_outcome_for_a_settled_delivery_changes_nothing() {
    let mut peer = consuming(&[b"x"]);
    let got = next(&mut peer);
    peer.send(0, &settle(got.id, got.id, new("accepted")));
    peer.send(0, &settle(got.id, got.id, new("rejected")));
    peer.send(0, &settle(got.id, got.id, new("released")));
    peer.quiet();
    assert_eq!(counts(&peer), (0, 0, 0));
}

/// 3.4 "Once a delivery reaches a terminal delivery-state, the state for that delivery will no longer change."
#[test]
fn a_state_that_is_terminal_is_not_replaced_by_a_later_one() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"x")]);
    peer.attach(0, &attach_receiver("second", 0, "q").with("rcv-settle-mode", 1_u8));
    peer.credit(0, 0, 0, 1);
    next(&mut peer);
    let said = |state: &str| settle(0, 0, new(state)).with("settled", false);
    peer.send_bytes(
        &[crate::frames::frame(0, &said("accepted")), crate::frames::frame(0, &said("released"))].concat(),
    );
    let answer = peer.expect("disposition");
    assert_eq!((answer.inner("state").name(), answer.flag("settled")), ("accepted", true));
    peer.quiet();
    assert_eq!(counts(&peer), (0, 0, 0));
}

/// 3.4, 1.3.? A state the broker does not know in a disposition fails the link it is about, not the connection.
#[test]
fn an_unknown_outcome_costs_the_link_at_most() {
    let mut peer = consuming(&[b"x"]);
    let got = next(&mut peer);
    let unknown = V::Described(Box::new(symbol("x:quarantined:list")), Box::new(V::List(vec![1_u32.into()])));
    peer.send(0, &settle(got.id, got.id, new("accepted")).with("state", unknown));
    let answer = peer.expect("detach");
    assert_ne!(answer.condition(), "");
    peer.send(0, &crate::frames::detach(0));
    assert_eq!(counts(&peer), (1, 0, 0));
    peer.usable();
}

/// 3.4.3, towards a publisher: what cannot be taken is rejected with the reason, or the link says why.
#[test]
fn a_message_that_has_expired_on_arrival_is_not_accepted() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    let expired = new("properties").with("absolute-expiry-time", V::Timestamp(1));
    peer.publish(0, 0, 0, &[expired.encode(), data(b"x")].concat());
    let answer = peer.expect("disposition");
    assert_eq!(answer.inner("state").name(), "rejected");
    assert_ne!(answer.inner("state").condition(), "");
    assert_eq!(counts(&peer).0, 0);
}

/// 3.3.1 "State transitions may also occur spontaneously": a connection that is lost settles nothing; its messages are
/// available again.
#[test]
fn what_a_lost_connection_had_is_available_again() {
    let mut peer = consuming(&[b"1", b"2"]);
    next(&mut peer);
    next(&mut peer);
    let mut other = Peer::beside(&peer, 2);
    peer.hang_up();
    other.open();
    other.begin(0);
    other.receiver(0, 0, "q");
    other.credit(0, 0, 0, 10);
    assert_eq!(next(&mut other).bare, data(b"1"));
}
