//! What became of a batch: locations and answers where it is safe, everything anew where it failed.
//!
//! Invariant: after a failed batch each of its records but the puts is made again from the state of now,
//! so a later batch that went through is never undone. Puts are taken back and their publishers refused.

use super::{
    Committed, Effect, QueueId, Refusal, Ticket,
    ledger::{Put, Redo},
    node::Node,
    queue::entry::{KEEPING, Status},
};

impl Node {
    /// A batch is safe.
    pub(super) fn committed(&mut self, committed: Committed) {
        let Some(pending) = self.ledger.take_pending(committed.ticket) else { return };
        let mut locations = committed.locations.into_iter();
        for put in pending.puts {
            let location = locations.next().flatten();
            if let Some((producer, token)) = put.answer {
                self.ledger.answer(producer, token, None);
            }
            let Self { main, dead, memory, evacuation, keeps, .. } = self;
            let queue = if put.queue.is_dead_letter() { dead } else { main };
            let entry = queue.entries.get_mut(put.seq);
            if put.keep {
                *keeps = keeps.saturating_sub(1);
            }
            let Some(entry) = entry else { continue };
            if put.keep {
                entry.flags &= !KEEPING;
            }
            let Some(location) = location else {
                // Only what was settled has no place; what is still here stays in memory.
                entry.clear_pending();
                continue;
            };
            queue.entries.set_location(put.seq, location);
            if let Some(e) = evacuation.as_mut().filter(|e| location.segment <= e.segment) {
                e.again = true;
            }
            queue.spill(put.seq, memory);
        }
        for notice in pending.notices {
            self.ledger.notify(notice);
        }
    }

    /// The store had no room for a batch.
    pub(super) fn commit_failed(&mut self, ticket: Ticket) {
        let Some(pending) = self.ledger.take_pending(ticket) else { return };
        for (index, put) in (0..).zip(&pending.puts) {
            self.put_failed((ticket.0, index), put);
        }
        for redo in pending.redo {
            self.redo(redo);
        }
        for notice in pending.notices {
            self.ledger.notify_when_safe(notice);
        }
        // Until what was made anew is safe, the disk has messages where they no longer are here; and a
        // `Keep` that was committed meanwhile may have named a place the disk had not heard of.
        let newest = self.ledger.newest();
        if let Some(evacuation) = &mut self.evacuation {
            evacuation.barrier = evacuation.barrier.max(newest);
            evacuation.again = true;
        }
    }

    fn put_failed(&mut self, pending: (u64, u32), put: &Put) {
        if let Some((producer, token)) = put.answer {
            self.ledger.answer(producer, token, Some(Refusal::StorageFull));
        }
        let Self { main, dead, memory, evacuation, keeps, .. } = self;
        let queue = if put.queue.is_dead_letter() { dead } else { main };
        if put.keep {
            *keeps = keeps.saturating_sub(1);
            if let Some(e) = evacuation {
                e.again = true;
            }
        }
        let Some(entry) = queue.entries.get_mut(put.seq) else { return };
        if put.keep {
            entry.flags &= !KEEPING;
        } else if entry.pending() == Some(pending) {
            let holder = (entry.status == Status::Acquired).then_some(entry.holder);
            queue.take_out(put.seq, memory);
            if let Some(slot) = holder {
                queue.let_go(slot, put.seq);
            }
            if let Some(notices) = self.moves.notices.remove(&put.seq) {
                for notice in notices {
                    self.ledger.notify_when_safe(notice);
                }
            }
        }
    }

    fn redo(&mut self, redo: Redo) {
        let Self { main, dead, ledger, .. } = self;
        let queue = |id: QueueId| if id.is_dead_letter() { &*dead } else { &*main };
        match redo {
            Redo::Defined(definition) => ledger.define(&definition),
            Redo::Gone(id, seq) => ledger.gone(id, seq),
            Redo::Changed(id, seq) => {
                if let Some(entry) = queue(id).entries.get(seq).filter(|e| e.recorded()) {
                    match &entry.state {
                        Some(state) => ledger.state(id, seq, state.clone()),
                        None => ledger.count(id, seq, entry.delivery_count, entry.acquired_count),
                    }
                }
            }
            Redo::Moved { from, to } => match queue(to.0).entries.get(to.1) {
                Some(entry) => ledger.moved(from, to, entry.full_state().unwrap_or_default()),
                // Settled there meanwhile: where it came from it must go too.
                None => ledger.gone(from.0, from.1.0),
            },
        }
    }

    /// Answers that are due.
    pub(super) fn answers(&mut self, effects: &mut Vec<Effect>) {
        self.ledger.flush(effects);
    }
}
