//! A queue's numbers, for those who watch.
//!
//! Invariant: sums are of every number, and of ages the largest. Decides nothing, knows no names.

use crate::broker::{BreakerState, Counts, Tally};

/// A queue's numbers at one moment, or the sum of several queues'.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    /// The queue's messages.
    pub main: Counts,
    /// Its dead letters.
    pub dead: Counts,
    /// What it did since the process started.
    pub tally: Tally,
    /// How long its oldest message has been there.
    pub oldest_age_ms: u64,
    /// Breakers that are closed, open and half-open.
    pub breakers: [u64; 3],
}

impl Snapshot {
    /// Adds another queue's; of the ages, the larger.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: &Counts, b: &Counts| Counts {
            available: a.available + b.available,
            acquired: a.acquired + b.acquired,
            delayed: a.delayed + b.delayed,
            moving: a.moving + b.moving,
            bytes: a.bytes + b.bytes,
            consumers: a.consumers.saturating_add(b.consumers),
        };
        self.main = sum(&self.main, &other.main);
        self.dead = sum(&self.dead, &other.dead);
        self.tally.add(&other.tally);
        self.oldest_age_ms = self.oldest_age_ms.max(other.oldest_age_ms);
        for (mine, theirs) in self.breakers.iter_mut().zip(other.breakers) {
            *mine += theirs;
        }
    }
}

/// One breaker, as `Snapshot` counts them.
pub fn breakers(state: BreakerState) -> [u64; 3] {
    match state {
        BreakerState::Closed => [1, 0, 0],
        BreakerState::Open { .. } => [0, 1, 0],
        BreakerState::HalfOpen { .. } => [0, 0, 1],
    }
}
