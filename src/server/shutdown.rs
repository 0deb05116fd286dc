//! Going down: connections first, then queues, then the store, so that nothing confirmed is lost.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing::{info, warn};

use super::{connection::ToConnection, connections::Connections, queue::ToQueue, registry::Registry};
use crate::store::Store;

/// How long connections have to close.
const CONNECTIONS: Duration = Duration::from_secs(3);
/// How often to look whether they have.
const LOOK: Duration = Duration::from_millis(5);
/// How long a queue may take to make its messages safe.
const QUEUES: Duration = Duration::from_secs(60);

/// The signals that stop a broker, and the one that makes it read its configuration again.
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To stop, by the signal of this name.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

impl Signals {
    /// Starts to listen for them.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn listen() -> anyhow::Result<Self> {
        let term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let hup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        Ok(Self { term, int, hup })
    }

    /// Waits for one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Stop("SIGTERM"),
            _ = self.int.recv() => Asked::Stop("SIGINT"),
            _ = self.hup.recv() => Asked::Reload,
        }
    }
}

/// Takes the broker down. With `failed`, the store is dead: only the peers are told.
///
/// # Errors
/// When the store could not be closed cleanly.
pub async fn shutdown(
    connections: &Connections,
    registry: &Registry,
    store: Arc<dyn Store>,
    failed: bool,
) -> anyhow::Result<()> {
    registry.stop();
    connections.stop(|| if failed { ToConnection::StoreFailed } else { ToConnection::Stop });
    let closed = async {
        while connections.count() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(CONNECTIONS, closed).await.is_err() {
        warn!("{} connections did not close in time and are dropped", connections.count());
    }
    if failed {
        return Ok(());
    }
    let mut stopping = Vec::new();
    for sender in registry.senders() {
        let (stopped, done) = oneshot::channel();
        if sender.send(ToQueue::Stop(stopped)).await.is_ok() {
            stopping.push(done);
        }
    }
    for done in stopping {
        if tokio::time::timeout(QUEUES, done).await.is_err() {
            warn!("a queue did not stop in time; its durable messages are safe, others may not be kept");
        }
    }
    tokio::task::spawn_blocking(move || store.close()).await.context("closing the store died")??;
    info!("stopped");
    Ok(())
}
