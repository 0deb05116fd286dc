//! A node with a journal in memory: what the tests drive.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    broker::{
        Batch, BreakerState, Command, Committed, ConsumerId, Delivery, DetachCause, Effect, EntryState,
        Fingerprint, Lifetime, Loaded, Location, Message, Modified, MoveIn, Node, Outcome, ProducerId,
        Publish, QueueDefinition, QueueId, QueuePolicy, Reader, Record, Refusal, Restored, SeenId, Seq,
        Settlement, Subscribe, Wanted, policy::Detect,
    },
    time::Millis,
};

pub const P: ProducerId = ProducerId(9);

pub fn c(n: u64) -> ConsumerId {
    ConsumerId(n)
}

/// What a journal would rebuild.
#[derive(Debug, Clone)]
pub struct Stored {
    pub location: Location,
    pub message: Arc<Message>,
    pub delivery_count: u32,
    pub acquired_count: u32,
    pub state: Option<Arc<EntryState>>,
}

#[derive(Debug, Default)]
pub struct Journal {
    pub messages: BTreeMap<(QueueId, Seq), Stored>,
    /// Ids of messages, and the segment each is in.
    pub ids: BTreeMap<u64, (SeenId, u32)>,
    pub oldest_id: u64,
    pub definitions: Vec<QueueDefinition>,
    bodies: HashMap<(u32, u32), Arc<Message>>,
    pub segment: u32,
    /// `Keep` records that brought a state.
    pub kept_states: usize,
    next: u32,
}

impl Journal {
    fn place(&mut self, message: &Arc<Message>) -> Location {
        self.next += 1;
        self.bodies.insert((self.segment, self.next), Arc::clone(message));
        Location { segment: self.segment, offset: self.next, len: 1 + message.bytes.len() as u32 }
    }

    pub fn read(&self, at: Location) -> Option<Arc<Message>> {
        self.bodies.get(&(at.segment, at.offset)).cloned()
    }

    fn load(&self, queue: QueueId, Wanted { seq, location, state }: Wanted) -> Loaded {
        let stored = self.messages.get(&(queue, seq));
        let state = stored.filter(|_| state).and_then(|stored| stored.state.clone());
        Loaded { seq, body: self.read(location), state }
    }

    pub fn delete_segments(&mut self, through: u32) {
        self.bodies.retain(|(segment, _), _| *segment > through);
    }

    pub fn commit(&mut self, batch: Batch) -> Committed {
        let fresh = |record: &Record| matches!(record, Record::Put { .. } | Record::Seen { .. });
        let put = batch.records.iter().any(|record| matches!(record, Record::Put { .. }));
        assert!(!put || batch.records.iter().all(fresh), "new messages come alone: {batch:?}");
        let mut locations = Vec::new();
        let mut seen = None;
        for record in batch.records {
            match record {
                Record::Put { queue, seq, message } => {
                    let location = self.place(&message);
                    locations.push(Some(location));
                    let delivery_count = message.delivery_count;
                    let stored = Stored { location, message, delivery_count, acquired_count: 0, state: None };
                    assert!(
                        self.messages.insert((queue, seq), stored).is_none(),
                        "put twice: {queue:?} {seq:?}"
                    );
                }
                Record::Settle { queue, seq } => {
                    self.messages.remove(&(queue, seq));
                }
                Record::Count { queue, seq, delivery_count, acquired_count } => {
                    if let Some(stored) = self.messages.get_mut(&(queue, seq)) {
                        stored.delivery_count = delivery_count;
                        stored.acquired_count = acquired_count;
                        if let Some(state) = &mut stored.state {
                            let state = Arc::make_mut(state);
                            state.delivery_count = delivery_count;
                            state.acquired_count = acquired_count;
                        }
                    }
                }
                Record::State { queue, seq, state } => {
                    if let Some(stored) = self.messages.get_mut(&(queue, seq)) {
                        stored.set_state(state);
                    }
                }
                Record::Move { from, to, state } => {
                    if let Some(mut stored) = self.messages.remove(&from) {
                        stored.set_state(state);
                        assert!(self.messages.insert(to, stored).is_none());
                    }
                }
                Record::Keep { queue, seq, location, state } => {
                    let Some(mut stored) = self.messages.get(&(queue, seq)).cloned() else {
                        panic!("keep of something unknown: {queue:?} {seq:?}")
                    };
                    assert_eq!(stored.location, location, "keep of a stale location");
                    let location = self.place(&stored.message);
                    stored.location = location;
                    if let Some(state) = state {
                        self.kept_states += 1;
                        stored.set_state(state);
                    }
                    self.messages.insert((queue, seq), stored);
                    locations.push(Some(location));
                }
                Record::Seen { ids, oldest, .. } => {
                    seen = Some(self.segment);
                    assert!(oldest >= self.oldest_id, "what is forgotten only grows");
                    self.oldest_id = oldest;
                    self.ids.extend(ids.into_iter().map(|id| (id.number, (id, self.segment))));
                    self.ids.retain(|number, _| *number >= oldest);
                }
                Record::Define(definition) => self.definitions.push((*definition).clone()),
                Record::Delete(_) => {}
            }
        }
        Committed { ticket: batch.ticket, locations, seen }
    }

