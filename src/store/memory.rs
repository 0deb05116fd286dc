//! A store in memory, for tests and the simulator, with the failures a disk has.
//!
//! Invariant: it keeps the `Store` contract: batches commit in order, all or nothing, and `crash` leaves
//! exactly what was committed. No thread and no clock: in manual mode nothing happens until `commit` is
//! called, so that a simulation decides. Deliberately not fast.

mod gather;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::gather::cancelled;
use super::seen::SeenIds;
use super::{Done, Notify, Recovered, Recovery, Store, StoreError, StoreEvent};
use crate::broker::{
    Batch, Committed, EntryState, Location, Message, QueueDefinition, QueueId, Record, Restored, Seq,
};

/// Messages that make a segment, for `evacuate`.
const SEGMENT_MESSAGES: u32 = 64;

/// A store in memory.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    notify: Notify,
}

struct Inner {
    epoch: u64,
    manual: bool,
    full: bool,
    failed: Option<StoreError>,
    waiting: VecDeque<(Batch, Done)>,
    state: State,
}

/// What is committed. Also the model the real store is compared with.
#[derive(Debug, Clone, Default)]
pub struct State {
    definitions: BTreeMap<QueueId, Arc<QueueDefinition>>,
    next_seqs: BTreeMap<QueueId, u64>,
    entries: BTreeMap<(QueueId, Seq), Entry>,
    bodies: BTreeMap<u32, Arc<Message>>,
    next_body: u32,
    seen: BTreeMap<QueueId, SeenIds>,
}

#[derive(Debug, Clone)]
struct Entry {
    body: u32,
    delivery_count: u32,
    acquired_count: u32,
    state: Option<Arc<EntryState>>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty one that commits at once.
    #[must_use]
    pub fn new(notify: Notify) -> Self {
        Self::with_state(State::default(), 1, notify)
    }

    /// One that begins with what another had committed.
    #[must_use]
    pub fn with_state(state: State, epoch: u64, notify: Notify) -> Self {
        let inner =
            Inner { epoch, manual: false, full: false, failed: None, waiting: VecDeque::new(), state };
        Self { inner: Mutex::new(inner), notify }
    }

    /// From now on batches wait for `commit`.
    pub fn set_manual(&self, manual: bool) {
        self.lock().manual = manual;
    }

    /// How many batches wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Commits the oldest `count` batches as one gather: what is put and settled within it is not written.
    pub fn commit(&self, count: usize) {
        let (jobs, outcome) = {
            let mut inner = self.lock();
            let count = count.min(inner.waiting.len());
            let jobs: Vec<_> = inner.waiting.drain(..count).collect();
            let outcome = inner.commit(&jobs);
            (jobs, outcome)
        };
        for ((_, done), outcome) in jobs.into_iter().zip(outcome) {
            done(outcome);
        }
    }

    /// The disk is full, or has room again; the notification is sent.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
        (self.notify)(StoreEvent::Full(full));
    }

    /// The next commit fails, and all after it; the notification is sent.
    pub fn fail(&self, why: &str) {
        let error = StoreError::Failed(why.into());
        self.lock().failed = Some(error.clone());
        (self.notify)(StoreEvent::Poisoned(error));
    }

    /// Asks for the segment to be emptied, as compaction would.
    pub fn evacuate(&self, segment: u32) {
        (self.notify)(StoreEvent::Evacuate { segment });
    }

    /// What a crash now would leave; batches that wait are lost, their callers never hear of them.
    #[must_use]
    pub fn crash(&self) -> State {
        let mut inner = self.lock();
        inner.waiting.clear();
        inner.failed = Some(StoreError::Failed("crashed".into()));
        inner.state.clone()
    }

    /// The same and a new store on it.
    #[must_use]
    pub fn restart(&self, notify: Notify) -> Self {
        let epoch = self.lock().epoch + 1;
        Self::with_state(self.crash(), epoch, notify)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    fn recover(&self, sink: &mut dyn FnMut(Recovered)) -> Result<Recovery, StoreError> {
        let state = self.lock().state.clone();
        Ok(state.recover(sink))
    }

    fn submit(&self, batch: Batch, done: Done) {
        let manual = {
            let mut inner = self.lock();
            inner.waiting.push_back((batch, done));
            inner.manual
        };
        if !manual {
            self.commit(1);
        }
    }

    fn read(&self, locations: &[Location]) -> Vec<Result<Arc<Message>, StoreError>> {
        let inner = self.lock();
        let read = |location: &Location| inner.state.body(*location).cloned();
        let missing = || StoreError::Corrupt("no message there".into());
        locations.iter().map(|location| read(location).ok_or_else(missing)).collect()
    }

    fn read_states(&self, queue: QueueId, seqs: &[Seq]) -> Vec<Result<Option<Arc<EntryState>>, StoreError>> {
        let inner = self.lock();
        let read = |seq: &Seq| inner.state.entries.get(&(queue, *seq)).and_then(|entry| entry.state.clone());
        seqs.iter().map(|seq| Ok(read(seq))).collect()
    }

    fn evacuated(&self, queue: QueueId, segment: u32) {
        self.lock().state.forget_unused(queue, segment);
    }

    fn close(&self) -> Result<(), StoreError> {
        self.commit(usize::MAX);
        self.lock().failed.clone().map_or(Ok(()), Err)
    }
}

