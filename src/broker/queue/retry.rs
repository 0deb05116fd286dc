//! When a failed message is tried again: exponential back-off with jitter, and the waiting place.
//!
//! Invariant: a delayed message is in no ready list, so it holds up nobody. Decides no outcome; the
//! attempt limit is the business of `settlement`.

use std::collections::BTreeSet;

use crate::{broker::policy::RetryDelay, time::Millis};

/// A small deterministic generator (splitmix64) for jitter; the seed is an argument of the node.
#[derive(Debug)]
pub(crate) struct Rng(pub u64);

impl Rng {
    /// A number from 0 (included) to 1 (excluded).
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Milliseconds before the attempt that follows the `failures`-th failure (1 is the first).
pub(crate) fn delay_ms(policy: &RetryDelay, failures: u32, rng: &mut Rng) -> u64 {
    let base = match failures {
        0 | 1 => policy.first_ms as f64,
        n => policy.initial_ms as f64 * policy.multiplier.powi(i32::try_from(n - 2).unwrap_or(i32::MAX)),
    };
    // Not finite or negative where the policy is odd: `as` saturates and takes NaN for 0.
    let capped = base.min(policy.max_ms as f64);
    if capped <= 0.0 {
        return 0;
    }
    (capped * (1.0 + policy.jitter * (2.0 * rng.unit() - 1.0))).round() as u64
}

/// The messages that wait for a time. May name some that are gone: the queue checks.
#[derive(Debug, Default)]
pub(crate) struct Delayed(BTreeSet<(Millis, u64)>);

impl Delayed {
    /// Adds one.
    pub(crate) fn insert(&mut self, due: Millis, seq: u64) {
        self.0.insert((due, seq));
    }

    /// When the first is due.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.0.first().map(|(due, _)| *due)
    }

    /// When this one is due: a walk over all, for who explains it.
    pub(crate) fn due_of(&self, seq: u64) -> Option<Millis> {
        self.0.iter().find(|(_, waits)| *waits == seq).map(|(due, _)| *due)
    }

    /// The next one that is due.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<u64> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, seq)| seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_retry_is_at_once_then_100_ms_doubling_up_to_30_s() {
        let policy = RetryDelay { jitter: 0.0, ..RetryDelay::default() };
        let delays: Vec<u64> = (1..=12).map(|n| delay_ms(&policy, n, &mut Rng(1))).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(delay_ms(&policy, u32::MAX, &mut Rng(1)), 30_000);
    }

    #[test]
    fn jitter_stays_within_its_share_and_follows_the_seed() {
        let policy = RetryDelay { jitter: 0.2, ..RetryDelay::default() };
        let run = |seed| -> Vec<u64> {
            let mut rng = Rng(seed);
            (0..1000).map(|_| delay_ms(&policy, 6, &mut rng)).collect()
        };
        assert!(run(1).iter().all(|ms| (1280..=1920).contains(ms)));
        assert!(run(1).iter().any(|ms| *ms < 1400) && run(1).iter().any(|ms| *ms > 1800));
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
