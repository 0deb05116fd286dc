//! One task per queue, owning its `Node`: the only thing that touches queue state.
//!
//! Everything waiting in the mailbox is applied, then dispatched, persisted and answered together.
//! Invariant: it never waits for a connection or the store; its answers fit in what consumers and
//! publishers reserved (credit, room), so the unbounded channels towards connections are bounded by that.

mod answers;
#[cfg(test)]
mod tests;
mod told;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use answers::Unconfirmed;
pub use told::{Description, LookAt, Snapshot, ToQueue};

use super::{clock::Clock, connection::ToConnection, registry::Registry, telemetry::Attempts, wording};
use crate::{
    broker::{Command, ConnectionId, Effect, Lifetime, Node, QueueId, Wanted},
    store::{self, Store, StoreError},
    time::Millis,
};

/// Messages applied before effects are handed out.
const COMMANDS_PER_TURN: usize = 64;

/// What the store tells a queue's task; apart from the mailbox, so that a full mailbox never holds up commits.
pub enum FromStore {
    /// A batch's fate.
    Done(Command),
    /// The store died.
    Dead,
}

/// A queue's task.
pub struct QueueTask {
    node: Node,
    mailbox: mpsc::Receiver<ToQueue>,
    store_results: mpsc::UnboundedReceiver<FromStore>,
    store_sender: mpsc::UnboundedSender<FromStore>,
    store: Arc<dyn Store>,
    registry: Registry,
    clock: Clock,
    connections: FxHashMap<ConnectionId, mpsc::UnboundedSender<ToConnection>>,
    /// Batches handed to the store and not reported yet.
    in_flight: usize,
    effects: Vec<Effect>,
    /// A compaction under way: goes on whenever what it wrote so far is safe.
    evacuating: Option<(u32, usize)>,
    /// Who waits for what was done to be safe, by token.
    unconfirmed: Unconfirmed,
    /// The store died.
    dead: bool,
    /// Spans of delivery attempts, where telemetry is on.
    attempts: Option<Attempts>,
}

enum Turn {
    Go,
    Stop(oneshot::Sender<()>),
    /// Whoever asked for it is told when it is written down.
    Delete(Option<oneshot::Sender<Result<(), String>>>),
}

impl QueueTask {
    /// Starts the task of a node.
    pub fn spawn(
        mut node: Node,
        store: Arc<dyn Store>,
        registry: Registry,
        clock: Clock,
    ) -> mpsc::Sender<ToQueue> {
        let (sender, mailbox) = mpsc::channel(crate::limits::QUEUE_MAILBOX);
        let (store_sender, store_results) = mpsc::unbounded_channel();
        let attempts = registry.telemetry().attempts(&node.definition().name);
        if attempts.is_some() {
            node.watch_attempts();
        }
        let task = Self {
            node,
            mailbox,
            store_results,
            store_sender,
            store,
            registry,
            clock,
            connections: FxHashMap::default(),
            in_flight: 0,
            effects: Vec::new(),
            evacuating: None,
            unconfirmed: Unconfirmed::default(),
            dead: false,
            attempts,
        };
        tokio::spawn(task.run());
        sender
    }

    async fn run(mut self) {
        // What recovery or creation left to do.
        self.finish_turn();
        loop {
            match self.turn().await {
                _ if self.dead => return,
                Turn::Go => self.finish_turn(),
                Turn::Stop(stopped) => {
                    self.node.prepare_stop();
                    self.finish_turn();
                    self.settle_down().await;
                    // Nobody waiting for the answer is no matter.
                    let _ = stopped.send(());
                    return;
                }
                Turn::Delete(asked) => return self.delete(asked).await,
            }
        }
    }

