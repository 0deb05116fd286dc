//! The open end of the journal: the segment being written, and the step to the next one.
//!
//! Invariant: frames are appended in sequence, one at a time, each synced before the next; a segment
//! begins with a header and a frame of all definitions, on the disk before anything else is in it, so
//! that the oldest segments can always go. Knows frames, not what is in them.
//!
//! Segments are preallocated with `fallocate`: measured, an append with `fdatasync` into one is as fast as
//! into written zeros, and there are never stale bytes in it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::super::fault::Fault;
use super::super::space::Space;
use super::super::{StoreError, failed};
use super::layout::{
    FORMAT_VERSION, FRAME_HEADER_BYTES, Position, SEGMENT_HEADER_BYTES, SegmentHeader, finish_frame,
    frame_bytes, segment_path,
};
use super::segments::Segments;

/// Smallest segment made while there is room to choose.
const SMALL_SEGMENT_BYTES: u64 = 256 * 1024;
/// Largest frame: offsets are 32 bits.
const MAX_FRAME_BYTES: u64 = 2 << 30;

/// Why a frame cannot be appended.
#[derive(Debug)]
pub(crate) enum LogError {
    /// There is no room for another segment.
    NoRoom,
    /// The frame is larger than a segment can be.
    TooLarge,
    /// The disk failed; nothing may be written any more.
    Failed(StoreError),
}

#[derive(Debug)]
struct Current {
    file: Arc<File>,
    number: u32,
    salt: u32,
    offset: u64,
    capacity: u64,
}

#[derive(Debug)]
struct Spare {
    number: u32,
    bytes: u64,
    made: JoinHandle<Result<File, StoreError>>,
}

/// Where frames are appended.
#[derive(Debug)]
pub(crate) struct Log {
    data: std::path::PathBuf,
    segments: Arc<Segments>,
    current: Option<Current>,
    spare: Option<Spare>,
    next_number: u32,
    next_sequence: u64,
    epoch: u64,
    segment_bytes: u64,
    reserve_bytes: u64,
    sync: bool,
    fault: Fault,
}

/// What a log needs to begin.
#[derive(Debug)]
pub(crate) struct LogStart {
    /// Number of the next segment.
    pub number: u32,
    /// Sequence number of the next frame.
    pub sequence: u64,
    /// Our epoch.
    pub epoch: u64,
    /// Size of a segment.
    pub segment_bytes: u64,
    /// Room left alone by new segments.
    pub reserve_bytes: u64,
    /// Whether to sync at all (benchmarks only).
    pub sync: bool,
    /// Failures on demand.
    pub fault: Fault,
}

impl Log {
    /// Begins after what recovery found; the first segment is made when the first frame comes.
    pub fn new(data: &Path, segments: Arc<Segments>, start: LogStart) -> Self {
        Self {
            data: data.to_owned(),
            segments,
            current: None,
            spare: None,
            next_number: start.number,
            next_sequence: start.sequence,
            epoch: start.epoch,
            segment_bytes: start.segment_bytes,
            reserve_bytes: start.reserve_bytes,
            sync: start.sync,
            fault: start.fault,
        }
    }

    /// Makes sure a frame of this much payload fits, and says where it will be. `preamble` gives the
    /// records a new segment begins with; `into_reserve`: the reserve may be used.
    pub fn place(
        &mut self,
        payload: u64,
        into_reserve: bool,
        space: &mut Space,
        preamble: impl FnOnce() -> (Vec<u8>, u32),
    ) -> Result<(u32, u64), LogError> {
        let needed = frame_bytes(payload);
        if needed > MAX_FRAME_BYTES {
            return Err(LogError::TooLarge);
        }
        if let Some(current) = &self.current
            && current.offset + needed <= current.capacity
        {
            return Ok((current.number, current.offset));
        }
        let (preamble, records) = preamble();
        let head = u64::from(SEGMENT_HEADER_BYTES) + frame_bytes(preamble.len() as u64);
        let (file, capacity) = self.next_file(head + needed, into_reserve, space)?;
        self.seal();
        self.begin(file, capacity, preamble, records).map_err(LogError::Failed)
    }

    /// Appends the frame `place` made room for; its first `FRAME_HEADER_BYTES` are filled in.
    pub fn append(&mut self, frame: &mut Vec<u8>, records: u32) -> Result<Position, StoreError> {
        let Some(current) = &mut self.current else {
            return Err(StoreError::Failed("the journal has no open segment".into()));
        };
        finish_frame(frame, current.salt, records, self.next_sequence, current.number);
        let path = || segment_path(&self.data, current.number);
        let write = self.fault.before_write().and_then(|()| current.file.write_all_at(frame, current.offset));
        write.map_err(|error| failed("write", &path(), &error))?;
        if self.sync {
            let sync = self.fault.before_fsync().and_then(|()| current.file.sync_data());
            sync.map_err(|error| failed("sync", &path(), &error))?;
        }
        current.offset += frame.len() as u64;
        self.next_sequence += 1;
        let (number, offset, capacity) = (current.number, current.offset, current.capacity);
        self.segments.set(number, offset);
        if offset > capacity / 2 && self.spare.is_none() {
            self.prepare_spare();
        }
        Ok(Position { segment: number, offset: offset as u32, sequence: self.next_sequence })
    }

