//! A node: a queue and its dead-letter tree as one state machine, so that a move between them is one step.
//!
//! Invariant: the same commands at the same times give the same effects and records, whatever the
//! machine. Only routes: each command's meaning is in a file of its own (`publish`, `settlement`,
//! `commit`, `dead_letter`, `evacuation`, `lifetime`), the order of delivery in `queue`.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::{
    Attempt, Batch, BreakerState, Command, ConsumerId, Effect, ProducerId, QueueDefinition, Reader, Restored,
    Seq, Subscribe,
    attempt::{AttemptEnd, note_last},
    breaker::Breaker,
    dead_letter::Moves,
    duplicates::Window,
    evacuation::Evacuation,
    ledger::{Ledger, Notice},
    lifetime::Had,
    policy::BreakerPolicy,
    queue::{
        MAX_PRIORITY, Memory, Queue,
        entry::{Entry, FIRST_ACQUIRER},
        groups::failed_here,
        retry::Rng,
    },
    replay::Watch,
    settlement::finish,
    tally::{Ages, Tally},
};
use crate::time::Millis;

/// Bytes of bodies a node keeps in memory unless told otherwise.
const MEMORY_BUDGET: u64 = 16 * 1024 * 1024;
/// Messages expired in one flush: a million that expire together must not hold up the rest.
const EXPIRE_AT_ONCE: usize = 4096;

/// A queue and its dead-letter tree: one state machine, so that a move between them is one step.
#[derive(Debug)]
pub struct Node {
    pub(super) definition: QueueDefinition,
    pub(super) main: Queue,
    pub(super) dead: Queue,
    pub(super) ledger: Ledger,
    pub(super) memory: Memory,
    pub(super) rng: Rng,
    /// Consumers by id: in the dead-letter tree or not, and their slot there.
    pub(super) consumers: FxHashMap<ConsumerId, (bool, u32)>,
    pub(super) producers: BTreeSet<ProducerId>,
    pub(super) storage_full: bool,
    /// The queue is full and its policy is to block.
    pub(super) blocked: bool,
    /// Producers were last told to go on.
    pub(super) open: bool,
    pub(super) moves: Moves,
    pub(super) evacuation: Option<Evacuation>,
    pub(super) evacuated_through: Option<u32>,
    /// `Keep` records not committed.
    pub(super) keeps: usize,
    pub(super) had: Had,
    pub(super) reader: Reader,
    pub(super) seen: Window,
    pub(super) tally: Tally,
    pub(super) ages: Ages,
    /// Attempts that ended, where somebody watches.
    pub(super) attempts: Option<Vec<Attempt>>,
    pub(super) watch: Watch,
}

/// A node in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages waiting, deliverable now.
    pub available: u64,
    /// Messages handed out and unsettled.
    pub acquired: u64,
    /// Messages waiting for their retry time.
    pub delayed: u64,
    /// Messages waiting for an earlier one of their group, which is being retried.
    pub held: u64,
    /// Messages on their way to another queue's dead letters.
    pub moving: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// Consumers attached.
    pub consumers: u32,
}

impl Counts {
    /// All messages, whatever they wait for.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.available + self.acquired + self.delayed + self.moving
    }
}

impl Node {
    /// An empty node. `seed` feeds the retry jitter.
    #[must_use]
    pub fn new(definition: QueueDefinition, seed: u64) -> Self {
        let main = definition.id.main();
        let breaker = Breaker::new(definition.policy.breaker.clone());
        let mut queue = Queue::new(main, breaker);
        queue.set_retry_order(definition.policy.retry_order);
        Self {
            definition,
            main: queue,
            // Nothing is tried again there, so there is no storm to stop.
            dead: Queue::new(
                main.dead_letter(),
                Breaker::new(BreakerPolicy { enabled: false, ..BreakerPolicy::default() }),
            ),
            ledger: Ledger::new(),
            memory: Memory { resident: 0, budget: MEMORY_BUDGET },
            rng: Rng(seed),
            consumers: FxHashMap::default(),
            producers: BTreeSet::new(),
            storage_full: false,
            blocked: false,
            open: true,
            moves: Moves::default(),
            evacuation: None,
            evacuated_through: None,
            keeps: 0,
            had: Had::default(),
            reader: Reader::default(),
            seen: Window::default(),
            tally: Tally::default(),
            ages: Ages::default(),
            attempts: None,
            watch: Watch::default(),
        }
    }

    /// With somebody who knows how messages are encoded; before messages are restored or come.
    #[must_use]
    pub fn with_reader(mut self, reader: Reader) -> Self {
        self.reader = reader;
        self.main.groups.set_reader(reader.group);
        self
    }

    #[inline]
    pub(super) fn queue_mut(&mut self, dead_letter: bool) -> &mut Queue {
        if dead_letter { &mut self.dead } else { &mut self.main }
    }

