//! What can be asked of a node. Everything is a value; `now` comes beside it.
//!
//! Invariant: commands about something the node does not (or no longer) know are ignored, as
//! dispositions for unknown deliveries are (part 2.6.12); none of them can fail or panic.

use std::sync::Arc;

use super::{
    Annotations, Cause, Chooser, Committed, ConsumerId, EntryState, Location, Message, ProducerId,
    QueuePolicy, Seq, Ticket,
};
use crate::time::Millis;

/// A command to a node. `dead_letter` in those that have it chooses the node's dead-letter tree.
// The variants say what their fields are about; the fields are named for what they are.
#[allow(missing_docs)]
#[derive(Debug)]
pub enum Command {
    /// A link may publish from now on; makes the node count it as a link, and tell it when to stop.
    AttachProducer { producer: ProducerId },
    /// It will publish no more.
    DetachProducer { producer: ProducerId },
    /// Messages from one producer, in order.
    Publish { producer: ProducerId, messages: Vec<Publish> },
    /// A consumer attaches, with no credit yet.
    Subscribe(Box<Subscribe>),
    /// A flow from the consumer (part 2.6.7): absolute, so that one lost in a race does no harm.
    Flow { consumer: ConsumerId, delivery_count: u32, credit: u32, drain: bool, echo: bool },
    /// The consumer's connection wrote this much of what it was sent: room for more.
    Room { consumer: ConsumerId, messages: u32, bytes: u64 },
    /// The consumer's answers, in order.
    Settle { consumer: ConsumerId, settlements: Vec<Settlement> },
    /// The consumer's link ended; what it has not settled goes back as `cause` says.
    Unsubscribe { consumer: ConsumerId, cause: DetachCause },
    /// A batch is safe.
    Committed(Committed),
    /// The store had no room for a batch of new messages and wrote nothing of it: they are taken back and
    /// their publishers refused.
    CommitFailed { ticket: Ticket },
    /// What was asked for with `Effect::Load`.
    Loaded { dead_letter: bool, loaded: Vec<Loaded> },
    /// The store has, or has no longer, room for new messages.
    StorageFull(bool),
    /// The store wants what it has at segments up to this one written again, at most `limit` messages
    /// now; answered by `Record::Keep` records and `Effect::Evacuated`.
    Evacuate { segment: u32, limit: usize },
    /// How many bytes of bodies this node may keep in memory.
    MemoryBudget { bytes: u64 },
    /// New rules.
    Policy(Box<QueuePolicy>),
    /// A message of another queue that names this one as its dead-letter queue.
    MoveIn(Box<MoveIn>),
    /// Answer to `Effect::MoveOut`: it is safe in the other queue (`true`), or was not taken (`false`).
    MovedOut { seq: Seq, taken: bool },
    /// Other settings and what they come to, to be kept: makes a record of the whole definition.
    Define { settings: String, policy: Box<QueuePolicy> },
    /// Say `Effect::Safe` with this token when all that was done so far is safe.
    Confirm { token: u64 },
    /// Set the breaker by hand: open until then, or closed. From there it goes on by itself.
    SetBreaker { open_until: Option<Millis> },
}

/// A message read back from the store.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Which.
    pub seq: Seq,
    /// The message; `None`: it could not be read.
    pub body: Option<Arc<Message>>,
    /// Its state, where that was asked for and could be read.
    pub state: Option<Arc<EntryState>>,
}

/// One message to be queued.
#[derive(Debug, Clone)]
pub struct Publish {
    /// What the producer's link calls it; comes back in `Effect::Published`.
    pub token: u64,
    /// The message.
    pub message: Arc<Message>,
    /// Whether the producer wants an answer (the delivery was not sent settled).
    pub answer: bool,
}

/// A consumer's wishes.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// Who.
    pub consumer: ConsumerId,
    /// From the dead-letter tree instead of the queue.
    pub dead_letter: bool,
    /// The name exclusions are kept under: unique per link, or container-id + link for durable termini.
    pub endpoint: String,
    /// Container-id, link name and user, for the failure record.
    pub identity: Arc<str>,
    /// distribution-mode `copy`: sees every message once, takes none.
    pub browse: bool,
    /// Which messages it wants; `None`: all.
    pub filter: Option<Arc<dyn Chooser>>,
    /// Deliveries are sent settled (snd-settle-mode settled): sent is accepted.
    pub presettled: bool,
    /// What happens to a delivery that ends without an outcome (source.default-outcome, else released).
    pub default_outcome: Outcome,
    /// The link's initial delivery-count (0 here, part 2.6.7).
    pub delivery_count: u32,
    /// How much its connection takes before it reports `Room`.
    pub room_messages: u32,
    /// The same in bytes; a message is sent while any is left, so one may exceed it.
    pub room_bytes: u64,
}

/// A terminal answer of a consumer about one message (parts 3.4.2–3.4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `accepted`.
    Accepted,
    /// `rejected(error)`.
    Rejected(Option<Box<Cause>>),
    /// `released`.
    Released,
    /// `modified`.
    Modified(Box<Modified>),
}

/// The fields of `modified`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modified {
    /// delivery-failed.
    pub delivery_failed: bool,
    /// undeliverable-here.
    pub undeliverable_here: bool,
    /// message-annotations to merge.
    pub annotations: Annotations,
    /// How many more there were that the broker does not take.
    pub skipped: u32,
    /// The annotations with values that can be said in words, as texts: what rules look at.
    pub words: Vec<(String, String)>,
    /// What the annotations `x-opt-error-condition` and `x-opt-error-description` said of the cause.
    pub cause: Option<Box<Cause>>,
    /// `x-opt-delivery-delay`/`-time`: no retry before this time.
    pub not_before: Option<NotBefore>,
}

/// When a consumer wants a failed message tried again. A delay counts from the settlement, which for a default outcome
/// comes long after it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBefore {
    /// So many milliseconds after the settlement.
    After(u64),
    /// At this time.
    At(Millis),
}

impl NotBefore {
    /// The time that is, for a settlement of now.
    #[must_use]
    pub fn due(self, now: Millis) -> Millis {
        match self {
            Self::After(ms) => now.plus_ms(ms),
            Self::At(time) => time,
        }
    }
}

/// An answer to one delivery.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The message, as `Delivery::seq` named it.
    pub seq: Seq,
    /// `None`: settled without a state, the default outcome applies.
    pub outcome: Option<Outcome>,
    /// The consumer waits for our settled reply (rcv-settle-mode second): answer with
    /// `Effect::Settled` once it is safe.
    pub confirm: bool,
}

/// Why a consumer left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetachCause {
    /// Detached, ended or closed in good order, or by the broker.
    Clean,
    /// The connection was lost: it may have crashed on what it held.
    Lost,
}

/// A message moving in from another queue (dead-letter-queue names another queue).
#[derive(Debug, Clone)]
pub struct MoveIn {
    /// Where it is now.
    pub from: (super::QueueId, Seq),
    /// Where its bytes are, if written.
    pub location: Option<Location>,
    /// The message, if resident.
    pub message: Option<Arc<Message>>,
    /// The state it is to have.
    pub state: Arc<super::EntryState>,
    /// Bytes of the message.
    pub size: u32,
    /// header.priority.
    pub priority: u8,
    /// header.first-acquirer as published.
    pub first_acquirer: bool,
    /// header.durable.
    pub durable: bool,
}
