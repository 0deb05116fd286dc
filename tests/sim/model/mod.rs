//! The independent ledger: what may, must and must not happen to each message.
//!
//! It is told what clients send and get, what nodes hand out, and when connections and the broker die;
//! it sees the disk after a crash. Invariant: between two times a message is handed out at most one
//! answer to it can count, so its delivery-count is known exactly, but for answers a cut may have eaten.
//! Numbers in brackets are the rules of `main`. Knows nothing of how the broker does it.

macro_rules! must {
    ($holds:expr, $rule:literal, $($format:tt)*) => {
        assert!($holds, "rule {} broken: {}", $rule, format!($($format)*))
    };
}

mod handing;
mod loss;
mod twice;

use std::collections::{BTreeMap, BTreeSet};

use verdict::{
    broker::{ConnectionId, ConsumerId, Seq, policy::ExpiredTo},
    time::Millis,
};

use crate::{body::Wanted, disk::Disk, plan::QueuePlan};

/// What a consumer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// accepted
    Accept,
    /// modified(delivery-failed)
    Fail,
    /// rejected
    Reject,
    /// released, modified without delivery-failed, or no outcome at all
    Release,
    /// modified(undeliverable-here)
    NotHere,
}

/// A queue or its dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the queue in the plan.
    pub queue: usize,
    /// Its dead-letter tree.
    pub dead: bool,
}

/// The failures that a confirmation of an answer must find stored, and in which life of the message: a replay begins
/// another.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    failures: u32,
    life: usize,
}

/// What is known of a message.
#[derive(Debug)]
pub struct Message {
    wanted: Wanted,
    queue: usize,
    producer: u64,
    sent_at: Millis,
    /// How often the broker had crashed by then.
    sent_after: u64,
    /// What its publisher was told: taken, or not.
    pub answer: Option<bool>,
    /// Nobody waits for an answer (any more).
    pub unasked: bool,
    place: Place,
    seq: Seq,
    /// Failed attempts that must, that may, and that must durably have been counted.
    low: u32,
    high: u32,
    low_safe: u32,
    ever_handed: bool,
    handed_to: Option<ConnectionId>,
    /// The link of the client that has it.
    holder: Option<u64>,
    pending: Option<Answer>,
    /// A consumer accepted it, or it was sent settled.
    accepted: bool,
    /// And that was confirmed.
    finished: bool,
    must_be_dead: bool,
    dead_safe: bool,
    /// Not durable, and the broker crashed; or never safe.
    vanished: bool,
    rejected_once: bool,
    /// The replays that may have put it back, and whether they did for good (what a crash undoes may come again).
    replays: BTreeSet<&'static str>,
    not_here: BTreeSet<u64>,
}

#[derive(Default)]
struct Order {
    before: u64,
    turn: u64,
    now: u64,
}

/// The ledger.
pub struct Model {
    queues: Vec<QueuePlan>,
    /// All messages ever sent, by number.
    pub messages: Vec<Message>,
    turn: u64,
    order: BTreeMap<(usize, u64, u8, u8), Order>,
    order_at: BTreeMap<(ConsumerId, u64, u8, u8), u64>,
    /// Messages with one key sent to one queue.
    keys: BTreeMap<(usize, u64), Vec<u64>>,
    crashes: u64,
    returned: BTreeSet<u64>,
    /// Bodies may be out of memory, and unreadable for a moment.
    paging: bool,
    /// Queues have more consumers than planned.
    pub crowded: bool,
    /// The broker closes its connections: what clients say now may not be heard.
    pub stopping: bool,
    /// Messages handed out, for the report of a run.
    pub deliveries: u64,
}

impl Model {
    /// An empty ledger.
    pub fn new(queues: Vec<QueuePlan>, paging: bool) -> Self {
        Self {
            queues,
            messages: Vec::new(),
            turn: 0,
            order: BTreeMap::new(),
            order_at: BTreeMap::new(),
            keys: BTreeMap::new(),
            crashes: 0,
            returned: BTreeSet::new(),
            paging,
            crowded: false,
            stopping: false,
            deliveries: 0,
        }
    }

    /// The next message's number.
    pub fn next_id(&self) -> u64 {
        self.messages.len() as u64
    }

    /// A message is sent.
    pub fn sent(&mut self, wanted: Wanted, queue: usize, producer: u64, settled: bool, now: Millis) {
        let place = Place { queue, dead: false };
        if let Some(key) = wanted.key {
            let id = self.next_id();
            self.keys.entry((queue, key)).or_default().push(id);
        }
        self.messages.push(Message {
            sent_after: self.crashes,
            wanted,
            queue,
            producer,
            sent_at: now,
            answer: None,
            unasked: settled,
            place,
            seq: Seq(0),
            low: 0,
            high: 0,
            low_safe: 0,
            ever_handed: false,
            handed_to: None,
            holder: None,
            pending: None,
            accepted: false,
            finished: false,
            must_be_dead: false,
            dead_safe: false,
            vanished: false,
            rejected_once: false,
            replays: BTreeSet::new(),
            not_here: BTreeSet::new(),
        });
    }

    fn at(&mut self, id: u64) -> &mut Message {
        let count = self.messages.len();
        self.messages.get_mut(id as usize).unwrap_or_else(|| panic!("message {id} of {count} was never sent"))
    }

