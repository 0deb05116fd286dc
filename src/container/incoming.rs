//! Links we receive on: messages become `Publish` commands, their answers become dispositions.
//!
//! Invariant: a message is either sent to exactly one node or answered here, with `rejected` and a
//! reason (settlement: refusals are never `modified`). Credit is topped up as messages become safe; those sent
//! settled count until then like all others, or a publisher that waits for nothing would outrun the disk.

use std::sync::Arc;

use fe2o3_amqp_types::definitions::{AmqpError, Error};

use rustc_hash::FxHashMap;

use super::{Container, Host, Link, Wish, encode};
use crate::{
    amqp::{Connection, Incoming, LinkId, codec::DeliveryState, codec::section},
    broker::{Command, ConnectionId, Message, ProducerId, Publish, QueueId, Refusal},
    limits,
    time::Millis,
};

/// A publisher's link.
pub(super) struct Publisher {
    target: Target,
    /// Messages sent to nodes and not answered, and their bytes.
    inflight: u32,
    inflight_bytes: u64,
    /// The node lets it go on.
    open: bool,
    pending: Vec<Publish>,
    /// A dynamic node to delete when the link closes.
    delete: Option<QueueId>,
}

enum Target {
    Node(QueueId),
    /// The anonymous relay: each message says in `to` where it goes.
    Relay(Relay),
}

#[derive(Default)]
struct Relay {
    /// The nodes it has gone to so far.
    known: Vec<QueueId>,
    /// Where messages went that are not answered yet: a node may be deleted before it answers.
    waiting: FxHashMap<u64, QueueId>,
}

/// In the token of a message sent settled: its answer is for our books, not for the peer.
const SENT_SETTLED: u64 = 1 << 32;

fn token(incoming: &Incoming) -> u64 {
    u64::from(incoming.delivery_id) | if incoming.settled { SENT_SETTLED } else { 0 }
}

impl Publisher {
    pub(super) fn to_node(node: QueueId, delete: Option<QueueId>) -> Self {
        Self::new(Target::Node(node), delete)
    }

    pub(super) fn relay() -> Self {
        Self::new(Target::Relay(Relay::default()), None)
    }

    fn new(target: Target, delete: Option<QueueId>) -> Self {
        Self { target, inflight: 0, inflight_bytes: 0, open: true, pending: Vec::new(), delete }
    }

    pub(super) fn node(&self) -> Option<QueueId> {
        match self.target {
            Target::Node(node) => Some(node),
            Target::Relay(_) => None,
        }
    }

    /// Sends on what one read brought.
    pub(super) fn flush(&mut self, connection: ConnectionId, link: LinkId, host: &mut dyn Host) {
        if let (Target::Node(node), false) = (&self.target, self.pending.is_empty()) {
            let messages = std::mem::take(&mut self.pending);
            let producer = ProducerId::new(connection, link.0);
            host.send(*node, Command::Publish { producer, messages });
        }
    }

    /// Gives credit back in halves, so that a flow is sent once for many messages.
    pub(super) fn top_up(&self, link: LinkId, engine: &mut Connection) {
        let window = limits::PUBLISHER_CREDIT;
        let wanted = if self.open { window.saturating_sub(self.inflight) } else { 0 };
        let left = engine.credit_left(link);
        if !self.open || (wanted > left && wanted - left >= window / 2) {
            engine.set_credit(link, wanted);
        }
    }

    fn answered(&mut self, messages: u32) -> u64 {
        // Sizes are not kept per message: the average is close enough for a bound on memory.
        let share = match self.inflight {
            0 => 0,
            inflight if messages >= inflight => self.inflight_bytes,
            inflight => self.inflight_bytes / u64::from(inflight) * u64::from(messages),
        };
        self.inflight = self.inflight.saturating_sub(messages);
        self.inflight_bytes -= share;
        share
    }
}

impl Container {
    pub(super) fn incoming(&mut self, incoming: Incoming, now: Millis, host: &mut dyn Host) {
        let link = incoming.link;
        if let Some(Link::Requester(_)) = self.links.get(&link) {
            return self.request(&incoming, host);
        }
        let Some(Link::Publisher(publisher)) = self.links.get_mut(&link) else { return };
        if let Some(DeliveryState::Transactional(_)) = incoming.state {
            let why = "transactions are not supported on this link; send without a transactional state";
            return self
                .refuse_message(&incoming, Error::new(AmqpError::NotImplemented, Some(why.into()), None));
        }
        let (message, to) = match read_message(&incoming, now, matches!(publisher.target, Target::Relay(_))) {
            Ok(read) => read,
            Err(why) => {
                return self.refuse_message(&incoming, Error::new(AmqpError::DecodeError, Some(why), None));
            }
        };
        let publish = Publish { token: token(&incoming), message: Arc::new(message), answer: true };
        if let Target::Relay(_) = publisher.target {
            return self.relay(&incoming, publish, to, host);
        }
        publisher.pending.push(publish);
        self.count_inflight(link, incoming.payload.len() as u64);
        self.touch(link);
    }

