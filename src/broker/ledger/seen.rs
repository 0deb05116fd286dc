//! Ids of messages among the records: each with the `Put` it came with, or alone when it must be written again.
//!
//! Invariant: a batch has at most one `Seen`, and what it says is forgotten is never less than what one before it
//! said, so that no replay, whatever segments it begins with, brings back an id that is forgotten.

use super::{Ledger, Open, Pending};
use crate::broker::{QueueId, Record, SeenId};

/// The lowest id that counts.
#[derive(Debug)]
pub(super) struct Oldest {
    /// Ids below this are forgotten.
    now: u64,
    /// What a record said last.
    told: u64,
}

impl Default for Oldest {
    fn default() -> Self {
        // The first id has the number 1.
        Self { now: 1, told: 1 }
    }
}

impl Open {
    fn seen(&mut self, queue: QueueId) -> Option<&mut Vec<SeenId>> {
        let at = *self.seen.get_or_insert_with(|| {
            self.records.push(Record::Seen { queue, ids: Vec::new(), oldest: 0 });
            self.records.len() - 1
        });
        match self.records.get_mut(at) {
            Some(Record::Seen { ids, .. }) => Some(ids),
            _ => None,
        }
    }

    /// Says in its `Seen`, if there is one, what is forgotten by now; whether there is one.
    pub(super) fn finish_seen(&mut self, forgotten_below: u64) -> bool {
        let seen = self.seen.take().and_then(|at| self.records.get_mut(at));
        let Some(Record::Seen { ids, oldest, .. }) = seen else { return false };
        *oldest = forgotten_below;
        ids.retain(|id| id.number >= forgotten_below);
        true
    }
}

impl Ledger {
    /// Records the id of the new message recorded next or before: they are safe together.
    pub(crate) fn saw_fresh(&mut self, queue: QueueId, id: SeenId) {
        self.fresh.pending.ids.push(id.number);
        self.fresh.seen(queue).into_iter().for_each(|ids| ids.push(id));
    }

    /// Records an id whose message is gone or recorded already; that is never refused.
    pub(crate) fn saw(&mut self, queue: QueueId, id: SeenId) {
        self.rest.pending.ids.push(id.number);
        self.rest.seen(queue).into_iter().for_each(|ids| ids.push(id));
    }

    /// Ids below this are forgotten: the next `Seen` says so.
    pub(crate) fn forget_ids(&mut self, below: u64) {
        self.oldest.now = self.oldest.now.max(below);
    }

    /// Recovery: what the store knows to be forgotten.
    pub(crate) fn ids_forgotten(&mut self, below: u64) {
        self.forget_ids(below);
        self.oldest.told = self.oldest.now;
    }

    /// Says what is forgotten, if that was not said: the store keeps segments for what it takes to be remembered.
    pub(crate) fn tell_oldest(&mut self, queue: QueueId) {
        if self.oldest.told < self.oldest.now {
            self.rest.seen(queue);
        }
    }

    /// The batches are about to be ended.
    pub(super) fn finish_seen(&mut self) {
        let now = self.oldest.now;
        if self.fresh.finish_seen(now) | self.rest.finish_seen(now) {
            self.oldest.told = now;
        }
    }

    /// A batch was refused, and what it said with it.
    pub(crate) fn untold(&mut self, refused: &Pending) {
        if !refused.ids.is_empty() {
            self.oldest.told = 0;
        }
    }
}
