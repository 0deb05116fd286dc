//! What exists: definitions and next sequence numbers, for the first frame of each segment.
//!
//! Invariant: it is what all committed records together say, so that no segment before the one that
//! begins with it is needed to know the queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::super::delta::Change;
use super::super::record;
use crate::broker::{QueueDefinition, QueueId};

/// What exists, for the first frame of each segment.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub definitions: BTreeMap<QueueId, Arc<QueueDefinition>>,
    pub next_seqs: FxHashMap<QueueId, u64>,
}

impl Catalogue {
    /// Takes note of what was committed.
    pub fn note(&mut self, changes: &[Change]) {
        let mut current: Option<(QueueId, u64)> = None;
        for change in changes {
            let (queue, next) = match change {
                Change::Put { queue, seq, .. } => (*queue, seq.0.saturating_add(1)),
                Change::Move { from, to, .. } => {
                    // Its put may have been refused: see `delta`.
                    self.raise(Some((from.0, from.1.0.saturating_add(1))));
                    (to.0, to.1.0.saturating_add(1))
                }
                Change::Define(definition) => {
                    self.definitions.insert(definition.id, Arc::clone(definition));
                    continue;
                }
                Change::Delete(queue) => {
                    self.raise(current.take());
                    self.delete(*queue);
                    continue;
                }
                _ => continue,
            };
            match &mut current {
                Some((same, highest)) if *same == queue => *highest = next.max(*highest),
                _ => self.raise(current.replace((queue, next))),
            }
        }
        self.raise(current);
    }

    fn raise(&mut self, seen: Option<(QueueId, u64)>) {
        if let Some((queue, next)) = seen {
            let known = self.next_seqs.entry(queue).or_default();
            *known = next.max(*known);
        }
    }

    fn delete(&mut self, queue: QueueId) {
        self.next_seqs.remove(&queue);
        if !queue.is_dead_letter() {
            self.next_seqs.remove(&queue.dead_letter());
            self.definitions.remove(&queue);
        }
    }

    /// Everything that exists, as records.
    pub fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = Vec::new();
        for definition in self.definitions.values() {
            record::encode_define(&mut bytes, definition);
        }
        for (queue, next) in &self.next_seqs {
            record::encode_next_seq(&mut bytes, *queue, *next);
        }
        (bytes, (self.definitions.len() + self.next_seqs.len()) as u32)
    }
}
