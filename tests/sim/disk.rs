//! The store of the simulation: what the records of `broker::record` mean, told a second time.
//!
//! Invariant checked here at every commit: a record is about a message the disk knows, or about one whose
//! `Put` was refused or left out, which it then ignores; but a `Keep` is never about such a one (the real
//! store would write it), and a message is in one place only. A full disk refuses batches with a `Put`,
//! whole, and nothing else. Commits gather what was submitted, take their time, and a crash may cut them
//! off before or after the report. Deliberately nothing of journal or index: those have their own tests
//! on a real disk.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use verdict::{
    broker::{
        Batch, Command, Committed, EntryState, Fingerprint, Loaded, Location, Message, QueueDefinition,
        QueueId, Record, Restored, SeenId, Seq, Wanted,
    },
    time::Millis,
};

use crate::{body, note, rng::Rng};

/// Bytes after which a new segment begins: small, so that runs have several.
const SEGMENT_BYTES: u32 = 16 * 1024;

type Place = (QueueId, Seq);

/// A message that is safe.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its number.
    pub id: u64,
    message: Arc<Message>,
    location: Location,
    /// Failed attempts.
    pub delivery_count: u32,
    acquired_count: u32,
    /// The newest whole state.
    pub state: Option<Arc<EntryState>>,
}

struct Submitted {
    node: QueueId,
    batch: Batch,
}

/// The disk.
#[derive(Default)]
pub struct Disk {
    /// What is safe.
    pub stored: BTreeMap<Place, Stored>,
    /// Where each message is, by its number.
    pub by_id: BTreeMap<u64, Place>,
    definitions: BTreeMap<QueueId, Arc<QueueDefinition>>,
    next_seq: BTreeMap<QueueId, u64>,
    bodies: BTreeMap<Location, Arc<Message>>,
    segment: u32,
    offset: u32,
    pending: VecDeque<Submitted>,
    gather: Option<(Millis, Vec<Submitted>)>,
    /// Keys of messages that came, by queue and number, and the segment each is in.
    seen: BTreeMap<(QueueId, u64), (SeenId, u32)>,
    /// Below which they are forgotten.
    oldest_seen: BTreeMap<QueueId, u64>,
    /// There is no room for new messages.
    pub full: bool,
    /// Places of messages whose `Put` was refused or left out, wherever later records say they went: what
    /// is recorded about them means nothing.
    excused: BTreeSet<Place>,
    /// Everything up to this segment was deleted.
    deleted_through: Option<u32>,
    /// Messages that were refused.
    pub refused_ids: BTreeSet<u64>,
    /// Batches that were refused, for the report of a run.
    pub refused: u64,
    /// Messages left out because they were settled before they were written.
    pub left_out: u64,
}

impl Disk {
    /// Takes a batch.
    pub fn submit(&mut self, node: QueueId, batch: Batch) {
        let put = batch.records.iter().any(|record| matches!(record, Record::Put { .. }));
        let fresh = |record: &Record| matches!(record, Record::Put { .. } | Record::Seen { .. });
        assert!(
            !put || batch.records.iter().all(fresh),
            "a batch with new messages has something else, which is lost if they are refused"
        );
        self.pending.push_back(Submitted { node, batch });
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.gather.is_none()
    }

    /// When the commit under way ends.
    pub fn next_due(&self) -> Option<Millis> {
        self.gather.as_ref().map(|(due, _)| *due)
    }

    /// Begins a commit, or ends one that is due and reports it.
    pub fn step(&mut self, now: Millis, slow_ms: u64, rng: &mut Rng) -> Option<Vec<(QueueId, Command)>> {
        if let Some((due, _)) = &self.gather {
            if *due > now {
                return None;
            }
            let (_, batches) = self.gather.take()?;
            note!(now, "disk: {} batches committed", batches.len());
            return Some(self.commit(batches, rng));
        }
        if self.pending.is_empty() {
            return None;
        }
        let most = self.pending.len() as u64;
        let batches: Vec<_> = self.pending.drain(..rng.range(1, most) as usize).collect();
        self.gather = Some((now.plus_ms(rng.range(0, slow_ms)), batches));
        Some(Vec::new())
    }

    fn commit(&mut self, batches: Vec<Submitted>, rng: &mut Rng) -> Vec<(QueueId, Command)> {
        let (full, leave_out) = (self.full, rng.one_in(2));
        // "All or none": a batch that brings new messages to a full disk is refused whole.
        let refused =
            |batch: &Batch| full && batch.records.iter().any(|record| matches!(record, Record::Put { .. }));
        let gone = if leave_out {
            settled_in(batches.iter().filter(|s| !refused(&s.batch)))
        } else {
            BTreeSet::new()
        };
        self.left_out += gone.len() as u64;
        let mut reports = Vec::new();
        for Submitted { node, batch } in batches {
            let ticket = batch.ticket;
            if refused(&batch) {
                self.refused += 1;
                for record in &batch.records {
                    // Anything else in the batch is lost with it: whatever relied on it will be noticed.
                    if let Record::Put { queue, seq, message } = record {
                        self.excused.insert((*queue, *seq));
                        self.refused_ids.insert(body::id_of(message.payload()));
                    }
                }
                reports.push((node, Command::CommitFailed { ticket }));
                continue;
            }
            let mut locations = Vec::new();
            let seen = batch.records.iter().any(|record| matches!(record, Record::Seen { .. }));
            let seen = seen.then_some(self.segment);
            for record in batch.records {
                self.apply(record, &gone, &mut locations);
            }
            reports.push((node, Command::Committed(Committed { ticket, locations, seen })));
        }
        reports
    }

