//! What is known of each dead letter of a queue without reading it: when, of what, whose, how many attempts.
//!
//! Invariant: has exactly the messages of its queue that came into it with a death. 24 bytes a message, so that a
//! million are looked through in milliseconds and need no disk; names are kept once. Causes and consumers beyond
//! `NAMES` are not told apart here, and `Judged::Maybe` sends who asks to the message's state.

use std::{collections::BTreeMap, hash::Hash, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    cause::Cause,
    filter::{Filter, Judged},
};
use crate::{
    broker::{DeathReason, EntryState, Seq},
    time::Millis,
};

/// Letters in a chunk.
const CHUNK: u64 = 256;
/// Causes, and consumers, told apart.
const NAMES: usize = 4096;
/// The name of all consumers beyond those told apart.
const NOBODY: u32 = u32::MAX;

/// One dead letter, in small.
#[derive(Debug, Clone, Copy)]
struct Small {
    time: Millis,
    cause: u32,
    consumer: u32,
    attempts: u32,
    there: bool,
}

const NOTHING: Small = Small { time: Millis(0), cause: 0, consumer: NOBODY, attempts: 0, there: false };

#[derive(Debug)]
struct Chunk {
    letters: Box<[Small]>,
    live: u32,
}

/// What is known of a dead letter without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// When it died.
    pub time: Millis,
    /// Attempts made when it died.
    pub attempts: u32,
    /// Names what it died of.
    pub cause: u64,
}

/// Dead letters that died of the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CauseCount {
    /// Names the cause; the same on every broker and after a restart.
    pub id: u64,
    /// The queue they died in.
    pub origin: String,
    /// Why.
    pub reason: DeathReason,
    /// The error condition, empty if none was given.
    pub condition: String,
    /// The description without what differs from message to message.
    pub description: String,
    /// It stands for causes that are too many to be told apart.
    pub various: bool,
    /// How many.
    pub count: u64,
    /// When the first and the last of them died.
    pub times: (Millis, Millis),
    /// The oldest of them in the queue.
    pub example: Seq,
}

/// Values by number, each kept once, while somebody has it.
#[derive(Debug)]
struct Names<T> {
    slots: Vec<Option<(T, u64)>>,
    index: FxHashMap<T, u32>,
    free: Vec<u32>,
}

impl<T: Clone + Eq + Hash> Names<T> {
    fn new() -> Self {
        Self { slots: Vec::new(), index: FxHashMap::default(), free: Vec::new() }
    }

    fn full(&self) -> bool {
        self.index.len() >= NAMES
    }

    fn take(&mut self, value: T) -> u32 {
        if let Some(&number) = self.index.get(&value) {
            if let Some(Some((_, users))) = self.slots.get_mut(number as usize) {
                *users += 1;
            }
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.index.insert(value.clone(), number);
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = Some((value, 1));
        }
        number
    }

    fn drop(&mut self, number: u32) {
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        let Some((_, users)) = slot else { return };
        *users -= 1;
        if *users == 0
            && let Some((value, _)) = slot.take()
        {
            self.index.remove(&value);
            self.free.push(number);
        }
    }

    fn get(&self, number: u32) -> Option<&T> {
        Some(&self.slots.get(number as usize)?.as_ref()?.0)
    }

    /// What somebody thinks of each value; by number.
    fn judge(&self, judge: impl Fn(&T) -> Judged) -> Vec<Judged> {
        self.slots.iter().map(|slot| slot.as_ref().map_or(Judged::No, |(value, _)| judge(value))).collect()
    }
}

/// The dead letters of a queue.
#[derive(Debug)]
pub(crate) struct Catalogue {
    chunks: BTreeMap<u64, Chunk>,
    causes: Names<Cause>,
    consumers: Names<Arc<str>>,
    len: u64,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), causes: Names::new(), consumers: Names::new(), len: 0 }
    }
}

/// A filter, with what it thinks of each cause and consumer.
struct Sieve<'a> {
    filter: &'a Filter,
    causes: Vec<Judged>,
    consumers: Vec<Judged>,
}

impl Sieve<'_> {
    fn judge(&self, seq: u64, letter: &Small) -> Judged {
        if !self.filter.fits_numbers(seq, letter.time, letter.attempts) {
            return Judged::No;
        }
        let of = |judged: &[Judged], number: u32| judged.get(number as usize).copied();
        let cause = of(&self.causes, letter.cause).unwrap_or(Judged::No);
        let consumer = of(&self.consumers, letter.consumer);
        let consumer = consumer.unwrap_or_else(|| self.filter.judge_consumer(None));
        cause.and(consumer).and(self.filter.needs_state())
    }
}

