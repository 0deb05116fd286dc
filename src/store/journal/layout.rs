//! What a segment file looks like: its name, its header, and the headers of the commit frames in it.
//!
//! Invariant: a frame is whole or it is not there: its checksum covers header and payload and starts
//! from the segment's salt, so that neither stale bytes nor a message's content can pass for a frame.
//! Deliberately without I/O.
//!
//! ```text
//! segment:  header (64 bytes)  frame  frame  …  zeros
//! frame:    magic  crc  length  records  | sequence (8)  segment  0 |  payload, padded to 8 bytes
//! ```

use std::path::{Path, PathBuf};

/// Version of everything in the data directory. 2 has ids of messages in it (`Record::Seen`), which 1 has not; what is
/// older is read, and goes on as this.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The oldest version that is read.
pub(crate) const OLDEST_VERSION: u32 = 1;
/// Bytes of a segment's header; the first frame follows.
pub(crate) const SEGMENT_HEADER_BYTES: u32 = 64;
/// Bytes of a frame's header; its payload follows.
pub(crate) const FRAME_HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGN: u64 = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"VERDICTJ";
/// The first four bytes of every frame.
pub(crate) const FRAME_MAGIC: [u8; 4] = [0xF5, b'V', b'C', b'F'];

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Format version it was written with.
    pub version: u32,
    /// Its number, as in its name.
    pub number: u32,
    /// The epoch of the process that wrote it.
    pub epoch: u64,
    /// The sequence number of its first frame.
    pub first_sequence: u64,
    /// Where its frames' checksums start from.
    pub salt: u32,
}

/// Why a segment's header is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Damaged, or never written.
    Invalid,
    /// Whole, but of another version of the format.
    Version(u32),
}

impl SegmentHeader {
    /// The header as bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header from bytes.
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES as usize]) -> Result<Self, HeaderError> {
        let valid = bytes[..8] == SEGMENT_MAGIC && crc32fast::hash(&bytes[..60]) == u32_at(bytes, 60);
        let version = u32_at(bytes, 8);
        match (valid, version) {
            (false, _) => Err(HeaderError::Invalid),
            (true, OLDEST_VERSION..=FORMAT_VERSION) => Ok(Self {
                version,
                number: u32_at(bytes, 12),
                epoch: u64_at(bytes, 16),
                first_sequence: u64_at(bytes, 24),
                salt: u32_at(bytes, 32),
            }),
            (true, other) => Err(HeaderError::Version(other)),
        }
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Checksum of the rest of the header and the payload.
    pub crc: u32,
    /// Bytes of payload, without padding.
    pub length: u32,
    /// Records in it.
    pub records: u32,
    /// Its number in the whole journal, growing by one.
    pub sequence: u64,
    /// The segment it is in.
    pub segment: u32,
}

impl FrameHeader {
    /// The header from bytes, if they begin like one.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        (bytes[..4] == FRAME_MAGIC && u32_at(bytes, 28) == 0).then(|| Self {
            crc: u32_at(bytes, 4),
            length: u32_at(bytes, 8),
            records: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            segment: u32_at(bytes, 24),
        })
    }

    /// Whether these are the header and payload it was made for.
    pub fn matches(&self, salt: u32, header: &[u8; FRAME_HEADER_BYTES], payload: &[u8]) -> bool {
        checksum(salt, header, payload) == self.crc
    }

    /// Bytes of the whole frame with its padding.
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(u64::from(self.length))
    }
}

/// Bytes of a frame with this much payload.
pub(crate) fn frame_bytes(payload: u64) -> u64 {
    (FRAME_HEADER_BYTES as u64 + payload).next_multiple_of(FRAME_ALIGN)
}

/// Completes a frame whose first `FRAME_HEADER_BYTES` bytes are free and whose payload follows.
pub(crate) fn finish_frame(frame: &mut Vec<u8>, salt: u32, records: u32, sequence: u64, segment: u32) {
    let length = frame.len().saturating_sub(FRAME_HEADER_BYTES) as u32;
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&FRAME_MAGIC);
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[12..16].copy_from_slice(&records.to_le_bytes());
    header[16..24].copy_from_slice(&sequence.to_le_bytes());
    header[24..28].copy_from_slice(&segment.to_le_bytes());
    let crc = checksum(salt, &header, frame.get(FRAME_HEADER_BYTES..).unwrap_or_default());
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    if let Some(head) = frame.first_chunk_mut::<FRAME_HEADER_BYTES>() {
        *head = header;
    }
    frame.resize(frame.len().next_multiple_of(FRAME_ALIGN as usize), 0);
}

fn checksum(salt: u32, header: &[u8; FRAME_HEADER_BYTES], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&header[8..]);
    hasher.update(payload);
    hasher.finalize()
}

/// A place between two frames: where the next frame is, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// Segment number.
    pub segment: u32,
    /// Offset in it.
    pub offset: u32,
    /// Sequence number of the frame there.
    pub sequence: u64,
}

/// The directory of the segments.
pub(crate) fn journal_dir(data: &Path) -> PathBuf {
    data.join("journal")
}

/// The file of a segment.
pub(crate) fn segment_path(data: &Path, number: u32) -> PathBuf {
    journal_dir(data).join(format!("{number:010}.seg"))
}

/// The number in a segment's file name.
pub(crate) fn segment_number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    (name.len() == 10).then(|| name.parse().ok())?
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
