//! Links we send on: deliveries become messages, dispositions become settlements.
//!
//! Invariant: the node's credit is the client's, passed on exactly; how much it may send ahead of the
//! socket (`Room`) is ours. A disposition is passed on at most once per delivery (the engine's rule).

use fe2o3_amqp_types::definitions::Fields;
use serde_amqp::{Value, primitives::Timestamp};

use super::{Container, Host, Link, encode, outcome};
use crate::{
    amqp::{LinkId, Outgoing, codec::DeliveryState},
    broker::{
        BreakerState, Command, ConnectionId, ConsumerId, Delivery, DetachCause, Outcome, QueueId, Seq,
        Settlement,
    },
};

/// Messages written before the node is told there is room again; a quarter of what it was given.
const ROOM_STEP_MESSAGES: u32 = crate::limits::CONSUMER_ROOM_MESSAGES / 4;
/// The same in bytes.
const ROOM_STEP_BYTES: u64 = crate::limits::CONSUMER_ROOM_BYTES / 4;

/// A consumer's link.
pub(super) struct Consumer {
    pub(super) place: super::Place,
    /// source.outcomes in force; `None`: all.
    pub(super) outcomes: Option<outcome::Set>,
    pub(super) browse: bool,
    pub(super) presettled: bool,
    pub(super) delete: Option<QueueId>,
    pending: Vec<Settlement>,
    /// Handed to the engine and not yet reported as written.
    unsent: u32,
    room: (u32, u64),
}

/// Link state property: `open`, `half-open` or `closed`.
const BREAKER_STATE: &str = "verdict:breaker-state";
/// Link state property of an open breaker: when it begins to probe.
const BREAKER_UNTIL: &str = "verdict:breaker-until";

/// What a breaker does, as link state properties (2.7.4); named as vendors' keys are, with a prefix.
pub(super) fn breaker_state(state: BreakerState) -> Fields {
    let mut fields = Fields::new();
    fields.insert(BREAKER_STATE.into(), Value::Symbol(state.as_str().into()));
    if let BreakerState::Open { until } = state {
        let ms = i64::try_from(until.0).unwrap_or(i64::MAX);
        fields.insert(BREAKER_UNTIL.into(), Value::Timestamp(Timestamp::from_milliseconds(ms)));
    }
    fields
}

impl Consumer {
    pub(super) fn new(place: super::Place) -> Self {
        Self {
            place,
            outcomes: None,
            browse: false,
            presettled: false,
            delete: None,
            pending: Vec::new(),
            unsent: 0,
            room: (0, 0),
        }
    }

    pub(super) fn node(&self) -> QueueId {
        self.place.node
    }

    pub(super) fn flush(&mut self, connection: ConnectionId, link: LinkId, host: &mut dyn Host) {
        if !self.pending.is_empty() {
            let settlements = std::mem::take(&mut self.pending);
            let consumer = ConsumerId::new(connection, link.0);
            host.send(self.place.node, Command::Settle { consumer, settlements });
        }
    }
}

impl Container {
    pub(super) fn consumer_credit(
        &mut self,
        link: LinkId,
        delivery_count: u32,
        credit: u32,
        drain: bool,
        echo: bool,
        host: &mut dyn Host,
    ) {
        let Some(Link::Consumer(consumer)) = self.links.get_mut(&link) else {
            return self.answerer_credit(link, drain, echo);
        };
        // What the same read brought before this flow happened before it.
        consumer.flush(self.id, link, host);
        let id = ConsumerId::new(self.id, link.0);
        host.send(consumer.place.node, Command::Flow { consumer: id, delivery_count, credit, drain, echo });
    }

    pub(super) fn deliver(&mut self, link: LinkId, deliveries: Vec<Delivery>) {
        // Gone meanwhile: the node has its Unsubscribe and takes them all back.
        let Some(Link::Consumer(consumer)) = self.links.get_mut(&link) else { return };
        consumer.unsent = consumer.unsent.saturating_add(u32::try_from(deliveries.len()).unwrap_or(u32::MAX));
        let settled = consumer.presettled;
        let dead_letter = consumer.place.dead_letter;
        for delivery in deliveries {
            let (prefix, body_from) = encode::sections(&delivery, dead_letter);
            self.engine.send(
                link,
                Outgoing {
                    token: delivery.seq.0,
                    format: delivery.message.format,
                    settled,
                    prefix,
                    body: delivery.message.bytes.clone(),
                    body_from,
                },
            );
        }
        if !self.sending.contains(&link) {
            self.sending.push(link);
        }
    }

