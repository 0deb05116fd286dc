//! Lines of the settlement rules about counters, default outcomes, crash suspects, limits and the failure record that no
//! other file here shows. Each test is named after its line; `docs/settlement-tests.md` has the whole table.

use std::sync::Arc;

use super::rig::*;
use crate::broker::{policy::RetryDelay, *};

fn modified(change: impl FnOnce(&mut Modified)) -> Outcome {
    let mut modified = Modified::default();
    change(&mut modified);
    Outcome::Modified(Box::new(modified))
}

fn pairs(pairs: &[(&str, &str)]) -> Annotations {
    Annotations(pairs.iter().map(|(k, v)| (k.as_bytes().into(), v.as_bytes().into())).collect())
}

/// No delays but those a test asks for.
fn at_once() -> QueuePolicy {
    let retry_delay = RetryDelay { first_ms: 0, initial_ms: 0, max_ms: 0, ..RetryDelay::default() };
    QueuePolicy { retry_delay, ..QueuePolicy::default() }
}

/// delivery-count and acquired-count as the journal has them.
fn counts(rig: &Rig, seq: u64) -> Option<(u32, u32)> {
    rig.stored(seq).map(|stored| (stored.delivery_count, stored.acquired_count))
}

fn state(stored: Option<&Stored>) -> EntryState {
    stored.and_then(|stored| stored.state.as_deref().cloned()).unwrap_or_default()
}

fn death_reason(rig: &Rig, seq: u64) -> Option<DeathReason> {
    state(rig.stored_dead(seq)).death.map(|death| death.reason)
}

/// "`modified(delivery-failed=false)`: as `released`": no attempt, no failure record, no delay.
#[test]
fn modified_not_failed_is_no_attempt_and_waits_for_nothing() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    let later = Some(NotBefore::After(60_000));
    rig.settle(1, 1, modified(|m| (m.annotations, m.not_before) = (pairs(&[("a", "1")]), later)));
    assert_eq!(rig.seqs(), [1, 1], "x-opt-delivery-delay is for retries");
    assert_eq!((counts(&rig, 1), state(rig.stored(1)).failures), (Some((0, 1)), vec![]));
}

/// "`modified.message-annotations` are merged …, new value wins, and survive restarts", and death.
#[test]
fn merged_annotations_go_along_to_the_dead_letters() {
    let mut rig = Rig::with(at_once());
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, modified(|m| m.annotations = pairs(&[("a", "1"), ("b", "1")])));
    rig.settle(1, 1, modified(|m| (m.annotations, m.delivery_failed) = (pairs(&[("b", "2")]), true)));
    rig.settle(1, 1, Outcome::Rejected(None));
    rig.restart();
    rig.dead_consumer(2);
    let seen = rig.deliveries.last().and_then(|(_, d)| d.state.clone()).unwrap_or_default();
    assert_eq!(seen.annotations, pairs(&[("a", "1"), ("b", "2")]));
}

/// "new value wins": also where the room for annotations is nearly used up, by the old value.
#[test]
fn a_new_value_takes_the_room_of_the_old_one() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    let (old, new) = ("o".repeat(10_000), "n".repeat(12_000));
    rig.settle(1, 1, modified(|m| m.annotations = pairs(&[("a", &old), ("huge", &new)])));
    rig.settle(1, 1, modified(|m| m.annotations = pairs(&[("a", &new), ("b", "1")])));
    assert_eq!(state(rig.stored(1)).annotations, pairs(&[("a", &new), ("b", "1")]));
    assert_eq!(rig.node.tally().annotations_skipped, 1, "the huge one");
}

/// "`modified.undeliverable-here=true`: not to this link endpoint again", whether it failed as well or not.
#[test]
fn failed_and_undeliverable_here_counts_and_excludes() {
    let mut rig = Rig::with(at_once());
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, modified(|m| (m.delivery_failed, m.undeliverable_here) = (true, true)));
    assert_eq!((rig.got(), counts(&rig, 1)), (vec![(1, 1)], Some((1, 1))));
    rig.consumer(2);
    assert_eq!(rig.got(), [(2, 1)]);
}

