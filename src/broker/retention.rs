//! How long dead letters are kept, where their queue's owner set a limit: the oldest go first.
//!
//! Invariant: nothing goes unless the policy names a limit ("Never a deletion: the dead-letter tree always exists"), and
//! nothing that a consumer has. At most `AT_ONCE` go in one turn. Counted, so that it is seen.

use super::{node::Node, policy::LetterLimits, settlement::finish};
use crate::time::Millis;

/// Dead letters dropped in one turn: a million that grow old together must not hold up the rest.
const AT_ONCE: usize = 4096;

impl Node {
    /// Drops dead letters that are too many or too old.
    pub(super) fn drop_old_letters(&mut self, now: Millis) {
        let LetterLimits { max_messages, max_bytes, max_age_ms } = self.definition.policy.dead_letters;
        if max_messages.is_none() && max_bytes.is_none() && max_age_ms.is_none() {
            return;
        }
        let mut at = 0;
        for _ in 0..AT_ONCE {
            let Self { dead, ledger, memory, .. } = self;
            let Some((seq, entry)) = dead.entries.next_from(at) else { return };
            at = seq + 1;
            let many = max_messages.is_some_and(|max| dead.entries.len() > max)
                || max_bytes.is_some_and(|max| dead.tally.bytes > max);
            let old = max_age_ms
                .zip(dead.letters.get(seq))
                .is_some_and(|(max, letter)| letter.time.plus_ms(max) <= now);
            if !many && !old {
                return;
            }
            if entry.at_rest() {
                finish(dead, ledger, memory, seq);
                self.tally.dropped += 1;
            }
        }
    }

    /// When the oldest dead letter will be too old, or that there is more to do at once.
    pub(super) fn next_old_letter(&self) -> Option<Millis> {
        let LetterLimits { max_age_ms, .. } = self.definition.policy.dead_letters;
        let (seq, entry) = self.dead.entries.next_from(0)?;
        let letter = self.dead.letters.get(seq)?;
        // One that somebody has is looked at when it comes back.
        max_age_ms.filter(|_| entry.at_rest()).map(|max| letter.time.plus_ms(max))
    }
}
