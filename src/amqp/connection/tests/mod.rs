//! Client and server of the engine against each other, over bytes in memory.
//!
//! Each test drives a [`Pair`]; how the bytes are cut up on the way is chosen by it.

mod chaos;
mod deliveries;
mod handshake;
mod hoard;
mod links;

use std::{collections::VecDeque, sync::Arc};

use fe2o3_amqp_types::{
    definitions::{ReceiverSettleMode, Role, SenderSettleMode},
    messaging::{Source, Target, TargetArchetype},
    performatives::Attach,
};

use crate::{
    amqp::{
        AttachReply, ClientSasl, Config, Connection, Event, Incoming, LinkId, Outgoing, SessionId,
        codec::DeliveryState,
    },
    time::Millis,
};

/// One side with its unread bytes.
pub struct Side {
    pub engine: Connection,
    inbox: Vec<u8>,
    pub events: VecDeque<Event>,
}

impl Side {
    fn new(engine: Connection) -> Self {
        Self { engine, inbox: Vec::new(), events: VecDeque::new() }
    }

    fn collect(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            self.events.push_back(event);
        }
    }

    /// Takes the next event that `pick` wants; others are dropped.
    pub fn expect<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        while let Some(event) = self.events.pop_front() {
            if let Some(found) = pick(&event) {
                return found;
            }
        }
        panic!("no event {what}");
    }

    pub fn messages(&mut self) -> Vec<Incoming> {
        let mut messages = Vec::new();
        self.events = std::mem::take(&mut self.events)
            .into_iter()
            .filter_map(|event| match event {
                Event::Message(message) => {
                    messages.push(message);
                    None
                }
                other => Some(other),
            })
            .collect();
        messages
    }
}

/// A client and a server.
pub struct Pair {
    pub client: Side,
    pub server: Side,
    pub now: Millis,
    /// Most bytes handed over at once.
    pub chunk: usize,
    /// The server accepts SASL and opens by itself.
    pub auto: bool,
}

pub fn config(name: &str) -> Config {
    Config {
        container_id: name.to_owned(),
        mechanisms: vec!["PLAIN".to_owned(), "ANONYMOUS".to_owned()],
        ..Config::default()
    }
}

impl Pair {
    pub fn new(client: Config, server: Config, sasl: ClientSasl) -> Self {
        let now = Millis(1_000);
        Self {
            client: Side::new(Connection::client(client, sasl, now)),
            server: Side::new(Connection::server(server, now)),
            now,
            chunk: usize::MAX,
            auto: true,
        }
    }

    /// Opened both ways, without SASL.
    pub fn open() -> Self {
        Self::open_with(config("client"), config("server"))
    }

    pub fn open_with(client: Config, server: Config) -> Self {
        let mut pair = Self::new(client, server, ClientSasl::Bare);
        pair.run();
        pair.client.expect("opened", |event| matches!(event, Event::Opened(_)).then_some(()));
        pair
    }

    /// Passes bytes until neither side has any.
    pub fn run(&mut self) {
        for _ in 0..1_000_000 {
            let now = self.now;
            let moved = pass(&mut self.client, &mut self.server, self.chunk, now)
                + pass(&mut self.server, &mut self.client, self.chunk, now);
            self.client.collect();
            self.server.collect();
            let acted = self.auto && self.act();
            if moved == 0 && !acted {
                return;
            }
        }
        panic!("the two never come to rest");
    }

    fn act(&mut self) -> bool {
        let mut acted = false;
        for event in &self.server.events {
            match event {
                Event::SaslInit { .. } => self.server.engine.sasl_outcome(0),
                Event::Opened(_) => self.server.engine.open(),
                _ => continue,
            }
            acted = true;
        }
        self.server.events.retain(|event| !matches!(event, Event::SaslInit { .. } | Event::Opened(_)));
        acted
    }

    /// A link from client to server (`Role::Sender`) or back, attached on both sides.
    pub fn link(&mut self, session: SessionId, attach: Attach) -> (LinkId, LinkId) {
        let ours = self.client.engine.attach(session, attach.clone());
        self.run();
        let theirs = self.server.expect("attach", |event| match event {
            Event::Attach { link, .. } => Some(*link),
            _ => None,
        });
        let reply = AttachReply { source: attach.source, target: attach.target, ..AttachReply::default() };
        self.server.engine.accept_attach(theirs, reply);
        self.run();
        self.client.expect("attached", |event| match event {
            Event::Attached { link, .. } if *link == ours => Some(()),
            _ => None,
        });
        (ours, theirs)
    }

    pub fn session(&mut self) -> SessionId {
        let session = self.client.engine.begin();
        self.run();
        session
    }

    /// A client's sending link with this much credit.
    pub fn publisher(&mut self, credit: u32) -> (LinkId, LinkId) {
        let session = self.session();
        let (ours, theirs) = self.link(session, attach("q", Role::Sender));
        self.server.engine.set_credit(theirs, credit);
        self.run();
        (ours, theirs)
    }

    /// A client's receiving link with this much credit: (client's, server's).
    pub fn consumer(&mut self, credit: u32) -> (LinkId, LinkId) {
        let session = self.session();
        let (ours, theirs) = self.link(session, attach("q", Role::Receiver));
        self.client.engine.set_credit(ours, credit);
        self.run();
        (ours, theirs)
    }
}

fn pass(from: &mut Side, to: &mut Side, chunk: usize, now: Millis) -> usize {
    let bytes = from.engine.output();
    let n = bytes.len().min(chunk);
    to.inbox.extend_from_slice(&bytes[..n]);
    from.engine.consume_output(n, now);
    if n > 0 {
        let used = to.engine.handle_input(&to.inbox, now);
        to.inbox.drain(..used);
    }
    n
}

pub fn attach(name: &str, role: Role) -> Attach {
    Attach {
        name: name.to_owned(),
        handle: 0.into(),
        role,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: Some(Box::new(Source::builder().address("q").build())),
        target: Some(Box::new(TargetArchetype::Target(Target::builder().address("q").build()))),
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: None,
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

pub fn message(token: u64, body: &[u8]) -> Outgoing {
    Outgoing { token, format: 0, settled: false, prefix: Vec::new(), body: Arc::from(body), body_from: 0 }
}

pub fn tokens(event: &Event) -> Option<(Vec<u64>, bool, Option<DeliveryState>)> {
    match event {
        Event::Disposition { tokens, settled, state, .. } => Some((tokens.clone(), *settled, state.clone())),
        _ => None,
    }
}

pub fn detached(event: &Event) -> Option<(LinkId, bool, Option<String>, Vec<u64>)> {
    match event {
        Event::Detached { link, closed, error, unsettled } => {
            let condition = error.as_ref().map(|error| condition(error));
            Some((*link, *closed, condition, unsettled.clone()))
        }
        _ => None,
    }
}

pub fn condition(error: &fe2o3_amqp_types::definitions::Error) -> String {
    crate::amqp::codec::condition_name(&error.condition)
}

pub fn closed(event: &Event) -> Option<(bool, bool, Option<String>)> {
    match event {
        Event::Closed { clean, by_peer, error } => {
            Some((*clean, *by_peer, error.as_ref().map(|error| condition(error))))
        }
        _ => None,
    }
}
