//! A queue: entries, the order they are delivered in, the consumers, and the counts, kept in step.
//!
//! Invariant: every entry is counted under its status exactly once, an `Available` one is in its level's
//! lists, and `Memory::resident` is the bytes of all bodies held. All changes of an entry's status go
//! through this file (and the hot path in `dispatch`). Knows no outcomes, records or publishers.

mod browse;
pub(crate) mod consumer;
mod dispatch;
pub(crate) mod entries;
pub(crate) mod entry;
mod expiry;
pub(crate) mod groups;
mod lent;
mod paging;
mod ready;
pub(crate) mod retry;
mod sieve;
mod slots;
mod stranded;
mod vetting;

use std::collections::{BTreeMap, VecDeque};

use self::{
    consumer::Consumer,
    entries::Entries,
    entry::{Entry, LOADING, List, STATE_STORED, Status},
    expiry::Expiries,
    groups::Groups,
    lent::Lent,
    ready::Ready,
    retry::Delayed,
    vetting::Vetting,
};
use super::{Counts, QueueId, breaker::Breaker, letters::catalogue::Catalogue};
use crate::time::Millis;

pub(crate) use paging::Memory;

/// Highest priority told apart; larger ones count as this.
pub(crate) const MAX_PRIORITY: u8 = (ready::LEVELS - 1) as u8;

/// A queue or a dead-letter tree.
#[derive(Debug)]
pub(crate) struct Queue {
    pub id: QueueId,
    pub entries: Entries,
    pub next_seq: u64,
    pub tally: Counts,
    ready: Ready,
    delayed: Delayed,
    expiries: Expiries,
    /// Available ones without a body.
    paged: u64,
    /// Bodies asked for.
    loading: usize,
    /// Bodies in memory only to be judged by filters.
    lent: Lent,
    /// Consumers that take messages and have a filter.
    filtered: u32,
    /// There was more to judge than one turn does: the next is due at once.
    unfinished: bool,
    consumers: Vec<Option<Consumer>>,
    free: Vec<u32>,
    /// Slots of consumers that ended, which the lists below may still name: not free before the next sweep.
    ended: Vec<u32>,
    /// Consumers that can be sent something, next first.
    ring: VecDeque<u32>,
    browsers: Vec<u32>,
    /// Consumers that wait for the answer to a drain or echo.
    asking: Vec<u32>,
    /// Messages all attached consumers excluded, and since when.
    stranded: BTreeMap<u64, Millis>,
    /// Consumers or exclusions changed since stranded messages were last looked for.
    stranded_stale: bool,
    vetting: Vetting,
    pub groups: Groups,
    /// Those here that died.
    pub letters: Catalogue,
    /// Messages whose states the store has, in the order they came to rest here; see `paging`.
    resting: VecDeque<u64>,
    pub breaker: Breaker,
}

impl Queue {
    pub(crate) fn new(id: QueueId, breaker: Breaker) -> Self {
        Self {
            id,
            entries: Entries::default(),
            next_seq: 1,
            tally: Counts::default(),
            ready: Ready::default(),
            delayed: Delayed::default(),
            expiries: Expiries::default(),
            paged: 0,
            loading: 0,
            lent: Lent::default(),
            filtered: 0,
            unfinished: false,
            consumers: Vec::new(),
            free: Vec::new(),
            ended: Vec::new(),
            ring: VecDeque::new(),
            browsers: Vec::new(),
            asking: Vec::new(),
            stranded: BTreeMap::new(),
            stranded_stale: false,
            vetting: Vetting::default(),
            groups: Groups::default(),
            letters: Catalogue::default(),
            resting: VecDeque::new(),
            breaker,
        }
    }

