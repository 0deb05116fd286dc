//! Part 2.3.1 and 5.3.1.

use crate::amqp::codec::{DecodeError, FrameKind, Parsed, frame_end, frame_start, parse_frame};

const MAX: u32 = 512;

fn parse(input: &[u8]) -> Result<Parsed<'_>, DecodeError> {
    parse_frame(input, MAX)
}

#[test]
fn a_frame_is_incomplete_until_its_last_byte() {
    let mut out = Vec::new();
    let start = frame_start(&mut out, FrameKind::Amqp, 0x0102);
    out.extend_from_slice(b"body");
    frame_end(&mut out, start);
    for len in 0..out.len() {
        assert_eq!(parse(&out[..len]), Ok(Parsed::Incomplete), "{len} bytes");
    }
    out.push(0xff);
    let Ok(Parsed::Frame { header, body, total }) = parse(&out) else { panic!("no frame") };
    assert_eq!((header.kind, header.channel, header.size), (FrameKind::Amqp, 0x0102, 12));
    assert_eq!((body, total), (b"body".as_slice(), 12));
}

#[test]
fn an_empty_body_is_a_heartbeat() {
    let Ok(Parsed::Frame { body, total, .. }) = parse(&[0, 0, 0, 8, 2, 0, 0, 0]) else { panic!("no frame") };
    assert_eq!((body.len(), total), (0, 8));
}

#[test]
fn an_extended_header_is_skipped() {
    let input = [0, 0, 0, 13, 3, 0, 0, 0, 9, 9, 9, 9, 7];
    let Ok(Parsed::Frame { body, total, .. }) = parse(&input) else { panic!("no frame") };
    assert_eq!((body, total), ([7].as_slice(), 13));
}

#[test]
fn a_sasl_frame_has_its_own_type() {
    let Ok(Parsed::Frame { header, .. }) = parse(&[0, 0, 0, 8, 2, 1, 0, 0]) else { panic!("no frame") };
    assert_eq!(header.kind, FrameKind::Sasl);
}

#[test]
fn a_runt_is_refused_on_its_size_alone() {
    assert_eq!(parse(&[0, 0, 0, 7]), Err(DecodeError::RuntFrame { size: 7 }));
}

#[test]
fn an_oversize_frame_is_refused_before_it_is_waited_for() {
    assert_eq!(parse(&[0, 0, 2, 1]), Err(DecodeError::OversizeFrame { size: 513, max: 512 }));
    assert_eq!(parse(&[0, 0, 2, 0]), Ok(Parsed::Incomplete));
}

#[test]
fn a_data_offset_outside_the_frame_is_refused() {
    assert_eq!(parse(&[0, 0, 0, 8, 1, 0, 0, 0]), Err(DecodeError::DataOffset { doff: 1, size: 8 }));
    assert_eq!(parse(&[0, 0, 0, 11, 3, 0, 0, 0]), Err(DecodeError::DataOffset { doff: 3, size: 11 }));
}

#[test]
fn an_unknown_type_is_a_framing_error() {
    let error = parse(&[0, 0, 0, 8, 2, 2, 0, 0]).expect_err("type 2");
    assert!(error.is_framing());
    assert_eq!(error, DecodeError::FrameType { kind: 2 });
}
