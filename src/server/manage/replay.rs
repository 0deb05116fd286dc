//! Replays: jobs that put the dead letters of a queue back, as fast as they may, and stop when they should.
//!
//! Invariant: a replay's name is kept with each message it put back, so one that was interrupted goes on by being
//! started again with the same name. Here is only how far it is, the newest `KEPT` that ended included; `job` does the
//! work, and which message moves, and whether, is decided in the queue's task.

mod job;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use self::job::{Job, count};
use super::{
    House,
    letters::{Asked, filter},
};
use crate::{
    broker::Filter,
    limits::REPLAY_ID_BYTES,
    management::{self, Key, Reply, Tree, catalogue},
    server::queue::ToQueue,
    time::Millis,
};

/// Replays that ended and are still told about.
const KEPT: usize = 100;
/// Replays that run at a time.
const RUNNING: usize = 16;

/// How far a replay is.
#[derive(Debug, Clone)]
struct Progress {
    id: Arc<str>,
    queue: String,
    state: State,
    /// Letters that match, where that could be told beforehand.
    matching: Option<u64>,
    replayed: u64,
    skipped: u64,
    started: Millis,
    finished: Option<Millis>,
    rate: Option<u64>,
    canary: bool,
    failed_again: u64,
    error: Option<String>,
    stop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Waiting,
    Done,
    Stopped,
    CanaryFailed,
    Failed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting-for-canary",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::CanaryFailed => "canary-failed",
            Self::Failed => "failed",
        }
    }
}

/// All replays since the broker's start that are still told about.
#[derive(Debug, Default)]
pub struct Replays {
    all: Mutex<VecDeque<Progress>>,
    made: AtomicU64,
}

impl Replays {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Progress>> {
        // No code that holds the lock can panic half-way through a change.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, id: &str, change: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        self.lock().iter_mut().rev().find(|progress| &*progress.id == id).map(change)
    }

    /// `verdict.replay` `READ`.
    ///
    /// # Errors
    /// 404.
    pub fn read(&self, id: &str) -> Result<Reply, Reply> {
        self.with(id, |progress| Reply::ok(progress.tree())).ok_or_else(|| unknown(id))
    }

    /// `verdict.replay` `DELETE`: it stops after the letters it is at.
    ///
    /// # Errors
    /// 404.
    pub fn stop(&self, id: &str) -> Result<Reply, Reply> {
        self.with(id, |progress| {
            progress.stop = true;
            Reply::ok(progress.tree())
        })
        .ok_or_else(|| unknown(id))
    }

    /// These attributes of all, the oldest first.
    pub fn rows(&self, attributes: &[&'static str]) -> Vec<Tree> {
        let row = |progress: &Progress| {
            Tree::List(attributes.iter().map(|name| progress.attribute(name)).collect())
        };
        self.lock().iter().map(row).collect()
    }

    /// `verdict.dead-letter` `REPLAY`: starts one, or only counts.
    ///
    /// # Errors
    /// 400, 409, 503.
    pub async fn begin(house: &Arc<House>, asked: Asked, wanted: management::Replay) -> Result<Reply, Reply> {
        let management::Replay { id, filter: asked_for, dry_run, rate, limit, canary } = wanted;
        let replays = &house.replays;
        let id: Arc<str> = match id {
            Some(id) if (1..=REPLAY_ID_BYTES).contains(&id.len()) => id.into(),
            Some(id) => {
                let why = format!("id has {} bytes: expected 1 to {REPLAY_ID_BYTES}", id.len());
                return Err(Reply::bad(why));
            }
            None => {
                let number = replays.made.fetch_add(1, Relaxed);
                format!("replay-{:x}-{number}", house.clock.now().0).into()
            }
        };
        let filter = Filter { not_replayed_as: Some(id.to_string()), ..filter(asked_for)? };
        if dry_run {
            let matching = count(house, &asked, filter).await?;
            return Ok(Reply::ok(Tree::map([("matching", matching.min(limit.unwrap_or(u64::MAX)).into())])));
        }
        let through = asked.ask(ToQueue::Describe).await?.next_seq.1;
        let told = Filter { not_replayed_as: None, ..filter.clone() };
        let ((yes, maybe), _) = asked.ask(|reply| ToQueue::Causes(Arc::new(told), false, reply)).await?;
        let progress = Progress {
            id: id.clone(),
            queue: asked.name.clone(),
            state: State::Running,
            matching: (maybe == 0).then_some(yes),
            replayed: 0,
            skipped: 0,
            started: house.clock.now(),
            finished: None,
            rate,
            canary,
            failed_again: 0,
            error: None,
            stop: false,
        };
        let answer = progress.tree();
        replays.add(progress)?;
        let job =
            Job { house: house.clone(), asked, id, filter, through, rate, left: limit.unwrap_or(u64::MAX) };
        tokio::spawn(job.run(canary));
        Ok(Reply::created(answer))
    }

    fn add(&self, progress: Progress) -> Result<(), Reply> {
        let mut all = self.lock();
        let running = all.iter().filter(|other| other.finished.is_none());
        if running.clone().any(|other| other.id == progress.id) {
            let why = format!("replay {:?} is running; READ it, or DELETE it to stop it", progress.id);
            return Err(Reply::conflict(why));
        }
        if running.count() >= RUNNING {
            return Err(Reply::unavailable(format!("{RUNNING} replays are running, ask again later")));
        }
        if all.len() >= KEPT
            && let Some(oldest) = all.iter().position(|other| other.finished.is_some())
        {
            all.remove(oldest);
        }
        all.push_back(progress);
        Ok(())
    }
}

fn unknown(id: &str) -> Reply {
    Reply::not_found(format!("no replay {id:?} since the broker's start, or it ended too long ago"))
}

impl Progress {
    fn tree(&self) -> Tree {
        let names = catalogue::find(catalogue::REPLAY).map_or(&[][..], |kind| kind.attributes);
        Tree::Map(names.iter().map(|name| (Key::Borrowed(*name), self.attribute(name))).collect())
    }

    fn attribute(&self, name: &str) -> Tree {
        match name {
            "id" => (&*self.id).into(),
            "queue" => self.queue.clone().into(),
            "state" => self.state.as_str().into(),
            "matching" => self.matching.into(),
            "replayed" => self.replayed.into(),
            "skipped" => self.skipped.into(),
            "started" => self.started.into(),
            "finished" => self.finished.into(),
            "rate" => self.rate.into(),
            "canary" => self.canary.into(),
            "failed-again" => self.failed_again.into(),
            "error" => self.error.clone().into(),
            _ => Tree::Null,
        }
    }
}
