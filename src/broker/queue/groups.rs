//! Retry order by group: "a failed message holds back only its own group-id".
//!
//! From its first failure until it is settled for good (accepted, dead-lettered, expired), whether it waits for its
//! retry or is out again, a message holds back all later ones of its group; other groups go on. Those that were out
//! already when it failed stay out, and when they come back they wait in order too. A held message is on no list of
//! `ready`: it is put aside when it comes up, and put back when it is free, so one that nobody asked for costs nothing.
//!
//! Invariant: no message goes out while an earlier one of its group has failed and is still here. The groups of failed
//! messages must be known for that: read off their bodies, which after a restart are fetched first (`unknown`), and
//! messages with a group wait behind them until then. At most `GROUP_HELD` are put aside; then what comes after
//! waits as well. Does not know what a group is (`Reader`), nor what an outcome means (`settlement`).

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::{
    Memory, Queue,
    entry::{Entry, STATE_PAGED, Status, UNREADABLE},
};
use crate::{
    broker::{EntryState, Fingerprint, Message, policy::RetryOrder},
    limits::GROUP_HELD,
};

/// Failed messages whose bodies are asked for at a time.
const ASKED: usize = 256;

/// Whether a message may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may.
    Free,
    /// An earlier one of its group failed: it was put aside.
    Held,
    /// That is not known yet.
    Unknown,
    /// It may not, and no more can be put aside.
    Full,
}

#[derive(Debug, Default)]
struct Group {
    failed: BTreeSet<u64>,
    held: BTreeSet<u64>,
}

/// The groups of a queue that have a failed message.
#[derive(Debug)]
pub(crate) struct Groups {
    on: bool,
    read: fn(&Message) -> Option<Fingerprint>,
    groups: FxHashMap<Fingerprint, Group>,
    /// The group of each message that failed or is held.
    of: FxHashMap<u64, Fingerprint>,
    /// Failed messages whose group is not known, since their bodies are not here.
    unknown: BTreeSet<u64>,
    held: usize,
    /// Somebody was freed since the last dispatch began.
    freed: bool,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            on: false,
            read: |_| None,
            groups: FxHashMap::default(),
            of: FxHashMap::default(),
            unknown: BTreeSet::new(),
            held: 0,
            freed: false,
        }
    }
}

impl Groups {
    pub(crate) fn set_reader(&mut self, read: fn(&Message) -> Option<Fingerprint>) {
        self.read = read;
    }

    /// Whether this one may go out; where it may not, it is held from now on, and the caller takes it off its list.
    #[inline]
    pub(crate) fn judge(&mut self, seq: u64, entry: &Entry) -> Turn {
        if self.groups.is_empty() && self.unknown.is_empty() {
            return Turn::Free;
        }
        let Some(group) = self.group_of(seq, entry) else { return Turn::Free };
        if self.unknown.first().is_some_and(|first| *first < seq) {
            return Turn::Unknown;
        }
        let Some(members) = self.groups.get_mut(&group) else { return Turn::Free };
        if members.failed.first().is_none_or(|first| *first >= seq) {
            return Turn::Free;
        }
        if self.held >= GROUP_HELD {
            return Turn::Full;
        }
        self.held += usize::from(members.held.insert(seq));
        self.of.insert(seq, group);
        Turn::Held
    }

    fn group_of(&self, seq: u64, entry: &Entry) -> Option<Fingerprint> {
        self.of.get(&seq).copied().or_else(|| (self.read)(entry.message.as_deref()?))
    }

    fn failed(&mut self, seq: u64, entry: &Entry) {
        self.unknown.remove(&seq);
        if let Some(group) = self.group_of(seq, entry) {
            self.of.insert(seq, group);
            self.groups.entry(group).or_default().failed.insert(seq);
        } else if entry.message.is_none() && entry.location().is_some() && !entry.has(UNREADABLE) {
            self.unknown.insert(seq);
        }
    }

    /// It is settled for good; who is free by that.
    fn left(&mut self, seq: u64) -> BTreeSet<u64> {
        self.unknown.remove(&seq);
        let Some(group) = self.of.remove(&seq) else { return BTreeSet::new() };
        let Some(members) = self.groups.get_mut(&group) else { return BTreeSet::new() };
        members.failed.remove(&seq);
        self.held -= usize::from(members.held.remove(&seq));
        let mut free = std::mem::take(&mut members.held);
        match members.failed.first() {
            Some(first) => members.held = free.split_off(&(first + 1)),
            None => drop(self.groups.remove(&group)),
        }
        self.held -= free.len();
        self.forget_free(&free, group);
        free
    }

