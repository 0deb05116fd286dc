//! What each outcome does to a message: the table of the settlement rules, and nothing else.
//!
//! Invariant: whatever a consumer answers, the message is afterwards in exactly one place: gone (accepted),
//! back, waiting for its retry, or dead-lettered; and what changed about it is recorded if the store knows of
//! it. Does not decide who gets it next (`queue`), nor how a dead letter travels (`dead_letter`).

use std::sync::Arc;

use super::{
    Annotations, Cause, ConsumerId, DeathReason, DetachCause, Failure, FailureOutcome, Modified, NotBefore,
    Outcome, Seq, Settlement,
    attempt::{AttemptEnd, note_last},
    breaker::weigh,
    history::{add_failure, exclude, merge},
    ledger::{Ledger, Notice},
    node::Node,
    policy::Action,
    queue::{Memory, Queue, entry::Status, retry},
    rules::{self, Nack, Ruling},
};
use crate::time::Millis;

/// What a settlement left behind, so that its confirmation waits for the right thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The store knows nothing of the message: nothing to wait for.
    Unrecorded,
    /// There is a record in the open batch.
    Recorded,
    /// It is on its way to another queue.
    Leaving,
}

/// What a consumer that does not accept says of one message.
pub(super) struct Verdict {
    /// It counts as a failed attempt, of this kind.
    pub(super) failed: Option<FailureOutcome>,
    pub(super) modified: bool,
    pub(super) cause: Option<Cause>,
    annotations: Annotations,
    /// Annotations that are not taken.
    skipped: u32,
    /// The annotations as texts, for the rules.
    words: Vec<(String, String)>,
    undeliverable_here: bool,
    not_before: Option<NotBefore>,
}

impl Verdict {
    const RELEASED: Self = Self {
        failed: None,
        modified: false,
        cause: None,
        annotations: Annotations(Vec::new()),
        skipped: 0,
        words: Vec::new(),
        undeliverable_here: false,
        not_before: None,
    };

    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Accepted | Outcome::Released => Self::RELEASED,
            Outcome::Rejected(cause) => {
                Self { failed: Some(FailureOutcome::Rejected), cause: cause.map(|c| *c), ..Self::RELEASED }
            }
            Outcome::Modified(modified) => {
                let Modified {
                    delivery_failed,
                    undeliverable_here,
                    annotations,
                    skipped,
                    words,
                    cause,
                    not_before,
                } = *modified;
                Self {
                    failed: delivery_failed.then_some(FailureOutcome::Failed),
                    modified: true,
                    cause: cause.map(|c| *c),
                    annotations,
                    skipped,
                    words,
                    undeliverable_here,
                    not_before: not_before.filter(|_| delivery_failed),
                }
            }
        }
    }
}

impl Verdict {
    /// Whether it raises `delivery-count`. A rule that releases lets a rejection or a lost connection go
    /// uncounted; "delivery-failed … MUST have their delivery-count incremented" (3.4.5) holds all the same.
    fn counts(&self, ruling: Option<&Ruling>) -> bool {
        let released = ruling.is_some_and(|ruling| ruling.action == Action::Release);
        self.failed.is_some_and(|failed| failed == FailureOutcome::Failed || !released)
    }
}

/// Where a message goes that came back.
pub(super) enum Next {
    Back,
    Later(Millis),
    Expire,
    Bury(DeathReason),
}

/// Removes a message for good.
pub(super) fn finish(queue: &mut Queue, ledger: &mut Ledger, memory: &mut Memory, seq: u64) -> Fate {
    let Some(entry) = queue.take_out(seq, memory) else { return Fate::Unrecorded };
    if !entry.recorded() {
        return Fate::Unrecorded;
    }
    if let Some(pending) = entry.pending() {
        // "accepted only when the message is safe: its commit is on disk, or every queue it was routed
        // to has already had it finally settled by a consumer"
        ledger.settled_early(pending);
    }
    ledger.gone(queue.id, seq);
    Fate::Recorded
}

impl Node {
    /// A consumer's answers.
    pub(super) fn settle(&mut self, now: Millis, consumer: ConsumerId, settlements: Vec<Settlement>) {
        let Some(&(dead, slot)) = self.consumers.get(&consumer) else { return };
        for Settlement { seq, outcome, confirm } in settlements {
            let queue = self.queue_mut(dead);
            let held = queue.entries.get(seq.0);
            if !held.is_some_and(|e| e.status == Status::Acquired && e.holder == slot) {
                if confirm {
                    self.confirm_again(dead, slot, consumer, seq, outcome);
                }
                continue;
            }
            let given_back = held.map(|e| e.acquired_count);
            let outcome = match outcome {
                Some(outcome) => outcome,
                // "settled=true without a state …: the source's default-outcome where one was set, else released"
                None => queue.consumer(slot).map_or(Outcome::Released, |c| c.default_outcome.clone()),
            };
            if let Some(failed) = given_back.and_then(|n| weigh(&outcome, n)) {
                queue.breaker.settled(now, seq.0, failed);
            }
            let confirmed = confirm.then(|| outcome.clone());
            let fate = self.resolve(now, dead, slot, seq.0, outcome);
            if let Some(outcome) = confirmed {
                if let Some(c) = self.queue_mut(dead).consumer(slot) {
                    c.remember(seq, outcome.clone());
                }
                self.confirm(seq, fate, Notice::Settled(consumer, seq, outcome));
            }
        }
    }

