//! Terminus ↔ node glue, sans-io: which link means which queue, and dispositions ↔ settlement outcomes.
//!
//! One `Container` per connection, around its engine. Events of the engine become commands to nodes (through `Host`),
//! effects of nodes commands to the engine. Invariant: every unsettled message of a publisher that was sent to a node
//! is answered once, and every link the node knows of is taken back when it ends. Decides nothing: that is `broker`.

mod attach;
mod encode;
mod filter;
mod host;
mod incoming;
mod management;
mod outcome;
mod outgoing;
pub mod reader;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use fe2o3_amqp_types::definitions::{AmqpError, ConnectionError, Error};
use rustc_hash::FxHashMap;

use crate::{
    amqp::{Connection, Event, LinkId},
    auth::Verdict,
    broker::{ConnectionId, DetachCause, Effect, QueueId},
    limits,
    time::Millis,
};

pub use host::{Host, NoPlace, Place, Wish};
use incoming::Publisher;
use management::{Answerer, Desk, Requester};
use outcome::describe;
use outgoing::Consumer;

/// Who is on the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// open.container-id.
    pub container_id: String,
    /// The authenticated user, or `anonymous`.
    pub user: String,
    /// Product and version from open.properties, where given.
    pub product: String,
}

/// How a connection came to its end, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In good order.
    pub clean: bool,
    /// The error, in words, and whose it was.
    pub error: Option<String>,
    /// The peer said so, not we.
    pub by_peer: bool,
}

/// What the server may want to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The peer's open came.
    Opened,
    /// SASL failed; why.
    Refused(String),
    /// A link was refused; its name and why.
    LinkRefused(String, String),
    /// The connection is over.
    Ended(Ended),
}

enum Link {
    Publisher(Publisher),
    Consumer(Consumer),
    Requester(Requester),
    Answerer(Answerer),
}

/// One connection's links and what they mean.
pub struct Container {
    engine: Connection,
    id: ConnectionId,
    peer: Arc<Peer>,
    links: FxHashMap<LinkId, Link>,
    /// How many of `links` are there to send to us, and how many to receive.
    link_counts: (u32, u32),
    /// Requests to `$management` under way.
    desk: Desk,
    /// Links with work noted that goes out at the end of `process`.
    touched: Vec<LinkId>,
    /// Consumers with deliveries in the engine that it has not encoded yet.
    sending: Vec<LinkId>,
    /// Links that we ended: taken back from their nodes at once, whether the peer answers or not.
    dropped: Vec<LinkId>,
    /// Bytes of messages sent to nodes and not answered yet.
    inflight_bytes: u64,
    notices: Vec<Notice>,
    lost: bool,
}

impl Container {
    /// A container around a server-role engine.
    #[must_use]
    pub fn new(engine: Connection, id: ConnectionId) -> Self {
        Self {
            engine,
            id,
            peer: Arc::new(Peer { user: "anonymous".to_owned(), ..Peer::default() }),
            links: FxHashMap::default(),
            link_counts: (0, 0),
            desk: Desk::default(),
            touched: Vec::new(),
            sending: Vec::new(),
            dropped: Vec::new(),
            inflight_bytes: 0,
            notices: Vec::new(),
            lost: false,
        }
    }

    /// Who is on the other end, as far as is known.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Links the peer sends on, and links it receives on.
    #[must_use]
    pub fn link_counts(&self) -> (u32, u32) {
        self.link_counts
    }

    /// The connection's number.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// See `Connection::handle_input`. Call `process` afterwards.
    pub fn handle_input(&mut self, input: &[u8], now: Millis) -> usize {
        self.engine.handle_input(input, now)
    }

    /// The socket is gone. Call `process` afterwards.
    pub fn handle_eof(&mut self, now: Millis) {
        self.lost = true;
        self.engine.handle_eof(now);
    }

    /// See `Connection::handle_timeout`. Call `process` afterwards.
    pub fn handle_timeout(&mut self, now: Millis) {
        if !self.wants_input() {
            self.engine.excuse_silence(now);
        }
        self.engine.handle_timeout(now);
    }

