//! New messages, and when publishers must pause.
//!
//! Invariant: a message is answered once: refused here and now, accepted at once when it need not be
//! durable, else when it is safe (`ledger`). Publishers are told once when to stop and once to go on.

use std::sync::Arc;

use super::{
    Effect, Fingerprint, Message, ProducerId, Publish, Refusal,
    node::Node,
    policy::WhenFull,
    queue::{
        MAX_PRIORITY,
        entry::{DURABLE, Entry, FIRST_ACQUIRER},
    },
};
use crate::time::Millis;

impl Node {
    /// Messages from one producer.
    pub(super) fn publish(&mut self, now: Millis, producer: ProducerId, messages: Vec<Publish>) {
        self.note_arrivals(now);
        for Publish { token, message, answer } in messages {
            let answer = answer.then_some((producer, token));
            let key = self.duplicate_key(&message);
            // Before all else: what was taken once is not refused now for want of room.
            if key.is_some_and(|key| self.is_duplicate(now, &key, message.durable, answer)) {
                continue;
            }
            let refusal = self.refuses(now, &message);
            *(if refusal.is_none() { &mut self.tally.published } else { &mut self.tally.refused }) += 1;
            match refusal {
                None => self.enqueue(now, message, answer, key),
                Some(refusal) if answer.is_some() => self.ledger.answer(producer, token, Some(refusal)),
                Some(_) => {}
            }
        }
    }

    fn refuses(&self, now: Millis, message: &Message) -> Option<Refusal> {
        if self.storage_full {
            return Some(Refusal::StorageFull);
        }
        if message.expires.is_some_and(|at| at <= now) {
            return Some(Refusal::Expired);
        }
        let full = self.definition.policy.when_full == WhenFull::Reject && self.at_limit();
        full.then_some(Refusal::QueueFull)
    }

    #[inline]
    fn enqueue(
        &mut self,
        now: Millis,
        mut message: Arc<Message>,
        answer: Option<(ProducerId, u64)>,
        key: Option<Fingerprint>,
    ) {
        if let Some(max) = self.definition.policy.max_ttl_ms {
            let latest = now.plus_ms(max);
            if message.expires.is_none_or(|at| at > latest) {
                Arc::make_mut(&mut message).expires = Some(latest);
            }
        }
        let durable = message.durable && self.outlives_the_process();
        let mut entry = Entry {
            expires: message.expires.map_or(0, |at| at.0),
            size: u32::try_from(message.payload().len()).unwrap_or(u32::MAX),
            delivery_count: message.delivery_count,
            flags: if message.first_acquirer { FIRST_ACQUIRER } else { 0 }
                | if durable { DURABLE } else { 0 },
            priority: message.priority.min(MAX_PRIORITY),
            ..Entry::VACANT
        };
        let id = key.map(|key| self.remember_id(now, key, durable));
        if durable {
            let (ticket, index) =
                self.ledger.put(self.main.id, self.main.next_seq, Arc::clone(&message), answer, id);
            entry.set_pending(ticket, index);
        } else if let Some((producer, token)) = answer {
            self.ledger.answer(producer, token, None);
        }
        entry.message = Some(message);
        self.main.add(entry, &mut self.memory);
        self.had.message = true;
    }

    fn messages(&self) -> u64 {
        self.main.entries.len()
    }

    /// Whether the queue holds as much as its policy allows.
    pub(super) fn at_limit(&self) -> bool {
        let policy = &self.definition.policy;
        policy.max_messages.is_some_and(|max| self.messages() >= max)
            || policy.max_bytes.is_some_and(|max| self.main.tally.bytes >= max)
    }

    /// Whether there is room again: an eighth below the limits, so that it does not flap.
    fn well_below_limit(&self) -> bool {
        let policy = &self.definition.policy;
        let low = |max: u64| max - max.div_ceil(8).min(max);
        policy.max_messages.is_none_or(|max| self.messages() <= low(max))
            && policy.max_bytes.is_none_or(|max| self.main.tally.bytes <= low(max))
    }

    /// Tells publishers to stop or go on, when that changed.
    pub(super) fn regulate(&mut self, effects: &mut Vec<Effect>) {
        let blocks = self.definition.policy.when_full == WhenFull::Block;
        self.blocked = blocks && (self.at_limit() || (self.blocked && !self.well_below_limit()));
        let open = !(self.blocked || self.storage_full);
        if open != self.open {
            self.open = open;
            effects.extend(self.producers.iter().map(|&producer| Effect::ProducerCredit { producer, open }));
        }
    }
}
