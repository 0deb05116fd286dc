//! Durability: the `Store` trait and what its implementations share.
//!
//! Invariant: what a `submit` reported as committed is there after any crash; what it did not report
//! may or may not be. All state that must survive goes through `submit`; everything else an
//! implementation keeps (sled) is a cache that can be rebuilt. Does not know queues' rules.

#[cfg(feature = "server")]
mod backlog;
#[cfg(feature = "server")]
mod block;
#[cfg(feature = "server")]
pub mod check;
#[cfg(feature = "server")]
mod checkpoint;
#[cfg(feature = "server")]
mod compaction;
#[cfg(feature = "server")]
mod delta;
#[cfg(feature = "server")]
pub mod fault;
#[cfg(feature = "server")]
mod index;
#[cfg(feature = "server")]
pub mod journal;
#[cfg(feature = "server")]
mod lock;
mod memory;
pub mod record;
#[cfg(feature = "server")]
mod recovery;
mod seen;
#[cfg(feature = "server")]
mod space;
mod stats;

use std::sync::Arc;

#[cfg(feature = "server")]
pub use self::fault::Fault;
#[cfg(feature = "server")]
pub use self::journal::{JournalStore, Options};
#[cfg(feature = "server")]
pub use self::lock::holder;
pub use self::memory::{MemoryStore, State};
pub use self::stats::{COMMIT_BOUNDS_MICROS, StoreStats};
use crate::broker::{
    Batch, Committed, EntryState, Loaded, Location, Message, QueueDefinition, QueueId, Restored, SeenId, Seq,
    Wanted,
};

/// A place for records that survives crashes; one shard of it, owned by this process.
///
/// Written so that a replicated log can stand behind it: ownership can be lost (`Fenced`), commits are
/// reported asynchronously and in order, and reads are by opaque location.
pub trait Store: Send + Sync + 'static {
    /// The epoch of our ownership, growing with every acquisition.
    fn epoch(&self) -> u64;

    /// Everything that survived, once, before the first `submit`. Blocks; `sink` sees all definitions
    /// before any message, and each queue's messages in order of `Seq`.
    ///
    /// # Errors
    /// When what is on disk cannot be understood; says which file and what to do.
    fn recover(&self, sink: &mut dyn FnMut(Recovered)) -> Result<Recovery, StoreError>;

    /// Commits a batch. Returns at once; batches of one caller complete in the order of submission,
    /// `done` runs on the store's thread and must not block. Without room a batch of `Put`s is refused with
    /// `StoreError::Full`, and none other ever is; records about a message that is not there do nothing
    /// (but a `Keep`, which must be about one that is).
    fn submit(&self, batch: Batch, done: Done);

    /// Reads messages back. Blocks on the disk. A location whose queue moved on (evacuated meanwhile and
    /// its segment deleted) is an error for that one only.
    fn read(&self, locations: &[Location]) -> Vec<Result<Arc<Message>, StoreError>>;

    /// Reads the states of messages of a queue back, as last committed (the counters in them may be older: the
    /// queue has them). Blocks on the disk. `None`: it has no state.
    fn read_states(&self, queue: QueueId, seqs: &[Seq]) -> Vec<Result<Option<Arc<EntryState>>, StoreError>>;

    /// Tells the store that a node has answered `Evacuate` for everything up to this segment.
    fn evacuated(&self, queue: QueueId, segment: u32);

    /// The store in numbers. A store that does not count says nothing.
    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }

    /// Writes what is pending, a last checkpoint, and stops. Blocks.
    ///
    /// # Errors
    /// When the last write failed.
    fn close(&self) -> Result<(), StoreError>;
}

/// Does what `Effect::Load` asks for; `failed` hears of what could not be read. Blocks on the disk.
pub fn load(
    store: &dyn Store,
    queue: QueueId,
    wanted: &[Wanted],
    mut failed: impl FnMut(Seq, StoreError),
) -> Vec<Loaded> {
    let locations: Vec<_> = wanted.iter().map(|wanted| wanted.location).collect();
    let stateful: Vec<_> = wanted.iter().filter(|wanted| wanted.state).map(|wanted| wanted.seq).collect();
    let mut states =
        if stateful.is_empty() { Vec::new() } else { store.read_states(queue, &stateful) }.into_iter();
    let loaded = wanted.iter().zip(store.read(&locations)).map(|(&Wanted { seq, state, .. }, body)| {
        let state = if state { states.next().unwrap_or(Ok(None)) } else { Ok(None) };
        match (body, state) {
            (Ok(body), Ok(state)) => Loaded { seq, body: Some(body), state },
            (Err(why), _) | (_, Err(why)) => {
                failed(seq, why);
                Loaded { seq, body: None, state: None }
            }
        }
    });
    loaded.collect()
}

/// Called once with a batch's fate.
pub type Done = Box<dyn FnOnce(Result<Committed, StoreError>) + Send>;

/// Called by the store whenever something happens that the server must act on.
pub type Notify = Box<dyn Fn(StoreEvent) + Send + Sync>;

/// What a store says unasked.
#[derive(Debug, Clone)]
pub enum StoreEvent {
    /// There is, or is no longer, too little room for new messages. Settlements still go through.
    Full(bool),
    /// Segments up to this one are to be emptied: send every node `Command::Evacuate`.
    Evacuate {
        /// The newest of them.
        segment: u32,
    },
    /// A write or fsync failed: nothing more will be committed. The process must stop.
    Poisoned(StoreError),
}

/// One thing found at recovery.
#[derive(Debug)]
pub enum Recovered {
    /// A queue.
    Queue(Arc<QueueDefinition>),
    /// The sequence number the queue continues with.
    NextSeq(QueueId, u64),
    /// The ids the queue remembers, each with its segment, growing by number; all below `oldest` are forgotten.
    #[allow(missing_docs)] // the text names the fields
    Seen { queue: QueueId, oldest: u64, ids: Vec<(SeenId, u32)> },
    /// A message.
    Entry(Restored),
}

/// A recovery in numbers, for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Queues found.
    pub queues: u64,
    /// Messages found.
    pub messages: u64,
    /// Journal bytes replayed.
    pub replayed_bytes: u64,
    /// Bytes of a torn tail cut off.
    pub cut_bytes: u64,
    /// Whether sled was missing or damaged and rebuilt from the journal.
    pub rebuilt: bool,
    /// Whether the last stop was a clean one.
    pub clean: bool,
}

/// Why the store could not do a thing. Cheap to clone: one failure answers many.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room for new messages; nothing of the batch was written; try again later.
    #[error("the disk is full: {0}")]
    Full(Arc<str>),
    /// A write failed; the store is dead.
    #[error("{0}")]
    Failed(Arc<str>),
    /// Another process owns the shard now.
    #[error("another broker has taken over: {0}")]
    Fenced(Arc<str>),
    /// What was read is not what was written.
    #[error("{0}")]
    Corrupt(Arc<str>),
    /// Another process has the directory open.
    #[error("{0}")]
    Locked(Arc<str>),
}

/// A failure of the disk, in words.
#[cfg(feature = "server")]
fn failed(what: &str, path: &std::path::Path, error: &std::io::Error) -> StoreError {
    StoreError::Failed(format!("{what} {}: {error}", path.display()).into())
}
