//! 2.4.1 to 2.4.4, 2.4.6, 2.7.1, 2.7.9: opening and closing.

use crate::{
    frames::{AMQP, attach_sender, begin, data, error, frame, frame_with, new, open, raw_frame, transfer},
    peer::Peer,
    subject::Subject,
    value::{V, fields, symbol, symbols},
};

/// 2.4.1 "After establishing or accepting a TCP connection and sending the protocol header, each peer MUST send an
/// open frame before sending any other frames." 2.7.1 container-id is mandatory.
#[test]
fn an_open_is_answered_with_an_open_that_names_us_and_our_limits() {
    let mut peer = Peer::engine();
    let open = peer.open();
    assert_eq!(open.channel, 0);
    assert_eq!(open.get("container-id"), &V::Str("broker".to_owned()));
    assert!(open.uint("max-frame-size") >= 512);
    assert_eq!(open.get("channel-max"), &V::Ushort(verdict::limits::MAX_SESSIONS - 1));
    peer.silent();
}

/// 2.4.1 "Prior to any explicit negotiation, the maximum frame size is 512 (MIN-MAX-FRAME-SIZE)."
#[test]
fn our_open_is_within_512_octets() {
    assert!(Peer::broker().open().size <= 512);
}

/// 2.7.1 All fields but container-id may be left out, null, or present.
#[test]
fn an_open_with_every_field_is_taken() {
    let full = open()
        .with("hostname", "broker.example")
        .with("max-frame-size", 65536_u32)
        .with("channel-max", 100_u16)
        .with("idle-time-out", 60_000_u32)
        .with("outgoing-locales", symbol("en-US"))
        .with("incoming-locales", symbols(&["de-DE", "en-US"]))
        .with("offered-capabilities", symbols(&["sole-connection-for-container", "x"]))
        .with("desired-capabilities", symbol("ANONYMOUS-RELAY"))
        .with(
            "properties",
            fields(&[("product", "test".into()), ("nested", V::List(vec![V::Null, V::Bool(true)]))]),
        );
    let mut peer = Peer::broker();
    peer.open_with(&full);
    peer.usable();
}

/// 2.7.1 "The first frame sent on a connection in either direction MUST contain an open performative."
#[test]
fn a_first_frame_that_is_not_open_closes_the_connection() {
    for first in [begin(), new("end"), new("flow"), new("close"), attach_sender("x", 0, "q"), transfer(0, 0)]
    {
        let mut peer = Peer::engine();
        peer.send_bytes(&[&AMQP[..], &frame(0, &first)].concat());
        peer.expect_header(AMQP);
        // Ours is sent before anything else (2.4.1).
        peer.expect("open");
        let close = peer.expect("close");
        assert_ne!(close.condition(), "", "after {first:?}: {close:?}");
        peer.silent();
    }
}

/// 2.4.1 "Prior to any explicit negotiation, [...] the maximum channel number is 0. [...] The open frame can only be sent
/// on channel 0." 2.7.1 "A peer that receives a channel number outside the supported range MUST close the connection
/// with the framing-error error-code."
#[test]
fn an_open_on_another_channel_closes_the_connection() {
    let mut peer = Peer::engine();
    peer.send_bytes(&[&AMQP[..], &frame(1, &open())].concat());
    peer.expect_header(AMQP);
    peer.expect("open");
    peer.closed_with("amqp:connection:framing-error");
}

/// 2.4.6 In state OPENED the open frame has "been both sent and received": another is not permitted. 2.8.15
/// "illegal-state: The peer sent a frame that is not permitted in the current state."
#[test]
fn a_second_open_closes_the_connection_with_illegal_state() {
    let mut peer = Peer::engine();
    peer.open();
    peer.send(0, &open());
    peer.closed_with("amqp:illegal-state");
}

/// 2.7.1 container-id is mandatory (1.4: a mandatory field may not be null).
#[test]
fn an_open_without_container_id_closes_the_connection() {
    for body in [new("open"), new("open").with("hostname", "h")] {
        let mut peer = Peer::engine();
        peer.send_bytes(&[&AMQP[..], &frame(0, &body)].concat());
        peer.expect_header(AMQP);
        peer.expect("open");
        let close = peer.expect("close");
        assert!(["amqp:decode-error", "amqp:invalid-field"].contains(&close.condition()), "{close:?}");
    }
}

/// 2.4.3 "Prior to closing a connection, each peer MUST write a close frame". 2.4.6 CLOSE_RCVD: our answer is the last
/// thing written.
#[test]
fn a_close_is_answered_with_a_close_without_error() {
    let mut peer = Peer::engine();
    peer.open();
    peer.send(0, &new("close"));
    assert_eq!(peer.expect("close").get("error"), &V::Null);
    peer.silent();
    assert!(peer.subject.is_finished());
}

