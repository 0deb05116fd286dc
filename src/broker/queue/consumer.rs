//! A consumer as the queue sees it: its two credits, what it holds, what it may not get.
//!
//! Invariant: `credit` is what the client granted beyond what was sent (part 2.6.7) and `room` what its
//! connection can take; a message is sent only while both are left, so neither is ever exceeded (the
//! byte room by one message at most). Chooses no messages: that is `dispatch`.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::{entries::Entries, entry::Status, ready::LEVELS, sieve::Sieve};
use crate::broker::{ConsumerId, Delivery, Outcome, Seq, Subscribe};

/// Outcomes remembered per second-mode consumer, to answer a settlement that is repeated.
const RECENT: usize = 256;

/// An attached consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub id: ConsumerId,
    pub endpoint: String,
    pub identity: Arc<str>,
    pub browse: bool,
    /// Its filter; `None`: it wants all.
    pub sieve: Option<Box<Sieve>>,
    pub presettled: bool,
    pub default_outcome: Outcome,
    /// The link's delivery-count at our end, a serial number (RFC 1982).
    pub delivery_count: u32,
    /// What the client will still take.
    pub credit: u32,
    /// Messages sent to it.
    pub delivered: u64,
    pub room_messages: u32,
    pub room_bytes: i64,
    /// A drain, an echo not answered yet.
    pub drain: bool,
    pub echo: bool,
    /// It is in the queue's ring, in its list of those that wait for an answer, in this flush's touched.
    pub ringed: bool,
    pub asking: bool,
    /// Browsing: the next number to look at.
    pub cursor: u64,
    /// Where the search among excluded messages starts, by level: all before are excluded for this one.
    pub picky_from: [u64; LEVELS],
    /// What was handed out, oldest first; may name some that were given back.
    unsettled: VecDeque<u64>,
    /// How many it really holds.
    held: usize,
    /// What it holds is a crash suspect: nothing else until it is settled.
    pub alone: bool,
    /// A suspect it is to get when it holds nothing any more (see `vetting`).
    pub waits_for: Option<u64>,
    recent: VecDeque<(Seq, Outcome)>,
    /// Deliveries of the current flush.
    pub outbox: Vec<Delivery>,
}

impl Consumer {
    pub(crate) fn new(wish: Subscribe) -> Self {
        Self {
            id: wish.consumer,
            endpoint: wish.endpoint,
            identity: wish.identity,
            browse: wish.browse,
            sieve: wish.filter.map(|filter| Box::new(Sieve::new(filter))),
            presettled: wish.presettled,
            default_outcome: wish.default_outcome,
            delivery_count: wish.delivery_count,
            credit: 0,
            delivered: 0,
            room_messages: wish.room_messages,
            room_bytes: i64::try_from(wish.room_bytes).unwrap_or(i64::MAX),
            drain: false,
            echo: false,
            ringed: false,
            asking: false,
            cursor: 0,
            picky_from: [0; LEVELS],
            unsettled: VecDeque::new(),
            held: 0,
            alone: false,
            waits_for: None,
            recent: VecDeque::new(),
            outbox: Vec::new(),
        }
    }

    /// A flow: "link-credit_snd := delivery-count_rcv + link-credit_rcv - delivery-count_snd" (part
    /// 2.6.7), in serial numbers. A delivery-count ahead of ours is none we can have sent: taken as ours.
    pub(crate) fn flow(&mut self, delivery_count: u32, credit: u32) {
        let in_flight = self.delivery_count.wrapping_sub(delivery_count);
        let in_flight = if in_flight > u32::MAX / 2 { 0 } else { in_flight };
        self.credit = credit.saturating_sub(in_flight);
    }

    /// Its connection wrote this much.
    pub(crate) fn add_room(&mut self, messages: u32, bytes: u64) {
        self.room_messages = self.room_messages.saturating_add(messages);
        self.room_bytes = self.room_bytes.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Whether its connection can take a message.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.room_messages > 0 && self.room_bytes > 0
    }

    /// Whether it can be sent a message now.
    #[inline]
    pub(crate) fn willing(&self) -> bool {
        self.credit > 0 && self.has_room() && !self.alone
    }

    /// Whether it takes messages, but not all.
    pub(crate) fn filters(&self) -> bool {
        self.sieve.is_some() && !self.browse
    }

