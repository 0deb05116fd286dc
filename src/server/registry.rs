//! Names → handles of queue tasks: creates, looks up and deletes nodes.
//!
//! Invariant: a name has at most one task at a time, and an id is never given twice. Held for a moment
//! only, never across an await. Knows no queue's state.

mod named;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::mpsc;

use super::{
    clock::Clock,
    live::Live,
    queue::{QueueTask, ToQueue},
    telemetry::Telemetry,
};
use crate::{
    broker::{
        Command, Lifetime, Node, QueueDefinition, QueueId, Tally,
        address::{Address, Kind},
    },
    config::Config,
    container::{NoPlace, Place, Wish, reader::READER},
    store::Store,
};

pub use named::{Named, NotMade};

/// Names of dynamic nodes begin so; no other node may.
const DYNAMIC_PREFIX: &str = "verdict.dynamic.";

/// Cloneable; all clones are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    nodes: Mutex<Nodes>,
    store: Arc<dyn Store>,
    live: Live,
    clock: Clock,
    telemetry: Telemetry,
    changes: named::Changes,
    /// Makes names of dynamic nodes unlike those of earlier runs.
    run: String,
}

#[derive(Default)]
struct Nodes {
    by_name: FxHashMap<String, QueueId>,
    by_id: FxHashMap<QueueId, Handle>,
    /// The next main queue's id; even.
    next_id: u32,
    /// Bytes of bodies each node was last told it may keep.
    share_bytes: u64,
    next_dynamic: u64,
    /// The broker is going down: nothing new.
    stopping: bool,
    /// The disk is full, which queues created later must know too.
    storage_full: bool,
    /// What dynamic queues did that are gone.
    ended: Tally,
}

/// A queue to be asked for its numbers.
pub struct Watched {
    /// Its name.
    pub name: String,
    /// It does not outlive the process.
    pub dynamic: bool,
    /// Its task.
    pub sender: mpsc::Sender<ToQueue>,
}

#[derive(Clone)]
struct Handle {
    name: String,
    /// Its own settings, which go before the configuration's.
    settings: String,
    sender: mpsc::Sender<ToQueue>,
}

