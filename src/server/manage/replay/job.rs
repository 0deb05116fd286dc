//! A replay that runs: which letters, how fast, when it stops.
//!
//! Invariant: letters that died after it began are none of its own, and each step ends when what it moved is safe. It asks
//! the queue's task for every move and keeps nothing but its place; how far it is, is noted in `Replays`.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;

use super::{
    super::{
        House,
        letters::{Asked, Found, Walk, Want},
    },
    State,
};
use crate::{
    broker::{Filter, ReplayLetter, ReplayLetters, Replayed, Seq, Standing},
    management::Reply,
    server::queue::ToQueue,
};

/// Letters put back by one command.
const BATCH: usize = 2048;
/// How often the fate of canaries is asked for, a full queue asked again, and letters in use looked at again.
const POLL: Duration = Duration::from_millis(50);
/// Rounds over letters that were in use, before they are left where they are.
const ROUNDS: u32 = 20;
/// How often it is looked whether other queues have taken their letters.
const OFFER_POLLS: u32 = 600;
/// "canary ('one, then ten, stop if one fails again')".
const CANARIES: [usize; 2] = [1, 10];

/// How many letters match now.
pub(super) async fn count(house: &House, asked: &Asked, filter: Filter) -> Result<u64, Reply> {
    let mut walk = Walk::new(asked.clone(), true, filter.clone(), Seq(0));
    let mut matching = 0;
    while walk.next().is_some() {
        matching += walk.page(house, BATCH, Want::default()).await?.len() as u64;
    }
    let mut walk = Walk::new(asked.clone(), false, filter, Seq(0));
    while walk.next().is_some() {
        let found = walk.page(house, BATCH, Want { state: true, body: false }).await?;
        matching += foreign(found, &asked.name).count() as u64;
    }
    Ok(matching)
}

/// A replay that runs.
pub(super) struct Job {
    pub house: Arc<House>,
    pub asked: Asked,
    pub id: Arc<str>,
    pub filter: Filter,
    /// Letters from this number on came after it began.
    pub through: u64,
    pub rate: Option<u64>,
    /// How many more it may put back.
    pub left: u64,
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
    /// Runs to its end, whatever that is.
    pub async fn run(mut self, canary: bool) {
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
        // Nobody here hears what becomes of another queue's letters, so a canary says nothing about them.
        if canary { Ok(()) } else { self.others().await }
    }

    /// Letters of other queues that are kept in this one go back there.
    async fn others(&mut self) -> Result<(), End> {
        let mut walk = Walk::new(self.asked.clone(), false, self.filter.clone(), Seq(0));
        let mut offered = 0;
        while walk.next().is_some() && self.left > 0 {
            self.stopped()?;
            let size = usize::try_from(self.left).unwrap_or(usize::MAX).min(BATCH);
            let found = walk.page(&self.house, size, Want { state: true, body: false }).await?;
            let letters = foreign(found, &self.asked.name).map(letter).collect();
            let letters = ReplayLetters { id: self.id.clone(), own: false, letters, watch: false };
            let done = self.asked.ask(|reply| ToQueue::Replay(letters, reply)).await?;
            (self.left, offered) = (self.left.saturating_sub(done.moved), offered + done.moved);
            self.house.replays.with(&self.id, |progress| progress.replayed += done.moved);
            if let Some(rate) = self.rate {
                sleep(Duration::from_micros(done.moved * 1_000_000 / rate)).await;
            }
        }
        if offered > 0 { self.await_others().await } else { Ok(()) }
    }

    /// Until all that were offered to other queues are there, or back: those were not taken.
    async fn await_others(&self) -> Result<(), End> {
        for _ in 0..OFFER_POLLS {
            let mut walk = Walk::new(self.asked.clone(), false, self.filter.clone(), Seq(0));
            let (mut moving, mut left) = (false, 0);
            while walk.next().is_some() {
                let found = walk.page(&self.house, BATCH, Want { state: true, body: false }).await?;
                for one in foreign(found, &self.asked.name) {
                    moving |= one.seen.standing == Standing::Moving;
                    left += 1;
                }
            }
            if !moving {
                self.house.replays.with(&self.id, |progress| {
                    progress.replayed = progress.replayed.saturating_sub(left);
                    progress.skipped += left;
                });
                return Ok(());
            }
            self.stopped()?;
            sleep(POLL).await;
        }
        Err(End::Failed(Reply::unavailable("the queues they died in did not take all letters in time")))
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
            let letters = std::mem::take(&mut rest);
            let letters = ReplayLetters { id: self.id.clone(), own: true, letters, watch };
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

/// Those that are dead letters of other queues.
fn foreign<'a>(found: Vec<Found>, here: &'a str) -> impl Iterator<Item = Found> + 'a {
    let died_elsewhere =
        move |one: &Found| one.state.as_ref().is_some_and(|state| state.died_elsewhere(here).is_some());
    found.into_iter().filter(died_elsewhere)
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
