//! `verdict check`: reads everything in a data directory and says in words what it found.
//!
//! Invariant: changes nothing in the directory (sled repairs what it opens, so it gets a copy). It
//! compares two views that must be equal: the index brought to the journal's end, and an index made from
//! the journal alone. Deliberately repairs nothing: starting the broker does what can be done.

mod ids;
mod scratch;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use self::scratch::{Scratch, copy_dir};
use super::StoreError;
use super::block::IndexEntry;
use super::index::{Index, LiveBytes, index_dir};
use super::journal::layout::{FRAME_HEADER_BYTES, FrameHeader, Position, SEGMENT_HEADER_BYTES, journal_dir};
use super::journal::scan::{self, SegmentFile};
use super::journal::{reader, segments::Segments};
use super::lock::DirLock;
use super::record::{self, Written};
use super::recovery;
use crate::broker::{EntryState, Location, QueueId, Seq};

/// Findings of one kind listed one by one; more are counted.
const LISTED: usize = 20;
const SLED_CACHE_BYTES: u64 = 64 << 20;
const REPLAY_BATCH_BYTES: u64 = 64 << 20;
/// Messages read at once.
const READ_AT_ONCE: usize = 512;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to worry about; the next start takes care of it.
    Note,
    /// Something was lost or is wrong.
    Damage,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What, where, and what to do.
    pub text: String,
}

/// Everything found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The directory.
    pub data: PathBuf,
    /// Segments read.
    pub segments: u64,
    /// Commit frames read.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Queues that exist.
    pub queues: u64,
    /// Messages that exist.
    pub messages: u64,
    /// Findings, in the order they were made.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    fn add(&mut self, severity: Severity, text: impl Into<String>) {
        self.findings.push(Finding { severity, text: text.into() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "data directory: {}", self.data.display())?;
        writeln!(
            formatter,
            "journal: {} segments, {} commits, {} records",
            self.segments, self.frames, self.records
        )?;
        writeln!(formatter, "content: {} queues, {} messages", self.queues, self.messages)?;
        for finding in &self.findings {
            let word = match finding.severity {
                Severity::Note => "note",
                Severity::Damage => "damage",
            };
            writeln!(formatter, "{word}: {}", finding.text)?;
        }
        write!(formatter, "verdict: {}", if self.is_ok() { "ok" } else { "damaged" })
    }
}

/// Checks the data directory of a stopped broker.
///
/// # Errors
/// `Locked` while a broker runs on it; `Failed` when it cannot be read at all.
pub fn check(dir: &Path) -> Result<Report, StoreError> {
    let _lock = DirLock::acquire_existing(dir)?;
    let mut report = Report { data: dir.to_owned(), ..Report::default() };
    if !journal_dir(dir).is_dir() {
        report.add(Severity::Damage, format!("{} is no data directory: it has no journal", dir.display()));
        return Ok(report);
    }
    let mut files = scan::list(dir)?;
    while let Some(file) = files.pop_if(|file| file.is_unused()) {
        let path = file.path.display();
        report.add(Severity::Note, format!("{path}: prepared and never used; the next start removes it"));
    }
    check_journal(&files, &mut report);
    let journal_is_whole = report.is_ok();
    let scratch = Scratch::new()?;
    let from_index = view_of_index(dir, &files, &scratch, &mut report);
    let from_journal = if journal_is_whole { view_of_journal(&files, &scratch, &mut report) } else { None };
    if let (Some(index), Some(journal)) = (&from_index, &from_journal) {
        compare(index, journal, &mut report);
    }
    if let Some(view) = from_index.or(from_journal) {
        report.queues = view.queues;
        report.messages = view.entries.len() as u64;
        check_places(&view, &mut report);
        check_bodies(dir, &files, &view, &mut report);
    }
    Ok(report)
}

