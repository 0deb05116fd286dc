//! What people do to a queue and want to know of it: settings, purging, who consumes.
//!
//! Invariant: no step costs more than its limit says, and what is confirmed (`Command::Confirm`) is committed. What
//! happens to single messages through management is not here, but where it happens to them anyway.

use std::{ops::Range, sync::Arc};

use super::{
    ConsumerId, QueuePolicy,
    node::Node,
    queue::{consumer::Consumer, entry::Status},
    settlement::finish,
};

/// What a step of a purge came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Messages removed.
    pub removed: u64,
    /// Where the next step begins; `None`: that was all.
    pub next: Option<u64>,
}

/// A consumer, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerView {
    /// Connection and link.
    pub id: ConsumerId,
    /// Of the dead-letter tree.
    pub dead_letter: bool,
    /// Container-id, link and user, as in failure records.
    pub identity: Arc<str>,
    /// It looks and takes nothing.
    pub browse: bool,
    /// What it wants of the messages, in its own words; `None`: all.
    pub filter: Option<String>,
    /// What its client will still take.
    pub credit: u32,
    /// Messages it holds.
    pub unsettled: u64,
    /// Messages sent to it since it attached.
    pub delivered: u64,
    /// It holds a crash suspect, and gets nothing else until that is settled.
    pub suspect_alone: bool,
}

impl ConsumerView {
    fn of(consumer: &Consumer, dead_letter: bool) -> Self {
        Self {
            id: consumer.id,
            dead_letter,
            identity: consumer.identity.clone(),
            browse: consumer.browse,
            filter: consumer.sieve.as_ref().map(|sieve| sieve.filter.words()),
            credit: consumer.credit,
            unsettled: consumer.held() as u64,
            delivered: consumer.delivered,
            suspect_alone: consumer.alone,
        }
    }
}

impl Node {
    /// Other settings, to be kept.
    pub(super) fn define(&mut self, settings: String, policy: QueuePolicy) {
        self.definition.settings = settings;
        self.set_policy(policy);
        if self.outlives_the_process() {
            self.ledger.define(&self.definition);
        }
    }

    pub(super) fn set_policy(&mut self, policy: QueuePolicy) {
        self.main.breaker.set_policy(&policy.breaker);
        self.main.set_retry_order(policy.retry_order);
        self.definition.policy = policy;
    }

    /// Removes at most `limit` messages that are waiting, of those numbered in `range`, and looks at no more than
    /// ten times as many; those handed out stay.
    pub fn purge(&mut self, dead_letter: bool, range: Range<u64>, limit: usize) -> Purged {
        let Self { main, dead, ledger, memory, .. } = self;
        let queue = if dead_letter { dead } else { main };
        let mut removed = 0;
        let mut from = range.start;
        for _ in 0..limit.saturating_mul(10) {
            let Some((seq, status)) = queue.entries.next_from(from).map(|(seq, entry)| (seq, entry.status))
            else {
                return Purged { removed, next: None };
            };
            if seq >= range.end {
                return Purged { removed, next: None };
            }
            from = seq + 1;
            if matches!(status, Status::Available | Status::Delayed | Status::Held) {
                finish(queue, ledger, memory, seq);
                removed += 1;
            }
            if removed >= limit as u64 {
                break;
            }
        }
        Purged { removed, next: Some(from) }
    }

    /// The number the next message of the queue will have.
    #[must_use]
    pub fn next_seq(&self, dead_letter: bool) -> u64 {
        if dead_letter { self.dead.next_seq } else { self.main.next_seq }
    }

    /// Publishers attached.
    #[must_use]
    pub fn publishers(&self) -> usize {
        self.producers.len()
    }

    /// How many consumers are attached, and the first `limit` of them, by id, those of the dead letters last.
    #[must_use]
    pub fn consumers(&self, limit: usize) -> (usize, Vec<ConsumerView>) {
        let mut views = Vec::new();
        for (queue, dead) in [(&self.main, false), (&self.dead, true)] {
            let mut some: Vec<&Consumer> = queue.attached().collect();
            some.sort_unstable_by_key(|consumer| consumer.id);
            let room = limit.saturating_sub(views.len());
            views.extend(some.into_iter().take(room).map(|consumer| ConsumerView::of(consumer, dead)));
        }
        (self.consumers.len(), views)
    }

    /// Why it must not be deleted, if only an empty or an unused queue may be.
    ///
    /// # Errors
    /// In words.
    pub fn deletable(&self, if_empty: bool, if_unused: bool) -> Result<(), String> {
        let (messages, letters) = (self.main.entries.len(), self.dead.entries.len());
        if if_empty && messages + letters > 0 {
            return Err(format!("it holds {messages} messages and {letters} dead letters, expected none"));
        }
        let (publishers, consumers) = (self.producers.len(), self.consumers.len());
        if if_unused && publishers + consumers > 0 {
            return Err(format!("it has {publishers} publishers and {consumers} consumers, expected none"));
        }
        Ok(())
    }
}
