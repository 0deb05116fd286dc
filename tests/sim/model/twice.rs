//! (11) Messages that come twice: one of them at most is queued, and what is accepted in its name is safe.
//!
//! Invariant: which of several with one key is the first is not known here, where two links may race; so all of them
//! stand for each other. Of a small window too little is known to say that a message is none of its duplicates.

use std::sync::Arc;

use verdict::{
    broker::{self, policy::Detect},
    container::reader::READER,
    time::Millis,
};

use super::{Message, Model};
use crate::{body, disk::Disk, rng::Rng};

/// Keys remembered in a window that outlasts a run.
const LARGE: usize = 1000;

impl Model {
    /// A key for the next message to a queue: its own number, or that of one before.
    pub fn key_for(&self, queue: usize, again: bool, rng: &mut Rng) -> Option<u64> {
        if self.queues[queue].policy.duplicates.detect == Detect::Off {
            return None;
        }
        let mine = self.messages.iter().rev().filter(|message| message.queue == queue);
        let recent: Vec<u64> = mine.filter_map(|message| message.wanted.key).take(16).collect();
        if again && !recent.is_empty() {
            return Some(recent[rng.below(recent.len() as u64) as usize]);
        }
        // Some have none.
        (!rng.one_in(10)).then(|| self.next_id())
    }

    fn others(&self, id: u64) -> impl Iterator<Item = (u64, &Message)> {
        let message = &self.messages[id as usize];
        let all = message.wanted.key.and_then(|key| self.keys.get(&(message.queue, key)));
        let others = all.into_iter().flatten().filter(move |other| **other != id);
        others.map(|other| (*other, &self.messages[*other as usize]))
    }

    /// Whether another message with its key is, or was, there in its place.
    pub(super) fn replaced(&self, id: u64, disk: &Disk, now: Millis) -> bool {
        let mut others = self.others(id);
        others.any(|(other, m)| {
            disk.by_id.contains_key(&other) || m.accepted || m.finished || self.may_be_discarded(m, now)
                // In memory, as a message that is not durable may be.
                || (!self.messages[id as usize].wanted.durable && m.answer == Some(true) && !m.vanished)
        })
    }

    fn has_large_window(&self, queue: usize) -> bool {
        self.queues[queue].policy.duplicates.count >= LARGE
    }

    /// Whether the disk remembers the key of a message that has one.
    pub(super) fn is_remembered(&self, id: u64, disk: &Disk) -> bool {
        let Message { wanted, queue, .. } = &self.messages[id as usize];
        if wanted.key.is_none() || !self.has_large_window(*queue) {
            return true;
        }
        let message = broker::Message {
            bytes: Arc::from(body::encode(wanted)),
            from: 0,
            format: 0,
            durable: wanted.durable,
            priority: 4,
            first_acquirer: false,
            delivery_count: 0,
            expires: None,
        };
        let key = (READER.duplicate_key)(&message, &Detect::MessageId).expect("it has a message-id");
        disk.remembers(&key)
    }

    /// A message is about to be handed out for the first time, perhaps: no other with its key was.
    pub fn only_once(&self, id: u64, disk: &Disk) {
        let message = &self.messages[id as usize];
        if message.ever_handed || self.stopping || !self.has_large_window(message.queue) {
            return;
        }
        for (other, m) in self.others(id).filter(|(_, m)| m.ever_handed) {
            let excused = self.excused((other, m), message, disk) || self.excused((id, message), m, disk);
            must!(excused, 11, "message {id} was queued beside its duplicate {other}: {message:?} {m:?}");
        }
    }

    /// Whether the key of the one may rightly be forgotten, or not held against the other.
    fn excused(&self, (id, one): (u64, &Message), other: &Message, disk: &Disk) -> bool {
        let crashed = self.crashes > one.sent_after;
        if one.answer == Some(false) {
            return true;
        }
        if !one.wanted.durable {
            // "a durable message is a duplicate only of what is, or will be, on the disk"
            return crashed || other.wanted.durable;
        }
        one.answer != Some(true) && (crashed || disk.refused_ids.contains(&id))
    }

    /// Messages that were accepted and not queued, for the report of a run.
    pub fn duplicates(&self) -> u64 {
        let dropped = |m: &&Message| m.answer == Some(true) && !m.ever_handed && m.wanted.key.is_some();
        self.messages.iter().filter(dropped).count() as u64
    }
}
