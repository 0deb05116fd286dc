//! Listening sockets: accepts connections up to the limit and starts their tasks.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use rustc_hash::FxHashMap;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};
use tracing::warn;

use super::{
    clock::Clock,
    connection::{ConnectionTask, ToConnection},
    live::Live,
    registry::Registry,
};
use crate::{
    amqp::{self, Connection},
    auth::Authenticator,
    broker::ConnectionId,
    config::Config,
    container::Container,
};

/// How long to wait after a failed accept (no file descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections waiting to be accepted.
const BACKLOG: u32 = 1024;

/// Takes all addresses, or none. Nobody can connect yet: that is `listen`, once there is something to serve.
///
/// # Errors
/// Names the address.
pub async fn bind(addresses: &[String]) -> anyhow::Result<Vec<TcpSocket>> {
    let mut bound = Vec::new();
    for address in addresses {
        let what = || format!("cannot listen on {address}");
        for resolved in tokio::net::lookup_host(address).await.with_context(what)? {
            let socket = if resolved.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A restarted broker must not wait for connections of the last run to be forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(resolved).with_context(what)?;
            bound.push(socket);
        }
    }
    Ok(bound)
}

/// Lets clients connect from now on.
///
/// # Errors
/// When the system does not allow it.
pub fn listen(bound: Vec<TcpSocket>) -> anyhow::Result<Vec<TcpListener>> {
    let listening = |socket: TcpSocket| socket.listen(BACKLOG).context("cannot listen");
    bound.into_iter().map(listening).collect()
}

/// The connections there are.
#[derive(Clone, Default)]
pub struct Connections(Arc<ConnectionsShared>);

#[derive(Default)]
struct ConnectionsShared {
    next: AtomicU32,
    /// No more of them: changed and asked while `senders` is locked, so that none slips through.
    stopped: AtomicBool,
    senders: Mutex<FxHashMap<ConnectionId, mpsc::UnboundedSender<ToConnection>>>,
}

impl Connections {
    fn senders(
        &self,
    ) -> std::sync::MutexGuard<'_, FxHashMap<ConnectionId, mpsc::UnboundedSender<ToConnection>>> {
        self.0.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.senders().len()
    }

    /// How many were accepted since the start.
    pub fn opened(&self) -> u64 {
        self.0.next.load(Ordering::Relaxed).into()
    }

    /// Tells every connection that, and why, it is to end; there are no new ones from now on.
    pub fn stop(&self, why: impl Fn() -> ToConnection) {
        let senders = self.senders();
        self.0.stopped.store(true, Ordering::Relaxed);
        for sender in senders.values() {
            let _ = sender.send(why());
        }
    }

    /// Takes a new one in, unless the broker stops.
    fn enter(&self, sender: mpsc::UnboundedSender<ToConnection>) -> Option<ConnectionId> {
        let mut senders = self.senders();
        if self.0.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let id = ConnectionId(self.0.next.fetch_add(1, Ordering::Relaxed));
        senders.insert(id, sender);
        Some(id)
    }
}

/// One listening socket and what its connections need.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Nodes.
    pub registry: Registry,
    /// Limits, and who may come in.
    pub live: Live,
    /// Where connections are kept account of.
    pub connections: Connections,
    /// The time.
    pub clock: Clock,
}

impl Listener {
    /// Accepts until the runtime stops.
    pub async fn run(self) {
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => self.accept(stream, address),
                Err(error) => {
                    warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accept(&self, stream: TcpStream, address: SocketAddr) {
        let settings = self.live.now();
        let (config, auth) = (&settings.config, &settings.auth);
        let most = config.limits.max_connections as usize;
        if self.connections.count() >= most {
            warn!("connection from {address} refused: there are {most} already (limits.max-connections)");
            return;
        }
        // Our batches are whole already; waiting to fill a segment would only add latency.
        let _ = stream.set_nodelay(true);
        let channel = mpsc::unbounded_channel();
        let Some(id) = self.connections.enter(channel.0.clone()) else { return };
        let engine = Connection::server(engine_config(config, auth), self.clock.now());
        let handshake = Duration::from_millis(config.limits.handshake_timeout_ms);
        let task = ConnectionTask::new(
            stream,
            address,
            Container::new(engine, id),
            self.registry.clone(),
            auth.clone(),
            channel,
            self.clock,
            handshake,
        );
        let connections = self.connections.clone();
        tokio::spawn(async move {
            task.run().await;
            connections.senders().remove(&id);
        });
    }
}

fn engine_config(config: &Config, auth: &Authenticator) -> amqp::Config {
    use serde_amqp::{Value, primitives::Symbol};
    let mut properties = fe2o3_amqp_types::definitions::Fields::new();
    properties.insert(Symbol::from("product"), Value::String("verdict".to_owned()));
    properties.insert(Symbol::from("version"), Value::String(env!("CARGO_PKG_VERSION").to_owned()));
    amqp::Config {
        container_id: config.container_id.clone(),
        hostname: None,
        max_frame_size: config.limits.max_frame_size_bytes,
        channel_max: config.limits.max_sessions.saturating_sub(1),
        handle_max: config.limits.max_links.saturating_sub(1),
        idle_timeout_ms: config.limits.idle_timeout_ms,
        max_message_size: config.limits.max_message_size_bytes,
        mechanisms: auth.mechanisms(),
        allow_bare: auth.allow_bare(),
        offered_capabilities: vec!["ANONYMOUS-RELAY".to_owned()],
        desired_capabilities: Vec::new(),
        properties: Some(properties),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_reaches_every_connection_and_lets_no_new_one_in() {
        let connections = Connections::default();
        let (sender, mut mailbox) = mpsc::unbounded_channel();
        assert!(connections.enter(sender.clone()).is_some());
        connections.stop(|| ToConnection::Stop);
        assert!(matches!(mailbox.try_recv(), Ok(ToConnection::Stop)));
        assert_eq!(connections.enter(sender), None);
        assert_eq!(connections.count(), 1);
    }
}
