//! One connection of the load generator: a socket, the engine, and a role that says what to do.
//!
//! Invariant: reading never waits for writing, and neither for the other connections. The role sees what one
//! read brought, then acts once (`drive`), then is written out: the batching that a good client does.

use std::{sync::Arc, time::Duration};

use fe2o3_amqp_types::{
    definitions::{Handle, ReceiverSettleMode, Role as WireRole, SenderSettleMode},
    performatives::Attach,
    primitives::{Array, Symbol},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use super::{
    super::{Failure, client::condition, url::Url},
    clock::{Timer, now_ns},
    tally::{Live, Tally},
};
use crate::{
    amqp::{ClientSasl, Config, Connection, Event, LinkId, SessionId},
    limits,
    time::Millis,
};

/// Room for the largest frame we allow, and for many small ones.
const INPUT_BYTES: usize = 2 * limits::MAX_FRAME_SIZE as usize;
const CONNECTING: Duration = Duration::from_secs(10);
const CLOSING_NS: u64 = 5_000_000_000;

/// When it begins, and when senders stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Go {
    pub start_ns: u64,
    pub end_ns: Option<u64>,
}

/// What all connections are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connect and attach.
    Setup,
    /// Send and receive.
    Go(Go),
    /// Close in good order.
    Stop,
}

/// What a connection is for.
pub(super) trait Role: Sized + Send {
    fn attach(&self) -> Attach;
    /// The broker answered the attach.
    fn attached(&mut self, engine: &mut Connection, link: LinkId);
    fn start(&mut self, go: Go);
    /// Something on the link.
    fn event(&mut self, engine: &mut Connection, event: Event, now_ns: u64);
    /// Called after a batch of events, and when `wake_ns` has come.
    fn drive(&mut self, engine: &mut Connection, now_ns: u64);
    fn wake_ns(&self) -> Option<u64>;
    fn is_done(&self, now_ns: u64) -> bool;
    fn finish(self) -> Tally;
}

/// Runs a connection to its end.
pub(super) async fn run<R: Role>(
    role: R,
    url: Url,
    name: String,
    live: Arc<Live>,
    phase: watch::Receiver<Phase>,
) -> Result<Tally, Failure> {
    let connecting = TcpStream::connect((url.host.as_str(), url.port));
    let stream = timeout(CONNECTING, connecting)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(|error| {
            Failure::new(format!("cannot connect to {url}: {error}"))
                .hint("is the broker running? `verdict serve` starts one; --url says where it is")
        })?;
    stream.set_nodelay(true).map_err(|error| lost(&error))?;
    let sasl = match &url.user {
        None => ClientSasl::Anonymous,
        Some((user, password)) => ClientSasl::Plain { user: user.clone(), password: password.clone() },
    };
    let engine = Connection::client(engine_config(name, url.host.clone()), sasl, millis(now_ns()));
    let timer = Timer::new().map_err(|error| lost(&error))?;
    let peer = Peer {
        engine,
        role,
        live,
        session: None,
        ready: false,
        started: false,
        closing_since_ns: None,
        failure: None,
    };
    peer.run(stream, timer, phase).await
}

struct Peer<R> {
    engine: Connection,
    role: R,
    live: Arc<Live>,
    session: Option<SessionId>,
    ready: bool,
    started: bool,
    closing_since_ns: Option<u64>,
    failure: Option<Failure>,
}

enum Step {
    Read(usize),
    Wrote(usize),
    Time,
    Phase,
}

