//! The committer: one thread that gathers what all queues submitted, appends it as one frame, syncs
//! once, and reports.
//!
//! Invariant: a batch is reported committed after its frame is on the disk (or nothing of it needed to
//! be), batches complete in the order of submission, refused ones too, and after the first failed write or
//! fsync nothing is ever reported committed again. Where there is no room, batches of new messages are
//! refused, and no others: those wait. Does not know the index; it tells the checkpointer what it committed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::super::backlog::Backlog;
use super::super::block::IndexEntry;
use super::super::checkpoint::Event;
use super::super::delta::Change;
use super::super::record::{self, PUT_OVERHEAD_BYTES, Packed};
use super::super::space::Space;
use super::super::{Notify, StoreError, StoreEvent};
use super::catalogue::Catalogue;
use super::gather::Cancelled;
use super::inbox::{Inbox, Job};
use super::layout::FRAME_HEADER_BYTES;
use super::log::{Log, LogError};
use super::meter::Meter;
use super::reader;
use super::segments::Segments;
use crate::broker::{Batch, Committed, EntryState, Location, Message, QueueId, Record, Seq};

/// Most bytes of messages written as one frame, unless one batch is larger: bounds memory, and how long a
/// small message waits behind large ones.
const GATHER_BYTES: usize = 4 << 20;
/// How often a full disk is looked at again.
const FULL_RECHECK: Duration = Duration::from_millis(200);
/// A frame buffer larger than this is not kept.
const KEPT_BUFFER_BYTES: usize = 8 << 20;

/// The committer thread's state.
pub(crate) struct Committer {
    pub inbox: Arc<Inbox>,
    pub log: Log,
    pub segments: Arc<Segments>,
    pub space: Space,
    pub reserve_bytes: u64,
    pub checkpointer: Sender<Event>,
    /// States that wait for it.
    pub backlog: Arc<Backlog>,
    pub notify: Arc<Notify>,
    /// What a new segment begins with.
    pub catalogue: Catalogue,
    pub gather: Gather,
    /// Counts for those who watch.
    pub meter: Arc<Meter>,
    pub full: bool,
    /// What is next is none of what is refused, and there is no room for it either.
    pub stuck: bool,
    pub poisoned: Option<StoreError>,
}

/// A frame being made, and memory kept for the next.
#[derive(Default)]
pub(crate) struct Gather {
    frame: Vec<u8>,
    records: u32,
    changes: Vec<Change>,
    /// Bytes of the states among them.
    state_bytes: u64,
    /// By batch; `None`: refused.
    committed: Vec<Option<Committed>>,
    cancelled: Cancelled,
}

impl Committer {
    /// Runs until the inbox is closed and empty.
    pub fn run(mut self) -> Result<(), StoreError> {
        let mut waiting = Vec::new();
        let mut pending = VecDeque::new();
        loop {
            let timeout = self.full.then_some(FULL_RECHECK);
            if (pending.is_empty() || self.stuck) && !self.inbox.take(&mut waiting, timeout) {
                break;
            }
            self.inbox.take_more(&mut waiting);
            pending.extend(waiting.drain(..));
            self.check_room();
            let chunk = self.next_chunk(&mut pending);
            let left = self.commit_chunk(chunk, false);
            self.stuck = !left.is_empty();
            left.into_iter().rev().for_each(|job| pending.push_front(job));
        }
        if self.stuck {
            let error = StoreError::Failed("the disk is full: not even settlements can be written".into());
            answer_all(pending.into(), &error);
            self.poisoned.get_or_insert(error);
        }
        self.log.close();
        self.poisoned.map_or(Ok(()), Err)
    }

    /// As much of what waits as is written at once. What was settled meanwhile is found in all that waits:
    /// publishers of such messages were answered already, so their bytes must not pile up here.
    fn next_chunk(&mut self, pending: &mut VecDeque<Job>) -> Vec<Job> {
        let cancelled = &mut self.gather.cancelled;
        cancelled.analyse(pending.iter().map(|(batch, _)| batch));
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while bytes < GATHER_BYTES
            && let Some(job) = pending.pop_front()
        {
            bytes += bytes_of(&job.0, cancelled);
            chunk.push(job);
        }
        chunk
    }

