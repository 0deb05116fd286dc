//! 2.6.12, 2.7.3, 2.8.2, 2.8.3: settlement modes, and who settles first.

use crate::{
    frames::{RECEIVER, SENDER, attach_receiver, attach_sender, continuation, data, new, transfer},
    peer::Peer,
    subject::Whole,
    value::{Composite, V},
};

fn mode(attach: &Composite, field: &str, default: u8) -> u8 {
    match attach.get(field) {
        V::Ubyte(mode) => *mode,
        V::Null => default,
        other => panic!("{other:?}"),
    }
}

/// 2.7.3 snd-settle-mode: "When set at the sender this indicates the actual settlement mode in use." rcv-settle-mode: "When
/// set at the sender this indicates the desired value": what the partner says is taken over or corrected, never left open.
#[test]
fn settle_modes_of_a_publisher_are_answered() {
    for (snd, rcv) in [(0_u8, 0_u8), (1, 0), (2, 0), (0, 1), (2, 1)] {
        let mut peer = Peer::ready();
        let attach = attach_sender("x", 0, "q").with("snd-settle-mode", snd).with("rcv-settle-mode", rcv);
        let answer = peer.attach(0, &attach);
        // Ours is the receiver: it repeats the actual mode of the sender, and says its own.
        assert_eq!(mode(&answer, "snd-settle-mode", 2), snd);
        assert_eq!(mode(&answer, "rcv-settle-mode", 0), rcv);
    }
}

/// 2.7.3 "When set at the receiver this indicates the desired value for the settlement mode at the sender": granted.
#[test]
fn settle_modes_of_a_consumer_are_granted() {
    for (snd, rcv) in [(0_u8, 0_u8), (1, 0), (0, 1)] {
        let mut peer = Peer::ready();
        let attach = attach_receiver("x", 0, "q").with("snd-settle-mode", snd).with("rcv-settle-mode", rcv);
        let answer = peer.attach(0, &attach);
        assert_eq!(mode(&answer, "snd-settle-mode", 2), snd);
        assert_eq!(mode(&answer, "rcv-settle-mode", 0), rcv);
    }
}

/// 2.7.3 Left out, snd-settle-mode is mixed and rcv-settle-mode is first (the fields' defaults).
#[test]
fn settle_modes_left_out_are_mixed_and_first() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.publish(0, 0, 0, &data(b"unsettled"));
    assert!(peer.expect("disposition").flag("settled"));
    peer.send_with(0, &transfer(0, 1).with("settled", true), &data(b"settled"));
    peer.quiet();
    assert_eq!(peer.subject.house.borrow().counts("q").0.available, 2);
}

/// 2.8.2 settled: "The sender will send all deliveries settled to the receiver."
#[test]
fn a_consumer_that_wants_settled_deliveries_gets_them_and_they_are_gone() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"1"), data(b"2")]);
    peer.attach(0, &attach_receiver("x", 0, "q").with("snd-settle-mode", 1_u8));
    peer.credit(0, 0, 0, 1);
    assert!(peer.expect("transfer").flag("settled"));
    peer.run();
    let (queue, _) = peer.subject.house.borrow().counts("q");
    assert_eq!((queue.available, queue.acquired), (1, 0));
}

/// 2.8.2 unsettled: "The sender will send all deliveries initially unsettled to the receiver."
#[test]
fn a_consumer_that_wants_unsettled_deliveries_gets_them() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"1")]);
    peer.attach(0, &attach_receiver("x", 0, "q").with("snd-settle-mode", 0_u8));
    peer.credit(0, 0, 0, 1);
    assert!(!peer.expect("transfer").flag("settled"));
}

/// 2.8.3 first: "The receiver will spontaneously settle all incoming transfers." Once, and with its outcome.
#[test]
fn with_mode_first_our_disposition_settles() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.publish(0, 0, 0, &data(b"x"));
    let answer = peer.expect("disposition");
    assert_eq!(answer.flag("role"), RECEIVER);
    assert!(answer.flag("settled"));
    assert_eq!((answer.uint("first"), answer.inner("state").name()), (0, "accepted"));
    peer.quiet();
}

/// 2.8.3 second: "The receiver will only settle after sending the disposition to the sender and receiving a disposition
/// indicating settlement of the delivery from the sender."
#[test]
fn with_mode_second_our_disposition_does_not_settle_and_the_senders_ends_it() {
    let mut peer = Peer::ready();
    peer.attach(0, &attach_sender("x", 0, "q").with("rcv-settle-mode", 1_u8));
    peer.publish(0, 0, 0, &data(b"x"));
    let answer = peer.expect("disposition");
    assert!(!answer.flag("settled"), "{answer:?}");
    assert_eq!((answer.flag("role"), answer.inner("state").name()), (RECEIVER, "accepted"));
    let settled = new("disposition").with("role", SENDER).with("first", 0_u32).with("settled", true);
    peer.send(0, &settled.with("state", new("accepted")));
    peer.quiet();
    // Again, though we have forgotten it.
    let settled = new("disposition").with("role", SENDER).with("first", 0_u32).with("settled", true);
    peer.send(0, &settled);
    peer.quiet();
    assert_eq!(peer.subject.house.borrow().counts("q").0.available, 1);
}

