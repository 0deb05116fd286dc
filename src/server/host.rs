//! The house as one connection sees it: nodes it uses, and commands on their way to them.
//!
//! Invariant: commands to a node leave in the order they were noted, and a node knows of the connection
//! before the first of them. Decides nothing; `container` says what is sent.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::mpsc;

use super::{
    connection::ToConnection,
    manage::{AnswerTo, Manager},
    queue::ToQueue,
    registry::Registry,
};
use crate::{
    auth::{Authenticator, Verdict},
    broker::{Command, ConnectionId, Lifetime, QueueId},
    container::{Host, NoPlace, Peer, Place, Wish},
    management::Operation,
};

/// The house as this connection sees it.
pub(super) struct ConnectionHost {
    pub(super) registry: Registry,
    pub(super) auth: Arc<Authenticator>,
    pub(super) manager: Manager,
    pub(super) id: ConnectionId,
    pub(super) sender: mpsc::UnboundedSender<ToConnection>,
    pub(super) nodes: FxHashMap<QueueId, mpsc::Sender<ToQueue>>,
    pub(super) outbox: Vec<(QueueId, ToQueue)>,
}

impl ConnectionHost {
    fn join(&mut self, node: QueueId, sender: mpsc::Sender<ToQueue>) {
        if self.nodes.insert(node, sender).is_none() {
            self.outbox.push((node, ToQueue::Join(self.id, self.sender.clone())));
        }
    }

    /// Sends on what was noted, in order; returns nodes that were deleted before they learned of us, so that
    /// they could not tell. Waits while a queue's mailbox is full: that holds up this connection alone.
    pub(super) async fn deliver(&mut self) -> Vec<QueueId> {
        let mut gone = Vec::new();
        if self.outbox.is_empty() {
            return gone;
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        for (node, message) in outbox.drain(..) {
            let Some(sender) = self.nodes.get(&node) else { continue };
            if sender.send(message).await.is_err() {
                self.nodes.remove(&node);
                // Else the broker stops: the queue is there, it merely does nothing more.
                if !self.registry.has(node) {
                    gone.push(node);
                }
            }
        }
        self.outbox = outbox;
        gone
    }

    pub(super) async fn leave(&mut self) {
        for (_, sender) in self.nodes.drain() {
            let _ = sender.send(ToQueue::Leave(self.id)).await;
        }
    }
}

impl Host for ConnectionHost {
    fn authenticate(&mut self, mechanism: &str, response: &[u8]) -> Verdict {
        self.auth.judge(mechanism, response)
    }

    fn resolve(&mut self, address: &str, wish: Wish) -> Result<Place, NoPlace> {
        let (place, sender) = self.registry.resolve(address, wish)?;
        self.join(place.node, sender);
        Ok(place)
    }

    fn create_dynamic(&mut self, lifetime: Lifetime) -> Result<(String, QueueId), NoPlace> {
        let (name, node, sender) = self.registry.create_dynamic(lifetime)?;
        self.join(node, sender);
        Ok((name, node))
    }

    fn delete(&mut self, node: QueueId) {
        self.registry.delete(node);
    }

    fn manage(&mut self, token: u64, operation: Operation, peer: &Arc<Peer>) {
        let answer_to = AnswerTo { connection: self.id, sender: self.sender.clone(), token };
        self.manager.submit(operation, &peer.user, answer_to);
    }

    fn send(&mut self, node: QueueId, command: Command) {
        self.outbox.push((node, ToQueue::Command(command)));
    }
}
