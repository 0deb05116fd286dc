//! What a container needs from the house around it: nodes by address, and who may come in.
//!
//! Invariant: all calls return at once; `send` only notes the command, the host delivers it in order.

use std::sync::Arc;

use fe2o3_amqp_types::definitions::{AmqpError, Error};

use super::Peer;
use crate::{
    auth::Verdict,
    broker::{Command, Lifetime, QueueId},
    management::Operation,
};

/// A node, or its dead-letter tree, found by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The main queue's id, which commands are sent to.
    pub node: QueueId,
    /// Its dead-letter tree is meant.
    pub dead_letter: bool,
}

/// What an attach says about the kind of node it wants (capabilities and scheme).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// A topic is asked for, which this broker does not have yet.
    pub topic: bool,
    /// The node must exist: it is named by a message, not by an attach, and a typing error in a `to`
    /// should be told to its sender rather than become a queue that nobody reads.
    pub existing: bool,
}

impl Wish {
    /// A node that exists, of any kind.
    #[must_use]
    pub fn existing() -> Self {
        Self { existing: true, ..Self::default() }
    }
}

/// Why an address leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// No such node, and it may not be created.
    #[error("{0}")]
    NotFound(String),
    /// Not an address.
    #[error("{0}")]
    Invalid(String),
    /// A kind of node this broker does not have.
    #[error("{0}")]
    NotImplemented(String),
    /// A limit was reached.
    #[error("{0}")]
    Limit(String),
}

impl From<NoPlace> for Error {
    fn from(why: NoPlace) -> Self {
        let condition = match why {
            NoPlace::NotFound(_) => AmqpError::NotFound,
            NoPlace::Invalid(_) => AmqpError::InvalidField,
            NoPlace::NotImplemented(_) => AmqpError::NotImplemented,
            NoPlace::Limit(_) => AmqpError::ResourceLimitExceeded,
        };
        Error::new(condition, Some(why.to_string()), None)
    }
}

/// The house.
pub trait Host {
    /// Judges a SASL response.
    fn authenticate(&mut self, mechanism: &str, response: &[u8]) -> Verdict;

    /// Finds the node of an address, creating it where the configuration allows.
    ///
    /// # Errors
    /// When there is none and none may be made.
    fn resolve(&mut self, address: &str, wish: Wish) -> Result<Place, NoPlace>;

    /// Makes a node with a name of the host's choosing.
    ///
    /// # Errors
    /// When a limit is reached.
    fn create_dynamic(&mut self, lifetime: Lifetime) -> Result<(String, QueueId), NoPlace>;

    /// Deletes a node made by `create_dynamic`.
    fn delete(&mut self, node: QueueId);

    /// Executes a management operation, for this peer if it may. The answer comes back through `Container::answer`.
    fn manage(&mut self, token: u64, operation: Operation, peer: &Arc<Peer>);

    /// Sends a command to a node that `resolve` or `create_dynamic` gave.
    fn send(&mut self, node: QueueId, command: Command);
}
