//! The journal: the truth on this machine's disk, with the index beside it; the `Store` of `verdict serve`.
//!
//! Invariant: see `Store`. One thread commits (`writer`), one keeps the index (`checkpoint`); reading is
//! done by whoever asks. Deliberately has no rules of queues in it.

pub(crate) mod catalogue;
pub(crate) mod gather;
pub(crate) mod inbox;
pub(crate) mod layout;
pub(crate) mod log;
mod meter;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod segments;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::catalogue::Catalogue;
use self::inbox::Inbox;
use self::log::{Log, LogStart};
use self::meter::Meter;
use self::segments::Segments;
use self::writer::{Committer, Gather};
use super::backlog::{Backlog, Draining};
use super::checkpoint::{Checkpointer, Event, Progress, StateRead};
use super::fault::Fault;
use super::index::Index;
use super::lock::DirLock;
use super::record;
use super::recovery::{self, Opened};
use super::space::Space;
use super::stats::StoreStats;
use super::{Done, Notify, Recovered, Recovery, Store, StoreError};
use crate::broker::{Batch, EntryState, Location, Message, QueueId, Restored, Seq};

/// How a journal is kept. The defaults suit a disk of its own.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of a segment; smaller ones are used on small disks.
    pub segment_bytes: u64,
    /// Time between two checkpoints.
    pub checkpoint_interval: Duration,
    /// A checkpoint is made earlier when this much was written.
    pub checkpoint_bytes: u64,
    /// Free space below which new messages are refused; less on small disks.
    pub reserve_bytes: u64,
    /// Memory sled may use.
    pub sled_cache_bytes: u64,
    /// Whether commits are synced: only a benchmark says no.
    pub sync: bool,
    /// Failures on demand, for tests.
    pub fault: Fault,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_bytes: 32 << 20,
            reserve_bytes: 64 << 20,
            sled_cache_bytes: 16 << 20,
            sync: true,
            fault: Fault::default(),
        }
    }
}

/// The store on this machine's disk.
pub struct JournalStore {
    data: PathBuf,
    epoch: u64,
    index: Mutex<Option<Index>>,
    report: Recovery,
    segments: Arc<Segments>,
    inbox: Arc<Inbox>,
    events: Sender<Event>,
    meter: Arc<Meter>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    committer: JoinHandle<Result<(), StoreError>>,
    checkpointer: JoinHandle<()>,
    _lock: DirLock,
}

impl std::fmt::Debug for JournalStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JournalStore").field("data", &self.data).finish_non_exhaustive()
    }
}

impl JournalStore {
    /// Opens or creates the store in this directory, replaying what the last process left behind.
    ///
    /// # Errors
    /// `Locked` if another process has it open; `Corrupt` if the journal is damaged, with the file and
    /// what to do; `Failed` if the disk does.
    pub fn open(dir: &Path, options: Options, notify: Notify) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|error| super::failed("create", dir, &error))?;
        let lock = DirLock::acquire(dir)?;
        recovery::prepare(dir)?;
        let opened = recovery::open(dir, options.sled_cache_bytes, options.checkpoint_bytes)?;
        let segments = Arc::new(Segments::new(dir));
        for &(number, bytes) in &opened.segments {
            segments.set(number, bytes);
        }
        let inbox = Arc::new(Inbox::default());
        let (events, received) = channel();
        let notify = Arc::new(notify);
        let catalogue = catalogue(&opened.index)?;
        let backlog = Arc::new(Backlog::default());
        let checkpointer = Checkpointer {
            index: opened.index.clone(),
            segments: Arc::clone(&segments),
            notify: Arc::clone(&notify),
            interval: options.checkpoint_interval,
            interval_bytes: options.checkpoint_bytes,
            epoch: opened.epoch,
            live: opened.live.clone(),
            queues: catalogue.definitions.keys().copied().collect(),
            position: opened.end,
            progress: Progress::new(opened.end),
            backlog: Draining(Arc::clone(&backlog)),
        };
        let meter = Arc::new(Meter::default());
        let mut committer = committer(dir, &options, &opened, catalogue, &segments, &inbox, &events, notify);
        committer.meter = Arc::clone(&meter);
        committer.backlog = backlog;
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let spawn = |error: std::io::Error| StoreError::Failed(format!("start a thread: {error}").into());
        let checkpointer =
            thread("verdict-index").spawn(move || checkpointer.run(&received)).map_err(spawn)?;
        let committer = thread("verdict-commit").spawn(move || committer.run()).map_err(spawn)?;
        Ok(Self {
            data: dir.to_owned(),
            epoch: opened.epoch,
            index: Mutex::new(Some(opened.index)),
            report: opened.report,
            segments,
            inbox,
            events,
            meter,
            threads: Mutex::new(Some(Threads { committer, checkpointer, _lock: lock })),
        })
    }

    fn stop(&self) -> Result<(), StoreError> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(threads) = threads else { return Ok(()) };
        self.index.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inbox.close();
        let panicked = || StoreError::Failed("a thread of the store panicked".into());
        let committed = threads.committer.join().map_err(|_| panicked())?;
        let (reply, answer) = channel();
        let closed = match self.events.send(Event::Close { clean: committed.is_ok(), reply }) {
            Ok(()) => answer.recv().map_err(|_| panicked())?,
            Err(_) => Err(panicked()),
        };
        threads.checkpointer.join().map_err(|_| panicked())?;
        committed.and(closed)
    }
}