    /// Waits for something to do and applies all that is there.
    async fn turn(&mut self) -> Turn {
        let wake = self.node.next_wake();
        let timer = async {
            match wake {
                // More to do than one turn does (filters): at once, but other tasks come first.
                Some(Millis(0)) => tokio::task::yield_now().await,
                Some(at) => tokio::time::sleep_until(self.clock.instant_of(at)).await,
                None => std::future::pending().await,
            }
        };
        let first = tokio::select! {
            biased;
            Some(result) = self.store_results.recv() => { self.take_result(result); None }
            message = self.mailbox.recv() => match message {
                Some(message) => Some(message),
                // The registry dropped us: the broker is going down without a Stop.
                None => return Turn::Delete(None),
            },
            () = timer => None,
        };
        if let Some(message) = first
            && let Some(end) = self.take(message)
        {
            return end;
        }
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(message) = self.mailbox.try_recv() else { break };
            if let Some(end) = self.take(message) {
                return end;
            }
        }
        while let Ok(result) = self.store_results.try_recv() {
            self.take_result(result);
        }
        Turn::Go
    }

    fn take(&mut self, message: ToQueue) -> Option<Turn> {
        match message {
            ToQueue::Command(command) => {
                if let Command::Evacuate { segment, limit } = command {
                    self.evacuating = Some((segment, limit));
                }
                self.node.apply(self.clock.now(), command, &mut self.effects);
            }
            ToQueue::Join(connection, sender) => {
                self.connections.insert(connection, sender);
            }
            ToQueue::Leave(connection) => {
                self.connections.remove(&connection);
            }
            ToQueue::DeleteIf { if_empty, if_unused, reply } => {
                match self.node.deletable(if_empty, if_unused) {
                    Err(why) => drop(reply.send(Err(why))),
                    Ok(()) => {
                        // From here on nobody finds it; who did before has its command behind this one.
                        self.registry.take_out(self.node.definition().id);
                        return Some(Turn::Delete(Some(reply)));
                    }
                }
            }
            ToQueue::Stop(stopped) => return Some(Turn::Stop(stopped)),
            ToQueue::Delete => return Some(Turn::Delete(None)),
            question => self.answer(question),
        }
        None
    }

    fn take_result(&mut self, result: FromStore) {
        match result {
            FromStore::Done(command) => {
                if matches!(command, Command::Committed(_) | Command::CommitFailed { .. }) {
                    self.in_flight = self.in_flight.saturating_sub(1);
                }
                self.node.apply(self.clock.now(), command, &mut self.effects);
                if let (0, Some((segment, limit))) = (self.in_flight, self.evacuating) {
                    let more = Command::Evacuate { segment, limit };
                    self.node.apply(self.clock.now(), more, &mut self.effects);
                }
            }
            // Nothing is safe any more, so nothing more is handed out; the server is told by the store
            // itself and closes every link.
            FromStore::Dead => self.dead = true,
        }
    }

    /// Dispatches, persists and answers.
    fn finish_turn(&mut self) {
        self.end_attempts();
        self.node.flush(self.clock.now(), &mut self.effects);
        while let Some(batch) = self.node.take_batch() {
            self.in_flight += 1;
            let ticket = batch.ticket;
            let results = self.store_sender.clone();
            let done = move |result: Result<_, StoreError>| {
                let result = match result {
                    Ok(committed) => FromStore::Done(Command::Committed(committed)),
                    Err(StoreError::Full(_)) => FromStore::Done(Command::CommitFailed { ticket }),
                    Err(_) => FromStore::Dead,
                };
                // A queue that ended meanwhile needs no answer.
                let _ = results.send(result);
            };
            self.store.submit(batch, Box::new(done));
        }
        self.hand_out();
        // Those that were sent settled.
        self.end_attempts();
    }

    fn end_attempts(&mut self) {
        if let Some(attempts) = &mut self.attempts {
            attempts.end(self.node.take_attempts());
        }
    }

    /// Gives effects to whom they concern: one message per connection and turn.
    fn hand_out(&mut self) {
        let node = self.node.definition().id;
        let mut run: Option<(ConnectionId, Vec<Effect>)> = None;
        let mut expire = false;
        let effects = std::mem::take(&mut self.effects);
        for effect in effects {
            if let (Some(attempts), Effect::Deliver { consumer, deliveries }) = (&mut self.attempts, &effect)
                && let Some(dead_letter) = self.node.takes_dead_letters(*consumer)
            {
                attempts.begin(dead_letter, deliveries);
            }
            let to = match &effect {
                Effect::Deliver { consumer, .. }
                | Effect::Flow { consumer, .. }
                | Effect::BreakerNews { consumer, .. }
                | Effect::Settled { consumer, .. } => consumer.connection(),
                Effect::Published { producer, .. } | Effect::ProducerCredit { producer, .. } => {
                    producer.connection()
                }
                Effect::Load { .. }
                | Effect::MoveOut { .. }
                | Effect::MovedIn { .. }
                | Effect::Evacuated { .. } => {
                    self.outside(node, effect);
                    continue;
                }
                Effect::Breaker { state } => {
                    wording::tell_breaker(&self.node.definition().name, *state, self.clock.now());
                    continue;
                }
                Effect::Safe { token } => {
                    self.confirm(*token);
                    continue;
                }
                Effect::Expire => {
                    expire = true;
                    continue;
                }
            };
            match &mut run {
                Some((connection, effects)) if *connection == to => effects.push(effect),
                _ => {
                    self.send_run(run.take());
                    run = Some((to, vec![effect]));
                }
            }
        }
        self.send_run(run);
        if expire {
            self.registry.delete(node);
        }
    }

    fn send_run(&self, run: Option<(ConnectionId, Vec<Effect>)>) {
        if let Some((connection, effects)) = run
            && let Some(sender) = self.connections.get(&connection)
        {
            // A connection that ended meanwhile sends Unsubscribe for all of its links.
            let _ = sender.send(ToConnection::Effects(effects));
        }
    }

    /// Effects for the store and for other queues.
    fn outside(&mut self, node: QueueId, effect: Effect) {
        match effect {
            Effect::Load { dead_letter, wanted } => self.load(dead_letter, wanted),
            Effect::Evacuated { segment } => {
                self.evacuating = self.evacuating.filter(|(wanted, _)| *wanted > segment);
                self.store.evacuated(node, segment);
            }
            Effect::MoveOut { queue, message } => {
                let (registry, results) = (self.registry.clone(), self.store_sender.clone());
                let seq = message.from.1;
                // At most as many at a time as the node lets out; each waits by itself for the other's mailbox.
                tokio::spawn(async move {
                    if !registry.send_by_name(&queue, Command::MoveIn(message)).await {
                        warn!(
                            "dead-letter queue {queue:?} does not exist and may not be created: \
                             dead letters stay in their own queue's `$deadletter`"
                        );
                        let _ = results.send(FromStore::Done(Command::MovedOut { seq, taken: false }));
                    }
                });
            }
            Effect::MovedIn { from: (queue, seq), taken } => {
                let registry = self.registry.clone();
                tokio::spawn(async move {
                    registry.send_by_id(queue.main(), Command::MovedOut { seq, taken }).await;
                });
            }
            _ => {}
        }
    }

    fn load(&self, dead_letter: bool, wanted: Vec<Wanted>) {
        let (store, results) = (self.store.clone(), self.store_sender.clone());
        let definition = self.node.definition();
        let (name, id) = (definition.name.clone(), definition.id);
        let queue = if dead_letter { id.dead_letter() } else { id };
        tokio::task::spawn_blocking(move || {
            let loaded = store::load(&*store, queue, &wanted, |seq, why| {
                error!("queue {name:?}: message {} cannot be read and waits: {why}", seq.0);
            });
            let _ = results.send(FromStore::Done(Command::Loaded { dead_letter, loaded }));
        });
    }

    /// Waits until every batch is safe.
    async fn settle_down(&mut self) {
        while self.in_flight > 0 && !self.dead {
            let Some(result) = self.store_results.recv().await else { return };
            self.take_result(result);
            self.finish_turn();
        }
    }

    async fn delete(mut self, asked: Option<oneshot::Sender<Result<(), String>>>) {
        let id = self.node.definition().id;
        if self.node.definition().lifetime == Lifetime::Permanent {
            self.node.prepare_delete();
            self.finish_turn();
            self.settle_down().await;
        } else {
            self.registry.remember(self.node.tally());
        }
        if let Some(asked) = asked.filter(|_| !self.dead) {
            let _ = asked.send(Ok(()));
        }
        // From here on senders see for themselves that it is gone; those whose commands lie here cannot.
        self.mailbox.close();
        while let Some(message) = self.mailbox.recv().await {
            match message {
                ToQueue::Command(Command::MoveIn(message)) => {
                    self.outside(id, Effect::MovedIn { from: message.from, taken: false });
                }
                ToQueue::Stop(stopped) => drop(stopped.send(())),
                ToQueue::Command(_) => {}
                other => drop(self.take(other)),
            }
        }
        for sender in self.connections.values() {
            // A connection that ended meanwhile needs no telling.
            let _ = sender.send(ToConnection::Deleted(id));
        }
    }
}
