//! The independent ledger: what may, must and must not happen to each message.
//!
//! It is told what clients send and get, what nodes hand out, and when connections and the broker die;
//! it sees the disk after a crash. Invariant: between two times a message is handed out at most one
//! answer to it can count, so its delivery-count is known exactly, but for answers a cut may have eaten.
//! Numbers in brackets are the rules of `main`. Knows nothing of how the broker does it.

use std::collections::{BTreeMap, BTreeSet};

use verdict::{
    broker::{ConnectionId, ConsumerId, Delivery, QueueId, Seq, policy::ExpiredTo},
    time::Millis,
};

use crate::{
    body::{Got, Wanted},
    disk::Disk,
    plan::QueuePlan,
};

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

/// What is known of a message.
#[derive(Debug)]
pub struct Message {
    wanted: Wanted,
    queue: usize,
    producer: u64,
    sent_at: Millis,
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
    order: BTreeMap<(usize, u64, u8), Order>,
    order_at: BTreeMap<(ConsumerId, u64, u8), u64>,
    returned: BTreeSet<u64>,
    /// Bodies may be out of memory, and unreadable for a moment.
    pub paging: bool,
    /// Messages handed out, for the report of a run.
    pub deliveries: u64,
}

macro_rules! must {
    ($holds:expr, $rule:literal, $($format:tt)*) => {
        assert!($holds, "rule {} broken: {}", $rule, format!($($format)*))
    };
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
            returned: BTreeSet::new(),
            paging,
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
        self.messages.push(Message {
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
        let message = self.at(id);
        must!(message.answer.is_none() && !message.unasked, 8, "message {id} was answered twice or unasked");
        message.answer = Some(taken);
        if taken && message.wanted.durable {
            let safe = disk.by_id.contains_key(&id) || message.accepted || discarded;
            must!(safe, 1, "durable message {id} was accepted before it was safe");
        }
        if !taken {
            must!(!message.accepted || disk.refused > 0, 8, "message {id} was consumed and then refused");
        }
    }

    /// A node's turn begins.
    pub fn turn(&mut self) {
        self.turn += 1;
    }

    /// A node hands a message to a consumer that takes it.
    pub fn handed(
        &mut self,
        id: u64,
        d: &Delivery,
        to: ConsumerId,
        place: Place,
        presettled: bool,
        now: Millis,
    ) {
        self.deliveries += 1;
        let stage = |place: Place, from: usize| u8::from(place.dead) + u8::from(place.queue != from);
        let (paging, queues) = (self.paging, self.queues.clone());
        let message = self.at(id);
        must!(!message.finished, 2, "message {id} came back though its acceptance was confirmed");
        must!(message.answer != Some(false), 8, "message {id} was handed out though it was refused");
        must!(
            !message.vanished,
            2,
            "message {id} came from nowhere: it was in memory only when the broker died"
        );
        must!(
            message.holder.is_none(),
            4,
            "message {id} was handed out while link {:?} has it",
            message.holder
        );
        match message.pending.take() {
            Some(Answer::Accept) => panic!("rule 2 broken: message {id} came back after it was accepted"),
            Some(Answer::Fail) => message.low += 1,
            Some(Answer::Reject) => {
                message.low += 1;
                message.must_be_dead |= !message.place.dead;
            }
            Some(Answer::Release | Answer::NotHere) => {}
            None => must!(
                !message.accepted || message.handed_to.is_none(),
                2,
                "message {id} was sent settled and came back"
            ),
        }
        message.accepted = presettled;
        let (was, is) = (stage(message.place, message.queue), stage(place, message.queue));
        must!(
            place == message.place || (is > was && !message.place.dead),
            4,
            "message {id} was in {:?} and is in {place:?}",
            message.place
        );
        must!(is > 0 || !message.must_be_dead, 4, "message {id} was rejected but is still in its queue");
        message.place = place;
        message.seq = d.seq;
        must!(
            (message.low..=message.high).contains(&d.delivery_count),
            3,
            "message {id} has delivery-count {}, expected {} to {}",
            d.delivery_count,
            message.low,
            message.high
        );
        (message.low, message.high) = (d.delivery_count, d.delivery_count);
        let most = queues[message.queue].policy.max_attempts;
        must!(
            is > 0 || d.delivery_count < most,
            7,
            "message {id} is tried again after {} of {most}",
            d.delivery_count
        );
        if !place.dead && is == 0 {
            let fresh = d.message.expires.is_none_or(|at| at > now);
            must!(fresh, 1, "message {id} was handed out though it expired at {:?}", d.message.expires);
        }
        let first = !message.ever_handed;
        message.ever_handed = true;
        message.handed_to = Some(to.connection());
        let (producer, priority, queue, wanted) =
            (message.producer, message.wanted.priority, message.queue, message.wanted);
        if first && is == 0 && !paging {
            self.in_order(id, queue, producer, priority, to);
        }
        if is == 0 && queues[queue].strict && wanted.ttl_ms.is_none() {
            self.comes_back_first(id, d.seq, priority);
        }
    }

    /// (5) First deliveries of one producer's messages of one priority are in order: to each consumer,
    /// and over all of them from turn to turn.
    fn in_order(&mut self, id: u64, queue: usize, producer: u64, priority: u8, to: ConsumerId) {
        let last = self.order_at.entry((to, producer, priority)).or_insert(0);
        must!(id >= *last, 5, "message {id} came to a consumer after {last} of the same producer");
        *last = id;
        let order = self.order.entry((queue, producer, priority)).or_default();
        if order.turn != self.turn {
            order.before = order.before.max(order.now);
            order.turn = self.turn;
        }
        must!(
            id >= order.before,
            5,
            "message {id} was first handed out after {}, which is younger",
            order.before
        );
        order.now = order.now.max(id);
    }

    /// (5) On a queue with one consumer at a time and no delays, what came back goes out before anything younger.
    fn comes_back_first(&mut self, id: u64, seq: Seq, priority: u8) {
        self.returned.remove(&id);
        let queue = self.messages[id as usize].queue;
        for other in &self.returned {
            let message = &self.messages[*other as usize];
            let earlier = message.queue == queue && message.wanted.priority == priority && message.seq < seq;
            must!(!earlier, 5, "message {id} was handed out before {other}, which is older and came back");
        }
    }

    /// A consumer got a message.
    pub fn received(
        &mut self,
        got: &Got,
        link: u64,
        connection: ConnectionId,
        browse: bool,
        presettled: bool,
        now: Millis,
    ) {
        let reason = got.dead_reason.clone();
        let expired = self.may_have_expired(&self.messages[got.id as usize], now);
        let most = self.queues[self.messages[got.id as usize].queue].policy.max_attempts;
        let message = self.at(got.id);
        let id = got.id;
        let wanted = &message.wanted;
        must!(
            (got.durable, got.priority) == (wanted.durable, wanted.priority),
            8,
            "header of {id} changed: {got:?}"
        );
        must!(got.ttl_ms <= wanted.ttl_ms.or(got.ttl_ms), 8, "time to live of {id} grew: {got:?}");
        if browse {
            return;
        }
        must!(message.handed_to == Some(connection), 4, "message {id} arrived from nowhere");
        must!(message.holder.is_none(), 4, "message {id} is on two links");
        must!(
            got.delivery_count == message.low,
            3,
            "message {id} arrived with another delivery-count: {got:?}"
        );
        must!(
            !message.not_here.contains(&link),
            8,
            "message {id} came again to link {link}, which excluded it"
        );
        let own_tree = message.place == Place { queue: message.queue, dead: true };
        match reason.as_deref() {
            None => must!(!message.place.dead, 4, "message {id} is dead without a reason"),
            Some("rejected") => {
                must!(message.rejected_once, 7, "message {id} is said to be rejected, but nobody did")
            }
            Some("expired") => must!(expired, 7, "message {id} is said to have expired, but cannot have"),
            Some("max-attempts") if own_tree => {
                must!(
                    got.dead_attempts == Some(most),
                    7,
                    "message {id} died after {got:?}, expected {most} attempts"
                );
            }
            Some(_) => {}
        }
        if !presettled {
            message.holder = Some(link);
        }
    }

    /// A consumer answers; gives what it must be told to have been counted when it is confirmed.
    pub fn settling(&mut self, id: u64, answer: Answer, link: u64) -> u32 {
        let queues = self.queues.clone();
        let message = self.at(id);
        assert_eq!(message.holder.take(), Some(link), "the simulation's own bookkeeping of message {id}");
        message.pending = Some(answer);
        message.accepted = answer == Answer::Accept;
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
        if back && queue.strict && !mortal && message.place == (Place { queue: message.queue, dead: false }) {
            self.returned.insert(id);
        }
        floor
    }

    /// The broker confirmed a second-mode answer.
    pub fn confirmed(&mut self, id: u64, answer: Answer, floor: u32, disk: &Disk) {
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
            Answer::Fail | Answer::Reject => {
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

    /// A link is detached in good order: what it holds goes back.
    pub fn detached(&mut self, link: u64) {
        for message in &mut self.messages {
            if message.holder == Some(link) {
                message.holder = None;
            }
        }
    }

    /// The broker lost a connection (or never got to know of its end).
    pub fn cut(&mut self, connection: ConnectionId) {
        self.returned.clear();
        let held =
            self.messages.iter().enumerate().filter(|(_, message)| message.handed_to == Some(connection));
        let held: Vec<u64> = held.map(|(id, _)| id as u64).collect();
        held.into_iter().for_each(|id| self.cut_one(id));
    }

    /// A message was handed to a connection that is lost.
    pub fn cut_one(&mut self, id: u64) {
        let Some(message) = self.messages.get_mut(id as usize) else { return };
        let suspects = self.queues[message.place.queue].policy.crash_suspects > 0;
        let counted = matches!(message.pending.take(), Some(Answer::Fail | Answer::Reject));
        message.high += u32::from(suspects && !counted);
        message.holder = None;
        message.handed_to = None;
    }

    /// The broker died, and the disk has what will come back. `kept`: it stopped in good order.
    pub fn crashed(&mut self, disk: &Disk, kept: bool, now: Millis, place_of: impl Fn(QueueId) -> Place) {
        self.returned.clear();
        for id in 0..self.messages.len() {
            let discarded = self.may_be_discarded(&self.messages[id], now);
            let found =
                disk.by_id.get(&(id as u64)).and_then(|at| disk.stored.get(at).map(|stored| (at, stored)));
            let message = &mut self.messages[id];
            (message.pending, message.holder, message.handed_to) = (None, None, None);
            let Some((at, stored)) = found else {
                let kept = message.wanted.durable || (kept && !message.vanished);
                let lost = message.answer == Some(true)
                    && kept
                    && !message.accepted
                    && !discarded
                    && !message.vanished;
                must!(!lost, 1, "message {id} was accepted and is not on the disk");
                message.vanished = true;
                continue;
            };
            must!(!message.finished, 2, "message {id} is on the disk though its acceptance was confirmed");
            must!(message.answer != Some(false), 8, "message {id} is on the disk though it was refused");
            must!(
                (message.low_safe..=message.high).contains(&stored.delivery_count),
                3,
                "message {id} has delivery-count {} on the disk, expected {} to {}",
                stored.delivery_count,
                message.low_safe,
                message.high
            );
            let place = place_of(at.0);
            let alive = place == Place { queue: message.queue, dead: false };
            must!(
                !alive || !message.dead_safe,
                4,
                "message {id} was confirmed to be dead and is in its queue"
            );
            let count = stored.delivery_count;
            (message.low, message.high, message.low_safe) = (count, count, count);
            (message.place, message.must_be_dead, message.accepted) = (place, false, false);
        }
    }

    /// Messages whose publishers wait for an answer on this link get none.
    pub fn abandoned(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.at(id).unasked = true;
        }
    }

    /// Everything was taken out: what was taken must have been given.
    pub fn swept(&self, now: Millis) {
        for (id, message) in self.messages.iter().enumerate() {
            must!(message.answer.is_some() || message.unasked, 8, "message {id} was never answered");
            let there = message.answer == Some(true) || (message.ever_handed && message.answer.is_none());
            let lost =
                there && !message.vanished && !message.accepted && !self.may_be_discarded(message, now);
            must!(!lost, 1, "message {id} is nowhere: {message:?}");
        }
    }
}
