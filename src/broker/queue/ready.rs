//! The order in which waiting messages are to be delivered: by priority, then by sequence number.
//!
//! Invariant: every `Available` entry is in one of its level's four lists. New ones are runs of
//! sequence numbers (16 bytes a run, not a message); returned ones a set, so that they are back at their original
//! position; those with excluded endpoints a set of their own, since each consumer may see another head; and crash
//! suspects one, since only a consumer that holds nothing may have them. A list may
//! also name numbers that are no longer waiting: they are dropped when they come up.

use std::collections::{BTreeSet, VecDeque};

use super::{
    entries::Entries,
    entry::{Entry, List, Status},
};

/// Priorities told apart (part 3.2.1: implementations may support fewer than 256).
pub(crate) const LEVELS: usize = 10;
/// A run may span this many numbers of other levels or gone messages; they are skipped one by one.
const GAP: u64 = 16;

/// What a look along a level came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Along {
    /// This one waits.
    Waits(u64),
    /// None does from there on.
    End,
    /// No steps were left; go on here.
    Pause(u64),
}

/// One priority.
#[derive(Debug, Default)]
pub(crate) struct Level {
    /// Runs of numbers, both ends included, growing.
    fresh: VecDeque<(u64, u64)>,
    returned: BTreeSet<u64>,
    picky: BTreeSet<u64>,
    suspects: BTreeSet<u64>,
    /// How many are waiting.
    pub waiting: u64,
}

/// Whether it waits here, for everybody. (A run of new ones may span some that are in other lists.)
#[inline]
fn waits(entries: &Entries, level: usize, seq: u64) -> bool {
    entries.get(seq).is_some_and(|e| {
        e.status == Status::Available && usize::from(e.priority) == level && e.list() == List::Returned
    })
}

impl Level {
    /// Adds a new message, the newest of its level.
    #[inline]
    pub(crate) fn push(&mut self, seq: u64) {
        match self.fresh.back_mut() {
            Some((_, end)) if seq > *end && seq - *end <= GAP => *end = seq,
            _ => self.fresh.push_back((seq, seq)),
        }
    }

    /// Puts one back where it was.
    pub(crate) fn put_back(&mut self, seq: u64, list: List) {
        match list {
            List::Returned => self.returned.insert(seq),
            List::Picky => self.picky.insert(seq),
            List::Suspects => self.suspects.insert(seq),
        };
    }

    /// Forgets one that was removed while it waited.
    pub(crate) fn forget(&mut self, seq: u64) {
        self.returned.remove(&seq);
        self.picky.remove(&seq);
        self.suspects.remove(&seq);
    }

    /// The first new one.
    #[inline]
    fn fresh_head(&mut self, entries: &Entries, level: usize) -> Option<u64> {
        loop {
            let (start, end) = self.fresh.front_mut()?;
            while *start <= *end {
                if waits(entries, level, *start) {
                    return Some(*start);
                }
                *start = entries.skip_gone(*start + 1);
            }
            self.fresh.pop_front();
        }
    }

    fn returned_head(&mut self, entries: &Entries, level: usize) -> Option<u64> {
        loop {
            let seq = *self.returned.first()?;
            if waits(entries, level, seq) {
                return Some(seq);
            }
            self.returned.pop_first();
        }
    }