    /// After output was written: tells nodes of the room there is again, in steps, so that it does not
    /// cost a command per write; never so large that a node could run dry waiting for it.
    pub fn report_room(&mut self, host: &mut dyn Host) {
        let mut sending = std::mem::take(&mut self.sending);
        sending.retain(|link| {
            if let Some(Link::Answerer(_)) = self.links.get(link) {
                return self.report_answers(*link, host);
            }
            let (engine, links, id) = (&mut self.engine, &mut self.links, self.id);
            let Some(Link::Consumer(consumer)) = links.get_mut(link) else { return false };
            let (messages, bytes) = engine.take_sent(*link);
            consumer.unsent = consumer.unsent.saturating_sub(messages);
            consumer.room.0 += messages;
            consumer.room.1 += bytes;
            if consumer.room.0 >= ROOM_STEP_MESSAGES || consumer.room.1 >= ROOM_STEP_BYTES {
                let (messages, bytes) = std::mem::take(&mut consumer.room);
                let consumer_id = ConsumerId::new(id, link.0);
                host.send(consumer.place.node, Command::Room { consumer: consumer_id, messages, bytes });
            }
            consumer.unsent > 0
        });
        self.sending = sending;
    }

    pub(super) fn disposition(
        &mut self,
        link: LinkId,
        tokens: Vec<u64>,
        settled: bool,
        state: Option<DeliveryState>,
    ) {
        let Some(Link::Consumer(consumer)) = self.links.get_mut(&link) else {
            return self.answers_settled(link, &tokens, settled, state);
        };
        let read = match outcome::read(state) {
            Ok(read) => read,
            Err(error) => return self.drop_link(link, error),
        };
        if let (Some(outcome), Some(allowed)) = (&read, &consumer.outcomes)
            && !allowed.has(outcome)
        {
            let error = outcome::not_in_force(outcome, allowed);
            return self.drop_link(link, error);
        }
        // Unsettled and not terminal: recorded by the engine, changes nothing else (settlement).
        if read.is_none() && !settled {
            return;
        }
        if consumer.browse {
            if !settled {
                let state = outcome::write(read.as_ref().unwrap_or(&Outcome::Released));
                self.engine.settle_sent(link, &tokens, state);
            }
            return;
        }
        let confirm = !settled;
        let mut seqs = tokens.into_iter().map(Seq);
        let last = seqs.next_back();
        consumer.pending.extend(seqs.map(|seq| Settlement { seq, outcome: read.clone(), confirm }));
        consumer.pending.extend(last.map(|seq| Settlement { seq, outcome: read, confirm }));
        self.touch(link);
    }

    /// Our settled reply to a second-mode consumer, after the commit.
    pub(super) fn settled(&mut self, link: LinkId, settlements: Vec<(Seq, Outcome)>) {
        let Some(Link::Consumer(_)) = self.links.get(&link) else { return };
        let mut rest = settlements.into_iter().peekable();
        while let Some((seq, outcome)) = rest.next() {
            let mut tokens = vec![seq.0];
            while let Some((seq, _)) = rest.next_if(|(_, same)| *same == outcome) {
                tokens.push(seq.0);
            }
            self.engine.settle_sent(link, &tokens, outcome::write(&outcome));
        }
    }

    pub(super) fn end_consumer(
        &mut self,
        link: LinkId,
        mut consumer: Consumer,
        cause: DetachCause,
        host: &mut dyn Host,
    ) {
        consumer.flush(self.id, link, host);
        let id = ConsumerId::new(self.id, link.0);
        host.send(consumer.place.node, Command::Unsubscribe { consumer: id, cause });
        if let Some(node) = consumer.delete {
            host.delete(node);
        }
    }
}
