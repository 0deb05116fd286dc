//! A message's place in a queue, small: what is known of it without its body.
//!
//! Invariant: an entry is at most 64 bytes, its counters always equal those in its state where it has one, and
//! `place` is read as a location or as a pending put, never both. Holds no rules: what a status means
//! is the business of `queue`.

use std::sync::Arc;

use crate::{
    broker::{EntryState, FailureOutcome, Location, Message},
    time::Millis,
};

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
    /// Waiting for an earlier message of its group.
    Held,
    /// On its way elsewhere; nobody gets it here.
    Moving,
}

/// Which of its level's lists a message that came back waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// For everybody.
    Returned,
    /// Some link endpoint excluded it.
    Picky,
    /// It may have killed a consumer: to be delivered alone (and perhaps not to all).
    Suspects,
}

/// The record that brought it here is not committed; `location` then names that record (see `Entry::pending`).
pub(crate) const PUT_PENDING: u16 = 1;
/// A `Keep` of it is not committed.
pub(crate) const KEEPING: u16 = 2;
/// Its body was asked for.
pub(crate) const LOADING: u16 = 4;
/// Its body could not be read the last time.
pub(crate) const UNREADABLE: u16 = 8;
/// header.first-acquirer as published.
pub(crate) const FIRST_ACQUIRER: u16 = 16;
/// It was offered to another queue and no answer has come.
pub(crate) const OFFERED: u16 = 32;
/// Its publisher said durable.
pub(crate) const DURABLE: u16 = 64;
/// Its state is in the store and not here; nor is its body then, so who has the body has the state.
pub(crate) const STATE_PAGED: u16 = 128;
/// Its state is here, and in the store the same (but for the counters, which the entry has).
pub(crate) const STATE_STORED: u16 = 256;

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
    pub flags: u16,
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
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether all of it is in memory, so that it can be judged and handed out.
    #[inline]
    pub(crate) fn at_hand(&self) -> bool {
        self.message.is_some()
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

    /// Whether it may have killed its last consumer: its connection was lost with this among the suspects, and
    /// nothing has failed since (nor did it die since). Read off the failure record, so that it survives restarts.
    #[inline]
    pub(crate) fn suspect(&self) -> bool {
        let Some(state) = &self.state else { return false };
        let lost = state.failures.last().filter(|f| f.outcome == FailureOutcome::Lost);
        lost.is_some_and(|f| state.death.as_ref().is_none_or(|death| f.time > death.time))
    }

    /// Which list it waits in.
    #[inline]
    pub(crate) fn list(&self) -> List {
        match &self.state {
            None => List::Returned,
            Some(_) if self.suspect() => List::Suspects,
            Some(state) if !state.excluded.is_empty() => List::Picky,
            Some(_) => List::Returned,
        }
    }

    /// The state to change, made from the counters if there was none.
    pub(crate) fn state_mut(&mut self) -> &mut EntryState {
        self.flags &= !STATE_STORED;
        let (delivery_count, acquired_count) = (self.delivery_count, self.acquired_count);
        Arc::make_mut(self.state.get_or_insert_with(|| {
            Arc::new(EntryState { delivery_count, acquired_count, ..EntryState::default() })
        }))
    }

    /// Whether it waits here, and nobody has it.
    #[inline]
    pub(crate) fn at_rest(&self) -> bool {
        matches!(self.status, Status::Available | Status::Delayed | Status::Held)
    }

    /// Whether its state may leave the memory with its body: the store has it, nobody holds the message, what is being
    /// read will not come without it, and nothing about it (who may have it, when it expires) needs the state before
    /// it is handed out.
    pub(crate) fn state_may_go(&self) -> bool {
        self.has(STATE_STORED)
            && !self.has(LOADING)
            && self.location().is_some()
            && self.expires == 0
            && self.at_rest()
            && self.list() == List::Returned
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
