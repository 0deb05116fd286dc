//! The house around the nodes, as `server` is around them in earnest: names, mailboxes, the store.
//!
//! Invariant: a mailbox keeps its order, and nothing else has one: nodes take turns, the store reports
//! and reads when it likes. Does what `Effect`s ask of the outside; those for links it hands on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use verdict::{
    auth::{Authenticator, Verdict},
    broker::{
        Command, ConnectionId, ConsumerId, Effect, Filter, Lifetime, Loaded, Location, Look, Node,
        QueueDefinition, QueueId, ReplayLetter, ReplayLetters, Seen, Seq, Wanted, policy::QueuePolicy,
    },
    container::{Host, NoPlace, Place, Wish, reader::READER},
    time::Millis,
};

use crate::{alone::Alone, credit::Credits, disk::Disk, grouped::Grouped, note, rng::Rng};

struct Tenant {
    node: Node,
    mailbox: VecDeque<Command>,
    /// From the store, which does not wait for the mailbox.
    results: VecDeque<Command>,
    /// It has not had its first turn.
    fresh: bool,
    alone: Alone,
    grouped: Grouped,
}

/// All nodes and the disk below them.
pub struct House {
    nodes: BTreeMap<QueueId, Tenant>,
    names: BTreeMap<String, QueueId>,
    next_id: u32,
    policies: BTreeMap<String, QueuePolicy>,
    memory_bytes: Option<u64>,
    auth: Authenticator,
    /// The store.
    pub disk: Disk,
    /// The nodes were told that the disk is full: the store says so when it first refuses something.
    told_full: bool,
    loads: Vec<(Millis, QueueId, Command)>,
    /// Segment to be emptied, and who has not answered.
    evacuating: Option<(u32, BTreeSet<QueueId>)>,
    /// Evacuations done, for the report of a run.
    pub evacuations: u64,
    /// Turns after which messages were held by their groups, for the same.
    pub held: u64,
    seeds: Rng,
    subscriptions: BTreeMap<ConsumerId, Subscription>,
    credits: Credits,
}

/// What a consumer subscribed to.
#[derive(Debug, Clone, Copy)]
pub struct Subscription {
    /// The dead-letter tree.
    pub dead_letter: bool,
    /// It only looks.
    pub browse: bool,
    /// It is sent settled deliveries.
    pub presettled: bool,
}

impl House {
    /// An empty house with rules for the queues that will be made.
    pub fn new(policies: BTreeMap<String, QueuePolicy>, memory_bytes: Option<u64>, seeds: Rng) -> Self {
        Self {
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            next_id: 2,
            policies,
            memory_bytes,
            auth: Authenticator::new(true, BTreeMap::new()),
            disk: Disk::default(),
            told_full: false,
            loads: Vec::new(),
            evacuating: None,
            evacuations: 0,
            held: 0,
            seeds,
            subscriptions: BTreeMap::new(),
            credits: Credits::default(),
        }
    }

    /// What a consumer subscribed to, be it gone or not.
    pub fn subscription(&self, consumer: ConsumerId) -> Option<Subscription> {
        self.subscriptions.get(&consumer).copied()
    }

    /// Which queue of the plan a node is.
    pub fn queue_of(&self, node: QueueId) -> usize {
        let name = self.node(node).map(|node| node.definition().name.as_str());
        name.and_then(|name| name.strip_prefix('q')?.parse().ok()).expect("a queue of the plan")
    }

    /// Ids of the nodes there are.
    pub fn ids(&self) -> Vec<QueueId> {
        self.nodes.keys().copied().collect()
    }

    /// A node.
    pub fn node(&self, id: QueueId) -> Option<&Node> {
        self.nodes.get(&id).map(|tenant| &tenant.node)
    }

    fn add(&mut self, definition: QueueDefinition, node: Node, grouped: Grouped) {
        let id = definition.id;
        let mut mailbox = VecDeque::new();
        mailbox.extend(self.memory_bytes.map(|bytes| Command::MemoryBudget { bytes }));
        mailbox.extend(self.told_full.then_some(Command::StorageFull(true)));
        self.names.insert(definition.name, id);
        self.nodes.insert(
            id,
            Tenant { node, mailbox, results: VecDeque::new(), fresh: true, alone: Alone::default(), grouped },
        );
    }

