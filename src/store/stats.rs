//! A store in numbers: how often and how fast it commits, how much it keeps, whether it can go on.
//!
//! Invariant: a snapshot's histogram adds up to its own count, also while commits go on. Deliberately says nothing
//! of queues; the journal measures (`journal::meter`).

/// Upper bounds of the histogram of commit durations, in microseconds, each included.
pub const COMMIT_BOUNDS_MICROS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];
/// One more for what is above all of them.
pub(crate) const BUCKETS: usize = COMMIT_BOUNDS_MICROS.len() + 1;

/// A store in numbers, since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Commits by duration: those up to each of `COMMIT_BOUNDS_MICROS` and above the one before, then the rest.
    pub commits: [u64; BUCKETS],
    /// Time spent in them.
    pub commit_micros: u64,
    /// Batches of queues committed: several share a commit.
    pub batches: u64,
    /// Bytes in the journal.
    pub journal_bytes: u64,
    /// Whether new messages are refused for want of room.
    pub full: bool,
    /// Whether a write failed: nothing more will be committed.
    pub poisoned: bool,
}
