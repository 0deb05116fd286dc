//! What need not be written: messages that were settled while their put waited to be written.
//!
//! Invariant: a put is left out only if its settle waits too, here or behind it; what else is written about
//! that message is about nothing, which replay ignores. "If it is finally settled before its commit was written, it
//! need not be written at all" (architecture, durability). Pure.

use rustc_hash::FxHashMap;

use crate::broker::{Batch, QueueId, Record, Seq};

/// Sequence numbers of one queue looked at in one gather; what lies farther apart is simply written.
const SPAN: u64 = 1 << 20;

/// Bits per message of one queue, from `base` on.
#[derive(Debug, Default)]
struct Bits {
    base: u64,
    put: Vec<u64>,
    settled: Vec<u64>,
}

/// Finds out which messages of a gather are both put and settled in it. Kept from gather to gather for
/// its memory.
#[derive(Debug, Default)]
pub(crate) struct Cancelled {
    slots: FxHashMap<QueueId, usize>,
    bits: Vec<Bits>,
    last: Option<(QueueId, usize)>,
    any: bool,
}

impl Cancelled {
    /// Looks at all records of a gather, in order.
    pub fn analyse<'a>(&mut self, batches: impl Iterator<Item = &'a Batch> + Clone) {
        self.clear();
        let mut puts = false;
        let mut settles = false;
        for record in batches.clone().flat_map(|batch| &batch.records) {
            puts |= matches!(record, Record::Put { .. });
            settles |= matches!(record, Record::Settle { .. });
        }
        if !puts || !settles {
            return;
        }
        for record in batches.flat_map(|batch| &batch.records) {
            match record {
                Record::Put { queue, seq, .. } => self.put(*queue, *seq),
                Record::Settle { queue, seq } => self.settle(*queue, *seq),
                // It goes on elsewhere: its bytes are needed.
                Record::Move { from, .. } => self.pin(from.0, from.1),
                _ => {}
            }
        }
    }

    /// Whether records about this message are to be left out.
    pub fn contains(&mut self, queue: QueueId, seq: Seq) -> bool {
        self.any && self.find(queue).and_then(|bits| bits.get(seq)).is_some_and(|(_, settled)| settled)
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.last = None;
        self.any = false;
    }

    fn put(&mut self, queue: QueueId, seq: Seq) {
        if self.find(queue).is_none() {
            let slot = self.slots.len();
            self.slots.insert(queue, slot);
            self.last = Some((queue, slot));
            if self.bits.len() == slot {
                self.bits.push(Bits::default());
            }
            if let Some(bits) = self.bits.get_mut(slot) {
                bits.base = seq.0 & !63;
                bits.put.clear();
                bits.settled.clear();
            }
        }
        if let Some(bits) = self.find(queue) {
            bits.put(seq);
        }
    }

    fn settle(&mut self, queue: QueueId, seq: Seq) {
        let settled = self.find(queue).is_some_and(|bits| bits.settle(seq));
        self.any |= settled;
    }

    fn pin(&mut self, queue: QueueId, seq: Seq) {
        if let Some(bits) = self.find(queue) {
            bits.pin(seq);
        }
    }

    fn find(&mut self, queue: QueueId) -> Option<&mut Bits> {
        let slot = match self.last {
            Some((last, slot)) if last == queue => slot,
            _ => {
                let slot = *self.slots.get(&queue)?;
                self.last = Some((queue, slot));
                slot
            }
        };
        self.bits.get_mut(slot)
    }
}

impl Bits {
    fn place(&self, seq: Seq) -> Option<(usize, u64)> {
        let distance = seq.0.checked_sub(self.base).filter(|distance| *distance < SPAN)?;
        Some(((distance / 64) as usize, 1 << (distance % 64)))
    }

    fn put(&mut self, seq: Seq) {
        let Some((word, bit)) = self.place(seq) else { return };
        if self.put.len() <= word {
            self.put.resize(word + 1, 0);
            self.settled.resize(word + 1, 0);
        }
        if let Some(word) = self.put.get_mut(word) {
            *word |= bit;
        }
    }

    fn settle(&mut self, seq: Seq) -> bool {
        let Some((word, bit)) = self.place(seq) else { return false };
        match (self.put.get(word), self.settled.get_mut(word)) {
            (Some(put), Some(settled)) if put & bit != 0 => {
                *settled |= bit;
                true
            }
            _ => false,
        }
    }

    fn pin(&mut self, seq: Seq) {
        let Some((word, bit)) = self.place(seq) else { return };
        if let Some(word) = self.put.get_mut(word) {
            *word &= !bit;
        }
    }

    fn get(&self, seq: Seq) -> Option<(bool, bool)> {
        let (word, bit) = self.place(seq)?;
        Some((self.put.get(word)? & bit != 0, self.settled.get(word)? & bit != 0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::{EntryState, Message, Ticket};

    fn put(queue: u32, seq: u64) -> Record {
        let message = Message {
            from: 0,
            bytes: Arc::from(&b"x"[..]),
            format: 0,
            durable: true,
            priority: 4,
            first_acquirer: true,
            delivery_count: 0,
            expires: None,
        };
        Record::Put { queue: QueueId(queue), seq: Seq(seq), message: Arc::new(message) }
    }

    fn settle(queue: u32, seq: u64) -> Record {
        Record::Settle { queue: QueueId(queue), seq: Seq(seq) }
    }

    fn analysed(records: Vec<Record>) -> Cancelled {
        let mut cancelled = Cancelled::default();
        let batches = [Batch { ticket: Ticket(1), records, patient: false }];
        cancelled.analyse(batches.iter());
        cancelled
    }

    #[test]
    fn put_and_settled_in_one_gather_is_cancelled() {
        let mut cancelled = analysed(vec![put(2, 70), put(2, 71), put(4, 71), settle(2, 71)]);
        assert!(cancelled.contains(QueueId(2), Seq(71)));
        assert!(!cancelled.contains(QueueId(2), Seq(70)));
        assert!(!cancelled.contains(QueueId(4), Seq(71)));
    }

    #[test]
    fn a_settle_of_an_earlier_put_is_written() {
        let mut cancelled = analysed(vec![put(2, 70), settle(2, 69), settle(2, 3), settle(6, 70)]);
        for (queue, seq) in [(2, 69), (2, 3), (6, 70), (2, 70)] {
            assert!(!cancelled.contains(QueueId(queue), Seq(seq)));
        }
    }

    #[test]
    fn a_moved_message_is_written() {
        let to = (QueueId(3), Seq(1));
        let from = (QueueId(2), Seq(5));
        let moved = Record::Move { from, to, state: Arc::new(EntryState::default()) };
        let mut cancelled = analysed(vec![put(2, 5), moved, settle(3, 1), settle(2, 5)]);
        assert!(!cancelled.contains(QueueId(2), Seq(5)));
        assert!(!cancelled.contains(QueueId(3), Seq(1)));
    }

    #[test]
    fn nothing_is_left_over_from_the_gather_before() {
        let mut cancelled = analysed(vec![put(2, 5), settle(2, 5)]);
        let batches =
            [Batch { ticket: Ticket(2), records: vec![put(2, 5), put(2, 6), settle(2, 6)], patient: false }];
        cancelled.analyse(batches.iter());
        assert!(!cancelled.contains(QueueId(2), Seq(5)));
        assert!(cancelled.contains(QueueId(2), Seq(6)));
    }
}
