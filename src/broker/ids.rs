//! The names the core calls things by. All are small, `Copy`, and meaningless outside one broker.
//!
//! Invariant: a `QueueId` is never reused while records of it can be in a journal; a `Seq` is never
//! reused within a queue; a `ConsumerId` or `ProducerId` is never reused within one process.

use serde::{Deserialize, Serialize};

/// A message store of its own: a queue, or a queue's dead-letter tree. Main queues are even, the
/// dead-letter tree of queue `n` is `n + 1`, so one number in a queue's definition names both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId(pub u32);

impl QueueId {
    /// The dead-letter tree that belongs to this queue (itself, if it is one).
    #[must_use]
    pub fn dead_letter(self) -> Self {
        Self(self.0 | 1)
    }

    /// The main queue this belongs to (itself, if it is one).
    #[must_use]
    pub fn main(self) -> Self {
        Self(self.0 & !1)
    }

    /// Whether this is a dead-letter tree.
    #[must_use]
    pub fn is_dead_letter(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A message's place in its queue; assigned by the queue, growing by one, starting at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// A connection of this process, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// A link over which a queue sends: connection in the high, link in the low 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// A link over which a queue is published to: connection in the high, link in the low 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub u64);

macro_rules! link_scoped {
    ($name:ident) => {
        impl $name {
            /// Joins a connection and a link of it (the engine's link number).
            #[must_use]
            pub fn new(connection: ConnectionId, link: u32) -> Self {
                Self(u64::from(connection.0) << 32 | u64::from(link))
            }

            /// The connection the link is on.
            #[must_use]
            pub fn connection(self) -> ConnectionId {
                ConnectionId((self.0 >> 32) as u32)
            }

            /// The engine's number of the link.
            #[must_use]
            pub fn link(self) -> u32 {
                self.0 as u32
            }
        }
    };
}
link_scoped!(ConsumerId);
link_scoped!(ProducerId);

/// Numbers the batches a node hands to the store, from 1; they commit in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);
