//! The `$management` node's language: request messages as typed operations, and answers as messages.
//!
//! Invariant: an `Operation` holds validated arguments only; whatever is wrong with a request is told in words, with
//! what came and what was expected. What there is to be asked is one table (`catalogue`), from which `GET-TYPES`,
//! `GET-OPERATIONS`, `GET-ATTRIBUTES` and the check of arguments are made. The contract is docs/management.md.
//! Deliberately does nothing: who executes operations is the server, who carries messages the container.

mod arguments;
pub mod catalogue;
mod letters;
mod message;
mod operation;
mod reply;
mod tree;

#[cfg(test)]
pub(crate) mod tests;

pub use letters::{DeadLetter, Filter, ImportedLetter, Page, Replay, Which};
pub use message::{Envelope, Request, parse};
pub use operation::{Broker, Connection, Entities, Operation, Query, Queue};
pub use reply::{Reply, Status};
pub use tree::{Key, Tree};