    fn count_inflight(&mut self, link: LinkId, size: u64) {
        if let Some(Link::Publisher(publisher)) = self.links.get_mut(&link) {
            publisher.inflight += 1;
            publisher.inflight_bytes += size;
            self.inflight_bytes += size;
        }
    }

    /// Anonymous relay: routes one message by its `to`.
    fn relay(&mut self, incoming: &Incoming, publish: Publish, to: Option<String>, host: &mut dyn Host) {
        let Some(to) = to else {
            let why = "a message to the anonymous terminus needs properties.to, got none";
            return self
                .refuse_message(incoming, Error::new(AmqpError::PreconditionFailed, Some(why.into()), None));
        };
        let place = match host.resolve(&to, Wish::existing()) {
            Ok(place) if place.dead_letter => {
                let why = format!("{to:?} is a dead-letter tree; publish to the queue instead");
                return self.refuse_message(incoming, Error::new(AmqpError::NotAllowed, Some(why), None));
            }
            Ok(place) => place,
            Err(why) => return self.refuse_message(incoming, why.into()),
        };
        let producer = ProducerId::new(self.id, incoming.link.0);
        if let Some(Link::Publisher(Publisher { target: Target::Relay(relay), .. })) =
            self.links.get_mut(&incoming.link)
        {
            relay.waiting.insert(publish.token, place.node);
            if !relay.known.contains(&place.node) {
                if relay.known.len() >= limits::RELAY_NODES {
                    let oldest = relay.known.remove(0);
                    host.send(oldest, Command::DetachProducer { producer });
                }
                relay.known.push(place.node);
                host.send(place.node, Command::AttachProducer { producer });
            }
        }
        self.count_inflight(incoming.link, incoming.payload.len() as u64);
        host.send(place.node, Command::Publish { producer, messages: vec![publish] });
        self.touch(incoming.link);
    }

    /// Answers a message here that no node has seen. One sent settled cannot be answered, so its link
    /// is ended rather than losing it silently.
    pub(super) fn refuse_message(&mut self, incoming: &Incoming, error: Error) {
        if incoming.settled {
            let description =
                format!("a message sent settled could not be taken: {}", super::describe(&error));
            self.drop_link(incoming.link, Error::new(error.condition, Some(description), None));
            return;
        }
        let state = DeliveryState::Rejected(Some(Box::new(error)));
        self.engine.dispose(incoming.link, incoming.delivery_id, incoming.delivery_id, true, state);
        self.touch(incoming.link);
    }

    /// Passes a node's answers on, runs of equal ones as one disposition.
    pub(super) fn published(&mut self, link: LinkId, answers: &[(u64, Option<Refusal>)]) {
        let Some(Link::Publisher(publisher)) = self.links.get_mut(&link) else { return };
        if let Target::Relay(relay) = &mut publisher.target {
            for (token, _) in answers {
                relay.waiting.remove(token);
            }
        }
        let bytes = publisher.answered(u32::try_from(answers.len()).unwrap_or(u32::MAX));
        self.inflight_bytes = self.inflight_bytes.saturating_sub(bytes);
        let due = answers.iter().filter(|(token, _)| token & SENT_SETTLED == 0);
        let mut rest = due.map(|(token, answer)| (*token as u32, *answer)).peekable();
        while let Some((first, answer)) = rest.next() {
            let mut last = first;
            while let Some((next, _)) =
                rest.next_if(|(id, same)| *id == last.wrapping_add(1) && *same == answer)
            {
                last = next;
            }
            self.engine.dispose(link, first, last, true, answer_state(answer));
        }
        self.touch(link);
    }

