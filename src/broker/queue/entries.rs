//! Where a queue keeps its messages: entries in chunks, found by sequence number.
//!
//! Invariant: a chunk lives only while one of its entries does, so ten million paged-out messages fit in
//! memory and one stuck old message does not keep the memory of the millions settled after it. Knows
//! nothing of the order messages are delivered in.

use std::{cell::Cell, collections::BTreeMap};

use super::entry::{Entry, Status};
use crate::broker::Location;

/// Entries in a chunk.
const CHUNK: u64 = 256;
/// Chunks remembered by the lookup cache (a power of two).
const CACHE: usize = 16;

#[derive(Debug)]
struct Chunk {
    entries: Box<[Entry]>,
    live: u32,
    /// No entry in here lies in a segment below this one.
    min_segment: u32,
}

impl Chunk {
    fn new() -> Self {
        Self {
            entries: vec![Entry::VACANT; CHUNK as usize].into_boxed_slice(),
            live: 0,
            min_segment: u32::MAX,
        }
    }
}

/// All entries of a queue by sequence number.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// Chunk number to slot.
    index: BTreeMap<u64, u32>,
    slots: Vec<Option<Chunk>>,
    free: Vec<u32>,
    /// An emptied chunk to use again: a short queue would otherwise allocate one every 256 messages.
    spare: Option<Chunk>,
    /// (chunk number + 1, slot), by chunk number modulo `CACHE`; 0 is nothing.
    cache: [Cell<(u64, u32)>; CACHE],
    len: u64,
}