    fn create(&mut self, name: String, lifetime: Lifetime) -> QueueId {
        let id = QueueId(self.next_id);
        self.next_id += 2;
        let policy = self.policies.get(&name).cloned().unwrap_or_default();
        let definition = QueueDefinition { id, name, policy, lifetime, shard: 0, settings: String::new() };
        let node = Node::create(definition.clone(), self.seeds.next()).with_reader(READER);
        let grouped = Grouped::new(&definition.policy);
        self.add(definition, node, grouped);
        id
    }

    /// Some of a node's dead letters are put back; which, by the numbers of the messages.
    pub fn replay(&mut self, id: QueueId, name: &str, now: Millis, rng: &mut Rng) -> Vec<u64> {
        let Some(tenant) = self.nodes.get_mut(&id) else { return Vec::new() };
        let filter = Filter::default();
        let look = Look { dead_letter: true, from: Seq(0), scan: 1000, limit: 1000, filter: &filter };
        let mut wanted = tenant.node.look(look).seen;
        wanted.retain(|_| rng.one_in(2));
        let tree = id.dead_letter();
        let disk = &self.disk;
        let read = |seen: &Seen| {
            let location = seen.location.unwrap_or(Location { segment: 0, offset: 0, len: 0 });
            disk.load(tree, Wanted { seq: seen.seq, location, state: seen.state_paged })
        };
        let read: Vec<_> = wanted.iter().map(|seen| (seen, read(seen))).collect();
        let letter = |(seen, loaded): &(&Seen, Loaded)| ReplayLetter {
            seq: seen.seq,
            acquired_count: seen.acquired_count,
            state: loaded.state.clone(),
        };
        let letters = ReplayLetters {
            id: name.into(),
            own: true,
            letters: read.iter().map(letter).collect(),
            watch: rng.one_in(2),
        };
        tenant.node.replay(now, letters);
        tenant.fresh = true;
        let moved = read.iter().filter(|(seen, _)| tenant.node.look_at(true, seen.seq).is_none());
        let number = |(seen, loaded): &(&Seen, Loaded)| {
            let message = seen.message.as_ref().or(loaded.body.as_ref()).expect("a readable letter");
            crate::body::id_of(message.payload())
        };
        moved.map(number).collect()
    }

    /// Puts a command into a node's mailbox.
    pub fn send(&mut self, node: QueueId, command: Command) {
        if let Command::Subscribe(wish) = &command {
            let (dead_letter, browse, presettled) = (wish.dead_letter, wish.browse, wish.presettled);
            self.subscriptions.insert(wish.consumer, Subscription { dead_letter, browse, presettled });
        }
        if let Some(tenant) = self.nodes.get_mut(&node) {
            tenant.mailbox.push_back(command);
        }
    }

    /// A node's turn: some commands, then dispatch, records and answers. `None`: it had nothing to do.
    pub fn turn(&mut self, id: QueueId, now: Millis, rng: &mut Rng) -> Option<Vec<Effect>> {
        let tenant = self.nodes.get_mut(&id)?;
        let due = tenant.node.next_wake().is_some_and(|at| at <= now);
        if tenant.mailbox.is_empty() && tenant.results.is_empty() && !due && !tenant.fresh {
            return None;
        }
        tenant.fresh = false;
        let mut effects = Vec::new();
        for _ in 0..rng.range(1, 16) {
            let from_store = rng.one_in(2);
            let Tenant { mailbox, results, .. } = &mut *tenant;
            let (first, second) = if from_store { (results, mailbox) } else { (mailbox, results) };
            let Some(command) = first.pop_front().or_else(|| second.pop_front()) else { break };
            note!(now, "{id:?} <- {}", crate::words::command(&command));
            self.credits.told(&command);
            tenant.alone.told(&command);
            tenant.grouped.told(&command);
            tenant.node.apply(now, command, &mut effects);
        }
        let breaker = tenant.node.breaker();
        tenant.node.flush(now, &mut effects);
        for effect in &effects {
            self.credits.did(effect);
            if let Effect::Deliver { consumer, .. } = effect {
                let wish = self.subscriptions.get(consumer);
                let takes = wish.is_some_and(|wish| !wish.browse && !wish.presettled);
                let main = wish.is_some_and(|wish| !wish.dead_letter);
                tenant.alone.did(effect, takes, main.then_some(breaker), now);
                if let Some(wish) = wish.filter(|wish| !wish.browse && !wish.dead_letter) {
                    tenant.grouped.did(effect, wish.presettled);
                }
            }
        }
        self.held += u64::from(tenant.node.counts().0.held > 0);
        while let Some(batch) = tenant.node.take_batch() {
            note!(
                now,
                "{id:?} -> {:?} {:?}",
                batch.ticket,
                batch.records.iter().map(crate::words::record).collect::<Vec<_>>()
            );
            self.disk.submit(id, batch);
        }
        let (outside, links): (Vec<_>, Vec<_>) = effects.into_iter().partition(is_outside);
        for effect in outside {
            self.outside(id, effect, now, rng);
        }
        Some(links)
    }

