//! Executes what `$management` is asked, in tasks of its own.
//!
//! Invariant: no connection and no queue waits for it; at most `MANAGEMENT_AT_ONCE` requests are executed at a time
//! and none longer than `LONGEST`; each is answered once, and a change is confirmed when it is safe. Permission is
//! checked here, before anything is done. Arguments were checked in `management`.

mod broker;
mod connection;
mod consumer;
mod letters;
mod node;
mod queue;
mod replay;
mod settings;

use std::{sync::Arc, time::Duration};

pub use replay::Replays;

use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout},
};
use tracing::{error, info};

use super::{
    ask::Unanswered, clock::Clock, connection::ToConnection, connections::Connections, http::Watch,
    live::Live, registry::Registry, reload::Source,
};
use crate::{
    broker::ConnectionId,
    limits::{MANAGEMENT_AT_ONCE, MANAGEMENT_WAITING},
    management::{Broker, Connection, DeadLetter, Operation, Queue, Reply, Status},
    store::Store,
};

/// Longest a request may take.
const LONGEST: Duration = Duration::from_secs(60);
/// How long the queues of one question have to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What there is to be managed.
pub struct House {
    /// Queues.
    pub registry: Registry,
    /// Connections.
    pub connections: Connections,
    /// Settings.
    pub live: Live,
    /// The disk.
    pub store: Arc<dyn Store>,
    /// Whether it serves.
    pub watch: Watch,
    /// Where its configuration comes from.
    pub source: Arc<Source>,
    /// The time.
    pub clock: Clock,
    /// Replays since the start.
    pub replays: Replays,
}

/// By when the queues of a question asked now must have answered.
fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Where an answer goes.
pub struct AnswerTo {
    /// The connection.
    pub connection: ConnectionId,
    /// Its mailbox.
    pub sender: mpsc::UnboundedSender<ToConnection>,
    /// Its name for the request.
    pub token: u64,
}

impl AnswerTo {
    fn send(self, reply: Reply) {
        // A connection that has ended needs no answer.
        let _ = self.sender.send(ToConnection::Answer(self.token, Box::new(reply)));
    }
}

struct Job {
    operation: Operation,
    user: String,
    answer_to: AnswerTo,
}

/// Takes requests. Cloneable; all clones are the same.
#[derive(Clone)]
pub struct Manager {
    jobs: mpsc::Sender<Job>,
    live: Live,
}

impl Manager {
    /// Starts to execute requests.
    pub fn start(house: House) -> Self {
        let (jobs, waiting) = mpsc::channel(MANAGEMENT_WAITING);
        let live = house.live.clone();
        tokio::spawn(run(waiting, Arc::new(house)));
        Self { jobs, live }
    }

    /// Executes a request some time, if its user may. Returns at once.
    pub fn submit(&self, operation: Operation, user: &str, answer_to: AnswerTo) {
        if !self.live.now().may_manage(user) {
            let why =
                format!("user {user:?} may not manage this broker (auth.managers in its configuration)");
            return answer_to.send(Reply::refused(Status::Forbidden, why));
        }
        if let Err(refused) = self.jobs.try_send(Job { operation, user: user.to_owned(), answer_to }) {
            let why = format!("{MANAGEMENT_WAITING} requests are waiting already, ask again later");
            refused.into_inner().answer_to.send(Reply::unavailable(why));
        }
    }
}

async fn run(mut jobs: mpsc::Receiver<Job>, house: Arc<House>) {
    let permits = Arc::new(Semaphore::new(MANAGEMENT_AT_ONCE));
    while let Some(Job { operation, user, answer_to }) = jobs.recv().await {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let house = house.clone();
        tokio::spawn(async move {
            let (deed, asker) = (deed(&operation), answer_to.connection);
            let work = tokio::spawn(async move { timeout(LONGEST, execute(&house, operation, asker)).await });
            let reply = match work.await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) => Reply::unavailable(format!(
                    "not done within {} s; what was done so far stays",
                    LONGEST.as_secs()
                )),
                Err(died) => {
                    error!("management: a request died: {died}");
                    Reply::unavailable("the request died in the broker; its log says more")
                }
            };
            if let Some(deed) = deed {
                let (code, said) = (reply.status.code(), &reply.description);
                info!("management: {user:?} on connection {}: {deed}: {code} {said:?}", asker.0);
            }
            answer_to.send(reply);
            drop(permit);
        });
    }
}

/// What changes something, in words for the log.
fn deed(operation: &Operation) -> Option<String> {
    Some(match operation {
        Operation::Broker(Broker::Reload) => "reload".to_owned(),
        Operation::Queue(name, what) => match what {
            Queue::Create(_) => format!("create queue {name:?}"),
            Queue::Update(_) => format!("update queue {name:?}"),
            Queue::Delete { .. } => format!("delete queue {name:?}"),
            Queue::Purge => format!("purge queue {name:?}"),
            Queue::CloseBreaker => format!("close the breaker of queue {name:?}"),
            Queue::OpenBreaker(_) => format!("open the breaker of queue {name:?}"),
            Queue::Read | Queue::Messages(_) => return None,
        },
        Operation::DeadLetter(name, what) => match &**what {
            DeadLetter::Purge(_) => format!("purge dead letters of queue {name:?}"),
            DeadLetter::Import(_) => format!("import dead letters into queue {name:?}"),
            DeadLetter::Replay(replay) if !replay.dry_run => format!("replay dead letters of queue {name:?}"),
            _ => return None,
        },
        Operation::StopReplay(id) => format!("stop replay {id:?}"),
        Operation::Connection(id, Connection::Delete(_)) => format!("close connection {id}"),
        _ => return None,
    })
}

async fn execute(house: &Arc<House>, operation: Operation, asker: ConnectionId) -> Reply {
    let done = match operation {
        Operation::Query(query) => node::query(house, query).await,
        Operation::GetTypes(only) => Ok(node::types(only.as_deref())),
        Operation::GetAttributes(only) => Ok(node::attributes(only.as_deref())),
        Operation::GetOperations(only) => Ok(node::operations(only.as_deref())),
        Operation::GetNodes => Ok(node::nodes()),
        Operation::Broker(Broker::Read) => Ok(broker::read(house).await),
        Operation::Broker(Broker::Reload) => Ok(broker::reload(house).await),
        Operation::Queue(name, Queue::Messages(page)) => letters::messages(house, &name, *page).await,
        Operation::Queue(name, what) => queue::execute(house, &name, what).await,
        Operation::Explain(name, which) => letters::explain(house, name.as_deref(), which).await,
        Operation::DeadLetter(name, what) => letters::execute(house, &name, *what).await,
        Operation::ReadReplay(id) => house.replays.read(&id),
        Operation::StopReplay(id) => house.replays.stop(&id),
        Operation::Connection(id, what) => Ok(connection::execute(house, ConnectionId(id), what, asker)),
    };
    done.unwrap_or_else(|refused| refused)
}

/// What is answered where a queue did not.
fn unanswered(name: &str, why: Unanswered) -> Reply {
    let secs = PATIENCE.as_secs();
    match why {
        Unanswered::Busy => Reply::unavailable(format!("queue {name:?} is busy: not asked within {secs} s")),
        Unanswered::Late => Reply::unavailable(format!(
            "queue {name:?} did not answer within {secs} s; what was asked for may still be done"
        )),
        Unanswered::Gone => Reply::unavailable(format!("queue {name:?} has just ended")),
    }
}

fn no_queue(name: &str) -> Reply {
    Reply::not_found(format!("no queue {name:?}"))
}
