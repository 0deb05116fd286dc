//! Each line of the settlement rules that is about one message and one answer.

use super::rig::*;
use crate::broker::policy::RetryDelay;
use crate::broker::*;

fn modified(change: impl FnOnce(&mut Modified)) -> Outcome {
    let mut modified = Modified::default();
    change(&mut modified);
    Outcome::Modified(Box::new(modified))
}

fn pairs(pairs: &[(&str, &str)]) -> Annotations {
    Annotations(pairs.iter().map(|(k, v)| (k.as_bytes().into(), v.as_bytes().into())).collect())
}

fn cause() -> Cause {
    Cause {
        condition: "amqp:decode-error".into(),
        description: Some("no such field".into()),
        info: Some(b"\xc1".to_vec().into()),
    }
}

#[test]
fn accepted_removes_the_message_durably() {
    let mut rig = Rig::new();
    rig.publish_n(2);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    assert!(rig.stored(1).is_none() && rig.stored(2).is_some());
    assert_eq!(rig.node.counts().0, Counts { acquired: 1, bytes: 100, consumers: 1, ..Counts::default() });
    rig.restart();
    rig.consumer(1);
    assert_eq!(rig.seqs(), [2]);
}

#[test]
fn accepted_is_confirmed_only_after_its_commit() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.auto_commit = false;
    rig.settle_as(1, 1, Some(Outcome::Accepted), true);
    assert_eq!(rig.settled, []);
    rig.commit();
    assert_eq!(rig.settled, [(c(1), Seq(1), Outcome::Accepted)]);
}

#[test]
fn failed_counts_one_attempt_durably_and_is_retried() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, failed());
    let again: Vec<_> = rig.deliveries.iter().map(|(_, d)| (d.delivery_count, d.acquired_count)).collect();
    assert_eq!(again, [(0, 0), (1, 1)]);
    assert_eq!(rig.stored(1).map(|s| (s.delivery_count, s.acquired_count)), Some((1, 1)));
    rig.restart();
    rig.consumer(2);
    assert_eq!(rig.deliveries.first().map(|(_, d)| d.delivery_count), Some(1));
}

#[test]
fn delivery_count_starts_at_the_publishers_value() {
    let mut rig = Rig::with(QueuePolicy { max_attempts: 7, ..QueuePolicy::default() });
    rig.publish(vec![Message { delivery_count: 5, ..message() }]);
    rig.consumer(1);
    rig.settle(1, 1, failed());
    assert_eq!(rig.deliveries.last().map(|(_, d)| d.delivery_count), Some(6));
    rig.settle(1, 1, failed());
    assert_eq!(rig.node.counts().1.available, 1);
}

#[test]
fn a_retry_waits_outside_the_queue_and_holds_up_nobody() {
    let delay = RetryDelay { first_ms: 500, jitter: 0.0, ..RetryDelay::default() };
    let mut rig = Rig::with(QueuePolicy { retry_delay: delay, ..QueuePolicy::default() });
    rig.publish_n(2);
    rig.subscribe(wish(1), 1);
    rig.settle(1, 1, failed());
    rig.flow(1, 1, 1, false);
    assert_eq!(rig.seqs(), [1, 2]);
    assert_eq!(rig.node.counts().0.delayed, 1);
    assert_eq!(rig.node.next_wake(), Some(rig.now.plus_ms(500)));
    rig.flow(1, 2, 1, false);
    rig.pass(499);
    assert_eq!(rig.seqs(), Vec::<u64>::new());
    rig.pass(1);
    assert_eq!(rig.seqs(), [1]);
}

#[test]
fn a_retry_time_survives_a_restart() {
    let delay = RetryDelay { first_ms: 500, jitter: 0.0, ..RetryDelay::default() };
    let mut rig = Rig::with(QueuePolicy { retry_delay: delay, ..QueuePolicy::default() });
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, failed());
    rig.restart();
    rig.consumer(2);
    assert_eq!(rig.seqs(), Vec::<u64>::new());
    rig.pass(500);
    assert_eq!(rig.seqs(), [1]);
}

#[test]
fn a_consumer_may_choose_the_delay_of_one_retry() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    let at = rig.now.plus_ms(7000);
    rig.settle(
        1,
        1,
        modified(|m| {
            m.delivery_failed = true;
            m.not_before = Some(NotBefore::At(at));
        }),
    );
    assert_eq!(rig.node.next_wake(), Some(at));
    assert_eq!(
        rig.stored(1).and_then(|s| s.state.as_ref()?.failures.first().map(|f| f.delay_ms)),
        Some(7000)
    );
}

