//! The open spans of one queue: begun when a message is handed out, ended when its attempt is over.
//!
//! Invariant: at most `OPEN` at a time, a few hundred bytes each; every one ends with its attempt, since each message
//! that was handed out is given back or done some time, if only when its link ends. Decides which spans are told of.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use rustc_hash::FxHashMap;

use super::{
    Shared,
    context::{self, Context},
    now_ns,
    otlp::Span,
};
use crate::{
    broker::{Attempt, Delivery, Seq},
    limits::OPEN_SPANS as OPEN,
};

/// One queue's spans.
pub struct Attempts {
    shared: Arc<Shared>,
    queue: Arc<str>,
    open: FxHashMap<(bool, Seq), Open>,
    ids: Ids,
}

/// A message that is with a consumer.
#[derive(Debug)]
pub(super) struct Open {
    pub began_ns: u64,
    /// The publisher's span.
    pub parent: Option<Context>,
    pub message_id: Option<String>,
    pub delivery_count: u32,
    pub acquired_count: u32,
}

impl Attempts {
    pub(super) fn new(shared: Arc<Shared>, queue: &str) -> Self {
        Self { shared, queue: queue.into(), open: FxHashMap::default(), ids: Ids::new() }
    }

    /// These are handed out now.
    pub fn begin(&mut self, dead_letter: bool, deliveries: &[Delivery]) {
        let began_ns = now_ns();
        for delivery in deliveries {
            if self.open.len() >= OPEN {
                self.shared.counts.beyond_open.fetch_add(1, Relaxed);
                continue;
            }
            let (parent, message_id) = context::read(&delivery.message);
            let (delivery_count, acquired_count) = (delivery.delivery_count, delivery.acquired_count);
            let open = Open { began_ns, parent, message_id, delivery_count, acquired_count };
            self.open.insert((dead_letter, delivery.seq), open);
        }
    }

    /// These attempts are over now.
    pub fn end(&mut self, attempts: Vec<Attempt>) {
        if attempts.is_empty() {
            return;
        }
        let ended_ns = now_ns();
        for attempt in attempts {
            // One that began when there were too many.
            let Some(open) = self.open.remove(&(attempt.dead_letter, attempt.seq)) else { continue };
            let trace_id = open.parent.map_or_else(|| self.ids.trace_id(), |parent| parent.trace_id);
            let wanted =
                open.parent.is_none_or(|parent| parent.sampled) && is_sampled(trace_id, self.shared.sample);
            if wanted || attempt.end.is_failure() {
                let (span_id, queue) = (self.ids.next(), self.queue.clone());
                self.shared.hand_over(Span { trace_id, span_id, queue, ended_ns, open, attempt });
            }
        }
    }
}

/// By the trace id, so that all who sample by it keep the same traces: its lower 63 bits as a share of their range
/// (as OpenTelemetry's TraceIdRatioBased).
fn is_sampled(trace_id: u128, share: f64) -> bool {
    const RANGE: f64 = (1u64 << 63) as f64;
    // The lower half of the id.
    let low = trace_id as u64;
    share >= 1.0 || ((low >> 1) as f64) < share * RANGE
}

/// Ids nobody has to guess right: a sequence (splitmix64) with the system's randomness as its beginning.
struct Ids(u64);

impl Ids {
    fn new() -> Self {
        Self(RandomState::new().hash_one(now_ns()))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 0 is no valid id.
        (z ^ (z >> 31)).max(1)
    }

    fn trace_id(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::{Ids, is_sampled};

    #[test]
    fn a_share_of_traces_is_kept_the_same_wherever_it_is_asked() {
        let mut ids = Ids::new();
        let ids: Vec<u128> = (0..10_000).map(|_| ids.trace_id()).collect();
        let kept = |share: f64| ids.iter().filter(|id| is_sampled(**id, share)).count();
        assert_eq!((kept(0.0), kept(1.0)), (0, 10_000));
        assert!((2000..3000).contains(&kept(0.25)), "{}", kept(0.25));
        assert!(
            ids.iter().all(|id| !is_sampled(*id, 0.25) || is_sampled(*id, 0.5)),
            "a larger share keeps them"
        );
        assert!(!is_sampled(u128::from(u64::MAX), 0.999) && is_sampled(1 << 64, 0.001));
    }

    #[test]
    fn ids_differ_between_queues_and_from_one_another() {
        let (mut one, mut other) = (Ids::new(), Ids::new());
        let all: std::collections::BTreeSet<u64> =
            (0..1000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(all.len(), 2000);
    }
}
