//! A queue's answers to those who ask it, at once or when what they asked for is safe.
//!
//! Invariant: nothing is confirmed before it is safe: an answer about a change leaves after its commit, or not at all
//! if the store dies. Asks the node and decides nothing.

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::{Description, QueueTask, Snapshot, ToQueue};
use crate::{
    broker::{Command, Purged},
    limits::PURGE_STEP,
};

/// Who waits for a commit.
#[derive(Default)]
pub(super) struct Unconfirmed {
    next: u64,
    waiting: FxHashMap<u64, Answer>,
}

enum Answer {
    Done(oneshot::Sender<()>),
    Purged(Purged, oneshot::Sender<Purged>),
}

impl QueueTask {
    /// Answers a question, or does what is to be confirmed.
    pub(super) fn answer(&mut self, question: ToQueue) {
        // Who asked may have lost patience, here and below.
        match question {
            ToQueue::Stats(reply) => drop(reply.send(self.numbers())),
            ToQueue::Describe(reply) => {
                let description = Description {
                    numbers: self.numbers(),
                    publishers: self.node.publishers(),
                    breaker: self.node.breaker(),
                    definition: self.node.definition().clone(),
                    next_seq: self.node.next_seq(false),
                };
                drop(reply.send(description));
            }
            ToQueue::Consumers(limit, reply) => drop(reply.send(self.node.consumers(limit))),
            ToQueue::Confirmed(command, reply) => {
                if let Some(command) = command {
                    self.node.apply(self.clock.now(), command, &mut self.effects);
                }
                self.when_safe(Answer::Done(reply));
            }
            ToQueue::Purge(range, reply) => {
                let purged = self.node.purge(false, range, PURGE_STEP);
                self.when_safe(Answer::Purged(purged, reply));
            }
            _ => {}
        }
    }

    fn numbers(&self) -> Snapshot {
        let (main, dead) = self.node.counts();
        let oldest_age_ms = self.node.oldest_age_ms(self.clock.now());
        Snapshot { main, dead, tally: *self.node.tally(), oldest_age_ms }
    }

    fn when_safe(&mut self, answer: Answer) {
        let token = self.unconfirmed.next;
        self.unconfirmed.next += 1;
        self.unconfirmed.waiting.insert(token, answer);
        self.node.apply(self.clock.now(), Command::Confirm { token }, &mut self.effects);
    }

    /// What was done before this token was given is safe.
    pub(super) fn confirm(&mut self, token: u64) {
        match self.unconfirmed.waiting.remove(&token) {
            Some(Answer::Done(reply)) => drop(reply.send(())),
            Some(Answer::Purged(purged, reply)) => drop(reply.send(purged)),
            None => {}
        }
    }
}