    fn may_have_expired(&self, message: &Message, now: Millis) -> bool {
        let policy = &self.queues[message.queue].policy;
        let ttl = message.wanted.ttl_ms.map(u64::from).into_iter().chain(policy.max_ttl_ms).min();
        ttl.is_some_and(|ttl| now >= message.sent_at.plus_ms(ttl))
    }

    fn may_be_discarded(&self, message: &Message, now: Millis) -> bool {
        self.queues[message.queue].policy.expired == ExpiredTo::Discard && self.may_have_expired(message, now)
    }

    /// The publisher was told.
    pub fn answered(&mut self, id: u64, taken: bool, disk: &Disk, now: Millis) {
        let discarded = self.may_be_discarded(&self.messages[id as usize], now);
        let replaced = self.replaced(id, disk, now);
        let remembered = self.is_remembered(id, disk);
        let message = self.at(id);
        must!(message.answer.is_none() && !message.unasked, 8, "message {id} was answered twice or unasked");
        message.answer = Some(taken);
        if taken && message.wanted.durable {
            let safe = disk.by_id.contains_key(&id) || message.accepted || discarded || replaced;
            must!(safe, 1, "durable message {id} was accepted before it was safe");
            must!(remembered, 11, "durable message {id} was accepted before its key was safe");
        }
        if !taken {
            must!(
                !message.accepted || disk.refused_ids.contains(&id),
                8,
                "message {id} was consumed and then refused"
            );
        }
    }

    /// A node's turn begins.
    pub fn turn(&mut self, disk: &Disk) {
        self.turn += 1;
        // Refused meanwhile: that does not come back.
        self.returned.retain(|id| !disk.refused_ids.contains(id));
    }

    /// A consumer answers; gives what it must be told to have been counted when it is confirmed.
    pub fn settling(&mut self, id: u64, answer: Answer, link: u64) -> Floor {
        let (queues, stopping) = (self.queues.clone(), self.stopping);
        let message = self.at(id);
        assert!(
            message.holder.take() == Some(link) || stopping,
            "the simulation's own bookkeeping of message {id}"
        );
        message.pending = Some(answer);
        message.accepted = answer == Answer::Accept || (stopping && message.accepted);
        match answer {
            Answer::Fail => message.high += 1,
            Answer::Reject => {
                message.high += 1;
                message.rejected_once = true;
            }
            Answer::NotHere => {
                message.not_here.insert(link);
            }
            Answer::Accept | Answer::Release => {}
        }
        let floor = message.high;
        let queue = &queues[message.queue];
        let mortal = message.wanted.ttl_ms.is_some() || queue.policy.max_ttl_ms.is_some();
        let back = answer == Answer::Release || (answer == Answer::Fail && floor < queue.policy.max_attempts);
        if back
            && !stopping
            && queue.strict
            && !mortal
            && message.place == (Place { queue: message.queue, dead: false })
        {
            self.returned.insert(id);
        }
        Floor { failures: floor, life: self.at(id).replays.len() }
    }

    /// The broker confirmed a second-mode answer.
    pub fn confirmed(&mut self, id: u64, answer: Answer, floor: Floor, disk: &Disk) {
        let stopping = self.stopping;
        let message = self.at(id);
        let stored = disk.by_id.get(&id).and_then(|at| disk.stored.get(at).map(|stored| (at, stored)));
        match answer {
            Answer::Accept => {
                message.finished = true;
                must!(
                    stored.is_none(),
                    2,
                    "acceptance of message {id} was confirmed, but it is still on the disk"
                );
            }
            // Failures that may not have been heard make this one's number uncertain.
            Answer::Fail | Answer::Reject if stopping => {}
            Answer::Fail | Answer::Reject if floor.life != message.replays.len() => {}
            Answer::Fail | Answer::Reject => {
                let floor = floor.failures;
                message.low_safe = message.low_safe.max(floor);
                if let Some((at, stored)) = stored {
                    must!(
                        stored.delivery_count >= floor,
                        3,
                        "failure {floor} of {id} was confirmed and not stored"
                    );
                    let dead =
                        at.0.is_dead_letter() || stored.state.as_ref().is_some_and(|s| s.death.is_some());
                    must!(
                        dead || answer == Answer::Fail,
                        4,
                        "rejection of {id} was confirmed, it is not dead on disk"
                    );
                    message.dead_safe |= dead && answer == Answer::Reject;
                }
            }
            Answer::Release | Answer::NotHere => {}
        }
    }

    /// (14) A replay put it back: it starts anew.
    pub fn replayed(&mut self, id: u64, name: &'static str, place: Place) {
        self.returned.remove(&id);
        let message = self.at(id);
        must!(message.replays.insert(name), 14, "message {id} was put back by {name} twice");
        must!(message.holder.is_none(), 14, "message {id} was put back while a consumer had it");
        (message.place, message.must_be_dead, message.dead_safe) = (place, false, false);
        // Until it is handed out again a crash may still undo it.
        (message.low, message.low_safe) = (0, 0);
        message.pending = None;
        message.not_here.clear();
    }

    /// A link is detached in good order: what it holds goes back.
    pub fn detached(&mut self, link: u64) {
        for message in &mut self.messages {
            if message.holder == Some(link) {
                message.holder = None;
            }
        }
    }

    /// Messages whose publishers wait for an answer on this link get none.
    pub fn abandoned(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.at(id).unasked = true;
        }
    }
}
