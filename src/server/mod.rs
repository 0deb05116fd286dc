//! The tokio shell: sockets, timers, tasks, signals. The only place with a clock and a socket.
//!
//! Invariant: it decides nothing about messages; it moves commands, effects and batches between the
//! pure layers and the disk, and takes the broker up and down in an order that loses nothing.

mod clock;
mod connection;
mod listener;
mod queue;
mod recover;
mod registry;
mod shutdown;
mod wording;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::{
    auth::Authenticator,
    broker::Command,
    config::Config,
    store::{Store, StoreEvent},
};
use clock::Clock;
use listener::{Connections, Listener};
use registry::Registry;

/// Messages a queue writes again per step of a compaction.
const EVACUATE_STEP: usize = 512;

/// Runs a broker until it is told to stop (SIGTERM, SIGINT) or its store fails.
///
/// `ready` gets the addresses listened on, once connections are accepted.
///
/// # Errors
/// When it cannot start (address in use, data directory locked or damaged), or when the store failed.
pub async fn run(config: Config, ready: Option<oneshot::Sender<Vec<SocketAddr>>>) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let clock = Clock::start();
    let signals = shutdown::Signals::listen()?;
    let bound = listener::bind(&config.listen).await?;
    let (store, nodes, mut events) = recover::open(&config, clock).await?;
    let store: Arc<dyn Store> = store;
    let registry = Registry::new(store.clone(), config.clone(), clock);
    for node in nodes {
        registry.adopt(node);
    }
    registry.create_configured().map_err(|why| anyhow::anyhow!("{why}"))?;
    let connections = Connections::default();
    let auth = Arc::new(Authenticator::new(config.auth.anonymous, config.auth.users.clone()));
    let mut addresses = Vec::new();
    for socket in listener::listen(bound)? {
        let address = socket.local_addr().context("a listening socket without an address")?;
        info!("listening on {address} (AMQP 1.0)");
        addresses.push(address);
        let listener = Listener {
            socket,
            registry: registry.clone(),
            config: config.clone(),
            auth: auth.clone(),
            connections: connections.clone(),
            clock,
        };
        tokio::spawn(listener.run());
    }
    if let Some(ready) = ready {
        let _ = ready.send(addresses);
    }
    let failed = serve(signals, &mut events, &registry).await;
    shutdown::shutdown(&connections, &registry, store, failed.is_some()).await?;
    match failed {
        Some(why) => Err(anyhow::anyhow!("{why}")),
        None => Ok(()),
    }
}

/// Until the end: acts on what the store says. Returns why, if it is a failure.
async fn serve(
    mut signals: shutdown::Signals,
    events: &mut mpsc::UnboundedReceiver<StoreEvent>,
    registry: &Registry,
) -> Option<String> {
    loop {
        let event = tokio::select! {
            name = signals.next() => {
                info!("{name} received: stopping");
                return None;
            }
            event = events.recv() => event?,
        };
        match event {
            StoreEvent::Full(full) => {
                if full {
                    warn!("the disk is full: new messages are rejected until there is room; consumers go on");
                } else {
                    info!("the disk has room again: messages are accepted");
                }
                registry.storage_full(full).await;
            }
            StoreEvent::Evacuate { segment } => {
                registry.broadcast(|| Command::Evacuate { segment, limit: EVACUATE_STEP }).await;
            }
            StoreEvent::Poisoned(why) => {
                error!("the store failed, stopping at once: {why}");
                return Some(format!("the store failed: {why}"));
            }
        }
    }
}
