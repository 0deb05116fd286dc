//! What is counted: live counters for the progress line, and each connection's own tally for the report.
//!
//! Invariant: live counters only grow, and are added to once per batch, not per message.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use super::super::Failure;

/// Longest latency told apart: a minute in nanoseconds.
const MAX_NS: u64 = 60_000_000_000;

/// Counters of all connections.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Connections that wait for the start.
    pub ready: Counter,
    pub sent: Counter,
    /// Sent and answered, or sent settled.
    pub answered: Counter,
    pub accepted: Counter,
    pub received: Counter,
}

/// A counter of many tasks.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        if n > 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one connection saw; they are added up.
pub(super) struct Tally {
    pub sent: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub released: u64,
    pub modified: u64,
    pub received: u64,
    /// First send and last answer.
    pub sending_ns: Span,
    /// First and last message received.
    pub receiving_ns: Span,
    /// From due to received.
    pub e2e_ns: Histogram<u64>,
    /// From due to answered.
    pub ack_ns: Histogram<u64>,
    /// Why the broker did not accept a message: the first reason.
    pub reason: Option<String>,
}

impl Tally {
    pub fn new() -> Result<Self, Failure> {
        let histogram = || {
            Histogram::new_with_bounds(1, MAX_NS, 3)
                .map_err(|error| Failure::new(format!("cannot make a histogram: {error}")))
        };
        Ok(Self {
            sent: 0,
            accepted: 0,
            rejected: 0,
            released: 0,
            modified: 0,
            received: 0,
            sending_ns: Span::default(),
            receiving_ns: Span::default(),
            e2e_ns: histogram()?,
            ack_ns: histogram()?,
            reason: None,
        })
    }

    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.released += other.released;
        self.modified += other.modified;
        self.received += other.received;
        self.sending_ns.join(other.sending_ns);
        self.receiving_ns.join(other.receiving_ns);
        // All histograms have the same bounds, so adding cannot fail.
        let _ = self.e2e_ns.add(&other.e2e_ns);
        let _ = self.ack_ns.add(&other.ack_ns);
        if self.reason.is_none() {
            self.reason.clone_from(&other.reason);
        }
    }
}

/// From the first to the last of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span(Option<(u64, u64)>);

impl Span {
    pub fn note(&mut self, at_ns: u64) {
        self.join(Self(Some((at_ns, at_ns))));
    }

    pub fn join(&mut self, other: Self) {
        self.0 = match (self.0, other.0) {
            (Some((first, last)), Some((other_first, other_last))) => {
                Some((first.min(other_first), last.max(other_last)))
            }
            (one, other) => one.or(other),
        };
    }

    /// `count` things in this span, per second; from `begin_ns` on where one is given.
    pub fn rate(&self, count: u64, begin_ns: Option<u64>) -> f64 {
        let Some((first, last)) = self.0 else { return 0.0 };
        let nanos = last.saturating_sub(begin_ns.unwrap_or(first));
        if nanos == 0 { 0.0 } else { count as f64 * 1e9 / nanos as f64 }
    }

    pub fn begin_ns(&self) -> Option<u64> {
        self.0.map(|(first, _)| first)
    }
}
