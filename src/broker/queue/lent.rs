//! Bodies read back only to be judged by filters: they stay a little while, since other filters may ask for the same.
//!
//! Invariant: they are a small share of the memory, the oldest go first, and they go before memory is short: so a
//! filter that looks through millions of messages takes the place of nothing that is needed. Drops no body itself.

use std::collections::{BTreeSet, VecDeque};

use super::Memory;

/// The share of the budget they may have is one in so many.
const SHARE: u64 = 8;

/// Which bodies are here, or asked for, only to be judged.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    asked: BTreeSet<u64>,
    here: VecDeque<(u64, u32)>,
    bytes: u64,
}

impl Lent {
    /// One was asked for.
    pub(crate) fn ask(&mut self, seq: u64) {
        self.asked.insert(seq);
    }

    /// Whether any is being read.
    pub(crate) fn asks(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The answer to a read will bring nothing (of this message).
    pub(crate) fn forget(&mut self, seq: u64) {
        self.asked.remove(&seq);
    }

    /// A body came; whether it was asked for here.
    pub(crate) fn came(&mut self, seq: u64, size: u32) {
        if self.asked.remove(&seq) {
            self.here.push_back((seq, size));
            self.bytes += u64::from(size);
        }
    }

    /// One that is to go now.
    pub(crate) fn overdue(&mut self, memory: &Memory) -> Option<u64> {
        if self.bytes <= memory.budget / SHARE && !memory.over() {
            return None;
        }
        let (seq, size) = self.here.pop_front()?;
        self.bytes -= u64::from(size);
        Some(seq)
    }
}
