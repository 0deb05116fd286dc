//! Opening a data directory: what survived, from the index and the journal after its checkpoint, or
//! from the journal alone.
//!
//! Invariant: after it, the index is at the journal's end, the journal's tail is whole and on the disk,
//! and nothing that was reported committed is missing. A damaged index is set aside, never deleted; a
//! damaged journal is reported, never repaired.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use super::delta::{Change, Delta};
use super::index::{Checkpoint, Index, LiveBytes, index_dir};
use super::journal::layout::{Position, SEGMENT_HEADER_BYTES, journal_dir};
use super::journal::scan::{self, HINT, SegmentEnd, SegmentFile};
use super::journal::segments::sync_dir;
use super::{Recovery, StoreError, failed};

/// Where an empty journal begins.
pub(crate) const BEGINNING: Position = Position { segment: 1, offset: SEGMENT_HEADER_BYTES, sequence: 1 };

/// What recovery found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub index: Index,
    pub live: LiveBytes,
    /// Numbers and used bytes of the segments.
    pub segments: Vec<(u32, u64)>,
    /// The end of the journal.
    pub end: Position,
    /// Number of the next segment.
    pub next_segment: u32,
    pub epoch: u64,
    /// All but the counts of queues and messages.
    pub report: Recovery,
}

/// Makes the directories, if they are not there.
pub(crate) fn prepare(data: &Path) -> Result<(), StoreError> {
    let journal = journal_dir(data);
    fs::create_dir_all(&journal).map_err(|error| failed("create", &journal, &error))?;
    sync_dir(data)
}

/// Opens index and journal and brings the one up to the other.
pub(crate) fn open(data: &Path, cache_bytes: u64, batch_bytes: u64) -> Result<Opened, StoreError> {
    let mut files = scan::list(data)?;
    let mut report = Recovery::default();
    while let Some(file) = files.pop_if(|file| file.is_unused()) {
        report.cut_bytes += u64::from(file.header.is_ok());
        fs::remove_file(&file.path).map_err(|error| failed("remove", &file.path, &error))?;
    }
    check_numbers(&files)?;
    let (index, live, checkpoint) = open_index(data, cache_bytes, &files, &mut report)?;
    let first = files.first().map(SegmentFile::header).transpose()?;
    let start = match (&checkpoint, files.first(), first) {
        (Some(checkpoint), _, _) => checkpoint.position,
        (None, Some(file), Some(header)) => {
            Position { segment: file.number, offset: SEGMENT_HEADER_BYTES, sequence: header.first_sequence }
        }
        _ => BEGINNING,
    };
    let last_epoch = files.last().map(SegmentFile::header).transpose()?.map_or(0, |header| header.epoch);
    let epoch = checkpoint.map_or(0, |checkpoint| checkpoint.epoch).max(last_epoch) + 1;
    let replayed = replay(&index, live, &files, start, epoch, batch_bytes)?;
    check_end(data, &files, start)?;
    report.replayed_bytes = replayed.bytes;
    let mut segments: Vec<(u32, u64)> = files.iter().map(|file| (file.number, file.bytes)).collect();
    for (found, segment) in replayed.ends.iter().rev().zip(segments.iter_mut().rev()) {
        segment.1 = u64::from(found.position.offset);
    }
    if let (Some(file), Some(found)) = (files.last(), replayed.ends.last()) {
        report.cut_bytes += found.torn_bytes;
        cut(file, *found)?;
    }
    let (end, live) = (replayed.end, replayed.live);
    report.clean = checkpoint.is_some_and(|checkpoint| checkpoint.clean && checkpoint.position == end);
    let next_segment = files.last().map_or(BEGINNING.segment, |file| file.number + 1);
    Ok(Opened { index, live, segments, end, next_segment, epoch, report })
}

/// What a replay found.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The end of the journal; the index has a checkpoint there.
    pub end: Position,
    pub live: LiveBytes,
    /// Bytes of frames read.
    pub bytes: u64,
    /// The ends of the segments read, the last of which may be torn.
    pub ends: Vec<SegmentEnd>,
}

/// Brings an index from a position of the journal to its end.
pub(crate) fn replay(
    index: &Index,
    live: LiveBytes,
    files: &[SegmentFile],
    start: Position,
    epoch: u64,
    batch_bytes: u64,
) -> Result<Replayed, StoreError> {
    let mut replay = Replay { index, live, delta: Delta::new(true), epoch, bytes: 0, batch_bytes };
    let (mut end, mut bytes, mut ends) = (start, 0, Vec::new());
    for (at, file) in files.iter().enumerate().filter(|(_, file)| file.number >= start.segment) {
        let from = if file.number == start.segment { start.offset } else { SEGMENT_HEADER_BYTES };
        let found = replay.segment(file, end, at + 1 == files.len())?;
        end = found.position;
        bytes += u64::from(end.offset.saturating_sub(from));
        ends.push(found);
    }
    replay.flush(end)?;
    Ok(Replayed { end, live: replay.live, bytes, ends })
}

struct Replay<'a> {
    index: &'a Index,
    live: LiveBytes,
    delta: Delta,
    epoch: u64,
    /// Journal bytes in the delta.
    bytes: u64,
    batch_bytes: u64,
}