    /// A node was deleted: what relay links sent there and it did not answer, it never will.
    pub(super) fn relayed_to_deleted(&mut self, node: QueueId) {
        let mut refused = Vec::new();
        for (link, publisher) in &mut self.links {
            let Link::Publisher(Publisher { target: Target::Relay(relay), .. }) = publisher else { continue };
            relay.known.retain(|known| *known != node);
            let mut tokens: Vec<u64> =
                relay.waiting.iter().filter(|(_, at)| **at == node).map(|(token, _)| *token).collect();
            tokens.sort_unstable();
            refused.push((*link, tokens));
        }
        for (link, tokens) in refused.into_iter().filter(|(_, tokens)| !tokens.is_empty()) {
            let answers: Vec<_> = tokens.into_iter().map(|token| (token, Some(Refusal::Deleted))).collect();
            self.published(link, &answers);
        }
    }

    pub(super) fn producer_credit(&mut self, link: LinkId, open: bool) {
        if let Some(Link::Publisher(publisher)) = self.links.get_mut(&link) {
            publisher.open = open;
            self.touch(link);
        }
    }

    pub(super) fn end_publisher(&mut self, link: LinkId, mut publisher: Publisher, host: &mut dyn Host) {
        publisher.flush(self.id, link, host);
        self.inflight_bytes = self.inflight_bytes.saturating_sub(publisher.inflight_bytes);
        let producer = ProducerId::new(self.id, link.0);
        let nodes = match publisher.target {
            Target::Node(node) => vec![node],
            Target::Relay(relay) => relay.known,
        };
        for node in nodes {
            host.send(node, Command::DetachProducer { producer });
        }
        if let Some(node) = publisher.delete {
            host.delete(node);
        }
    }
}

/// What a node's answer is on the wire (settlement: towards the publisher).
fn answer_state(answer: Option<Refusal>) -> DeliveryState {
    let (condition, why) = match answer {
        None => return DeliveryState::Accepted,
        Some(Refusal::QueueFull) => {
            (AmqpError::ResourceLimitExceeded, "the queue is full; retry when consumers have caught up")
        }
        Some(Refusal::StorageFull) => {
            (AmqpError::ResourceLimitExceeded, "the broker's disk is full; retry when there is room again")
        }
        Some(Refusal::Expired) => (AmqpError::PreconditionFailed, "the message had expired on arrival"),
        Some(Refusal::Deleted) => (AmqpError::ResourceDeleted, "the queue was deleted"),
    };
    DeliveryState::Rejected(Some(Box::new(Error::new(condition, Some(why.to_owned()), None))))
}

/// Reads what the broker needs of a message; with `want_to`, its `to` as well.
fn read_message(
    incoming: &Incoming,
    now: Millis,
    want_to: bool,
) -> Result<(Message, Option<String>), String> {
    if encode::is_foreign(incoming.format) {
        return Ok((foreign(incoming), None));
    }
    let payload: &[u8] = &incoming.payload;
    let sections = section::walk(payload).map_err(|error| error.to_string())?;
    let at = |range: &std::ops::Range<usize>| payload.get(range.clone()).unwrap_or_default();
    let header = match &sections.header {
        Some(range) => section::decode_header(at(range)).map_err(|error| error.to_string())?,
        None => section::Header::default(),
    };
    let properties = sections.properties.as_ref().map(at);
    let absolute = properties.and_then(section::absolute_expiry_time).and_then(|at| u64::try_from(at).ok());
    // 3.2.1: ttl counts from the time the message is first at rest; 3.2.4: absolute-expiry-time.
    let by_ttl = header.ttl.map(|ttl| now.plus_ms(u64::from(ttl)));
    let expires = match (by_ttl, absolute.map(Millis)) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let to = properties.filter(|_| want_to).and_then(section::property_to).map(str::to_owned);
    let message = Message {
        bytes: incoming.payload.clone(),
        from: u32::try_from(kept_from(&sections, payload.len())).unwrap_or(0),
        format: incoming.format,
        durable: header.durable,
        priority: header.priority,
        first_acquirer: header.first_acquirer,
        delivery_count: header.delivery_count,
        expires,
    };
    Ok((message, to))
}

/// A message of a format we cannot look into: kept whole, and kept safe, since it may say that it is to be.
fn foreign(incoming: &Incoming) -> Message {
    Message {
        bytes: incoming.payload.clone(),
        from: 0,
        format: incoming.format,
        durable: true,
        priority: section::Header::default().priority,
        first_acquirer: false,
        delivery_count: 0,
        expires: None,
    }
}

/// Where the sections that are kept begin: header and delivery-annotations are for one hop (3.2.1, 3.2.2).
fn kept_from(sections: &section::Sections, whole: usize) -> usize {
    let ends =
        [&sections.header, &sections.delivery_annotations].into_iter().flatten().map(|range| range.end);
    ends.max().unwrap_or(0).min(whole)
}
