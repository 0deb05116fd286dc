//! What changed since the last checkpoint, merged: the newest fact per message, nothing about messages
//! that came and went.
//!
//! Invariant: applying a delta to an index that already has some of its effects (or later ones that
//! are replayed after it) gives the same as applying it to the index it was collected for.
//! Deliberately pure; `index` applies it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::block::{BLOCK_SEQS, IndexEntry};
use super::record::Packed;
use super::seen::SeenIds;
use crate::broker::{QueueDefinition, QueueId, SeenId, Seq};

/// One committed fact, without the bodies.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A message is in the queue.
    Put { queue: QueueId, seq: Seq, entry: IndexEntry },
    /// It was written again; counters and state stay as they were if it was known.
    Keep { queue: QueueId, seq: Seq, entry: IndexEntry },
    /// It has gone.
    Settle { queue: QueueId, seq: Seq },
    /// Its counters.
    Count { queue: QueueId, seq: Seq, delivery_count: u32, acquired_count: u32 },
    /// Its state.
    State { queue: QueueId, seq: Seq, state: Packed },
    /// It changed queues.
    Move { from: (QueueId, Seq), to: (QueueId, Seq), state: Packed },
    /// Ids of messages that came, in this segment; all below `oldest` are forgotten.
    Seen { queue: QueueId, ids: Vec<SeenId>, oldest: u64, segment: u32 },
    /// A queue.
    Define(Arc<QueueDefinition>),
    /// A queue (and its dead-letter tree, if it is a main queue) is gone.
    Delete(QueueId),
    /// Sequence numbers go on from here.
    NextSeq(QueueId, u64),
}

/// Where a message's index entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// It is in the index, if anywhere.
    Indexed,
    /// This is it.
    Put(IndexEntry),
    /// This is it, but counters and state come from the index if it is there.
    Keep(IndexEntry),
    /// It is that of the place it came from: of the last in this of `Delta::chains` the index has.
    MovedFrom(usize),
    /// There is none any more. `moved`: another message's `MovedFrom` may need it first.
    Removed { moved: bool },
    /// There never was one in the index.
    Gone,
}

/// What changed about one message.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// Place in its block.
    pub offset: u8,
    /// Where its entry comes from.
    pub base: Base,
    /// New counters.
    pub counts: Option<(u32, u32)>,
    /// New state.
    pub state: Option<Packed>,
}

/// What changed in one block.
#[derive(Debug, Default)]
pub(crate) struct BlockDelta {
    /// Ascending by offset.
    pub slots: Vec<Slot>,
    /// How many of them are not `Gone`.
    live: usize,
}

/// What changed in one queue (or dead-letter tree).
#[derive(Debug, Default)]
pub(crate) struct QueueDelta {
    /// By block number.
    pub blocks: BTreeMap<u64, BlockDelta>,
    /// Highest next sequence number seen; 0: none.
    pub next_seq: u64,
}

/// What changed.
#[derive(Debug)]
pub(crate) struct Delta {
    /// By queue.
    pub queues: FxHashMap<QueueId, QueueDelta>,
    /// New or changed definitions.
    pub definitions: BTreeMap<QueueId, Arc<QueueDefinition>>,
    /// New or changed ids, and what was forgotten.
    pub seen: BTreeMap<QueueId, SeenIds>,
    /// Main queues and dead-letter trees deleted.
    pub deleted: FxHashSet<QueueId>,
    /// Places that messages came from which were in the index before, oldest first: in a replay the index
    /// may know of some of the moves already.
    pub chains: Vec<Vec<(QueueId, Seq)>>,
    /// Whether a put that is not in the index yet can be cancelled here: not in a replay, where the
    /// index may have been told of it already.
    fresh: bool,
}

