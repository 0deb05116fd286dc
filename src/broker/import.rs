//! Letters from elsewhere: dead letters that were exported come into a queue's tree.
//!
//! Invariant: message and state are recorded together, and one that is refused (the disk is full) is not there. Which
//! of them are there already is decided by who commands it: that needs their states.

use std::sync::Arc;

use super::{
    EntryState, Message, Seq,
    node::Node,
    queue::{
        MAX_PRIORITY,
        entry::{DURABLE, Entry, FIRST_ACQUIRER},
    },
};

impl Node {
    /// Adds a dead letter as the newest; its number. Durable whatever it says: who imports wants to keep it.
    pub fn import_letter(&mut self, message: Arc<Message>, state: Arc<EntryState>) -> Seq {
        let durable = self.outlives_the_process();
        let mut entry = Entry {
            state: Some(Arc::clone(&state)),
            size: u32::try_from(message.payload().len()).unwrap_or(u32::MAX),
            delivery_count: state.delivery_count,
            acquired_count: state.acquired_count,
            flags: if message.first_acquirer { FIRST_ACQUIRER } else { 0 }
                | if message.durable { DURABLE } else { 0 },
            priority: message.priority.min(MAX_PRIORITY),
            ..Entry::VACANT
        };
        let seq = self.dead.next_seq;
        if durable {
            let (ticket, index) = self.ledger.put(self.dead.id, seq, Arc::clone(&message), None, None);
            entry.set_pending(ticket, index);
            self.ledger.state(self.dead.id, seq, state);
        }
        entry.message = Some(message);
        self.dead.add(entry, &mut self.memory);
        self.had.message = true;
        Seq(seq)
    }

    /// Removes dead letters that are as they were when they were looked at; how many.
    pub fn remove_letters(&mut self, letters: &[(Seq, u32)]) -> u64 {
        let mut removed = 0;
        for &(seq, acquired_count) in letters {
            let Self { dead, ledger, memory, .. } = self;
            let same = |entry: &Entry| entry.acquired_count == acquired_count && entry.at_rest();
            if dead.entries.get(seq.0).is_some_and(same) {
                super::settlement::finish(dead, ledger, memory, seq.0);
                removed += 1;
            }
        }
        removed
    }
}
