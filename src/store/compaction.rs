//! Which segments can go, and which are to be emptied so that they can.
//!
//! Invariant: segments go oldest first, so that what is left of the journal can always rebuild the index;
//! none goes before two checkpoints have passed it, and none with a live message in it. Pure decisions;
//! the checkpointer carries them out.

use std::collections::BTreeSet;

use super::index::LiveBytes;
use crate::broker::QueueId;

/// Fewer segments than this are not worth compacting.
const MIN_SEGMENTS: usize = 5;
/// Checkpoints after which nodes are asked again when a segment is still not empty.
const ASK_AGAIN_AFTER: u32 = 10;

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Delete these, in this order.
    pub delete: Vec<u32>,
    /// Ask the nodes to empty everything up to this one.
    pub evacuate: Option<u32>,
}

/// The state of compaction.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    segment: u32,
    waiting_for: BTreeSet<QueueId>,
    checkpoints: u32,
}

impl Compaction {
    /// A node has answered.
    pub fn evacuated(&mut self, queue: QueueId, segment: u32) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| segment >= asked.segment) {
            asked.waiting_for.remove(&queue.main());
        }
    }

    /// After a checkpoint. `segments`: numbers and used bytes, oldest first; `covered`: the segment the
    /// checkpoint before this one had reached; `queues`: the main queues there are.
    pub fn plan(
        &mut self,
        segments: &[(u32, u64)],
        live: &LiveBytes,
        covered: u32,
        queues: impl Iterator<Item = QueueId>,
    ) -> Plan {
        let mut plan = Plan::default();
        let first_live = live.keys().next().copied().unwrap_or(u32::MAX);
        for &(number, _) in segments {
            let asked = self.asked.as_ref();
            let unanswered =
                asked.is_some_and(|asked| number <= asked.segment && !asked.waiting_for.is_empty());
            if number >= covered || number >= first_live || unanswered {
                break;
            }
            plan.delete.push(number);
        }
        let left = segments.get(plan.delete.len()..).unwrap_or_default();
        let Some(&(oldest, _)) = left.first() else { return plan };
        if self.asked.as_ref().is_some_and(|asked| asked.segment < oldest) {
            self.asked = None;
        }
        let total: u64 = left.iter().map(|(_, bytes)| bytes).sum();
        let live_bytes: u64 = live.values().sum();
        let wasteful = left.len() >= MIN_SEGMENTS && live_bytes * 2 < total;
        let ask = match &mut self.asked {
            None => wasteful && oldest < covered,
            Some(asked) => {
                asked.checkpoints += 1;
                asked.checkpoints % ASK_AGAIN_AFTER == 0
            }
        };
        if ask {
            // The oldest that is not empty: what is empty before it is only waiting for a checkpoint.
            let segment = self.asked.as_ref().map_or(oldest.max(first_live), |asked| asked.segment);
            if segment < covered {
                self.asked = Some(Asked { segment, waiting_for: queues.collect(), checkpoints: 0 });
                plan.evacuate = Some(segment);
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(count: u32) -> Vec<(u32, u64)> {
        (1..=count).map(|number| (number, 100)).collect()
    }

    #[test]
    fn empty_segments_go_from_the_oldest_end_only() {
        let live = LiveBytes::from([(3, 50), (6, 100)]);
        let plan = Compaction::default().plan(&segments(6), &live, 6, std::iter::empty());
        assert_eq!(plan.delete, [1, 2]);
    }

    #[test]
    fn nothing_goes_that_the_checkpoint_before_had_not_passed() {
        let plan = Compaction::default().plan(&segments(6), &LiveBytes::new(), 3, std::iter::empty());
        assert_eq!(plan.delete, [1, 2]);
    }

    #[test]
    fn the_oldest_is_emptied_when_most_is_garbage() {
        let live = LiveBytes::from([(1, 10), (6, 50)]);
        let mut compaction = Compaction::default();
        let queues = [QueueId(2), QueueId(4)];
        let plan = compaction.plan(&segments(6), &live, 6, queues.into_iter());
        assert_eq!(plan, Plan { delete: vec![], evacuate: Some(1) });
        compaction.evacuated(QueueId(2), 1);
        // Its messages are elsewhere, but one node has not said that it will not read there any more.
        let moved = LiveBytes::from([(6, 60)]);
        assert_eq!(compaction.plan(&segments(6), &moved, 6, queues.into_iter()), Plan::default());
        compaction.evacuated(QueueId(4), 1);
        let plan = compaction.plan(&segments(6), &moved, 6, queues.into_iter());
        assert_eq!(plan.delete, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_mostly_live_journal_is_left_alone() {
        let live = (1..=6).map(|number| (number, 60)).collect();
        assert_eq!(Compaction::default().plan(&segments(6), &live, 6, std::iter::empty()), Plan::default());
    }

    #[test]
    fn nodes_are_asked_again_when_it_does_not_become_empty() {
        let live = LiveBytes::from([(1, 10)]);
        let mut compaction = Compaction::default();
        let asked = (0..25)
            .filter(|_| compaction.plan(&segments(6), &live, 6, [QueueId(2)].into_iter()).evacuate == Some(1))
            .count();
        assert_eq!(asked, 3);
    }
}