    /// Recovery: sequence numbers continue from here.
    pub fn restore_next_seq(&mut self, dead_letter: bool, next: u64) {
        let queue = self.queue_mut(dead_letter);
        queue.next_seq = queue.next_seq.max(next);
    }

    /// Recovery: a message that survived; before any command, in order of `Seq`.
    pub fn restore(&mut self, restored: Restored) {
        let Restored { queue, seq, location, size, priority, state, delivery_count, acquired_count, .. } =
            restored;
        let dead = queue.is_dead_letter();
        // A dead letter does not expire by the time to live it had when it was alive.
        let mortal = !dead && state.as_ref().is_none_or(|s| s.death.is_none());
        let not_before = state.as_ref().and_then(|s| s.not_before);
        let failed = !dead && state.as_deref().is_some_and(failed_here);
        let mut entry = Entry {
            state,
            expires: restored.expires.filter(|_| mortal).map_or(0, |at| at.0),
            size,
            flags: if restored.first_acquirer { FIRST_ACQUIRER } else { 0 },
            priority: priority.min(MAX_PRIORITY),
            ..Entry::VACANT
        };
        entry.set_counts(delivery_count, acquired_count);
        entry.set_location(location);
        self.had.message = true;
        self.queue_mut(dead).restore(seq.0, entry, not_before);
        if failed {
            self.main.group_restored(seq.0);
        }
    }

    /// Does one command.
    pub fn apply(&mut self, now: Millis, command: Command, effects: &mut Vec<Effect>) {
        match command {
            Command::AttachProducer { producer } => self.attach_producer(producer, effects),
            Command::DetachProducer { producer } => {
                self.producers.remove(&producer);
            }
            Command::Publish { producer, messages } => self.publish(now, producer, messages),
            Command::Subscribe(wish) => self.subscribe(now, *wish, effects),
            Command::Flow { consumer, delivery_count, credit, drain, echo } => {
                self.with_consumer(consumer, |c| {
                    c.flow(delivery_count, credit);
                    c.drain = drain;
                    c.echo |= echo;
                });
            }
            Command::Room { consumer, messages, bytes } => {
                self.with_consumer(consumer, |c| c.add_room(messages, bytes));
            }
            Command::Settle { consumer, settlements } => self.settle(now, consumer, settlements),
            Command::Unsubscribe { consumer, cause } => self.unsubscribe(now, consumer, cause),
            Command::Committed(committed) => self.committed(committed),
            Command::CommitFailed { ticket } => self.commit_failed(ticket),
            Command::Loaded { dead_letter, loaded } => self.loaded(now, dead_letter, loaded),
            Command::StorageFull(full) => self.storage_full = full,
            Command::Evacuate { segment, limit } => {
                self.tidy_ids(now);
                self.evacuate(segment, limit);
            }
            Command::MemoryBudget { bytes } => {
                self.memory.budget = bytes;
                self.main.spill_newest(&mut self.memory);
                self.dead.spill_newest(&mut self.memory);
            }
            Command::Policy(policy) => self.set_policy(*policy),
            Command::MoveIn(message) => {
                self.note_arrivals(now);
                self.move_in(*message);
            }
            Command::MovedOut { seq, taken } => self.moved_out(seq.0, taken),
            Command::Define { settings, policy } => self.define(settings, *policy),
            Command::Confirm { token } => self.ledger.notify_when_safe(Notice::Confirmed(token)),
            Command::SetBreaker { open_until } => self.main.breaker.set_by_hand(open_until),
        }
    }

    fn attach_producer(&mut self, producer: ProducerId, effects: &mut Vec<Effect>) {
        self.had.link = true;
        if self.producers.insert(producer) && !self.open {
            effects.push(Effect::ProducerCredit { producer, open: false });
        }
    }

    fn subscribe(&mut self, now: Millis, wish: Subscribe, effects: &mut Vec<Effect>) {
        let (id, dead, browse) = (wish.consumer, wish.dead_letter, wish.browse);
        // Ids are not reused; should one come twice, the first is over.
        self.unsubscribe(now, id, super::DetachCause::Clean);
        let slot = self.queue_mut(dead).subscribe(wish);
        self.consumers.insert(id, (dead, slot));
        self.had.link = true;
        let state = self.breaker();
        if !dead && !browse && state != BreakerState::Closed {
            effects.push(Effect::BreakerNews { consumer: id, state });
        }
    }

    fn with_consumer(&mut self, id: ConsumerId, change: impl FnOnce(&mut super::queue::consumer::Consumer)) {
        let Some(&(dead, slot)) = self.consumers.get(&id) else { return };
        let queue = self.queue_mut(dead);
        if let Some(consumer) = queue.consumer(slot) {
            change(consumer);
        }
        queue.reconsider(slot);
    }