    fn apply(&mut self, record: Record, gone: &BTreeSet<Place>, locations: &mut Vec<Option<Location>>) {
        match record {
            Record::Put { queue, seq, message } => {
                let place = (queue, seq);
                self.saw(place);
                if gone.contains(&place) {
                    self.excused.insert(place);
                    return locations.push(None);
                }
                locations.push(Some(self.put(place, message)));
            }
            Record::Settle { queue, seq } => {
                if let Some(stored) = self.known(queue, seq, "Settle") {
                    let id = stored.id;
                    self.stored.remove(&(queue, seq));
                    self.by_id.remove(&id);
                }
            }
            Record::Count { queue, seq, delivery_count, acquired_count } => {
                if let Some(stored) = self.known(queue, seq, "Count") {
                    (stored.delivery_count, stored.acquired_count) = (delivery_count, acquired_count);
                }
            }
            Record::State { queue, seq, state } => {
                if let Some(stored) = self.known(queue, seq, "State") {
                    stored.set(state);
                }
            }
            Record::Move { from, to, state } => {
                self.saw(from);
                self.saw(to);
                if self.known(from.0, from.1, "Move").is_none() {
                    self.excused.insert(to);
                    return;
                }
                let mut stored = self.stored.remove(&from).expect("known");
                stored.set(state);
                self.by_id.insert(stored.id, to);
                let id = stored.id;
                assert!(
                    self.stored.insert(to, stored).is_none(),
                    "message {id} moved to {to:?}, which was taken"
                );
            }
            Record::Keep { queue, seq, location, state } => {
                locations.push(self.keep((queue, seq), location, state));
            }
            Record::Seen { queue, ids, oldest } => self.note_seen(queue, &ids, oldest),
            Record::Define(definition) => {
                self.definitions.insert(definition.id, definition);
            }
            Record::Delete(queue) => {
                self.definitions.remove(&queue.main());
                self.stored.retain(|(at, _), _| at.main() != queue.main());
                self.by_id.retain(|_, (at, _)| at.main() != queue.main());
            }
        }
    }

    fn note_seen(&mut self, queue: QueueId, ids: &[SeenId], oldest: u64) {
        let known = self.oldest_seen.entry(queue).or_insert(0);
        assert!(oldest >= *known, "what is forgotten of {queue:?} shrank from {known} to {oldest}");
        *known = oldest;
        assert!(ids.iter().all(|id| id.number >= oldest), "keys are written that are forgotten");
        let segment = self.segment;
        self.seen.extend(ids.iter().map(|id| ((queue, id.number), (*id, segment))));
        self.seen.retain(|(at, number), _| *at != queue || *number >= oldest);
    }

    /// A message's bytes.
    pub fn body(&self, location: &Location) -> Option<Arc<Message>> {
        self.bodies.get(location).cloned()
    }

    /// Whether a key is safe.
    pub fn remembers(&self, key: &Fingerprint) -> bool {
        self.seen.values().any(|(id, _)| id.key == *key)
    }

    /// The keys a queue remembers, found at recovery.
    pub fn seen(&self, queue: QueueId) -> (u64, Vec<(SeenId, u32)>) {
        let ids = self.seen.range((queue, 0)..=(queue, u64::MAX)).map(|(_, seen)| *seen).collect();
        (self.oldest_seen.get(&queue).copied().unwrap_or(0), ids)
    }

    fn put(&mut self, place: Place, message: Arc<Message>) -> Location {
        let id = body::id_of(message.payload());
        // A store may keep only what is forwarded.
        let kept = Arc::new(Message { bytes: message.payload().into(), from: 0, ..(*message).clone() });
        let location = self.write(&kept);
        let delivery_count = message.delivery_count;
        let stored = Stored { id, message: kept, location, delivery_count, acquired_count: 0, state: None };
        let elsewhere = self.by_id.insert(id, place);
        assert!(elsewhere.is_none(), "message {id} was put at {place:?} but is at {elsewhere:?} already");
        assert!(self.stored.insert(place, stored).is_none(), "{place:?} was put twice (message {id})");
        location
    }

    fn keep(&mut self, place: Place, location: Location, state: Option<Arc<EntryState>>) -> Option<Location> {
        let found = self.stored.get(&place).map(|stored| Arc::clone(&stored.message));
        let message = found.unwrap_or_else(|| {
            panic!("rule 4 broken: Keep of {place:?}, which the store does not know and would write now")
        });
        assert!(
            self.bodies.contains_key(&location),
            "Keep of {place:?} names {location:?}, where nothing is"
        );
        let location = self.write(&message);
        let stored = self.stored.get_mut(&place)?;
        stored.location = location;
        if let Some(state) = state {
            stored.set(state);
        }
        Some(location)
    }

