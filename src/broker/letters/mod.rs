//! Messages that died, to be looked at: what is known of each without reading it, and questions about them.
//!
//! Invariant: looking changes nothing. `catalogue` has every message of a queue that has a death, in 24 bytes;
//! what it cannot decide it says so, and the message's state must be read. Moves nothing: that is `dead_letter`.

pub(super) mod catalogue;
mod cause;
mod filter;

pub use catalogue::{CauseCount, Letter};
pub use filter::{Filter, Judged};
