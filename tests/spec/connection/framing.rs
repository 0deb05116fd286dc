//! 2.3 Framing.

use crate::{
    frames::{AMQP, begin, frame, new, open, raw_frame},
    peer::{Peer, config},
    subject::{Bare, Subject},
    value::V,
};

const FRAMING_ERROR: &str = "amqp:connection:framing-error";

fn opened() -> Peer<Bare> {
    let mut peer = Peer::engine();
    peer.open();
    peer
}

/// 2.3.1 "The frame is malformed if the size is less than the size of the frame header (8 bytes)." 2.8.16
/// "framing-error: A valid frame header cannot be formed from the incoming byte stream."
#[test]
fn a_size_below_eight_is_a_framing_error() {
    for size in [0_u32, 1, 7] {
        let mut peer = opened();
        peer.send_bytes(&[&size.to_be_bytes()[..], &[2, 0, 0, 0]].concat());
        peer.closed_with(FRAMING_ERROR);
    }
}

/// 2.3.1 "Due to the mandatory 8-byte frame header, the frame is malformed if the value is less than 2."
#[test]
fn a_data_offset_below_two_is_a_framing_error() {
    for doff in [0, 1] {
        let mut peer = opened();
        let mut bytes = frame(0, &begin());
        bytes[4] = doff;
        peer.send_bytes(&bytes);
        peer.closed_with(FRAMING_ERROR);
    }
}

/// 2.3.1 The data offset "gives the position of the body within the frame": one behind its end gives none.
#[test]
fn a_data_offset_beyond_the_frame_is_a_framing_error() {
    let mut peer = opened();
    peer.send_bytes(&[0, 0, 0, 8, 3, 0, 0, 0]);
    peer.closed_with(FRAMING_ERROR);
}

/// 2.3.1 "The extended header is a variable width area preceding the frame body. [...] The treatment of this
/// area depends on the frame type." 2.3.2 gives AMQP frames none: it is skipped.
#[test]
fn an_extended_header_is_skipped() {
    let mut peer = opened();
    let body = begin().encode();
    let mut bytes = (body.len() as u32 + 16).to_be_bytes().to_vec();
    bytes.extend([4, 0, 0, 5]);
    bytes.extend(b"whatever");
    bytes.extend(body);
    peer.send_bytes(&bytes);
    assert_eq!(peer.expect("begin").get("remote-channel"), &V::Ushort(5));
}

/// 2.3.1 An extended header may fill the frame: then there is no body.
#[test]
fn an_empty_frame_with_an_extended_header_is_an_empty_frame() {
    let mut peer = opened();
    peer.send_bytes(&[0, 0, 0, 12, 3, 0, 0, 0, 1, 2, 3, 4]);
    peer.silent();
    peer.begin(0);
}

/// 2.7.1 "A peer that receives an oversized frame MUST close the connection with the framing-error error-code."
/// It does so as soon as it knows the size, without waiting for the octets.
#[test]
fn a_frame_larger_than_our_max_frame_size_is_a_framing_error() {
    let mut peer = Peer::engine_with(verdict::amqp::Config { max_frame_size: 1024, ..config() });
    assert_eq!(peer.open().uint("max-frame-size"), 1024);
    peer.send_bytes(&[0, 0, 4, 1, 2, 0, 0, 0]);
    peer.closed_with(FRAMING_ERROR);
}

/// 2.7.1 "The largest frame size that the sending peer is able to accept on this connection": that size is accepted.
#[test]
fn a_frame_of_just_our_max_frame_size_is_taken() {
    let mut peer = Peer::engine_with(verdict::amqp::Config { max_frame_size: 1024, ..config() });
    peer.open();
    let properties = |len: usize| {
        let text = "x".repeat(len);
        begin().with("properties", crate::value::fields(&[("text", text.as_str().into())]))
    };
    let size = |len: usize| frame(0, &properties(len)).len();
    let len = (600..1024).find(|len| size(*len) == 1024).expect("a length that fits");
    peer.begin_with(0, &properties(len));
}

/// 2.7.1 "Both peers MUST accept frames of up to 512 (MIN-MAX-FRAME-SIZE) octets."
#[test]
fn a_max_frame_size_below_512_is_never_announced() {
    let mut peer = Peer::engine_with(verdict::amqp::Config { max_frame_size: 100, ..config() });
    assert!(peer.open().uint("max-frame-size") >= 512);
}

/// 2.3.1 "The type code indicates the format and purpose of the frame." 0x00 is AMQP, 0x01 is SASL; there is no other.
#[test]
fn an_unknown_frame_type_is_a_framing_error() {
    for kind in [2, 0x7f, 0xff] {
        let mut peer = opened();
        peer.send_bytes(&raw_frame(kind, 0, &begin().encode()));
        peer.closed_with(FRAMING_ERROR);
    }
}