/// "excluded a message for `stranded-after` (default 60 s)".
#[test]
fn stranded_after_is_the_queues_own() {
    assert_eq!(QueuePolicy::default().stranded_after_ms, 60_000);
    let mut rig = Rig::with(QueuePolicy { stranded_after_ms: 500, ..QueuePolicy::default() });
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, modified(|m| m.undeliverable_here = true));
    rig.pass(499);
    assert_eq!(death_reason(&rig, 1), None);
    rig.pass(1);
    assert_eq!(death_reason(&rig, 1), Some(DeathReason::Undeliverable));
}

/// "If its time to live has passed, it expires instead": before its time as a stranded one, and when both are due.
#[test]
fn a_stranded_message_whose_time_has_passed_expires_instead() {
    // In the last case both are due in the same moment, and nobody has looked at its time yet (`queue::expiry`).
    for (start_ms, ttl_ms, pass_ms) in [(0, 1_000, 2_000), (0, 60_000, 100_000), (1, 60_000, 60_000)] {
        let mut rig = Rig::new();
        rig.pass(start_ms);
        rig.publish(vec![Message { expires: Some(rig.now.plus_ms(ttl_ms)), ..message() }]);
        rig.consumer(1);
        rig.settle(1, 1, modified(|m| m.undeliverable_here = true));
        rig.pass(pass_ms);
        assert_eq!(death_reason(&rig, 1), Some(DeathReason::Expired), "{ttl_ms}");
        assert_eq!((rig.node.tally().expired, rig.node.counts().1.available), (1, 1));
    }
}

/// "`settled=true` without a state, or a delivery still unsettled when its link ends: the source's `default-outcome`",
/// whichever of the four it is.
#[test]
fn each_default_outcome_is_applied_as_if_it_had_been_said() {
    let failed = || modified(|m| (m.delivery_failed, m.annotations) = (true, pairs(&[("a", "1")])));
    let table = [
        (Outcome::Accepted, None),
        (Outcome::Rejected(None), None),
        (Outcome::Released, Some((0, 1))),
        (failed(), Some((1, 1))),
    ];
    for (default_outcome, left) in table {
        for ends in [true, false] {
            let mut rig = Rig::new();
            rig.publish_n(1);
            rig.subscribe(Subscribe { default_outcome: default_outcome.clone(), ..wish(1) }, 1);
            if ends {
                rig.leave(1, DetachCause::Clean);
            } else {
                rig.settle_as(1, 1, None, false);
            }
            assert_eq!(counts(&rig, 1), left, "{default_outcome:?}");
            let dead = u64::from(default_outcome == Outcome::Rejected(None));
            assert_eq!(rig.node.counts().1.available, dead);
            if default_outcome == failed() {
                assert_eq!(state(rig.stored(1)).annotations, pairs(&[("a", "1")]));
            }
        }
    }
}

/// "A consumer may choose the delay of one retry itself", in its default outcome too: it counts from the settlement.
#[test]
fn a_delay_in_a_default_outcome_counts_from_the_settlement() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    let default_outcome =
        modified(|m| (m.delivery_failed, m.not_before) = (true, Some(NotBefore::After(5_000))));
    rig.subscribe(Subscribe { default_outcome, ..wish(1) }, 1);
    rig.pass(100_000);
    rig.leave(1, DetachCause::Clean);
    assert_eq!(rig.node.next_wake(), Some(rig.now.plus_ms(5_000)));
    assert_eq!(state(rig.stored(1)).failures.first().map(|failure| failure.delay_ms), Some(5_000));
}

/// "`acquired-count`: times handed to a consumer", whatever became of it there.
#[test]
fn each_return_counts_one_acquisition_durably() {
    let mut rig = Rig::with(at_once());
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Released);
    rig.settle(1, 1, modified(|_| ()));
    rig.settle(1, 1, failed());
    rig.leave(1, DetachCause::Clean);
    rig.consumer(2);
    rig.leave(2, DetachCause::Lost);
    assert_eq!(counts(&rig, 1), Some((2, 5)));
    rig.restart();
    rig.consumer(3);
    let seen = rig.deliveries.last().map(|(_, d)| (d.delivery_count, d.acquired_count));
    assert_eq!(seen, Some((2, 5)));
}