impl Delta {
    /// An empty one. `replay`: its changes may be known to the index in part.
    pub fn new(replay: bool) -> Self {
        Self {
            queues: FxHashMap::default(),
            definitions: BTreeMap::new(),
            seen: BTreeMap::new(),
            deleted: FxHashSet::default(),
            chains: Vec::new(),
            fresh: !replay,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        let nothing_new = self.definitions.is_empty() && self.seen.is_empty();
        self.queues.is_empty() && nothing_new && self.deleted.is_empty()
    }

    /// Whether its changes may be known to the index in part.
    pub fn is_replay(&self) -> bool {
        !self.fresh
    }

    /// Whether a queue was deleted.
    pub fn has_deletions(&self) -> bool {
        !self.deleted.is_empty()
    }

    /// Whether this must be applied before the change is merged: the change is about a queue whose
    /// deletion is in here.
    pub fn conflicts(&self, change: &Change) -> bool {
        if self.deleted.is_empty() {
            return false;
        }
        match change {
            Change::Define(definition) => {
                self.deleted.contains(&definition.id) || self.deleted.contains(&definition.id.dead_letter())
            }
            Change::Put { queue, .. }
            | Change::Keep { queue, .. }
            | Change::NextSeq(queue, _)
            | Change::Seen { queue, .. }
            | Change::Move { to: (queue, _), .. } => self.deleted.contains(queue),
            _ => false,
        }
    }

    /// The newest state of a message, if it changed.
    pub fn state(&self, queue: QueueId, seq: Seq) -> Option<&Packed> {
        let block = self.queues.get(&queue)?.blocks.get(&(seq.0 / BLOCK_SEQS))?;
        let at = block.find((seq.0 % BLOCK_SEQS) as u8).ok()?;
        block.slots.get(at)?.state.as_ref()
    }

    /// Merges one more change, in order.
    pub fn merge(&mut self, change: Change) {
        match change {
            Change::Put { queue, seq, entry } => {
                let queue = self.queue(queue);
                queue.next_seq = queue.next_seq.max(seq.0.saturating_add(1));
                queue.slot(seq).set(Base::Put(entry), None);
            }
            Change::Keep { queue, seq, entry } => self.keep(queue, seq, entry),
            Change::Settle { queue, seq } => {
                let fresh = self.fresh;
                self.queue(queue).remove(seq, fresh, false);
            }
            Change::Count { queue, seq, delivery_count, acquired_count } => {
                let slot = self.queue(queue).slot(seq);
                slot.counts = Some((delivery_count, acquired_count));
            }
            Change::State { queue, seq, state } => {
                let slot = self.queue(queue).slot(seq);
                slot.counts = None;
                slot.state = Some(state);
            }
            Change::Move { from, to, state } => self.moved(from, to, state),
            Change::Seen { queue, ids, oldest, segment } => {
                self.seen.entry(queue).or_default().note(&ids, oldest, segment);
            }
            Change::Define(definition) => {
                self.definitions.insert(definition.id, definition);
            }
            Change::Delete(id) => self.delete(id),
            Change::NextSeq(queue, next) => {
                let queue = self.queue(queue);
                queue.next_seq = queue.next_seq.max(next);
            }
        }
    }

    fn queue(&mut self, id: QueueId) -> &mut QueueDelta {
        self.queues.entry(id).or_default()
    }

    fn keep(&mut self, queue: QueueId, seq: Seq, entry: IndexEntry) {
        let slot = self.queue(queue).slot(seq);
        slot.base = match slot.base {
            // Known here: the new place, and what is known of the counters.
            Base::Put(old) => Base::Put(IndexEntry { location: entry.location, ..old }),
            Base::MovedFrom(..) => Base::Put(entry),
            Base::Indexed | Base::Keep(_) | Base::Removed { .. } | Base::Gone => Base::Keep(entry),
        };
    }

    fn moved(&mut self, from: (QueueId, Seq), to: (QueueId, Seq), state: Packed) {
        let fresh = self.fresh;
        let queue = self.queue(from.0);
        // A message whose put was refused leaves no other trace of its number. It must not be given again: a
        // replay would take this for a move of the new one.
        queue.next_seq = queue.next_seq.max(from.1.0.saturating_add(1));
        let base = queue.slot(from.1).base;
        let (base, held) = match base {
            Base::Put(entry) | Base::Keep(entry) => (Base::Put(entry), false),
            Base::Indexed => {
                self.chains.push(vec![from]);
                (Base::MovedFrom(self.chains.len() - 1), true)
            }
            Base::MovedFrom(chain) => {
                if let Some(chain) = self.chains.get_mut(chain) {
                    chain.push(from);
                }
                (Base::MovedFrom(chain), true)
            }
            // A replay over an index that knows more: whatever it says about the target holds.
            Base::Removed { .. } | Base::Gone => (Base::Indexed, false),
        };
        self.queue(from.0).remove(from.1, fresh, held);
        let queue = self.queue(to.0);
        queue.next_seq = queue.next_seq.max(to.1.0.saturating_add(1));
        let slot = queue.slot(to.1);
        slot.set(base, Some(state));
    }

    fn delete(&mut self, id: QueueId) {
        let trees = if id.is_dead_letter() { [id, id] } else { [id, id.dead_letter()] };
        for tree in trees {
            self.queues.remove(&tree);
            self.seen.remove(&tree);
            self.deleted.insert(tree);
        }
        if !id.is_dead_letter() {
            self.definitions.remove(&id);
        }
    }
}

impl QueueDelta {
    fn slot(&mut self, seq: Seq) -> &mut Slot {
        let block = self.blocks.entry(seq.0 / BLOCK_SEQS).or_default();
        block.slot((seq.0 % BLOCK_SEQS) as u8)
    }

    fn remove(&mut self, seq: Seq, fresh: bool, moved: bool) {
        let number = seq.0 / BLOCK_SEQS;
        let block = self.blocks.entry(number).or_default();
        let slot = block.slot((seq.0 % BLOCK_SEQS) as u8);
        let never_indexed = fresh && matches!(slot.base, Base::Put(_) | Base::MovedFrom(..));
        let already_moved = matches!(slot.base, Base::Removed { moved: true });
        let base = if never_indexed { Base::Gone } else { Base::Removed { moved: moved || already_moved } };
        slot.set(base, None);
        if never_indexed {
            block.live -= 1;
            if block.live == 0 {
                self.blocks.remove(&number);
            }
        }
    }
}

impl BlockDelta {
    fn slot(&mut self, offset: u8) -> &mut Slot {
        let at = self.find(offset);
        let at = match at {
            Ok(at) => {
                if let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.base == Base::Gone) {
                    // Told of again after it was cancelled: what it is now, the index says.
                    slot.base = Base::Indexed;
                    self.live += 1;
                }
                at
            }
            Err(at) => {
                self.live += 1;
                self.slots.insert(at, Slot { offset, base: Base::Indexed, counts: None, state: None });
                at
            }
        };
        &mut self.slots[at]
    }

    /// Mostly the block fills and empties in order: the place is where it is when none is missing.
    fn find(&self, offset: u8) -> Result<usize, usize> {
        match (self.slots.first(), self.slots.last()) {
            (Some(first), Some(last)) => {
                if offset > last.offset {
                    return Err(self.slots.len());
                }
                let guess = usize::from(offset.wrapping_sub(first.offset));
                if self.slots.get(guess).is_some_and(|slot| slot.offset == offset) {
                    return Ok(guess);
                }
                self.slots.binary_search_by_key(&offset, |slot| slot.offset)
            }
            _ => Err(0),
        }
    }
}

impl Slot {
    fn set(&mut self, base: Base, state: Option<Packed>) {
        self.base = base;
        self.counts = None;
        self.state = state;
    }
}
