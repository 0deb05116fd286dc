//! The NACK policy, line by line: what a rule does to a message, and what is remembered of it.

use super::rig::*;
use crate::broker::policy::{Action, AttemptRange, Class, RetryDelay, Rule, RuleAnnotation, RuleOutcome};
use crate::broker::*;

fn rule(name: &str, action: Action) -> Rule {
    let class = if action == Action::DeadLetter { Class::Permanent } else { Class::Transient };
    Rule {
        name: name.to_owned(),
        outcome: None,
        condition: None,
        annotation: None,
        attempt: None,
        class,
        action,
        delay: None,
    }
}

fn with(rules: Vec<Rule>) -> QueuePolicy {
    QueuePolicy { rules, ..QueuePolicy::default() }
}

fn cause(condition: &str) -> Option<Box<Cause>> {
    Some(Box::new(Cause { condition: condition.into(), description: Some("line 3".into()), info: None }))
}

fn failed_with(condition: &str) -> Outcome {
    Outcome::Modified(Box::new(Modified {
        delivery_failed: true,
        cause: cause(condition),
        ..Modified::default()
    }))
}

/// A queue with these rules, and a message in the hands of its consumer.
fn handed_out(policy: QueuePolicy) -> Rig {
    let mut rig = Rig::with(policy);
    rig.publish_n(1);
    rig.consumer(1);
    rig.seqs();
    rig
}

fn last_failure(stored: Option<&Stored>) -> Failure {
    stored.and_then(|s| s.state.as_ref()?.failures.last().cloned()).expect("a failure record")
}

fn death(rig: &Rig) -> Death {
    let state = rig.stored_dead(1).and_then(|s| s.state.clone()).expect("a dead letter");
    *state.death.clone().expect("a death")
}

#[test]
fn a_parsing_error_is_not_transient_even_when_it_comes_as_failed() {
    for condition in ["amqp:decode-error", "amqp:invalid-field", "app:ParseError", "x-validation-failed"] {
        let mut rig = handed_out(QueuePolicy::default());
        rig.settle(1, 1, failed_with(condition));
        assert_eq!(rig.seqs(), Vec::<u64>::new(), "{condition}");
        let death = death(&rig);
        assert_eq!((death.reason, death.attempts), (DeathReason::Policy, 1), "{condition}");
        assert_eq!(death.cause.map(|cause| cause.condition).as_deref(), Some(condition));
        assert!(last_failure(rig.stored_dead(1)).rule.starts_with("shipped:"));
    }
}

#[test]
fn any_other_failure_is_retried_and_no_rule_is_named() {
    let mut rig = handed_out(QueuePolicy::default());
    rig.settle(1, 1, failed_with("app:busy"));
    assert_eq!(rig.seqs(), [1]);
    let failure = last_failure(rig.stored(1));
    assert_eq!(failure.rule, "default");
    assert_eq!(failure.cause.and_then(|cause| cause.description).as_deref(), Some("line 3"));
}

#[test]
fn a_rule_that_matches_is_named_in_the_failure_record() {
    let rules = vec![
        Rule { condition: Some("*busy*".into()), ..rule("busy", Action::Retry) },
        Rule { attempt: Some(AttemptRange { from: 2, to: u32::MAX }), ..rule("enough", Action::DeadLetter) },
    ];
    let mut rig = handed_out(with(rules));
    rig.settle(1, 1, failed_with("app:busy"));
    assert_eq!(last_failure(rig.stored(1)).rule, "busy");
    rig.settle(1, 1, failed());
    let state = rig.stored_dead(1).and_then(|s| s.state.clone()).expect("a dead letter");
    let names: Vec<_> = state.failures.iter().map(|failure| failure.rule.as_str()).collect();
    assert_eq!(names, ["busy", "enough"]);
    assert_eq!(death(&rig).reason, DeathReason::Policy);
}