impl Replay<'_> {
    fn segment(&mut self, file: &SegmentFile, from: Position, last: bool) -> Result<SegmentEnd, StoreError> {
        let header = file.header()?;
        let from = if file.number == from.segment {
            from
        } else {
            // The frames of all segments are numbered through: a gap is a missing end of the one before.
            if header.first_sequence != from.sequence {
                return Err(StoreError::Corrupt(
                    format!(
                        "{}: begins with frame {}, expected {}: the end of the segment before it is missing; {HINT}",
                        file.path.display(),
                        header.first_sequence,
                        from.sequence
                    )
                    .into(),
                ));
            }
            Position { segment: file.number, offset: SEGMENT_HEADER_BYTES, sequence: from.sequence }
        };
        scan::scan(file, from, last, |offset, frame, payload| {
            let here = Position { segment: file.number, offset: offset as u32, sequence: frame.sequence };
            scan::changes(file, offset, frame, payload, |change| self.merge(change, here))?;
            self.bytes += frame.frame_bytes();
            if self.bytes < self.batch_bytes {
                return Ok(());
            }
            let after = (offset + frame.frame_bytes()) as u32;
            self.flush(Position { offset: after, sequence: frame.sequence + 1, ..here })
        })
    }

    fn merge(&mut self, change: Change, here: Position) -> Result<(), StoreError> {
        if self.delta.conflicts(&change) {
            self.flush(here)?;
        }
        self.delta.merge(change);
        Ok(())
    }

    fn flush(&mut self, position: Position) -> Result<(), StoreError> {
        let delta = std::mem::replace(&mut self.delta, Delta::new(true));
        self.bytes = 0;
        self.index.apply(delta, &mut self.live, Checkpoint { position, epoch: self.epoch, clean: false })
    }
}

/// The index with its checkpoint, or a new one in its place where it cannot be used.
fn open_index(
    data: &Path,
    cache_bytes: u64,
    files: &[SegmentFile],
    report: &mut Recovery,
) -> Result<(Index, LiveBytes, Option<Checkpoint>), StoreError> {
    let dir = index_dir(data);
    let existed = dir.join("db").exists();
    let open = || -> Result<_, StoreError> {
        let index = Index::open(&dir, cache_bytes)?;
        let checkpoint = index.checkpoint()?;
        let live = index.verify()?;
        Ok((index, live, checkpoint))
    };
    let (index, live, checkpoint) = match open() {
        Ok((index, live, None)) if !live.is_empty() => {
            // Its first checkpoint was not finished: what it has is of no use without a position.
            drop(index);
            set_aside(&dir, "it has no checkpoint")?;
            open()?
        }
        Ok(opened) => opened,
        Err(error) if existed => {
            set_aside(&dir, &error.to_string())?;
            report.rebuilt = true;
            open()?
        }
        Err(error) => return Err(error),
    };
    report.rebuilt |= checkpoint.is_none() && !files.is_empty();
    sync_dir(data)?;
    Ok((index, live, checkpoint))
}

fn set_aside(dir: &Path, why: &str) -> Result<(), StoreError> {
    let target: PathBuf = (1..)
        .map(|number: u32| dir.with_file_name(format!("index.damaged-{number}")))
        .find(|target| !target.exists())
        .unwrap_or_else(|| dir.with_file_name("index.damaged"));
    let aside = target.display();
    tracing::warn!(why, %aside, "the index cannot be used; it is set aside and rebuilt from the journal");
    fs::rename(dir, &target).map_err(|error| failed("rename", dir, &error))
}

/// Segments are deleted oldest first only: a gap is a loss.
fn check_numbers(files: &[SegmentFile]) -> Result<(), StoreError> {
    for pair in files.windows(2) {
        if let [before, after] = pair
            && after.number != before.number + 1
        {
            return Err(StoreError::Corrupt(
                format!(
                    "{}: the segment before it, number {}, is missing; {HINT}",
                    after.path.display(),
                    after.number - 1
                )
                .into(),
            ));
        }
    }
    Ok(())
}

/// The index must not know more than the journal holds.
fn check_end(data: &Path, files: &[SegmentFile], start: Position) -> Result<(), StoreError> {
    let reached = files.iter().any(|file| file.number == start.segment);
    if reached || start == BEGINNING {
        return Ok(());
    }
    Err(StoreError::Corrupt(
        format!(
            "{}: segment {} is missing, where the index's last checkpoint is; {HINT}",
            journal_dir(data).display(),
            start.segment
        )
        .into(),
    ))
}

/// Cuts a torn tail off, durably: the segment will not be the newest one any more.
fn cut(file: &SegmentFile, end: SegmentEnd) -> Result<(), StoreError> {
    let used = u64::from(end.position.offset);
    if file.bytes == used {
        return Ok(());
    }
    if end.torn_bytes > 0 {
        let (path, bytes) = (file.path.display(), end.torn_bytes);
        tracing::warn!(%path, bytes, offset = used, "the last write was torn by a crash; it was never confirmed and is cut off");
    }
    let cut = OpenOptions::new().write(true).open(&file.path).and_then(|file| {
        file.set_len(used)?;
        file.sync_all()
    });
    cut.map_err(|error| failed("truncate", &file.path, &error))
}