fn check_journal(files: &[SegmentFile], report: &mut Report) {
    let mut expected = None;
    for (at, file) in files.iter().enumerate() {
        report.segments += 1;
        let path = file.path.display();
        if let Some(before) = at.checked_sub(1).and_then(|before| files.get(before))
            && before.number + 1 != file.number
        {
            let text = format!(
                "{path}: segments {} to {} before it are missing; restore them from a copy, or what was in them is lost",
                before.number + 1,
                file.number - 1
            );
            report.add(Severity::Damage, text);
            expected = None;
        }
        let header = match file.header() {
            Ok(header) => header,
            Err(error) => {
                report.add(Severity::Damage, error.to_string());
                expected = None;
                continue;
            }
        };
        if expected.is_some_and(|expected| expected != header.first_sequence) {
            let text =
                format!("{path}: the end of the segment before it is missing; restore that one from a copy");
            report.add(Severity::Damage, text);
        }
        let from =
            Position { segment: file.number, offset: SEGMENT_HEADER_BYTES, sequence: header.first_sequence };
        let mut wrong = Vec::new();
        let scanned = scan::scan(file, from, at + 1 == files.len(), |offset, frame, payload| {
            report.frames += 1;
            report.records += u64::from(frame.records);
            wrong.extend(check_frame(offset, frame, payload));
            Ok(())
        });
        for text in wrong {
            report.add(Severity::Damage, format!("{path}: {text}"));
        }
        expected = match scanned {
            Ok(end) => {
                if end.torn_bytes > 0 {
                    let text = format!(
                        "{path}: {} bytes at offset {} are a write torn by a crash, never confirmed to anybody; the next start cuts them off",
                        end.torn_bytes, end.position.offset
                    );
                    report.add(Severity::Note, text);
                }
                Some(end.position.sequence)
            }
            Err(error) => {
                let advice =
                    "restore the file from a copy; the messages in the damaged part are lost otherwise";
                report.add(Severity::Damage, format!("{error}; {advice}"));
                None
            }
        };
    }
}

/// Records in a frame that cannot be read, and puts whose own checksum is wrong.
fn check_frame(offset: u64, frame: &FrameHeader, payload: &[u8]) -> Option<String> {
    let mut rest = payload;
    for number in 0..frame.records {
        let at = offset + (FRAME_HEADER_BYTES + payload.len() - rest.len()) as u64;
        let mut here = rest;
        match record::decode(&mut rest) {
            Ok(Written::Put(_)) => {
                if let Err(error) = record::decode_put(&mut here, true) {
                    return Some(format!("message at offset {at}: {error}"));
                }
            }
            Ok(_) => {}
            Err(error) => return Some(format!("record {number} at offset {at}: {error}")),
        }
    }
    None
}

/// All there is, as one of the two sources tells it.
struct View {
    queues: u64,
    entries: BTreeMap<(QueueId, Seq), (IndexEntry, Option<EntryState>)>,
    ids: ids::Ids,
}

fn view(index: &Index) -> Result<View, StoreError> {
    let mut entries = BTreeMap::new();
    index.for_each(|queue, seq, entry| {
        let state = if entry.has_state { index.state(queue, seq)? } else { None };
        entries.insert((queue, seq), (entry, state));
        Ok(())
    })?;
    Ok(View { queues: index.definitions()?.len() as u64, entries, ids: index.seen_ids()? })
}

fn view_of_index(dir: &Path, files: &[SegmentFile], scratch: &Scratch, report: &mut Report) -> Option<View> {
    let from = index_dir(dir);
    if !from.is_dir() {
        let text = format!("{}: not there; the next start makes it from the journal", from.display());
        report.add(Severity::Note, text);
        return None;
    }
    let copy = scratch.0.join("index");
    let opened = copy_dir(&from, &copy).and_then(|()| {
        let index = Index::open(&copy, SLED_CACHE_BYTES)?;
        let live = index.verify()?;
        let Some(checkpoint) = index.checkpoint()? else {
            return Err(StoreError::Corrupt("it has no checkpoint".into()));
        };
        Ok((index, live, checkpoint))
    });
    let (index, live, checkpoint) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let text = format!(
                "{}: unreadable ({error}); the next start sets it aside and makes a new one from the journal, nothing is lost by that",
                from.display()
            );
            report.add(Severity::Damage, text);
            return None;
        }
    };
    let position = checkpoint.position;
    // As `serve` judges it: only an index that never saw a checkpoint may stand without the journal's segment.
    if position != recovery::BEGINNING && !files.iter().any(|file| file.number == position.segment) {
        let text = format!(
            "segment {}, where the index's last checkpoint is, is missing; restore it from a copy",
            position.segment
        );
        report.add(Severity::Damage, text);
        return None;
    }
    let replayed = recovery::replay(&index, live, files, position, checkpoint.epoch, REPLAY_BATCH_BYTES);
    match replayed.and_then(|_| view(&index)) {
        Ok(view) => Some(view),
        Err(error) => {
            report.add(Severity::Damage, format!("the journal after the last checkpoint: {error}"));
            None
        }
    }
}

