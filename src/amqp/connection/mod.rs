//! A connection of either role (part 2.4): what the application sees of the engine.
//!
//! Invariant: bytes go in by `handle_input`, come out by `output`; everything else is events and commands. A command
//! for a link or session that is gone does nothing, since it may have crossed the peer's detach or end.
//! Here are the words and the state; `handshake`, `input`, `sessions`, `links`, `commands` and `pump` act.

mod commands;
mod handshake;
mod idle;
mod index;
mod input;
mod links;
pub(crate) mod out;
mod pump;
mod sessions;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use fe2o3_amqp_types::definitions::Fields;

use self::{handshake::Phase, idle::Idle, index::Index, out::Out};
use super::{Event, LinkId, link::incoming::PartialBytes, serial::Serial, session::Session};
use crate::{limits, time::Millis};

/// How an endpoint behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ours, in `open`.
    pub container_id: String,
    /// Client: hostname in `open`.
    pub hostname: Option<String>,
    /// Largest frame we take.
    pub max_frame_size: u32,
    /// Highest channel we take.
    pub channel_max: u16,
    /// Highest handle we take.
    pub handle_max: u32,
    /// Sent to the peer as half of this; without traffic from it for this long, the connection is closed.
    pub idle_timeout_ms: Option<u32>,
    /// Largest message reassembled; 0: no limit.
    pub max_message_size: u64,
    /// Server: SASL mechanisms offered, in order. Client: unused.
    pub mechanisms: Vec<String>,
    /// Server: whether a client may skip SASL.
    pub allow_bare: bool,
    /// offered-capabilities in `open`.
    pub offered_capabilities: Vec<String>,
    /// desired-capabilities in `open`.
    pub desired_capabilities: Vec<String>,
    /// properties in `open`.
    pub properties: Option<Fields>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            container_id: String::new(),
            hostname: None,
            max_frame_size: limits::MAX_FRAME_SIZE,
            channel_max: limits::MAX_SESSIONS - 1,
            handle_max: limits::MAX_LINKS - 1,
            idle_timeout_ms: None,
            max_message_size: limits::MAX_MESSAGE_SIZE,
            mechanisms: Vec::new(),
            allow_bare: true,
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
            properties: None,
        }
    }
}

/// Client: how to authenticate.
#[derive(Debug, Clone)]
pub enum ClientSasl {
    /// No SASL layer.
    Bare,
    /// SASL ANONYMOUS.
    Anonymous,
    /// SASL PLAIN.
    Plain {
        /// The authentication identity.
        user: String,
        /// Its password.
        password: String,
    },
}

/// Which side of the connection we are.
#[derive(Debug)]
enum Side {
    Server,
    Client(ClientSasl),
}

/// One connection, sans-io.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    side: Side,
    phase: Phase,
    out: Out,
    events: VecDeque<Event>,
    idle: Idle,
    /// Input that came ahead of the application's decision.
    stash: Vec<u8>,
    /// The latest time told.
    now: Millis,
    /// By our channel.
    sessions: Vec<Option<Box<Session>>>,
    /// By the peer's channel: ours, or `NO_CHANNEL`.
    remote_channels: Vec<u16>,
    /// Highest channel the peer takes.
    remote_channel_max: u16,
    index: Index,
    /// What deliveries in parts hold.
    partial_bytes: PartialBytes,
    /// Links by direction (`true`: we send) and name (2.6.1).
    names: BTreeMap<(bool, Arc<str>), LinkId>,
    /// Links with something to send that nothing forbids.
    ready: VecDeque<index::Place>,
    /// Sessions with something to flush.
    dirty: Vec<u16>,
    next_session: u32,
    next_link: u32,
    /// First transfer- and delivery-id of our sessions.
    first_id: Serial,
}

/// A remote channel that has no session.
const NO_CHANNEL: u16 = u16::MAX;

impl Connection {
    /// Server: waits for the client's header.
    #[must_use]
    pub fn server(config: Config, now: Millis) -> Self {
        Self::new(config, Side::Server, now)
    }

    /// Client: sends headers, SASL and open at once as far as the protocol allows: without SASL, all; with it, the
    /// mechanism is chosen from what the server offers. Commands may be given at once, too.
    #[must_use]
    pub fn client(config: Config, sasl: ClientSasl, now: Millis) -> Self {
        let mut client = Self::new(config, Side::Client(sasl), now);
        client.begin_handshake();
        client
    }

    fn new(config: Config, side: Side, now: Millis) -> Self {
        let idle = Idle::new(config.idle_timeout_ms, now);
        // A frame must not be refused that the specification says everybody takes (2.7.1), and channels
        // and handles are bounded whatever is configured.
        let config = Config {
            max_frame_size: config.max_frame_size.max(limits::MIN_MAX_FRAME_SIZE),
            channel_max: config.channel_max.min(limits::MAX_SESSIONS - 1),
            handle_max: config.handle_max.min(limits::MAX_LINKS - 1),
            ..config
        };
        Self {
            config,
            side,
            phase: Phase::Header { secured: false },
            out: Out::new(),
            events: VecDeque::new(),
            idle,
            stash: Vec::new(),
            now,
            sessions: Vec::new(),
            remote_channels: Vec::new(),
            remote_channel_max: u16::MAX,
            index: Index::default(),
            partial_bytes: PartialBytes::default(),
            names: BTreeMap::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            next_session: 0,
            next_link: 0,
            first_id: Serial(0),
        }
    }

    /// For tests of wrap-around: sessions begun from now on count transfers and deliveries from here.
    #[doc(hidden)]
    pub fn count_from(&mut self, first_id: u32) {
        self.first_id = Serial(first_id);
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() && self.events.capacity() > EVENTS_KEPT {
            self.events.shrink_to(EVENTS_KEPT);
        }
        event
    }

    /// `n` bytes of `output` were written at `now`.
    pub fn consume_output(&mut self, n: usize, now: Millis) {
        self.now = self.now.max(now);
        if n > 0 {
            self.idle.sent(now);
        }
        self.out.consume(n);
    }

    /// When to call `handle_timeout` at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        if self.is_finished() { None } else { self.idle.next() }
    }

    /// Nothing is left to write and the connection is closed: drop the socket.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.phase.is_over() && self.out.is_empty()
    }
}

/// Room kept for events while there are none.
const EVENTS_KEPT: usize = 16;
