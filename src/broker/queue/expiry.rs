//! Which messages expire when, coarsely: runs of sequence numbers in buckets of time.
//!
//! Invariant: every message with an expiry is in the bucket that ends at or after it, so at a bucket's
//! time all of it has expired. Dispatch never hands out an expired message, whatever is here; this only
//! finds those that nobody asks for. May name messages that are gone.

use std::collections::BTreeMap;

use crate::time::Millis;

/// Width of a bucket: how late an expired message that nobody asks for may be noticed.
const BUCKET_MS: u64 = 16;

/// Expiry times of a queue's messages.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    buckets: BTreeMap<u64, Vec<(u64, u32)>>,
    runs: usize,
}

impl Expiries {
    /// Notes that a message expires; `expires` is not 0.
    pub(crate) fn insert(&mut self, expires: u64, seq: u64) {
        let bucket = expires.checked_next_multiple_of(BUCKET_MS).unwrap_or(u64::MAX);
        let runs = self.buckets.entry(bucket).or_default();
        match runs.last_mut() {
            Some((start, len)) if *start + u64::from(*len) == seq && *len < u32::MAX => *len += 1,
            _ => {
                runs.push((seq, 1));
                self.runs += 1;
            }
        }
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.buckets.first_key_value().map(|(bucket, _)| Millis(*bucket))
    }

    /// Takes a run of messages whose bucket has ended.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<(u64, u32)> {
        let mut bucket = self.buckets.first_entry()?;
        if *bucket.key() > now.0 {
            return None;
        }
        let run = bucket.get_mut().pop();
        if bucket.get().is_empty() {
            bucket.remove();
        }
        self.runs -= usize::from(run.is_some());
        run
    }

    /// Drops what is gone when most of it may be: `live` is how many messages the queue holds.
    pub(crate) fn tidy(&mut self, live: u64, alive: impl Fn(u64) -> bool) {
        if self.runs as u64 <= live.saturating_mul(2).saturating_add(4096) {
            return;
        }
        self.runs = 0;
        self.buckets.retain(|_, runs| {
            runs.retain(|&(start, len)| (start..start + u64::from(len)).any(&alive));
            self.runs += runs.len();
            !runs.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_due_only_when_all_of_it_has_expired() {
        let mut expiries = Expiries::default();
        for seq in 1..=100 {
            expiries.insert(1000 + seq % 10, seq);
        }
        assert_eq!(expiries.next(), Some(Millis(1008)));
        assert_eq!(expiries.pop_due(Millis(1007)), None);
        let mut found = 0;
        while let Some((_, len)) = expiries.pop_due(Millis(1024)) {
            found += len;
        }
        assert_eq!((found, expiries.next()), (100, None));
    }

    #[test]
    fn settled_messages_with_a_long_time_to_live_do_not_pile_up() {
        let mut expiries = Expiries::default();
        for seq in 1..=20_000u64 {
            expiries.insert(1_000_000 + seq * 37 % 50_000, seq);
            expiries.tidy(1, |s| s + 1 >= seq);
        }
        assert!(expiries.runs < 5000, "{}", expiries.runs);
    }
}
