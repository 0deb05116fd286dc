//! A client: the engine in its client role, and what a person's program would do with it.
//!
//! Invariant: it keeps to the protocol and to its plan; whatever the broker does that such a client
//! must not see (a link refused or ended unasked, an error, a closed connection) breaks rule 8.

use fe2o3_amqp_types::{
    definitions::{ReceiverSettleMode, Role, SenderSettleMode},
    messaging::{DistributionMode, Source, Target, TargetArchetype},
    performatives::Attach,
};
use serde_amqp::{Value, described::Described, descriptor::Descriptor, primitives::Symbol};
use verdict::{
    amqp::{ClientSasl, Config, Connection, Event, LinkId, SessionId},
    broker::ConnectionId,
    time::Millis,
};

use crate::{
    consumer::Consumer,
    note,
    plan::{ClientPlan, Habit},
    producer::Producer,
    scene::Scene,
    wants::Wants,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not attached; again at this time.
    Away(Millis),
    Attaching,
    Live,
    Detaching,
}

/// What a link does.
pub enum Part {
    /// It publishes.
    Producer(Producer),
    /// It consumes.
    Consumer(Consumer),
}

/// A link.
pub struct Link {
    state: State,
    id: LinkId,
    /// Names it in the ledger; new with every attach.
    key: u64,
    /// What it does.
    pub part: Part,
}

/// A client's end of a connection.
pub struct Client {
    plan: ClientPlan,
    /// Its engine.
    pub engine: Connection,
    connection: ConnectionId,
    sessions: Vec<SessionId>,
    links: Vec<Link>,
    closing: bool,
    /// Its connection is over.
    pub ended: bool,
}

impl Client {
    /// A client that has just connected; `left` is how much each of its producers has still to send.
    pub fn new(plan: &ClientPlan, connection: ConnectionId, left: &[u64], scene: &mut Scene) -> Self {
        let config = Config {
            container_id: format!("client-{}", connection.0),
            hostname: Some("sim".to_owned()),
            max_frame_size: plan.frame_size,
            idle_timeout_ms: plan.idle_ms,
            ..Config::default()
        };
        let sasl = if plan.sasl { ClientSasl::Anonymous } else { ClientSasl::Bare };
        let mut engine = Connection::client(config, sasl, scene.now);
        if scene.rng.one_in(3) {
            engine.count_from(u32::MAX - scene.rng.below(20) as u32);
        }
        let link = |(part, left): (&crate::plan::LinkPlan, &u64)| Link {
            state: State::Away(scene.now),
            id: LinkId(u32::MAX),
            key: 0,
            part: match &part.habit {
                Habit::Producer(habit) => Part::Producer(Producer::new(habit.clone(), part.queue, *left)),
                Habit::Consumer(habit) => {
                    let strict = scene.queues[part.queue].strict && !habit.dead_letter && habit.credit == 1;
                    Part::Consumer(Consumer::new(habit.clone(), part.second, strict))
                }
            },
        };
        let links = plan.links.iter().zip(left).map(link).collect();
        let plan = plan.clone();
        Self { plan, engine, connection, sessions: Vec::new(), links, closing: false, ended: false }
    }

    /// How much each producer has still to send.
    pub fn left(&self) -> Vec<u64> {
        let left = |link: &Link| if let Part::Producer(producer) = &link.part { producer.left } else { 0 };
        self.links.iter().map(left).collect()
    }

    /// Everything it sent was answered, and everything it asked for.
    pub fn is_satisfied(&self) -> bool {
        self.links.iter().all(|link| match &link.part {
            Part::Producer(producer) => producer.is_satisfied(),
            Part::Consumer(consumer) => consumer.is_satisfied(),
        })
    }

    /// What it waits for, for the report of a stall.
    pub fn describe(&self) -> String {
        let links = self.links.iter().map(|link| match &link.part {
            Part::Producer(producer) => format!("  {:?} {}", link.state, producer.describe()),
            Part::Consumer(consumer) => format!("  {:?} {}", link.state, consumer.describe()),
        });
        let links: Vec<String> = links.collect();
        format!(
            "client {} closing {} ended {}\n{}",
            self.connection.0,
            self.closing,
            self.ended,
            links.join("\n")
        )
    }

    /// When it does something of itself next.
    pub fn next_due(&self) -> Option<Millis> {
        let due = |link: &Link| match (&link.state, &link.part) {
            (State::Away(at), _) if !self.sessions.is_empty() => Some(*at),
            (State::Live, Part::Producer(producer)) => producer.next_due(),
            (State::Live, Part::Consumer(consumer)) => consumer.next_due(),
            _ => None,
        };
        if self.closing { None } else { self.links.iter().filter_map(due).min() }
    }

