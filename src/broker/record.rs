//! What must survive: the records a node hands to the store, and what it gets back at recovery.
//!
//! Invariant: a record is complete in itself and replaying a journal of them in order, any number of
//! times from any checkpoint, gives the same state. How they are encoded is the store's business.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EntryState, Fingerprint, Message, QueueDefinition, QueueId, Seq, Ticket};
use crate::time::Millis;

/// One durable fact. Only durable messages make records.
// The variants say what their fields are about; the fields are named for what they are.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A message is in the queue.
    Put { queue: QueueId, seq: Seq, message: Arc<Message> },
    /// It has gone: accepted, purged, expired and discarded.
    Settle { queue: QueueId, seq: Seq },
    /// Its counters changed, nothing else.
    Count { queue: QueueId, seq: Seq, delivery_count: u32, acquired_count: u32 },
    /// Its state changed in more than the counters; this is the whole new state.
    State { queue: QueueId, seq: Seq, state: Arc<EntryState> },
    /// It left `from` and is in `to`, in one step, with this state there. The body stays where it is.
    Move { from: (QueueId, Seq), to: (QueueId, Seq), state: Arc<EntryState> },
    /// The store asked for this message to be written again (compaction): it is still there, at
    /// `location`, with this state. The store copies the bytes and reports the new location.
    Keep { queue: QueueId, seq: Seq, location: Location, state: Option<Arc<EntryState>> },
    /// Messages with these ids were taken, or are remembered still (compaction): in the batch of the `Put`s they
    /// came with, so that both are safe or neither. All below `oldest` are forgotten.
    Seen { queue: QueueId, ids: Vec<SeenId>, oldest: u64 },
    /// The queue exists, or its definition changed.
    Define(Arc<QueueDefinition>),
    /// The queue and all its messages are gone.
    Delete(QueueId),
}

/// The id of a message that came, by which another is told to be its duplicate. It outlives the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenId {
    /// Its place among those of its queue; written again it keeps it.
    pub number: u64,
    /// The id.
    pub key: Fingerprint,
    /// When the message came.
    pub at: Millis,
}

/// Where the store keeps a message's bytes. Opaque to the core; 12 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Segment number.
    pub segment: u32,
    /// Byte offset of the record in its segment.
    pub offset: u32,
    /// Length of the record in bytes.
    pub len: u32,
}

/// Some of the records a node made; the store commits all or none. Either all of them are `Put`s (and the `Seen`
/// of their ids) or none is a `Put`, and a store without room refuses only the former: what was said of a message it does not know is
/// nothing to it. Only of a `Keep` it cannot know: those are made of committed messages only.
#[derive(Debug)]
pub struct Batch {
    /// The node's number for it.
    pub ticket: Ticket,
    /// In the order they happened.
    pub records: Vec<Record>,
    /// Nobody waits for it: the store may keep it a moment for company, and sync once for both.
    pub patient: bool,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Which batch.
    pub ticket: Ticket,
    /// One for each `Put` and `Keep` of the batch, in order. `None`: settled before it was written, so
    /// it never was.
    pub locations: Vec<Option<Location>>,
    /// The segment its `Seen` went to, if it has one.
    pub seen: Option<u32>,
}

/// A message found at recovery.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// Its queue (main or dead-letter tree).
    pub queue: QueueId,
    /// Its place.
    pub seq: Seq,
    /// Where its bytes are.
    pub location: Location,
    /// Bytes of the message (`Message::bytes`), for the queue's byte count.
    pub size: u32,
    /// header.priority.
    pub priority: u8,
    /// header.first-acquirer as published.
    pub first_acquirer: bool,
    /// Expiry, if any.
    pub expires: Option<Millis>,
    /// Publisher's header.delivery-count, or the newest `Count`/`State`.
    pub delivery_count: u32,
    /// Newest acquired-count.
    pub acquired_count: u32,
    /// The newest `State`, if one was ever written (with the newest counters already in it).
    pub state: Option<Arc<EntryState>>,
}
