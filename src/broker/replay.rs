//! Replay: dead letters go back to the queue they died in, and what becomes of the first of them is watched. They are in
//! its tree, or in the queue that takes its dead letters.
//!
//! Invariant: a message moves in one record, so it is in exactly one of the two, whatever fails. One that a replay of
//! this name put back before stays where it is, so that a replay run twice does not duplicate. Which letters are meant,
//! how fast, and when to stop is said by who commands it.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    EntryState, Replay, Seq,
    node::Node,
    policy::WhenFull,
    queue::entry::{KEEPING, LOADING, STATE_PAGED, STATE_STORED, Status, UNREADABLE},
};
use crate::{limits::REPLAYS_KEPT, time::Millis};

/// Messages watched at a time, over all replays of a queue.
const WATCHED: usize = 1024;

/// Dead letters to be put back.
#[derive(Debug)]
pub struct ReplayLetters {
    /// The name of the replay.
    pub id: Arc<str>,
    /// They are in the queue's own dead-letter tree; else they are other queues', in the queue itself.
    pub own: bool,
    /// Which, and what is known of their states where the queue does not have them in memory.
    pub letters: Vec<ReplayLetter>,
    /// Watch what becomes of them.
    pub watch: bool,
}

/// One of them.
#[derive(Debug)]
pub struct ReplayLetter {
    /// Which.
    pub seq: Seq,
    /// `Seen::acquired_count` when it was looked at: tells whether `state` still holds.
    pub acquired_count: u32,
    /// Its state as the store has it, for one whose state is not in memory.
    pub state: Option<Arc<EntryState>>,
}

/// What became of the command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Put back; other queues' letters: on their way there.
    pub moved: u64,
    /// Not there any more, or put back by this replay before.
    pub done_before: u64,
    /// With a consumer of the dead letters, or changed since they were looked at: try again.
    pub busy: u64,
    /// The queue is full and took no more.
    pub full: bool,
}

/// What became of messages that are watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fates {
    /// Accepted.
    pub good: u64,
    /// Failed or died again.
    pub bad: u64,
    /// Not known yet.
    pub open: u64,
}

/// Messages that were put back and are watched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By their number in the queue.
    open: BTreeMap<u64, Arc<str>>,
    done: BTreeMap<Arc<str>, Fates>,
}

impl Watch {
    /// What a message came to: good, bad, or (purged, expired, moved by hand) neither.
    #[inline]
    pub(super) fn ended(&mut self, seq: u64, good: Option<bool>) {
        if self.open.is_empty() {
            return;
        }
        let Some(id) = self.open.remove(&seq) else { return };
        let fates = self.done.entry(id).or_default();
        match good {
            Some(true) => fates.good += 1,
            Some(false) => fates.bad += 1,
            None => {}
        }
    }
}

impl Node {
    /// Puts dead letters back: "with a fresh attempt budget and its history kept".
    pub fn replay(&mut self, now: Millis, wanted: ReplayLetters) -> Replayed {
        let ReplayLetters { id, own, letters, watch } = wanted;
        let mut result = Replayed::default();
        for letter in letters {
            if own && self.definition.policy.when_full == WhenFull::Reject && self.at_limit() {
                result.full = true;
                return result;
            }
            let done = match own {
                true => self.replay_one(now, &id, letter),
                false => self.replay_away(now, &id, letter),
            };
            match done {
                Outcome::Away => result.moved += 1,
                Outcome::Moved(seq) => {
                    result.moved += 1;
                    if watch && self.watch.open.len() < WATCHED {
                        self.watch.open.insert(seq, Arc::clone(&id));
                    }
                }
                Outcome::DoneBefore => result.done_before += 1,
                Outcome::Busy => result.busy += 1,
            }
        }
        result
    }

