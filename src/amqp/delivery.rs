//! Deliveries we sent and that are unsettled, for one session.
//!
//! Invariant: entries are in delivery-id order, so a dense run of ids is found by its offset and a sparse one
//! by binary search, never by hashing; forgotten entries at most double the room. Each entry costs 24 bytes.
//! Does not hold messages.

use std::collections::VecDeque;

use super::{LinkId, serial::Serial};

/// What the receiver said about a delivery without settling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    /// Nothing.
    Nothing,
    /// It is on its way (non-terminal state).
    Progress,
    /// Its outcome.
    Outcome,
    /// The entry is settled: a gap, soon to be removed.
    Settled,
}

#[derive(Debug)]
struct Entry {
    token: u64,
    id: Serial,
    link: LinkId,
    heard: Heard,
}

/// Few entries are not worth sweeping or giving back.
const SLACK: usize = 64;

/// The unsettled deliveries, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    entries: VecDeque<Entry>,
    live: usize,
}

impl Unsettled {
    /// Remembers a delivery; `id` comes after all before it.
    pub fn push(&mut self, id: Serial, link: LinkId, token: u64) {
        self.entries.push_back(Entry { token, id, link, heard: Heard::Nothing });
        self.live += 1;
    }

    /// Index of the first entry whose id is not before `id`.
    fn lower_bound(&self, id: Serial) -> usize {
        let Some(front) = self.entries.front().map(|entry| entry.id) else { return 0 };
        if !front.is_before(id) {
            return 0;
        }
        let offset = id.since(front);
        match self.entries.get(offset as usize) {
            Some(entry) if entry.id == id => offset as usize,
            _ => self.entries.partition_point(|entry| entry.id.since(front) < offset),
        }
    }

    /// The receiver settles `first..=last`: calls `each` with link and token of what is known of these.
    /// The cost is bounded by what is unsettled, not by the range.
    pub fn settle(&mut self, first: Serial, last: Serial, each: impl FnMut(LinkId, u64)) {
        self.visit(first, last, Heard::Settled, true, each);
        self.sweep();
    }

    /// The receiver tells the state of `first..=last` without settling. Told once per kind of state, so that
    /// a peer that repeats itself costs little; `repeat` for states that may come again (transactional ones).
    pub fn hear(
        &mut self,
        first: Serial,
        last: Serial,
        heard: Heard,
        repeat: bool,
        each: impl FnMut(LinkId, u64),
    ) {
        self.visit(first, last, heard, repeat, each);
    }

    fn visit(
        &mut self,
        first: Serial,
        last: Serial,
        heard: Heard,
        repeat: bool,
        mut each: impl FnMut(LinkId, u64),
    ) {
        if last.is_before(first) {
            return;
        }
        let from = self.lower_bound(first);
        for entry in self.entries.range_mut(from..) {
            if last.is_before(entry.id) {
                break;
            }
            if entry.heard == Heard::Settled || (entry.heard >= heard && !repeat) {
                continue;
            }
            if heard == Heard::Settled {
                self.live -= 1;
            }
            entry.heard = entry.heard.max(heard);
            each(entry.link, entry.token);
        }
    }

    /// We settle these deliveries of `link`: calls `each` with their ids. Tokens in sending order cost one pass.
    pub fn settle_tokens(&mut self, link: LinkId, tokens: &[u64], mut each: impl FnMut(Serial)) {
        let len = self.entries.len();
        let mut at = 0;
        for &token in tokens {
            for step in 0..len {
                let index = (at + step) % len;
                let Some(entry) = self.entries.get_mut(index) else { break };
                if entry.token == token && entry.link == link && entry.heard != Heard::Settled {
                    entry.heard = Heard::Settled;
                    self.live -= 1;
                    each(entry.id);
                    at = (index + 1) % len;
                    break;
                }
            }
        }
        self.sweep();
    }

    /// Forgets a link's deliveries, returns their tokens in delivery order.
    pub fn take_link(&mut self, link: LinkId) -> Vec<u64> {
        let mut tokens = Vec::new();
        for entry in &mut self.entries {
            if entry.link == link && entry.heard != Heard::Settled {
                entry.heard = Heard::Settled;
                self.live -= 1;
                tokens.push(entry.token);
            }
        }
        self.sweep();
        tokens
    }

