//! What need not be written, as the real store's `journal::gather` finds it.
//!
//! Invariant: a put is left out only if its settle is in the same commit.

use std::collections::BTreeSet;

use crate::broker::{Batch, QueueId, Record, Seq};

/// Messages put and settled within these batches, and not moved.
pub(super) fn cancelled<'a>(batches: impl Iterator<Item = &'a Batch>) -> BTreeSet<(QueueId, Seq)> {
    let (mut put, mut cancelled) = (BTreeSet::new(), BTreeSet::new());
    for record in batches.flat_map(|batch| &batch.records) {
        match record {
            Record::Put { queue, seq, .. } => drop(put.insert((*queue, *seq))),
            Record::Move { from, .. } => drop(put.remove(from)),
            Record::Settle { queue, seq } if put.contains(&(*queue, *seq)) => {
                cancelled.insert((*queue, *seq));
            }
            _ => {}
        }
    }
    cancelled
}