/// 5.3 SASL frames belong to the SASL layer, before the AMQP header.
#[test]
fn a_sasl_frame_on_an_amqp_connection_is_a_framing_error() {
    let mut peer = opened();
    peer.send_bytes(&raw_frame(
        1,
        0,
        &new("sasl-init").with("mechanism", crate::value::symbol("PLAIN")).encode(),
    ));
    peer.closed_with(FRAMING_ERROR);
}

/// 2.3.2 "An AMQP frame with no body MAY be used to generate artificial traffic as needed to satisfy any negotiated
/// idle timeout interval." 2.4.5 "This frame's channel can be any valid channel up to channel-max, but is otherwise
/// to be ignored."
#[test]
fn empty_frames_are_ignored_on_every_channel() {
    let mut peer = opened();
    for channel in [0, 1, 17, 255] {
        peer.send_bytes(&raw_frame(0, channel, &[]));
    }
    peer.silent();
    peer.begin(0);
}

/// 2.3 Frames come in a stream: in any pieces, and any number at once.
#[test]
fn frames_may_come_in_single_octets_or_all_at_once() {
    let bytes = [
        &AMQP[..],
        &frame(0, &open()),
        &frame(3, &begin()),
        &frame(3, &new("end")),
        &frame(0, &new("close")),
    ]
    .concat();
    let mut answers = Vec::new();
    for chunk in [1, 2, 3, 7, 8, 9, usize::MAX] {
        let mut peer = Peer::engine();
        peer.chunk = chunk;
        peer.send_bytes(&bytes);
        assert!(peer.subject.is_finished());
        answers.push(peer.take_bytes());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

/// 2.3.2 "The frame body is defined as a performative followed by an opaque payload. The performative MUST be one of
/// those defined in section 2.7 and is encoded as a described type in the AMQP type system."
#[test]
fn a_body_that_is_no_performative_closes_the_connection_with_decode_error() {
    let bodies: &[(&str, &[u8])] = &[
        ("no described type", &[0x45]),
        ("a null", &[0x40]),
        ("an unknown descriptor", &[0x00, 0x53, 0x99, 0x45]),
        ("an unknown symbolic descriptor", &[0x00, 0xa3, 1, b'x', 0x45]),
        ("a map instead of a list", &[0x00, 0x53, 0x11, 0xc1, 1, 0]),
        ("a descriptor of the wrong type", &[0x00, 0xa1, 1, b'x', 0x45]),
        ("nothing behind the descriptor", &[0x00, 0x53, 0x11]),
        ("an unknown format code", &[0x00, 0x53, 0x11, 0xc0, 2, 1, 0x3f]),
        ("a source", &[0x00, 0x53, 0x28, 0x45]),
    ];
    for (what, body) in bodies {
        let mut peer = opened();
        peer.send_bytes(&raw_frame(0, 0, body));
        let close = peer.next().unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!((close.name(), close.condition()), ("close", "amqp:decode-error"), "{what}");
    }
}

/// 2.3.2, 1.2: performatives may be described by symbol instead of by number.
#[test]
fn a_performative_may_be_described_by_its_symbol() {
    let mut peer = opened();
    let list = begin().encode()[3..].to_vec();
    let body = [&[0x00, 0xa3, 15][..], b"amqp:begin:list", &list].concat();
    peer.send_bytes(&raw_frame(0, 0, &body));
    peer.expect("begin");
}

/// 1.2, 1.6: a descriptor is an ulong in any of its encodings, a list one in any of its.
#[test]
fn a_performative_may_be_written_in_the_widest_encodings() {
    let mut peer = opened();
    let fields = [
        &[0x40][..],         // remote-channel
        &[0x70, 0, 0, 0, 0], // next-outgoing-id
        &[0x70, 0, 0, 0, 9], // incoming-window
        &[0x70, 0, 0, 0, 9], // outgoing-window
        &[0x70, 0, 0, 0, 9], // handle-max
    ]
    .concat();
    let mut body = vec![0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x11, 0xd0];
    body.extend((fields.len() as u32 + 4).to_be_bytes());
    body.extend(5_u32.to_be_bytes());
    body.extend(fields);
    peer.send_bytes(&raw_frame(0, 0, &body));
    peer.expect("begin");
}

/// 2.3.2 "The presence and format of the payload is defined by the semantics of the given performative": begin has
/// none.
#[test]
fn a_payload_where_none_belongs_does_no_harm_beyond_the_connection() {
    let mut peer = opened();
    peer.send_bytes(&raw_frame(0, 0, &[&begin().encode()[..], b"payload"].concat()));
    let answer = peer.next().expect("an answer");
    assert!(matches!(answer.name(), "begin" | "close"), "{answer:?}");
}
