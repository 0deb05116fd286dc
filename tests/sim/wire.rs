//! One connection whole: a client, the broker's container for it, and the bytes between them.
//!
//! Invariant: the container is driven exactly as `server::connection` drives it. A cut is noticed by
//! both ends at once, with whatever had arrived by then.

use std::collections::VecDeque;

use verdict::{
    amqp::{Config, Connection},
    broker::{ConnectionId, Effect},
    container::Container,
    time::Millis,
};

use crate::{client::Client, house::House, pipe::Pipe, plan::ClientPlan, rng::Rng, scene::Scene};

/// A connection.
pub struct Wire {
    /// Its number.
    pub id: ConnectionId,
    /// The one end.
    pub client: Client,
    /// The other.
    pub server: Container,
    up: Pipe,
    down: Pipe,
    /// Effects for the broker's end.
    pub mail: VecDeque<Effect>,
}

impl Wire {
    /// A new connection.
    pub fn new(id: ConnectionId, plan: &ClientPlan, left: &[u64], scene: &mut Scene) -> Self {
        let config = Config {
            container_id: "broker".to_owned(),
            max_frame_size: plan.frame_size,
            idle_timeout_ms: plan.idle_ms,
            mechanisms: vec!["ANONYMOUS".to_owned()],
            ..Config::default()
        };
        let mut engine = Connection::server(config, scene.now);
        if scene.rng.one_in(3) {
            engine.count_from(u32::MAX - scene.rng.below(40) as u32);
        }
        Self {
            id,
            client: Client::new(plan, id, left, scene),
            server: Container::new(engine, id),
            up: Pipe::default(),
            down: Pipe::default(),
            mail: VecDeque::new(),
        }
    }

    /// The client's bytes leave. `false`: there are none, or no room.
    pub fn client_writes(&mut self, now: Millis, slow_ms: u64, rng: &mut Rng) -> bool {
        let written = self.up.write(self.client.engine.output(), now, slow_ms, rng);
        self.client.engine.consume_output(written, now);
        written > 0
    }

    /// The broker's bytes leave.
    pub fn server_writes(&mut self, now: Millis, slow_ms: u64, house: &mut House, rng: &mut Rng) -> bool {
        let written = self.down.write(self.server.output(), now, slow_ms, rng);
        if written > 0 {
            self.server.consume_output(written, now);
            self.server.report_room(house);
        }
        written > 0
    }

    /// Bytes reach the client.
    pub fn client_reads(&mut self, now: Millis, rng: &mut Rng) -> bool {
        if !self.down.read(now, rng) {
            return false;
        }
        let used = self.client.engine.handle_input(&self.down.leftover, now);
        self.down.used(used);
        true
    }

    /// Bytes reach the broker.
    pub fn server_reads(&mut self, now: Millis, house: &mut House, rng: &mut Rng) -> bool {
        if !self.server.wants_input() || !self.up.read(now, rng) {
            return false;
        }
        let used = self.server.handle_input(&self.up.leftover, now);
        self.up.used(used);
        self.server.process(now, house);
        self.check_notices();
        true
    }

    /// Effects reach the broker's end.
    pub fn server_mail(&mut self, house: &mut House, rng: &mut Rng) -> bool {
        if self.mail.is_empty() {
            return false;
        }
        let count = rng.range(1, self.mail.len() as u64) as usize;
        self.server.handle_effects(self.mail.drain(..count).collect(), house);
        true
    }

    /// Timers that are due.
    pub fn timers(&mut self, now: Millis, house: &mut House) -> bool {
        let mut did = false;
        if self.server.poll_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
            self.server.process(now, house);
            did = true;
        }
        if self.client.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.client.engine.handle_timeout(now);
            did = true;
        }
        did
    }

    fn check_notices(&mut self) {
        use verdict::container::Notice;
        for notice in self.server.take_notices() {
            let fine = match &notice {
                Notice::Opened => true,
                Notice::Ended(ended) => ended.error.is_none(),
                Notice::Refused(_) | Notice::LinkRefused(..) => false,
            };
            assert!(fine, "rule 8 broken: the broker noted {notice:?}");
        }
    }

    /// When something happens here next.
    pub fn next_due(&self) -> Option<Millis> {
        let timers = [self.server.poll_timeout(), self.client.engine.poll_timeout()];
        let pipes = [self.up.next_due(), self.down.next_due(), self.client.next_due()];
        timers.into_iter().chain(pipes).flatten().min()
    }

    /// The client is done, and all it had to say has arrived: it closes its socket.
    pub fn is_finished(&self) -> bool {
        self.client.ended && self.client.engine.is_finished() && self.up.next_due().is_none()
    }

    /// The broker is done, and all it had to say has arrived: it closes its socket.
    pub fn is_abandoned(&self) -> bool {
        !self.client.ended && self.server.is_finished() && self.down.next_due().is_none()
    }

    /// The connection is gone for the broker, in whatever way.
    pub fn leave(&mut self, now: Millis, house: &mut House) {
        self.server.handle_eof(now);
        self.server.process(now, house);
    }
}