impl Registry {
    /// An empty registry.
    pub fn new(store: Arc<dyn Store>, live: Live, clock: Clock, telemetry: Telemetry) -> Self {
        let run = format!("{:x}-{:x}", store.epoch(), clock.now().0 & 0xff_ffff);
        let nodes = Mutex::new(Nodes { next_id: 2, ..Nodes::default() });
        let changes = named::Changes::default();
        Self(Arc::new(Shared { nodes, store, live, clock, telemetry, changes, run }))
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        // No code that holds the lock can panic half-way through a change.
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where spans go, if anywhere.
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// Takes in a node that recovery found.
    pub fn adopt(&self, node: Node) {
        let id = node.definition().id;
        let mut nodes = self.nodes();
        nodes.next_id = nodes.next_id.max(id.main().0.saturating_add(2));
        self.start(&mut nodes, node);
    }

    fn start(&self, nodes: &mut Nodes, node: Node) -> mpsc::Sender<ToQueue> {
        let QueueDefinition { id, name, settings, .. } = node.definition().clone();
        let sender = QueueTask::spawn(node, self.0.store.clone(), self.clone(), self.0.clock);
        nodes.by_name.insert(name.clone(), id);
        nodes.by_id.insert(id, Handle { name, settings, sender: sender.clone() });
        self.share_memory(nodes, &sender);
        sender
    }

    /// Every node gets an equal share of the memory for bodies, in powers of two.
    fn share_memory(&self, nodes: &mut Nodes, newest: &mpsc::Sender<ToQueue>) {
        let share = share_of(self.0.live.now().config.memory_bytes, nodes.by_id.len(), nodes.share_bytes);
        let budget = || ToQueue::Command(Command::MemoryBudget { bytes: share });
        // A full mailbox: it keeps its old share until the next change.
        if share == nodes.share_bytes {
            let _ = newest.try_send(budget());
            return;
        }
        nodes.share_bytes = share;
        for handle in nodes.by_id.values() {
            let _ = handle.sender.try_send(budget());
        }
    }

    /// Finds the node of an address, creating it where the configuration allows.
    ///
    /// # Errors
    /// When there is none and none may be made, in words for the peer.
    pub fn resolve(&self, address: &str, wish: Wish) -> Result<(Place, mpsc::Sender<ToQueue>), NoPlace> {
        let parsed = Address::parse(address).map_err(|why| NoPlace::Invalid(why.to_string()))?;
        let (name, dead_letter) = match parsed {
            Address::Node { kind: Kind::Topic, .. } => return Err(no_topics()),
            Address::Node { name, .. } => (name, false),
            Address::DeadLetter { queue } => (queue, true),
            Address::Management => {
                let why = "requests go on a link with $management as its target, answers come on one with it as source";
                return Err(NoPlace::NotImplemented(why.to_owned()));
            }
        };
        if wish.topic {
            return Err(no_topics());
        }
        let mut nodes = self.nodes();
        if let Some(id) = nodes.by_name.get(name).copied()
            && let Some(handle) = nodes.by_id.get(&id)
        {
            return Ok((Place { node: id, dead_letter }, handle.sender.clone()));
        }
        if wish.existing {
            return Err(NoPlace::NotFound(format!("no queue {name:?}; it is created by attaching to it")));
        }
        if name.starts_with(DYNAMIC_PREFIX) {
            return Err(NoPlace::NotFound(format!(
                "no queue {name:?}; it was dynamic and has ended with its link"
            )));
        }
        if !self.0.live.now().config.may_create(name) {
            let why = "and the configuration (create) does not allow to make it by attaching";
            return Err(NoPlace::NotFound(format!("no queue {name:?}, {why}")));
        }
        let (id, sender) = self.create(&mut nodes, name.to_owned(), Lifetime::Permanent, String::new())?;
        Ok((Place { node: id, dead_letter }, sender))
    }

    /// Makes the queues of the configuration that do not exist yet.
    ///
    /// # Errors
    /// When there are too many.
    pub fn create_configured(&self) -> Result<(), NoPlace> {
        for name in self.0.live.now().config.declared_queues() {
            let mut nodes = self.nodes();
            if !nodes.by_name.contains_key(name) {
                self.create(&mut nodes, name.to_owned(), Lifetime::Permanent, String::new())?;
            }
        }
        Ok(())
    }

    /// Makes a node with a name of our own.
    ///
    /// # Errors
    /// When there are too many.
    pub fn create_dynamic(
        &self,
        lifetime: Lifetime,
    ) -> Result<(String, QueueId, mpsc::Sender<ToQueue>), NoPlace> {
        let mut nodes = self.nodes();
        nodes.next_dynamic += 1;
        let name = format!("{DYNAMIC_PREFIX}{}-{}", self.0.run, nodes.next_dynamic);
        let (id, sender) = self.create(&mut nodes, name.clone(), lifetime, String::new())?;
        Ok((name, id, sender))
    }

    fn create(
        &self,
        nodes: &mut Nodes,
        name: String,
        lifetime: Lifetime,
        settings: String,
    ) -> Result<(QueueId, mpsc::Sender<ToQueue>), NoPlace> {
        if nodes.stopping {
            return Err(NoPlace::NotFound("the broker is stopping".to_owned()));
        }
        if nodes.by_id.len() >= crate::limits::MAX_QUEUES {
            let most = crate::limits::MAX_QUEUES;
            return Err(NoPlace::Limit(format!("there are {most} queues already, the most there can be")));
        }
        let id = QueueId(nodes.next_id);
        nodes.next_id = nodes.next_id.saturating_add(2);
        let (policy, _) = self.0.live.now().config.overlaid(&name, &settings);
        let definition = QueueDefinition { id, name, policy, lifetime, shard: 0, settings };
        let seed = u64::from(id.0) ^ self.0.clock.now().0;
        let sender = self.start(nodes, Node::create(definition, seed).with_reader(READER));
        if nodes.storage_full {
            let _ = sender.try_send(ToQueue::Command(Command::StorageFull(true)));
        }
        Ok((id, sender))
    }

    /// Takes a node out and ends its task.
    pub fn delete(&self, id: QueueId) {
        if let Some(sender) = self.take_out(id) {
            tokio::spawn(async move {
                let _ = sender.send(ToQueue::Delete).await;
            });
        }
    }

    /// Takes a node out: nobody finds it from now on. Its task goes on.
    pub fn take_out(&self, id: QueueId) -> Option<mpsc::Sender<ToQueue>> {
        let mut nodes = self.nodes();
        let handle = nodes.by_id.remove(&id)?;
        nodes.by_name.remove(&handle.name);
        Some(handle.sender)
    }

    /// Sends a command to the queue of this name, creating it where that is allowed. `false`: no such queue.
    pub async fn send_by_name(&self, name: &str, command: Command) -> bool {
        match self.resolve(name, Wish::default()) {
            Ok((_, sender)) => sender.send(ToQueue::Command(command)).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Sends a command to a queue, if it is still there.
    pub async fn send_by_id(&self, id: QueueId, command: Command) {
        let sender = self.nodes().by_id.get(&id).map(|handle| handle.sender.clone());
        if let Some(sender) = sender {
            let _ = sender.send(ToQueue::Command(command)).await;
        }
    }

    /// Whether the node has not been deleted.
    pub fn has(&self, id: QueueId) -> bool {
        self.nodes().by_id.contains_key(&id)
    }

    /// Sends something to every queue.
    pub async fn broadcast(&self, make: impl Fn() -> Command) {
        for sender in self.senders() {
            let _ = sender.send(ToQueue::Command(make())).await;
        }
    }

    /// The disk is full, or no longer.
    pub async fn storage_full(&self, full: bool) {
        self.nodes().storage_full = full;
        self.broadcast(|| Command::StorageFull(full)).await;
    }

    /// Whether the queues a configuration names fit in.
    ///
    /// # Errors
    /// In words, if not.
    pub fn has_room_for(&self, config: &Config) -> Result<(), String> {
        let nodes = self.nodes();
        let new = config.declared_queues().filter(|name| !nodes.by_name.contains_key(*name)).count();
        let (there, most) = (nodes.by_id.len(), crate::limits::MAX_QUEUES);
        if new == 0 || there + new <= most {
            return Ok(());
        }
        Err(format!("{new} queues more than the {there} there are: expected at most {most} together"))
    }

    /// The settings are others than `before`: gives queues their rules and shares, makes those that are new.
    pub async fn reconfigured(&self, before: &Config) {
        let settings = self.0.live.now();
        let config = &settings.config;
        let handles: Vec<Handle> = self.nodes().by_id.values().cloned().collect();
        let shared = config.memory_bytes != before.memory_bytes;
        let bytes = config.memory_bytes / (handles.len().max(1) as u64).next_power_of_two();
        for Handle { name, settings, sender } in handles {
            let (policy, problems) = config.overlaid(&name, &settings);
            for problem in problems {
                tracing::warn!("queue {name:?}: what was set through management does not fit: {problem}");
            }
            if policy != before.overlaid(&name, &settings).0 {
                let _ = sender.send(ToQueue::Command(Command::Policy(Box::new(policy)))).await;
            }
            if shared {
                let _ = sender.send(ToQueue::Command(Command::MemoryBudget { bytes })).await;
            }
        }
        if let Err(why) = self.create_configured() {
            tracing::error!("reload: not all queues could be made: {why}");
        }
    }

    /// All queues, the oldest first, and what the dynamic ones did that are gone.
    pub fn watched(&self) -> (Vec<Watched>, Tally) {
        let nodes = self.nodes();
        let mut handles: Vec<_> = nodes.by_id.iter().collect();
        handles.sort_unstable_by_key(|(id, _)| **id);
        let watched = handles.into_iter().map(|(_, handle)| Watched {
            name: handle.name.clone(),
            dynamic: handle.name.starts_with(DYNAMIC_PREFIX),
            sender: handle.sender.clone(),
        });
        (watched.collect(), nodes.ended)
    }

    /// A dynamic queue has ended, having done this.
    pub fn remember(&self, tally: &Tally) {
        self.nodes().ended.add(tally);
    }

    /// No new nodes from now on.
    pub fn stop(&self) {
        self.nodes().stopping = true;
    }

    /// All queue tasks there are.
    pub fn senders(&self) -> Vec<mpsc::Sender<ToQueue>> {
        self.nodes().by_id.values().map(|handle| handle.sender.clone()).collect()
    }
}

/// A node's share where there are `count` and the share was `last`. It shrinks at once and grows only when it is
/// four times as much: whoever makes and deletes nodes around a power of two must not have all told each time.
fn share_of(memory_bytes: u64, count: usize, last: u64) -> u64 {
    let wanted = memory_bytes / (count.max(1) as u64).next_power_of_two();
    if wanted < last || wanted / 4 >= last { wanted } else { last }
}

fn no_topics() -> NoPlace {
    NoPlace::NotImplemented("topics are not supported yet; use a queue".to_owned())
}

#[cfg(test)]
mod tests {
    use super::share_of;

    #[test]
    fn a_share_shrinks_at_once_and_grows_when_it_is_four_times_as_much() {
        let mut share = 0;
        let shares = [1, 2, 3, 4, 5, 4, 5, 4, 2, 1, 2].map(|count| {
            share = share_of(1024, count, share);
            share
        });
        assert_eq!(shares, [1024, 512, 256, 256, 128, 128, 128, 128, 512, 512, 512]);
    }
}