/// "`delivery-count` … Starts at the publisher's value", after a restart as well.
#[test]
fn the_publishers_delivery_count_is_still_there_after_a_restart() {
    let mut rig = Rig::new();
    rig.publish(vec![Message { delivery_count: 5, ..message() }]);
    rig.restart();
    rig.consumer(1);
    assert_eq!(rig.deliveries.last().map(|(_, d)| (d.delivery_count, d.acquired_count)), Some((5, 0)));
}

/// "`max-attempts` (default 10) counts attempts", with the shipped delays.
#[test]
fn by_default_the_tenth_failure_is_the_last() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    for attempt in 1..=10 {
        assert_eq!(rig.seqs(), [1], "attempt {attempt}");
        rig.settle(1, 1, failed());
        if attempt < 10 {
            rig.now = rig.node.next_wake().unwrap_or(rig.now);
            rig.pass(0);
        }
    }
    assert_eq!(death_reason(&rig, 1), Some(DeathReason::MaxAttempts), "at the moment of the NACK");
    assert_eq!(state(rig.stored_dead(1)).failures.len(), 10);
}

/// "dead-lettered at the third failure, at the moment of the NACK": a delay the consumer asked for changes nothing.
#[test]
fn no_delay_puts_off_the_death_of_the_last_attempt() {
    let mut rig = Rig::with(QueuePolicy { max_attempts: 1, ..QueuePolicy::default() });
    rig.publish_n(1);
    rig.consumer(1);
    let later = Some(NotBefore::After(60_000));
    rig.settle(1, 1, modified(|m| (m.delivery_failed, m.not_before) = (true, later)));
    assert_eq!(death_reason(&rig, 1), Some(DeathReason::MaxAttempts));
}

/// "Never a deletion: the dead-letter tree always exists": naming oneself as the other queue leads there.
#[test]
fn a_queue_that_names_itself_for_its_dead_letters_has_its_tree() {
    let mut rig =
        Rig::with(QueuePolicy { dead_letter_queue: Some("orders".into()), ..QueuePolicy::default() });
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    assert_eq!((death_reason(&rig, 1), rig.moves_out.len()), (Some(DeathReason::Rejected), 0));
}

/// "default: first retry at once, then 100 ms × 2ⁿ up to 30 s with ±20 % jitter".
#[test]
fn by_default_the_first_retry_is_at_once_and_the_others_wait_twice_as_long_each_give_or_take_a_fifth() {
    assert!((RetryDelay::default().jitter - 0.2).abs() < f64::EPSILON);
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    for _ in 1..=9 {
        rig.settle(1, 1, failed());
        rig.now = rig.node.next_wake().unwrap_or(rig.now);
        rig.pass(0);
    }
    let given: Vec<u64> = state(rig.stored(1)).failures.iter().map(|failure| failure.delay_ms).collect();
    assert_eq!((given.first(), given.len()), (Some(&0), 9));
    for (n, delay_ms) in given.iter().enumerate().skip(1) {
        let base = 100 << (n - 1);
        assert!((base * 8 / 10..=base * 12 / 10).contains(delay_ms), "retry {n}: {delay_ms} ms");
    }
    let exact = given.iter().enumerate().skip(1).filter(|(n, ms)| **ms == 100 << (n - 1)).count();
    assert!(exact < 4, "jitter: {given:?}");
}