    /// Accounts for a message being sent.
    #[inline]
    pub(crate) fn sent(&mut self, bytes: u32) {
        self.delivery_count = self.delivery_count.wrapping_add(1);
        self.credit = self.credit.saturating_sub(1);
        self.delivered += 1;
        self.room_messages = self.room_messages.saturating_sub(1);
        self.room_bytes = self.room_bytes.saturating_sub(i64::from(bytes));
    }

    /// Drained: "all excess link-credit is consumed, delivery-count advanced" (part 2.6.7).
    pub(crate) fn use_up_credit(&mut self) {
        self.delivery_count = self.delivery_count.wrapping_add(self.credit);
        self.credit = 0;
        self.drain = false;
        self.echo = false;
    }

    /// It holds one more.
    #[inline]
    pub(crate) fn hold(&mut self, seq: u64) {
        self.unsettled.push_back(seq);
        self.held += 1;
    }

    /// It holds one less; the caller has changed the entry.
    #[inline]
    pub(crate) fn let_go(&mut self, seq: u64, slot: u32, entries: &Entries) {
        self.held = self.held.saturating_sub(1);
        self.alone &= self.held > 0;
        if self.unsettled.front() == Some(&seq) {
            self.unsettled.pop_front();
        }
        if self.unsettled.len() > 2 * self.held + 64 {
            self.unsettled = self.holding(slot, entries).into();
        }
    }

    /// How many it holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Whether it holds nothing.
    #[inline]
    pub(crate) fn idle(&self) -> bool {
        self.held == 0
    }

    /// What it holds, in the order it was handed out (last handed out, where that was twice).
    pub(crate) fn holding(&self, slot: u32, entries: &Entries) -> Vec<u64> {
        let holds = |seq| entries.get(seq).is_some_and(|e| e.status == Status::Acquired && e.holder == slot);
        let mut seen = BTreeSet::new();
        let mut seqs: Vec<u64> =
            self.unsettled.iter().rev().copied().filter(|&s| holds(s) && seen.insert(s)).collect();
        seqs.reverse();
        seqs
    }

    /// Remembers what became of a message, for a repeated settlement.
    pub(crate) fn remember(&mut self, seq: Seq, outcome: Outcome) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, outcome));
    }

    /// The outcome already recorded for a message it no longer holds.
    pub(crate) fn recall(&self, seq: Seq) -> Option<&Outcome> {
        self.recent.iter().rev().find(|(s, _)| *s == seq).map(|(_, o)| o)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(delivery_count: u32) -> Consumer {
        Consumer::new(Subscribe {
            consumer: ConsumerId(1),
            dead_letter: false,
            endpoint: String::new(),
            identity: "".into(),
            browse: false,
            filter: None,
            presettled: false,
            default_outcome: Outcome::Released,
            delivery_count,
            room_messages: 10,
            room_bytes: 100,
        })
    }

    #[test]
    fn credit_is_counted_in_serial_numbers_across_the_wrap() {
        let mut c = consumer(u32::MAX - 1);
        c.flow(u32::MAX - 1, 5);
        for _ in 0..3 {
            c.sent(1);
        }
        assert_eq!((c.delivery_count, c.credit), (1, 2));
        // A flow that crossed our three transfers grants what it grants from where the peer was.
        c.flow(u32::MAX - 1, 5);
        assert_eq!(c.credit, 2);
        c.flow(0, 5);
        assert_eq!(c.credit, 4);
        c.flow(1, 5);
        assert_eq!(c.credit, 5);
    }

    #[test]
    fn credit_taken_back_below_what_was_sent_is_none() {
        let mut c = consumer(0);
        c.flow(0, 10);
        for _ in 0..5 {
            c.sent(1);
        }
        c.flow(0, 3);
        assert_eq!(c.credit, 0);
        c.flow(9, 3);
        assert_eq!(c.credit, 3, "a delivery-count ahead of ours is taken as ours");
    }

    #[test]
    fn byte_room_may_be_exceeded_by_one_message_only() {
        let mut c = consumer(0);
        c.flow(0, 10);
        c.sent(99);
        assert!(c.willing());
        c.sent(500);
        assert!(!c.willing());
        c.add_room(2, 500);
        assert!(c.willing());
    }
}