impl<R: Role> Peer<R> {
    async fn run(
        mut self,
        mut stream: TcpStream,
        mut timer: Timer,
        mut phase: watch::Receiver<Phase>,
    ) -> Result<Tally, Failure> {
        let (mut reader, mut writer) = stream.split();
        let mut input = vec![0; INPUT_BYTES];
        let mut filled = 0;
        while self.turn(now_ns(), *phase.borrow_and_update()) {
            let wake_ns = self.wake_ns();
            let Some(space) = input.get_mut(filled..).filter(|space| !space.is_empty()) else {
                return Err(Failure::new("the broker sent a frame larger than we allow"));
            };
            let output = self.engine.output();
            let writing = !output.is_empty();
            let step = tokio::select! {
                biased;
                wrote = writer.write(output), if writing => wrote.map(Step::Wrote),
                read = reader.read(space) => read.map(Step::Read),
                waited = timer.wait(wake_ns) => waited.map(|()| Step::Time),
                changed = phase.changed(), if self.closing_since_ns.is_none() => Ok(changed.map_or(Step::Time, |()| Step::Phase)),
            };
            let now = millis(now_ns());
            match step.map_err(|error| lost(&error))? {
                Step::Wrote(n) => self.engine.consume_output(n, now),
                Step::Read(0) => {
                    self.engine.handle_eof(now);
                    if self.closing_since_ns.is_some() {
                        break;
                    }
                }
                Step::Read(n) => {
                    filled += n;
                    let used = self.engine.handle_input(input.get(..filled).unwrap_or_default(), now);
                    input.copy_within(used..filled, 0);
                    filled -= used;
                }
                Step::Time => self.engine.handle_timeout(now),
                Step::Phase => {}
            }
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.role.finish()),
        }
    }

    /// Handles what came and what is due; `false` when the connection is over.
    fn turn(&mut self, now_ns: u64, phase: Phase) -> bool {
        if let (Phase::Go(go), false) = (phase, self.started) {
            self.started = true;
            self.role.start(go);
        }
        while let Some(event) = self.engine.poll_event() {
            self.event(event, now_ns);
        }
        if self.closing_since_ns.is_none() {
            self.role.drive(&mut self.engine, now_ns);
            if self.failure.is_some() || phase == Phase::Stop || self.role.is_done(now_ns) {
                self.closing_since_ns = Some(now_ns);
                self.engine.close(None);
            }
        }
        let given_up = self.closing_since_ns.is_some_and(|since_ns| now_ns >= since_ns + CLOSING_NS);
        !(given_up || self.engine.is_finished())
    }

    fn wake_ns(&self) -> Option<u64> {
        let engine_ns = self.engine.poll_timeout().map(|at| at.0.saturating_mul(1_000_000));
        let own_ns = match self.closing_since_ns {
            Some(since_ns) => Some(since_ns + CLOSING_NS),
            None => self.role.wake_ns(),
        };
        engine_ns.into_iter().chain(own_ns).min()
    }

    fn event(&mut self, event: Event, now_ns: u64) {
        match event {
            Event::Opened(_) => self.session = Some(self.engine.begin()),
            Event::Begun { session, .. } if self.session == Some(session) => {
                self.engine.attach(session, self.role.attach());
            }
            Event::Attached { link, attach } => {
                // 2.6.3: a refused link is answered without the terminus, and a detach follows.
                let refused = match attach.role {
                    WireRole::Receiver => attach.target.is_none(),
                    WireRole::Sender => attach.source.is_none(),
                };
                if refused || self.ready {
                    return;
                }
                self.ready = true;
                self.live.ready.add(1);
                self.role.attached(&mut self.engine, link);
            }
            Event::Detached { error, .. } => {
                let why = error.as_deref().map_or("without a reason".to_owned(), condition);
                self.fail(&format!("the broker ended the link: {why}"));
            }
            Event::Ended { error, .. } => {
                let why = error.as_deref().map_or("without a reason".to_owned(), condition);
                self.fail(&format!("the broker ended the session: {why}"));
            }
            Event::Closed { error, .. } => {
                let why = error.as_deref().map_or("without a reason".to_owned(), condition);
                self.fail(&format!("the connection was closed: {why}"));
                self.closing_since_ns.get_or_insert(now_ns);
            }
            event => self.role.event(&mut self.engine, event, now_ns),
        }
    }

    /// Remembers the first failure; what happens while we close is none.
    fn fail(&mut self, why: &str) {
        if self.closing_since_ns.is_none() && self.failure.is_none() {
            self.failure = Some(Failure::new(why));
        }
    }
}

fn engine_config(container_id: String, hostname: String) -> Config {
    Config {
        container_id,
        hostname: Some(hostname),
        max_frame_size: limits::MAX_FRAME_SIZE,
        channel_max: 0,
        handle_max: 0,
        idle_timeout_ms: None,
        max_message_size: 1 << 30,
        mechanisms: Vec::new(),
        allow_bare: false,
        offered_capabilities: Vec::new(),
        desired_capabilities: Vec::new(),
        properties: None,
    }
}

fn millis(ns: u64) -> Millis {
    Millis(ns / 1_000_000)
}

fn lost(error: &std::io::Error) -> Failure {
    Failure::new(format!("the connection failed: {error}"))
}

/// An attach with nothing in it.
pub(super) fn bare_attach(name: String, role: WireRole) -> Attach {
    Attach {
        name,
        handle: Handle(0),
        role,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: None,
        target: None,
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: None,
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

/// A terminus' capabilities: one or none.
pub(super) fn capabilities(name: Option<&str>) -> Option<Array<Symbol>> {
    name.map(|name| Array::from(vec![Symbol::from(name)]))
}
