//! 2.6.4 to 2.6.6, 2.7.7: detaching, closing, link errors.

use crate::{
    frames::{attach_receiver, attach_sender, data, detach, error, frame, frame_with, new, settle, transfer},
    peer::Peer,
    value::V,
};

/// 2.6.6 "A peer closes a link by sending the detach frame with the handle for the specified link, and the closed flag set
/// to true. The partner will destroy the corresponding link endpoint, and reply with its own detach frame with the closed
/// flag set to true."
#[test]
fn a_closing_detach_is_answered_with_a_closing_detach() {
    let mut peer = Peer::ready();
    let handle = peer.sender(0, 3, "q").uint("handle");
    peer.drain();
    peer.send(0, &detach(3));
    let answer = peer.expect("detach");
    assert_eq!(answer.uint("handle"), handle);
    assert!(answer.flag("closed"));
    assert_eq!(answer.get("error"), &V::Null);
    peer.quiet();
}

/// 2.6.4 "the endpoint MUST send a detach frame to inform the remote peer that the handle is no longer attached to the link
/// endpoint. If both endpoints do this, the link MAY return to a fully detached state."
#[test]
fn a_detach_that_does_not_close_is_answered_and_the_link_can_be_attached_again() {
    let mut peer = Peer::ready();
    for _ in 0..3 {
        peer.attach(0, &attach_receiver("durable name", 0, "q"));
        peer.drain();
        peer.send(0, &new("detach").with("handle", 0_u32));
        let answer = peer.expect("detach");
        assert_eq!(answer.get("error"), &V::Null);
        peer.quiet();
    }
}

/// 2.7.7 "If set, this field indicates that the link is being detached due to an error condition": the peer's error is
/// answered without one.
#[test]
fn a_detach_with_an_error_is_answered_without_one() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.drain();
    peer.send(0, &detach(0).with("error", error("my:condition").with("description", "gone")));
    assert_eq!(peer.expect("detach").get("error"), &V::Null);
    peer.sender(0, 0, "q");
}

/// 2.7.7 "This un-maps the handle and makes it available for use by other links."
#[test]
fn a_handle_is_free_after_detach() {
    let mut peer = Peer::ready();
    for n in 0..50 {
        peer.attach(0, &attach_sender(&format!("link {n}"), 0, "q"));
        peer.publish(0, 0, n, &data(b"x"));
        peer.expect("disposition");
        peer.send(0, &detach(0));
        peer.expect("detach");
    }
    peer.quiet();
}

/// 2.7.7 As above, all in one write: detach and attach with the same handle and name.
#[test]
fn detach_and_attach_may_be_pipelined() {
    let mut peer = Peer::ready();
    let attach = attach_sender("again", 0, "q");
    peer.attach(0, &attach);
    peer.drain();
    peer.send_bytes(&[frame(0, &detach(0)), frame(0, &attach)].concat());
    peer.expect("detach");
    peer.expect("attach");
    peer.publish(0, 0, 0, &data(b"x"));
    peer.expect("disposition");
}

/// 2.7.6 "The disposition performative MAY refer to deliveries on links that are no longer attached. As long as the links
/// have not been closed or detached with an error then the deliveries are still 'live' and the updated state MUST be
/// applied." After a close they are not, and it is no error either: it may have crossed.
#[test]
fn a_disposition_for_a_closed_link_is_ignored() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"x")]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 1);
    let id = peer.expect("transfer").uint("delivery-id");
    peer.send(0, &detach(0));
    peer.expect("detach");
    peer.send(0, &settle(id, id, new("accepted")));
    peer.quiet();
    assert_eq!(peer.subject.house.borrow().counts("q").0.available, 1);
    peer.usable();
}

/// 2.6.5 "When an error occurs at a link endpoint, the endpoint MUST be detached with appropriate error information supplied
/// in the error field of the detach frame. The link endpoint MUST then be destroyed." What was in flight may still come, up
/// to the peer's answer; other links of the session do not suffer before it.
#[test]
fn a_link_error_detaches_that_link_and_no_other() {
    let mut peer = Peer::sending();
    peer.sender(0, 1, "q");
    peer.grant(1, 10);
    peer.drain();
    // No credit was given on link 0.
    peer.send_with(0, &transfer(0, 0), &data(b"x"));
    let got = peer.expect("detach");
    assert_eq!((got.uint("handle"), got.condition()), (0, "amqp:link:transfer-limit-exceeded"));
    assert!(got.flag("closed"));
    peer.send(0, &detach(0));
    peer.send_with(0, &transfer(1, 1), &data(b"y"));
    peer.quiet();
    assert_eq!(peer.messages(), [data(b"y")]);
}

/// 2.6.5 "Should any input (other than a detach) related to the endpoint either via the input handle or delivery-ids be
/// received, the session MUST be terminated with an errant-link session-error." Transfers that were on their way when the
/// error was found are such input, and a peer cannot help sending them: whichever, the connection lives.
#[test]
fn transfers_in_flight_behind_a_link_error_cost_the_session_at_most() {
    let mut peer = Peer::sending();
    peer.drain();
    let batch: Vec<u8> = (0..5).flat_map(|id| frame_with(0, &transfer(0, id), &data(b"x"))).collect();
    peer.send_bytes(&batch);
    assert_eq!(peer.expect("detach").condition(), "amqp:link:transfer-limit-exceeded");
    if let Some(next) = peer.next() {
        assert_eq!((next.name(), next.condition()), ("end", "amqp:session:errant-link"));
    }
    assert!(peer.messages().is_empty());
    peer.usable();
}

/// 2.6.6 Both may close at once: each detach is the other's answer.
#[test]
fn two_detaches_that_cross_are_each_others_answers() {
    let mut peer = Peer::sending();
    peer.drain();
    let link = peer.subject.links[0];
    peer.subject.engine.detach(link, true, None);
    peer.send(0, &detach(0));
    assert!(peer.expect("detach").flag("closed"));
    peer.quiet();
    peer.sender(0, 0, "q");
}

/// 2.7.7 handle is mandatory.
#[test]
fn a_detach_without_handle_is_refused() {
    let mut peer = Peer::ready();
    peer.send(0, &new("detach").with("closed", true));
    let answer = peer.next().expect("an answer");
    assert!(matches!(answer.name(), "close" | "end"), "{answer:?}");
    assert!(["amqp:decode-error", "amqp:invalid-field"].contains(&answer.condition()), "{answer:?}");
}

/// 3.4 "If the delivery state at the receiver is not yet known (e.g., the link endpoint is destroyed before recovery occurs)
/// the default-outcome of the source is used", here released: it goes to another link in its old place.
#[test]
fn what_a_closed_link_had_unsettled_goes_back_in_order() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"1"), data(b"2"), data(b"3")]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 2);
    peer.expect("transfer");
    peer.expect("transfer");
    peer.send(0, &detach(0));
    peer.expect("detach");
    peer.receiver(0, 1, "q");
    peer.credit(0, 1, 0, 3);
    for body in [b"1", b"2", b"3"] {
        assert!(peer.expect("transfer").payload.ends_with(&data(body)));
    }
}
