//! What a node owes: records to the store, and answers that wait for them to be safe.
//!
//! Invariant: an answer leaves only after the batch with its record was committed (or, to a publisher,
//! when the message was finally settled first), and each is given once. New messages are never in one batch
//! with anything else but their ids: those the store may refuse, and only those. Batches are kept, by what they were
//! about, until their fate is known. Knows no queues: who asks says what a record means.

mod seen;

use std::{collections::VecDeque, hash::Hash};

use rustc_hash::FxHashMap;

use super::{
    Batch, ConsumerId, Effect, EntryState, Location, Message, Outcome, ProducerId, QueueDefinition, QueueId,
    Record, Refusal, Seq, Ticket,
};
use std::sync::Arc;

/// A new message whose place on disk a batch will tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Put {
    /// Where the message is now (it may have moved since).
    pub queue: QueueId,
    pub seq: u64,
    /// Who waits for an answer to it.
    pub answer: Option<(ProducerId, u64)>,
    /// The number of its id, where duplicates are told by it.
    pub id: Option<u64>,
}

/// Somebody to tell once a batch is safe.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// A consumer's settlement.
    Settled(ConsumerId, Seq, Outcome),
    /// The queue a message came from.
    MovedIn((QueueId, Seq)),
    /// Whoever gave the node this token.
    Confirmed(u64),
}

/// A batch whose fate is not known.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub ticket: u64,
    /// The new messages; if there are any, there is nothing else but their ids.
    pub puts: Vec<Put>,
    /// The numbers of the ids in its `Seen`.
    pub ids: Vec<u64>,
    /// Where the messages are now that are written again.
    pub kept: Vec<(QueueId, u64)>,
    /// The states recorded, and of which messages.
    pub states: Vec<(QueueId, u64, Arc<EntryState>)>,
    pub notices: Vec<Notice>,
}

/// A batch that still grows.
#[derive(Debug, Default)]
struct Open {
    records: Vec<Record>,
    /// Where among `records` its `Seen` is.
    seen: Option<usize>,
    /// What `records` is about.
    pending: Pending,
}

impl Open {
    fn new(ticket: u64) -> Self {
        Self { pending: Pending { ticket, ..Pending::default() }, ..Self::default() }
    }

    /// Ends it, if there is anything in it, and begins the one with the next ticket of its kind.
    fn close(&mut self, patient: bool) -> Option<(Batch, Pending)> {
        let ticket = self.pending.ticket;
        let next = Pending { ticket: ticket + KINDS, ..Pending::default() };
        let pending = std::mem::replace(&mut self.pending, next);
        if self.records.is_empty() {
            return None;
        }
        let records = std::mem::take(&mut self.records);
        // As much room as last time: batches of a busy queue are alike.
        self.records.reserve(records.len().min(1024));
        Some((Batch { ticket: Ticket(ticket), records, patient }, pending))
    }
}

/// Kinds of batches: new messages, and the rest. Each turn has a ticket for each.
const KINDS: u64 = 2;

/// Values collected by whom they are for, in order of first appearance.
#[derive(Debug)]
struct Grouped<K, V> {
    groups: Vec<(K, Vec<V>)>,
    index: FxHashMap<K, usize>,
}

impl<K: Copy + Eq + Hash, V> Grouped<K, V> {
    fn new() -> Self {
        Self { groups: Vec::new(), index: FxHashMap::default() }
    }

    #[inline]
    fn push(&mut self, key: K, value: V) {
        // Runs for the same one are the rule: look at the newest group before hashing.
        if let Some((_, values)) = self.groups.last_mut().filter(|(last, _)| *last == key) {
            values.push(value);
            return;
        }
        let index = *self.index.entry(key).or_insert(self.groups.len());
        match self.groups.get_mut(index) {
            Some((_, values)) => values.push(value),
            None => self.groups.push((key, vec![value])),
        }
    }

    fn drain(&mut self) -> Vec<(K, Vec<V>)> {
        self.index.clear();
        std::mem::take(&mut self.groups)
    }
}