impl Entries {
    /// How many messages there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    fn slot(&self, number: u64) -> Option<usize> {
        let cached = self.cache.get(number as usize % CACHE)?;
        let (tag, slot) = cached.get();
        if tag == number + 1 {
            return Some(slot as usize);
        }
        let slot = *self.index.get(&number)?;
        cached.set((number + 1, slot));
        Some(slot as usize)
    }

    /// The message with this number.
    #[inline]
    pub(crate) fn get(&self, seq: u64) -> Option<&Entry> {
        let chunk = self.slots.get(self.slot(seq / CHUNK)?)?.as_ref()?;
        chunk.entries.get((seq % CHUNK) as usize).filter(|e| e.status != Status::Vacant)
    }

    /// The same, to change it. Its location is changed through `set_location` only.
    #[inline]
    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        let slot = self.slot(seq / CHUNK)?;
        let chunk = self.slots.get_mut(slot)?.as_mut()?;
        chunk.entries.get_mut((seq % CHUNK) as usize).filter(|e| e.status != Status::Vacant)
    }

    /// Adds a message (or replaces the one there, which only a damaged journal can ask for).
    pub(crate) fn insert(&mut self, seq: u64, entry: Entry) {
        let number = seq / CHUNK;
        let slot = match self.slot(number) {
            Some(slot) => slot,
            None => self.add_chunk(number),
        };
        let segment = entry.location().map(|l| l.segment);
        let Some(chunk) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        let Some(place) = chunk.entries.get_mut((seq % CHUNK) as usize) else { return };
        if place.status == Status::Vacant {
            chunk.live += 1;
            self.len += 1;
        }
        if let Some(segment) = segment {
            chunk.min_segment = chunk.min_segment.min(segment);
        }
        *place = entry;
    }

    fn add_chunk(&mut self, number: u64) -> usize {
        let chunk = self.spare.take().unwrap_or_else(Chunk::new);
        let slot = match self.free.pop() {
            Some(slot) => slot as usize,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(chunk);
        }
        self.index.insert(number, slot as u32);
        slot
    }

    /// Takes a message out.
    pub(crate) fn remove(&mut self, seq: u64) -> Option<Entry> {
        let number = seq / CHUNK;
        let slot = self.slot(number)?;
        let chunk = self.slots.get_mut(slot)?.as_mut()?;
        let place = chunk.entries.get_mut((seq % CHUNK) as usize)?;
        if place.status == Status::Vacant {
            return None;
        }
        let entry = std::mem::replace(place, Entry::VACANT);
        chunk.live -= 1;
        self.len -= 1;
        if chunk.live == 0 {
            self.drop_chunk(number, slot);
        }
        Some(entry)
    }

    fn drop_chunk(&mut self, number: u64, slot: usize) {
        self.index.remove(&number);
        if let Some(cached) = self.cache.get(number as usize % CACHE) {
            cached.set((0, 0));
        }
        if let Some(mut chunk) = self.slots.get_mut(slot).and_then(Option::take) {
            chunk.min_segment = u32::MAX;
            self.spare = Some(chunk);
        }
        self.free.push(slot as u32);
    }

    /// Sets where a message's bytes are.
    pub(crate) fn set_location(&mut self, seq: u64, location: Location) {
        let Some(slot) = self.slot(seq / CHUNK) else { return };
        let Some(chunk) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        let Some(entry) = chunk.entries.get_mut((seq % CHUNK) as usize) else { return };
        if entry.status != Status::Vacant {
            entry.set_location(location);
            chunk.min_segment = chunk.min_segment.min(location.segment);
        }
    }

    /// The first message at or after `seq`.
    pub(crate) fn next_from(&self, seq: u64) -> Option<(u64, &Entry)> {
        let first = seq / CHUNK;
        for (&number, &slot) in self.index.range(first..) {
            let Some(chunk) = self.slots.get(slot as usize).and_then(Option::as_ref) else { continue };
            let from = if number == first { (seq % CHUNK) as usize } else { 0 };
            let found = chunk.entries.iter().enumerate().skip(from).find(|(_, e)| e.status != Status::Vacant);
            if let Some((i, entry)) = found {
                return Some((number * CHUNK + i as u64, entry));
            }
        }
        None
    }

    /// The first place at or after `seq` that may hold a message: skips chunks that are gone.
    #[inline]
    pub(crate) fn skip_gone(&self, seq: u64) -> u64 {
        if self.slot(seq / CHUNK).is_some() {
            return seq;
        }
        self.index.range(seq / CHUNK..).next().map_or(u64::MAX, |(&number, _)| number * CHUNK)
    }

    /// The last message before `seq`.
    pub(crate) fn last_before(&self, seq: u64) -> Option<(u64, &Entry)> {
        for (&number, &slot) in self.index.range(..=seq / CHUNK).rev() {
            let Some(chunk) = self.slots.get(slot as usize).and_then(Option::as_ref) else { continue };
            let base = number * CHUNK;
            let below = seq.saturating_sub(base).min(CHUNK) as usize;
            let found =
                chunk.entries.iter().enumerate().take(below).rfind(|(_, e)| e.status != Status::Vacant);
            if let Some((i, entry)) = found {
                return Some((base + i as u64, entry));
            }
        }
        None
    }

    /// The messages at or after `from` whose bytes lie in segments up to `segment`: up to `limit` of
    /// them, and where to go on (`None`: that was all). Chunks known to have none are skipped.
    pub(crate) fn in_segments(&mut self, from: u64, segment: u32, limit: usize) -> (Vec<u64>, Option<u64>) {
        let first = from / CHUNK;
        let mut found = Vec::new();
        for (&number, &slot) in self.index.range(first..) {
            let Some(chunk) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { continue };
            if chunk.min_segment > segment {
                continue;
            }
            let skip = if number == first { (from % CHUNK) as usize } else { 0 };
            let mut lowest = u32::MAX;
            for (i, entry) in chunk.entries.iter().enumerate() {
                let Some(location) = entry.location() else { continue };
                lowest = lowest.min(location.segment);
                if i < skip || location.segment > segment {
                    continue;
                }
                if found.len() == limit {
                    return (found, Some(number * CHUNK + i as u64));
                }
                found.push(number * CHUNK + i as u64);
            }
            chunk.min_segment = lowest;
        }
        (found, None)
    }

    /// Chunks in memory, for tests of what a stuck message costs.
    #[cfg(test)]
    pub(crate) fn chunks(&self) -> usize {
        self.index.len()
    }
}

#[cfg(test)]
mod tests;