    /// Its turn. `false`: it had nothing to do.
    pub fn act(&mut self, scene: &mut Scene) -> bool {
        let mut acted = false;
        while let Some(event) = self.engine.poll_event() {
            acted = true;
            note!(scene.now, "client {} {}", self.connection.0, crate::words::event(&event));
            self.handle(event, scene);
        }
        if self.ended || self.closing || self.sessions.is_empty() {
            return acted;
        }
        for at in 0..self.links.len() {
            acted |= self.act_on(at, scene);
        }
        if acted && !scene.calm && self.plan.close_one_in > 0 && scene.rng.one_in(self.plan.close_one_in) {
            note!(scene.now, "client {} closes", self.connection.0);
            self.let_go(scene);
            self.closing = true;
            self.engine.close(None);
        }
        acted
    }

    /// Closes in good order.
    pub fn close(&mut self, scene: &mut Scene) {
        if !self.ended && !self.closing {
            self.let_go(scene);
            self.closing = true;
            self.engine.close(None);
        }
    }

    /// Every consumer drains once, to see that it is answered.
    pub fn drain_all(&mut self, scene: &mut Scene) {
        // What has come counts on the credit it came on.
        self.act(scene);
        for link in self.links.iter_mut().filter(|link| link.state == State::Live) {
            if let Part::Consumer(consumer) = &mut link.part {
                note!(scene.now, "link {} drains at the end", link.key);
                consumer.drain(&mut self.engine, link.id);
            }
        }
    }

    fn act_on(&mut self, at: usize, scene: &mut Scene) -> bool {
        let Some(link) = self.links.get_mut(at) else { return false };
        match link.state {
            State::Away(due) if due <= scene.now => {
                self.attach(at, scene);
                true
            }
            State::Away(_) | State::Attaching | State::Detaching => false,
            State::Live => {
                let acted = match &mut link.part {
                    Part::Producer(producer) => producer.act(&mut self.engine, link.id, link.key, scene),
                    Part::Consumer(consumer) => consumer.act(&mut self.engine, link.id, link.key, scene),
                };
                let often = self.plan.links[at].detach_one_in;
                if acted && !scene.calm && often > 0 && scene.rng.one_in(often) {
                    note!(scene.now, "client {} detaches link {}", self.connection.0, link.key);
                    link.let_go(scene);
                    link.state = State::Detaching;
                    self.engine.detach(link.id, scene.rng.one_in(2), None);
                }
                acted
            }
        }
    }