fn view_of_journal(files: &[SegmentFile], scratch: &Scratch, report: &mut Report) -> Option<View> {
    let start = match files.first().map(|file| (file.number, file.header())) {
        Some((segment, Ok(header))) => {
            Position { segment, offset: SEGMENT_HEADER_BYTES, sequence: header.first_sequence }
        }
        _ => recovery::BEGINNING,
    };
    let made = Index::open(&scratch.0.join("journal"), SLED_CACHE_BYTES).and_then(|index| {
        recovery::replay(&index, LiveBytes::new(), files, start, 0, REPLAY_BATCH_BYTES)?;
        view(&index)
    });
    made.map_err(|error| report.add(Severity::Damage, format!("replaying the journal: {error}"))).ok()
}

fn compare(index: &View, journal: &View, report: &mut Report) {
    let advice = "move the index directory away: the next start makes a new one from the journal";
    let mut differences = Vec::new();
    for (key @ (queue, seq), (entry, state)) in &index.entries {
        let name = || format!("queue {} message {}", queue.0, seq.0);
        match journal.entries.get(key) {
            None => differences.push(format!("{}: in the index, but the journal has it as gone", name())),
            Some((other, _)) if other.location != entry.location => differences.push(format!(
                "{}: the index has it in segment {} at {}, the journal in segment {} at {}",
                name(),
                entry.location.segment,
                entry.location.offset,
                other.location.segment,
                other.location.offset
            )),
            Some((other, other_state)) if other != entry || other_state != state => differences.push(format!(
                "{}: delivery-count {} acquired-count {} in the index, {} and {} in the journal, or another state",
                name(),
                entry.delivery_count,
                entry.acquired_count,
                other.delivery_count,
                other.acquired_count
            )),
            Some(_) => {}
        }
    }
    for (queue, seq) in journal.entries.keys().filter(|key| !index.entries.contains_key(key)) {
        differences
            .push(format!("queue {} message {}: in the journal, but not in the index", queue.0, seq.0));
    }
    add_limited(report, differences, advice);
    ids::compare(&index.ids, &journal.ids, advice, report);
}

/// A message is in exactly one place: no two entries share their bytes.
fn check_places(view: &View, report: &mut Report) {
    let mut places: FxHashMap<Location, (QueueId, Seq)> = FxHashMap::default();
    let mut shared = Vec::new();
    for (&(queue, seq), (entry, _)) in &view.entries {
        if let Some((other, other_seq)) = places.insert(entry.location, (queue, seq)) {
            shared.push(format!(
                "queue {} message {} and queue {} message {} are one and the same: a message is in two places",
                other.0, other_seq.0, queue.0, seq.0
            ));
        }
    }
    add_limited(report, shared, "report this as a bug, with the data directory");
}

fn check_bodies(dir: &Path, files: &[SegmentFile], view: &View, report: &mut Report) {
    let segments = Segments::new(dir);
    for file in files {
        segments.set(file.number, file.bytes);
    }
    let mut unreadable = Vec::new();
    let entries: Vec<_> = view.entries.iter().collect();
    for some in entries.chunks(READ_AT_ONCE) {
        let locations: Vec<_> = some.iter().map(|(_, (entry, _))| entry.location).collect();
        for (((queue, seq), _), message) in some.iter().zip(reader::read(&segments, &locations)) {
            if let Err(error) = message {
                unreadable.push(format!("queue {} message {}: {error}", queue.0, seq.0));
            }
        }
    }
    add_limited(report, unreadable, "restore the segment from a copy; the message is lost otherwise");
}

fn add_limited(report: &mut Report, texts: Vec<String>, advice: &str) {
    let more = texts.len().saturating_sub(LISTED);
    for text in texts.into_iter().take(LISTED) {
        report.add(Severity::Damage, format!("{text}; {advice}"));
    }
    if more > 0 {
        report.add(Severity::Damage, format!("and {more} more of this kind"));
    }
}
