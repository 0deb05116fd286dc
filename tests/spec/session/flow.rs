//! 2.5.6, 2.7.4: session state in flow frames.

use crate::{
    frames::{data, new, transfer},
    peer::Peer,
    value::V,
};

/// 2.7.4 echo: "If set to true then the receiver SHOULD send its state at the earliest convenient opportunity." Without a
/// handle, it "is carrying only information pertaining to the session endpoint".
#[test]
fn a_session_flow_with_echo_is_answered_with_our_state() {
    let mut peer = Peer::engine();
    peer.open();
    let begin = peer.begin(0);
    peer.send(0, &peer.flow(0).with("echo", true));
    let flow = peer.expect_flow(None);
    assert_eq!(flow.uint("next-incoming-id"), 0);
    assert_eq!(flow.uint("next-outgoing-id"), begin.uint("next-outgoing-id"));
    assert!(flow.uint("incoming-window") > 0);
    for link_field in ["delivery-count", "link-credit", "available"] {
        assert_eq!(flow.get(link_field), &V::Null, "{link_field}");
    }
    // An answer to an answer would never end.
    assert!(!flow.flag("echo"));
    peer.silent();
}

/// 2.7.4 Without echo no answer is asked for.
#[test]
fn a_session_flow_without_echo_is_not_answered() {
    let mut peer = Peer::engine();
    peer.open();
    peer.begin(0);
    peer.send(0, &peer.flow(0));
    peer.silent();
}

/// 2.7.4 next-incoming-id: "This value MUST be set if the peer has received the begin frame for the session, and MUST NOT
/// be set if it has not": a pipelined flow has none.
#[test]
fn a_flow_without_next_incoming_id_is_taken() {
    let mut peer = Peer::sending();
    let flow = peer.flow(0).with("next-incoming-id", V::Null).with("echo", true);
    peer.send(0, &flow);
    peer.expect_flow(None);
}

/// 2.5.6 "Upon receiving a transfer, the receiving endpoint will increment the next-incoming-id to match the implicit
/// transfer-id of the incoming transfer plus one".
#[test]
fn next_incoming_id_counts_transfer_frames() {
    let mut peer = Peer::sending();
    peer.grant(0, 100);
    for id in 0..3 {
        peer.publish(0, 0, id, &data(b"x"));
    }
    // One delivery of three frames.
    peer.send_with(0, &transfer(0, 3).with("more", true), b"\x00\x53");
    peer.send_with(0, &crate::frames::continuation(0).with("more", true), b"\x75\xa0");
    peer.send_with(0, &crate::frames::continuation(0), b"\x00");
    peer.drain();
    peer.send(0, &peer.flow(0).with("echo", true));
    assert_eq!(peer.expect_flow(None).uint("next-incoming-id"), 6);
    assert_eq!(peer.messages().len(), 4);
}

/// 2.5.6 "next-outgoing-id MAY be initialized to an arbitrary value and is incremented after each successive transfer
/// according to RFC-1982 serial number arithmetic."
#[test]
fn ids_of_both_sides_wrap() {
    let mut peer = Peer::engine();
    peer.subject.engine.count_from(u32::MAX - 1);
    peer.open();
    let theirs = peer.begin_with(0, &crate::frames::begin().with("next-outgoing-id", u32::MAX - 1));
    assert_eq!(theirs.uint("next-outgoing-id"), u32::MAX - 1);
    peer.sender(0, 0, "q");
    peer.grant(0, 100);
    for n in 0..5_u32 {
        peer.publish(0, 0, (u32::MAX - 1).wrapping_add(n), &data(b"x"));
    }
    assert_eq!(peer.messages().len(), 5);
    peer.drain();
    peer.send(0, &peer.flow(0).with("echo", true));
    assert_eq!(peer.expect_flow(None).uint("next-incoming-id"), 3);
    // A disposition over the wrap-around.
    let link = peer.subject.links[0];
    let state = verdict::amqp::codec::DeliveryState::Accepted;
    peer.subject.engine.dispose(link, u32::MAX - 1, 2, true, state);
    peer.run();
    let got = peer.expect("disposition");
    assert_eq!((got.uint("first"), got.uint("last")), (u32::MAX - 1, 2));
}

/// 2.5.6 with the broker sending: its transfer- and delivery-ids wrap, and a window that ends behind the wrap-around holds.
#[test]
fn outgoing_ids_wrap_within_the_peers_window() {
    let mut peer = Peer::engine();
    peer.subject.engine.count_from(u32::MAX - 1);
    peer.open();
    peer.begin_with(0, &crate::frames::begin().with("incoming-window", 4_u32));
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 100);
    let link = peer.subject.links[0];
    for token in 0..10 {
        let body = data(b"x").into();
        let message = verdict::amqp::Outgoing {
            token,
            format: 0,
            settled: true,
            prefix: Vec::new(),
            body,
            body_from: 0,
        };
        peer.subject.engine.send(link, message);
    }
    peer.run();
    let ids: Vec<u32> =
        peer.drain().iter().filter(|f| f.name() == "transfer").map(|f| f.uint("delivery-id")).collect();
    // `credit` announced 2048 as window.
    let expected: Vec<u32> = (0..10).map(|n| (u32::MAX - 1).wrapping_add(n)).collect();
    assert_eq!(ids, expected);
}

/// 2.7.4 incoming-window, next-outgoing-id and outgoing-window are mandatory.
#[test]
fn a_flow_without_a_mandatory_field_is_refused() {
    for missing in ["incoming-window", "next-outgoing-id", "outgoing-window"] {
        let mut peer = Peer::sending();
        peer.send(0, &peer.flow(0).with(missing, V::Null));
        let answer = peer.next().expect("an answer");
        assert!(matches!(answer.name(), "close" | "end"), "{missing}: {answer:?}");
        assert!(["amqp:decode-error", "amqp:invalid-field"].contains(&answer.condition()), "{answer:?}");
    }
}

/// 2.7.4 "If set to a handle that is not currently associated with an attached link, the recipient MUST respond by ending
/// the session with an unattached-handle session error."
#[test]
fn a_flow_for_a_handle_not_attached_ends_the_session() {
    let mut peer = Peer::sending();
    peer.drain();
    peer.send(0, &peer.flow(0).with("handle", 9_u32).with("link-credit", 1_u32));
    peer.ended_with(0, "amqp:session:unattached-handle");
}

/// 2.7.4 properties of a flow are link state nobody has to understand.
#[test]
fn flow_properties_are_ignored() {
    let mut peer = Peer::sending();
    let flow = peer.flow(0).with("properties", crate::value::fields(&[("x", new("released").into())]));
    peer.send(0, &flow.with("echo", true));
    peer.expect_flow(None);
}
