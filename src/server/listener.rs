//! Listening sockets: accepts connections up to the limit and starts their tasks.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};
use tracing::warn;

use super::{
    clock::Clock, connection::ConnectionTask, connections::Connections, live::Live, manage::Manager,
    registry::Registry,
};
use crate::{
    amqp::{self, Connection},
    auth::Authenticator,
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
    /// Who executes what `$management` is asked.
    pub manager: Manager,
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
        let opened = self.clock.now();
        let Some(known) = self.connections.enter(channel.0.clone(), address, opened) else { return };
        let id = known.id;
        let engine = Connection::server(engine_config(config, auth), self.clock.now());
        let handshake = Duration::from_millis(config.limits.handshake_timeout_ms);
        let task = ConnectionTask::new(
            stream,
            known,
            Container::new(engine, id),
            self.registry.clone(),
            (auth.clone(), self.manager.clone()),
            channel,
            self.clock,
            handshake,
        );
        let connections = self.connections.clone();
        tokio::spawn(async move {
            task.run().await;
            connections.leave(id);
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
