//! What a queue's task is told and asked, and what it answers.
//!
//! Invariant: every question carries where its answer goes, and who asked may have lost patience meanwhile.

use std::{ops::Range, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use crate::{
    broker::{
        BreakerState, CauseCount, Command, ConnectionId, ConsumerView, Counts, EntryState, Fates, Filter,
        Message, Page, Purged, QueueDefinition, ReplayLetters, Replayed, Seen, Seq, Tally, Why,
    },
    server::connection::ToConnection,
};

/// What a queue's task is told.
pub enum ToQueue {
    /// Apply this.
    Command(Command),
    /// A connection will send commands and wants the answers here.
    Join(ConnectionId, mpsc::UnboundedSender<ToConnection>),
    /// It has gone.
    Leave(ConnectionId),
    /// The broker stops: keep non-durable messages too, answer when all is safe, and end.
    Stop(oneshot::Sender<()>),
    /// Somebody wants its numbers.
    Stats(oneshot::Sender<Snapshot>),
    /// Somebody wants to know all about it.
    Describe(oneshot::Sender<Description>),
    /// Somebody wants to know its consumers: how many there are, and the first so many.
    Consumers(usize, oneshot::Sender<(usize, Vec<ConsumerView>)>),
    /// Do this, if anything, and answer when it and all before it is safe.
    Confirmed(Option<Command>, oneshot::Sender<()>),
    /// Remove what waits, of those with numbers in this range, one step of it; answered when it is safe.
    Purge(Range<u64>, oneshot::Sender<Purged>),
    /// Somebody looks at messages.
    Look(LookAt, oneshot::Sender<Page>),
    /// Somebody wants one message, and why it is not being delivered.
    Explain(bool, Seq, oneshot::Sender<Option<(Seen, Vec<Why>)>>),
    /// Somebody wants to know how many dead letters pass, how many may, and (if asked) what they died of.
    Causes(Arc<Filter>, bool, oneshot::Sender<((u64, u64), Vec<CauseCount>)>),
    /// Put dead letters back; answered when it is safe.
    Replay(ReplayLetters, oneshot::Sender<Replayed>),
    /// What became of the letters this replay put back and has watched; whether it asks for the last time.
    Fates(Arc<str>, bool, oneshot::Sender<Fates>),
    /// Remove these dead letters, if they are as they were; answered with how many when it is safe.
    RemoveLetters(Vec<(Seq, u32)>, oneshot::Sender<u64>),
    /// Take these as dead letters; answered with how many are safe.
    Import(Vec<(Arc<Message>, Arc<EntryState>)>, oneshot::Sender<u64>),
    /// The node is to be deleted if it may be: answered with why not, or when it is written down.
    DeleteIf {
        /// Only if it holds nothing.
        if_empty: bool,
        /// Only if nobody is attached.
        if_unused: bool,
        /// Whom to answer.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// The node is deleted: tell its links, write it down, and end.
    Delete,
}

/// Which messages somebody wants to look at; see `broker::Look`.
#[derive(Debug, Clone)]
pub struct LookAt {
    /// Of the dead-letter tree.
    pub dead_letter: bool,
    /// From this number on.
    pub from: Seq,
    /// Most messages.
    pub limit: usize,
    /// Which.
    pub filter: Arc<Filter>,
}

/// A queue as people want to see it.
#[derive(Debug)]
pub struct Description {
    /// Its numbers.
    pub numbers: Snapshot,
    /// Publishers attached.
    pub publishers: usize,
    /// What its breaker does.
    pub breaker: BreakerState,
    /// Its name and rules.
    pub definition: QueueDefinition,
    /// The numbers its next message and its next dead letter will have.
    pub next_seq: (u64, u64),
}

/// A queue's numbers at one moment, or the sum of several queues'.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    /// The queue's messages.
    pub main: Counts,
    /// Its dead letters.
    pub dead: Counts,
    /// What it did since the process started.
    pub tally: Tally,
    /// How long its oldest message has been there.
    pub oldest_age_ms: u64,
    /// Breakers that are closed, open and half-open.
    pub breakers: [u64; 3],
}

impl Snapshot {
    /// Adds another queue's; of the ages, the larger.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: &Counts, b: &Counts| Counts {
            available: a.available + b.available,
            acquired: a.acquired + b.acquired,
            delayed: a.delayed + b.delayed,
            held: a.held + b.held,
            moving: a.moving + b.moving,
            bytes: a.bytes + b.bytes,
            consumers: a.consumers.saturating_add(b.consumers),
        };
        self.main = sum(&self.main, &other.main);
        self.dead = sum(&self.dead, &other.dead);
        self.tally.add(&other.tally);
        self.oldest_age_ms = self.oldest_age_ms.max(other.oldest_age_ms);
        for (mine, theirs) in self.breakers.iter_mut().zip(other.breakers) {
            *mine += theirs;
        }
    }
}

/// One breaker, as `Snapshot` counts them.
pub(super) fn breakers(state: BreakerState) -> [u64; 3] {
    match state {
        BreakerState::Closed => [1, 0, 0],
        BreakerState::Open { .. } => [0, 1, 0],
        BreakerState::HalfOpen { .. } => [0, 0, 1],
    }
}
