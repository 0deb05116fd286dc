//! Where the committer counts what it does, for those who watch.
//!
//! Invariant: measuring costs the committer a few relaxed additions per commit, and never makes it wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::super::stats::{BUCKETS, COMMIT_BOUNDS_MICROS, StoreStats};

/// Where the committer counts.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    commits: [AtomicU64; BUCKETS],
    commit_micros: AtomicU64,
    batches: AtomicU64,
    full: AtomicBool,
    poisoned: AtomicBool,
}

impl Meter {
    /// A write and its sync, of so many batches, took this long.
    pub fn committed(&self, took: Duration, batches: usize) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.commits.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.commit_micros.fetch_add(micros, Relaxed);
        self.batches.fetch_add(batches as u64, Relaxed);
    }

    /// There is no room, or there is again.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Relaxed);
    }

    /// A write failed.
    pub fn set_poisoned(&self) {
        self.poisoned.store(true, Relaxed);
    }

    /// The numbers as they are now.
    pub fn read(&self, journal_bytes: u64) -> StoreStats {
        StoreStats {
            commits: std::array::from_fn(|i| self.commits.get(i).map_or(0, |count| count.load(Relaxed))),
            commit_micros: self.commit_micros.load(Relaxed),
            batches: self.batches.load(Relaxed),
            journal_bytes,
            full: self.full.load(Relaxed),
            poisoned: self.poisoned.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_counted_in_the_bucket_that_includes_it() {
        let meter = Meter::default();
        for micros in [1, 50, 51, 1_000_000, 1_000_001] {
            meter.committed(Duration::from_micros(micros), 2);
        }
        let stats = meter.read(9);
        assert_eq!((stats.commits[0], stats.commits[1]), (2, 1));
        assert_eq!((stats.commits[13], stats.commits[14]), (1, 1));
        assert_eq!(stats.commits.iter().sum::<u64>(), 5);
        assert_eq!((stats.commit_micros, stats.batches, stats.journal_bytes), (2_000_103, 10, 9));
    }
}
