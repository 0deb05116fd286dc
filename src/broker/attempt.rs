//! How delivery attempts end, told to those who watch: the outcome, the rule that decided, and what comes next.
//!
//! Invariant: nothing is noted unless asked for, and then each attempt once, in the order they ended (browsing is no
//! attempt). What is noted is as much as was settled since `take_attempts`. Changes and decides nothing.

use std::sync::Arc;

use super::{
    Cause, ConsumerId, DeathReason, FailureOutcome, Seq,
    node::Node,
    queue::Queue,
    rules::{self, Ruling},
    settlement::{Next, Verdict},
};
use crate::time::Millis;

/// A delivery attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// It was of a dead letter.
    pub dead_letter: bool,
    /// The message.
    pub seq: Seq,
    /// Container-id, link name and user, as in the failure record.
    pub consumer: Arc<str>,
    /// How it ended.
    pub end: AttemptEnd,
    /// What the consumer said about it.
    pub cause: Option<Cause>,
    /// The rule that decided on a failure.
    pub rule: Option<String>,
    /// What becomes of the message.
    pub next: AttemptNext,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// `accepted`, or sent settled.
    Accepted,
    /// `modified` with delivery-failed.
    Failed,
    /// `rejected`.
    Rejected,
    /// `released`, or given back with its link.
    Released,
    /// `modified` without delivery-failed.
    Modified,
    /// The connection broke off, and it may have been the cause.
    Lost,
}

impl AttemptEnd {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Released => "released",
            Self::Modified => "modified",
            Self::Lost => "lost",
        }
    }

    /// It counts as a failed attempt.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Rejected | Self::Lost)
    }
}

/// What becomes of a message after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptNext {
    /// Nothing more: it is done, or was taken back since the disk is full.
    Done,
    /// It waits for its next delivery.
    Back,
    /// It does so after so many milliseconds.
    Later(u64),
    /// Its time to live has passed.
    Expired,
    /// It is a dead letter now.
    Dead(DeathReason),
}

impl Node {
    /// Notes attempts from now on.
    pub fn watch_attempts(&mut self) {
        self.attempts.get_or_insert_default();
    }

    /// The attempts that ended since the last call.
    pub fn take_attempts(&mut self) -> Vec<Attempt> {
        self.attempts.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether what the consumer takes are dead letters; none if it takes nothing: it browses, or is gone.
    #[must_use]
    pub fn takes_dead_letters(&mut self, consumer: ConsumerId) -> Option<bool> {
        let &(dead, slot) = self.consumers.get(&consumer)?;
        self.queue_mut(dead).consumer(slot).filter(|c| !c.browse).map(|_| dead)
    }

    /// An attempt after which the message stays.
    pub(super) fn note_attempt(
        &mut self,
        now: Millis,
        (dead_letter, seq): (bool, u64),
        consumer: &Arc<str>,
        verdict: &Verdict,
        ruling: Option<&Ruling>,
        next: &Next,
    ) {
        let Some(attempts) = &mut self.attempts else { return };
        let next = match next {
            Next::Back => AttemptNext::Back,
            Next::Later(due) => AttemptNext::Later(due.since_ms(now)),
            Next::Expire => AttemptNext::Expired,
            Next::Bury(reason) => AttemptNext::Dead(*reason),
        };
        let end = match verdict.failed {
            Some(FailureOutcome::Rejected) => AttemptEnd::Rejected,
            Some(FailureOutcome::Lost) => AttemptEnd::Lost,
            Some(_) => AttemptEnd::Failed,
            None if verdict.modified => AttemptEnd::Modified,
            None => AttemptEnd::Released,
        };
        let rule = || ruling.map_or_else(|| rules::NO_RULE.to_owned(), |ruling| ruling.rule.clone());
        attempts.push(Attempt {
            dead_letter,
            seq: Seq(seq),
            consumer: Arc::clone(consumer),
            end,
            cause: verdict.cause.clone(),
            rule: verdict.failed.map(|_| rule()),
            next,
        });
    }
}

/// Notes an attempt after which there is no message any more (call before it is taken out).
#[inline]
pub(super) fn note_last(
    attempts: &mut Option<Vec<Attempt>>,
    queue: &mut Queue,
    slot: u32,
    seq: u64,
    end: AttemptEnd,
) {
    let Some(attempts) = attempts else { return };
    let consumer = queue.consumer(slot).map_or_else(|| Arc::from(""), |c| Arc::clone(&c.identity));
    attempts.push(Attempt {
        dead_letter: queue.id.is_dead_letter(),
        seq: Seq(seq),
        consumer,
        end,
        cause: None,
        rule: None,
        next: AttemptNext::Done,
    });
}