    fn attach(&mut self, at: usize, scene: &mut Scene) {
        *scene.next_key += 1;
        let key = *scene.next_key;
        let plan = &self.plan.links[at];
        let address = scene.queues[plan.queue].name.clone();
        let mut attach = Attach {
            name: format!("link-{key}"),
            handle: 0.into(),
            role: Role::Sender,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: if plan.second { ReceiverSettleMode::Second } else { ReceiverSettleMode::First },
            source: Some(Box::default()),
            target: None,
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: Some(0),
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        match &plan.habit {
            Habit::Producer(_) => {
                let target = Target { address: Some(address), ..Target::default() };
                attach.target = Some(Box::new(TargetArchetype::Target(target)));
            }
            Habit::Consumer(habit) => {
                let tree = if habit.dead_letter { "/$deadletter" } else { "" };
                attach.role = Role::Receiver;
                attach.initial_delivery_count = None;
                attach.source = Some(Box::new(Source {
                    address: Some(format!("{address}{tree}")),
                    distribution_mode: habit.browse.then_some(DistributionMode::Copy),
                    filter: habit
                        .wants
                        .map(|wants| [(Symbol::from("s"), described(wants))].into_iter().collect()),
                    ..Source::default()
                }));
                attach.target = Some(Box::new(TargetArchetype::Target(Target::default())));
                if habit.presettled {
                    attach.snd_settle_mode = SenderSettleMode::Settled;
                }
            }
        }
        let session = self.sessions[at % self.sessions.len()];
        let link = &mut self.links[at];
        link.key = key;
        link.id = self.engine.attach(session, attach);
        link.state = State::Attaching;
        link.part.reset();
    }

    fn link(&mut self, id: LinkId) -> Option<(&mut Link, &mut Connection)> {
        let link = self.links.iter_mut().find(|link| link.id == id)?;
        Some((link, &mut self.engine))
    }

    fn handle(&mut self, event: Event, scene: &mut Scene) {
        let connection = self.connection;
        match event {
            Event::Opened(_) => {
                self.sessions = (0..self.plan.sessions).map(|_| self.engine.begin()).collect()
            }
            Event::Begun { .. } => {}
            Event::Attached { link, attach } => {
                let closing = self.closing;
                let Some((link, _)) = self.link(link) else {
                    panic!("rule 8 broken: an unknown link attached")
                };
                let refused = match link.part {
                    Part::Producer(_) => attach.target.is_none(),
                    Part::Consumer(_) => attach.source.is_none(),
                };
                assert!(!refused, "rule 8 broken: link {} was refused", link.key);
                assert!(link.state == State::Attaching || closing, "rule 8 broken: link attached twice");
                link.state = State::Live;
            }
            Event::Credit { link, delivery_count, credit, echo, .. } => {
                if let Some((Link { part: Part::Producer(producer), .. }, engine)) = self.link(link) {
                    producer.credit(engine, link, delivery_count, credit, echo);
                }
            }
            Event::SenderFlow { link, drained, .. } => {
                if let Some((Link { part: Part::Consumer(consumer), .. }, _)) = self.link(link) {
                    consumer.flow(drained);
                }
            }
            Event::Message(message) => {
                let closing = self.closing;
                let Some((link, engine)) = self.link(message.link) else {
                    panic!("rule 8 broken: a message on an unknown link")
                };
                // What crosses our detach is the broker's to take back.
                if link.state == State::Live && !closing {
                    let key = link.key;
                    let Part::Consumer(consumer) = &mut link.part else { panic!("a message to a producer") };
                    consumer.message(engine, message, key, connection, scene);
                }
            }
            Event::Disposition { link: id, tokens, settled, state } => {
                let Some((link, engine)) = self.link(id) else { return };
                if link.state == State::Live
                    && let Part::Producer(producer) = &mut link.part
                {
                    producer.disposition(engine, id, &tokens, settled, state, scene);
                }
            }
            Event::SenderSettled { link, delivery_ids } => {
                if let Some((Link { part: Part::Consumer(consumer), state: State::Live, .. }, _)) =
                    self.link(link)
                {
                    consumer.confirmed(&delivery_ids, scene);
                }
            }
            Event::Detached { link, error, .. } => self.detached(link, error.is_some(), scene),
            Event::Ended { error, .. } => {
                assert!(self.closing || scene.stopping, "rule 8 broken: a session ended with {error:?}");
            }
            Event::Closed { clean, error, .. } => {
                let expected = self.closing || scene.stopping;
                assert!(expected && clean, "rule 8 broken: connection closed, clean {clean}, with {error:?}");
                self.let_go(scene);
                self.ended = true;
            }
            other => panic!("rule 8 broken: a client was told {other:?}"),
        }
    }

    fn detached(&mut self, id: LinkId, error: bool, scene: &mut Scene) {
        let over = self.closing || scene.stopping;
        let again = scene.now.plus_ms(scene.rng.range(0, 30));
        let Some((link, _)) = self.link(id) else { return };
        assert!(
            over || (link.state == State::Detaching && !error),
            "rule 8 broken: link {} was detached",
            link.key
        );
        link.let_go(scene);
        link.state = State::Away(again);
        link.id = LinkId(u32::MAX);
        link.part.reset();
    }

    fn let_go(&mut self, scene: &mut Scene) {
        for link in &mut self.links {
            link.let_go(scene);
        }
    }

    /// The connection is lost.
    pub fn lost(&mut self, scene: &mut Scene) {
        if self.ended {
            return;
        }
        self.engine.handle_eof(scene.now);
        let mut closed = false;
        while let Some(event) = self.engine.poll_event() {
            closed |= matches!(event, Event::Closed { .. });
        }
        assert!(closed, "rule 8 broken: an engine did not notice the end of its connection");
        self.let_go(scene);
        self.ended = true;
    }
}

impl Link {
    /// Nothing is held, nothing expected any more.
    fn let_go(&mut self, scene: &mut Scene) {
        match &mut self.part {
            Part::Producer(producer) => scene.model.abandoned(producer.take_outstanding()),
            Part::Consumer(_) => scene.model.detached(self.key),
        }
    }
}

impl Part {
    fn reset(&mut self) {
        match self {
            Self::Producer(producer) => producer.reset(),
            Self::Consumer(consumer) => consumer.reset(),
        }
    }
}

/// A selector as a filter (part 3.5.8).
fn described(wants: Wants) -> Value {
    let descriptor = Descriptor::Name(Symbol::from("apache.org:selector-filter:string"));
    Value::Described(Box::new(Described { descriptor, value: Value::String(wants.selector().to_owned()) }))
}