    pub fn restored(&self) -> Vec<Restored> {
        let restore = |((queue, seq), s): (&(QueueId, Seq), &Stored)| Restored {
            queue: *queue,
            seq: *seq,
            location: s.location,
            size: s.message.bytes.len() as u32,
            priority: s.message.priority,
            first_acquirer: s.message.first_acquirer,
            expires: s.message.expires,
            delivery_count: s.delivery_count,
            acquired_count: s.acquired_count,
            state: s.state.clone(),
        };
        self.messages.iter().map(restore).collect()
    }
}

impl Stored {
    fn set_state(&mut self, state: Arc<EntryState>) {
        self.delivery_count = state.delivery_count;
        self.acquired_count = state.acquired_count;
        self.state = Some(state);
    }
}

/// A node, its journal, and all that came out of it, by kind.
pub struct Rig {
    pub node: Node,
    pub now: Millis,
    pub journal: Journal,
    /// Commit what the node hands out at once.
    pub auto_commit: bool,
    /// Answer reads at once.
    pub auto_load: bool,
    pub batches: VecDeque<Batch>,
    pub loads: VecDeque<(bool, Vec<Wanted>)>,
    pub deliveries: Vec<(ConsumerId, Delivery)>,
    pub answers: Vec<(u64, Option<Refusal>)>,
    pub settled: Vec<(ConsumerId, Seq, Outcome)>,
    /// consumer, delivery-count, credit, available, drained
    pub flows: Vec<(ConsumerId, u32, u32, u32, bool)>,
    pub credit: Vec<(ProducerId, bool)>,
    pub moves_out: Vec<(String, MoveIn)>,
    pub moved_in: Vec<((QueueId, Seq), bool)>,
    pub evacuated: Vec<u32>,
    pub expired: usize,
    pub breaker: Vec<BreakerState>,
    pub breaker_news: Vec<(ConsumerId, BreakerState)>,
    pub safe: Vec<u64>,
    /// Number of effects, to see that answers are grouped.
    pub published_effects: usize,
    pub token: u64,
}

pub fn definition(policy: QueuePolicy) -> QueueDefinition {
    QueueDefinition {
        id: QueueId(4),
        name: "orders".into(),
        policy,
        lifetime: Lifetime::Permanent,
        shard: 0,
        settings: String::new(),
    }
}

impl Rig {
    pub fn new() -> Self {
        Self::with(QueuePolicy::default())
    }

    pub fn with(policy: QueuePolicy) -> Self {
        Self::of(Node::new(definition(policy), 1))
    }

    pub fn of(node: Node) -> Self {
        Self {
            node: node.with_reader(READER),
            now: Millis(1_000_000),
            journal: Journal { segment: 1, ..Journal::default() },
            auto_commit: true,
            auto_load: true,
            batches: VecDeque::new(),
            loads: VecDeque::new(),
            deliveries: Vec::new(),
            answers: Vec::new(),
            settled: Vec::new(),
            flows: Vec::new(),
            credit: Vec::new(),
            moves_out: Vec::new(),
            moved_in: Vec::new(),
            evacuated: Vec::new(),
            expired: 0,
            breaker: Vec::new(),
            breaker_news: Vec::new(),
            safe: Vec::new(),
            published_effects: 0,
            token: 0,
        }
    }

