//! 2.4.1, 2.7.1: max-frame-size and channel-max, both ways.

use crate::{
    frames::{begin, data, new, open},
    peer::{Peer, config},
    value::V,
};

/// 2.7.1 "A peer MUST NOT send frames larger than its partner can handle."
#[test]
fn messages_are_cut_into_frames_of_the_peers_max_frame_size() {
    for max in [512_u32, 513, 1000, 4096] {
        let mut peer = Peer::broker();
        peer.open_with(&open().with("max-frame-size", max));
        peer.begin(0);
        peer.receiver(0, 0, "q");
        let body = data(&(0..5000).map(|n| n as u8).collect::<Vec<_>>());
        peer.fill("q", std::slice::from_ref(&body));
        peer.credit(0, 0, 0, 1);
        let mut got = Vec::new();
        loop {
            let frame = peer.expect("transfer");
            assert!(frame.size <= max as usize, "a frame of {} octets, expected at most {max}", frame.size);
            got.extend(&frame.payload);
            if !frame.flag("more") {
                break;
            }
        }
        assert!(got.ends_with(&body));
    }
}

/// 2.7.1 "max-frame-size [...] Both peers MUST accept frames of up to 512 (MIN-MAX-FRAME-SIZE) octets": less cannot be
/// meant.
#[test]
fn a_peer_that_announces_less_than_512_is_closed_with_invalid_field() {
    for max in [0_u32, 1, 511] {
        let mut peer = Peer::engine();
        peer.send_bytes(&crate::frames::AMQP);
        peer.expect_header(crate::frames::AMQP);
        peer.send(0, &open().with("max-frame-size", max));
        peer.expect("open");
        peer.closed_with("amqp:invalid-field");
    }
}

/// 2.8.15 "frame-size-too-small: The peer cannot send a frame because the smallest encoding of the performative with
/// the currently valid values would be too large to fit within a frame of the agreed maximum frame size."
#[test]
fn an_attach_whose_answer_does_not_fit_is_frame_size_too_small() {
    let mut peer = Peer::broker();
    peer.open_with(&open().with("max-frame-size", 512_u32));
    peer.begin(0);
    peer.send(0, &crate::frames::attach_sender(&"n".repeat(600), 0, "q"));
    let answer = peer.next().expect("an answer");
    assert!(answer.size <= 512);
    assert!(matches!(answer.name(), "end" | "close"), "{answer:?}");
    assert_eq!(answer.condition(), "amqp:frame-size-too-small");
}

/// 2.7.1, 2.8.14 "description: This text supplies any supplementary details": where it does not fit it is shortened,
/// and the condition is still told.
#[test]
fn an_error_with_a_long_description_fits_into_512_octets() {
    let mut peer = Peer::broker();
    peer.open_with(&open().with("max-frame-size", 512_u32));
    peer.begin(0);
    peer.send(0, &crate::frames::attach_sender("x", 0, &format!("missing{}", "m".repeat(300))));
    let attach = peer.expect("attach");
    let detach = peer.expect("detach");
    assert!(attach.size <= 512 && detach.size <= 512);
    assert_eq!(detach.condition(), "amqp:not-found");
}

/// 2.7.1 "A peer that receives a channel number outside the supported range MUST close the connection with the
/// framing-error error-code."
#[test]
fn a_channel_above_our_channel_max_is_a_framing_error() {
    for body in [begin(), new("end"), crate::frames::detach(0)] {
        let mut peer = Peer::engine_with(verdict::amqp::Config { channel_max: 3, ..config() });
        assert_eq!(peer.open().get("channel-max"), &V::Ushort(3));
        peer.send(4, &body);
        peer.closed_with("amqp:connection:framing-error");
    }
}

/// 2.7.1 "The channel-max value is the highest channel number that can be used on the connection. This value plus one is
/// the maximum number of sessions that can be simultaneously active on the connection."
#[test]
fn all_channels_up_to_channel_max_can_be_used() {
    let mut peer = Peer::engine_with(verdict::amqp::Config { channel_max: 3, ..config() });
    peer.open();
    let mut theirs: Vec<u16> = (0..4).rev().map(|channel| peer.begin(channel).channel).collect();
    theirs.sort_unstable();
    assert_eq!(theirs, [0, 1, 2, 3]);
}

/// 2.7.1 "A peer MUST not use channel numbers outside the range that its partner can handle."
#[test]
fn no_channel_beyond_the_peers_channel_max_is_used() {
    let mut peer = Peer::engine();
    peer.open_with(&open().with("channel-max", 0_u16));
    assert_eq!(peer.begin(7).channel, 0);
    // A second session would need channel 1 of ours.
    peer.send(8, &begin());
    let answer = peer.next().expect("an answer");
    assert_eq!(answer.name(), "close", "{answer:?}");
    assert_eq!(answer.channel, 0);
}

/// 2.4 "A connection endpoint maps incoming frames other than open and close to an incoming channel endpoint based on
/// the incoming channel number": a frame for a channel nobody began has no session to fail.
#[test]
fn a_frame_on_a_channel_without_session_closes_the_connection() {
    for body in [new("end"), crate::frames::attach_sender("x", 0, "q"), crate::frames::transfer(0, 0)] {
        let mut peer = Peer::engine();
        peer.open();
        peer.send(5, &body);
        let close = peer.expect("close");
        assert!(["amqp:not-allowed", "amqp:illegal-state"].contains(&close.condition()), "{close:?}");
    }
}