#[test]
fn a_retry_has_the_delay_its_rule_names() {
    let slow = RetryDelay { first_ms: 9000, initial_ms: 20_000, jitter: 0.0, ..RetryDelay::default() };
    let mut policy = with(vec![Rule { delay: Some("slow".into()), ..rule("slowly", Action::Retry) }]);
    policy.delays.insert("slow".into(), slow);
    let mut rig = handed_out(policy);
    rig.settle(1, 1, failed());
    assert_eq!(rig.node.next_wake(), Some(rig.now.plus_ms(9000)));
    assert_eq!(last_failure(rig.stored(1)).delay_ms, 9000);
    rig.pass(9000);
    assert_eq!(rig.seqs(), [1]);
    rig.settle(1, 1, failed());
    assert_eq!(last_failure(rig.stored(1)).delay_ms, 20_000);
}

#[test]
fn the_delay_a_consumer_chose_goes_before_that_of_a_rule() {
    let mut policy = with(vec![Rule { delay: Some("slow".into()), ..rule("slowly", Action::Retry) }]);
    policy.delays.insert("slow".into(), RetryDelay { first_ms: 9000, ..RetryDelay::default() });
    let mut rig = handed_out(policy);
    let not_before = Some(NotBefore::After(70));
    let modified = Modified { delivery_failed: true, not_before, ..Modified::default() };
    rig.settle(1, 1, Outcome::Modified(Box::new(modified)));
    let failure = last_failure(rig.stored(1));
    assert_eq!((failure.delay_ms, failure.rule.as_str()), (70, "slowly"));
}

#[test]
fn a_rule_that_retries_still_ends_at_max_attempts() {
    let mut rig = handed_out(QueuePolicy { max_attempts: 2, ..with(vec![rule("again", Action::Retry)]) });
    rig.settle(1, 1, failed_with("amqp:decode-error"));
    assert_eq!(rig.seqs(), [1]);
    rig.settle(1, 1, failed());
    assert_eq!(death(&rig).reason, DeathReason::MaxAttempts);
    assert_eq!(last_failure(rig.stored_dead(1)).rule, "again");
}

#[test]
fn rejected_by_default_stays_rejected() {
    let rules = vec![rule("retry all", Action::Retry), rule("release all", Action::Release)];
    for rules in [vec![], rules] {
        let mut rig = handed_out(with(rules));
        rig.settle(1, 1, Outcome::Rejected(cause("amqp:decode-error")));
        assert_eq!(death(&rig).reason, DeathReason::Rejected);
        assert_eq!(last_failure(rig.stored_dead(1)).rule, "default");
    }
}

#[test]
fn a_rule_that_dead_letters_a_rejection_is_named_and_the_reason_stays_rejected() {
    let mut rig = handed_out(with(vec![rule("all", Action::DeadLetter)]));
    rig.settle(1, 1, Outcome::Rejected(None));
    assert_eq!(death(&rig).reason, DeathReason::Rejected);
    assert_eq!(last_failure(rig.stored_dead(1)).rule, "all");
}

#[test]
fn a_rule_that_says_so_turns_a_rejection_into_a_retry() {
    let rejected = Rule {
        outcome: Some(RuleOutcome::Rejected),
        condition: Some("app:busy".into()),
        ..rule("not final", Action::Retry)
    };
    let mut rig = handed_out(QueuePolicy { max_attempts: 2, ..with(vec![rejected]) });
    rig.settle(1, 1, Outcome::Rejected(cause("app:busy")));
    assert_eq!(rig.stored(1).map(|s| (s.delivery_count, s.acquired_count)), Some((1, 1)));
    let failure = last_failure(rig.stored(1));
    assert_eq!((failure.outcome, failure.rule.as_str()), (FailureOutcome::Rejected, "not final"));
    assert_eq!(rig.seqs(), [1]);
    rig.settle(1, 1, Outcome::Rejected(cause("app:busy")));
    assert_eq!(death(&rig).reason, DeathReason::MaxAttempts);
}

#[test]
fn a_rule_that_releases_puts_the_message_back_at_once_whatever_the_limit() {
    let delay = RetryDelay { first_ms: 500, ..RetryDelay::default() };
    let policy = QueuePolicy {
        max_attempts: 1,
        retry_delay: delay,
        ..with(vec![rule("not its fault", Action::Release)])
    };
    let mut rig = handed_out(policy);
    rig.settle(1, 1, failed());
    assert_eq!(rig.seqs(), [1]);
    // "delivery-failed … MUST have their delivery-count incremented" (3.4.5), rule or not.
    assert_eq!(rig.stored(1).map(|s| (s.delivery_count, s.acquired_count)), Some((1, 1)));
    assert_eq!(last_failure(rig.stored(1)).rule, "not its fault");
    rig.restart();
    rig.consumer(2);
    assert_eq!(rig.seqs(), [1]);
}

