//! The scripted peer: writes what the test says, reads what comes back, and judges nothing by itself.
//!
//! Invariant: after every call all bytes were exchanged. Time is virtual. Flow frames may come at any time
//! (2.7.4) and are passed over unless asked for; everything else must be what the test expects next.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use verdict::{
    amqp::{ClientSasl, Config, Connection},
    time::Millis,
};

use crate::{
    frames::{self, AMQP, Frame},
    house::House,
    subject::{Bare, Subject, Whole},
    value::{Composite, V},
};

/// The peer of `S`.
pub struct Peer<S> {
    pub subject: S,
    pub now: Millis,
    /// Most octets handed over at once.
    pub chunk: usize,
    unread: Vec<u8>,
    inbox: Vec<u8>,
    /// By our channel: the broker's, its transfers seen (next-incoming-id), ours sent (next-outgoing-id).
    sessions: BTreeMap<u16, (u16, u32, u32)>,
}

pub fn config() -> Config {
    Config {
        container_id: "broker".to_owned(),
        mechanisms: vec!["ANONYMOUS".to_owned()],
        ..Config::default()
    }
}

impl Peer<Whole> {
    /// A broker, nothing exchanged.
    pub fn broker() -> Self {
        Self::broker_with(Config { mechanisms: vec!["ANONYMOUS".into(), "PLAIN".into()], ..config() })
    }

    pub fn broker_with(config: Config) -> Self {
        Self::of_house(&Rc::new(RefCell::new(House::new(config.allow_bare))), 1, config)
    }

    /// Another connection to the same broker.
    pub fn beside(other: &Self, number: u32) -> Self {
        Self::of_house(&other.subject.house, number, config())
    }

    fn of_house(house: &Rc<RefCell<House>>, number: u32, config: Config) -> Self {
        let now = Millis(1_000_000);
        Self::new(Whole::new(house, number, config, now), now)
    }

    /// Opened, with one session on channel 0 both ways.
    pub fn ready() -> Self {
        let mut peer = Self::broker();
        peer.open();
        peer.begin(0);
        peer
    }

    /// Publishes to an address over a link of its own and waits for the answers.
    pub fn fill(&mut self, address: &str, payloads: &[Vec<u8>]) {
        let mut other = Self::beside(self, 900);
        other.open();
        other.begin(0);
        other.sender(0, 0, address);
        for (id, payload) in payloads.iter().enumerate() {
            other.publish(0, 0, id as u32, payload);
        }
        let mut answered = 0;
        while answered < payloads.len() as u32 {
            let answer = other.expect("disposition");
            assert_eq!(answer.inner("state").name(), "accepted", "{answer:?}");
            answered = answer.get("last").clone().or(answer.uint("first")) + 1;
        }
        other.send(0, &frames::new("close"));
        other.expect("close");
        self.run();
    }
}

impl V {
    fn or(self, default: u32) -> u32 {
        match self {
            V::Uint(value) => value,
            _ => default,
        }
    }
}

impl Peer<Bare> {
    /// The engine alone as a server.
    pub fn engine() -> Self {
        Self::engine_with(config())
    }

    pub fn engine_with(config: Config) -> Self {
        let now = Millis(1_000_000);
        Self::new(Bare::new(Connection::server(config, now)), now)
    }

    /// The engine alone as a client.
    pub fn client(config: Config, sasl: ClientSasl) -> Self {
        let now = Millis(1_000_000);
        let mut peer = Self::new(Bare::new(Connection::client(config, sasl, now)), now);
        peer.run();
        peer
    }

    /// A server engine opened, with a session and a link we send on, without credit yet.
    pub fn sending() -> Self {
        let mut peer = Self::engine();
        peer.open();
        peer.begin(0);
        peer.sender(0, 0, "q");
        peer
    }

    /// Gives credit on the `n`th link attached.
    pub fn grant(&mut self, n: usize, credit: u32) {
        let link = self.subject.links[n];
        self.subject.engine.set_credit(link, credit);
        self.run();
    }

    /// Payloads of the messages the engine told of.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let payload = |event: &verdict::amqp::Event| match event {
            verdict::amqp::Event::Message(message) => Some(message.payload.to_vec()),
            _ => None,
        };
        self.subject.events.iter().filter_map(payload).collect()
    }
}

