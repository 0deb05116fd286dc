//! What a queue did since the process started, in numbers that only grow; and how old its oldest message is.
//!
//! Invariant: counting allocates nothing and never fails; `Ages` keeps at most `MARKS` marks, so an age is
//! never told too small, and too large by no more than the marks are apart. About the main queue only: its
//! dead letters are counted as they arrive. Deliberately not durable, and decides nothing.

use std::collections::VecDeque;

use super::{DeathReason, Outcome, node::Node};
use crate::time::Millis;

/// Most marks kept: 16 bytes each.
const MARKS: usize = 256;
/// How far apart marks are at least.
const APART_MS: u64 = 100;
/// Reasons there are.
const REASONS: usize = 6;

/// Counters of a queue since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages taken from publishers.
    pub published: u64,
    /// Messages of publishers that were not taken.
    pub refused: u64,
    /// Messages of publishers that were accepted and not queued, since they had come before.
    pub duplicates: u64,
    /// Messages handed to consumers, each time.
    pub delivered: u64,
    /// Those of them that had been handed out before.
    pub redelivered: u64,
    /// Deliveries that ended `accepted`.
    pub accepted: u64,
    /// Deliveries that ended as a failed attempt: `modified` with delivery-failed, or with a lost connection.
    pub failed: u64,
    /// Deliveries that ended `rejected`.
    pub rejected: u64,
    /// Deliveries that ended `released`.
    pub released: u64,
    /// Deliveries that ended `modified` without being a failed attempt.
    pub modified: u64,
    /// Messages whose time to live passed.
    pub expired: u64,
    /// Times the retry-storm breaker opened, for the first time or since its probes failed.
    pub breaker_openings: u64,
    /// Annotations of `modified` that were not taken, once for each message; in the dead-letter tree, too.
    pub annotations_skipped: u64,
    /// Messages that became dead letters, in the order of `Tally::REASONS`.
    pub dead_lettered: [u64; REASONS],
    /// Dead letters put back by a replay.
    pub replayed: u64,
    /// Dead letters dropped since they were too many or too old.
    pub dropped: u64,
}

impl Tally {
    /// All reasons to be a dead letter.
    pub const REASONS: [DeathReason; REASONS] = [
        DeathReason::Rejected,
        DeathReason::MaxAttempts,
        DeathReason::Expired,
        DeathReason::Undeliverable,
        DeathReason::Overflow,
        DeathReason::Policy,
    ];

    /// Messages that became dead letters for this reason.
    #[must_use]
    pub fn dead_lettered(&self, reason: DeathReason) -> u64 {
        self.dead_lettered.get(reason as usize).copied().unwrap_or(0)
    }

    pub(super) fn died(&mut self, reason: DeathReason) {
        if let Some(count) = self.dead_lettered.get_mut(reason as usize) {
            *count += 1;
        }
    }

    #[inline]
    pub(super) fn settled(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Rejected(_) => self.rejected += 1,
            Outcome::Released => self.released += 1,
            Outcome::Modified(modified) if modified.delivery_failed => self.failed += 1,
            Outcome::Modified(_) => self.modified += 1,
        }
    }

    /// A delivery that ended with its connection.
    pub(super) fn lost(&mut self, suspect: bool) {
        *(if suspect { &mut self.failed } else { &mut self.released }) += 1;
    }

    /// Adds another queue's numbers.
    pub fn add(&mut self, other: &Self) {
        self.with(other, |a, b| a.saturating_add(b));
    }

    /// Takes the larger of each number: what only grows must not be seen to shrink.
    pub fn at_least(&mut self, other: &Self) {
        self.with(other, u64::max);
    }

    fn with(&mut self, other: &Self, join: impl Fn(u64, u64) -> u64) {
        let mine = [
            &mut self.published,
            &mut self.refused,
            &mut self.duplicates,
            &mut self.delivered,
            &mut self.redelivered,
            &mut self.accepted,
            &mut self.failed,
            &mut self.rejected,
            &mut self.released,
            &mut self.modified,
            &mut self.expired,
            &mut self.breaker_openings,
            &mut self.annotations_skipped,
            &mut self.replayed,
            &mut self.dropped,
        ];
        let theirs = [
            other.published,
            other.refused,
            other.duplicates,
            other.delivered,
            other.redelivered,
            other.accepted,
            other.failed,
            other.rejected,
            other.released,
            other.modified,
            other.expired,
            other.breaker_openings,
            other.annotations_skipped,
            other.replayed,
            other.dropped,
        ];
        let theirs = theirs.into_iter().chain(other.dead_lettered);
        for (a, b) in mine.into_iter().chain(&mut self.dead_lettered).zip(theirs) {
            *a = join(*a, b);
        }
    }
}