/// 2.7.9 "If set, this field indicates that the connection is being closed due to an error condition": whose close it
/// is, it is answered.
#[test]
fn a_close_with_an_error_is_answered_with_a_close_without_one() {
    let mut peer = Peer::engine();
    peer.open();
    let error =
        error("my:own:condition").with("description", "bye").with("info", fields(&[("a", 1_u32.into())]));
    peer.send(0, &new("close").with("error", error));
    assert_eq!(peer.expect("close").get("error"), &V::Null);
    assert!(peer.subject.is_finished());
}

/// 2.4.3 "A close frame MAY be received on any channel up to the maximum channel number negotiated in open."
#[test]
fn a_close_may_come_on_any_channel() {
    for channel in [1, 200] {
        let mut peer = Peer::engine();
        peer.open();
        peer.send(channel, &new("close"));
        assert_eq!(peer.expect("close").condition(), "");
        assert!(peer.subject.is_finished());
    }
}

/// 2.4.3 "There is no requirement for an implementation to read from a socket after a close performative has been
/// received."
#[test]
fn what_comes_after_the_peers_close_is_ignored() {
    let mut peer = Peer::engine();
    peer.open();
    peer.send_bytes(&[&frame(0, &new("close"))[..], &frame(0, &begin()), &[0; 40]].concat());
    peer.expect("close");
    peer.send(0, &begin());
    peer.silent();
}

/// 2.4.6 "DISCARDING [...] In this case any incoming frames on the connection MUST be silently discarded until the
/// peer's close frame is received."
#[test]
fn after_closing_for_an_error_frames_are_discarded_until_the_peers_close() {
    let mut peer = Peer::engine();
    peer.open();
    peer.send(0, &open());
    assert_eq!(peer.expect("close").condition(), "amqp:illegal-state");
    peer.send(0, &begin());
    peer.send(0, &attach_sender("x", 0, "q"));
    peer.send_bytes(&raw_frame(0, 0, &[]));
    peer.silent();
    peer.send(0, &new("close"));
    peer.silent();
    assert!(peer.subject.is_finished());
}

/// 2.4.4 "because both endpoints MAY simultaneously choose to close the connection for independent reasons, it is
/// possible for a simultaneous close to occur."
#[test]
fn two_closes_that_cross_are_each_others_answers() {
    let mut peer = Peer::engine();
    peer.open();
    peer.subject.engine.close(None);
    peer.send(0, &new("close").with("error", error("amqp:internal-error")));
    peer.expect("close");
    peer.silent();
    assert!(peer.subject.is_finished());
}

/// 2.4.2 "A peer MAY do this by starting to send subsequent frames before receiving the partner's connection header or
/// open frame."
#[test]
fn a_pipelined_connection_works_like_any_other() {
    let mut peer = Peer::broker();
    let bytes =
        [&AMQP[..], &frame(0, &open()), &frame(0, &begin()), &frame(0, &attach_sender("pipelined", 0, "q"))];
    peer.send_bytes(&bytes.concat());
    peer.expect_header(AMQP);
    peer.expect("open");
    peer.expect("begin");
    peer.expect("attach");
    let credit = peer.expect_flow(Some(0));
    assert!(credit.uint("link-credit") > 0);
    peer.publish(0, 0, 0, &data(b"x"));
    assert_eq!(peer.expect("disposition").inner("state").name(), "accepted");
}

/// 2.4.6 OC_PIPE: header, open, traffic and close in one batch. Settled messages need no credit to be lost: what was
/// sent without credit is an error of the link, and the connection is closed in good order all the same.
#[test]
fn header_open_and_close_in_one_batch_are_each_answered() {
    let mut peer = Peer::broker();
    peer.send_bytes(&[&AMQP[..], &frame(0, &open()), &frame(0, &new("close"))].concat());
    peer.expect_header(AMQP);
    peer.expect("open");
    assert_eq!(peer.expect("close").condition(), "");
    assert!(peer.subject.is_finished());
}

/// 2.5.2 "Sessions end automatically when the connection is closed or interrupted."
#[test]
fn a_close_ends_sessions_and_links_without_a_word_about_them() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.receiver(0, 1, "q");
    peer.drain();
    peer.send(0, &new("close"));
    peer.expect("close");
    assert!(peer.subject.is_finished());
    assert_eq!(peer.subject.house.borrow().counts("q").0.consumers, 0);
}

/// 2.4.3 Without a close the connection is interrupted; there is nobody to write to.
#[test]
fn end_of_stream_without_close_finishes_the_connection() {
    let mut peer = Peer::ready();
    peer.receiver(0, 0, "q");
    peer.drain();
    peer.hang_up();
    assert!(peer.subject.is_finished());
    assert_eq!(peer.subject.house.borrow().counts("q").0.consumers, 0);
}

/// 2.4.3 What was whole before the stream ended counts.
#[test]
fn a_message_that_came_whole_before_the_end_of_stream_is_kept() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    let whole = frame_with(0, &transfer(0, 0).with("settled", true), &data(b"kept"));
    let half = frame_with(0, &transfer(0, 1).with("settled", true), &data(b"lost"));
    peer.send_bytes(&[&whole[..], &half[..half.len() - 1]].concat());
    peer.hang_up();
    assert_eq!(peer.subject.house.borrow().counts("q").0.available, 1);
}