#[test]
fn with_three_attempts_the_third_failure_dead_letters_at_once() {
    let delay = RetryDelay { first_ms: 0, initial_ms: 0, ..RetryDelay::default() };
    let policy = QueuePolicy { max_attempts: 3, retry_delay: delay, ..QueuePolicy::default() };
    let mut rig = Rig::with(policy);
    rig.publish_n(1);
    rig.consumer(1);
    for _ in 0..3 {
        rig.settle(1, 1, failed());
    }
    assert_eq!(rig.seqs(), [1, 1, 1]);
    let death = rig.stored_dead(1).and_then(|s| s.state.as_ref()?.death.clone());
    let death = death.map(|d| (d.reason, d.attempts, d.queue, d.first));
    let reason = DeathReason::MaxAttempts;
    assert_eq!(death, Some((reason, 3, "orders".to_owned(), ("orders".to_owned(), reason))));
    assert!(rig.stored(1).is_none());
}

#[test]
fn rejected_moves_to_the_dead_letters_with_the_error_whole() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(Some(Box::new(cause()))));
    assert!(rig.stored(1).is_none());
    let state = rig.stored_dead(1).and_then(|s| s.state.clone()).unwrap_or_default();
    assert_eq!((state.delivery_count, state.acquired_count), (1, 1));
    let death = state.death.clone();
    assert_eq!(death.as_ref().map(|d| (d.reason, d.time)), Some((DeathReason::Rejected, rig.now)));
    assert_eq!(death.and_then(|d| d.cause), Some(cause()));
    let failure = state.failures.first().map(|f| (f.outcome, f.cause.clone(), f.consumer.to_string()));
    assert_eq!(failure, Some((FailureOutcome::Rejected, Some(cause()), "container/link-1/user".to_owned())));
    rig.dead_consumer(2);
    let dead = rig.deliveries.last().and_then(|(_, d)| d.state.clone());
    assert_eq!(dead.map(|s| s.death.is_some()), Some(true));
}

#[test]
fn released_goes_back_to_its_original_position_and_keeps_delivery_count() {
    let mut rig = Rig::new();
    rig.publish_n(4);
    rig.subscribe(wish(1), 3);
    assert_eq!(rig.seqs(), [1, 2, 3]);
    rig.settle(1, 2, Outcome::Released);
    rig.settle(1, 1, Outcome::Released);
    rig.flow(1, 3, 10, false);
    let got: Vec<_> =
        rig.deliveries.iter().map(|(_, d)| (d.seq.0, d.delivery_count, d.acquired_count)).collect();
    assert_eq!(got, [(1, 0, 1), (2, 0, 1), (4, 0, 0)]);
    assert_eq!(rig.stored(2).map(|s| (s.delivery_count, s.acquired_count)), Some((0, 1)));
}

#[test]
fn modified_not_failed_is_as_released_with_annotations_merged() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, modified(|m| m.annotations = pairs(&[("a", "1"), ("b", "1")])));
    rig.settle(1, 1, modified(|m| m.annotations = pairs(&[("b", "2"), ("c", "3")])));
    let expected = pairs(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let last = rig.deliveries.last().map(|(_, d)| (d.delivery_count, d.acquired_count, d.state.clone()));
    let (delivery_count, acquired_count, state) = last.unwrap_or_default();
    assert_eq!((delivery_count, acquired_count), (0, 2));
    assert_eq!(state.map(|s| s.annotations.clone()), Some(expected.clone()));
    rig.restart();
    rig.consumer(2);
    let state = rig.deliveries.last().and_then(|(_, d)| d.state.clone());
    assert_eq!(state.map(|s| (s.annotations.clone(), s.acquired_count)), Some((expected, 2)));
}

#[test]
fn annotations_beyond_what_is_kept_are_skipped_and_counted() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    let big = "x".repeat(10_000);
    rig.settle(1, 1, modified(|m| m.annotations = pairs(&[("a", &big), ("b", &big)])));
    let state = rig.deliveries.last().and_then(|(_, d)| d.state.clone()).unwrap_or_default();
    assert_eq!(state.annotations.0.len(), 1);
    assert_eq!(rig.node.tally().annotations_skipped, 1);
    rig.settle(1, 1, modified(|m| m.skipped = 3));
    assert_eq!(rig.node.tally().annotations_skipped, 4, "those nobody below can read, too");
}

