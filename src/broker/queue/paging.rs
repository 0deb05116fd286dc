//! Which bodies and states are in memory: dropped past the budget, read back ahead of demand.
//!
//! Invariant: a body is dropped only where the store has it (`Entry::location`), a state likewise
//! (`Entry::state_may_go`) and with its body, and `paged` counts the waiting ones without a body. Reads are bounded
//! in number and bytes and asked for only while a consumer could take what they bring. An unreadable message is set
//! aside, never lost.

use std::sync::Arc;

use super::{
    Queue,
    entry::{LOADING, STATE_PAGED, STATE_STORED, Status, UNREADABLE},
};
use crate::{
    broker::{EntryState, Loaded, Seq, Wanted},
    time::Millis,
};

/// Most messages in one read.
pub(crate) const LOAD_MESSAGES: usize = 256;
/// Most bytes in one read (a single larger message is read alone).
const LOAD_BYTES: u64 = 1024 * 1024;
/// Most messages being read at a time: two reads, so that one is on its way while the other is delivered.
const LOADING_MAX: usize = 2 * LOAD_MESSAGES;
/// Fewest messages looked ahead, so that a consumer giving credit one by one does not wait for each.
const AHEAD_MIN: usize = 32;
/// Bytes of the budget for each state of a waiting message that is kept in memory though the store has it: the
/// newest are, since they are most likely to be needed. A million dead letters would take most of a gigabyte otherwise.
const BYTES_PER_STATE: u64 = 16 * 1024;
/// How long an unreadable message is set aside, the first time and later.
const UNREADABLE_MS: (u64, u64) = (1000, 60_000);

/// The memory a node's bodies may take.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Bytes of the bodies held.
    pub resident: u64,
    /// How many it may be.
    pub budget: u64,
}

impl Memory {
    /// Whether bodies must go.
    #[inline]
    pub(crate) fn over(&self) -> bool {
        self.resident > self.budget
    }
}

impl Queue {
    /// Drops a body if memory is short and the store has it.
    pub(crate) fn spill(&mut self, seq: u64, memory: &mut Memory) {
        if memory.over() {
            self.drop_body(seq, memory);
        }
    }

    /// Drops a body if the store has it.
    fn drop_body(&mut self, seq: u64, memory: &mut Memory) {
        let Some(entry) = self.entries.get_mut(seq) else { return };
        if entry.location().is_some() && entry.message.take().is_some() {
            memory.resident -= u64::from(entry.size);
            self.paged += u64::from(entry.status == Status::Available);
        }
    }

    /// Drops bodies that were read only to be judged and have been here long enough.
    pub(crate) fn return_lent(&mut self, memory: &mut Memory) {
        while let Some(seq) = self.lent.overdue(memory) {
            self.drop_body(seq, memory);
        }
    }

    /// Drops bodies from the newest on until the budget is kept: the oldest are needed first.
    pub(crate) fn spill_newest(&mut self, memory: &mut Memory) {
        let mut before = u64::MAX;
        while memory.over() {
            let Some((seq, _)) = self.entries.last_before(before) else { break };
            self.spill(seq, memory);
            before = seq;
        }
    }

    /// The store has this state of a message now: if it is still what the message has, it may leave the memory.
    pub(crate) fn state_stored(&mut self, seq: u64, state: &Arc<EntryState>) {
        let Some(entry) = self.entries.get_mut(seq) else { return };
        if entry.state.as_ref().is_some_and(|held| Arc::ptr_eq(held, state)) {
            entry.flags |= STATE_STORED;
            self.resting.push_back(seq);
        }
    }

    /// Drops states (and bodies with them) of messages that wait, but for the newest.
    pub(crate) fn page_states(&mut self, memory: &mut Memory) {
        let kept = usize::try_from(memory.budget / BYTES_PER_STATE).unwrap_or(usize::MAX);
        while self.resting.len() > kept {
            let Some(seq) = self.resting.pop_front() else { return };
            self.page_out(seq, memory);
        }
    }

    pub(super) fn page_out(&mut self, seq: u64, memory: &mut Memory) {
        let Some(entry) = self.entries.get_mut(seq).filter(|e| e.state_may_go()) else { return };
        if entry.message.take().is_some() {
            memory.resident -= u64::from(entry.size);
            self.paged += u64::from(entry.status == Status::Available);
        }
        entry.state = None;
        entry.flags = (entry.flags & !STATE_STORED) | STATE_PAGED;
    }