impl Inner {
    fn commit(&mut self, jobs: &[(Batch, Done)]) -> Vec<Result<Committed, StoreError>> {
        if let Some(error) = &self.failed {
            return jobs.iter().map(|_| Err(error.clone())).collect();
        }
        let refused = |batch: &Batch| {
            self.full && batch.records.iter().any(|record| matches!(record, Record::Put { .. }))
        };
        let taken = || jobs.iter().map(|(batch, _)| batch).filter(|batch| !refused(batch));
        let cancelled = cancelled(taken());
        let results = jobs.iter().map(|(batch, _)| {
            if refused(batch) {
                return Err(StoreError::Full("the disk is full".into()));
            }
            Ok((batch.ticket, &batch.records))
        });
        let results: Vec<_> = results.collect();
        let state = &mut self.state;
        let apply = |(ticket, records): (_, &Vec<Record>)| {
            let mut locations = Vec::new();
            for record in records {
                let place = state.apply(record, &cancelled);
                if matches!(record, Record::Put { .. } | Record::Keep { .. }) {
                    locations.push(place);
                }
            }
            let seen = records.iter().any(|record| matches!(record, Record::Seen { .. }));
            Committed { ticket, locations, seen: seen.then(|| state.segment()) }
        };
        let mut apply = apply;
        results.into_iter().map(|result| result.map(&mut apply)).collect()
    }
}

impl State {
    /// Applies one record on its own, as the model of a journal; where a `Keep`'s bytes lie does not matter.
    #[cfg(test)]
    pub(crate) fn apply_ignoring_bytes(&mut self, record: &Record) {
        if let Record::Keep { queue, seq, state: Some(state), .. } = record {
            let (queue, seq, state) = (*queue, *seq, Arc::clone(state));
            self.apply(&Record::State { queue, seq, state }, &BTreeSet::new());
        } else if !matches!(record, Record::Keep { .. }) {
            self.apply(record, &BTreeSet::new());
        }
    }

    /// Applies a committed record; gives the location of a put or keep.
    fn apply(&mut self, record: &Record, cancelled: &BTreeSet<(QueueId, Seq)>) -> Option<Location> {
        match record {
            Record::Put { queue, seq, message } => {
                if cancelled.contains(&(*queue, *seq)) {
                    return None;
                }
                self.raise(*queue, seq.0);
                let body = self.store(message);
                let entry =
                    Entry { body, delivery_count: message.delivery_count, acquired_count: 0, state: None };
                self.entries.insert((*queue, *seq), entry);
                self.location(body)
            }
            Record::Keep { queue, seq, location, state } => {
                self.keep((*queue, *seq), *location, state.as_ref())
            }
            Record::Settle { queue, seq } => {
                self.entries.remove(&(*queue, *seq));
                None
            }
            Record::Count { queue, seq, delivery_count, acquired_count } => {
                if let Some(entry) = self.entries.get_mut(&(*queue, *seq)) {
                    (entry.delivery_count, entry.acquired_count) = (*delivery_count, *acquired_count);
                }
                None
            }
            Record::State { queue, seq, state } => {
                if let Some(entry) = self.entries.get_mut(&(*queue, *seq)) {
                    entry.set(state);
                }
                None
            }
            Record::Move { from, to, state } => {
                self.raise(from.0, from.1.0);
                self.raise(to.0, to.1.0);
                if let Some(mut entry) = self.entries.remove(from) {
                    entry.set(state);
                    self.entries.insert(*to, entry);
                }
                None
            }
            Record::Seen { queue, ids, oldest } => {
                let segment = self.segment();
                self.seen.entry(*queue).or_default().note(ids, *oldest, segment);
                None
            }
            Record::Define(definition) => {
                self.definitions.insert(definition.id, Arc::clone(definition));
                None
            }
            Record::Delete(queue) => {
                self.delete(*queue);
                None
            }
        }
    }

