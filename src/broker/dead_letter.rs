//! How a message dies: into the node's own tree in one record, or to the queue its policy names.
//!
//! Invariant: a dead letter is in one place at any time. Within the node the move is one `Record::Move`;
//! to another queue it stays here, untouchable, until that queue says it has it durably. Nothing here
//! ever deletes a message, but expiry where the policy says `discard`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    Cause, Death, DeathReason, Effect, EntryState, Failure, FailureOutcome, MoveIn, Seq,
    history::add_failure,
    ledger::Notice,
    node::Node,
    policy::{ExpiredTo, WhenFull},
    queue::entry::{
        DURABLE, Entry, FIRST_ACQUIRER, KEEPING, LOADING, OFFERED, PUT_PENDING, Status, UNREADABLE,
    },
    settlement::{Fate, finish},
};
use crate::time::Millis;

/// Most messages offered to another queue at a time.
const OFFERED_MAX: usize = 256;

/// Messages on their way to another queue.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// To be offered.
    waiting: VecDeque<u64>,
    offered: usize,
    /// Confirmations that wait for a message to have arrived.
    pub notices: BTreeMap<u64, Vec<Notice>>,
    /// Other queues' dead letters that a replay puts back there, and the state each is to have.
    replays: BTreeMap<u64, (String, Arc<EntryState>)>,
}

impl Node {
    /// A waiting message's time to live has passed, or that of one that just came back.
    pub(super) fn expire(&mut self, now: Millis, seq: u64) -> Fate {
        self.tally.expired += 1;
        let Self { main, ledger, memory, definition, .. } = self;
        if definition.policy.expired == ExpiredTo::Discard {
            return finish(main, ledger, memory, seq);
        }
        main.unlist(seq);
        main.set_status(seq, Status::Moving);
        if let Some(entry) = main.entries.get_mut(seq) {
            let failure = Failure {
                time: now,
                consumer: "".into(),
                outcome: FailureOutcome::Expired,
                cause: None,
                annotations: Default::default(),
                delay_ms: 0,
                rule: "default".to_owned(),
            };
            add_failure(entry, failure);
        }
        self.bury(now, seq, DeathReason::Expired, None)
    }

    /// Dead-letters a message of the main queue.
    pub(super) fn bury(&mut self, now: Millis, seq: u64, reason: DeathReason, cause: Option<Cause>) -> Fate {
        let Self { main, definition, .. } = self;
        main.unlist(seq);
        main.set_status(seq, Status::Moving);
        main.group_left(seq);
        let Some(entry) = main.entries.get_mut(seq) else { return Fate::Unrecorded };
        self.tally.died(reason);
        self.watch.ended(seq, Some(false));
        let name = &definition.name;
        let attempts = entry.delivery_count;
        let state = entry.state_mut();
        let (first, address) = match state.death.take() {
            Some(death) => (death.first, death.address),
            None => ((name.clone(), reason), name.clone()),
        };
        let death = Death { reason, cause, time: now, attempts, queue: name.clone(), address, first };
        state.death = Some(Box::new(death));
        state.not_before = None;
        state.excluded.clear();
        if self.dead_letter_target().is_some() {
            self.moves.waiting.push_back(seq);
            return Fate::Leaving;
        }
        self.move_to_tree(seq)
    }

    /// Another queue that takes our dead letters. Naming oneself means one's own tree.
    fn dead_letter_target(&self) -> Option<&str> {
        self.definition.policy.dead_letter_queue.as_deref().filter(|name| *name != self.definition.name)
    }

    /// Moves a message into our own tree: "Moving in is one atomic store operation".
    fn move_to_tree(&mut self, seq: u64) -> Fate {
        let Self { main, dead, ledger, memory, .. } = self;
        let Some(mut entry) = main.take_out(seq, memory) else { return Fate::Unrecorded };
        let (recorded, pending, keeping) = (entry.recorded(), entry.pending(), entry.has(KEEPING));
        entry.expires = 0;
        entry.flags &= !(LOADING | OFFERED | UNREADABLE);
        let state = entry.full_state().unwrap_or_default();
        let to = (dead.id, dead.add(entry, memory));
        if !recorded {
            return Fate::Unrecorded;
        }
        if let Some(put) = pending.and_then(|p| ledger.pending_put(p)) {
            (put.queue, put.seq) = to;
        }
        if keeping {
            ledger.keep_moved((main.id, seq), to);
        }
        ledger.moved((main.id, Seq(seq)), to, state);
        Fate::Recorded
    }

