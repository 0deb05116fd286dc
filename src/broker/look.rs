//! Looking at messages where they are: pages of them, one in full, and why it is not being delivered.
//!
//! Invariant: all of it takes the node by shared reference, so looking changes nothing: no counter, no order, nobody's
//! turn. What is not in memory is told as such; who asks reads it from the store.

use std::sync::Arc;

use super::{
    BreakerState, CauseCount, EntryState, Filter, Judged, Letter, Location, Message, Seq,
    node::Node,
    queue::{
        Queue,
        entry::{Entry, STATE_PAGED, Status, UNREADABLE},
    },
};
use crate::time::Millis;

/// Endpoints named where a message is excluded from some.
const ENDPOINTS_TOLD: usize = 16;

/// Some of a queue's messages, in order.
#[derive(Debug, Default)]
pub struct Page {
    /// They, or those that may be meant.
    pub seen: Vec<Seen>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Seq>,
}

/// A message as it is now.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its number.
    pub seq: Seq,
    /// Bytes of it.
    pub size: u32,
    /// header.priority.
    pub priority: u8,
    /// Failed attempts.
    pub delivery_count: u32,
    /// Times handed out and given back.
    pub acquired_count: u32,
    /// When it expires.
    pub expires: Option<Millis>,
    /// Where it is in its life.
    pub standing: Standing,
    /// The message, if it is in memory.
    pub message: Option<Arc<Message>>,
    /// Where its bytes are on disk, if they are.
    pub location: Option<Location>,
    /// Its state, if it has one that is in memory.
    pub state: Option<Arc<EntryState>>,
    /// Its state is in the store only (`Store::read_states`).
    pub state_paged: bool,
    /// What is known of its death, if it died.
    pub letter: Option<Letter>,
    /// What the filter thinks of it: never `No`.
    pub judged: Judged,
}

/// Where a message is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Waiting for a consumer.
    Waiting,
    /// With a consumer.
    Acquired,
    /// Waiting for its time.
    Delayed,
    /// Waiting for an earlier message of its group.
    Held,
    /// On its way to another queue.
    Moving,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "ready",
            Self::Acquired => "acquired",
            Self::Delayed => "delayed",
            Self::Held => "held",
            Self::Moving => "moving",
        }
    }
}

/// Why a message is not being delivered now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// This consumer has it.
    Acquired {
        /// container-id, link and user.
        consumer: Arc<str>,
    },
    /// It waits for this time.
    Delayed {
        /// When it is over.
        until: Millis,
    },
    /// Its bytes could not be read; it is tried again.
    Unreadable,
    /// It is on its way to another queue.
    Moving,
    /// It is a dead letter: only consumers of the dead-letter tree get it.
    Dead,
    /// The breaker lets nothing out.
    BreakerOpen {
        /// Until then.
        until: Millis,
    },
    /// The breaker lets few out.
    BreakerProbing {
        /// How many at a time.
        allowed: u32,
    },
    /// An earlier message of its group failed and is being tried again (`retry-order = "group"`).
    GroupHeld {
        /// Which.
        by: Seq,
    },
    /// Nobody is attached who takes messages.
    NoConsumer,
    /// Nobody who is attached has credit, or room on the connection.
    NoCredit {
        /// Who is attached.
        consumers: u32,
    },
    /// All who have credit are links it was declared undeliverable at.
    Excluded {
        /// Some of them.
        endpoints: Vec<String>,
    },
    /// All who have credit and may have it have filters that do not want it.
    Filtered,
    /// It may have crashed its last consumer and goes out alone: to one that holds nothing else.
    Suspect,
    /// Others come first.
    Behind {
        /// How many.
        messages: u64,
    },
    /// Nothing stands in its way.
    Deliverable,
}

/// What somebody wants to see of a queue.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Of the dead-letter tree.
    pub dead_letter: bool,
    /// From this number on.
    pub from: Seq,
    /// Places looked at, at the most: bounds the time it takes.
    pub scan: usize,
    /// Messages given, at the most.
    pub limit: usize,
    /// Which.
    pub filter: &'a Filter,
}

impl Node {
    pub(super) fn queue(&self, dead_letter: bool) -> &Queue {
        if dead_letter { &self.dead } else { &self.main }
    }

    /// Messages of the queue from a number on. With `Judged::Maybe` the state (for a `text` the message too) decides.
    #[must_use]
    pub fn look(&self, look: Look<'_>) -> Page {
        let Look { dead_letter, from, scan, limit, filter } = look;
        let queue = self.queue(dead_letter);
        if filter.is_about_death() {
            let (found, next) = queue.letters.find(from.0, filter, scan, limit);
            let seen = found.into_iter().filter_map(|(seq, judged)| queue.seen(seq, judged)).collect();
            return Page { seen, next: next.map(Seq) };
        }
        let judged = if filter.text.is_some() { Judged::Maybe } else { Judged::Yes };
        let mut page = Page::default();
        let mut at = from.0;
        for looked in 0.. {
            let Some((seq, _)) = queue.entries.next_from(at) else { return page };
            if looked >= scan || page.seen.len() >= limit {
                page.next = Some(Seq(seq));
                return page;
            }
            if filter.sequences.as_ref().is_none_or(|wanted| wanted.contains(&seq)) {
                page.seen.extend(queue.seen(seq, judged));
            }
            at = seq + 1;
        }
        page
    }

