//! Replays: jobs that put the dead letters of a queue back, as fast as they may, and stop when they should.
//!
//! Invariant: a replay's name is kept with each message it put back, so one that was interrupted goes on by being
//! started again with the same name. Letters that die after it began are none of its own. Here is only how far it is,
//! the newest `KEPT` that ended included; which message moves, and whether, is decided in the queue's task.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;

use super::{
    House,
    letters::{Asked, Found, Walk, Want, filter},
};
use crate::{
    broker::{Filter, ReplayLetter, ReplayLetters, Replayed, Seq},
    limits::REPLAY_ID_BYTES,
    management::{self, Key, Reply, Tree, catalogue},
    server::queue::ToQueue,
    time::Millis,
};

/// Replays that ended and are still told about.
const KEPT: usize = 100;
/// Replays that run at a time.
const RUNNING: usize = 16;
/// Letters put back by one command.
const BATCH: usize = 2048;
/// How often the fate of canaries is asked for, a full queue asked again, and letters in use looked at again.
const POLL: Duration = Duration::from_millis(50);
/// Rounds over letters that were in use, before they are left where they are.
const ROUNDS: u32 = 20;
/// "canary ('one, then ten, stop if one fails again')".
const CANARIES: [usize; 2] = [1, 10];

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

/// How many letters match now.
async fn count(house: &House, asked: &Asked, filter: Filter) -> Result<u64, Reply> {
    let mut walk = Walk::new(asked.clone(), true, filter, Seq(0));
    let mut matching = 0;
    while walk.next().is_some() {
        matching += walk.page(house, BATCH, Want::default()).await?.len() as u64;
    }
    Ok(matching)
}

struct Job {
    house: Arc<House>,
    asked: Asked,
    id: Arc<str>,
    filter: Filter,
    /// Letters from this number on came after it began.
    through: u64,
    rate: Option<u64>,
    /// How many more it may put back.
    left: u64,
}

/// Why a job ends before its last letter.
enum End {
    Stopped,
    CanaryFailed,
    Failed(Reply),
}

impl From<Reply> for End {
    fn from(why: Reply) -> Self {
        Self::Failed(why)
    }
}

impl Job {
    async fn run(mut self, canary: bool) {
        let ended = self.all(canary).await;
        let fates = self.asked.ask(|reply| ToQueue::Fates(self.id.clone(), true, reply)).await;
        let now = self.house.clock.now();
        let told = self.house.replays.with(&self.id, |progress| {
            progress.finished = Some(now);
            progress.failed_again = fates.map_or(progress.failed_again, |fates| fates.bad);
            (progress.state, progress.error) = match ended {
                Ok(()) => (State::Done, None),
                Err(End::Stopped) => (State::Stopped, None),
                Err(End::CanaryFailed) => (State::CanaryFailed, None),
                Err(End::Failed(why)) => (State::Failed, Some(why.description)),
            };
            (progress.replayed, progress.state.as_str())
        });
        if let Some((replayed, state)) = told {
            info!("replay {:?} of queue {:?}: {state}, {replayed} put back", self.id, self.asked.name);
        }
    }

    async fn all(&mut self, canary: bool) -> Result<(), End> {
        let mut walk = self.walk();
        for size in CANARIES.into_iter().filter(|_| canary) {
            self.some(&mut walk, size, true).await?;
            self.await_canaries().await?;
        }
        let mut busy = 0;
        let batch = self.rate.map_or(BATCH, |rate| (rate / 20).clamp(1, BATCH as u64) as usize);
        for round in 0..ROUNDS {
            let (began, mut paced) = (Instant::now(), 0_u64);
            busy = 0;
            while walk.next().is_some() && self.left > 0 {
                let done = self.some(&mut walk, batch, false).await?;
                busy += done.busy;
                paced += done.moved;
                if let Some(rate) = self.rate {
                    sleep_until(began + Duration::from_micros(paced * 1_000_000 / rate)).await;
                }
            }
            if busy == 0 || self.left == 0 {
                break;
            }
            // Some were with consumers of the dead letters: perhaps they are back.
            if round + 1 < ROUNDS {
                sleep(POLL).await;
                walk = self.walk();
            }
        }
        self.house.replays.with(&self.id, |progress| progress.skipped += busy);
        Ok(())
    }

    fn walk(&self) -> Walk {
        Walk::new(self.asked.clone(), true, self.filter.clone(), Seq(0))
    }

    /// The next letters that match, this many at the most.
    async fn some(&mut self, walk: &mut Walk, size: usize, watch: bool) -> Result<Replayed, End> {
        self.stopped()?;
        let size = size.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let found = walk.page(&self.house, size, Want { state: true, body: false }).await?;
        let mut rest: Vec<ReplayLetter> =
            found.into_iter().filter(|one| one.seen.seq.0 < self.through).map(letter).collect();
        let mut total = Replayed::default();
        while !rest.is_empty() {
            let letters = ReplayLetters { id: self.id.clone(), letters: std::mem::take(&mut rest), watch };
            let asked = again(&letters);
            let done = self.asked.ask(|reply| ToQueue::Replay(letters, reply)).await?;
            self.left = self.left.saturating_sub(done.moved);
            self.house.replays.with(&self.id, |progress| progress.replayed += done.moved);
            (total.moved, total.busy) = (total.moved + done.moved, total.busy + done.busy);
            if done.full {
                // The queue takes no more until consumers have caught up.
                let seen = done.moved + done.busy + done.done_before;
                rest = asked.into_iter().skip(usize::try_from(seen).unwrap_or(usize::MAX)).collect();
                sleep(POLL).await;
                self.stopped()?;
            }
        }
        Ok(total)
    }

    fn stopped(&self) -> Result<(), End> {
        let stop = self.house.replays.with(&self.id, |progress| progress.stop);
        if stop == Some(false) { Ok(()) } else { Err(End::Stopped) }
    }

    /// Until all canaries were accepted; ends the replay if one was not.
    async fn await_canaries(&self) -> Result<(), End> {
        self.house.replays.with(&self.id, |progress| progress.state = State::Waiting);
        loop {
            let fates = self.asked.ask(|reply| ToQueue::Fates(self.id.clone(), false, reply)).await?;
            if fates.bad > 0 {
                return Err(End::CanaryFailed);
            }
            if fates.open == 0 {
                self.house.replays.with(&self.id, |progress| progress.state = State::Running);
                return Ok(());
            }
            self.stopped()?;
            sleep(POLL).await;
        }
    }
}

fn letter(found: Found) -> ReplayLetter {
    let state = found.state.filter(|_| found.seen.state_paged);
    ReplayLetter { seq: found.seen.seq, acquired_count: found.seen.acquired_count, state }
}

/// The same letters, for when the queue is full before it has taken all.
fn again(letters: &ReplayLetters) -> Vec<ReplayLetter> {
    let copy = |letter: &ReplayLetter| ReplayLetter {
        seq: letter.seq,
        acquired_count: letter.acquired_count,
        state: letter.state.clone(),
    };
    letters.letters.iter().map(copy).collect()
}