    /// Offers waiting dead letters to the queue that takes them, some at a time.
    pub(super) fn offer_moves(&mut self, effects: &mut Vec<Effect>) {
        for _ in 0..self.moves.waiting.len().min(2 * OFFERED_MAX) {
            let Some(seq) = self.moves.waiting.pop_front() else { return };
            let replay = self.moves.replays.get(&seq).cloned();
            let Some(target) = replay.as_ref().map(|replay| &*replay.0).or(self.dead_letter_target()) else {
                // The policy no longer names another queue: it goes to our own tree.
                self.arrived(seq, false);
                continue;
            };
            if self.moves.offered >= OFFERED_MAX {
                self.moves.waiting.push_front(seq);
                return;
            }
            let target = target.to_owned();
            let from = (self.main.id, Seq(seq));
            let Some(entry) = self.main.entries.get_mut(seq).filter(|e| e.status == Status::Moving) else {
                self.moves.replays.remove(&seq);
                continue;
            };
            if entry.has(PUT_PENDING | KEEPING) {
                // Its bytes' place is not known yet; the other queue could not tell it on.
                self.moves.waiting.push_back(seq);
                continue;
            }
            entry.flags |= OFFERED;
            self.moves.offered += 1;
            let message = MoveIn {
                from,
                location: entry.location(),
                message: entry.message.clone(),
                state: replay.map(|replay| replay.1).or(entry.full_state()).unwrap_or_default(),
                size: entry.size,
                priority: entry.priority,
                first_acquirer: entry.has(FIRST_ACQUIRER),
                durable: entry.has(DURABLE),
            };
            effects.push(Effect::MoveOut { queue: target, message: Box::new(message) });
        }
    }

    /// A replay puts another queue's dead letter back there, with this state.
    pub(super) fn move_back(&mut self, seq: u64, target: String, state: Arc<EntryState>) {
        self.main.unlist(seq);
        self.main.set_status(seq, Status::Moving);
        self.moves.replays.insert(seq, (target, state));
        self.moves.waiting.push_back(seq);
    }

    /// The other queue has it durably, or would not take it.
    pub(super) fn moved_out(&mut self, seq: u64, taken: bool) {
        if self.main.entries.get(seq).is_some_and(|e| e.has(OFFERED)) {
            self.moves.offered -= 1;
            self.arrived(seq, taken);
        }
    }

    fn arrived(&mut self, seq: u64, taken: bool) {
        let replay = self.moves.replays.remove(&seq).is_some();
        if taken {
            // No record: the other queue's `Move` took it out of this one.
            self.main.take_out(seq, &mut self.memory);
        } else if replay {
            if let Some(entry) = self.main.entries.get_mut(seq) {
                entry.flags &= !OFFERED;
            }
            self.main.put_back(seq);
        } else {
            self.move_to_tree(seq);
        }
        for notice in self.moves.notices.remove(&seq).unwrap_or_default() {
            if taken { self.ledger.notify(notice) } else { self.ledger.notify_when_safe(notice) }
        }
    }

    /// Another queue's dead letter comes in.
    pub(super) fn move_in(&mut self, offered: MoveIn) {
        let MoveIn { from, location, message, state, size, priority, first_acquirer, durable } = offered;
        if self.definition.policy.when_full == WhenFull::Reject && self.at_limit() {
            self.ledger.not_taken(from);
            return;
        }
        let mut entry = Entry {
            message,
            delivery_count: state.delivery_count,
            acquired_count: state.acquired_count,
            state: Some(Arc::clone(&state)),
            size,
            flags: if first_acquirer { FIRST_ACQUIRER } else { 0 } | if durable { DURABLE } else { 0 },
            priority,
            ..Entry::VACANT
        };
        if let Some(location) = location {
            entry.set_location(location);
        }
        let seq = self.main.add(entry, &mut self.memory);
        let Some(location) = location else {
            self.ledger.notify(Notice::MovedIn(from));
            return;
        };
        self.ledger.moved(from, (self.main.id, seq), state);
        // The queue it came from answers a running evacuation only when it is rid of the message, so
        // writing it again in this same batch is early enough. One that is under way here may have
        // looked at this place already.
        let under_way = self.evacuation.as_ref().map(|evacuation| evacuation.segment);
        if self.evacuated_through.max(under_way).is_some_and(|through| location.segment <= through) {
            self.keep(false, seq);
        }
        self.ledger.notify_when_safe(Notice::MovedIn(from));
        self.main.spill(seq, &mut self.memory);
    }
}