    /// A crash and recovery: only what the journal has is left.
    pub fn restart(&mut self) {
        let mut node = Node::new(self.node.definition().clone(), 2).with_reader(READER);
        node.restore_seen(self.journal.oldest_id, self.journal.ids.values().copied());
        let restored = self.journal.restored();
        node.restore_next_seq(false, self.node.main.next_seq);
        node.restore_next_seq(true, self.node.dead.next_seq);
        for entry in restored {
            node.restore(entry);
        }
        self.node = node;
        self.batches.clear();
        self.loads.clear();
        self.clear();
    }

    pub fn clear(&mut self) {
        self.deliveries.clear();
        self.answers.clear();
        self.settled.clear();
        self.flows.clear();
    }

    pub fn run(&mut self, command: Command) {
        let mut effects = Vec::new();
        self.node.apply(self.now, command, &mut effects);
        self.flush(effects);
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.flush(Vec::new());
    }

    pub fn flush(&mut self, mut effects: Vec<Effect>) {
        loop {
            self.node.flush(self.now, &mut effects);
            effects.drain(..).for_each(|e| self.note(e));
            self.batches.extend(std::iter::from_fn(|| self.node.take_batch()));
            if self.auto_commit && !self.batches.is_empty() {
                if let Some(batch) = self.batches.pop_front() {
                    let committed = self.journal.commit(batch);
                    self.node.apply(self.now, Command::Committed(committed), &mut effects);
                }
            } else if self.auto_load && !self.loads.is_empty() {
                if let Some((dead_letter, wanted)) = self.loads.pop_front() {
                    let queue = self.node.definition().id;
                    let queue = if dead_letter { queue.dead_letter() } else { queue };
                    let loaded = wanted.into_iter().map(|wanted| self.journal.load(queue, wanted)).collect();
                    self.node.apply(self.now, Command::Loaded { dead_letter, loaded }, &mut effects);
                }
            } else {
                return;
            }
        }
    }