impl<S: Subject> Peer<S> {
    fn new(subject: S, now: Millis) -> Self {
        let sessions = BTreeMap::new();
        Self { subject, now, chunk: usize::MAX, unread: Vec::new(), inbox: Vec::new(), sessions }
    }

    /// Hands these bytes over and takes what comes back.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.run();
        for part in bytes.chunks(self.chunk.max(1)) {
            self.unread.extend(part);
            let used = self.subject.input(&self.unread, self.now);
            self.unread.drain(..used);
            self.run();
        }
    }

    /// Lets the broker do and write all it has to.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            self.subject.react(self.now);
            let bytes = self.subject.output(self.now);
            if bytes.is_empty() {
                return;
            }
            self.inbox.extend(bytes);
        }
        panic!("the broker never stops writing");
    }

    pub fn send(&mut self, channel: u16, body: &Composite) {
        self.send_with(channel, body, &[]);
    }

    pub fn send_with(&mut self, channel: u16, body: &Composite, payload: &[u8]) {
        if body.name() == "transfer"
            && let Some(session) = self.sessions.get_mut(&channel)
        {
            session.2 = session.2.wrapping_add(1);
        }
        self.send_bytes(&frames::frame_with(channel, body, payload));
    }

    /// The next frame, if there is one.
    pub fn next(&mut self) -> Option<Frame> {
        let frame = Frame::read(&mut self.inbox)?;
        match frame.name() {
            "begin" => {
                if let V::Ushort(ours) = frame.get("remote-channel") {
                    let session = (frame.channel, frame.uint("next-outgoing-id"), 0);
                    self.sessions.insert(*ours, session);
                }
            }
            "transfer" => {
                for session in self.sessions.values_mut().filter(|s| s.0 == frame.channel) {
                    session.1 = session.1.wrapping_add(1);
                }
            }
            _ => {}
        }
        Some(frame)
    }

    /// The next frame but flows must be this.
    pub fn expect(&mut self, name: &str) -> Frame {
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("nothing came, expected {name}"));
            if frame.name() == name {
                return frame;
            }
            assert_eq!(frame.name(), "flow", "expected {name}, got {frame:?}");
        }
    }

    /// The next flow of this link (the broker's handle), or of the session alone.
    pub fn expect_flow(&mut self, handle: Option<u32>) -> Frame {
        let wanted = handle.map_or(V::Null, V::Uint);
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("nothing came, expected a flow"));
            assert_eq!(frame.name(), "flow", "expected a flow, got {frame:?}");
            if *frame.get("handle") == wanted {
                return frame;
            }
        }
    }

    /// Nothing but flows may have come.
    pub fn quiet(&mut self) {
        while let Some(frame) = self.next() {
            assert_eq!(frame.name(), "flow", "expected nothing, got {frame:?}");
        }
        assert!(self.inbox.is_empty(), "half a frame: {:02x?}", self.inbox);
    }

    /// Nothing at all may have come.
    pub fn silent(&mut self) {
        assert!(self.inbox.is_empty(), "expected nothing, got {:02x?}", self.inbox);
    }

    /// Everything that came, flows as well.
    pub fn drain(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Takes the bytes that came, whatever they are.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }

    pub fn expect_header(&mut self, header: [u8; 8]) {
        assert!(self.inbox.len() >= 8, "expected a protocol header, got {:02x?}", self.inbox);
        let got: Vec<u8> = self.inbox.drain(..8).collect();
        assert_eq!(got, header, "protocol header");
    }

    /// The connection must have been closed with this condition. We answer, and it is over.
    pub fn closed_with(&mut self, condition: &str) -> Frame {
        let close = self.expect("close");
        assert_eq!(close.condition(), condition, "{close:?}");
        self.silent();
        self.send(0, &frames::new("close"));
        self.silent();
        assert!(self.subject.is_finished(), "the broker does not close the socket");
        close
    }

    /// The session must have been ended with this condition, nothing else; we answer.
    pub fn ended_with(&mut self, channel: u16, condition: &str) -> Frame {
        let end = self.expect("end");
        assert_eq!(end.condition(), condition, "{end:?}");
        assert_eq!(end.channel, self.theirs(channel), "ended on the wrong channel");
        self.quiet();
        self.send(channel, &frames::new("end"));
        self.usable();
        end
    }

    /// The link must have been closed with this condition, nothing else; we answer.
    pub fn detached_with(&mut self, channel: u16, handle: u32, condition: &str) -> Frame {
        let detach = self.expect("detach");
        assert_eq!(detach.condition(), condition, "{detach:?}");
        assert_eq!(detach.uint("handle"), handle, "the wrong link was detached");
        assert!(detach.flag("closed"), "{detach:?}");
        self.quiet();
        self.send(channel, &frames::detach(handle));
        self.usable();
        detach
    }

    /// The connection still works: a new session can be begun and ended.
    pub fn usable(&mut self) {
        let free = (0..200).find(|c| !self.sessions.contains_key(c)).expect("a free channel");
        self.begin(free);
        self.send(free, &frames::new("end"));
        self.expect("end");
        self.sessions.remove(&free);
        self.quiet();
    }

    /// The broker's channel of our session.
    pub fn theirs(&self, channel: u16) -> u16 {
        self.sessions[&channel].0
    }

    /// Headers and opens; the broker's open.
    pub fn open(&mut self) -> Frame {
        self.open_with(&frames::open())
    }

    pub fn open_with(&mut self, open: &Composite) -> Frame {
        self.send_bytes(&AMQP);
        self.expect_header(AMQP);
        self.send(0, open);
        self.expect("open")
    }

    pub fn begin(&mut self, channel: u16) -> Frame {
        self.begin_with(channel, &frames::begin())
    }

    pub fn begin_with(&mut self, channel: u16, begin: &Composite) -> Frame {
        self.send(channel, begin);
        let answer = self.expect("begin");
        assert_eq!(answer.get("remote-channel"), &V::Ushort(channel), "{answer:?}");
        self.sessions.get_mut(&channel).expect("a session").2 = begin.uint("next-outgoing-id");
        answer
    }

    /// Attaches; the broker's attach, which must not be a refusal.
    pub fn attach(&mut self, channel: u16, attach: &Composite) -> Frame {
        self.send(channel, attach);
        let answer = self.expect("attach");
        assert_eq!(answer.get("name"), attach.get("name"));
        assert_eq!(answer.flag("role"), !attach.flag("role"), "the other role");
        assert_ne!((answer.get("source"), answer.get("target")), (&V::Null, &V::Null), "{answer:?}");
        answer
    }

    /// A link we send on, named after its handle.
    pub fn sender(&mut self, channel: u16, handle: u32, address: &str) -> Frame {
        self.attach(channel, &frames::attach_sender(&format!("out-{channel}-{handle}"), handle, address))
    }

    /// A link we receive on, named after its handle.
    pub fn receiver(&mut self, channel: u16, handle: u32, address: &str) -> Frame {
        self.attach(channel, &frames::attach_receiver(&format!("in-{channel}-{handle}"), handle, address))
    }

    /// The session's state as a flow, to be sent or added to.
    pub fn flow(&self, channel: u16) -> Composite {
        let (_, next_in, next_out) = self.sessions[&channel];
        frames::new("flow")
            .with("next-incoming-id", next_in)
            .with("incoming-window", 2048_u32)
            .with("next-outgoing-id", next_out)
            .with("outgoing-window", 2048_u32)
    }

    /// A receiver's flow.
    pub fn credit(&mut self, channel: u16, handle: u32, delivery_count: u32, credit: u32) {
        let flow = self
            .flow(channel)
            .with("handle", handle)
            .with("delivery-count", delivery_count)
            .with("link-credit", credit);
        self.send(channel, &flow);
    }

    /// Sends one message in one transfer, unsettled.
    pub fn publish(&mut self, channel: u16, handle: u32, id: u32, payload: &[u8]) {
        self.send_with(channel, &frames::transfer(handle, id), payload);
    }

    /// The peer's end of the connection is gone.
    pub fn hang_up(&mut self) {
        self.subject.eof(self.now);
        self.run();
    }

    /// Lets time pass, with the timers that are due on the way.
    pub fn pass_ms(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        for _ in 0..10_000 {
            let Some(due) = self.subject.due().filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            self.subject.timeout(self.now);
            self.run();
        }
        self.now = until;
        self.subject.timeout(self.now);
        self.run();
    }
}
