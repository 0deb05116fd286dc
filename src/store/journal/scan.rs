//! Reading segments from front to back: at recovery and for `verdict check`.
//!
//! Invariant: only whole frames in unbroken sequence are handed out. What follows the last one is either
//! a torn tail (one frame at most is in flight, so nothing whole can follow it) or damage, and the two
//! are told apart: damage is never cut off.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::delta::Change;
use super::super::record::{self, PUT_OVERHEAD_BYTES, Written};
use super::super::{StoreError, failed};
use super::layout::{
    FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, HeaderError, Position, SEGMENT_HEADER_BYTES,
    SegmentHeader, journal_dir, segment_number,
};
use crate::broker::Location;

use super::super::block::IndexEntry;

/// A segment file as found.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    /// From its name.
    pub number: u32,
    /// Where it is.
    pub path: PathBuf,
    /// Its length, preallocated room included.
    pub bytes: u64,
    /// Its header; `Err`: not readable as one.
    pub header: Result<SegmentHeader, HeaderError>,
    /// Whether a frame follows the header, or what looks like one.
    pub has_frame: bool,
}

/// Where a segment's frames end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    /// Where the next frame would be.
    pub position: Position,
    /// Bytes after that which are not zero to the end: a torn frame.
    pub torn_bytes: u64,
}

