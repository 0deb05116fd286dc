//! The HTTP listener for those who watch: `/metrics`, `/healthz`, `/readyz`. Off unless configured.
//!
//! Invariant: it only reads, and what it costs is bounded: one scrape at a time, `CONNECTIONS` connections.
//! Answers from the first moment, also while the broker recovers. Has no way to change anything, and hence
//! no authentication: by default nobody but this machine can ask.

mod gather;
mod metrics;
mod process;
mod socket;
mod text;

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpSocket, sync::Mutex};
use tracing::{error, info, warn};

use super::{clock::Clock, connections::Connections, registry::Registry, telemetry::Telemetry};
use crate::{broker::Tally, store::Store};

/// Connections waiting to be accepted.
const BACKLOG: u32 = 64;
/// What `/metrics` sends (Prometheus' text format).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What there is to be watched, once it is there.
pub struct House {
    /// Queues.
    pub registry: Registry,
    /// Connections.
    pub connections: Connections,
    /// The disk.
    pub store: Arc<dyn Store>,
    /// Spans.
    pub telemetry: Telemetry,
}

/// What HTTP requests look at. Cloneable; all clones are the same.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

struct Shared {
    clock: Clock,
    house: OnceLock<House>,
    stopping: AtomicBool,
    reloads_applied: AtomicU64,
    reloads_refused: AtomicU64,
    reload_refused: AtomicBool,
    /// The dynamic queues' numbers as last told; held while a scrape is under way.
    dynamic: Mutex<Tally>,
}

impl Watch {
    /// A broker that is about to start.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            house: OnceLock::new(),
            stopping: AtomicBool::new(false),
            reloads_applied: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            reload_refused: AtomicBool::new(false),
            dynamic: Mutex::new(Tally::default()),
        }))
    }

    /// It has recovered and serves clients.
    pub fn serves(&self, house: House) {
        // Said once.
        let _ = self.0.house.set(house);
    }

    /// It goes down.
    pub fn stops(&self) {
        self.0.stopping.store(true, Relaxed);
    }

    /// A new configuration was taken, or not.
    pub fn reloaded(&self, applied: bool) {
        self.0.reload_refused.store(!applied, Relaxed);
        (if applied { &self.0.reloads_applied } else { &self.0.reloads_refused }).fetch_add(1, Relaxed);
    }

    /// Why it cannot take new messages now, if it cannot.
    pub fn unready(&self) -> Option<&'static str> {
        let Some(house) = self.0.house.get() else {
            return Some("recovering: the journal is being read");
        };
        let store = house.store.stats();
        if store.poisoned {
            Some("the store failed: a write to the disk did not succeed, the broker stops")
        } else if self.0.stopping.load(Relaxed) {
            Some("stopping")
        } else if store.full {
            Some("the disk is full: new messages are rejected until there is room, consumers go on")
        } else {
            None
        }
    }
}

/// A socket that is bound and does not listen yet, so that a busy address is told before anything else.
///
/// # Errors
/// Names the address and what to do.
pub async fn bind(address: &str) -> anyhow::Result<TcpSocket> {
    let busy = || {
        format!(
            "cannot listen on {address} for HTTP: is another program there? choose another with --http or `http`"
        )
    };
    let mut found = tokio::net::lookup_host(address).await.with_context(busy)?;
    let resolved = found.next().with_context(busy)?;
    let socket = if resolved.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(resolved).with_context(busy)?;
    Ok(socket)
}

/// Answers requests from now on, until the runtime stops.
///
/// # Errors
/// When the system does not allow it.
pub fn start(socket: TcpSocket, watch: Watch) -> anyhow::Result<()> {
    let socket = socket.listen(BACKLOG).context("cannot listen for HTTP: is another program there?")?;
    let address: SocketAddr = socket.local_addr().context("a listening socket without an address")?;
    info!("HTTP on {address}: /metrics /healthz /readyz");
    if !address.ip().is_loopback() {
        warn!(
            "HTTP on {address} is open to other machines: who reaches it sees the queues' names and numbers"
        );
    }
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(watch);
    tokio::spawn(async move {
        if let Err(why) = axum::serve(socket::Bounded::new(socket), router).await {
            error!("HTTP stopped: {why}");
        }
    });
    Ok(())
}

async fn readyz(State(watch): State<Watch>) -> impl IntoResponse {
    match watch.unready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(watch): State<Watch>) -> impl IntoResponse {
    // Scrapes wait for each other here: many at a time must not cost the queues more.
    let mut dynamic = watch.0.dynamic.lock().await;
    let queues = match watch.0.house.get() {
        Some(house) => Some(gather::queues(&house.registry, &mut dynamic).await),
        None => None,
    };
    drop(dynamic);
    let broker = metrics::Broker {
        queues,
        connections: watch.0.house.get().map(|house| (house.connections.count(), house.connections.opened())),
        store: watch.0.house.get().map(|house| house.store.stats()),
        spans: watch.0.house.get().and_then(|house| house.telemetry.counts()),
        ready: watch.unready().is_none(),
        reloads: (watch.0.reloads_applied.load(Relaxed), watch.0.reloads_refused.load(Relaxed)),
        reload_refused: watch.0.reload_refused.load(Relaxed),
        process: process::read(),
        start_seconds: watch.0.clock.started_seconds(),
    };
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], metrics::render(&broker))
}

#[cfg(test)]
mod tests;