impl Drop for JournalStore {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the store did not stop cleanly");
        }
    }
}

impl Store for JournalStore {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn recover(&self, sink: &mut dyn FnMut(Recovered)) -> Result<Recovery, StoreError> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(index) = index else {
            return Err(StoreError::Failed("recovery was asked for twice".into()));
        };
        let mut report = self.report;
        for definition in index.definitions()? {
            report.queues += 1;
            sink(Recovered::Queue(Arc::new(definition)));
        }
        for (queue, next) in index.next_seqs()? {
            sink(Recovered::NextSeq(queue, next));
        }
        for (queue, seen) in index.seen_ids()? {
            sink(Recovered::Seen { queue, oldest: seen.oldest, ids: seen.restored() });
        }
        index.for_each(|queue, seq, entry| {
            let mut state = if entry.has_state { index.state(queue, seq)? } else { None };
            if let Some(state) = &mut state {
                (state.delivery_count, state.acquired_count) = (entry.delivery_count, entry.acquired_count);
            }
            report.messages += 1;
            sink(Recovered::Entry(Restored {
                queue,
                seq,
                location: entry.location,
                size: entry.size(),
                priority: entry.priority,
                first_acquirer: entry.first_acquirer,
                expires: entry.expires,
                delivery_count: entry.delivery_count,
                acquired_count: entry.acquired_count,
                state: state.map(Arc::new),
            }));
            Ok(())
        })?;
        Ok(report)
    }

    fn submit(&self, batch: Batch, done: Done) {
        if let Err((_, done)) = self.inbox.push((batch, done)) {
            done(Err(StoreError::Failed("the store is closed".into())));
        }
    }

    fn read(&self, locations: &[Location]) -> Vec<Result<Arc<Message>, StoreError>> {
        reader::read(&self.segments, locations)
    }

    fn read_states(&self, queue: QueueId, seqs: &[Seq]) -> Vec<Result<Option<Arc<EntryState>>, StoreError>> {
        let (reply, answer) = channel();
        // The checkpointer alone knows what is not in the index yet.
        let asked = self.events.send(Event::States { queue, seqs: seqs.to_vec(), reply });
        let closed = || StoreError::Failed("the store is closed".into());
        match asked.map_err(|_| closed()).and_then(|()| answer.recv().map_err(|_| closed())) {
            Ok(states) => states.into_iter().map(decoded).collect(),
            Err(error) => seqs.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn evacuated(&self, queue: QueueId, segment: u32) {
        // Without a checkpointer there is no compaction to tell.
        let _ = self.events.send(Event::Evacuated(queue, segment));
    }

    fn stats(&self) -> StoreStats {
        self.meter.read(self.segments.list().iter().map(|(_, bytes)| bytes).sum())
    }

    fn close(&self) -> Result<(), StoreError> {
        self.stop()
    }
}

fn decoded(read: StateRead) -> Result<Option<Arc<EntryState>>, StoreError> {
    let Some(bytes) = read? else { return Ok(None) };
    match record::state_from_bytes(&bytes) {
        Ok(state) => Ok(Some(Arc::new(state))),
        Err(why) => Err(StoreError::Corrupt(format!("a message's state: {why}").into())),
    }
}

fn catalogue(index: &Index) -> Result<Catalogue, StoreError> {
    let definitions = index.definitions()?.into_iter();
    Ok(Catalogue {
        definitions: definitions.map(|definition| (definition.id, Arc::new(definition))).collect(),
        next_seqs: index.next_seqs()?.into_iter().collect(),
    })
}

#[allow(clippy::too_many_arguments)] // The parts of one thread, put together in one place.
fn committer(
    dir: &Path,
    options: &Options,
    opened: &Opened,
    catalogue: Catalogue,
    segments: &Arc<Segments>,
    inbox: &Arc<Inbox>,
    events: &Sender<Event>,
    notify: Arc<Notify>,
) -> Committer {
    let space = Space::new(dir);
    // On a small disk the defaults would leave nothing to use.
    let reserve_bytes = options.reserve_bytes.min(space.total_bytes() / 8);
    let segment_bytes = options.segment_bytes.min((space.total_bytes() / 32).max(256 * 1024));
    let start = LogStart {
        number: opened.next_segment,
        sequence: opened.end.sequence,
        epoch: opened.epoch,
        segment_bytes,
        reserve_bytes,
        sync: options.sync,
        fault: options.fault.clone(),
    };
    Committer {
        inbox: Arc::clone(inbox),
        log: Log::new(dir, Arc::clone(segments), start),
        segments: Arc::clone(segments),
        space,
        reserve_bytes,
        checkpointer: events.clone(),
        backlog: Arc::default(),
        notify,
        catalogue,
        gather: Gather::default(),
        meter: Arc::default(),
        full: false,
        stuck: false,
        poisoned: None,
    }
}