    /// Of those that are free only the failed ones are of interest still.
    fn forget_free(&mut self, free: &BTreeSet<u64>, group: Fingerprint) {
        let failed = self.groups.get(&group).map(|members| &members.failed);
        for seq in free.iter().filter(|seq| failed.is_none_or(|failed| !failed.contains(seq))) {
            self.of.remove(seq);
        }
    }

    fn switch_off(&mut self) -> BTreeSet<u64> {
        self.on = false;
        self.unknown.clear();
        self.of.clear();
        self.held = 0;
        self.groups.drain().flat_map(|(_, members)| members.held).collect()
    }
}

/// Whether it failed, and not only before it died the last time (and came here, or was replayed).
pub(crate) fn failed_here(state: &EntryState) -> bool {
    let last = state.failures.last();
    last.is_some_and(|last| state.death.as_ref().is_none_or(|death| last.time > death.time))
}

impl Queue {
    /// Sets the retry order, be it that messages have failed already.
    pub(crate) fn set_retry_order(&mut self, order: RetryOrder) {
        match (order, self.groups.on) {
            (RetryOrder::Message, true) => {
                let free = self.groups.switch_off();
                self.free(free);
            }
            (RetryOrder::Group, false) => {
                self.groups.on = true;
                let mut from = 0;
                while let Some((seq, entry)) = self.entries.next_from(from) {
                    // Where the state is out of memory, it is looked at when it was read.
                    let paged = entry.has(STATE_PAGED) && entry.acquired_count > 0;
                    let failed = paged || entry.state.as_deref().is_some_and(failed_here);
                    if failed && entry.status != Status::Moving {
                        self.groups.failed(seq, entry);
                    }
                    from = seq + 1;
                }
            }
            _ => {}
        }
    }

    /// Recovery: a message is back that had failed.
    pub(crate) fn group_restored(&mut self, seq: u64) {
        if let Some(entry) = self.entries.get(seq).filter(|_| self.groups.on) {
            self.groups.failed(seq, entry);
        }
    }

    /// A message failed, and is to be tried again if it is still here.
    pub(crate) fn group_failed(&mut self, seq: u64) {
        let here = |entry: &&Entry| matches!(entry.status, Status::Available | Status::Delayed);
        if let Some(entry) = self.entries.get(seq).filter(here).filter(|_| self.groups.on) {
            self.groups.failed(seq, entry);
        }
    }

    /// A message is settled for good: what it held back goes on.
    #[inline]
    pub(crate) fn group_left(&mut self, seq: u64) {
        if self.groups.on {
            let free = self.groups.left(seq);
            self.free(free);
        }
    }

    fn free(&mut self, seqs: BTreeSet<u64>) {
        self.groups.freed |= !seqs.is_empty();
        for seq in seqs {
            if self.entries.get(seq).is_some_and(|e| e.status == Status::Held) {
                self.put_back(seq);
            }
        }
    }

    /// Whether messages were freed since this was last asked.
    pub(crate) fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.groups.freed)
    }

    /// Messages that were put aside while dispatching.
    pub(crate) fn set_held(&mut self, seqs: Vec<u64>, memory: &mut Memory) {
        for seq in seqs {
            self.set_status(seq, Status::Held);
            self.spill(seq, memory);
        }
    }

    /// Finds out the groups of failed messages; asks for the bodies that are missing.
    pub(crate) fn learn_groups(&mut self, memory: &mut Memory, wanted: &mut Vec<u64>) {
        let some: Vec<u64> = self.groups.unknown.iter().take(ASKED).copied().collect();
        for seq in some {
            let Some(entry) = self.entries.get(seq) else { continue };
            if entry.message.is_none() && !entry.has(UNREADABLE) {
                wanted.push(seq);
                continue;
            }
            // One that cannot be read holds nobody: it will never be settled.
            if entry.state.as_deref().is_some_and(failed_here) {
                self.groups.failed(seq, entry);
            }
            self.groups.unknown.remove(&seq);
            self.spill(seq, memory);
        }
    }

    /// The failed message of the same group that this one waits for, as far as its group is known.
    pub(crate) fn group_holder(&self, seq: u64) -> Option<u64> {
        let entry = self.entries.get(seq).filter(|_| self.groups.on)?;
        let group = self.groups.group_of(seq, entry).filter(|_| entry.at_rest())?;
        self.groups.groups.get(&group)?.failed.first().copied().filter(|first| *first < seq)
    }
}