    /// One message.
    #[must_use]
    pub fn look_at(&self, dead_letter: bool, seq: Seq) -> Option<Seen> {
        self.queue(dead_letter).seen(seq.0, Judged::Yes)
    }

    /// How many dead letters pass a filter, and how many more may.
    #[must_use]
    pub fn count_letters(&self, dead_letter: bool, filter: &Filter) -> (u64, u64) {
        self.queue(dead_letter).letters.count(filter)
    }

    /// What the dead letters that pass a filter (or may) died of.
    #[must_use]
    pub fn causes(&self, dead_letter: bool, filter: &Filter) -> Vec<CauseCount> {
        self.queue(dead_letter).letters.causes(filter)
    }

    /// Why a message is not being delivered now, the most decisive first.
    #[must_use]
    pub fn why(&self, now: Millis, dead_letter: bool, seq: Seq) -> Vec<Why> {
        let queue = self.queue(dead_letter);
        let Some(entry) = queue.entries.get(seq.0) else { return Vec::new() };
        let mut why = queue.why(now, seq.0, entry);
        if dead_letter {
            why.insert(0, Why::Dead);
        }
        why
    }
}

impl Queue {
    fn seen(&self, seq: u64, judged: Judged) -> Option<Seen> {
        let entry = self.entries.get(seq)?;
        Some(Seen {
            seq: Seq(seq),
            size: entry.size,
            priority: entry.priority,
            delivery_count: entry.delivery_count,
            acquired_count: entry.acquired_count,
            expires: (entry.expires != 0).then_some(Millis(entry.expires)),
            standing: match entry.status {
                Status::Available => Standing::Waiting,
                Status::Acquired => Standing::Acquired,
                Status::Delayed => Standing::Delayed,
                Status::Held => Standing::Held,
                Status::Moving | Status::Vacant => Standing::Moving,
            },
            message: entry.message.clone(),
            location: entry.location(),
            state: entry.state.clone(),
            state_paged: entry.has(STATE_PAGED),
            letter: self.letters.get(seq),
            judged,
        })
    }

    fn why(&self, now: Millis, seq: u64, entry: &Entry) -> Vec<Why> {
        match entry.status {
            Status::Acquired => {
                let consumer = self.consumer_at(entry.holder).map(|c| Arc::clone(&c.identity));
                return vec![Why::Acquired { consumer: consumer.unwrap_or_else(|| "".into()) }];
            }
            Status::Delayed => {
                let until = self.due_of(seq).unwrap_or(now);
                let delayed = Why::Delayed { until };
                return if entry.has(UNREADABLE) { vec![Why::Unreadable, delayed] } else { vec![delayed] };
            }
            Status::Moving | Status::Vacant => return vec![Why::Moving],
            Status::Available | Status::Held => {}
        }
        let mut why = Vec::new();
        why.extend(self.group_holder(seq).map(|by| Why::GroupHeld { by: Seq(by) }));
        match self.breaker.state() {
            BreakerState::Open { until } => why.push(Why::BreakerOpen { until }),
            BreakerState::HalfOpen { allowed } => why.push(Why::BreakerProbing { allowed }),
            BreakerState::Closed => {}
        }
        why.extend(self.nobody_takes(entry));
        if entry.suspect() {
            why.push(Why::Suspect);
        }
        let behind = self.before(seq, entry.priority);
        if behind > 0 {
            why.push(Why::Behind { messages: behind });
        }
        if why.is_empty() {
            why.push(Why::Deliverable);
        }
        why
    }

    /// Why nobody who is attached could take it, if nobody could.
    fn nobody_takes(&self, entry: &Entry) -> Option<Why> {
        let mut consumers = 0;
        let mut excluded = Vec::new();
        let mut filtered = false;
        for consumer in self.takers() {
            consumers += 1;
            if !consumer.willing() {
                continue;
            }
            if entry.excludes(&consumer.endpoint) {
                excluded.push(consumer.endpoint.clone());
            } else if consumer.sieve.as_ref().is_none_or(|sieve| sieve.may_want(entry)) {
                return None;
            } else {
                filtered = true;
            }
        }
        if filtered {
            return Some(Why::Filtered);
        }
        excluded.truncate(ENDPOINTS_TOLD);
        Some(match (consumers, excluded.is_empty()) {
            (0, _) => Why::NoConsumer,
            (consumers, true) => Why::NoCredit { consumers },
            (_, false) => Why::Excluded { endpoints: excluded },
        })
    }

    /// Waiting messages that come before this one: of a higher priority, or older.
    fn before(&self, seq: u64, priority: u8) -> u64 {
        let mut before = 0;
        let mut at = 0;
        while let Some((other, entry)) = self.entries.next_from(at) {
            let first = entry.priority > priority || (entry.priority == priority && other < seq);
            before += u64::from(first && entry.status == Status::Available);
            at = other + 1;
        }
        before
    }
}