/// The books of a node.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// New messages of this turn.
    fresh: Open,
    /// Everything else, which may be about them.
    rest: Open,
    /// Ended, but not handed out yet.
    ready: VecDeque<Batch>,
    /// Ended, by ticket.
    in_flight: VecDeque<Pending>,
    answers: Grouped<ProducerId, (u64, Option<Refusal>)>,
    settled: Grouped<ConsumerId, (Seq, Outcome)>,
    moved_in: Vec<((QueueId, Seq), bool)>,
    oldest: seen::Oldest,
    confirmed: Vec<u64>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            fresh: Open::new(1),
            rest: Open::new(2),
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            answers: Grouped::new(),
            settled: Grouped::new(),
            moved_in: Vec::new(),
            oldest: seen::Oldest::default(),
            confirmed: Vec::new(),
        }
    }

    /// Records a new message; what `Entry::set_pending` needs.
    #[inline]
    pub(crate) fn put(
        &mut self,
        queue: QueueId,
        seq: u64,
        message: Arc<Message>,
        answer: Option<(ProducerId, u64)>,
        id: Option<u64>,
    ) -> (u64, u32) {
        let Open { records, pending, .. } = &mut self.fresh;
        records.push(Record::Put { queue, seq: Seq(seq), message });
        pending.puts.push(Put { queue, seq, answer, id });
        (pending.ticket, (pending.puts.len() - 1) as u32)
    }

    /// Records the queue itself, in a batch of its own: before any message in it is.
    pub(crate) fn define(&mut self, definition: &QueueDefinition) {
        self.seal();
        self.rest.records.push(Record::Define(Arc::new(definition.clone())));
        self.seal();
    }

    /// Records that the queue and all in it are gone.
    pub(crate) fn delete(&mut self, queue: QueueId) {
        self.rest.records.push(Record::Delete(queue));
    }

    /// Records that a message is still there. Its put must have been committed: the store takes our word for
    /// it that the message exists.
    pub(crate) fn keep(
        &mut self,
        queue: QueueId,
        seq: u64,
        location: Location,
        state: Option<Arc<EntryState>>,
    ) {
        self.rest.records.push(Record::Keep { queue, seq: Seq(seq), location, state });
        self.rest.pending.kept.push((queue, seq));
    }

    /// Records that a message is gone.
    #[inline]
    pub(crate) fn gone(&mut self, queue: QueueId, seq: u64) {
        self.rest.records.push(Record::Settle { queue, seq: Seq(seq) });
    }

    /// Records new counters.
    pub(crate) fn count(&mut self, queue: QueueId, seq: u64, delivery_count: u32, acquired_count: u32) {
        self.rest.records.push(Record::Count { queue, seq: Seq(seq), delivery_count, acquired_count });
    }

    /// Records a new state.
    pub(crate) fn state(&mut self, queue: QueueId, seq: u64, state: Arc<EntryState>) {
        self.rest.pending.states.push((queue, seq, Arc::clone(&state)));
        self.rest.records.push(Record::State { queue, seq: Seq(seq), state });
    }

    /// Records a move.
    pub(crate) fn moved(&mut self, from: (QueueId, Seq), to: (QueueId, u64), state: Arc<EntryState>) {
        self.rest.pending.states.push((to.0, to.1, Arc::clone(&state)));
        self.rest.records.push(Record::Move { from, to: (to.0, Seq(to.1)), state });
    }

    /// The put with this ticket and index, while its batch is open or in flight.
    pub(crate) fn pending_put(&mut self, (ticket, index): (u64, u32)) -> Option<&mut Put> {
        let batch = if ticket == self.fresh.pending.ticket {
            &mut self.fresh.pending
        } else {
            let at = self.in_flight.binary_search_by_key(&ticket, |batch| batch.ticket).ok()?;
            self.in_flight.get_mut(at)?
        };
        batch.puts.get_mut(index as usize)
    }

    /// A message with an uncommitted `Keep` moved within the node.
    pub(crate) fn keep_moved(&mut self, from: (QueueId, u64), to: (QueueId, u64)) {
        let batches = self.in_flight.iter_mut().chain([&mut self.rest.pending]);
        for kept in batches.flat_map(|batch| &mut batch.kept).filter(|kept| **kept == from) {
            *kept = to;
        }
    }

    /// A message was finally settled before its put was committed: its publisher hears now. Not where its id is to
    /// outlive it: that is safe only with the batch.
    pub(crate) fn settled_early(&mut self, pending: (u64, u32)) {
        let put = self.pending_put(pending).filter(|put| put.id.is_none());
        if let Some((producer, token)) = put.and_then(|put| put.answer.take()) {
            self.answer(producer, token, None);
        }
    }

    /// Answers a publisher at the next flush.
    #[inline]
    pub(crate) fn answer(&mut self, producer: ProducerId, token: u64, refusal: Option<Refusal>) {
        self.answers.push(producer, (token, refusal));
    }

    /// Gives a notice when all records so far, but those of new messages, are safe: at once if none is
    /// under way.
    pub(crate) fn notify_when_safe(&mut self, notice: Notice) {
        if !self.rest.records.is_empty() {
            self.rest.pending.notices.push(notice);
            return;
        }
        // New messages may be refused, and nobody settles one in the batch that brings it.
        match self.in_flight.iter_mut().rfind(|batch| batch.puts.is_empty()) {
            Some(batch) => batch.notices.push(notice),
            None => self.notify(notice),
        }
    }

    /// Gives a notice at the next flush.
    pub(crate) fn notify(&mut self, notice: Notice) {
        match notice {
            Notice::Settled(consumer, seq, outcome) => self.settled.push(consumer, (seq, outcome)),
            Notice::MovedIn(from) => self.moved_in.push((from, true)),
            Notice::Confirmed(token) => self.confirmed.push(token),
        }
    }

    /// Tells the queue a message was offered by that it is not taken.
    pub(crate) fn not_taken(&mut self, from: (QueueId, Seq)) {
        self.moved_in.push((from, false));
    }

    /// The next batch of the records made so far, until there is none.
    pub(crate) fn take_batch(&mut self) -> Option<Batch> {
        if self.ready.is_empty() {
            self.seal();
        }
        self.ready.pop_front()
    }

    /// Ends the open batches: new messages first, since the rest may be about them.
    fn seal(&mut self) {
        if self.fresh.records.is_empty() && self.rest.records.is_empty() {
            return;
        }
        self.finish_seen();
        // Settlements whose consumers settled first: no answer is due, and until they are written the
        // message would merely come again. Counts never wait: they are to be right after a crash.
        let patient = self.rest.pending.notices.is_empty()
            && self.rest.records.iter().all(|record| matches!(record, Record::Settle { .. }));
        let closed = [self.fresh.close(false), self.rest.close(patient)];
        for (batch, pending) in closed.into_iter().flatten() {
            self.ready.push_back(batch);
            self.in_flight.push_back(pending);
        }
    }

    /// Ticket of the newest batch that has a record, be it open still.
    pub(crate) fn newest(&self) -> u64 {
        let open = [&self.rest, &self.fresh].into_iter().find(|open| !open.records.is_empty());
        let newest = open.map(|open| &open.pending).or(self.in_flight.back());
        newest.map_or(0, |pending| pending.ticket)
    }

    /// All batches up to this ticket have met their fate.
    pub(crate) fn settled_through(&self) -> u64 {
        self.in_flight.front().unwrap_or(&self.fresh.pending).ticket - 1
    }

    /// Takes the batch with this ticket out: its fate is known. Batches before it have none of their own
    /// any more (they complete in order), so there are none.
    pub(crate) fn take_pending(&mut self, ticket: Ticket) -> Option<Pending> {
        if self.in_flight.front()?.ticket != ticket.0 {
            return None;
        }
        self.in_flight.pop_front()
    }

    /// All answers due, one effect for each they are for.
    pub(crate) fn flush(&mut self, effects: &mut Vec<Effect>) {
        for (producer, answers) in self.answers.drain() {
            effects.push(Effect::Published { producer, answers });
        }
        for (consumer, settlements) in self.settled.drain() {
            effects.push(Effect::Settled { consumer, settlements });
        }
        effects.extend(self.moved_in.drain(..).map(|(from, taken)| Effect::MovedIn { from, taken }));
        effects.extend(self.confirmed.drain(..).map(|token| Effect::Safe { token }));
    }
}

#[cfg(test)]
mod tests;
