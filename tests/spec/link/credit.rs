//! 2.6.7, 2.7.4: link credit in both directions.

use crate::{
    frames::{data, frame_with, transfer},
    peer::Peer,
    subject::Whole,
    value::V,
};

fn consuming(messages: usize) -> Peer<Whole> {
    let mut peer = Peer::ready();
    peer.fill("q", &vec![data(b"x"); messages]);
    peer.receiver(0, 0, "q");
    peer
}

fn transfers(peer: &mut Peer<Whole>) -> usize {
    peer.drain().iter().filter(|frame| frame.name() == "transfer").count()
}

/// 2.6.7 "The link-credit and available variables are initialized to zero."
#[test]
fn nothing_is_sent_before_credit_is_given() {
    let mut peer = consuming(5);
    peer.quiet();
}

/// 2.6.7 "The link-credit variable defines the current maximum legal amount that the delivery-count can be increased by."
#[test]
fn no_more_messages_are_sent_than_credit_was_given() {
    let mut peer = consuming(10);
    peer.credit(0, 0, 0, 3);
    assert_eq!(transfers(&mut peer), 3);
    peer.credit(0, 0, 3, 2);
    assert_eq!(transfers(&mut peer), 2);
}

/// 2.6.7 "link-credit(snd) := delivery-count(rcv) + link-credit(rcv) - delivery-count(snd)": credit is absolute.
#[test]
fn a_flow_that_crossed_our_transfers_gives_no_credit_twice() {
    let mut peer = consuming(10);
    peer.credit(0, 0, 0, 3);
    assert_eq!(transfers(&mut peer), 3);
    // The receiver had seen nothing yet when it said: from 0, five.
    peer.credit(0, 0, 0, 5);
    assert_eq!(transfers(&mut peer), 2);
    peer.credit(0, 0, 0, 5);
    assert_eq!(transfers(&mut peer), 0);
}

/// 2.6.7 "In the event that the receiver does not yet know the delivery-count, i.e., delivery-count(rcv) is unspecified, the
/// sender MUST assume that the delivery-count(rcv) is the first delivery-count(snd) sent from sender to receiver."
#[test]
fn credit_without_delivery_count_counts_from_the_first() {
    let mut peer = consuming(10);
    let flow = peer.flow(0).with("handle", 0_u32).with("link-credit", 4_u32);
    peer.send(0, &flow);
    assert_eq!(transfers(&mut peer), 4);
    let flow = peer.flow(0).with("handle", 0_u32).with("link-credit", 4_u32);
    peer.send(0, &flow);
    assert_eq!(transfers(&mut peer), 0);
}

/// 2.6.7 "If the link-credit is less than or equal to zero, i.e., the delivery-count is the same as or greater than the
/// delivery-limit, a sender MUST NOT send more messages."
#[test]
fn credit_taken_back_below_what_was_sent_is_no_credit() {
    let mut peer = consuming(10);
    peer.credit(0, 0, 0, 5);
    assert_eq!(transfers(&mut peer), 5);
    peer.credit(0, 0, 0, 2);
    assert_eq!(transfers(&mut peer), 0);
    peer.credit(0, 0, 5, 1);
    assert_eq!(transfers(&mut peer), 1);
}

/// 2.6.10 "Stopping the transfers on a given link is accomplished by updating the link-credit to be zero and sending the
/// updated flow state." New messages are not sent then.
#[test]
fn credit_zero_stops_a_link() {
    let mut peer = consuming(0);
    peer.credit(0, 0, 0, 10);
    peer.credit(0, 0, 0, 0);
    peer.fill("q", &[data(b"late")]);
    assert_eq!(transfers(&mut peer), 0);
    peer.credit(0, 0, 0, 1);
    assert_eq!(transfers(&mut peer), 1);
}

/// 2.6.9 Messages that arrive while there is credit are sent at once.
#[test]
fn credit_waits_for_messages() {
    let mut peer = consuming(0);
    peer.credit(0, 0, 0, 2);
    peer.quiet();
    peer.fill("q", &[data(b"1"), data(b"2"), data(b"3")]);
    assert_eq!(transfers(&mut peer), 2);
}

/// 2.6.10 "The echo field of the flow frame MAY be used to request the sender's flow state be echoed back." 2.7.4
/// delivery-count: "When the handle identifies that the flow state is being sent from the sender link endpoint to receiver
/// link endpoint this field MUST be set to the current delivery-count of the link endpoint."
#[test]
fn echo_is_answered_with_the_links_state() {
    let mut peer = consuming(3);
    let handle = 0;
    peer.credit(0, 0, 0, 2);
    peer.expect("transfer");
    peer.expect("transfer");
    peer.quiet();
    let flow = peer.flow(0).with("handle", 0_u32).with("delivery-count", 2_u32).with("link-credit", 0_u32);
    peer.send(0, &flow.with("echo", true));
    let answer = peer.expect_flow(Some(handle));
    assert_eq!((answer.uint("delivery-count"), answer.uint("link-credit")), (2, 0));
    assert_eq!(answer.uint("available"), 1);
    assert!(!answer.flag("drain") && !answer.flag("echo"));
}

