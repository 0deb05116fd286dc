//! 2.6.7, 2.6.8: drain in both directions.

use crate::{
    frames::data,
    peer::Peer,
    subject::{Subject, Whole},
    value::Composite,
};

fn consuming(messages: usize) -> Peer<Whole> {
    let mut peer = Peer::ready();
    peer.fill("q", &vec![data(b"x"); messages]);
    peer.receiver(0, 0, "q");
    peer.quiet();
    peer
}

fn drain<S: Subject>(peer: &Peer<S>, delivery_count: u32, credit: u32) -> Composite {
    peer.flow(0)
        .with("handle", 0_u32)
        .with("delivery-count", delivery_count)
        .with("link-credit", credit)
        .with("drain", true)
}

/// 2.6.7 "If the sender's drain flag is set and there are no available messages, the sender MUST advance its delivery-count
/// until link-credit is zero, and send its updated flow state to the receiver."
#[test]
fn drain_without_messages_advances_the_delivery_count_by_the_whole_credit() {
    let mut peer = consuming(0);
    peer.send(0, &drain(&peer, 0, 10));
    let flow = peer.expect_flow(Some(0));
    assert_eq!((flow.uint("delivery-count"), flow.uint("link-credit")), (10, 0));
    assert!(flow.flag("drain"));
    peer.silent();
}

/// 2.6.7 "If set, the sender will (after sending all available messages) advance the delivery-count as much as possible,
/// consuming all link-credit, and send the flow state to the receiver."
#[test]
fn drain_sends_what_is_there_first() {
    let mut peer = consuming(3);
    peer.send(0, &drain(&peer, 0, 10));
    for _ in 0..3 {
        peer.expect("transfer");
    }
    let flow = peer.expect_flow(Some(0));
    assert_eq!((flow.uint("delivery-count"), flow.uint("link-credit")), (10, 0));
    peer.silent();
}

/// 2.6.7 Where the messages use up the credit there is nothing left to drain: all credit is consumed by sending.
#[test]
fn drain_with_more_messages_than_credit_sends_as_many_as_credit() {
    let mut peer = consuming(5);
    peer.send(0, &drain(&peer, 0, 2));
    peer.expect("transfer");
    peer.expect("transfer");
    for frame in peer.drain() {
        assert_eq!((frame.name(), frame.uint("delivery-count"), frame.uint("link-credit")), ("flow", 2, 0));
    }
}

/// 2.6.8 The receiver goes on from the delivery-count it was told.
#[test]
fn credit_after_a_drain_counts_from_the_advanced_delivery_count() {
    let mut peer = consuming(0);
    peer.send(0, &drain(&peer, 0, 10));
    peer.expect_flow(Some(0));
    peer.credit(0, 0, 10, 1);
    peer.fill("q", &[data(b"1"), data(b"2")]);
    assert!(peer.expect("transfer").payload.ends_with(&data(b"1")));
    peer.quiet();
}

/// 2.6.7 With no credit there is none to consume: the state is as it was.
#[test]
fn drain_with_no_credit_changes_nothing() {
    let mut peer = consuming(1);
    peer.send(0, &drain(&peer, 0, 0));
    for frame in peer.drain() {
        assert_eq!((frame.name(), frame.uint("delivery-count"), frame.uint("link-credit")), ("flow", 0, 0));
    }
    peer.credit(0, 0, 0, 1);
    peer.expect("transfer");
}

/// 2.6.8 "Synchronous get with a timeout": credit, wait, then drain; a message that came meanwhile used the credit.
#[test]
fn drain_after_the_credit_was_used_is_answered_without_advancing() {
    let mut peer = consuming(0);
    peer.credit(0, 0, 0, 1);
    peer.fill("q", &[data(b"just in time")]);
    peer.expect("transfer");
    // Sent before the transfer was seen.
    peer.send(0, &drain(&peer, 0, 1));
    for frame in peer.drain() {
        assert_eq!((frame.name(), frame.uint("delivery-count"), frame.uint("link-credit")), ("flow", 1, 0));
    }
}

/// 2.6.7 Across the wrap-around: delivery-count is a serial number.
#[test]
fn repeated_drains_of_huge_credit_wrap_the_delivery_count() {
    let mut peer = consuming(0);
    let mut count = 0_u32;
    for _ in 0..5 {
        peer.send(0, &drain(&peer, count, 1 << 30));
        count = count.wrapping_add(1 << 30);
        assert_eq!(peer.expect_flow(Some(0)).uint("delivery-count"), count);
    }
    peer.fill("q", &[data(b"x")]);
    peer.credit(0, 0, count, 1);
    peer.expect("transfer");
}

/// 2.6.7 "drain: If set, the sender will [...]": a flow that no longer sets it ends drain mode.
#[test]
fn a_link_is_not_drained_any_more_once_the_flag_is_gone() {
    let mut peer = consuming(0);
    peer.send(0, &drain(&peer, 0, 10));
    peer.expect_flow(Some(0));
    peer.credit(0, 0, 10, 5);
    peer.quiet();
    peer.fill("q", &[data(b"x")]);
    peer.expect("transfer");
}

/// 2.6.7, as the receiver that drains: the peer's answer is taken.
#[test]
fn our_drain_is_sent_and_its_answer_understood() {
    let mut peer = Peer::sending();
    peer.drain();
    let link = peer.subject.links[0];
    peer.subject.engine.drain(link, 8);
    peer.run();
    let flow = peer.expect_flow(Some(0));
    assert_eq!((flow.uint("link-credit"), flow.flag("drain")), (8, true));
    peer.publish(0, 0, 0, &data(b"x"));
    let answer = peer.flow(0).with("handle", 0_u32).with("delivery-count", 8_u32).with("link-credit", 0_u32);
    peer.send(0, &answer.with("drain", true).with("available", 0_u32));
    assert_eq!(peer.subject.engine.credit_left(link), 0);
    peer.publish(0, 0, 1, &data(b"x"));
    peer.detached_with(0, 0, "amqp:link:transfer-limit-exceeded");
}