#[test]
fn a_released_message_whose_time_has_passed_expires_whatever_the_limit() {
    let mut rig = Rig::with(QueuePolicy { max_attempts: 1, ..with(vec![rule("release", Action::Release)]) });
    rig.publish(vec![Message { expires: Some(rig.now.plus_ms(50)), ..message() }]);
    rig.consumer(1);
    rig.pass(60);
    rig.settle(1, 1, failed());
    assert_eq!(death(&rig).reason, DeathReason::Expired);
}

#[test]
fn a_lost_connection_that_a_rule_releases_is_not_counted() {
    let lost = Rule { outcome: Some(RuleOutcome::Lost), ..rule("drained nodes", Action::Release) };
    let mut rig = handed_out(with(vec![lost]));
    rig.leave(1, DetachCause::Lost);
    assert_eq!(rig.stored(1).map(|s| (s.delivery_count, s.acquired_count)), Some((0, 1)));
    let failure = last_failure(rig.stored(1));
    assert_eq!((failure.outcome, failure.rule.as_str()), (FailureOutcome::Lost, "drained nodes"));
}

#[test]
fn a_crash_suspect_may_be_dead_lettered_by_a_rule() {
    let lost = Rule {
        outcome: Some(RuleOutcome::Lost),
        class: Class::Poison,
        attempt: Some(AttemptRange { from: 2, to: u32::MAX }),
        ..rule("kills consumers", Action::DeadLetter)
    };
    let mut rig = handed_out(with(vec![lost]));
    rig.leave(1, DetachCause::Lost);
    rig.consumer(2);
    assert_eq!(rig.seqs(), [1]);
    rig.leave(2, DetachCause::Lost);
    assert_eq!(death(&rig).reason, DeathReason::Policy);
}

#[test]
fn a_rule_sees_the_annotations_of_the_answer() {
    let annotation = RuleAnnotation { name: "x-final".into(), value: Some("true".into()) };
    let mut rig =
        handed_out(with(vec![Rule { annotation: Some(annotation), ..rule("final", Action::DeadLetter) }]));
    rig.settle(1, 1, failed());
    assert_eq!(rig.seqs(), [1]);
    let words = vec![("x-final".to_owned(), "true".to_owned())];
    let modified = Modified { delivery_failed: true, words, ..Modified::default() };
    rig.settle(1, 1, Outcome::Modified(Box::new(modified)));
    assert_eq!(last_failure(rig.stored_dead(1)).rule, "final");
}

#[test]
fn what_was_released_is_no_failure_and_no_rule_applies() {
    let mut rig = handed_out(with(vec![rule("all", Action::DeadLetter)]));
    rig.settle(1, 1, Outcome::Released);
    let modified = Modified { cause: cause("amqp:decode-error"), ..Modified::default() };
    rig.settle(1, 1, Outcome::Modified(Box::new(modified)));
    assert_eq!(rig.seqs(), [1, 1]);
    assert_eq!(rig.stored(1).map(|s| (s.delivery_count, s.acquired_count)), Some((0, 2)));
}

#[test]
fn no_rule_applies_to_a_dead_letter() {
    let mut rig = handed_out(with(vec![rule("all", Action::DeadLetter)]));
    rig.settle(1, 1, failed());
    rig.dead_consumer(2);
    rig.settle(2, 1, failed_with("amqp:decode-error"));
    assert_eq!(last_failure(rig.stored_dead(1)).rule, "default");
    assert_eq!(rig.stored_dead(1).map(|s| s.delivery_count), Some(2));
}

#[test]
fn new_rules_apply_from_then_on() {
    let mut rig = handed_out(QueuePolicy::default());
    rig.run(Command::Policy(Box::new(with(vec![rule("all", Action::DeadLetter)]))));
    rig.settle(1, 1, failed());
    assert_eq!(last_failure(rig.stored_dead(1)).rule, "all");
}
