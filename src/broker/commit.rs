//! What became of a batch: locations and answers where it is safe; new messages taken back where there was
//! no room for them.
//!
//! Invariant: only new messages are ever refused. What was recorded about them meanwhile is committed all the
//! same, and means nothing to a store that does not know them; so nothing need be made again.

use super::{
    AttemptEnd, Committed, Effect, Location, QueueId, Refusal, Ticket,
    attempt::note_last,
    ledger::Put,
    node::Node,
    queue::entry::{KEEPING, Status},
};

impl Node {
    /// A batch is safe.
    pub(super) fn committed(&mut self, committed: Committed) {
        let Some(pending) = self.ledger.take_pending(committed.ticket) else { return };
        self.ids_committed(&pending.ids, committed.seen);
        let mut locations = committed.locations.into_iter();
        for put in pending.puts {
            if let Some((producer, token)) = put.answer {
                self.ledger.answer(producer, token, None);
            }
            self.written(put.queue, put.seq, locations.next().flatten());
        }
        for (queue, seq) in pending.kept {
            self.keeps = self.keeps.saturating_sub(1);
            let tree = self.queue_mut(queue.is_dead_letter());
            if let Some(entry) = tree.entries.get_mut(seq) {
                entry.flags &= !KEEPING;
            }
            self.written(queue, seq, locations.next().flatten());
        }
        for (queue, seq, state) in pending.states {
            self.queue_mut(queue.is_dead_letter()).state_stored(seq, &state);
        }
        for notice in pending.notices {
            self.ledger.notify(notice);
        }
    }

    /// A message's bytes are there now.
    #[inline]
    fn written(&mut self, queue: QueueId, seq: u64, location: Option<Location>) {
        let Self { main, dead, memory, evacuation, .. } = self;
        let queue = if queue.is_dead_letter() { dead } else { main };
        let Some(entry) = queue.entries.get_mut(seq) else { return };
        let Some(location) = location else {
            // Only what was settled has no place; what is still here stays in memory.
            entry.clear_pending();
            return;
        };
        queue.entries.set_location(seq, location);
        if let Some(e) = evacuation.as_mut().filter(|e| location.segment <= e.segment) {
            e.again = true;
        }
        queue.spill(seq, memory);
    }

    /// The store had no room for new messages.
    pub(super) fn commit_failed(&mut self, ticket: Ticket) {
        let Some(pending) = self.ledger.take_pending(ticket) else { return };
        self.ledger.untold(&pending);
        debug_assert!(pending.kept.is_empty() && pending.notices.is_empty(), "only new messages are refused");
        for (index, put) in (0..).zip(&pending.puts) {
            self.put_failed((ticket.0, index), put);
        }
    }

    /// Takes a new message back, wherever it is by now; its publisher hears, unless it was settled first.
    fn put_failed(&mut self, pending: (u64, u32), put: &Put) {
        if let Some(number) = put.id {
            let entry = self.queue_mut(put.queue.is_dead_letter()).entries.get(put.seq);
            if entry.is_none_or(|entry| entry.pending() != Some(pending)) {
                return self.keep_id(number, put.answer);
            }
            self.forget_id(number);
        }
        if let Some((producer, token)) = put.answer {
            self.ledger.answer(producer, token, Some(Refusal::StorageFull));
        }
        let Self { main, dead, memory, attempts, .. } = self;
        let queue = if put.queue.is_dead_letter() { dead } else { main };
        let Some(entry) = queue.entries.get(put.seq).filter(|e| e.pending() == Some(pending)) else { return };
        let holder = (entry.status == Status::Acquired).then_some(entry.holder);
        if let Some(slot) = holder {
            note_last(attempts, queue, slot, put.seq, AttemptEnd::Released);
        }
        queue.take_out(put.seq, memory);
        if let Some(slot) = holder {
            queue.let_go(slot, put.seq);
        }
        if put.queue.is_dead_letter() {
            return;
        }
        // It waited to be offered to another queue.
        for notice in self.moves.notices.remove(&put.seq).unwrap_or_default() {
            self.ledger.notify_when_safe(notice);
        }
    }

    /// Answers that are due.
    pub(super) fn answers(&mut self, effects: &mut Vec<Effect>) {
        self.ledger.flush(effects);
    }
}
