//! States that are committed and wait for the index: how many bytes, so that the committer waits where they are too many.
//!
//! Invariant: what is added is taken off once it is in the index, or when the index's thread ends, for whatever reason:
//! nobody waits for ever. Messages are not counted: those settled before a checkpoint never reach the index.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;

use crate::limits::STATES_BACKLOG_BYTES;

/// How often it is looked whether the index has caught up.
const POLL: Duration = Duration::from_millis(1);

/// The committer's side.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: AtomicU64,
    closed: AtomicBool,
}

impl Backlog {
    /// So many bytes more wait.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Waits until there is room for more.
    pub fn wait(&self) {
        while self.bytes.load(Relaxed) > STATES_BACKLOG_BYTES && !self.closed.load(Relaxed) {
            std::thread::sleep(POLL);
        }
    }
}

/// The side of the index's thread, for as long as that runs.
#[derive(Debug)]
pub(crate) struct Draining(pub Arc<Backlog>);

impl Draining {
    /// So many bytes wait no longer.
    pub fn take(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        self.0.closed.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_too_far_ahead_waits_until_the_index_has_caught_up_or_is_gone() {
        for gone in [false, true] {
            let backlog = Arc::new(Backlog::default());
            let draining = Draining(Arc::clone(&backlog));
            backlog.add(STATES_BACKLOG_BYTES);
            backlog.wait();
            backlog.add(1);
            let waits = Arc::clone(&backlog);
            let waiter = std::thread::spawn(move || waits.wait());
            if gone {
                drop(draining)
            } else {
                draining.take(1)
            }
            waiter.join().unwrap();
        }
    }
}
