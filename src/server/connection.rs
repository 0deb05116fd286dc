//! One task per connection: owns the socket, the engine, and all its sessions and links.
//!
//! Reads, turns events into commands (one per queue and read), writes what came of it in one go.
//! Invariant: it waits only for its socket, its mailbox, a timer, or a queue's full mailbox; never
//! while it holds anything another task needs. An idle connection holds no buffers.

use std::{cell::RefCell, io, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use tokio::{
    io::Interest,
    net::TcpStream,
    sync::mpsc,
    time::{Instant, Sleep},
};
use tracing::{Level, debug, info, warn};

use super::{
    clock::Clock, connections::Known, host::ConnectionHost, manage::Manager, registry::Registry, wording::Who,
};
use crate::{
    auth::Authenticator,
    broker::{Effect, QueueId},
    container::{Container, Notice},
    management::Reply,
};

/// Bytes read at a time; one buffer per thread serves all connections.
const READ_BYTES: usize = 256 * 1024;
/// Reads before what they brought is acted on.
const READS_PER_TURN: usize = 4;
/// Mailbox messages taken before output is written.
const MESSAGES_PER_TURN: usize = 128;
/// How long a peer has to take our last bytes and close its side.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What others tell a connection.
pub enum ToConnection {
    /// Effects of a node, for links of this connection.
    Effects(Vec<Effect>),
    /// A node it uses was deleted.
    Deleted(QueueId),
    /// An answer to a request of this connection to `$management`.
    Answer(u64, Box<Reply>),
    /// It is to close, with these words for its peer.
    Close(String),
    /// The broker stops.
    Stop,
    /// The store failed.
    StoreFailed,
}

/// What a connection's task is made of.
pub struct ConnectionTask {
    stream: TcpStream,
    /// What others see of it.
    known: Arc<Known>,
    container: Container,
    host: ConnectionHost,
    mailbox: mpsc::UnboundedReceiver<ToConnection>,
    clock: Clock,
    /// Input that did not make a whole frame yet.
    leftover: Vec<u8>,
    /// By when the peer must have sent its open.
    open_by: Option<Instant>,
    closing: Option<Instant>,
}

enum Woken {
    Socket(tokio::io::Ready),
    Message(ToConnection),
    Timer,
}

impl ConnectionTask {
    /// A task for an accepted socket; `sender` is the other end of `mailbox`.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        stream: TcpStream,
        known: Arc<Known>,
        container: Container,
        registry: Registry,
        (auth, manager): (Arc<Authenticator>, Manager),
        channel: (mpsc::UnboundedSender<ToConnection>, mpsc::UnboundedReceiver<ToConnection>),
        clock: Clock,
        handshake: Duration,
    ) -> Self {
        let host = ConnectionHost {
            registry,
            auth,
            manager,
            id: container.id(),
            sender: channel.0,
            nodes: FxHashMap::default(),
            outbox: Vec::new(),
        };
        Self {
            stream,
            known,
            container,
            host,
            mailbox: channel.1,
            clock,
            leftover: Vec::new(),
            open_by: Some(Instant::now() + handshake),
            closing: None,
        }
    }

    /// Runs the connection to its end, whatever that is.
    pub async fn run(mut self) {
        let failed = self.drive().await;
        if let Err(why) = &failed {
            debug!("connection {} from {}: {why}", self.container.id().0, self.known.address);
        }
        self.container.handle_eof(self.clock.now());
        self.act().await;
        self.log_notices();
        self.host.leave().await;
        if failed.is_ok() {
            self.linger().await;
        }
    }

    async fn drive(&mut self) -> io::Result<()> {
        let timer = tokio::time::sleep_until(self.deadline());
        tokio::pin!(timer);
        loop {
            let more_to_write = self.write().await?;
            if self.container.is_finished() {
                return Ok(());
            }
            let deadline = self.deadline();
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            match self.wait(more_to_write, timer.as_mut()).await? {
                Woken::Socket(ready) => {
                    if ready.is_readable() || ready.is_read_closed() {
                        self.read()?;
                    }
                }
                Woken::Message(message) => self.take_messages(message),
                Woken::Timer => {
                    // What came while we were held up must count before the peer is called silent.
                    if self.container.wants_input() {
                        self.read()?;
                    }
                    if !self.on_timer() {
                        return Ok(());
                    }
                    timer.as_mut().reset(self.deadline());
                }
            }
            self.act().await;
            self.log_notices();
        }
    }

    /// The next moment at which something is due, far away if nothing is.
    fn deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        let engine = self.container.poll_timeout().map(|at| self.clock.instant_of(at));
        [engine, self.open_by, self.closing].into_iter().flatten().min().unwrap_or(far)
    }

    async fn wait(&mut self, write: bool, timer: std::pin::Pin<&mut Sleep>) -> io::Result<Woken> {
        let interest = match (self.container.wants_input(), write) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        let stream = &self.stream;
        let socket = async {
            match interest {
                Some(interest) => stream.ready(interest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = socket => Ok(Woken::Socket(ready?)),
            Some(message) = self.mailbox.recv() => Ok(Woken::Message(message)),
            () = timer => Ok(Woken::Timer),
        }
    }

    /// Reads what is there and lets the engine have it.
    fn read(&mut self) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..READS_PER_TURN {
                match self.stream.try_read(scratch) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => {
                        self.feed(scratch.get(..read).unwrap_or_default());
                        if read < scratch.len() || !self.container.wants_input() {
                            return Ok(());
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    fn feed(&mut self, bytes: &[u8]) {
        let now = self.clock.now();
        if self.leftover.is_empty() {
            let used = self.container.handle_input(bytes, now);
            self.leftover.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return;
        }
        self.leftover.extend_from_slice(bytes);
        let used = self.container.handle_input(&self.leftover, now);
        if used >= self.leftover.len() {
            self.leftover = Vec::new();
        } else {
            self.leftover.drain(..used);
        }
    }

    fn take_messages(&mut self, first: ToConnection) {
        self.take_message(first);
        for _ in 0..MESSAGES_PER_TURN {
            let Ok(message) = self.mailbox.try_recv() else { break };
            self.take_message(message);
        }
    }

    fn take_message(&mut self, message: ToConnection) {
        match message {
            ToConnection::Effects(effects) => self.container.handle_effects(effects, &mut self.host),
            ToConnection::Deleted(node) => {
                self.host.nodes.remove(&node);
                self.container.node_deleted(node, &mut self.host);
            }
            ToConnection::Answer(token, reply) => self.container.answer(token, &reply, &mut self.host),
            ToConnection::Close(description) => {
                let forced = fe2o3_amqp_types::definitions::ConnectionError::ConnectionForced;
                self.container.close(forced, &description);
                self.closing = Some(Instant::now() + LINGER);
            }
            ToConnection::Stop => {
                let forced = fe2o3_amqp_types::definitions::ConnectionError::ConnectionForced;
                self.container.close(forced, "the broker is stopping; reconnect when it is back");
                self.closing = Some(Instant::now() + LINGER);
            }
            ToConnection::StoreFailed => {
                self.container
                    .close_internal("the broker's disk failed; what was not confirmed may not be stored");
                self.closing = Some(Instant::now() + LINGER);
            }
        }
    }

    /// `false`: the connection is to be dropped.
    fn on_timer(&mut self) -> bool {
        let now = Instant::now();
        if self.closing.is_some_and(|at| at <= now) {
            return false;
        }
        if self.open_by.is_some_and(|at| at <= now) {
            warn!(
                "connection {} from {} refused: it did not open in time (limits.handshake-timeout)",
                self.container.id().0,
                self.known.address
            );
            return false;
        }
        self.container.handle_timeout(self.clock.now());
        true
    }

    /// Commands out of events, and off to the queues.
    async fn act(&mut self) {
        self.container.process(self.clock.now(), &mut self.host);
        self.known.note_links(self.container.link_counts());
        self.deliver().await;
    }

    /// Sends commands off; a node that takes none any more is gone.
    async fn deliver(&mut self) {
        for node in self.host.deliver().await {
            self.container.node_deleted(node, &mut self.host);
        }
    }

    /// Writes what there is; `true` if the socket would not take all of it.
    async fn write(&mut self) -> io::Result<bool> {
        loop {
            let output = self.container.output();
            if output.is_empty() {
                return Ok(false);
            }
            let written = match self.stream.try_write(output) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.container.consume_output(written, self.clock.now());
            self.container.report_room(&mut self.host);
            self.deliver().await;
        }
    }

    fn log_notices(&mut self) {
        for notice in self.container.take_notices() {
            if notice == Notice::Opened {
                self.open_by = None;
                // Said once.
                let _ = self.known.peer.set(self.container.peer().clone());
            }
            let who = Who {
                id: self.container.id().0,
                address: self.known.address,
                peer: self.container.peer(),
                opened: self.open_by.is_none(),
            };
            match who.tell(&notice) {
                (Level::INFO, text) => info!("{text}"),
                (Level::WARN, text) => warn!("{text}"),
                (_, text) => debug!("{text}"),
            }
        }
    }

    /// Lets the peer read our last bytes: closing with unread input would reset the connection.
    async fn linger(&mut self) {
        use tokio::io::AsyncWriteExt;
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let drained = async {
            loop {
                self.stream.readable().await?;
                let read = SCRATCH.with_borrow_mut(|scratch| self.stream.try_read(scratch));
                match read {
                    Ok(0) => return Ok::<(), io::Error>(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        // However it ends, the socket is dropped now.
        let _ = tokio::time::timeout(LINGER, drained).await;
    }
}
