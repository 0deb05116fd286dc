//! What the engine tells the application, and the words both use.
//!
//! Invariant: events come in the order the peer caused them. After `Closed` there is none.

use std::sync::Arc;

use fe2o3_amqp_types::{
    definitions::{Error, Fields},
    performatives::{Attach, Begin, Open},
};

use super::codec::DeliveryState;

/// A session of this connection; never reused within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// A link of this connection; never reused within it, unlike its handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Server: the peer chose a SASL mechanism; answer with `sasl_outcome` or `sasl_challenge`.
    SaslInit { mechanism: String, response: Vec<u8>, hostname: Option<String> },
    /// Server: the peer answered our challenge.
    SaslResponse { response: Vec<u8> },
    /// The peer's open. A server answers with `open` (or `close` with an error).
    Opened(Box<Open>),
    /// The peer began a session (already answered), or answered our `begin`.
    Begun { session: SessionId, begin: Box<Begin> },
    /// The peer attached a link: answer with `accept_attach` or `refuse_attach`. `link` is ours and the
    /// roles in `attach` are the peer's. `refuse` is set where the attach holds something the codec
    /// does not know in a place that fails the link: then refuse it with that error.
    Attach { session: SessionId, link: LinkId, attach: Box<Attach>, refuse: Option<Box<Error>> },
    /// The peer answered our `attach`.
    Attached { link: LinkId, attach: Box<Attach> },
    /// The peer (receiver) gave credit on a link we send on: absolute, as in its flow (part 2.6.7). What it gave
    /// before the link was accepted is told right after.
    Credit { link: LinkId, delivery_count: u32, credit: u32, drain: bool, echo: bool },
    /// The peer (sender) told of its state on a link we receive on.
    SenderFlow { link: LinkId, available: u32, drained: bool, echo: bool, properties: Option<Box<Fields>> },
    /// A complete message came in.
    Message(Incoming),
    /// The peer aborted a delivery: there is no message, but its credit is used up.
    Aborted { link: LinkId },
    /// The peer said something about deliveries we sent: `tokens` as given to `send`, in order.
    /// With `settled` the engine has forgotten them; without, answer with `settle_sent` some time.
    /// `state` is `None` where it settled without one. Without `settled`, each delivery is told of once as
    /// `Received` and once with an outcome (but of transactional states each time).
    Disposition { link: LinkId, tokens: Vec<u64>, settled: bool, state: Option<DeliveryState> },
    /// The peer (sender) settled deliveries it sent us, which we had not settled; only told for links
    /// with rcv-settle-mode second.
    SenderSettled { link: LinkId, delivery_ids: Vec<u32> },
    /// The peer detached (already answered where it was its detach), or an error of its doing made the
    /// engine detach the link, or our `detach` was answered, or its session or the connection is over. Unsettled
    /// deliveries sent on it, and those queued but not sent: `unsettled` tokens, in order. The last word on a link.
    Detached { link: LinkId, closed: bool, error: Option<Box<Error>>, unsettled: Vec<u64> },
    /// The session ended, and with it its links, for each of which a `Detached` came before.
    Ended { session: SessionId, error: Option<Box<Error>> },
    /// The connection is over as far as AMQP goes: write what output is left, then close the socket.
    /// `clean`: closed in good order by either side. `by_peer` tells whose error it is.
    Closed { clean: bool, by_peer: bool, error: Option<Box<Error>> },
}

/// A message that came in whole.
#[derive(Debug)]
pub struct Incoming {
    /// The link.
    pub link: LinkId,
    /// To answer with: unique among the session's unsettled deliveries.
    pub delivery_id: u32,
    /// As the sender named it.
    pub tag: Box<[u8]>,
    /// message-format (part 2.7.5).
    pub format: u32,
    /// It was sent settled: no answer is due.
    pub settled: bool,
    /// All sections, exactly as sent (payloads of its transfers joined).
    pub payload: Arc<[u8]>,
    /// transfer.state, where one was sent (transactional state).
    pub state: Option<DeliveryState>,
}

/// A message to send.
#[derive(Debug)]
pub struct Outgoing {
    /// Comes back in `Disposition`; the application's name for it.
    pub token: u64,
    /// message-format.
    pub format: u32,
    /// Send it settled.
    pub settled: bool,
    /// Bytes before `body`: the sections the broker writes anew.
    pub prefix: Vec<u8>,
    /// The rest, forwarded bit for bit, from `body_from` on.
    pub body: Arc<[u8]>,
    /// Offset in `body` where forwarding begins.
    pub body_from: usize,
}

/// What the application decides about a link it accepts; the rest is echoed or derived.
#[derive(Debug, Default)]
pub struct AttachReply {
    /// Source to answer with, exactly.
    pub source: Option<Box<fe2o3_amqp_types::messaging::Source>>,
    /// Target to answer with, exactly.
    pub target: Option<Box<fe2o3_amqp_types::messaging::TargetArchetype>>,
    /// Largest message we take (0 or `None`: no limit).
    pub max_message_size: Option<u64>,
    /// offered-capabilities.
    pub capabilities: Vec<String>,
    /// properties.
    pub properties: Option<Fields>,
}