    /// Deliveries known.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Gives memory back while nothing happens.
    pub fn shrink(&mut self) {
        self.entries.shrink_to(self.live);
    }

    /// Drops settled entries in front, and all of them once they outnumber the others: amortised O(1).
    fn sweep(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.heard == Heard::Settled) {
            self.entries.pop_front();
        }
        if self.entries.len() > 2 * self.live + SLACK {
            self.entries.retain(|entry| entry.heard != Heard::Settled);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINK: LinkId = LinkId(1);

    fn sent(from: u32, n: u32) -> Unsettled {
        let mut unsettled = Unsettled::default();
        for i in 0..n {
            unsettled.push(Serial(from).plus(i), LINK, u64::from(i));
        }
        unsettled
    }

    fn settle(unsettled: &mut Unsettled, first: u32, last: u32) -> Vec<u64> {
        let mut tokens = Vec::new();
        unsettled.settle(Serial(first), Serial(last), |_, token| tokens.push(token));
        tokens
    }

    #[test]
    fn a_range_settles_what_is_known_of_it_once() {
        let mut unsettled = sent(u32::MAX - 1, 6);
        assert_eq!(settle(&mut unsettled, u32::MAX, 0), [1, 2]);
        assert_eq!(settle(&mut unsettled, u32::MAX - 1_000, 2_000), [0, 3, 4, 5]);
        assert!(settle(&mut unsettled, 0, 100).is_empty());
        assert_eq!(unsettled.len(), 0);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_settles_nothing() {
        assert!(settle(&mut sent(0, 4), 3, 1).is_empty());
    }

    #[test]
    fn a_state_without_settlement_is_told_once_and_settlement_still() {
        let mut unsettled = sent(0, 2);
        let mut told = 0;
        for _ in 0..3 {
            unsettled.hear(Serial(0), Serial(1), Heard::Outcome, false, |_, _| told += 1);
        }
        assert_eq!(told, 2);
        assert_eq!(settle(&mut unsettled, 0, 1), [0, 1]);
    }

    #[test]
    fn an_old_unsettled_delivery_does_not_pin_the_settled_ones_behind_it() {
        let mut unsettled = Unsettled::default();
        for i in 0..10_000 {
            unsettled.push(Serial(i), LINK, u64::from(i));
            if i > 0 {
                settle(&mut unsettled, i, i);
            }
        }
        assert!(unsettled.entries.len() <= 2 + SLACK, "got {}", unsettled.entries.len());
        assert_eq!(settle(&mut unsettled, 0, 20_000), [0]);
    }

    #[test]
    fn tokens_are_settled_by_us_in_any_order() {
        let mut unsettled = sent(7, 5);
        let mut ids = Vec::new();
        unsettled.settle_tokens(LINK, &[3, 1, 9, 4], |id| ids.push(id.0));
        assert_eq!(ids, [10, 8, 11]);
        assert_eq!(unsettled.take_link(LINK), [0, 2]);
    }

    proptest! {
        /// Against a plain list: same answers, whatever is sent and settled, from any id on.
        #[test]
        fn agrees_with_a_plain_list(start: u32, steps in prop::collection::vec((0u32..8, 0u32..40, 0u32..12), 0..80)) {
            let mut unsettled = Unsettled::default();
            let mut model: Vec<(u32, u64)> = Vec::new();
            let mut next = 0u32;
            for (push, back, len) in steps {
                for _ in 0..push {
                    // every third id is a settled delivery, which is not tracked
                    if !next.is_multiple_of(3) {
                        unsettled.push(Serial(start).plus(next), LINK, u64::from(next));
                        model.push((next, u64::from(next)));
                    }
                    next += 1;
                }
                let first = next.saturating_sub(back);
                let expected: Vec<u64> = model.iter()
                    .filter(|(id, _)| (first..=first + len).contains(id)).map(|(_, token)| *token).collect();
                model.retain(|(id, _)| !(first..=first + len).contains(id));
                let id = Serial(start).plus(first);
                prop_assert_eq!(settle(&mut unsettled, id.0, id.plus(len).0), expected);
                prop_assert_eq!(unsettled.len(), model.len());
            }
        }
    }
}