/// All segment files, by number.
pub(crate) fn list(data: &Path) -> Result<Vec<SegmentFile>, StoreError> {
    let dir = journal_dir(data);
    let entries = std::fs::read_dir(&dir).map_err(|error| failed("read", &dir, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed("read", &dir, &error))?.path();
        let Some(number) = segment_number(&path) else { continue };
        files.push(open(number, path)?);
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

fn open(number: u32, path: PathBuf) -> Result<SegmentFile, StoreError> {
    let error = |error| failed("read", &path, &error);
    let mut file = File::open(&path).map_err(error)?;
    let bytes = file.metadata().map_err(error)?.len();
    let mut head = [0; SEGMENT_HEADER_BYTES as usize + 4];
    let length = read_up_to(&mut file, &mut head).map_err(error)?;
    let (header, frame) = head.split_at(SEGMENT_HEADER_BYTES as usize);
    let header = match header.first_chunk() {
        Some(header) if length >= SEGMENT_HEADER_BYTES as usize => SegmentHeader::decode(header),
        _ => Err(HeaderError::Invalid),
    };
    let header = header
        .and_then(|header| if header.number == number { Ok(header) } else { Err(HeaderError::Invalid) });
    Ok(SegmentFile { number, bytes, header, has_frame: frame == FRAME_MAGIC, path })
}

impl SegmentFile {
    /// Whether it was prepared, but the crash came before anything was committed to it: header and
    /// first frame are written in that order, each synced, so a missing header means no frame.
    pub fn is_unused(&self) -> bool {
        self.header == Err(HeaderError::Invalid) && !self.has_frame
    }

    /// The header, or why not.
    pub fn header(&self) -> Result<SegmentHeader, StoreError> {
        let path = self.path.display();
        self.header.map_err(|error| {
            StoreError::Corrupt(match error {
                HeaderError::Invalid => format!("{path}: the segment's header is damaged; {HINT}").into(),
                HeaderError::Version(version) => {
                    let expected = super::layout::FORMAT_VERSION;
                    format!("{path}: format version {version}, this verdict knows {expected}").into()
                }
            })
        })
    }
}

/// What to do about damage.
pub(crate) const HINT: &str = "run `verdict check` on the data directory to see what is affected";

/// Reads the frames of one segment from `from` on. `last`: it is the newest segment, whose tail may be
/// torn. `visit` gets each frame's offset, header and payload.
pub(crate) fn scan(
    file: &SegmentFile,
    from: Position,
    last: bool,
    mut visit: impl FnMut(u64, &FrameHeader, &[u8]) -> Result<(), StoreError>,
) -> Result<SegmentEnd, StoreError> {
    let header = file.header()?;
    let io = |error| failed("read", &file.path, &error);
    let mut offset = u64::from(from.offset);
    let mut sequence = from.sequence;
    if offset > file.bytes {
        return Err(StoreError::Corrupt(
            format!(
                "{}: {} bytes, but the index knows of {offset}: the end of the journal is missing; {HINT}",
                file.path.display(),
                file.bytes
            )
            .into(),
        ));
    }
    let mut input = BufReader::with_capacity(1 << 20, File::open(&file.path).map_err(io)?);
    input.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut payload = Vec::new();
    while let Some(frame) = next_frame(&mut input, &mut payload, file.bytes - offset, &header).map_err(io)? {
        if frame.sequence != sequence {
            break;
        }
        visit(offset, &frame, &payload)?;
        offset += frame.frame_bytes();
        sequence += 1;
    }
    let offset = offset.min(file.bytes);
    let position = Position { segment: file.number, offset: offset as u32, sequence };
    let tail = examine_tail(file, &header, offset, sequence).map_err(io)?;
    match tail {
        Tail::Zeros => Ok(SegmentEnd { position, torn_bytes: 0 }),
        Tail::Torn(torn_bytes) if last => Ok(SegmentEnd { position, torn_bytes }),
        Tail::Torn(_) => Err(StoreError::Corrupt(
            format!(
                "{}: damaged at offset {offset}, and it is not the newest segment; {HINT}",
                file.path.display()
            )
            .into(),
        )),
        Tail::FrameAt(next) => Err(StoreError::Corrupt(
            format!("{}: damaged from offset {offset} to {next}; {HINT}", file.path.display()).into(),
        )),
    }
}

/// The next frame if there is a whole one; `left`: bytes of the file from here on.
fn next_frame(
    input: &mut impl Read,
    payload: &mut Vec<u8>,
    left: u64,
    segment: &SegmentHeader,
) -> std::io::Result<Option<FrameHeader>> {
    let mut head = [0; FRAME_HEADER_BYTES];
    if left < FRAME_HEADER_BYTES as u64 || read_up_to(input, &mut head)? < FRAME_HEADER_BYTES {
        return Ok(None);
    }
    let Some(frame) = FrameHeader::decode(&head) else { return Ok(None) };
    if frame.segment != segment.number || FRAME_HEADER_BYTES as u64 + u64::from(frame.length) > left {
        return Ok(None);
    }
    let padded = (frame.frame_bytes().min(left) as usize) - FRAME_HEADER_BYTES;
    payload.resize(padded, 0);
    if read_up_to(input, payload)? < padded {
        return Ok(None);
    }
    let length = frame.length as usize;
    if payload.get(length..).is_some_and(|padding| padding.iter().any(|byte| *byte != 0)) {
        return Ok(None);
    }
    payload.truncate(length);
    Ok(frame.matches(segment.salt, &head, payload).then_some(frame))
}

enum Tail {
    /// Nothing but room.
    Zeros,
    /// This many bytes of something, with no whole frame in it.
    Torn(u64),
    /// A whole later frame is here: what is before it is damaged.
    FrameAt(u64),
}

/// Looks at what follows the last good frame.
fn examine_tail(
    file: &SegmentFile,
    segment: &SegmentHeader,
    from: u64,
    sequence: u64,
) -> std::io::Result<Tail> {
    let mut input = File::open(&file.path)?;
    let Some(last) = last_nonzero(&mut input, from)? else { return Ok(Tail::Zeros) };
    let mut tail = vec![0; (last + 1 - from) as usize];
    input.seek(SeekFrom::Start(from))?;
    input.read_exact(&mut tail)?;
    // The padding of the last frame may be among the zeros.
    let used = tail.len();
    tail.resize(used.next_multiple_of(FRAME_ALIGN as usize), 0);
    for at in (0..used).step_by(FRAME_ALIGN as usize) {
        let Some(mut rest) = tail.get(at..).filter(|rest| rest.starts_with(&FRAME_MAGIC)) else { continue };
        let left = (file.bytes - from - at as u64).max(rest.len() as u64);
        let mut zeros = std::io::repeat(0).take(left - rest.len() as u64);
        let mut input = (&mut rest).chain(&mut zeros);
        let mut payload = Vec::new();
        let frame = next_frame(&mut input, &mut payload, left, segment)?;
        if frame.is_some_and(|frame| frame.sequence >= sequence) {
            return Ok(Tail::FrameAt(from + at as u64));
        }
    }
    Ok(Tail::Torn(used as u64))
}

/// Where the last byte that is not zero is; piecewise, since a segment's room is mostly zeros.
fn last_nonzero(input: &mut File, from: u64) -> std::io::Result<Option<u64>> {
    let mut piece = vec![0; 256 * 1024];
    let mut at = input.seek(SeekFrom::Start(from))?;
    let mut last = None;
    loop {
        let length = read_up_to(input, &mut piece)?;
        if length == 0 {
            return Ok(last);
        }
        if let Some(found) = piece.iter().take(length).rposition(|byte| *byte != 0) {
            last = Some(at + found as u64);
        }
        at += length as u64;
    }
}

/// Reads until the buffer is full or the input ends.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The changes a frame's payload stands for.
pub(crate) fn changes(
    file: &SegmentFile,
    offset: u64,
    frame: &FrameHeader,
    payload: &[u8],
    mut merge: impl FnMut(Change) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut rest = payload;
    for number in 0..frame.records {
        let at = offset + FRAME_HEADER_BYTES as u64 + (payload.len() - rest.len()) as u64;
        let written = record::decode(&mut rest).map_err(|error| {
            let path = file.path.display();
            StoreError::Corrupt(format!("{path}: record {number} at offset {at}: {error}; {HINT}").into())
        })?;
        merge(change(written, file.number, at as u32))?;
    }
    Ok(())
}

fn change(written: Written<'_>, segment: u32, offset: u32) -> Change {
    match written {
        Written::Put(put) => {
            let entry = IndexEntry {
                location: Location { segment, offset, len: put.bytes.len() as u32 + PUT_OVERHEAD_BYTES },
                delivery_count: put.delivery_count,
                acquired_count: 0,
                expires: put.expires,
                priority: put.priority.min(9),
                first_acquirer: put.first_acquirer,
                has_state: false,
            };
            let (queue, seq) = (put.queue, put.seq);
            if put.keep { Change::Keep { queue, seq, entry } } else { Change::Put { queue, seq, entry } }
        }
        Written::Settle { queue, seq } => Change::Settle { queue, seq },
        Written::Count { queue, seq, delivery_count, acquired_count } => {
            Change::Count { queue, seq, delivery_count, acquired_count }
        }
        Written::State { queue, seq, state } => {
            Change::State { queue, seq, state: record::Packed::of(&state) }
        }
        Written::Move { from, to, state } => Change::Move { from, to, state: record::Packed::of(&state) },
        Written::Seen { queue, ids, oldest } => Change::Seen { queue, ids, oldest, segment },
        Written::Define(definition) => Change::Define(definition),
        Written::Delete(queue) => Change::Delete(queue),
        Written::NextSeq(queue, next) => Change::NextSeq(queue, next),
    }
}
