//! What a client's turn has to do with: time, dice, the ledger.
//!
//! Invariant: a client reaches the rest of a run through this only.

use verdict::time::Millis;

use crate::{disk::Disk, model::Model, plan::QueuePlan, rng::Rng};

/// What a client may look at and change beyond itself.
pub struct Scene<'a> {
    /// The time.
    pub now: Millis,
    /// The dice.
    pub rng: &'a mut Rng,
    /// The ledger.
    pub model: &'a mut Model,
    /// For the ledger to look at.
    pub disk: &'a Disk,
    /// The queues.
    pub queues: &'a [QueuePlan],
    /// Numbers for links.
    pub next_key: &'a mut u64,
    /// No more detaching, draining and closing for the sake of it.
    pub calm: bool,
    /// The broker said that it stops.
    pub stopping: bool,
}