    /// Commits the oldest batch handed out.
    pub fn commit(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            let committed = self.journal.commit(batch);
            self.run(Command::Committed(committed));
        }
    }

    /// Commits all batches handed out.
    pub fn commit_all(&mut self) {
        while !self.batches.is_empty() {
            self.commit();
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Deliver { consumer, deliveries } => {
                assert!(!deliveries.is_empty());
                self.deliveries.extend(deliveries.into_iter().map(|d| (consumer, d)));
            }
            Effect::Flow { consumer, delivery_count, credit, available, drained } => {
                self.flows.push((consumer, delivery_count, credit, available, drained));
            }
            Effect::Settled { consumer, settlements } => {
                self.settled.extend(settlements.into_iter().map(|(s, o)| (consumer, s, o)));
            }
            Effect::Published { answers, .. } => {
                self.published_effects += 1;
                self.answers.extend(answers);
            }
            Effect::ProducerCredit { producer, open } => self.credit.push((producer, open)),
            Effect::Load { dead_letter, wanted } => self.loads.push_back((dead_letter, wanted)),
            Effect::Evacuated { segment } => self.evacuated.push(segment),
            Effect::MoveOut { queue, message } => self.moves_out.push((queue, *message)),
            Effect::MovedIn { from, taken } => self.moved_in.push((from, taken)),
            Effect::Breaker { state } => self.breaker.push(state),
            Effect::BreakerNews { consumer, state } => self.breaker_news.push((consumer, state)),
            Effect::Safe { token } => self.safe.push(token),
            Effect::Expire => self.expired += 1,
        }
    }

    pub fn publish(&mut self, messages: Vec<Message>) {
        let publish = |message| {
            self.token += 1;
            Publish { token: self.token, message: Arc::new(message), answer: true }
        };
        let messages = messages.into_iter().map(publish).collect();
        self.run(Command::Publish { producer: P, messages });
    }

    /// Refuses the oldest batch handed out, as a full disk does with new messages.
    pub fn refuse(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.run(Command::CommitFailed { ticket: batch.ticket });
        }
    }

    pub fn publish_n(&mut self, n: u64) {
        self.publish((0..n).map(|_| message()).collect());
    }

    pub fn subscribe(&mut self, wish: Subscribe, credit: u32) {
        let (consumer, delivery_count) = (wish.consumer, wish.delivery_count);
        self.run(Command::Subscribe(Box::new(wish)));
        self.run(Command::Flow { consumer, delivery_count, credit, drain: false, echo: false });
    }

    /// Removes all that waits, and commits that.
    pub fn purge(&mut self, dead_letter: bool) {
        self.node.purge(dead_letter, 0..u64::MAX, usize::MAX);
        self.flush(Vec::new());
    }

    /// A consumer of the queue with plenty of credit.
    pub fn consumer(&mut self, n: u64) {
        self.subscribe(wish(n), 10_000);
    }

    /// A consumer of the dead letters.
    pub fn dead_consumer(&mut self, n: u64) {
        self.subscribe(Subscribe { dead_letter: true, ..wish(n) }, 10_000);
    }

    pub fn flow(&mut self, n: u64, delivery_count: u32, credit: u32, drain: bool) {
        self.run(Command::Flow { consumer: c(n), delivery_count, credit, drain, echo: false });
    }

    pub fn settle(&mut self, n: u64, seq: u64, outcome: Outcome) {
        self.settle_as(n, seq, Some(outcome), false);
    }

    pub fn settle_as(&mut self, n: u64, seq: u64, outcome: Option<Outcome>, confirm: bool) {
        let settlements = vec![Settlement { seq: Seq(seq), outcome, confirm }];
        self.run(Command::Settle { consumer: c(n), settlements });
    }

    pub fn leave(&mut self, n: u64, cause: DetachCause) {
        self.run(Command::Unsubscribe { consumer: c(n), cause });
    }

    /// What was delivered since this was last asked: (consumer, seq).
    pub fn got(&mut self) -> Vec<(u64, u64)> {
        self.deliveries.drain(..).map(|(c, d)| (c.0, d.seq.0)).collect()
    }

    /// The seqs delivered since this was last asked.
    pub fn seqs(&mut self) -> Vec<u64> {
        self.got().into_iter().map(|(_, s)| s).collect()
    }

    /// What the journal has of a message of the main queue.
    pub fn stored(&self, seq: u64) -> Option<&Stored> {
        self.journal.messages.get(&(QueueId(4), Seq(seq)))
    }

    /// What the journal has of a dead letter.
    pub fn stored_dead(&self, seq: u64) -> Option<&Stored> {
        self.journal.messages.get(&(QueueId(5), Seq(seq)))
    }
}

/// The key and the group of a message are the first two bytes of a body that is not all alike; 0 is none.
pub const READER: Reader = Reader {
    duplicate_key: |message, detect| mark(message, 0).filter(|_| *detect != Detect::Off),
    group: |message| mark(message, 1),
};

fn mark(message: &Message, at: usize) -> Option<Fingerprint> {
    let marks = message.payload().strip_prefix(b"marked").and_then(|marks| marks.get(at));
    marks.filter(|mark| **mark != 0).map(|mark| Fingerprint([*mark; 16]))
}

/// A message with a key and a group, 0: none.
pub fn marked(key: u8, group: u8) -> Message {
    let mut bytes = b"marked".to_vec();
    bytes.extend([key, group]);
    bytes.resize(100, 9);
    Message { bytes: bytes.into(), ..message() }
}

pub fn message() -> Message {
    Message {
        from: 0,
        bytes: Arc::from(vec![7u8; 100]),
        format: 0,
        durable: true,
        priority: 4,
        first_acquirer: true,
        delivery_count: 0,
        expires: None,
    }
}

pub fn wish(n: u64) -> Subscribe {
    Subscribe {
        consumer: c(n),
        dead_letter: false,
        endpoint: format!("endpoint-{n}"),
        identity: Arc::from(format!("container/link-{n}/user")),
        browse: false,
        filter: None,
        presettled: false,
        default_outcome: Outcome::Released,
        delivery_count: 0,
        room_messages: 100_000,
        room_bytes: 1 << 40,
    }
}

pub fn failed() -> Outcome {
    Outcome::Modified(Box::new(Modified { delivery_failed: true, ..Modified::default() }))
}