/// When messages came, coarsely: messages from a number on came at a time or later.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// The node's first moment: what is older came with recovery.
    began: Option<Millis>,
    marks: VecDeque<(u64, Millis)>,
    apart_ms: u64,
}

impl Ages {
    /// The node lives from now on.
    #[inline]
    pub(super) fn begin(&mut self, now: Millis) {
        self.began.get_or_insert(now);
    }

    /// The next message's number is `next`, and it is now.
    #[inline]
    pub(super) fn note(&mut self, next: u64, now: Millis) {
        match self.marks.back_mut() {
            Some((seq, at)) if *seq == next => *at = now,
            Some((_, at)) if now.since_ms(*at) < self.apart_ms.max(APART_MS) => {}
            _ => self.marks.push_back((next, now)),
        }
    }

    /// Forgets marks before the oldest message, and every other one where there are still too many.
    fn tidy(&mut self, oldest: u64) {
        while self.marks.get(1).is_some_and(|(seq, _)| *seq <= oldest) {
            self.marks.pop_front();
        }
        if self.marks.len() <= MARKS / 2 {
            self.apart_ms = APART_MS;
        } else if self.marks.len() >= MARKS {
            self.apart_ms = self.apart_ms.max(APART_MS).saturating_mul(2);
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    fn came(&self, seq: u64) -> Option<Millis> {
        let after = self.marks.partition_point(|(from, _)| *from <= seq);
        let mark = after.checked_sub(1).and_then(|i| self.marks.get(i));
        mark.map(|(_, at)| *at).or(self.began)
    }
}

impl Node {
    /// What the queue did since the process started.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How long the oldest message of the queue has been in it, waiting or handed out, as far as this process
    /// knows: messages found at recovery count from then. 0 for an empty queue.
    #[must_use]
    pub fn oldest_age_ms(&self, now: Millis) -> u64 {
        let oldest = self.main.entries.next_from(0);
        oldest.and_then(|(seq, _)| self.ages.came(seq)).map_or(0, |came| now.since_ms(came))
    }

    /// New messages are about to come.
    #[inline]
    pub(super) fn note_arrivals(&mut self, now: Millis) {
        self.ages.note(self.main.next_seq, now);
        if self.ages.marks.len() >= MARKS {
            let oldest = self.main.entries.next_from(0).map_or(self.main.next_seq, |(seq, _)| seq);
            self.ages.tidy(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_never_too_small_and_marks_are_bounded() {
        let mut ages = Ages::default();
        ages.begin(Millis(0));
        for seq in 1..=100_000u64 {
            ages.note(seq, Millis(seq * 10));
            if ages.marks.len() >= MARKS {
                ages.tidy(1);
            }
            assert!(ages.marks.len() <= MARKS);
        }
        for seq in [1, 500, 50_000, 99_999] {
            let came = ages.came(seq).map_or(u64::MAX, |at| at.0);
            assert!(came <= seq * 10 && came + 20_000 > seq * 10, "{seq}: {came}");
        }
        ages.tidy(99_999);
        assert!(ages.marks.len() <= 2, "{:?}", ages.marks);
    }

    #[test]
    fn messages_of_recovery_count_from_the_start() {
        let mut ages = Ages::default();
        ages.begin(Millis(7));
        ages.note(50, Millis(1000));
        assert_eq!(ages.came(3), Some(Millis(7)));
        assert_eq!(ages.came(50), Some(Millis(1000)));
    }

    #[test]
    fn sums_and_maxima_are_of_every_number() {
        let mut one = Tally { published: 1, expired: 7, annotations_skipped: 3, ..Tally::default() };
        one.died(DeathReason::Policy);
        let mut two = one;
        two.add(&one);
        assert_eq!((two.published, two.expired, two.dead_lettered(DeathReason::Policy)), (2, 14, 2));
        assert_eq!((two.breaker_openings, two.annotations_skipped), (0, 6));
        one.at_least(&two);
        assert_eq!(one, two);
        for (i, reason) in Tally::REASONS.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
    }
}
