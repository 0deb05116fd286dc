//! The checkpointer: a thread that collects what was committed and now and then writes the sum of it
//! to the index.
//!
//! Invariant: it never holds up a commit, and what it writes is never ahead of the journal. When it
//! falls behind, changes merge in memory; nothing is lost, the next start replays a little more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::backlog::Draining;
use super::compaction::Compaction;
use super::delta::{Change, Delta};
use super::index::{Checkpoint, Index, LiveBytes};
use super::journal::layout::Position;
use super::journal::segments::Segments;
use super::{Notify, StoreError, StoreEvent};
use crate::broker::{QueueId, Seq};
use crate::limits::STATES_BACKLOG_BYTES;

/// At least this between two checkpoints, however much is written: each costs several syncs.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);

/// A message's state as its bytes, if it has one: who asked decodes it, and not this thread, which has others to serve.
pub(crate) type StateRead = Result<Option<Arc<[u8]>>, StoreError>;

/// What the checkpointer is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame is safe.
    Committed { changes: Vec<Change>, end: Position, bytes: u64, state_bytes: u64 },
    /// A node answered `Evacuate`.
    Evacuated(QueueId, u32),
    /// Somebody wants the states of these messages.
    States { queue: QueueId, seqs: Vec<Seq>, reply: Sender<Vec<StateRead>> },
    /// Everything was committed (or, not `clean`, could not be): a last checkpoint, and stop.
    Close { clean: bool, reply: Sender<Result<(), StoreError>> },
}

/// The checkpointer's state.
pub(crate) struct Checkpointer {
    pub index: Index,
    pub segments: Arc<Segments>,
    pub notify: Arc<Notify>,
    pub interval: Duration,
    pub interval_bytes: u64,
    pub epoch: u64,
    pub live: LiveBytes,
    pub queues: BTreeSet<QueueId>,
    pub position: Position,
    pub progress: Progress,
    pub backlog: Draining,
}

/// What happened since the last checkpoint.
pub(crate) struct Progress {
    delta: Delta,
    /// What the index has on disk.
    written: Position,
    /// The segment the checkpoint before the last had reached.
    covered: u32,
    bytes: u64,
    /// Bytes of states in the delta, to be taken off the backlog.
    state_bytes: u64,
    /// When the first change after the last checkpoint came.
    since: Option<Instant>,
    last: Instant,
    compaction: Compaction,
    failed: Option<StoreError>,
}

impl Progress {
    /// Nothing since this checkpoint.
    pub fn new(written: Position) -> Self {
        Self {
            delta: Delta::new(false),
            written,
            covered: 0,
            bytes: 0,
            state_bytes: 0,
            since: None,
            last: Instant::now(),
            compaction: Compaction::default(),
            failed: None,
        }
    }
}

