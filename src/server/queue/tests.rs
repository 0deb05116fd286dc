//! Tests of a queue's task at its end.

use super::*;
use crate::{
    broker::{Lifetime, QueueDefinition, QueuePolicy},
    store::MemoryStore,
};

#[tokio::test]
async fn a_connection_that_joins_while_the_node_is_deleted_is_told_so() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Box::new(|_| {})));
    let clock = Clock::start();
    let registry = Registry::new(
        store.clone(),
        crate::server::live::Live::new(crate::config::Config::default()),
        clock,
        crate::server::telemetry::Telemetry::default(),
    );
    let definition = QueueDefinition {
        id: QueueId(2),
        name: "d".into(),
        policy: QueuePolicy::default(),
        lifetime: Lifetime::DeleteOnClose,
        shard: 0,
        settings: String::new(),
    };
    let queue = QueueTask::spawn(Node::create(definition, 1), store, registry, clock);
    let (sender, mut mailbox) = mpsc::unbounded_channel();
    // The task has not run yet: all of this lies in its mailbox when it does.
    assert!(queue.send(ToQueue::Delete).await.is_ok());
    assert!(queue.send(ToQueue::Join(ConnectionId(1), sender)).await.is_ok());
    assert!(matches!(mailbox.recv().await, Some(ToConnection::Deleted(QueueId(2)))));
    assert!(queue.send(ToQueue::Leave(ConnectionId(1))).await.is_err());
}