    fn outside(&mut self, node: QueueId, effect: Effect, now: Millis, rng: &mut Rng) {
        match effect {
            Effect::Load { dead_letter, wanted } => {
                let queue = if dead_letter { node.dead_letter() } else { node };
                let loaded = wanted.into_iter().map(|wanted| self.disk.load(queue, wanted)).collect();
                self.loads.push((
                    now.plus_ms(rng.range(0, 20)),
                    node,
                    Command::Loaded { dead_letter, loaded },
                ));
            }
            Effect::MoveOut { queue, message } => match self.resolve(&queue) {
                Place { node: target, .. } if rng.one_in(8) && target != node => {
                    // Not taken, as when the name leads nowhere.
                    self.send(node, Command::MovedOut { seq: message.from.1, taken: false });
                }
                Place { node: target, .. } => self.send(target, Command::MoveIn(message)),
            },
            Effect::MovedIn { from: (queue, seq), taken } => {
                self.send(queue.main(), Command::MovedOut { seq, taken });
            }
            Effect::Evacuated { segment } => self.evacuated(node, segment, now),
            Effect::Breaker { .. } => {}
            Effect::Expire => self.delete(node),
            _ => unreachable!("for a link"),
        }
    }

    /// Reads that are done reach their nodes. `false`: none.
    pub fn finish_loads(&mut self, now: Millis) -> bool {
        let Some(at) = self.loads.iter().position(|(due, ..)| *due <= now) else { return false };
        let (_, node, command) = self.loads.swap_remove(at);
        self.result(node, command);
        true
    }

    fn result(&mut self, node: QueueId, command: Command) {
        if let Some(tenant) = self.nodes.get_mut(&node) {
            tenant.results.push_back(command);
        }
    }

    /// The disk goes on. `false`: it had nothing to do.
    pub fn step_disk(&mut self, now: Millis, slow_ms: u64, rng: &mut Rng) -> bool {
        let Some(reports) = self.disk.step(now, slow_ms, rng) else { return false };
        for (node, command) in reports {
            if matches!(command, Command::CommitFailed { .. }) {
                self.tell_full(true);
            }
            self.result(node, command);
        }
        true
    }

    /// The disk becomes full, or no longer.
    pub fn set_full(&mut self, full: bool) {
        self.disk.full = full;
        if !full {
            self.tell_full(false);
        }
    }

    fn tell_full(&mut self, full: bool) {
        if self.told_full != full {
            self.told_full = full;
            for id in self.ids() {
                self.send(id, Command::StorageFull(full));
            }
        }
    }

    /// The store wants its sealed segments emptied, or says so again to those that have not answered.
    pub fn evacuate(&mut self, rng: &mut Rng) {
        if self.evacuating.is_none() {
            if self.nodes.is_empty() {
                return;
            }
            let Some(segment) = self.disk.sealed() else { return };
            self.evacuating = Some((segment, self.nodes.keys().copied().collect()));
        }
        let Some((segment, waiting)) = self.evacuating.clone() else { return };
        let limit = rng.range(1, 20) as usize;
        for node in waiting {
            self.send(node, Command::Evacuate { segment, limit });
        }
    }