    /// The first message for everybody.
    #[inline]
    pub(crate) fn head(&mut self, entries: &Entries, level: usize) -> Option<u64> {
        let fresh = self.fresh_head(entries, level);
        if self.returned.is_empty() {
            return fresh;
        }
        match (self.returned_head(entries, level), fresh) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The first message from `from` on that some endpoint excluded, but not this one.
    pub(crate) fn picky_head(&self, entries: &Entries, from: u64, endpoint: &str) -> Option<u64> {
        let fits = |e: &Entry| e.status == Status::Available && !e.excludes(endpoint);
        self.picky.range(from..).copied().find(|&seq| entries.get(seq).is_some_and(fits))
    }

    /// The first message from `from` on that waits, in whichever list; each that does not takes a step.
    pub(crate) fn along(&self, entries: &Entries, level: usize, from: u64, steps: &mut u32) -> Along {
        let here = |e: &Entry| e.status == Status::Available && usize::from(e.priority) == level;
        let first = |list: &BTreeSet<u64>| {
            list.range(from..).copied().find(|&seq| entries.get(seq).is_some_and(here))
        };
        let listed = [&self.returned, &self.picky, &self.suspects].into_iter().filter_map(first).min();
        let before = listed.unwrap_or(u64::MAX);
        for &(start, end) in self.fresh.range(self.fresh.partition_point(|(_, end)| *end < from)..) {
            let mut seq = start.max(from);
            while seq <= end && seq < before {
                if waits(entries, level, seq) {
                    return Along::Waits(seq);
                }
                if *steps == 0 {
                    return Along::Pause(seq);
                }
                *steps -= 1;
                seq = entries.skip_gone(seq + 1);
            }
        }
        listed.map_or(Along::End, Along::Waits)
    }

    /// Whether some message here has excluded endpoints.
    #[inline]
    pub(crate) fn has_picky(&self) -> bool {
        !self.picky.is_empty()
    }

    /// Messages here that may have excluded endpoints.
    pub(crate) fn picky(&self) -> impl Iterator<Item = u64> + '_ {
        self.picky.iter().chain(&self.suspects).copied()
    }

    /// The crash suspects here.
    #[inline]
    pub(crate) fn suspects(&self) -> &BTreeSet<u64> {
        &self.suspects
    }

    /// Takes a head that `head` or `picky_head` named, or a suspect, off its list.
    #[inline]
    pub(crate) fn take(&mut self, seq: u64) {
        if let Some((start, _)) = self.fresh.front_mut().filter(|(start, _)| *start == seq) {
            *start += 1;
        }
        if !self.returned.is_empty() {
            self.returned.remove(&seq);
        }
        if !self.picky.is_empty() {
            self.picky.remove(&seq);
        }
        if !self.suspects.is_empty() {
            self.suspects.remove(&seq);
        }
    }

    /// Some numbers from the front of each list, looking at no more than `limit` each; not sorted.
    pub(crate) fn ahead(&self, entries: &Entries, limit: usize) -> Vec<u64> {
        let mut seqs: Vec<u64> =
            self.returned.iter().chain(&self.picky).chain(&self.suspects).take(limit).copied().collect();
        let mut left = limit;
        for &(start, end) in &self.fresh {
            let mut seq = start;
            while seq <= end && left > 0 {
                seqs.push(seq);
                left -= 1;
                seq = entries.skip_gone(seq + 1);
            }
            if left == 0 {
                break;
            }
        }
        seqs
    }

    #[cfg(test)]
    pub(crate) fn runs(&self) -> usize {
        self.fresh.len()
    }
}

/// All priorities.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// By priority.
    pub levels: [Level; LEVELS],
}

impl Ready {
    /// The level of a priority.
    #[inline]
    pub(crate) fn level(&mut self, priority: u8) -> &mut Level {
        // Cannot be out of bounds: larger ones count as the largest.
        &mut self.levels[usize::from(priority).min(LEVELS - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(entries: &mut Entries, seq: u64, priority: u8) {
        entries.insert(seq, Entry { status: Status::Available, priority, ..Entry::VACANT });
    }

    #[test]
    fn a_long_backlog_is_one_run_even_with_mixed_priorities() {
        let (mut entries, mut ready) = (Entries::default(), Ready::default());
        for seq in 1..=10_000 {
            let priority = (seq % 3) as u8;
            waiting(&mut entries, seq, priority);
            ready.level(priority).push(seq);
        }
        assert_eq!(ready.level(0).runs() + ready.level(1).runs() + ready.level(2).runs(), 3);
        for seq in (1..=10_000).filter(|s| s % 3 == 1) {
            assert_eq!(ready.level(1).head(&entries, 1), Some(seq));
            ready.level(1).take(seq);
        }
        assert_eq!(ready.level(1).head(&entries, 1), None);
    }

    #[test]
    fn what_was_removed_while_waiting_is_skipped() {
        let (mut entries, mut ready) = (Entries::default(), Ready::default());
        for seq in 1..=5000 {
            waiting(&mut entries, seq, 4);
            ready.level(4).push(seq);
        }
        for seq in 1..5000 {
            entries.remove(seq);
        }
        assert_eq!(ready.level(4).head(&entries, 4), Some(5000));
        entries.remove(5000);
        assert_eq!(ready.level(4).head(&entries, 4), None);
    }
}