/// "The oldest `crash-suspects` (default 1) per link get `delivery-count` + 1, the rest only `acquired-count` + 1".
#[test]
fn the_oldest_so_many_of_each_link_are_suspects() {
    assert_eq!(QueuePolicy::default().crash_suspects, 1);
    for suspects in [0, 1, 2, 9] {
        let mut rig = Rig::with(QueuePolicy { crash_suspects: suspects, ..QueuePolicy::default() });
        rig.publish_n(6);
        // One connection with two links; each has three.
        rig.subscribe(wish(1), 3);
        rig.subscribe(wish(2), 3);
        let held = rig.got();
        for link in [1, 2] {
            rig.leave(link, DetachCause::Lost);
        }
        for link in [1, 2] {
            let mine = held.iter().filter(|(consumer, _)| *consumer == link);
            for (place, (_, seq)) in (0..).zip(mine) {
                let expected = (u32::from(place < suspects), 1);
                assert_eq!(counts(&rig, *seq), Some(expected), "{suspects} suspects, message {seq}");
            }
        }
    }
}

/// "Connection loss …: the rest only `acquired-count` + 1": a lost link says nothing, its default outcome neither.
#[test]
fn a_lost_connection_applies_no_default_outcome() {
    for default_outcome in [Outcome::Accepted, Outcome::Rejected(None)] {
        let mut rig = Rig::new();
        rig.publish_n(2);
        rig.subscribe(Subscribe { default_outcome, ..wish(1) }, 10);
        rig.leave(1, DetachCause::Lost);
        assert_eq!((counts(&rig, 1), counts(&rig, 2)), (Some((1, 1)), Some((0, 1))));
    }
}

/// "The failure record, durable, one entry per attempt: time, consumer …, outcome, condition, description, info,
/// annotations, delay given, rule that decided."
#[test]
fn the_failure_record_has_every_field_of_each_attempt_after_a_restart_too() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    let cause = Cause {
        condition: "app:busy".into(),
        description: Some("no room".into()),
        info: Some(b"\xc1\x01\x00".to_vec().into()),
    };
    let (said, annotations) = (cause.clone(), pairs(&[("a", "1")]));
    let failed_at = rig.now;
    rig.settle(
        1,
        1,
        modified(|m| {
            (m.delivery_failed, m.not_before) = (true, Some(NotBefore::After(70)));
            (m.annotations, m.cause) = (annotations.clone(), Some(Box::new(said)));
        }),
    );
    rig.pass(70);
    rig.leave(1, DetachCause::Lost);
    rig.restart();
    let identity: Arc<str> = "container/link-1/user".into();
    let failed = Failure {
        time: failed_at,
        consumer: Arc::clone(&identity),
        outcome: FailureOutcome::Failed,
        cause: Some(cause),
        annotations,
        delay_ms: 70,
        rule: "default".into(),
    };
    rig.pass(1_000);
    rig.consumer(2);
    let seen = rig.deliveries.last().and_then(|(_, d)| d.state.clone()).unwrap_or_default();
    assert_eq!((seen.failures.len(), seen.failures.first()), (2, Some(&failed)));
    let lost = seen.failures.last().map(|f| (f.time, Arc::clone(&f.consumer), f.outcome));
    assert_eq!(lost, Some((failed_at.plus_ms(70), identity, FailureOutcome::Lost)));
}

/// "the broker's settled reply comes after the commit", for each outcome.
#[test]
fn every_outcome_is_confirmed_only_after_its_commit() {
    let here = modified(|m| m.undeliverable_here = true);
    for outcome in [Outcome::Accepted, failed(), Outcome::Rejected(None), Outcome::Released, here] {
        let mut rig = Rig::new();
        rig.publish_n(1);
        rig.subscribe(wish(1), 1);
        rig.auto_commit = false;
        rig.settle_as(1, 1, Some(outcome.clone()), true);
        assert_eq!((rig.settled.len(), rig.batches.len()), (0, 1), "{outcome:?}");
        rig.commit();
        assert_eq!(rig.settled, [(c(1), Seq(1), outcome)]);
    }
}

/// "`released`: back to its original position": and so is what failed with no delay.
#[test]
fn what_fails_and_is_retried_at_once_keeps_its_place() {
    let mut rig = Rig::with(at_once());
    rig.publish_n(3);
    rig.subscribe(wish(1), 1);
    rig.settle(1, 1, failed());
    rig.flow(1, 1, 10, false);
    assert_eq!(rig.seqs(), [1, 1, 2, 3]);
}