    fn keep(
        &mut self,
        key: (QueueId, Seq),
        old: Location,
        state: Option<&Arc<EntryState>>,
    ) -> Option<Location> {
        let message = Arc::clone(self.body(old)?);
        let body = self.store(&message);
        let fresh = Entry { body, delivery_count: message.delivery_count, acquired_count: 0, state: None };
        let entry = self.entries.entry(key).or_insert(fresh);
        entry.body = body;
        if let Some(state) = state {
            entry.set(state);
        }
        self.location(body)
    }

    fn store(&mut self, message: &Arc<Message>) -> u32 {
        let body = self.next_body;
        self.next_body += 1;
        self.bodies.insert(body, Arc::clone(message));
        body
    }

    /// Where the next is written.
    fn segment(&self) -> u32 {
        self.next_body / SEGMENT_MESSAGES + 1
    }

    fn location(&self, body: u32) -> Option<Location> {
        let len = self.bodies.get(&body)?.bytes.len() as u32;
        Some(Location { segment: body / SEGMENT_MESSAGES + 1, offset: body, len })
    }

    fn body(&self, location: Location) -> Option<&Arc<Message>> {
        self.bodies.get(&location.offset)
    }

    fn raise(&mut self, queue: QueueId, seq: u64) {
        let next = self.next_seqs.entry(queue).or_default();
        *next = (*next).max(seq.saturating_add(1));
    }

    fn delete(&mut self, queue: QueueId) {
        let trees = if queue.is_dead_letter() { [queue, queue] } else { [queue, queue.dead_letter()] };
        for tree in trees {
            self.definitions.remove(&tree);
            self.next_seqs.remove(&tree);
            self.seen.remove(&tree);
            self.entries.retain(|(queue, _), _| *queue != tree);
        }
    }

    /// After a node moved out of a segment: bodies nobody names any more go, as a deleted segment's do.
    fn forget_unused(&mut self, _queue: QueueId, segment: u32) {
        let used: BTreeSet<u32> = self.entries.values().map(|entry| entry.body).collect();
        self.bodies.retain(|body, _| body / SEGMENT_MESSAGES + 1 > segment || used.contains(body));
    }

    /// Hands everything out as recovery does.
    pub fn recover(&self, sink: &mut dyn FnMut(Recovered)) -> Recovery {
        for definition in self.definitions.values() {
            sink(Recovered::Queue(Arc::clone(definition)));
        }
        for (&queue, &next) in &self.next_seqs {
            sink(Recovered::NextSeq(queue, next));
        }
        for (&queue, seen) in &self.seen {
            sink(Recovered::Seen { queue, oldest: seen.oldest, ids: seen.restored() });
        }
        let mut messages = 0;
        for (&(queue, seq), entry) in &self.entries {
            if let Some(restored) = self.restored(queue, seq, entry) {
                messages += 1;
                sink(Recovered::Entry(restored));
            }
        }
        Recovery { queues: self.definitions.len() as u64, messages, ..Recovery::default() }
    }

    fn restored(&self, queue: QueueId, seq: Seq, entry: &Entry) -> Option<Restored> {
        let message = self.bodies.get(&entry.body)?;
        let state = entry.state.as_ref().map(|state| {
            let (delivery_count, acquired_count) = (entry.delivery_count, entry.acquired_count);
            Arc::new(EntryState { delivery_count, acquired_count, ..(**state).clone() })
        });
        Some(Restored {
            queue,
            seq,
            location: self.location(entry.body)?,
            size: message.bytes.len() as u32,
            priority: message.priority.min(9),
            first_acquirer: message.first_acquirer,
            expires: message.expires,
            delivery_count: entry.delivery_count,
            acquired_count: entry.acquired_count,
            state,
        })
    }
}

impl Entry {
    fn set(&mut self, state: &Arc<EntryState>) {
        (self.delivery_count, self.acquired_count) = (state.delivery_count, state.acquired_count);
        self.state = Some(Arc::clone(state));
    }
}