    /// Writes some batches and reports them; new messages are refused when there is no room, or when told to.
    /// Gives all back if there is no room for the rest either.
    #[must_use]
    fn commit_chunk(&mut self, jobs: Vec<Job>, refuse: bool) -> Vec<Job> {
        if let Some(error) = &self.poisoned {
            return answer_all(jobs, error);
        }
        let refuse = refuse || self.full;
        self.encode(&jobs, refuse);
        if self.gather.records == 0 {
            return self.report(jobs);
        }
        let payload = (self.gather.frame.len() - FRAME_HEADER_BYTES) as u64;
        let has_puts = !refuse && jobs.iter().any(|(batch, _)| has_put(batch));
        let place = self.log.place(payload, !has_puts, &mut self.space, || self.catalogue.encode());
        let (segment, offset) = match place {
            Ok(place) => place,
            Err(LogError::NoRoom) => {
                self.set_full(true);
                return if has_puts { self.commit_chunk(jobs, true) } else { jobs };
            }
            Err(LogError::TooLarge) if has_puts => return self.commit_chunk(jobs, true),
            Err(LogError::TooLarge) => {
                let error = format!("a batch of {payload} bytes is larger than a segment can be");
                return self.poison(jobs, StoreError::Failed(error.into()));
            }
            Err(LogError::Failed(error)) => return self.poison(jobs, error),
        };
        self.gather.move_to(segment, offset as u32);
        let bytes = self.gather.frame.len() as u64;
        let began = Instant::now();
        match self.log.append(&mut self.gather.frame, self.gather.records) {
            Ok(end) => {
                self.meter.committed(began.elapsed(), jobs.len());
                let changes = std::mem::take(&mut self.gather.changes);
                self.catalogue.note(&changes);
                // Without a checkpointer (it failed and said so) the journal is still the truth.
                let state_bytes = std::mem::take(&mut self.gather.state_bytes);
                self.backlog.add(state_bytes);
                let _ = self.checkpointer.send(Event::Committed { changes, end, bytes, state_bytes });
                let left = self.report(jobs);
                self.backlog.wait();
                left
            }
            Err(error) => self.poison(jobs, error),
        }
    }

    fn encode(&mut self, jobs: &[Job], refuse_puts: bool) {
        let gather = &mut self.gather;
        gather.begin();
        for (batch, _) in jobs {
            if refuse_puts && has_put(batch) {
                gather.committed.push(None);
            } else {
                gather.encode_batch(batch, &self.segments);
            }
        }
    }

    fn report(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        for ((_, done), committed) in jobs.into_iter().zip(self.gather.committed.drain(..)) {
            done(committed.ok_or_else(full_error));
        }
        Vec::new()
    }

    fn poison(&mut self, jobs: Vec<Job>, error: StoreError) -> Vec<Job> {
        self.poisoned = Some(error.clone());
        self.meter.set_poisoned();
        let none = answer_all(jobs, &error);
        (self.notify)(StoreEvent::Poisoned(error));
        none
    }

    fn check_room(&mut self) {
        let free = self.space.free_bytes();
        if !self.full && free < self.reserve_bytes {
            self.set_full(true);
        } else if self.full && free >= self.reserve_bytes + self.reserve_bytes / 4 + (1 << 20) {
            self.set_full(false);
        }
    }

    fn set_full(&mut self, full: bool) {
        if self.full != full {
            self.full = full;
            self.meter.set_full(full);
            (self.notify)(StoreEvent::Full(full));
        }
    }
}