    /// Gives back what was prepared and not used.
    pub fn close(&mut self) {
        self.seal();
        if let Some(spare) = self.spare.take() {
            // Whether it could be made or not: if it is there, it is empty and goes.
            let _ = spare.made.join();
            let _ = std::fs::remove_file(segment_path(&self.data, spare.number));
        }
    }

    /// A file for the next segment: the prepared one, or a new one as large as there is room for.
    fn next_file(
        &mut self,
        needed: u64,
        into_reserve: bool,
        space: &mut Space,
    ) -> Result<(File, u64), LogError> {
        if let Some(spare) = self.spare.take() {
            let made = spare.made.join();
            if let (Ok(Ok(file)), true) = (made, spare.bytes >= needed) {
                return Ok((file, spare.bytes));
            }
            let _ = std::fs::remove_file(segment_path(&self.data, spare.number));
        }
        let free = space.free_bytes_now();
        let room = free.saturating_sub(self.reserve_bytes);
        let bytes = match (self.segment_bytes.max(needed), into_reserve) {
            (bytes, _) if bytes <= room => bytes,
            (_, _) if room >= needed && room >= SMALL_SEGMENT_BYTES => room & !(SMALL_SEGMENT_BYTES - 1),
            (_, true) if free >= needed => needed.max(SMALL_SEGMENT_BYTES).min(free),
            _ => return Err(LogError::NoRoom),
        };
        let bytes = bytes.max(needed);
        let path = segment_path(&self.data, self.next_number);
        match create(&path, bytes) {
            Ok(file) => {
                self.segments.sync_dir().map_err(LogError::Failed)?;
                Ok((file, bytes))
            }
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                if error.kind() == std::io::ErrorKind::StorageFull {
                    return Err(LogError::NoRoom);
                }
                Err(LogError::Failed(failed("create", &path, &error)))
            }
        }
    }

    fn begin(
        &mut self,
        file: File,
        capacity: u64,
        preamble: Vec<u8>,
        records: u32,
    ) -> Result<(u32, u64), StoreError> {
        let number = self.next_number;
        let path = segment_path(&self.data, number);
        let salt = salt();
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            number,
            epoch: self.epoch,
            first_sequence: self.next_sequence,
            salt,
        };
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        frame.extend_from_slice(&preamble);
        finish_frame(&mut frame, salt, records, self.next_sequence, number);
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(&frame);
        self.segments.set(number, bytes.len() as u64);
        let write = self.fault.before_write().and_then(|()| file.write_all_at(&bytes, 0));
        write.map_err(|error| failed("write", &path, &error))?;
        if self.sync {
            let sync = self.fault.before_fsync().and_then(|()| file.sync_data());
            sync.map_err(|error| failed("sync", &path, &error))?;
        }
        self.next_sequence += 1;
        self.next_number += 1;
        let offset = bytes.len() as u64;
        self.current = Some(Current { file: Arc::new(file), number, salt, offset, capacity });
        Ok((number, offset))
    }

    /// Gives the unused room of the segment back; all its frames are on the disk.
    fn seal(&mut self) {
        if let Some(current) = self.current.take() {
            // Zeros at the end are as good: failing to cut them off loses room, nothing else.
            let _ = current.file.set_len(current.offset);
        }
    }

    /// Makes the next segment on another thread, so that no commit waits for it.
    fn prepare_spare(&mut self) {
        let mut space = Space::new(&self.data);
        let bytes = self.segment_bytes;
        if space.free_bytes_now().saturating_sub(self.reserve_bytes) < bytes {
            return;
        }
        let number = self.next_number;
        let path = segment_path(&self.data, number);
        let segments = Arc::clone(&self.segments);
        let make = move || {
            let file = create(&path, bytes).map_err(|error| failed("create", &path, &error))?;
            segments.sync_dir()?;
            Ok(file)
        };
        if let Ok(made) = std::thread::Builder::new().name("verdict-segment".into()).spawn(make) {
            self.spare = Some(Spare { number, bytes, made });
        }
    }
}

fn create(path: &Path, bytes: u64) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        // A file system without preallocation: the file grows as it is written.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes)?,
        Err(error) => return Err(error.into()),
    }
    file.sync_all()?;
    Ok(file)
}

/// A number nobody outside knows: it keeps a message's content from passing for a frame.
fn salt() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() as u32
}
