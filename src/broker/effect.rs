//! What a node wants done. The server (or the simulator) does it; the node assumes nothing about when.
//!
//! Invariant: the order of effects for one consumer or producer is the order they must reach it in.

use std::sync::Arc;

use super::{
    BreakerState, ConsumerId, EntryState, Location, Message, MoveIn, Outcome, ProducerId, QueueId, Seq,
};

/// Something to do for the outside.
// The variants say what their fields are about; the fields are named for what they are.
#[allow(missing_docs)]
#[derive(Debug)]
pub enum Effect {
    /// Send these to the consumer, in order.
    Deliver { consumer: ConsumerId, deliveries: Vec<Delivery> },
    /// Nothing (more) to deliver in answer to a drain (credit is used up: set delivery-count to this)
    /// or an echo. `available`: messages waiting.
    Flow { consumer: ConsumerId, delivery_count: u32, credit: u32, available: u32, drained: bool },
    /// The settlement asked for with `confirm` is safe: send our settled reply with this outcome.
    Settled { consumer: ConsumerId, settlements: Vec<(Seq, Outcome)> },
    /// Answers to a producer; `None` is accepted (and safe), else why not.
    Published { producer: ProducerId, answers: Vec<(u64, Option<Refusal>)> },
    /// The producer may (again), or may not, get more link credit.
    ProducerCredit { producer: ProducerId, open: bool },
    /// Read these and answer with `Command::Loaded`.
    Load { dead_letter: bool, wanted: Vec<Wanted> },
    /// `Evacuate` is done for all that this node has up to the segment.
    Evacuated { segment: u32 },
    /// Offer this message to the named queue, `Command::MoveIn` there.
    MoveOut { queue: String, message: Box<MoveIn> },
    /// Tell the queue it came from, `Command::MovedOut` there.
    MovedIn { from: (QueueId, Seq), taken: bool },
    /// The queue's breaker opened, began to probe, or closed: for the log.
    Breaker { state: BreakerState },
    /// The same for one of those it holds back: when it changes, and when one comes while it is not closed.
    BreakerNews { consumer: ConsumerId, state: BreakerState },
    /// What was done before `Command::Confirm` with this token is safe.
    Safe { token: u64 },
    /// The node's lifetime policy says it is to be deleted now.
    Expire,
}

/// A message to be read back from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub seq: Seq,
    /// Where its bytes are.
    pub location: Location,
    /// Its state is wanted too (`Store::read_states`).
    pub state: bool,
}

/// One message for one consumer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names it in settlements.
    pub seq: Seq,
    /// The message as published.
    pub message: Arc<Message>,
    /// header.delivery-count to send.
    pub delivery_count: u32,
    /// `x-opt-acquired-count` to send when > 0; header.first-acquirer is `message.first_acquirer`
    /// and this being 0.
    pub acquired_count: u32,
    /// header.ttl to send: what is left of it, in milliseconds.
    pub ttl_ms: Option<u32>,
    /// Merged annotations and death, if there are any.
    pub state: Option<Arc<EntryState>>,
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full and its policy is to reject.
    QueueFull,
    /// The disk is full.
    StorageFull,
    /// It had expired on arrival.
    Expired,
    /// The queue was deleted meanwhile.
    Deleted,
}