    /// Messages came back from the store.
    fn loaded(&mut self, now: Millis, dead_letter: bool, loaded: Vec<super::Loaded>) {
        for message in loaded {
            let seq = message.seq.0;
            let Self { main, dead, memory, .. } = self;
            let queue = if dead_letter { dead } else { main };
            queue.loaded(now, message, memory);
            self.loaded_to_evacuate(dead_letter, seq);
        }
    }

    /// After some commands: expires, wakes, dispatches, pages; effects come in here and from `apply`.
    pub fn flush(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.ages.begin(now);
        self.tidy_ids(now);
        self.wake(now);
        self.main.take_freed();
        self.dispatch(now, false, effects);
        // By what was sent settled, or came up expired.
        while self.main.take_freed() {
            self.dispatch(now, false, effects);
        }
        self.dispatch(now, true, effects);
        self.tell_breaker(effects);
        self.offer_moves(effects);
        self.finish_evacuation(effects);
        self.load_to_evacuate(effects);
        self.regulate(effects);
        self.answers(effects);
        self.end_of_life(effects);
    }

    /// "visible in metrics, log, console and in the link's flow properties": tells all it holds back, whether they
    /// have credit now or not (who browses sees everything all the same).
    fn tell_breaker(&mut self, effects: &mut Vec<Effect>) {
        let Some(state) = self.main.breaker.take_change() else { return };
        self.tally.breaker_openings += u64::from(matches!(state, BreakerState::Open { .. }));
        effects.push(Effect::Breaker { state });
        effects.extend(self.main.takers().map(|c| Effect::BreakerNews { consumer: c.id, state }));
    }

    /// Does what time has brought.
    fn wake(&mut self, now: Millis) {
        self.main.wake_delayed(now);
        self.dead.wake_delayed(now);
        for seq in self.main.expired(now, EXPIRE_AT_ONCE) {
            self.expire(now, seq);
        }
        self.drop_old_letters(now);
        self.main.find_stranded(now);
        for seq in self.main.take_stranded(now, self.definition.policy.stranded_after_ms) {
            // "If its time to live has passed, it expires instead"
            if self.main.entries.get(seq).is_some_and(|e| e.expired(now)) {
                self.expire(now, seq);
            } else {
                self.bury(now, seq, super::DeathReason::Undeliverable, None);
            }
        }
    }

    fn dispatch(&mut self, now: Millis, dead_letter: bool, effects: &mut Vec<Effect>) {
        let Self { main, dead, ledger, memory, .. } = self;
        let queue = if dead_letter { dead } else { main };
        let mut done = queue.dispatch(now, memory, effects);
        if !dead_letter {
            self.tally.delivered += done.delivered;
            self.tally.redelivered += done.redelivered;
            self.tally.accepted += done.presettled.len() as u64;
        }
        // Sent settled: sent is accepted.
        for seq in done.presettled {
            let slot = queue.entries.get(seq).map_or(0, |e| e.holder);
            note_last(&mut self.attempts, queue, slot, seq, AttemptEnd::Accepted);
            if !dead_letter {
                self.watch.ended(seq, Some(true));
            }
            finish(queue, ledger, memory, seq);
        }
        let wanted = [queue.plan_load(&mut done.wanted), queue.plan_judging(&done.judging.bodies)];
        queue.page_states(memory);
        for wanted in wanted.into_iter().filter(|wanted| !wanted.is_empty()) {
            effects.push(Effect::Load { dead_letter, wanted });
        }
        for seq in done.expired {
            self.expire(now, seq);
        }
    }

    /// The records since the last call, until there are none: new messages, which the store may refuse,
    /// in a batch of their own before all else.
    pub fn take_batch(&mut self) -> Option<Batch> {
        self.ledger.take_batch()
    }

    /// When `flush` is next due without a command.
    #[must_use]
    pub fn next_wake(&self) -> Option<Millis> {
        let main = self.main.next_wake(self.definition.policy.stranded_after_ms);
        [main, self.dead.next_wake(u64::MAX), self.next_old_letter()].into_iter().flatten().min()
    }

    /// Main queue's and dead-letter tree's numbers.
    #[must_use]
    pub fn counts(&self) -> (Counts, Counts) {
        (self.main.tally, self.dead.tally)
    }

    /// The failed message this waiting one is held back by, since both are of one group (`retry-order = "group"`); none
    /// also where its group is not known, its body being out of memory.
    #[must_use]
    pub fn group_holder(&self, seq: Seq) -> Option<Seq> {
        self.main.group_holder(seq.0).map(Seq)
    }

    /// What the queue's retry-storm breaker does. (The dead-letter tree has none.)
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.main.breaker.state()
    }

    /// The definition as it is now.
    #[must_use]
    pub fn definition(&self) -> &QueueDefinition {
        &self.definition
    }
}

#[cfg(test)]
mod tests;
