//! Writing messages again so that the store can delete old segments.
//!
//! Invariant: `Evacuated` is said only when no message of the node has, or can still turn out to have, its bytes
//! in a segment up to the one named, and all `Keep` records are committed. A state that is not in memory is read back
//! first: the journal must be able to tell it without the index. Looks only where chunks say.

use std::collections::BTreeSet;

use super::{
    Effect,
    node::Node,
    queue::entry::{KEEPING, OFFERED, STATE_PAGED},
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
    /// Messages whose states are to be read back before they are written again: in the dead-letter tree, and which.
    awaited: BTreeSet<(bool, u64)>,
}

impl Evacuation {
    fn of(segment: u32, limit: usize) -> Self {
        let next = Some((false, 0));
        Self { segment, limit, next, barrier: 0, again: false, awaited: BTreeSet::new() }
    }
}

impl Node {
    /// The store wants everything up to `segment` written again.
    pub(super) fn evacuate(&mut self, segment: u32, limit: usize) {
        match &mut self.evacuation {
            Some(e) if e.segment >= segment => e.limit = limit,
            _ => {
                self.evacuation = Some(Evacuation::of(segment, limit));
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
        if let (true, Some(e)) = (entry.has(STATE_PAGED), evacuation.as_mut()) {
            e.awaited.insert((dead, seq));
            return;
        }
        if !entry.has(KEEPING) {
            entry.flags |= KEEPING;
            ledger.keep(queue.id, seq, location, entry.full_state());
            *keeps += 1;
        }
    }

    /// A message was read back, or could not be; perhaps for us.
    pub(super) fn loaded_to_evacuate(&mut self, dead: bool, seq: u64) {
        let Some(e) = &mut self.evacuation else { return };
        if !e.awaited.remove(&(dead, seq)) {
            return;
        }
        match self.queue_mut(dead).entries.get(seq).map(|entry| entry.has(STATE_PAGED)) {
            Some(false) => self.keep(dead, seq),
            // Unreadable. Its segment stays; the store asks again when it next looks for room.
            Some(true) => self.evacuation = None,
            None => self.look_again(),
        }
    }

    /// A message that was passed over may be elsewhere in this node by now.
    pub(super) fn look_again(&mut self) {
        if let Some(e) = &mut self.evacuation {
            e.again = true;
        }
    }

    /// Asks for the states that are to be written again.
    pub(super) fn load_to_evacuate(&mut self, effects: &mut Vec<Effect>) {
        let Self { main, dead, evacuation: Some(e), .. } = self else { return };
        for (dead_letter, queue) in [(false, main), (true, dead)] {
            let before = e.awaited.len();
            e.awaited.retain(|(dead, seq)| *dead != dead_letter || queue.entries.get(*seq).is_some());
            e.again |= e.awaited.len() < before;
            let awaited = e.awaited.range((dead_letter, 0)..=(dead_letter, u64::MAX));
            let seqs: Vec<u64> = awaited.map(|(_, seq)| *seq).collect();
            let wanted = queue.start_load(&seqs);
            if !wanted.is_empty() {
                effects.push(Effect::Load { dead_letter, wanted });
            }
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
        self.evacuation.as_ref().is_some_and(|e| {
            e.next.is_none() && e.awaited.is_empty() && self.keeps == 0 && through >= e.barrier
        })
    }
}
