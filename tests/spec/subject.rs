//! What the scripted peer talks to: the engine alone, or the engine in a container with nodes behind it.
//!
//! Invariant: after `react` nothing is left to be done but writing. Both are driven as the server drives them.

use std::{cell::RefCell, rc::Rc};

use verdict::{
    amqp::{AttachReply, Config, Connection, Event, LinkId},
    broker::ConnectionId,
    container::Container,
    time::Millis,
};

use crate::house::House;

/// One end of a connection.
pub trait Subject {
    /// Bytes came; returns how many were used.
    fn input(&mut self, bytes: &[u8], now: Millis) -> usize;
    /// Does what is to be done.
    fn react(&mut self, now: Millis);
    /// What is to be written, all of it.
    fn output(&mut self, now: Millis) -> Vec<u8>;
    /// The peer has gone.
    fn eof(&mut self, now: Millis);
    /// Timers that are due.
    fn timeout(&mut self, now: Millis);
    /// When that is.
    fn due(&self) -> Option<Millis>;
    /// Over, nothing left to write.
    fn is_finished(&self) -> bool;
}

/// The engine alone. It lets everybody in and accepts every link as it was asked for.
pub struct Bare {
    pub engine: Connection,
    pub events: Vec<Event>,
    /// Links of the peer that were accepted, in order.
    pub links: Vec<LinkId>,
    /// Largest message it takes on a link.
    pub max_message_size: Option<u64>,
}

impl Bare {
    pub fn new(engine: Connection) -> Self {
        Self { engine, events: Vec::new(), links: Vec::new(), max_message_size: None }
    }

    fn act(&mut self, event: &mut Event) {
        match event {
            Event::SaslInit { .. } => self.engine.sasl_outcome(0),
            Event::Opened(_) => self.engine.open(),
            Event::Attach { link, refuse: Some(error), .. } => {
                self.engine.refuse_attach(*link, (**error).clone());
            }
            Event::Attach { link, attach, .. } => {
                let reply = AttachReply {
                    source: attach.source.clone(),
                    target: attach.target.clone(),
                    max_message_size: self.max_message_size,
                    ..AttachReply::default()
                };
                self.links.push(*link);
                self.engine.accept_attach(*link, reply);
            }
            _ => {}
        }
    }
}

impl Subject for Bare {
    fn input(&mut self, bytes: &[u8], now: Millis) -> usize {
        self.engine.handle_input(bytes, now)
    }

    fn react(&mut self, _now: Millis) {
        while let Some(mut event) = self.engine.poll_event() {
            self.act(&mut event);
            self.events.push(event);
        }
    }

    fn output(&mut self, now: Millis) -> Vec<u8> {
        let bytes = self.engine.output().to_vec();
        self.engine.consume_output(bytes.len(), now);
        bytes
    }

    fn eof(&mut self, now: Millis) {
        self.engine.handle_eof(now);
    }

    fn timeout(&mut self, now: Millis) {
        self.engine.handle_timeout(now);
    }

    fn due(&self) -> Option<Millis> {
        self.engine.poll_timeout()
    }

    fn is_finished(&self) -> bool {
        self.engine.is_finished()
    }
}

/// A container with nodes.
pub struct Whole {
    pub container: Container,
    pub house: Rc<RefCell<House>>,
}

impl Whole {
    /// The `number`th connection of a house.
    pub fn new(house: &Rc<RefCell<House>>, number: u32, config: Config, now: Millis) -> Self {
        let engine = Connection::server(config, now);
        Self { container: Container::new(engine, ConnectionId(number)), house: house.clone() }
    }
}

impl Subject for Whole {
    fn input(&mut self, bytes: &[u8], now: Millis) -> usize {
        self.container.handle_input(bytes, now)
    }

    fn react(&mut self, now: Millis) {
        let mut house = self.house.borrow_mut();
        loop {
            self.container.process(now, &mut *house);
            house.turn(now);
            for node in std::mem::take(&mut house.deleted) {
                self.container.node_deleted(node, &mut *house);
            }
            let mine = house.take_post(self.container.id());
            if mine.is_empty() && !house.is_busy() {
                return;
            }
            self.container.handle_effects(mine, &mut *house);
        }
    }

    fn output(&mut self, now: Millis) -> Vec<u8> {
        let bytes = self.container.output().to_vec();
        self.container.consume_output(bytes.len(), now);
        self.container.report_room(&mut *self.house.borrow_mut());
        bytes
    }

    fn eof(&mut self, now: Millis) {
        self.container.handle_eof(now);
    }

    fn timeout(&mut self, now: Millis) {
        self.container.handle_timeout(now);
    }

    fn due(&self) -> Option<Millis> {
        self.container.poll_timeout().into_iter().chain(self.house.borrow().next_wake()).min()
    }

    fn is_finished(&self) -> bool {
        self.container.is_finished()
    }
}
