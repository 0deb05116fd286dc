//! Writing messages again so that the store can delete old segments.
//!
//! Invariant: `Evacuated` is said only when no message of the node has, or can still turn out to have, its bytes
//! in a segment up to the one named, and all `Keep` records are committed. Looks only where chunks say.

use super::{
    Effect,
    node::Node,
    queue::entry::{KEEPING, OFFERED},
};

/// An evacuation under way.
#[derive(Debug)]
pub(super) struct Evacuation {
    pub segment: u32,
    limit: usize,
    /// Where to look on: in the dead-letter tree, from this number; `None`: all was looked at.
    next: Option<(bool, u64)>,
    /// Batches up to this one may put messages where they must not stay.
    pub barrier: u64,
    /// Something was passed over or came after: look again.
    pub again: bool,
}

impl Node {
    /// The store wants everything up to `segment` written again.
    pub(super) fn evacuate(&mut self, segment: u32, limit: usize) {
        match &mut self.evacuation {
            Some(e) if e.segment >= segment => e.limit = limit,
            Some(e) => {
                *e = Evacuation { segment, limit, next: Some((false, 0)), barrier: 0, again: false };
                self.evacuate_ids(segment);
            }
            None => {
                let next = Some((false, 0));
                self.evacuation = Some(Evacuation { segment, limit, next, barrier: 0, again: false });
                self.evacuate_ids(segment);
            }
        }
        self.evacuate_some();
    }

    fn evacuate_some(&mut self) {
        let Some(e) = &mut self.evacuation else { return };
        let (segment, mut left) = (e.segment, e.limit.max(1));
        while let Some(Evacuation { next: Some((dead, from)), .. }) = self.evacuation {
            if left == 0 {
                return;
            }
            let (seqs, more) = self.queue_mut(dead).entries.in_segments(from, segment, left);
            left -= seqs.len();
            for seq in seqs {
                self.keep(dead, seq);
            }
            let barrier = self.ledger.newest();
            if let Some(e) = &mut self.evacuation {
                e.next = match more {
                    Some(seq) => Some((dead, seq)),
                    None if !dead => Some((true, 0)),
                    None => None,
                };
                e.barrier = barrier;
            }
        }
    }

    /// Has a message written again.
    pub(super) fn keep(&mut self, dead: bool, seq: u64) {
        let Self { main, dead: tree, ledger, evacuation, keeps, .. } = self;
        let queue = if dead { tree } else { main };
        let Some(entry) = queue.entries.get_mut(seq) else { return };
        let Some(location) = entry.location() else { return };
        if entry.has(OFFERED) {
            // It is about to be another queue's; only once that is settled is it known whose it is.
            if let Some(e) = evacuation {
                e.again = true;
            }
            return;
        }
        if !entry.has(KEEPING) {
            entry.flags |= KEEPING;
            ledger.keep(queue.id, seq, location, entry.full_state());
            *keeps += 1;
        }
    }

    /// Says so when all is done; looks again where something was passed over.
    pub(super) fn finish_evacuation(&mut self, effects: &mut Vec<Effect>) {
        if !self.evacuation_settled() {
            return;
        }
        if self.evacuation.as_mut().is_some_and(|e| std::mem::take(&mut e.again)) {
            if let Some(segment) = self.evacuation.as_mut().map(|e| {
                e.next = Some((false, 0));
                e.segment
            }) {
                self.evacuate_ids(segment);
            }
            self.evacuate_some();
            if !self.evacuation_settled() {
                return;
            }
        }
        let Some(e) = self.evacuation.as_ref().filter(|e| !e.again) else { return };
        let segment = e.segment;
        self.evacuated_through = self.evacuated_through.max(Some(segment));
        self.evacuation = None;
        effects.push(Effect::Evacuated { segment });
    }

    /// Whether all was looked at and every batch that matters has met its fate.
    fn evacuation_settled(&self) -> bool {
        let through = self.ledger.settled_through();
        self.evacuation.as_ref().is_some_and(|e| e.next.is_none() && self.keeps == 0 && through >= e.barrier)
    }
}