#[test]
fn undeliverable_here_excludes_this_link_endpoint_only() {
    let mut rig = Rig::new();
    rig.publish_n(2);
    rig.subscribe(wish(1), 1);
    rig.settle(1, 1, modified(|m| m.undeliverable_here = true));
    rig.flow(1, 1, 10, false);
    assert_eq!(rig.got(), [(1, 1), (1, 2)]);
    rig.leave(1, DetachCause::Clean);
    // The same endpoint again, as a durable terminus would be.
    rig.subscribe(Subscribe { endpoint: "endpoint-1".into(), ..wish(3) }, 10);
    assert_eq!(rig.got(), [(3, 2)]);
    rig.consumer(2);
    assert_eq!(rig.got(), [(2, 1)]);
}

#[test]
fn a_message_all_consumers_excluded_is_dead_lettered_after_a_while() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.consumer(2);
    rig.settle(1, 1, modified(|m| m.undeliverable_here = true));
    assert_eq!(rig.node.next_wake(), None, "the other may have it");
    rig.settle(2, 1, modified(|m| m.undeliverable_here = true));
    assert_eq!(rig.node.next_wake(), Some(rig.now.plus_ms(60_000)));
    rig.pass(59_999);
    assert_eq!(rig.node.counts().0.available, 1);
    rig.pass(1);
    let death = rig.stored_dead(1).and_then(|s| s.state.as_ref()?.death.clone());
    assert_eq!(death.map(|d| d.reason), Some(DeathReason::Undeliverable));
}

#[test]
fn a_new_consumer_ends_the_waiting_of_a_stranded_message() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, modified(|m| m.undeliverable_here = true));
    rig.pass(30_000);
    rig.subscribe(wish(2), 0);
    rig.pass(100_000);
    assert_eq!(rig.node.counts().0.available, 1);
    rig.leave(2, DetachCause::Clean);
    rig.pass(59_000);
    assert_eq!(rig.node.counts().0.available, 1);
    rig.pass(1000);
    assert_eq!(rig.node.counts().1.available, 1);
}

#[test]
fn undeliverable_here_of_an_expired_message_expires_it() {
    let mut rig = Rig::new();
    rig.publish(vec![Message { expires: Some(rig.now.plus_ms(10)), ..message() }]);
    rig.consumer(1);
    rig.pass(10);
    rig.settle(
        1,
        1,
        modified(|m| {
            m.undeliverable_here = true;
            m.delivery_failed = true;
        }),
    );
    let death = rig.stored_dead(1).and_then(|s| s.state.as_ref()?.death.clone());
    assert_eq!(death.map(|d| d.reason), Some(DeathReason::Expired));
}

#[test]
fn settled_without_a_state_applies_the_default_outcome() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.subscribe(Subscribe { default_outcome: Outcome::Accepted, ..wish(1) }, 1);
    rig.settle_as(1, 1, None, true);
    assert!(rig.stored(1).is_none());
    assert_eq!(rig.settled, [(c(1), Seq(1), Outcome::Accepted)]);
}

#[test]
fn settled_without_a_state_or_default_is_released_never_deleted() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.subscribe(wish(1), 1);
    rig.settle_as(1, 1, None, false);
    assert_eq!(rig.node.counts().0.available, 1);
    assert_eq!(rig.stored(1).map(|s| (s.delivery_count, s.acquired_count)), Some((0, 1)));
}

#[test]
fn a_clean_detach_applies_the_default_outcome() {
    let mut rig = Rig::new();
    rig.publish_n(2);
    rig.subscribe(Subscribe { default_outcome: failed(), ..wish(1) }, 1);
    rig.subscribe(wish(2), 1);
    rig.leave(1, DetachCause::Clean);
    rig.leave(2, DetachCause::Clean);
    assert_eq!(rig.stored(1).map(|s| (s.delivery_count, s.acquired_count)), Some((1, 1)));
    assert_eq!(rig.stored(2).map(|s| (s.delivery_count, s.acquired_count)), Some((0, 1)));
}