impl Catalogue {
    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A message came; kept if it has a death.
    pub(crate) fn came(&mut self, seq: u64, state: &EntryState) {
        let Some(death) = &state.death else { return };
        let mut cause = Cause::of(death);
        if self.causes.full() && !self.causes.index.contains_key(&cause) {
            cause = Cause::various(death.reason);
        }
        let cause = self.causes.take(cause);
        let consumer = match state.failures.last().map(|failure| &failure.consumer) {
            Some(name) if !self.consumers.full() || self.consumers.index.contains_key(name) => {
                self.consumers.take(Arc::clone(name))
            }
            Some(_) => NOBODY,
            None => self.consumers.take("".into()),
        };
        let letter = Small { time: death.time, cause, consumer, attempts: death.attempts, there: true };
        let fresh = || Chunk { letters: vec![NOTHING; CHUNK as usize].into_boxed_slice(), live: 0 };
        let chunk = self.chunks.entry(seq / CHUNK).or_insert_with(fresh);
        if let Some(place) = chunk.letters.get_mut((seq % CHUNK) as usize) {
            let before = std::mem::replace(place, letter);
            if before.there {
                self.forget(before);
            } else {
                chunk.live += 1;
                self.len += 1;
            }
        }
    }

    fn forget(&mut self, letter: Small) {
        self.causes.drop(letter.cause);
        self.consumers.drop(letter.consumer);
    }

    /// A message went.
    pub(crate) fn went(&mut self, seq: u64) {
        let Some(chunk) = self.chunks.get_mut(&(seq / CHUNK)) else { return };
        let Some(place) = chunk.letters.get_mut((seq % CHUNK) as usize).filter(|l| l.there) else { return };
        let letter = std::mem::replace(place, NOTHING);
        chunk.live -= 1;
        self.len -= 1;
        if chunk.live == 0 {
            self.chunks.remove(&(seq / CHUNK));
        }
        self.forget(letter);
    }

    /// What is known of one.
    pub(crate) fn get(&self, seq: u64) -> Option<Letter> {
        let letter = self.chunks.get(&(seq / CHUNK))?.letters.get((seq % CHUNK) as usize)?;
        let cause = self.causes.get(letter.cause).filter(|_| letter.there)?.id();
        Some(Letter { time: letter.time, attempts: letter.attempts, cause })
    }

    fn sieve<'a>(&self, filter: &'a Filter) -> Sieve<'a> {
        Sieve {
            filter,
            causes: self.causes.judge(|cause| filter.judge_cause(cause)),
            consumers: self.consumers.judge(|consumer| filter.judge_consumer(Some(consumer))),
        }
    }

    /// Letters from `from` on that pass, or may: looks at `scan` places, gives up to `limit`, and where to go on.
    pub(crate) fn find(
        &self,
        from: u64,
        filter: &Filter,
        scan: usize,
        limit: usize,
    ) -> (Vec<(u64, Judged)>, Option<u64>) {
        let sieve = self.sieve(filter);
        let mut found = Vec::new();
        let mut looked = 0;
        for (number, chunk) in self.chunks.range(from / CHUNK..) {
            let first = number * CHUNK;
            if looked >= scan {
                return (found, Some(first.max(from)));
            }
            looked += CHUNK as usize;
            for (seq, letter) in (first..).zip(&chunk.letters).filter(|(seq, l)| l.there && *seq >= from) {
                let judged = sieve.judge(seq, letter);
                if judged == Judged::No {
                    continue;
                }
                if found.len() == limit {
                    return (found, Some(seq));
                }
                found.push((seq, judged));
            }
        }
        (found, None)
    }

    /// How many pass, and how many may.
    pub(crate) fn count(&self, filter: &Filter) -> (u64, u64) {
        let sieve = self.sieve(filter);
        let (mut yes, mut maybe) = (0, 0);
        self.each(|seq, letter| match sieve.judge(seq, letter) {
            Judged::Yes => yes += 1,
            Judged::Maybe => maybe += 1,
            Judged::No => {}
        });
        (yes, maybe)
    }

    /// What those that pass (or may) died of, most first.
    pub(crate) fn causes(&self, filter: &Filter) -> Vec<CauseCount> {
        let sieve = self.sieve(filter);
        let mut counts: Vec<Option<CauseCount>> = vec![None; self.causes.slots.len()];
        self.each(|seq, letter| {
            if sieve.judge(seq, letter) == Judged::No {
                return;
            }
            let Some(slot) = counts.get_mut(letter.cause as usize) else { return };
            let count = match slot {
                Some(count) => count,
                None => {
                    let Some(cause) = self.causes.get(letter.cause) else { return };
                    slot.insert(CauseCount::new(cause, letter.time, Seq(seq)))
                }
            };
            count.count += 1;
            count.times = (count.times.0.min(letter.time), count.times.1.max(letter.time));
        });
        let mut counts: Vec<_> = counts.into_iter().flatten().collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then(a.example.cmp(&b.example)));
        counts
    }

    fn each(&self, mut see: impl FnMut(u64, &Small)) {
        for (number, chunk) in &self.chunks {
            let letters = (number * CHUNK..).zip(&chunk.letters);
            letters.filter(|(_, letter)| letter.there).for_each(|(seq, letter)| see(seq, letter));
        }
    }
}

impl CauseCount {
    fn new(cause: &Cause, time: Millis, example: Seq) -> Self {
        Self {
            id: cause.id(),
            origin: cause.origin.to_string(),
            reason: cause.reason,
            condition: cause.condition.to_string(),
            description: cause.description.to_string(),
            various: cause.various,
            count: 0,
            times: (time, time),
            example,
        }
    }
}

#[cfg(test)]
mod tests;
