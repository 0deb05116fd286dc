//! Messages that every attached consumer has declared undeliverable-here.
//!
//! Invariant: a message is listed while it waits, at least one consumer is attached, and each attached
//! one excluded it; with the time that began. What happens to it after that is the node's business.

use super::Queue;
use crate::time::Millis;

impl Queue {
    /// Brings the list up to date, if anything changed that matters to it.
    pub(crate) fn find_stranded(&mut self, now: Millis) {
        if !std::mem::take(&mut self.stranded_stale) {
            return;
        }
        let Self { ready, entries, consumers, stranded, .. } = self;
        // Looked at only for messages that exclude somebody, and then up to the first taker: consumers come and go
        // by the hundred thousand.
        let takers = || consumers.iter().flatten().filter(|c| !c.browse).map(|c| c.endpoint.as_str());
        let mut still = std::collections::BTreeMap::new();
        for seq in ready.levels.iter().flat_map(super::ready::Level::picky) {
            let Some(entry) = entries.get(seq) else { continue };
            if takers().next().is_some() && takers().all(|t| entry.excludes(t)) {
                still.insert(seq, stranded.get(&seq).copied().unwrap_or(now));
            }
        }
        *stranded = still;
    }

    /// Those that have been stranded for `after_ms`.
    pub(crate) fn take_stranded(&mut self, now: Millis, after_ms: u64) -> Vec<u64> {
        if self.stranded.is_empty() {
            return Vec::new();
        }
        let seqs: Vec<u64> = self
            .stranded
            .iter()
            .filter(|(_, since)| now >= since.plus_ms(after_ms))
            .map(|(s, _)| *s)
            .collect();
        for seq in &seqs {
            self.stranded.remove(seq);
        }
        seqs
    }
}