    /// When `handle_timeout` is next due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.engine.poll_timeout()
    }

    /// Bytes to write.
    pub fn output(&mut self) -> &[u8] {
        self.engine.output()
    }

    /// So many of them were written.
    pub fn consume_output(&mut self, n: usize, now: Millis) {
        self.engine.consume_output(n, now);
    }

    /// The connection is over and nothing is left to write.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.engine.is_finished()
    }

    /// Whether more of the peer's bytes should be read: not while it has too much unanswered here.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.inflight_bytes < limits::PUBLISHER_INFLIGHT_BYTES
    }

    /// What to log, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Closes the connection from our side.
    pub fn close(&mut self, condition: ConnectionError, description: &str) {
        self.engine.close(Some(Error::new(condition, Some(description.to_owned()), None)));
    }

    /// Closes the connection because something of ours failed.
    pub fn close_internal(&mut self, description: &str) {
        self.engine.close(Some(Error::new(AmqpError::InternalError, Some(description.to_owned()), None)));
    }

    /// Turns what the engine saw into commands.
    pub fn process(&mut self, now: Millis, host: &mut dyn Host) {
        // The cause of a lost connection comes after its links' ends, so look ahead for it.
        let mut events = Vec::new();
        loop {
            while let Some(event) = self.engine.poll_event() {
                events.push(event);
            }
            if events.is_empty() {
                break;
            }
            if let Some(Event::Closed { clean: false, by_peer: false, .. }) = events.last() {
                self.lost = true;
            }
            for event in events.drain(..) {
                self.handle_event(event, now, host);
            }
        }
        self.flush_touched(host);
    }

    fn handle_event(&mut self, event: Event, now: Millis, host: &mut dyn Host) {
        match event {
            Event::SaslInit { mechanism, response, .. } => self.authenticate(&mechanism, &response, host),
            // ANONYMOUS and PLAIN have no second step; a peer that takes one has failed.
            Event::SaslResponse { .. } => self.engine.sasl_outcome(SASL_AUTH),
            Event::Opened(open) => {
                let peer = Arc::make_mut(&mut self.peer);
                peer.product = product_of(&open);
                peer.container_id = open.container_id;
                self.notices.push(Notice::Opened);
                self.engine.open();
            }
            Event::Attach { session, link, attach, refuse } => {
                self.attach(link, session, *attach, refuse, host);
            }
            Event::Credit { link, delivery_count, credit, drain, echo } => {
                self.consumer_credit(link, delivery_count, credit, drain, echo, host);
            }
            Event::Message(message) => self.incoming(message, now, host),
            Event::Disposition { link, tokens, settled, state } => {
                self.disposition(link, tokens, settled, state);
            }
            Event::Detached { link, .. } => self.detached(link, host),
            Event::Closed { clean, by_peer, error } => {
                let error = error.map(|error| describe(&error));
                self.notices.push(Notice::Ended(Ended { clean, error, by_peer }));
            }
            // Both use up credit and bring no message.
            Event::SenderFlow { link, .. } | Event::Aborted { link } => self.touch(link),
            Event::Begun { .. }
            | Event::Attached { .. }
            | Event::SenderSettled { .. }
            | Event::Ended { .. } => {}
        }
    }

    fn authenticate(&mut self, mechanism: &str, response: &[u8], host: &mut dyn Host) {
        match host.authenticate(mechanism, response) {
            Verdict::Allowed(user) => {
                Arc::make_mut(&mut self.peer).user = user;
                self.engine.sasl_outcome(SASL_OK);
            }
            Verdict::Denied(why) => {
                self.notices.push(Notice::Refused(why));
                self.engine.sasl_outcome(SASL_AUTH);
            }
        }
    }

    fn detached(&mut self, link: LinkId, host: &mut dyn Host) {
        let cause = if self.lost { DetachCause::Lost } else { DetachCause::Clean };
        let Some(found) = self.links.remove(&link) else { return };
        let count = if found.sends_to_us() { &mut self.link_counts.0 } else { &mut self.link_counts.1 };
        *count = count.saturating_sub(1);
        match found {
            Link::Publisher(publisher) => self.end_publisher(link, publisher, host),
            Link::Consumer(consumer) => self.end_consumer(link, consumer, cause, host),
            // Its answers still go where they were to go.
            Link::Requester(_) => {}
            Link::Answerer(answerer) => self.end_answerer(answerer, host),
        }
    }

    /// A link was accepted.
    fn enter(&mut self, id: LinkId, link: Link) {
        *(if link.sends_to_us() { &mut self.link_counts.0 } else { &mut self.link_counts.1 }) += 1;
        self.links.insert(id, link);
    }

    /// Ends a link for an error of its peer's.
    fn drop_link(&mut self, link: LinkId, error: Error) {
        self.engine.detach(link, true, Some(error));
        self.dropped.push(link);
    }

    fn touch(&mut self, link: LinkId) {
        if self.touched.last() != Some(&link) {
            self.touched.push(link);
        }
    }

    /// Sends what was noted for each link: one command per link and read, not one per message.
    fn flush_touched(&mut self, host: &mut dyn Host) {
        for link in std::mem::take(&mut self.touched) {
            match self.links.get_mut(&link) {
                Some(Link::Publisher(publisher)) => {
                    publisher.flush(self.id, link, host);
                    publisher.top_up(link, &mut self.engine);
                }
                Some(Link::Consumer(consumer)) => consumer.flush(self.id, link, host),
                Some(Link::Requester(_)) => self.top_up_requester(link),
                Some(Link::Answerer(_)) | None => {}
            }
        }
        for link in std::mem::take(&mut self.dropped) {
            self.detached(link, host);
        }
    }

    /// Does what nodes want done on this connection. Call `output` afterwards.
    pub fn handle_effects(&mut self, effects: Vec<Effect>, host: &mut dyn Host) {
        for effect in effects {
            match effect {
                Effect::Deliver { consumer, deliveries } => self.deliver(LinkId(consumer.link()), deliveries),
                Effect::Flow { consumer, available, drained, .. } => {
                    self.engine.sender_flow(LinkId(consumer.link()), available, drained);
                }
                Effect::BreakerNews { consumer, state } => {
                    self.engine.link_state(LinkId(consumer.link()), outgoing::breaker_state(state));
                }
                Effect::Settled { consumer, settlements } => {
                    self.settled(LinkId(consumer.link()), settlements);
                }
                Effect::Published { producer, answers } => self.published(LinkId(producer.link()), &answers),
                Effect::ProducerCredit { producer, open } => {
                    self.producer_credit(LinkId(producer.link()), open);
                }
                // The host's business, never sent to a connection.
                Effect::Load { .. }
                | Effect::Evacuated { .. }
                | Effect::MoveOut { .. }
                | Effect::MovedIn { .. }
                | Effect::Breaker { .. }
                | Effect::Safe { .. }
                | Effect::Expire => {}
            }
        }
        self.flush_touched(host);
    }

    /// The node was deleted: its links here are closed (`amqp:resource-deleted`).
    pub fn node_deleted(&mut self, node: QueueId, host: &mut dyn Host) {
        let gone: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.node() == Some(node)).map(|(id, _)| *id).collect();
        for link in gone {
            let why = Error::new(AmqpError::ResourceDeleted, Some("the node was deleted".to_owned()), None);
            self.engine.detach(link, true, Some(why));
            self.detached(link, host);
        }
        self.relayed_to_deleted(node);
        self.flush_touched(host);
    }
}

impl Link {
    fn node(&self) -> Option<QueueId> {
        match self {
            Self::Publisher(publisher) => publisher.node(),
            Self::Consumer(consumer) => Some(consumer.node()),
            Self::Requester(_) | Self::Answerer(_) => None,
        }
    }

    fn sends_to_us(&self) -> bool {
        matches!(self, Self::Publisher(_) | Self::Requester(_))
    }
}

/// sasl-code ok (5.3.3.6).
const SASL_OK: u8 = 0;
/// sasl-code auth (5.3.3.6).
const SASL_AUTH: u8 = 1;

fn product_of(open: &fe2o3_amqp_types::performatives::Open) -> String {
    let of = |key: &str| {
        let value = open.properties.as_ref()?.get(&serde_amqp::primitives::Symbol::from(key))?;
        match value {
            serde_amqp::Value::String(text) => Some(text.chars().take(64).collect::<String>()),
            _ => None,
        }
    };
    [of("product"), of("version")].into_iter().flatten().collect::<Vec<_>>().join(" ")
}
