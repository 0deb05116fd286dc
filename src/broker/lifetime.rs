//! Beginning and end of a node: its record, a clean stop, and when a dynamic node's lifetime policy says it ends (part
//! 3.5.10 to 3.5.13).
//!
//! Invariant: the end is said once. `delete-on-close` is about the link that made the node, which only the server knows.

use super::{Effect, QueueDefinition, node::Node, policy::Lifetime, queue::entry::Status};

/// What the node ever had: a node is not ended before it began to be used.
#[derive(Debug, Default)]
pub(super) struct Had {
    pub link: bool,
    pub message: bool,
    pub ended: bool,
}

impl Node {
    /// A new node: as `new`, and with the record that it exists. Dynamic nodes do not outlive the
    /// process (only `Permanent` ones are recorded), nor do messages in them.
    #[must_use]
    pub fn create(definition: QueueDefinition, seed: u64) -> Self {
        let mut node = Self::new(definition, seed);
        if node.outlives_the_process() {
            node.ledger.define(&node.definition);
        }
        node
    }

    /// The node is deleted: makes the record of that. No command may follow.
    pub fn prepare_delete(&mut self) {
        if self.outlives_the_process() {
            self.ledger.delete(self.definition.id);
        }
    }

    /// Whether the node, and with it what is in it, is written down.
    pub(super) fn outlives_the_process(&self) -> bool {
        self.definition.lifetime == Lifetime::Permanent
    }

    /// Says so if the node's time has come.
    pub(super) fn end_of_life(&mut self, effects: &mut Vec<Effect>) {
        if self.had.ended || self.definition.lifetime == Lifetime::Permanent {
            return;
        }
        let no_links = self.producers.is_empty() && self.consumers.is_empty();
        let no_messages = self.main.entries.len() == 0 && self.dead.entries.len() == 0;
        let ends = match self.definition.lifetime {
            Lifetime::Permanent | Lifetime::DeleteOnClose => false,
            Lifetime::DeleteOnNoLinks => no_links && self.had.link,
            Lifetime::DeleteOnNoMessages => no_messages && self.had.message,
            Lifetime::DeleteOnNoLinksOrMessages => {
                no_links && no_messages && (self.had.link || self.had.message)
            }
        };
        if ends {
            self.had.ended = true;
            effects.push(Effect::Expire);
        }
    }

    /// A clean stop: makes records of the non-durable messages too, so that they are kept.
    pub fn prepare_stop(&mut self) {
        if !self.outlives_the_process() {
            return;
        }
        self.record_volatile_ids();
        let Self { main, dead, ledger, .. } = self;
        let all = [Status::Available, Status::Acquired, Status::Delayed, Status::Held, Status::Moving];
        for queue in [main, dead] {
            for seq in queue.with_status(&all) {
                let id = queue.id;
                let Some(entry) = queue.entries.get_mut(seq).filter(|e| !e.recorded()) else { continue };
                let Some(message) = entry.message.clone() else { continue };
                let fresh = entry.state.is_none() && entry.acquired_count == 0;
                let as_published = fresh && entry.delivery_count == message.delivery_count;
                let (ticket, index) = ledger.put(id, seq, message, None, None);
                entry.set_pending(ticket, index);
                match &entry.state {
                    Some(state) => ledger.state(id, seq, state.clone()),
                    None if !as_published => {
                        ledger.count(id, seq, entry.delivery_count, entry.acquired_count)
                    }
                    None => {}
                }
            }
        }
    }
}
