//! Frames: size, data offset, type, channel (parts 2.3.1 and 5.3.1).
//!
//! Invariant: a frame handed out lies wholly in the input and is no larger than allowed. Knows nothing of
//! what is in the body.

use super::DecodeError;

/// Bytes of the fixed frame header.
const HEADER_BYTES: usize = 8;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Type 0x00 (part 2.3.2).
    Amqp,
    /// Type 0x01 (part 5.3.1).
    Sasl,
}

/// What is in front of a frame's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the whole frame.
    pub size: u32,
    /// Where the body begins, in words of 4 bytes.
    pub doff: u8,
    /// The type.
    pub kind: FrameKind,
    /// The channel; ignored in SASL frames (part 5.3.1).
    pub channel: u16,
}

/// What lies at the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Not yet a whole frame.
    Incomplete,
    /// A frame. An empty body is a heartbeat (part 2.4.5).
    Frame {
        /// Its header.
        header: FrameHeader,
        /// Its body, without header and extended header.
        body: &'a [u8],
        /// Bytes to go on by.
        total: usize,
    },
}

/// Reads the frame at the front of `input`.
///
/// # Errors
/// A header that cannot be: nothing behind it can be trusted, and none of the body is waited for.
pub fn parse_frame(input: &[u8], max_frame_size: u32) -> Result<Parsed<'_>, DecodeError> {
    let Some((&[s0, s1, s2, s3], after_size)) = input.split_first_chunk::<4>() else {
        return Ok(Parsed::Incomplete);
    };
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    // 2.3.1: "the frame is malformed if the size is less than the size of the frame header (8 bytes)"
    if (size as usize) < HEADER_BYTES {
        return Err(DecodeError::RuntFrame { size });
    }
    if size > max_frame_size {
        return Err(DecodeError::OversizeFrame { size, max: max_frame_size });
    }
    let Some(&[doff, kind, c0, c1]) = after_size.first_chunk::<4>() else {
        return Ok(Parsed::Incomplete);
    };
    // 2.3.1: "the value of the data offset is an unsigned, 8-bit integer specifying a count of 4-byte words.
    // Due to the mandatory 8-byte frame header, the frame is malformed if the value is less than 2."
    let body_from = usize::from(doff) * 4;
    if doff < 2 || body_from > size as usize {
        return Err(DecodeError::DataOffset { doff, size });
    }
    let kind = match kind {
        0x00 => FrameKind::Amqp,
        0x01 => FrameKind::Sasl,
        kind => return Err(DecodeError::FrameType { kind }),
    };
    let total = size as usize;
    let Some(body) = input.get(body_from..total) else {
        return Ok(Parsed::Incomplete);
    };
    let header = FrameHeader { size, doff, kind, channel: u16::from_be_bytes([c0, c1]) };
    Ok(Parsed::Frame { header, body, total })
}

/// Begins a frame in `out`; what is appended until `frame_end` is its body.
#[must_use = "frame_end needs it"]
pub fn frame_start(out: &mut Vec<u8>, kind: FrameKind, channel: u16) -> usize {
    let start = out.len();
    let [c0, c1] = channel.to_be_bytes();
    let kind = match kind {
        FrameKind::Amqp => 0,
        FrameKind::Sasl => 1,
    };
    out.extend_from_slice(&[0, 0, 0, 0, 2, kind, c0, c1]);
    start
}

/// Ends the frame begun at `start`: writes its size.
pub fn frame_end(out: &mut [u8], start: usize) {
    let size = out.len().saturating_sub(start);
    // Frames are built within the peer's max-frame-size, a u32.
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *place = size.to_be_bytes();
    }
}