    fn evacuated(&mut self, node: QueueId, segment: u32, now: Millis) {
        let Some((wanted, waiting)) = &mut self.evacuating else { return };
        if segment == *wanted {
            waiting.remove(&node);
        }
        if waiting.is_empty() {
            let through = *wanted;
            note!(now, "segments up to {through} deleted");
            self.disk.delete_through(through);
            self.evacuating = None;
            self.evacuations += 1;
        }
    }

    /// Whether an evacuation is under way.
    pub fn is_evacuating(&self) -> bool {
        self.evacuating.is_some()
    }

    /// When something is due here next.
    pub fn next_due(&self) -> Option<Millis> {
        let nodes = self.nodes.values().filter_map(|tenant| tenant.node.next_wake());
        nodes.chain(self.loads.iter().map(|(due, ..)| *due)).chain(self.disk.next_due()).min()
    }

    /// Nothing is waiting to be done now.
    pub fn is_idle(&self) -> bool {
        let idle = |tenant: &Tenant| tenant.mailbox.is_empty() && tenant.results.is_empty() && !tenant.fresh;
        self.disk.is_idle() && self.loads.is_empty() && self.nodes.values().all(idle)
    }

    /// Before a stop in good order: non-durable messages are to be kept.
    pub fn prepare_stop(&mut self) {
        for tenant in self.nodes.values_mut() {
            tenant.node.prepare_stop();
            tenant.fresh = true;
        }
    }

    /// All that was in memory is gone, and what is on the disk comes back.
    pub fn recover(&mut self) {
        self.nodes.clear();
        self.names.clear();
        self.loads.clear();
        self.told_full = false;
        self.evacuating = None;
        for definition in self.disk.definitions() {
            let id = definition.id;
            let mut node = Node::new(definition.clone(), self.seeds.next()).with_reader(READER);
            let mut grouped = Grouped::new(&definition.policy);
            let (oldest, ids) = self.disk.seen(id);
            node.restore_seen(oldest, ids);
            for dead_letter in [false, true] {
                let queue = if dead_letter { id.dead_letter() } else { id };
                node.restore_next_seq(dead_letter, self.disk.next_seq(queue));
            }
            for restored in self.disk.restored(id) {
                let body = self.disk.body(&restored.location).filter(|_| !restored.queue.is_dead_letter());
                if let Some(body) = body {
                    let (mortal, state) = (restored.expires.is_some(), restored.state.as_deref());
                    grouped.recovered(restored.seq, body.payload(), mortal, state);
                }
                node.restore(restored);
            }
            self.add(definition, node, grouped);
        }
    }

    fn resolve(&mut self, address: &str) -> Place {
        let (name, dead_letter) = match address.strip_suffix("/$deadletter") {
            Some(name) => (name, true),
            None => (address, false),
        };
        let node = match self.names.get(name) {
            Some(id) => *id,
            None => self.create(name.to_owned(), Lifetime::Permanent),
        };
        Place { node, dead_letter }
    }
}

impl Host for House {
    fn authenticate(&mut self, mechanism: &str, response: &[u8]) -> Verdict {
        self.auth.judge(mechanism, response)
    }

    fn resolve(&mut self, address: &str, _wish: Wish) -> Result<Place, NoPlace> {
        Ok(House::resolve(self, address))
    }

    fn create_dynamic(&mut self, lifetime: Lifetime) -> Result<(String, QueueId), NoPlace> {
        let name = format!("dynamic-{}", self.next_id);
        Ok((name.clone(), self.create(name, lifetime)))
    }

    fn delete(&mut self, node: QueueId) {
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
        House::send(self, node, command);
    }
}

fn is_outside(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Load { .. }
            | Effect::MoveOut { .. }
            | Effect::MovedIn { .. }
            | Effect::Evacuated { .. }
            | Effect::Breaker { .. }
            | Effect::Expire
    )
}

/// Whose connection an effect is for.
pub fn connection_of(effect: &Effect) -> ConnectionId {
    match effect {
        Effect::Deliver { consumer, .. }
        | Effect::Flow { consumer, .. }
        | Effect::BreakerNews { consumer, .. }
        | Effect::Settled { consumer, .. } => consumer.connection(),
        Effect::Published { producer, .. } | Effect::ProducerCredit { producer, .. } => producer.connection(),
        _ => unreachable!("not for a link"),
    }
}