    fn replay_one(&mut self, now: Millis, id: &Arc<str>, letter: ReplayLetter) -> Outcome {
        let Self { main, dead, ledger, memory, .. } = self;
        let seq = letter.seq.0;
        let Some(entry) = dead.entries.get(seq) else { return Outcome::DoneBefore };
        let at_rest = entry.at_rest();
        let state = if entry.has(STATE_PAGED) { letter.state } else { entry.full_state() };
        let (Some(mut state), true) = (state, at_rest && letter.acquired_count == entry.acquired_count)
        else {
            return Outcome::Busy;
        };
        if state.replays.iter().any(|replay| replay.id == **id) {
            return Outcome::DoneBefore;
        }
        let Some(mut entry) = dead.take_out(seq, memory) else { return Outcome::DoneBefore };
        begin_anew(&mut state, now, id);
        entry.state = Some(Arc::clone(&state));
        entry.set_counts(0, entry.acquired_count);
        // The store has the old state until the move is committed.
        entry.flags &= !(LOADING | UNREADABLE | STATE_PAGED | STATE_STORED);
        let (recorded, pending, keeping) = (entry.recorded(), entry.pending(), entry.has(KEEPING));
        let old_segment = entry.location().map(|location| location.segment);
        let state = entry.full_state().unwrap_or_default();
        let to = (main.id, main.add(entry, memory));
        if recorded {
            if let Some(put) = pending.and_then(|pending| ledger.pending_put(pending)) {
                (put.queue, put.seq) = to;
            }
            if keeping {
                ledger.keep_moved((dead.id, seq), to);
            }
            ledger.moved((dead.id, Seq(seq)), to, state);
        }
        // A compaction that has looked at the queue already must look again.
        if self.evacuation.as_ref().is_some_and(|e| old_segment.is_some_and(|segment| segment <= e.segment)) {
            self.look_again();
        }
        self.tally.replayed += 1;
        Outcome::Moved(to.1)
    }

    /// A letter that another queue's policy sent here goes back there, if that queue takes it.
    fn replay_away(&mut self, now: Millis, id: &Arc<str>, letter: ReplayLetter) -> Outcome {
        let seq = letter.seq.0;
        let Some(entry) = self.main.entries.get(seq) else { return Outcome::DoneBefore };
        let waits = matches!(entry.status, Status::Available | Status::Delayed);
        let state =
            if entry.has(STATE_PAGED) { letter.state } else { Some(entry.full_state().unwrap_or_default()) };
        let (Some(mut state), true) = (state, waits && letter.acquired_count == entry.acquired_count) else {
            return Outcome::Busy;
        };
        let Some(target) = state.died_elsewhere(&self.definition.name).map(str::to_owned) else {
            return Outcome::DoneBefore;
        };
        if state.replays.iter().any(|replay| replay.id == **id) {
            return Outcome::DoneBefore;
        }
        begin_anew(&mut state, now, id);
        let counts = Arc::make_mut(&mut state);
        (counts.delivery_count, counts.acquired_count) = (0, entry.acquired_count);
        self.move_back(seq, target, state);
        self.tally.replayed += 1;
        Outcome::Away
    }

    /// What became of the messages a replay put back and watches. `forget`: it will not ask again.
    pub fn fates(&mut self, id: &str, forget: bool) -> Fates {
        // Purged or deleted by hand: nobody will hear of it.
        let main = &self.main;
        self.watch.open.retain(|seq, _| main.entries.get(*seq).is_some());
        let mut fates = self.watch.done.get(id).copied().unwrap_or_default();
        fates.open = self.watch.open.values().filter(|of| &***of == id).count() as u64;
        if forget {
            self.watch.done.remove(id);
            self.watch.open.retain(|_, of| &**of != id);
        }
        fates
    }
}

/// The state of a letter that is put back: its history stays.
fn begin_anew(state: &mut Arc<EntryState>, now: Millis, id: &Arc<str>) {
    let state = Arc::make_mut(state);
    state.not_before = None;
    state.excluded.clear();
    if state.replays.len() >= REPLAYS_KEPT {
        state.replays.remove(0);
    }
    state.replays.push(Replay { id: id.to_string(), time: now });
}

enum Outcome {
    /// On its way to another queue.
    Away,
    Moved(u64),
    DoneBefore,
    Busy,
}