    /// Adds a message as the newest, to be delivered; its number.
    #[inline]
    pub(crate) fn add(&mut self, mut entry: Entry, memory: &mut Memory) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        let (list, picky) = (entry.list(), entry.picky());
        entry.status = Status::Available;
        self.tally.bytes += u64::from(entry.size);
        self.tally.available += 1;
        if entry.message.is_some() {
            memory.resident += u64::from(entry.size);
        } else {
            self.paged += 1;
        }
        let level = self.ready.level(entry.priority);
        level.waiting += 1;
        match list {
            List::Returned => level.push(seq),
            list => level.put_back(seq, list),
        }
        if picky {
            self.picky_came(seq, entry.priority);
        }
        if entry.expires != 0 {
            self.expiries.insert(entry.expires, seq);
        }
        if let Some(state) = &entry.state {
            self.letters.came(seq, state);
        }
        self.entries.insert(seq, entry);
        seq
    }

    /// Adds a message found at recovery at its own place, without a body, and without its state where it can do
    /// without.
    pub(crate) fn restore(&mut self, seq: u64, mut entry: Entry, not_before: Option<Millis>) {
        if entry.state.is_some() {
            entry.flags |= STATE_STORED;
        }
        let next = self.next_seq.max(seq.saturating_add(1));
        self.next_seq = seq;
        self.add(entry, &mut Memory::default());
        self.next_seq = next;
        if let Some(due) = not_before {
            self.delay(seq, due);
        }
        self.page_out(seq, &mut Memory::default());
    }

    fn count(&mut self, status: Status) -> Option<&mut u64> {
        match status {
            Status::Available => Some(&mut self.tally.available),
            Status::Acquired => Some(&mut self.tally.acquired),
            Status::Delayed => Some(&mut self.tally.delayed),
            Status::Held => Some(&mut self.tally.held),
            Status::Moving => Some(&mut self.tally.moving),
            Status::Vacant => None,
        }
    }

    /// Moves a message from the count of one status to that of another; its place in the lists is the
    /// caller's business.
    pub(crate) fn set_status(&mut self, seq: u64, to: Status) {
        let Some(entry) = self.entries.get_mut(seq) else { return };
        let (from, priority, paged) = (entry.status, entry.priority, entry.message.is_none());
        if from == to || to == Status::Vacant {
            return;
        }
        entry.status = to;
        self.recount(from, to, priority, paged);
    }

    fn recount(&mut self, from: Status, to: Status, priority: u8, paged: bool) {
        if let Some(count) = self.count(from) {
            *count -= 1;
        }
        if let Some(count) = self.count(to) {
            *count += 1;
        }
        if from == Status::Available {
            self.ready.level(priority).waiting -= 1;
            self.paged -= u64::from(paged);
        }
        if to == Status::Available {
            self.ready.level(priority).waiting += 1;
            self.paged += u64::from(paged);
        }
    }

    /// Back to its original position, deliverable.
    pub(crate) fn put_back(&mut self, seq: u64) {
        let Some(entry) = self.entries.get(seq) else { return };
        let (priority, list, picky) = (entry.priority, entry.list(), entry.picky());
        if entry.has(STATE_STORED) {
            self.resting.push_back(seq);
        }
        self.set_status(seq, Status::Available);
        self.ready.level(priority).put_back(seq, list);
        if picky {
            self.picky_came(seq, priority);
        }
        if self.filtered > 0 {
            let sieves = self.consumers.iter_mut().flatten().filter_map(|c| c.sieve.as_mut());
            sieves.for_each(|sieve| sieve.came_back(seq, priority));
        }
    }

    /// A message with excluded endpoints waits: everybody looks at it again.
    fn picky_came(&mut self, seq: u64, priority: u8) {
        self.stranded_stale = true;
        for consumer in self.consumers.iter_mut().flatten() {
            if let Some(from) = consumer.picky_from.get_mut(usize::from(priority)) {
                *from = seq.min(*from);
            }
        }
    }

    /// Not to be delivered before `due`.
    pub(crate) fn delay(&mut self, seq: u64, due: Millis) {
        if self.entries.get(seq).is_some() {
            self.unlist(seq);
            self.set_status(seq, Status::Delayed);
            self.delayed.insert(due, seq);
        }
    }

    /// Takes a waiting message off its lists (it stays counted as it is).
    pub(crate) fn unlist(&mut self, seq: u64) {
        let Some(entry) = self.entries.get(seq) else { return };
        if entry.status == Status::Available {
            self.ready.level(entry.priority).forget(seq);
        }
        if !self.stranded.is_empty() {
            self.stranded.remove(&seq);
        }
    }

    /// Takes a message out whole, whatever its status; who holds it is the caller's business.
    #[inline]
    pub(crate) fn take_out(&mut self, seq: u64, memory: &mut Memory) -> Option<Entry> {
        let entry = self.entries.remove(seq)?;
        if !self.letters.is_empty() {
            self.letters.went(seq);
        }
        if entry.status == Status::Available {
            self.ready.level(entry.priority).forget(seq);
        }
        if !self.stranded.is_empty() {
            self.stranded.remove(&seq);
        }
        self.recount(entry.status, Status::Vacant, entry.priority, entry.message.is_none());
        self.tally.bytes -= u64::from(entry.size);
        if entry.message.is_some() {
            memory.resident -= u64::from(entry.size);
        }
        if entry.has(LOADING) {
            self.loading -= 1;
            self.lent.forget(seq);
        }
        self.group_left(seq);
        Some(entry)
    }

    /// Wakes what has waited long enough.
    pub(crate) fn wake_delayed(&mut self, now: Millis) {
        while let Some(seq) = self.delayed.pop_due(now) {
            if self.entries.get(seq).is_some_and(|e| e.status == Status::Delayed) {
                self.put_back(seq);
            }
        }
    }

    /// Expired messages nobody has, up to `limit`. Those that are held are looked at when they return.
    pub(crate) fn expired(&mut self, now: Millis, limit: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < limit {
            let Some((start, len)) = self.expiries.pop_due(now) else { break };
            let waits = |e: &Entry| e.at_rest() && e.expired(now);
            seqs.extend((start..start + u64::from(len)).filter(|&s| self.entries.get(s).is_some_and(waits)));
        }
        let (entries, live) = (&self.entries, self.entries.len());
        self.expiries.tidy(live, |seq| entries.get(seq).is_some());
        seqs
    }

    /// When something here is next due.
    pub(crate) fn next_wake(&self, stranded_after_ms: u64) -> Option<Millis> {
        if self.unfinished {
            return Some(Millis(0));
        }
        let stranded = self.stranded.values().min().map(|since| since.plus_ms(stranded_after_ms));
        let others = [stranded, self.vetting.next_wake(), self.breaker.next_wake()];
        [self.delayed.next(), self.expiries.next()].into_iter().chain(others).flatten().min()
    }

    /// When a delayed message is due.
    pub(crate) fn due_of(&self, seq: u64) -> Option<Millis> {
        self.delayed.due_of(seq)
    }

    /// Takes a message from the consumer that holds it: it is nobody's, `Moving`, until the caller says.
    pub(crate) fn relieve(&mut self, slot: u32, seq: u64) {
        self.set_status(seq, Status::Moving);
        self.let_go(slot, seq);
    }

    /// A consumer no longer holds a message that was taken out.
    #[inline]
    pub(crate) fn let_go(&mut self, slot: u32, seq: u64) {
        let Self { consumers, entries, .. } = self;
        if let Some(consumer) = consumers.get_mut(slot as usize).and_then(Option::as_mut) {
            let alone = consumer.alone;
            consumer.let_go(seq, slot, entries);
            if alone {
                self.reconsider(slot);
            }
        }
        self.breaker.left(seq);
    }

    /// The numbers of all messages with one of these statuses.
    pub(crate) fn with_status(&self, any_of: &[Status]) -> Vec<u64> {
        let mut seqs = Vec::new();
        let mut from = 0;
        while let Some((seq, entry)) = self.entries.next_from(from) {
            if any_of.contains(&entry.status) {
                seqs.push(seq);
            }
            from = seq + 1;
        }
        seqs
    }
}