impl Gather {
    fn begin(&mut self) {
        if self.frame.capacity() > KEPT_BUFFER_BYTES {
            self.frame = Vec::new();
        }
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_BYTES, 0);
        self.records = 0;
        self.state_bytes = 0;
        self.changes.clear();
        self.committed.clear();
    }

    fn encode_batch(&mut self, batch: &Batch, segments: &Segments) {
        let mut locations = Vec::new();
        let mut kept = read_kept(batch, segments).into_iter();
        for record in &batch.records {
            match record {
                Record::Put { queue, seq, message } => {
                    let location = (!self.cancelled.contains(*queue, *seq)).then(|| {
                        let (location, entry) = self.encode_put(*queue, *seq, message, false);
                        self.changes.push(Change::Put { queue: *queue, seq: *seq, entry });
                        location
                    });
                    locations.push(location);
                }
                Record::Keep { queue, seq, location, state } => {
                    let Some(Ok(message)) = kept.next() else {
                        // Unreadable: it stays where it is, and so does its segment.
                        locations.push(Some(*location));
                        continue;
                    };
                    let (location, entry) = self.encode_put(*queue, *seq, &message, true);
                    self.changes.push(Change::Keep { queue: *queue, seq: *seq, entry });
                    locations.push(Some(location));
                    if let Some(state) = state {
                        self.encode_state(*queue, *seq, state);
                    }
                }
                other => self.encode_small(other),
            }
        }
        let seen = batch.records.iter().any(|record| matches!(record, Record::Seen { .. })).then_some(0);
        self.committed.push(Some(Committed { ticket: batch.ticket, locations, seen }));
    }

    /// The location is relative to the frame until `move_to`.
    fn encode_put(
        &mut self,
        queue: QueueId,
        seq: Seq,
        message: &Message,
        keep: bool,
    ) -> (Location, IndexEntry) {
        let offset = self.frame.len() as u32;
        let len = message.payload().len() as u32 + PUT_OVERHEAD_BYTES;
        record::encode_put(&mut self.frame, queue, seq, message, keep);
        self.records += 1;
        let location = Location { segment: 0, offset, len };
        let entry = IndexEntry {
            location,
            delivery_count: message.delivery_count,
            acquired_count: 0,
            expires: message.expires,
            priority: message.priority.min(9),
            first_acquirer: message.first_acquirer,
            has_state: false,
        };
        (location, entry)
    }

    fn encode_small(&mut self, record: &Record) {
        match record {
            Record::Settle { queue, seq } if !self.cancelled.contains(*queue, *seq) => {
                record::encode_settle(&mut self.frame, *queue, *seq);
                self.changed(Change::Settle { queue: *queue, seq: *seq });
            }
            Record::Count { queue, seq, delivery_count, acquired_count }
                if !self.cancelled.contains(*queue, *seq) =>
            {
                let (queue, seq) = (*queue, *seq);
                let (delivery_count, acquired_count) = (*delivery_count, *acquired_count);
                record::encode_count(&mut self.frame, queue, seq, delivery_count, acquired_count);
                self.changed(Change::Count { queue, seq, delivery_count, acquired_count });
            }
            Record::State { queue, seq, state } if !self.cancelled.contains(*queue, *seq) => {
                self.encode_state(*queue, *seq, state);
            }
            Record::Move { from, to, state } => {
                let state = self.packed(state);
                record::encode_move(&mut self.frame, *from, *to, &state);
                self.changed(Change::Move { from: *from, to: *to, state });
            }
            Record::Seen { queue, ids, oldest } => {
                record::encode_seen(&mut self.frame, *queue, ids, *oldest);
                let (queue, ids, oldest) = (*queue, ids.clone(), *oldest);
                self.changed(Change::Seen { queue, ids, oldest, segment: 0 });
            }
            Record::Define(definition) => {
                record::encode_define(&mut self.frame, definition);
                self.changed(Change::Define(Arc::clone(definition)));
            }
            Record::Delete(queue) => {
                record::encode_delete(&mut self.frame, *queue);
                self.changed(Change::Delete(*queue));
            }
            _ => {}
        }
    }

    fn packed(&mut self, state: &EntryState) -> Packed {
        let packed = Packed::of(state);
        self.state_bytes += packed.bytes().len() as u64;
        packed
    }

    fn encode_state(&mut self, queue: QueueId, seq: Seq, state: &EntryState) {
        let state = self.packed(state);
        record::encode_state(&mut self.frame, queue, seq, &state);
        self.changed(Change::State { queue, seq, state });
    }

    fn changed(&mut self, change: Change) {
        self.records += 1;
        self.changes.push(change);
    }

    /// Makes locations relative to the frame real ones.
    fn move_to(&mut self, segment: u32, base: u32) {
        let place = |location: &mut Location| {
            // Only those written in this frame: one kept where it is has its segment already.
            if location.segment == 0 {
                *location = Location { segment, offset: base.saturating_add(location.offset), ..*location };
            }
        };
        for change in &mut self.changes {
            if let Change::Seen { segment: place, .. } = change {
                *place = segment;
            }
            if let Change::Put { entry, .. } | Change::Keep { entry, .. } = change {
                place(&mut entry.location);
            }
        }
        for done in self.committed.iter_mut().flatten() {
            done.seen = done.seen.map(|_| segment);
            done.locations.iter_mut().flatten().for_each(place);
        }
    }
}

fn read_kept(batch: &Batch, segments: &Segments) -> Vec<Result<Arc<Message>, StoreError>> {
    let kept = batch.records.iter().filter_map(|record| match record {
        Record::Keep { location, .. } => Some(*location),
        _ => None,
    });
    let locations: Vec<Location> = kept.collect();
    reader::read(segments, &locations)
}

fn bytes_of(batch: &Batch, cancelled: &mut Cancelled) -> usize {
    let of = |record: &Record| match record {
        Record::Put { queue, seq, .. } if cancelled.contains(*queue, *seq) => 0,
        Record::Put { message, .. } => message.payload().len() + PUT_OVERHEAD_BYTES as usize,
        Record::Keep { location, .. } => location.len as usize,
        Record::Seen { ids, .. } => ids.len() * record::SEEN_ID_BYTES,
        _ => 32,
    };
    batch.records.iter().map(of).sum()
}

/// Whether a batch may be refused: one with a new message has nothing but such and their ids.
fn has_put(batch: &Batch) -> bool {
    batch.records.iter().any(|record| matches!(record, Record::Put { .. }))
}

fn full_error() -> StoreError {
    StoreError::Full("free space is below the reserve".into())
}

fn answer_all(jobs: Vec<Job>, error: &StoreError) -> Vec<Job> {
    for (_, done) in jobs {
        done(Err(error.clone()));
    }
    Vec::new()
}
