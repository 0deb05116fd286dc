//! 2.7.6: dispositions, their ranges, and what they are about.

use crate::{
    frames::{RECEIVER, SENDER, data, new, settle},
    peer::Peer,
    subject::Whole,
    value::V,
};

fn delivered(messages: usize) -> Peer<Whole> {
    let mut peer = Peer::ready();
    peer.fill("q", &vec![data(b"x"); messages]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, messages as u32);
    for id in 0..messages {
        assert_eq!(peer.expect("transfer").uint("delivery-id"), id as u32);
    }
    peer
}

fn acquired(peer: &Peer<Whole>) -> u64 {
    peer.subject.house.borrow().counts("q").0.acquired
}

/// 2.7.6 last: "Identifies the upper bound of delivery-ids for the deliveries in this set. If not set, this is taken to be the
/// same as first."
#[test]
fn without_last_one_delivery_is_meant() {
    let mut peer = delivered(3);
    peer.send(0, &settle(1, 1, new("accepted")).with("last", V::Null));
    peer.quiet();
    assert_eq!(acquired(&peer), 2);
}

/// 2.7.6 "Communicates the state of all the deliveries referenced by this disposition."
#[test]
fn a_range_is_all_deliveries_in_it() {
    let mut peer = delivered(10);
    peer.send(0, &settle(2, 7, new("accepted")));
    peer.quiet();
    assert_eq!(acquired(&peer), 4);
}

/// 2.7.6 "The disposition frame MAY reference deliveries from many different links associated with a session".
#[test]
fn a_range_may_cover_several_links() {
    let mut peer = Peer::ready();
    peer.fill("q", &vec![data(b"x"); 4]);
    peer.receiver(0, 0, "q");
    peer.receiver(0, 1, "q");
    peer.credit(0, 0, 0, 2);
    peer.credit(0, 1, 0, 2);
    for _ in 0..4 {
        peer.expect("transfer");
    }
    peer.send(0, &settle(0, 3, new("accepted")));
    peer.quiet();
    assert_eq!(acquired(&peer), 0);
}

/// 2.6.12, 2.7.6 What is settled already, or was never sent, is not an error: it may have crossed.
#[test]
fn unknown_and_settled_deliveries_in_a_range_are_ignored() {
    let mut peer = delivered(3);
    for (first, last) in [(1, 1), (1, 1), (0, 2), (0, 2), (50, 60), (7, 7)] {
        peer.send(0, &settle(first, last, new("accepted")));
        peer.quiet();
    }
    assert_eq!(acquired(&peer), 0);
    peer.usable();
}

/// 2.7.6 A range as wide as serial numbers allow costs what is known of it, not what it spans.
#[test]
fn giant_ranges_are_quick_and_harmless() {
    let mut peer = delivered(3);
    let started = std::time::Instant::now();
    for _ in 0..200 {
        peer.send(0, &settle(0, (1 << 31) - 1, new("accepted")));
    }
    peer.quiet();
    assert_eq!(acquired(&peer), 0);
    for (first, last) in [(0, u32::MAX), (u32::MAX, 0), (1 << 31, u32::MAX), (5, 4)] {
        for _ in 0..50 {
            peer.send(0, &settle(first, last, new("released")));
        }
    }
    // Four hundred walks over 2^31 ids would take minutes.
    assert!(started.elapsed().as_secs() < 5);
    peer.quiet();
    peer.usable();
}

/// 2.8.9, RFC 1982: a range whose last is before its first is empty, or wraps; it must not settle what is outside.
#[test]
fn a_range_that_runs_backwards_settles_nothing_outside_of_it() {
    let mut peer = delivered(5);
    peer.send(0, &settle(3, 1, new("accepted")));
    peer.drain();
    assert_eq!(acquired(&peer), 5);
}

/// 2.7.6 role: "The role identifies whether the disposition frame contains information about sending link endpoints or
/// receiving link endpoints." Of a sender it is about what the peer sent, not about what we sent.
#[test]
fn a_senders_disposition_does_not_touch_what_we_sent() {
    let mut peer = delivered(2);
    peer.send(0, &settle(0, 1, new("accepted")).with("role", SENDER));
    peer.quiet();
    assert_eq!(acquired(&peer), 2);
}