impl Checkpointer {
    /// Runs until told to close, or until nobody is left to tell.
    pub fn run(mut self, events: &Receiver<Event>) {
        loop {
            let event = match self.due_in() {
                Some(wait) if wait.is_zero() => Err(RecvTimeoutError::Timeout),
                Some(wait) => events.recv_timeout(wait),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Committed { changes, end, bytes, state_bytes }) => {
                    self.progress.state_bytes += state_bytes;
                    self.committed(changes, end, bytes);
                }
                Ok(Event::Evacuated(queue, segment)) => self.progress.compaction.evacuated(queue, segment),
                Ok(Event::States { queue, seqs, reply }) => {
                    // Who asked may be gone.
                    let _ = reply.send(self.states(queue, &seqs));
                }
                Ok(Event::Close { clean, reply }) => {
                    self.checkpoint(clean);
                    // The closer may have given up waiting; the checkpoint is as good.
                    let _ = reply.send(self.progress.failed.take().map_or(Ok(()), Err));
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.checkpoint(false);
                    self.compact();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn due_in(&self) -> Option<Duration> {
        let since = self.progress.since?;
        if self.progress.state_bytes > STATES_BACKLOG_BYTES / 2 {
            return Some(Duration::ZERO);
        }
        let by_time = self.interval.saturating_sub(since.elapsed());
        if self.progress.bytes < self.interval_bytes {
            return Some(by_time);
        }
        Some(by_time.min(SHORTEST_INTERVAL.saturating_sub(self.progress.last.elapsed())))
    }

    fn committed(&mut self, changes: Vec<Change>, end: Position, bytes: u64) {
        for change in changes {
            if self.progress.delta.conflicts(&change) {
                // Everything before this change, without claiming a position within its frame.
                self.apply(self.position, false);
            }
            match &change {
                Change::Define(definition) => {
                    self.queues.insert(definition.id);
                }
                Change::Delete(queue) => {
                    self.queues.remove(queue);
                    self.progress.compaction.evacuated(*queue, u32::MAX);
                }
                _ => {}
            }
            self.progress.delta.merge(change);
        }
        self.position = end;
        self.progress.bytes += bytes;
        self.progress.since.get_or_insert_with(Instant::now);
        if self.progress.delta.has_deletions() {
            // So that a replay never meets a deletion again after the number was given to a new queue.
            self.checkpoint(false);
        }
    }

    /// States as of the newest commit we were told of: what is not in the index yet is in the delta.
    fn states(&self, queue: QueueId, seqs: &[Seq]) -> Vec<StateRead> {
        let read = |&seq: &Seq| match self.progress.delta.state(queue, seq) {
            Some(state) => Ok(Some(Arc::clone(state.shared()))),
            None => self.index.state_bytes(queue, seq),
        };
        seqs.iter().map(read).collect()
    }

    fn checkpoint(&mut self, clean: bool) {
        let before = self.progress.written;
        if clean || before != self.position || !self.progress.delta.is_empty() {
            self.apply(self.position, clean);
        } else {
            self.progress.since = None;
        }
        // Segments are kept one checkpoint longer than the index needs them.
        self.progress.covered = before.segment;
    }

    fn apply(&mut self, position: Position, clean: bool) {
        let progress = &mut self.progress;
        let delta = std::mem::replace(&mut progress.delta, Delta::new(false));
        progress.bytes = 0;
        progress.since = None;
        progress.last = Instant::now();
        let state_bytes = std::mem::take(&mut progress.state_bytes);
        if progress.failed.is_some() {
            // After an error the handle is dead: collecting goes on being cheap, writing is over.
            self.backlog.take(state_bytes);
            return;
        }
        let checkpoint = Checkpoint { position, epoch: self.epoch, clean };
        let applied = self.index.apply(delta, &mut self.live, checkpoint);
        self.backlog.take(state_bytes);
        match applied {
            Ok(()) => progress.written = position,
            Err(error) => {
                progress.failed = Some(error.clone());
                (self.notify)(StoreEvent::Poisoned(error));
            }
        }
    }

    fn compact(&mut self) {
        if self.progress.failed.is_some() {
            return;
        }
        let segments = self.segments.list();
        let covered = self.progress.covered;
        let plan = self.progress.compaction.plan(&segments, &self.live, covered, self.queues.iter().copied());
        let mut result = Ok(());
        for &number in &plan.delete {
            // Strictly in order: a younger one must not go while an older one is still there.
            result = result.and_then(|()| self.segments.delete(number));
            result = result.and_then(|()| self.segments.sync_dir());
        }
        if let Err(error) = result {
            tracing::warn!(%error, "an old journal segment could not be deleted; trying again at the next start");
        }
        if !plan.delete.is_empty() || covered < self.progress.written.segment {
            // More can go after the next checkpoint, even if nothing happens until then.
            self.progress.since.get_or_insert_with(Instant::now);
        }
        if let Some(segment) = plan.evacuate {
            (self.notify)(StoreEvent::Evacuate { segment });
        }
    }
}