#[test]
fn a_lost_connection_counts_an_attempt_for_the_oldest_suspect_only() {
    let mut rig = Rig::new();
    rig.publish_n(4);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    rig.leave(1, DetachCause::Lost);
    let counts = |seq| rig.stored(seq).map(|s| (s.delivery_count, s.acquired_count));
    assert_eq!((counts(2), counts(3), counts(4)), (Some((1, 1)), Some((0, 1)), Some((0, 1))));
    let outcome = rig.stored(2).and_then(|s| s.state.as_ref()?.failures.first().map(|f| f.outcome));
    assert_eq!(outcome, Some(FailureOutcome::Lost));
}

#[test]
fn a_message_that_kills_its_consumers_reaches_the_attempt_limit() {
    let delay = RetryDelay { initial_ms: 0, ..RetryDelay::default() };
    let mut rig = Rig::with(QueuePolicy { max_attempts: 3, retry_delay: delay, ..QueuePolicy::default() });
    rig.publish_n(3);
    for n in 1..=3 {
        rig.consumer(n);
        rig.leave(n, DetachCause::Lost);
    }
    assert_eq!((rig.node.counts().0.available, rig.node.counts().1.available), (2, 1));
    assert_eq!(rig.stored_dead(1).map(|s| s.delivery_count), Some(3));
}

#[test]
fn settlements_of_unknown_settled_or_other_peoples_messages_are_ignored() {
    let mut rig = Rig::new();
    rig.publish_n(2);
    rig.subscribe(wish(1), 1);
    rig.subscribe(wish(2), 1);
    rig.settle(1, 2, Outcome::Accepted);
    rig.settle(1, 77, Outcome::Accepted);
    rig.settle(1, 1, Outcome::Accepted);
    rig.settle(1, 1, Outcome::Released);
    rig.settle(8, 2, Outcome::Accepted);
    assert_eq!(rig.node.counts().0, Counts { acquired: 1, bytes: 100, consumers: 2, ..Counts::default() });
    assert!(rig.stored(2).is_some());
}

#[test]
fn a_repeated_settlement_is_answered_with_the_outcome_already_recorded() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.auto_commit = false;
    rig.settle_as(1, 1, Some(Outcome::Accepted), true);
    rig.settle_as(1, 1, Some(Outcome::Released), true);
    assert_eq!(rig.settled, [], "the first is not safe, so neither is its repetition");
    rig.commit();
    assert_eq!(rig.settled, [(c(1), Seq(1), Outcome::Accepted), (c(1), Seq(1), Outcome::Accepted)]);
}

#[test]
fn a_confirmation_of_something_unknown_never_hangs() {
    let mut rig = Rig::new();
    rig.consumer(1);
    rig.settle_as(1, 55, Some(Outcome::Accepted), true);
    rig.settle_as(1, 56, None, true);
    assert_eq!(rig.settled, [(c(1), Seq(55), Outcome::Accepted), (c(1), Seq(56), Outcome::Released)]);
}

#[test]
fn the_failure_record_keeps_the_newest_and_counts_the_rest() {
    let delay = RetryDelay { initial_ms: 0, max_ms: 0, ..RetryDelay::default() };
    let breaker = policy::BreakerPolicy { enabled: false, ..Default::default() };
    let policy = QueuePolicy { max_attempts: 100, retry_delay: delay, breaker, ..QueuePolicy::default() };
    let mut rig = Rig::with(policy);
    rig.publish_n(1);
    rig.consumer(1);
    for _ in 0..40 {
        rig.pass(1);
        rig.settle(1, 1, failed());
    }
    let state = rig.stored(1).and_then(|s| s.state.clone()).unwrap_or_default();
    assert_eq!((state.failures.len(), state.failures_dropped), (crate::limits::FAILURES_KEPT, 8));
    assert_eq!(state.failures.last().map(|f| f.time), Some(rig.now));
}

#[test]
fn an_excluded_message_waits_for_ever_while_nobody_is_attached() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, modified(|m| m.undeliverable_here = true));
    rig.leave(1, DetachCause::Clean);
    rig.pass(10_000_000);
    assert_eq!((rig.node.counts().0.available, rig.node.next_wake()), (1, None));
}

#[test]
fn exclusions_survive_a_restart() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, modified(|m| m.undeliverable_here = true));
    rig.restart();
    rig.consumer(1);
    assert_eq!(rig.seqs(), Vec::<u64>::new());
    rig.consumer(2);
    assert_eq!(rig.got(), [(2, 1)]);
}