    fn confirm(&mut self, seq: Seq, fate: Fate, notice: Notice) {
        match fate {
            Fate::Unrecorded => self.ledger.notify(notice),
            Fate::Recorded => self.ledger.notify_when_safe(notice),
            Fate::Leaving => self.moves.notices.entry(seq.0).or_default().push(notice),
        }
    }

    /// "a repeated settlement of the same delivery is answered with the outcome already recorded". One
    /// no longer remembered is answered with its own words: a second-mode link must never hang.
    fn confirm_again(&mut self, dead: bool, slot: u32, id: ConsumerId, seq: Seq, given: Option<Outcome>) {
        let queue = self.queue_mut(dead);
        let leaving = queue.entries.get(seq.0).is_some_and(|e| e.status == Status::Moving);
        let Some(consumer) = queue.consumer(slot) else { return };
        let recorded = consumer.recall(seq).cloned();
        let known = recorded.is_some();
        let outcome = recorded.or(given).unwrap_or_else(|| consumer.default_outcome.clone());
        let fate = if leaving && known { Fate::Leaving } else { Fate::Recorded };
        self.confirm(seq, fate, Notice::Settled(id, seq, outcome));
    }

    /// Does what an outcome says to a message the consumer in this slot holds.
    fn resolve(&mut self, now: Millis, dead: bool, slot: u32, seq: u64, outcome: Outcome) -> Fate {
        if !dead {
            self.tally.settled(&outcome);
        }
        if outcome == Outcome::Accepted {
            let Self { main, dead: tree, ledger, memory, attempts, .. } = self;
            let queue = if dead { tree } else { main };
            note_last(attempts, queue, slot, seq, AttemptEnd::Accepted);
            let fate = finish(queue, ledger, memory, seq);
            queue.let_go(slot, seq);
            if !dead {
                self.watch.ended(seq, Some(true));
            }
            return fate;
        }
        self.give_back(now, dead, slot, seq, Verdict::of(outcome))
    }

    /// A consumer left: what it holds ends as `cause` says.
    pub(super) fn unsubscribe(&mut self, now: Millis, id: ConsumerId, cause: DetachCause) {
        let Some((dead, slot)) = self.consumers.remove(&id) else { return };
        let suspects = usize::try_from(self.definition.policy.crash_suspects).unwrap_or(usize::MAX);
        let queue = self.queue_mut(dead);
        let default = queue.consumer(slot).map_or(Outcome::Released, |c| c.default_outcome.clone());
        for (i, seq) in queue.holding(slot).into_iter().enumerate() {
            match cause {
                // "A clean detach is not a crash: default-outcome, else released."
                DetachCause::Clean => {
                    self.resolve(now, dead, slot, seq, default.clone());
                }
                // "The oldest crash-suspects per link get delivery-count + 1, the rest only acquired-count + 1"
                DetachCause::Lost => {
                    let failed = (i < suspects).then_some(FailureOutcome::Lost);
                    if !dead {
                        self.tally.lost(failed.is_some());
                    }
                    if failed.is_some() {
                        self.queue_mut(dead).breaker.settled(now, seq, true);
                    }
                    self.give_back(now, dead, slot, seq, Verdict { failed, ..Verdict::RELEASED });
                }
            }
        }
        self.queue_mut(dead).unsubscribe(slot);
    }