/// 2.7.5 rcv-settle-mode: "If first, this indicates that the receiver MUST settle the delivery once it has arrived without
/// waiting for the sender to settle first", for this delivery alone, on a link whose mode is second.
#[test]
fn a_transfer_may_ask_for_mode_first_on_a_link_with_second() {
    let mut peer = Peer::ready();
    peer.attach(0, &attach_sender("x", 0, "q").with("rcv-settle-mode", 1_u8));
    peer.send_with(0, &transfer(0, 0).with("rcv-settle-mode", 0_u8), &data(b"x"));
    assert!(peer.expect("disposition").flag("settled"));
    peer.publish(0, 0, 1, &data(b"x"));
    assert!(!peer.expect("disposition").flag("settled"));
}

/// 2.7.5 "If the negotiated link value is first, then it is illegal to set this field to second."
#[test]
fn a_transfer_must_not_ask_for_mode_second_on_a_link_with_first() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.drain();
    peer.send_with(0, &transfer(0, 0).with("rcv-settle-mode", 1_u8), &data(b"x"));
    let answer = peer.expect("detach");
    assert!(["amqp:invalid-field", "amqp:not-allowed"].contains(&answer.condition()), "{answer:?}");
    peer.send(0, &crate::frames::detach(0));
    peer.usable();
}

/// 2.7.5 settled: "If the negotiated value for snd-settle-mode at attachment is settled, then this field MUST be true on at
/// least one transfer frame for a delivery"; "unsettled, then this field MUST be false (or unset)". What a receiver does
/// with a sender that says one and does the other is not said: the delivery's own flag counts, and nothing is lost.
#[test]
fn a_delivery_that_is_not_of_its_links_mode_is_what_its_flag_says() {
    for mode in [0_u8, 1] {
        let mut peer = Peer::ready();
        peer.attach(0, &attach_sender("x", 0, "q").with("snd-settle-mode", mode));
        peer.send_with(0, &transfer(0, 0).with("settled", mode == 0), &data(b"x"));
        if mode == 1 {
            assert!(peer.expect("disposition").flag("settled"));
        }
        peer.quiet();
        assert_eq!(peer.subject.house.borrow().counts("q").0.available, 1);
    }
}

/// 2.7.5 settled: "For subsequent transfers, if the settled flag is left unset then it MUST be interpreted as true if and only
/// if the value of the settled flag on any of the preceding transfers was true".
#[test]
fn settled_on_any_transfer_of_a_delivery_settles_it() {
    for settled_on in 0..3 {
        let mut peer = Peer::ready();
        peer.sender(0, 0, "q");
        peer.drain();
        let flag = |n: i32, body: Composite| if n == settled_on { body.with("settled", true) } else { body };
        peer.send_with(0, &flag(0, transfer(0, 0).with("more", true)), b"\x00\x53");
        peer.send_with(0, &flag(1, continuation(0).with("more", true)), b"\x75\xa0");
        peer.send_with(0, &flag(2, continuation(0)), b"\x00");
        peer.quiet();
        assert_eq!(peer.subject.house.borrow().counts("q").0.available, 1, "{settled_on}");
    }
}

fn second() -> Peer<Whole> {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"1"), data(b"2"), data(b"3")]);
    peer.attach(0, &attach_receiver("x", 0, "q").with("rcv-settle-mode", 1_u8));
    peer.credit(0, 0, 0, 10);
    for _ in 0..3 {
        peer.expect("transfer");
    }
    peer
}

/// 2.6.12 "The sending application will then typically perform some action based on this terminal state and then settle the
/// delivery [...] The sender will then send its final delivery state along with an indication that the delivery is settled at
/// the sender."
#[test]
fn to_a_receiver_with_mode_second_we_settle_after_its_outcome() {
    let mut peer = second();
    let accepted = new("disposition")
        .with("role", RECEIVER)
        .with("first", 0_u32)
        .with("last", 2_u32)
        .with("state", new("accepted"));
    peer.send(0, &accepted);
    let answer = peer.expect("disposition");
    assert_eq!(answer.flag("role"), SENDER);
    assert!(answer.flag("settled"));
    assert_eq!((answer.uint("first"), answer.uint("last")), (0, 2));
    assert_eq!(answer.inner("state").name(), "accepted");
    peer.quiet();
    let (queue, _) = peer.subject.house.borrow().counts("q");
    assert_eq!((queue.available, queue.acquired), (0, 0));
    // The receiver's own settlement comes last and is not answered.
    peer.send(0, &crate::frames::settle(0, 2, new("accepted")));
    peer.quiet();
}

/// 2.6.12 The order in which outcomes come is the receiver's; each is answered as the outcome it is.
#[test]
fn outcomes_of_mode_second_are_answered_each_as_it_is() {
    let mut peer = second();
    for (id, outcome) in [(2, "rejected"), (0, "accepted")] {
        let state = new("disposition").with("role", RECEIVER).with("first", id).with("state", new(outcome));
        peer.send(0, &state);
        let answer = peer.expect("disposition");
        assert_eq!((answer.uint("first"), answer.inner("state").name()), (id, outcome));
        assert!(answer.flag("settled"));
    }
    peer.quiet();
}

/// 2.6.12 A receiver that settles at once, although its mode is second, is settled.
#[test]
fn a_receiver_with_mode_second_may_settle_at_once() {
    let mut peer = second();
    peer.send(0, &crate::frames::settle(0, 0, new("accepted")));
    peer.quiet();
    let (queue, _) = peer.subject.house.borrow().counts("q");
    assert_eq!((queue.available, queue.acquired), (0, 2));
}
