//! The broker core: queues, settlement, retry and dead letters as a deterministic state machine.
//!
//! `Node::apply(now, command)` changes state and appends `Effect`s; `Node::flush` dispatches what became
//! deliverable; `Node::take_batch` hands out the records that must be committed. No I/O, clock, lock
//! or randomness (the seed is an argument). Knows nothing of AMQP's wire format (see `container`).

pub mod address;
mod attempt;
mod breaker;
mod chooser;
#[allow(missing_docs)] // the variants' texts name their fields
mod command;
mod commit;
mod dead_letter;
mod duplicates;
#[allow(missing_docs)] // the variants' texts name their fields
mod effect;
mod evacuation;
mod history;
mod ids;
mod import;
mod ledger;
mod letters;
mod lifetime;
mod look;
mod management;
mod message;
mod node;
mod pattern;
pub mod policy;
mod publish;
mod queue;
mod reader;
#[allow(missing_docs)] // the variants' texts name their fields
mod record;
mod replay;
mod retention;
pub mod rules;
mod settlement;
mod tally;

pub use attempt::{Attempt, AttemptEnd, AttemptNext};
pub use breaker::BreakerState;
pub use chooser::Chooser;
pub use command::{
    Command, DetachCause, Loaded, Modified, MoveIn, NotBefore, Outcome, Publish, Settlement, Subscribe,
};
pub use effect::{Delivery, Effect, Refusal, Wanted};
pub use ids::{ConnectionId, ConsumerId, ProducerId, QueueId, Seq, Ticket};
pub use letters::{CauseCount, Filter, Judged, Letter};
pub use look::{Look, Page, Seen, Standing, Why};
pub use management::{ConsumerView, Purged};
pub use message::{
    Annotations, Cause, Death, DeathReason, EntryState, Failure, FailureOutcome, Message, Replay,
};
pub use node::{Counts, Node};
pub use pattern::Pattern;
pub use policy::{Lifetime, QueueDefinition, QueuePolicy};
pub use reader::{Fingerprint, Reader};
pub use record::{Batch, Committed, Location, Record, Restored, SeenId};
pub use replay::{Fates, ReplayLetter, ReplayLetters, Replayed};
pub use tally::Tally;