/// 2.7.6 A state without settlement leaves the delivery unsettled; on a link with mode first the receiver settles (2.8.3), so
/// for the broker the outcome waits, or is applied and confirmed; either way it is known once.
#[test]
fn an_outcome_without_settlement_is_confirmed_by_our_settlement() {
    let mut peer = delivered(1);
    let accepted =
        new("disposition").with("role", RECEIVER).with("first", 0_u32).with("state", new("accepted"));
    peer.send(0, &accepted);
    let answer = peer.expect("disposition");
    assert_eq!((answer.flag("role"), answer.flag("settled")), (SENDER, true));
    assert_eq!(answer.inner("state").name(), "accepted");
    assert_eq!(acquired(&peer), 0);
    peer.send(0, &settle(0, 0, new("accepted")));
    peer.quiet();
}

/// 3.4.1 received is no outcome: "indicates partial message data seen by the receiver". Nothing comes of it.
#[test]
fn a_non_terminal_state_changes_nothing() {
    let mut peer = delivered(1);
    let received = new("received").with("section-number", 0_u32).with("section-offset", 1_u64);
    peer.send(0, &new("disposition").with("role", RECEIVER).with("first", 0_u32).with("state", received));
    peer.quiet();
    assert_eq!(acquired(&peer), 1);
    peer.send(0, &settle(0, 0, new("accepted")));
    peer.quiet();
    assert_eq!(acquired(&peer), 0);
}

/// 2.7.6 With neither state nor settlement there is nothing in it.
#[test]
fn a_disposition_that_says_nothing_does_nothing() {
    let mut peer = delivered(1);
    peer.send(0, &new("disposition").with("role", RECEIVER).with("first", 0_u32));
    peer.quiet();
    assert_eq!(acquired(&peer), 1);
}

/// 3.5.3 default-outcome: "Indicates the outcome to be used for transfers that have not reached a terminal state at the
/// receiver when the transfer is settled"; where the source has none, released.
#[test]
fn settled_without_a_state_is_the_default_outcome() {
    let mut peer = delivered(1);
    peer.send(0, &settle(0, 0, new("accepted")).with("state", V::Null));
    peer.quiet();
    let (queue, _) = peer.subject.house.borrow().counts("q");
    assert_eq!((queue.available, queue.acquired), (1, 0));
}

/// 3.5.3 As above: received is no terminal state.
#[test]
fn settled_as_received_is_the_default_outcome() {
    let mut peer = delivered(1);
    let received = new("received").with("section-number", 0_u32).with("section-offset", 1_u64);
    peer.send(0, &settle(0, 0, received));
    peer.quiet();
    let (queue, _) = peer.subject.house.borrow().counts("q");
    assert_eq!((queue.available, queue.acquired), (1, 0));
}

/// 2.7.6 role and first are mandatory.
#[test]
fn a_disposition_without_a_mandatory_field_is_refused() {
    for missing in ["role", "first"] {
        let mut peer = delivered(1);
        peer.send(0, &settle(0, 0, new("accepted")).with(missing, V::Null));
        let answer = peer.next().expect("an answer");
        assert!(matches!(answer.name(), "close" | "end"), "{missing}: {answer:?}");
        assert!(["amqp:decode-error", "amqp:invalid-field"].contains(&answer.condition()), "{answer:?}");
    }
}

/// 2.5.6, 2.7.6 delivery-ids are of the session: another session's are others.
#[test]
fn a_disposition_is_about_its_own_session() {
    let mut peer = delivered(1);
    peer.begin(1);
    peer.send(1, &settle(0, 0, new("accepted")));
    peer.quiet();
    assert_eq!(acquired(&peer), 1);
}

/// 2.7.6, as receiver: our answers to a batch come as ranges that cover each delivery once.
#[test]
fn our_answers_cover_each_delivery_once() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    let batch: Vec<u8> = (0..500)
        .flat_map(|id| crate::frames::frame_with(0, &crate::frames::transfer(0, id), &data(b"x")))
        .collect();
    peer.send_bytes(&batch);
    let mut answered = vec![0; 500];
    for frame in peer.drain().iter().filter(|frame| frame.name() == "disposition") {
        let first = frame.uint("first");
        let last = if let V::Uint(last) = frame.get("last") { *last } else { first };
        assert_eq!((frame.flag("role"), frame.flag("settled")), (RECEIVER, true));
        (first..=last).for_each(|id| answered[id as usize] += 1);
    }
    assert!(answered.iter().all(|times| *times == 1), "{answered:?}");
}
