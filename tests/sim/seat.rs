//! Who takes part in a run, and what came of it.
//!
//! Invariant: a seat has one connection at a time.

use verdict::time::Millis;

use crate::{
    plan::{ClientPlan, Habit},
    wire::Wire,
};

/// A client's place: it comes back to it after a cut.
pub struct Seat {
    /// Who sits there.
    pub plan: ClientPlan,
    /// Its connection.
    pub wire: Option<Wire>,
    /// What its producers have still to send, while it is away.
    pub left: Vec<u64>,
    /// When it comes back.
    pub again_at: Millis,
}

impl Seat {
    /// An empty one.
    pub fn new(plan: ClientPlan) -> Self {
        let left = plan.links.iter().map(|link| match &link.habit {
            Habit::Producer(habit) => habit.messages,
            Habit::Consumer(_) => 0,
        });
        let left = left.collect();
        Self { plan, wire: None, left, again_at: Millis(0) }
    }

    /// What it has still to send in all.
    pub fn left(&self) -> u64 {
        match &self.wire {
            Some(wire) => wire.client.left().iter().sum(),
            None => self.left.iter().sum(),
        }
    }
}

/// What a run did, to see that seeds are worth running and that the same one does the same.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Steps in all.
    pub steps: u64,
    /// Virtual time in the end.
    pub end_ms: u64,
    /// Messages published.
    pub messages: u64,
    /// Messages handed out.
    pub deliveries: u64,
    /// Connections cut.
    pub cuts: u64,
    /// Crashes.
    pub crashes: u64,
    /// Restarts in good order.
    pub restarts: u64,
    /// Batches refused by a full disk.
    pub refused: u64,
    /// Messages settled before they were written.
    pub left_out: u64,
    /// Evacuations done.
    pub evacuations: u64,
    /// Dead letters put back.
    pub replayed: u64,
    /// Messages accepted and not queued, as others had come with their keys.
    pub duplicates: u64,
    /// Turns after which messages were held by their groups.
    pub held: u64,
}
