//! Real nodes behind a real container, without a server: every address is a queue, every commit is at once.
//!
//! Invariant: `turn` leaves nothing waiting. Bodies "on disk" are kept in a map, so that a node that asks for
//! one gets it.

use std::collections::{BTreeMap, VecDeque};

use verdict::{
    auth::{Authenticator, Verdict},
    broker::{
        Command, Committed, ConnectionId, Counts, Effect, Lifetime, Loaded, Location, Message, Node,
        QueueDefinition, QueueId, Record, Wanted, policy::QueuePolicy,
    },
    container::{Host, NoPlace, Place, Wish},
    time::Millis,
};

/// All nodes.
pub struct House {
    nodes: BTreeMap<QueueId, Node>,
    names: BTreeMap<String, QueueId>,
    mail: VecDeque<(QueueId, Command)>,
    bodies: BTreeMap<Location, std::sync::Arc<Message>>,
    next_id: u32,
    policy: QueuePolicy,
    auth: Authenticator,
    /// Addresses that `resolve` was asked for.
    pub asked: Vec<String>,
    /// Nodes that were deleted and whose links do not know yet.
    pub deleted: Vec<QueueId>,
    /// What links are to be told.
    pub post: Vec<Effect>,
}

impl House {
    /// No nodes; user `alice` with password `secret`.
    pub fn new(anonymous: bool) -> Self {
        Self {
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            mail: VecDeque::new(),
            bodies: BTreeMap::new(),
            next_id: 2,
            policy: QueuePolicy::default(),
            auth: Authenticator::new(anonymous, [("alice".to_owned(), "secret".to_owned())].into()),
            asked: Vec::new(),
            deleted: Vec::new(),
            post: Vec::new(),
        }
    }

    fn create(&mut self, name: String, lifetime: Lifetime) -> QueueId {
        let id = QueueId(self.next_id);
        self.next_id += 2;
        let definition = QueueDefinition {
            id,
            name: name.clone(),
            policy: self.policy.clone(),
            lifetime,
            shard: 0,
            settings: String::new(),
        };
        self.names.insert(name, id);
        self.nodes.insert(id, Node::create(definition, 1));
        id
    }

    /// What is in an address's queue, and in its dead-letter tree.
    pub fn counts(&self, address: &str) -> (Counts, Counts) {
        self.nodes[&self.names[address]].counts()
    }

    /// Whether a node of this name is there.
    pub fn has(&self, address: &str) -> bool {
        self.names.get(address).is_some_and(|id| self.nodes.contains_key(id))
    }

    /// Gives every node its turn; what links are told goes to `post`.
    pub fn turn(&mut self, now: Millis) {
        let mut effects = std::mem::take(&mut self.post);
        loop {
            while let Some((id, command)) = self.mail.pop_front() {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.apply(now, command, &mut effects);
                }
            }
            let ids: Vec<QueueId> = self.nodes.keys().copied().collect();
            for id in ids {
                self.flush(id, now, &mut effects);
            }
            if self.mail.is_empty() {
                self.post = effects;
                return;
            }
        }
    }

    fn flush(&mut self, id: QueueId, now: Millis, effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mut mine = Vec::new();
        node.flush(now, &mut mine);
        if let Some(batch) = node.take_batch() {
            let mut locations = Vec::new();
            for record in &batch.records {
                if let Record::Put { message, .. } = record {
                    let offset = self.bodies.len() as u32;
                    let location = Location { segment: 1, offset, len: message.bytes.len() as u32 };
                    self.bodies.insert(location, message.clone());
                    locations.push(Some(location));
                }
            }
            self.mail.push_back((
                id,
                Command::Committed(Committed { ticket: batch.ticket, locations, seen: None }),
            ));
        }
        for effect in mine {
            match effect {
                Effect::Load { dead_letter, wanted } => {
                    // States stay in memory: there is budget for more than any test has.
                    let load = |Wanted { seq, location, .. }| Loaded {
                        seq,
                        body: self.bodies.get(&location).cloned(),
                        state: None,
                    };
                    let loaded = wanted.into_iter().map(load).collect();
                    self.mail.push_back((id, Command::Loaded { dead_letter, loaded }));
                }
                Effect::Breaker { .. } => {}
                Effect::Expire => self.delete(id),
                other => effects.push(other),
            }
        }
    }

    /// Takes what one connection is told.
    pub fn take_post(&mut self, connection: ConnectionId) -> Vec<Effect> {
        let (mine, others) = std::mem::take(&mut self.post)
            .into_iter()
            .partition(|effect| connection_of(effect) == Some(connection));
        self.post = others;
        mine
    }

    /// Commands wait for nodes.
    pub fn is_busy(&self) -> bool {
        !self.mail.is_empty()
    }

    /// When a node is due next.
    pub fn next_wake(&self) -> Option<Millis> {
        self.nodes.values().filter_map(Node::next_wake).min()
    }
}

impl Host for House {
    fn authenticate(&mut self, mechanism: &str, response: &[u8]) -> Verdict {
        self.auth.judge(mechanism, response)
    }

    fn resolve(&mut self, address: &str, wish: Wish) -> Result<Place, NoPlace> {
        self.asked.push(address.to_owned());
        if wish.topic {
            return Err(NoPlace::NotImplemented("no topics here".to_owned()));
        }
        if address.starts_with("missing") {
            return Err(NoPlace::NotFound(format!("no {address} here")));
        }
        let (name, dead_letter) = match address.strip_suffix("/$deadletter") {
            Some(name) => (name, true),
            None => (address, false),
        };
        let node = match self.names.get(name) {
            Some(id) => *id,
            None => self.create(name.to_owned(), Lifetime::Permanent),
        };
        Ok(Place { node, dead_letter })
    }

    fn create_dynamic(&mut self, lifetime: Lifetime) -> Result<(String, QueueId), NoPlace> {
        let name = format!("dynamic-{}", self.next_id);
        Ok((name.clone(), self.create(name, lifetime)))
    }

    fn delete(&mut self, node: QueueId) {
        self.deleted.push(node);
        self.nodes.remove(&node);
        self.names.retain(|_, id| *id != node);
    }

    // Nobody manages this house: a request to `$management` is taken and never answered.
    fn manage(
        &mut self,
        _: u64,
        _: verdict::management::Operation,
        _: &std::sync::Arc<verdict::container::Peer>,
    ) {
    }

    fn send(&mut self, node: QueueId, command: Command) {
        self.mail.push_back((node, command));
    }
}

fn connection_of(effect: &Effect) -> Option<ConnectionId> {
    match effect {
        Effect::Deliver { consumer, .. }
        | Effect::Flow { consumer, .. }
        | Effect::BreakerNews { consumer, .. }
        | Effect::Settled { consumer, .. } => Some(consumer.connection()),
        Effect::Published { producer, .. } | Effect::ProducerCredit { producer, .. } => {
            Some(producer.connection())
        }
        _ => None,
    }
}
