//! How much room the disk has.
//!
//! Invariant: asking never fails the store; a file system that will not say is taken to have room.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer is good for: a segment is preallocated, so room cannot vanish in between unseen.
const FRESH_FOR: Duration = Duration::from_millis(10);

/// Watches one file system.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    asked: Option<(Instant, u64)>,
}

impl Space {
    /// Of the file system this directory is on.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), asked: None }
    }

    /// Bytes an unprivileged process may still write, at most some milliseconds old.
    pub fn free_bytes(&mut self) -> u64 {
        match self.asked {
            Some((at, free)) if at.elapsed() < FRESH_FOR => free,
            _ => self.free_bytes_now(),
        }
    }

    /// The same, now.
    pub fn free_bytes_now(&mut self) -> u64 {
        let free = rustix::fs::statvfs(&self.dir)
            .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        self.asked = Some((Instant::now(), free));
        free
    }

    /// Bytes of the whole file system.
    pub fn total_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.dir).map_or(u64::MAX, |stat| stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}
