//! What is noted of attempts that ended, for those who watch.

use super::rig::*;
use crate::broker::{
    Attempt, AttemptEnd, AttemptNext, Cause, Command, DeathReason, DetachCause, Modified, Outcome,
    QueuePolicy, Subscribe, policy::RetryDelay,
};

fn watched() -> Rig {
    let retry_delay = RetryDelay { first_ms: 500, jitter: 0.0, ..RetryDelay::default() };
    let mut rig = Rig::with(QueuePolicy { max_attempts: 2, retry_delay, ..QueuePolicy::default() });
    rig.node.watch_attempts();
    rig.publish_n(8);
    rig
}

fn ends(attempts: &[Attempt]) -> Vec<(u64, AttemptEnd, AttemptNext)> {
    attempts.iter().map(|a| (a.seq.0, a.end, a.next)).collect()
}

#[test]
fn each_attempt_is_noted_once_with_what_decided_and_what_comes_next() {
    let mut rig = watched();
    rig.consumer(1);
    let cause = Some(Box::new(Cause { condition: "app:busy".into(), ..Cause::default() }));
    rig.settle(1, 1, Outcome::Accepted);
    rig.settle(1, 2, failed());
    rig.settle(1, 3, Outcome::Rejected(cause));
    rig.settle(1, 4, Outcome::Released);
    rig.settle(
        1,
        5,
        Outcome::Modified(Box::new(Modified { undeliverable_here: true, ..Modified::default() })),
    );
    // One that is held no more is no attempt.
    rig.settle(1, 1, Outcome::Accepted);
    rig.pass(500);
    rig.settle(1, 2, failed());
    let attempts = rig.node.take_attempts();
    assert_eq!(
        ends(&attempts),
        [
            (1, AttemptEnd::Accepted, AttemptNext::Done),
            (2, AttemptEnd::Failed, AttemptNext::Later(500)),
            (3, AttemptEnd::Rejected, AttemptNext::Dead(DeathReason::Rejected)),
            (4, AttemptEnd::Released, AttemptNext::Back),
            (5, AttemptEnd::Modified, AttemptNext::Back),
            (2, AttemptEnd::Failed, AttemptNext::Dead(DeathReason::MaxAttempts)),
        ]
    );
    assert_eq!(attempts[2].cause.as_ref().map(|c| c.condition.as_str()), Some("app:busy"));
    let rules: Vec<Option<&str>> = attempts.iter().map(|a| a.rule.as_deref()).collect();
    assert_eq!(rules, [None, Some("default"), Some("default"), None, None, Some("default")]);
    assert!(attempts.iter().all(|a| !a.dead_letter && !a.consumer.is_empty()));
    assert_eq!(rig.node.take_attempts(), []);
    rig.leave(1, DetachCause::Lost);
    let ends = ends(&rig.node.take_attempts());
    assert_eq!(ends[0], (6, AttemptEnd::Lost, AttemptNext::Later(500)), "the oldest it held");
}

#[test]
fn dead_letters_and_what_is_sent_settled_are_attempts_and_browsing_is_none() {
    let mut rig = watched();
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    rig.leave(1, DetachCause::Clean);
    rig.node.take_attempts();
    rig.dead_consumer(2);
    rig.settle(2, 1, Outcome::Accepted);
    rig.subscribe(Subscribe { browse: true, ..wish(3) }, 10);
    rig.subscribe(Subscribe { presettled: true, ..wish(4) }, 1);
    let attempts = rig.node.take_attempts();
    let done = |dead, seq| (dead, seq, AttemptEnd::Accepted);
    let got: Vec<_> = attempts.iter().map(|a| (a.dead_letter, a.seq.0, a.end)).collect();
    assert_eq!(got, [done(true, 1), done(false, 2)]);
    let takes: Vec<_> = [2, 3, 4, 5].map(|n| rig.node.takes_dead_letters(c(n))).into();
    assert_eq!(takes, [Some(true), None, Some(false), None]);
}

#[test]
fn nothing_is_noted_unless_somebody_watches() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.node.take_attempts(), []);
}

#[test]
fn what_the_full_disk_takes_from_a_consumer_ends_its_attempt() {
    let mut rig = watched();
    rig.auto_commit = false;
    rig.consumer(1);
    rig.publish_n(1);
    let ticket = rig.batches.back().map(|batch| batch.ticket).unwrap();
    rig.run(Command::CommitFailed { ticket });
    assert_eq!(ends(&rig.node.take_attempts()), [(9, AttemptEnd::Released, AttemptNext::Done)]);
}