    /// Bodies to read only to be judged: one read at a time, so that those who look through a queue leave reads for
    /// those who want all of it.
    pub(crate) fn plan_judging(&mut self, seqs: &[u64]) -> Vec<Wanted> {
        if self.lent.asks() {
            return Vec::new();
        }
        let bodies = self.start_load(seqs);
        bodies.iter().for_each(|wanted| self.lent.ask(wanted.seq.0));
        bodies
    }

    /// Bodies to read now: those somebody waits for (`wanted`), and what comes after them.
    pub(crate) fn plan_load(&mut self, wanted: &mut Vec<u64>) -> Vec<Wanted> {
        if (self.paged == 0 && wanted.is_empty()) || self.loading >= LOADING_MAX {
            return Vec::new();
        }
        let urgent = !wanted.is_empty();
        let mut seqs = std::mem::take(wanted);
        let credit: u64 = self.ring.iter().map(|s| self.credit(*s)).fold(0, u64::saturating_add);
        if credit > 0 {
            let window = usize::try_from(credit).unwrap_or(usize::MAX).clamp(AHEAD_MIN, LOADING_MAX);
            let mut ahead = self.ahead(window);
            if urgent || ahead.len() >= window / 4 {
                seqs.append(&mut ahead);
            }
        }
        self.start_load(&seqs)
    }

    /// What a consumer would take of all that comes; one with a filter asks for what it looks at.
    fn credit(&self, slot: u32) -> u64 {
        let consumer = self.consumers.get(slot as usize).and_then(Option::as_ref);
        consumer.filter(|c| c.sieve.is_none()).map_or(0, |c| u64::from(c.credit))
    }

    /// Waiting messages without a body that will be delivered next, highest priority first.
    fn ahead(&self, window: usize) -> Vec<u64> {
        let mut found = Vec::new();
        let mut left = window;
        for (i, level) in self.ready.levels.iter().enumerate().rev().filter(|(_, l)| l.waiting > 0) {
            let mut seqs = level.ahead(&self.entries, left);
            left = left.saturating_sub(seqs.len());
            seqs.retain(|&seq| {
                self.entries.get(seq).is_some_and(|e| {
                    e.status == Status::Available && usize::from(e.priority) == i && !e.at_hand()
                })
            });
            seqs.sort_unstable();
            found.append(&mut seqs);
            if left == 0 {
                break;
            }
        }
        found
    }

    /// Asks for some of these that are not here and not asked for yet.
    pub(crate) fn start_load(&mut self, seqs: &[u64]) -> Vec<Wanted> {
        let mut bodies = Vec::new();
        let mut bytes = 0;
        for &seq in seqs {
            if bodies.len() == LOAD_MESSAGES || bytes >= LOAD_BYTES || self.loading >= LOADING_MAX {
                break;
            }
            let Some(entry) = self.entries.get_mut(seq) else { continue };
            let Some(location) = entry.location() else { continue };
            if !entry.at_hand() && !entry.has(LOADING) {
                entry.flags |= LOADING;
                self.loading += 1;
                bytes += u64::from(entry.size);
                bodies.push(Wanted { seq: Seq(seq), location, state: entry.has(STATE_PAGED) });
            }
        }
        bodies
    }

    /// A body (and state) was read, or could not be.
    pub(crate) fn loaded(&mut self, now: Millis, loaded: Loaded, memory: &mut Memory) {
        let Loaded { seq: Seq(seq), body, state } = loaded;
        let Some(entry) = self.entries.get_mut(seq) else { return };
        if !entry.has(LOADING) {
            return;
        }
        entry.flags &= !LOADING;
        self.loading -= 1;
        if entry.at_hand() {
            self.lent.forget(seq);
            return;
        }
        let complete = body.filter(|_| state.is_some() || !entry.has(STATE_PAGED));
        if let Some(message) = complete {
            self.lent.came(seq, entry.size);
            entry.flags &= !UNREADABLE;
            if entry.has(STATE_PAGED) {
                entry.state = state;
                entry.set_counts(entry.delivery_count, entry.acquired_count);
                entry.flags = (entry.flags & !STATE_PAGED) | STATE_STORED;
            }
            if entry.has(STATE_STORED) {
                self.resting.push_back(seq);
            }
            entry.message = Some(message);
            memory.resident += u64::from(entry.size);
            self.paged -= u64::from(entry.status == Status::Available);
            return;
        }
        self.lent.forget(seq);
        let wait = if entry.has(UNREADABLE) { UNREADABLE_MS.1 } else { UNREADABLE_MS.0 };
        entry.flags |= UNREADABLE;
        if entry.status == Status::Available {
            self.delay(seq, now.plus_ms(wait));
        }
    }
}
