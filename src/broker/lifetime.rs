//! When a dynamic node's lifetime policy says it ends (part 3.5.10 to 3.5.13).
//!
//! Invariant: said once. `delete-on-close` is about the link that made the node, which only the server knows.

use super::{Effect, QueueDefinition, node::Node, policy::Lifetime};

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
}