    fn write(&mut self, message: &Arc<Message>) -> Location {
        let len = message.bytes.len() as u32 + 64;
        if self.offset + len > SEGMENT_BYTES {
            self.segment += 1;
            self.offset = 0;
        }
        let location = Location { segment: self.segment, offset: self.offset, len };
        self.offset += len;
        self.bodies.insert(location, Arc::clone(message));
        location
    }

    fn known(&mut self, queue: QueueId, seq: Seq, what: &str) -> Option<&mut Stored> {
        let found = self.stored.get_mut(&(queue, seq));
        let excused = self.excused.contains(&(queue, seq));
        assert!(
            found.is_some() || excused,
            "{what} record about {queue:?} {seq:?}, which the store does not know"
        );
        found
    }

    fn saw(&mut self, (queue, seq): Place) {
        let next = self.next_seq.entry(queue).or_insert(1);
        *next = (*next).max(seq.0 + 1);
    }

    /// Reads a message back, and its state as committed.
    pub fn load(&self, queue: QueueId, Wanted { seq, location, state }: Wanted) -> Loaded {
        let stored = self.stored.get(&(queue, seq)).filter(|_| state);
        let state = stored.and_then(|stored| stored.state.clone());
        Loaded { seq, body: self.bodies.get(&location).cloned(), state }
    }

    /// The newest segment that nothing is written to any more, if it is not deleted yet.
    pub fn sealed(&self) -> Option<u32> {
        let newest = self.segment.checked_sub(1)?;
        self.deleted_through.is_none_or(|through| through < newest).then_some(newest)
    }

    /// All nodes say that they have nothing up to this segment: it is deleted.
    pub fn delete_through(&mut self, segment: u32) {
        for (place, stored) in &self.stored {
            let id = stored.id;
            assert!(
                stored.location.segment > segment,
                "message {id} at {place:?} is in segment {}, but all up to {segment} were said to be evacuated",
                stored.location.segment
            );
        }
        let left = self.seen.iter().find(|(_, (_, at))| *at <= segment);
        assert!(left.is_none(), "keys are in segments up to {segment}, said to be evacuated: {left:?}");
        self.bodies.retain(|location, _| location.segment > segment);
        self.deleted_through = Some(segment);
    }

    /// The process dies. What was being written may or may not be there.
    pub fn crash(&mut self, written: bool, rng: &mut Rng) {
        let gather = self.gather.take();
        if let (Some((_, batches)), true) = (gather, written) {
            self.commit(batches, rng);
        }
        self.pending.clear();
        self.excused.clear();
        self.full = false;
        // A new segment begins after a restart.
        self.segment += 1;
        self.offset = 0;
    }

    /// The queues found at recovery.
    pub fn definitions(&self) -> Vec<QueueDefinition> {
        self.definitions.values().map(|definition| (**definition).clone()).collect()
    }

    /// The sequence number a queue goes on with.
    pub fn next_seq(&self, queue: QueueId) -> u64 {
        self.next_seq.get(&queue).copied().unwrap_or(1)
    }

    /// The messages of a node found at recovery, in order.
    pub fn restored(&self, node: QueueId) -> Vec<Restored> {
        let of_node = self.stored.iter().filter(|((queue, _), _)| queue.main() == node);
        of_node
            .map(|((queue, seq), stored)| Restored {
                queue: *queue,
                seq: *seq,
                location: stored.location,
                size: stored.message.bytes.len() as u32,
                priority: stored.message.priority,
                first_acquirer: stored.message.first_acquirer,
                expires: stored.message.expires,
                delivery_count: stored.delivery_count,
                acquired_count: stored.acquired_count,
                state: stored.state.as_ref().map(|state| {
                    let (delivery_count, acquired_count) = (stored.delivery_count, stored.acquired_count);
                    Arc::new(EntryState { delivery_count, acquired_count, ..(**state).clone() })
                }),
            })
            .collect()
    }
}

impl Stored {
    fn set(&mut self, state: Arc<EntryState>) {
        self.delivery_count = state.delivery_count;
        self.acquired_count = state.acquired_count;
        self.state = Some(state);
    }
}

/// Messages whose `Put` and `Settle` are in one gather, in the same place: they need not be written.
fn settled_in<'a>(batches: impl Iterator<Item = &'a Submitted>) -> BTreeSet<Place> {
    let (mut put, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for record in batches.flat_map(|submitted| &submitted.batch.records) {
        match record {
            Record::Put { queue, seq, .. } => {
                put.insert((*queue, *seq));
            }
            Record::Move { from, .. } => {
                put.remove(from);
            }
            Record::Settle { queue, seq } if put.contains(&(*queue, *seq)) => {
                gone.insert((*queue, *seq));
            }
            _ => {}
        }
    }
    gone
}