    /// A message comes back from the consumer that held it.
    fn give_back(&mut self, now: Millis, dead: bool, slot: u32, seq: u64, verdict: Verdict) -> Fate {
        let queue = self.queue_mut(dead);
        queue.relieve(slot, seq);
        let (endpoint, identity) = match queue.consumer(slot) {
            Some(c) => (verdict.undeliverable_here.then(|| c.endpoint.clone()), Arc::clone(&c.identity)),
            None => (None, Arc::from("")),
        };
        let Some(attempt) = queue.entries.get(seq).map(|e| e.delivery_count.saturating_add(1)) else {
            return Fate::Unrecorded;
        };
        let ruling = self.rule_on(dead, attempt, &verdict);
        let Some(entry) = self.queue_mut(dead).entries.get_mut(seq) else { return Fate::Unrecorded };
        let failures = if verdict.counts(ruling.as_ref()) { attempt } else { entry.delivery_count };
        entry.set_counts(failures, entry.acquired_count.saturating_add(1));
        let expired = entry.expired(now);
        // Failures here, not those the publisher counted nor those before a replay: they set the delay.
        let recorded = entry.state.as_ref().map_or(0, |s| s.failures.len() as u32 + s.failures_dropped);
        let retry = failures.min(recorded.saturating_add(1));
        let next = self.judge(now, dead, (failures, retry), expired, &verdict, ruling.as_ref());

        self.note_attempt(now, (dead, seq), &identity, &verdict, ruling.as_ref(), &next);
        let delay_ms = if let Next::Later(due) = next { due.since_ms(now) } else { 0 };
        if verdict.failed.is_some() && !dead {
            self.watch.ended(seq, Some(false));
        }
        let Verdict { failed, cause, annotations, mut skipped, .. } = verdict;
        let Some(entry) = self.queue_mut(dead).entries.get_mut(seq) else { return Fate::Unrecorded };
        let later = matches!(next, Next::Later(_));
        let more = failed.is_some() || !annotations.is_empty() || endpoint.is_some() || later;
        if let Some(outcome) = failed {
            let failure = Failure {
                time: now,
                consumer: identity,
                outcome,
                cause: cause.clone(),
                annotations: annotations.clone(),
                delay_ms,
                rule: ruling.map_or_else(|| rules::NO_RULE.to_owned(), |ruling| ruling.rule),
            };
            add_failure(entry, failure);
        }
        if more {
            let state = entry.state_mut();
            skipped += merge(&mut state.annotations, annotations);
            state.not_before = if let Next::Later(due) = next { Some(due) } else { None };
            exclude(&mut state.excluded, endpoint);
        }
        // "A key that the broker will not take is skipped and counted, never a reason to end the session."
        self.tally.annotations_skipped += u64::from(skipped);
        let fate = match next {
            Next::Back => {
                self.queue_mut(dead).put_back(seq);
                self.record_change(dead, seq, more)
            }
            Next::Later(due) => {
                self.queue_mut(dead).delay(seq, due);
                self.record_change(dead, seq, true)
            }
            Next::Expire => self.expire(now, seq),
            Next::Bury(reason) => self.bury(now, seq, reason, cause),
        };
        if failed.is_some() && !dead {
            self.main.group_failed(seq);
        }
        fate
    }

    /// What the queue's rules say of a failed attempt; nothing in the dead-letter tree, where all stays.
    fn rule_on(&self, dead: bool, attempt: u32, verdict: &Verdict) -> Option<Ruling> {
        let outcome = verdict.failed.filter(|_| !dead)?;
        let condition = verdict.cause.as_ref().map_or("", |cause| cause.condition.as_str());
        let nack = Nack { outcome, condition, annotations: &verdict.words, attempt };
        rules::decide(&self.definition.policy, &nack)
    }

    fn judge(
        &mut self,
        now: Millis,
        dead: bool,
        (failures, retry): (u32, u32),
        expired: bool,
        verdict: &Verdict,
        ruling: Option<&Ruling>,
    ) -> Next {
        let back_or_later = |due: Option<Millis>| match due {
            Some(due) if due > now => Next::Later(due),
            _ => Next::Back,
        };
        let policy = &self.definition.policy;
        let chosen = verdict.not_before.map(|not_before| not_before.due(now));
        if dead {
            // Nothing is dead-lettered twice, and nothing is deleted: it stays where it is. What failed or was rejected
            // waits all the same, or its consumer and we would spin.
            let delay = verdict.failed.map(|_| retry::delay_ms(&policy.retry_delay, retry, &mut self.rng));
            return back_or_later(chosen.or(delay.map(|ms| now.plus_ms(ms))));
        }
        let action = ruling.map(|ruling| ruling.action);
        match verdict.failed {
            // A rule that dead-letters it only agrees with the consumer, whose word stays the reason.
            Some(FailureOutcome::Rejected) if !matches!(action, Some(Action::Retry | Action::Release)) => {
                Next::Bury(DeathReason::Rejected)
            }
            // "If its time to live has passed, it expires instead (Qpid JMS settles its expired messages this way)"
            _ if expired && verdict.undeliverable_here => Next::Expire,
            Some(_) if action == Some(Action::DeadLetter) => Next::Bury(DeathReason::Policy),
            Some(_) if action == Some(Action::Release) && !expired => Next::Back,
            // "with 3, a message is processed three times and dead-lettered at the third failure, at the
            // moment of the NACK"
            Some(_) if action != Some(Action::Release) && failures >= policy.max_attempts => {
                Next::Bury(DeathReason::MaxAttempts)
            }
            _ if expired => Next::Expire,
            Some(_) => {
                let delay = ruling.and_then(|r| r.delay.as_ref()).unwrap_or(&policy.retry_delay);
                // "A consumer may choose the delay of one retry itself": before any rule.
                back_or_later(Some(
                    chosen.unwrap_or_else(|| now.plus_ms(retry::delay_ms(delay, retry, &mut self.rng))),
                ))
            }
            None => Next::Back,
        }
    }

    /// Records what changed about a message that stays in its queue.
    fn record_change(&mut self, dead: bool, seq: u64, more_than_counters: bool) -> Fate {
        let Self { main, dead: tree, ledger, .. } = self;
        let queue = if dead { tree } else { main };
        let Some(entry) = queue.entries.get(seq).filter(|e| e.recorded()) else { return Fate::Unrecorded };
        match &entry.state {
            Some(state) if more_than_counters => ledger.state(queue.id, seq, Arc::clone(state)),
            _ => ledger.count(queue.id, seq, entry.delivery_count, entry.acquired_count),
        }
        Fate::Recorded
    }
}
