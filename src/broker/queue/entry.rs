//! Where a queue keeps its messages: small fixed entries in chunks, found by sequence number.
//!
//! Invariant: an entry is at most 64 bytes and a chunk lives only while one of its entries does, so ten
//! million paged-out messages fit in memory and one stuck old message does not keep the memory of
//! the millions settled after it. Holds no rules: what a status means is the business of `queue`.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use crate::{
    broker::{EntryState, Location, Message},
    time::Millis,
};

/// Entries in a chunk.
pub(crate) const CHUNK: u64 = 256;
/// Chunks remembered by the lookup cache (a power of two).
const CACHE: usize = 16;

/// Where a message is in its life (figure of part 3.3; `Vacant` is ARCHIVED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// No message has this place (any more).
    Vacant,
    /// Waiting for a consumer.
    Available,
    /// Handed to the consumer in `holder`.
    Acquired,
    /// Waiting for its retry time.
    Delayed,
    /// On its way elsewhere; nobody gets it here.
    Moving,
}

/// The record that brought it here is not committed; `location` then names that record (see `Entry::pending`).
pub(crate) const PUT_PENDING: u8 = 1;
/// A `Keep` of it is not committed.
pub(crate) const KEEPING: u8 = 2;
/// Its body was asked for.
pub(crate) const LOADING: u8 = 4;
/// Its body could not be read the last time.
pub(crate) const UNREADABLE: u8 = 8;
/// header.first-acquirer as published.
pub(crate) const FIRST_ACQUIRER: u8 = 16;
/// It was offered to another queue and no answer has come.
pub(crate) const OFFERED: u8 = 32;
/// Its publisher said durable.
pub(crate) const DURABLE: u8 = 64;

/// A message's place in a queue.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The message, while it is in memory.
    pub message: Option<Arc<Message>>,
    /// What changed about it beyond the counters; its own counters always equal those here.
    pub state: Option<Arc<EntryState>>,
    /// When it expires; 0: never.
    pub expires: u64,
    /// Read through `location` and `pending`, written through `set_*`.
    pub place: Location,
    /// Bytes of the message.
    pub size: u32,
    /// Failed attempts.
    pub delivery_count: u32,
    /// Times handed out and given back.
    pub acquired_count: u32,
    /// Slot of the consumer that has it, when `Acquired`.
    pub holder: u32,
    /// Where it is in its life.
    pub status: Status,
    /// The flag constants of this file.
    pub flags: u8,
    /// 0 to 9.
    pub priority: u8,
}

const NOWHERE: Location = Location { segment: 0, offset: 0, len: 0 };

impl Entry {
    /// A place without a message.
    pub(crate) const VACANT: Self = Self {
        message: None,
        state: None,
        expires: 0,
        place: NOWHERE,
        size: 0,
        delivery_count: 0,
        acquired_count: 0,
        holder: 0,
        status: Status::Vacant,
        flags: 0,
        priority: 0,
    };

    /// Whether a flag is set.
    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Where its bytes are on disk, if they are there.
    #[inline]
    pub(crate) fn location(&self) -> Option<Location> {
        (self.place.len != 0 && !self.has(PUT_PENDING)).then_some(self.place)
    }

    /// Its bytes are (now) here.
    pub(crate) fn set_location(&mut self, location: Location) {
        self.flags &= !PUT_PENDING;
        self.place = location;
    }

    /// Its put was committed without a place: the store has nothing of it.
    pub(crate) fn clear_pending(&mut self) {
        if self.has(PUT_PENDING) {
            self.set_location(NOWHERE);
        }
    }

    /// Its `Put` is the `index`-th of the batch with this ticket. Kept in the location's room, which is
    /// unused until the put is committed.
    pub(crate) fn set_pending(&mut self, ticket: u64, index: u32) {
        self.flags |= PUT_PENDING;
        self.place = Location { segment: ticket as u32, offset: index, len: (ticket >> 32) as u32 };
    }

    /// Ticket and index of its uncommitted `Put`.
    #[inline]
    pub(crate) fn pending(&self) -> Option<(u64, u32)> {
        let Location { segment, offset, len } = self.place;
        self.has(PUT_PENDING).then_some((u64::from(len) << 32 | u64::from(segment), offset))
    }

    /// Whether the store knows of it, so that its changes must be recorded.
    #[inline]
    pub(crate) fn recorded(&self) -> bool {
        self.has(PUT_PENDING) || self.place.len != 0
    }

    /// Whether its time to live has passed.
    #[inline]
    pub(crate) fn expired(&self, now: Millis) -> bool {
        self.expires != 0 && self.expires <= now.0
    }

    /// Whether a link endpoint declared it undeliverable-here.
    pub(crate) fn excludes(&self, endpoint: &str) -> bool {
        self.state.as_ref().is_some_and(|s| s.excluded.iter().any(|e| e == endpoint))
    }

    /// Whether any link endpoint did.
    #[inline]
    pub(crate) fn picky(&self) -> bool {
        self.state.as_ref().is_some_and(|s| !s.excluded.is_empty())
    }

    /// The state to change, made from the counters if there was none.
    pub(crate) fn state_mut(&mut self) -> &mut EntryState {
        let (delivery_count, acquired_count) = (self.delivery_count, self.acquired_count);
        Arc::make_mut(self.state.get_or_insert_with(|| {
            Arc::new(EntryState { delivery_count, acquired_count, ..EntryState::default() })
        }))
    }

    /// Sets both counters, in the state too where there is one.
    pub(crate) fn set_counts(&mut self, delivery_count: u32, acquired_count: u32) {
        self.delivery_count = delivery_count;
        self.acquired_count = acquired_count;
        if let Some(state) = &mut self.state {
            let state = Arc::make_mut(state);
            state.delivery_count = delivery_count;
            state.acquired_count = acquired_count;
        }
    }

    /// The whole state as a record has it, if anything in it differs from a new message's.
    pub(crate) fn full_state(&self) -> Option<Arc<EntryState>> {
        match &self.state {
            Some(state) => Some(Arc::clone(state)),
            None if self.delivery_count == 0 && self.acquired_count == 0 => None,
            None => Some(Arc::new(EntryState {
                delivery_count: self.delivery_count,
                acquired_count: self.acquired_count,
                ..EntryState::default()
            })),
        }
    }
}

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