/// 2.6.7, as a receiver: "The receiver's value is calculated based on the last known value from the sender and any subsequent
/// messages received on the link."
#[test]
fn our_credit_is_told_with_the_delivery_count_of_what_we_received() {
    let mut peer = Peer::engine();
    peer.open();
    peer.begin(0);
    peer.attach(0, &crate::frames::attach_sender("x", 0, "q").with("initial-delivery-count", 1000_u32));
    peer.grant(0, 10);
    let flow = peer.expect_flow(Some(0));
    assert_eq!((flow.uint("delivery-count"), flow.uint("link-credit")), (1000, 10));
    peer.publish(0, 0, 0, &data(b"x"));
    peer.publish(0, 0, 1, &data(b"x"));
    peer.grant(0, 10);
    let flow = peer.expect_flow(Some(0));
    assert_eq!((flow.uint("delivery-count"), flow.uint("link-credit")), (1002, 10));
}

/// 2.6.7 "it is encoded as a 32-bit integer that wraps around and compares according to RFC-1982 serial number arithmetic."
#[test]
fn a_delivery_count_wraps() {
    let mut peer = Peer::engine();
    peer.open();
    peer.begin(0);
    peer.attach(0, &crate::frames::attach_sender("x", 0, "q").with("initial-delivery-count", u32::MAX));
    peer.grant(0, 5);
    for id in 0..5 {
        peer.publish(0, 0, id, &data(b"x"));
    }
    assert_eq!(peer.messages().len(), 5);
    peer.drain();
    peer.grant(0, 1);
    assert_eq!(peer.expect_flow(Some(0)).uint("delivery-count"), 4);
}

/// 2.6.7 "the receiver MAY either handle the excess messages normally or detach the link with a transfer-limit-exceeded
/// error code"; a link error (2.8.18), so the link it is.
#[test]
fn a_transfer_beyond_the_credit_detaches_with_transfer_limit_exceeded() {
    let mut peer = Peer::sending();
    peer.grant(0, 2);
    peer.drain();
    let batch: Vec<u8> = (0..2).flat_map(|id| frame_with(0, &transfer(0, id), &data(b"x"))).collect();
    peer.send_bytes(&batch);
    peer.quiet();
    peer.send_with(0, &transfer(0, 2), &data(b"x"));
    peer.detached_with(0, 0, "amqp:link:transfer-limit-exceeded");
    assert_eq!(peer.messages().len(), 2);
}

/// 2.6.7 A transfer that is sent settled takes credit like any other.
#[test]
fn settled_messages_need_credit_too() {
    let mut peer = Peer::sending();
    peer.drain();
    peer.send_with(0, &transfer(0, 0).with("settled", true), &data(b"x"));
    peer.detached_with(0, 0, "amqp:link:transfer-limit-exceeded");
}

/// 2.7.4 available: "The number of messages awaiting credit at the link sender endpoint." A sender may tell it any time, and
/// ask for ours with echo.
#[test]
fn a_senders_flow_with_echo_is_answered_with_our_credit() {
    let mut peer = Peer::sending();
    peer.grant(0, 7);
    peer.drain();
    let flow = peer.flow(0).with("handle", 0_u32).with("delivery-count", 0_u32).with("available", 100_u32);
    peer.send(0, &flow.with("echo", true));
    let answer = peer.expect_flow(Some(0));
    assert_eq!((answer.uint("delivery-count"), answer.uint("link-credit")), (0, 7));
}

/// 2.6.7 "Only the sender MAY independently modify this field": a sender that advances its delivery-count uses up credit.
#[test]
fn a_sender_that_advances_its_delivery_count_has_that_much_less_credit() {
    let mut peer = Peer::sending();
    peer.grant(0, 7);
    peer.drain();
    let flow = peer.flow(0).with("handle", 0_u32).with("delivery-count", 5_u32).with("link-credit", 2_u32);
    peer.send(0, &flow);
    peer.publish(0, 0, 0, &data(b"x"));
    peer.publish(0, 0, 1, &data(b"x"));
    peer.quiet();
    peer.publish(0, 0, 2, &data(b"x"));
    peer.detached_with(0, 0, "amqp:link:transfer-limit-exceeded");
}

/// 2.6.7 With the broker: a publisher gets credit without asking, and again when its messages are answered.
#[test]
fn a_publisher_gets_credit_and_gets_it_again() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    let flow = peer.expect_flow(Some(0));
    assert_eq!(flow.uint("delivery-count"), 0);
    let credit = flow.uint("link-credit");
    assert!(credit > 0);
    for id in 0..credit * 3 {
        peer.publish(0, 0, id, &data(b"x"));
    }
    assert!(peer.drain().iter().all(|frame| matches!(frame.name(), "flow" | "disposition")));
}

/// 2.6.7 Credit that would reach beyond half of the serial numbers is still credit, not less than none.
#[test]
fn the_largest_credit_is_not_taken_for_none() {
    for credit in [u32::MAX, u32::MAX / 2, 1 << 31] {
        let mut peer = consuming(3);
        peer.credit(0, 0, 0, credit);
        assert_eq!(transfers(&mut peer), 3, "{credit}");
    }
}

/// 2.7.4 "When the handle field is not set, this field MUST NOT be set": credit without a handle is for nobody.
#[test]
fn credit_without_a_handle_gives_none() {
    let mut peer = consuming(3);
    let flow = peer.flow(0).with("link-credit", 10_u32).with("handle", V::Null);
    peer.send(0, &flow);
    let got = peer.drain();
    assert!(got.iter().all(|frame| frame.name() != "transfer"), "{got:?}");
}
