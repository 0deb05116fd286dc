//! The tokio shell: sockets, timers, tasks, signals. The only place with a clock and a socket.
//!
//! Invariant: it decides nothing about messages; it moves commands, effects and batches between the
//! pure layers and the disk, and takes the broker up and down in an order that loses nothing.

mod ask;
mod clock;
mod connection;
mod connections;
mod host;
mod http;
mod listener;
mod live;
mod manage;
mod queue;
mod recover;
mod registry;
mod reload;
mod shutdown;
mod telemetry;
mod wording;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::{
    broker::Command,
    config::Config,
    store::{Store, StoreEvent},
};
use clock::Clock;
use connections::Connections;
use listener::Listener;
use live::Live;
use manage::Manager;
use registry::Registry;
use shutdown::Asked;
use telemetry::Telemetry;

pub use reload::{Load, SetLogLevel, Source};

/// Messages a queue writes again per step of a compaction.
const EVACUATE_STEP: usize = 512;

/// Runs a broker until it is told to stop (SIGTERM, SIGINT) or its store fails.
///
/// `ready` gets the addresses listened on, once connections are accepted.
///
/// # Errors
/// When it cannot start (address in use, data directory locked or damaged), or when the store failed.
pub async fn run(config: Config, ready: Option<oneshot::Sender<Vec<SocketAddr>>>) -> anyhow::Result<()> {
    run_with(config, ready, Source::none()).await
}

/// The same, with a configuration that SIGHUP makes it read again from `source`.
///
/// # Errors
/// As `run`.
pub async fn run_with(
    config: Config,
    ready: Option<oneshot::Sender<Vec<SocketAddr>>>,
    source: Source,
) -> anyhow::Result<()> {
    let clock = Clock::start();
    let signals = shutdown::Signals::listen()?;
    let bound = listener::bind(&config.listen).await?;
    let watch = http::Watch::new(clock);
    if let Some(address) = &config.http {
        // Answers while recovery goes on: alive, and not ready.
        http::start(http::bind(address).await?, watch.clone())?;
    }
    let config = Arc::new(config);
    let (store, nodes, mut events) = recover::open(&config, clock).await?;
    let store: Arc<dyn Store> = store;
    let live = Live::new(Arc::unwrap_or_clone(config));
    let telemetry = Telemetry::start(&live.now().config);
    let registry = Registry::new(store.clone(), live.clone(), clock, telemetry.clone());
    for node in nodes {
        registry.adopt(node);
    }
    registry.create_configured().map_err(|why| anyhow::anyhow!("{why}"))?;
    let connections = Connections::default();
    let reloading = Reloading { source: Arc::new(source), live, watch: watch.clone() };
    let manager = Manager::start(manage::House {
        registry: registry.clone(),
        connections: connections.clone(),
        live: reloading.live.clone(),
        store: store.clone(),
        watch: watch.clone(),
        source: reloading.source.clone(),
        clock,
        replays: manage::Replays::default(),
    });
    let mut addresses = Vec::new();
    let sockets = listener::listen(bound)?;
    // Before the log says that it listens: who read that may ask whether it is ready.
    let (nodes, peers, disk) = (registry.clone(), connections.clone(), store.clone());
    let spans = telemetry.clone();
    watch.serves(http::House { registry: nodes, connections: peers, store: disk, telemetry: spans });
    for socket in sockets {
        let address = socket.local_addr().context("a listening socket without an address")?;
        info!("listening on {address} (AMQP 1.0)");
        addresses.push(address);
        let listener = Listener {
            socket,
            registry: registry.clone(),
            live: reloading.live.clone(),
            manager: manager.clone(),
            connections: connections.clone(),
            clock,
        };
        tokio::spawn(listener.run());
    }
    if let Some(ready) = ready {
        let _ = ready.send(addresses);
    }
    let failed = serve(signals, &mut events, &registry, &reloading).await;
    watch.stops();
    shutdown::shutdown(&connections, &registry, store, failed.is_some()).await?;
    telemetry.finish().await;
    match failed {
        Some(why) => Err(anyhow::anyhow!("{why}")),
        None => Ok(()),
    }
}

/// What a reload needs.
struct Reloading {
    source: Arc<Source>,
    live: Live,
    watch: http::Watch,
}

/// Until the end: acts on what the store says. Returns why, if it is a failure.
async fn serve(
    mut signals: shutdown::Signals,
    events: &mut mpsc::UnboundedReceiver<StoreEvent>,
    registry: &Registry,
    reloading: &Reloading,
) -> Option<String> {
    loop {
        let event = tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop(name) => {
                    info!("{name} received: stopping");
                    return None;
                }
                Asked::Reload => {
                    info!("SIGHUP received: reading the configuration again");
                    let applied = reload::reload(&reloading.source, &reloading.live, registry).await;
                    reloading.watch.reloaded(applied.is_ok());
                    continue;
                }
            },
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
