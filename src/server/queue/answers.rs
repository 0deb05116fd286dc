//! A queue's answers to those who ask it, at once or when what they asked for is safe.
//!
//! Invariant: nothing is confirmed before it is safe: an answer about a change leaves after its commit, or not at all
//! if the store dies. Asks the node and decides nothing.

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::{Description, LookAt, QueueTask, Snapshot, ToQueue, told::breakers};
use crate::{
    broker::{Command, Look, Purged, Replayed, Seq},
    limits::{LOOK_AT_ONCE, PURGE_STEP},
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
    Replayed(Replayed, oneshot::Sender<Replayed>),
    Removed(u64, oneshot::Sender<u64>),
    /// Those of them that are there then: a full disk refuses some.
    Imported(Vec<Seq>, oneshot::Sender<u64>),
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
                    next_seq: (self.node.next_seq(false), self.node.next_seq(true)),
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
            other => self.answer_about_messages(other),
        }
    }

    fn answer_about_messages(&mut self, question: ToQueue) {
        let now = self.clock.now();
        match question {
            ToQueue::Look(LookAt { dead_letter, from, limit, filter }, reply) => {
                let look = Look { dead_letter, from, scan: LOOK_AT_ONCE, limit, filter: &filter };
                drop(reply.send(self.node.look(look)));
            }
            ToQueue::Explain(dead_letter, seq, reply) => {
                let seen = self.node.look_at(dead_letter, seq);
                let why = self.node.why(now, dead_letter, seq);
                drop(reply.send(seen.map(|seen| (seen, why))));
            }
            ToQueue::Causes(filter, wanted, reply) => {
                let causes = if wanted { self.node.causes(true, &filter) } else { Vec::new() };
                drop(reply.send((self.node.count_letters(true, &filter), causes)));
            }
            ToQueue::Fates(id, forget, reply) => drop(reply.send(self.node.fates(&id, forget))),
            ToQueue::Replay(letters, reply) => {
                let replayed = self.node.replay(now, letters);
                self.when_safe(Answer::Replayed(replayed, reply));
            }
            ToQueue::RemoveLetters(letters, reply) => {
                let removed = self.node.remove_letters(&letters);
                self.when_safe(Answer::Removed(removed, reply));
            }
            ToQueue::Import(letters, reply) => {
                let import = |(message, state)| self.node.import_letter(message, state);
                let seqs = letters.into_iter().map(import).collect();
                self.when_safe(Answer::Imported(seqs, reply));
            }
            _ => {}
        }
    }

    fn numbers(&self) -> Snapshot {
        let (main, dead) = self.node.counts();
        let oldest_age_ms = self.node.oldest_age_ms(self.clock.now());
        let breakers = breakers(self.node.breaker());
        Snapshot { main, dead, tally: *self.node.tally(), oldest_age_ms, breakers }
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
            Some(Answer::Replayed(replayed, reply)) => drop(reply.send(replayed)),
            Some(Answer::Removed(removed, reply)) => drop(reply.send(removed)),
            Some(Answer::Imported(seqs, reply)) => {
                let there = seqs.iter().filter(|seq| self.node.look_at(true, **seq).is_some());
                let _ = reply.send(there.count() as u64);
            }
            None => {}
        }
    }
}
