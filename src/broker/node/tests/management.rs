//! What people do to a queue: settings, purging, the breaker by hand; and what they see of it.

use super::rig::{Rig, definition, failed, wish};
use crate::broker::{
    BreakerState, Command, Counts, Node, Outcome, Purged, QueuePolicy, Subscribe, policy::Lifetime,
};

#[test]
fn purge_removes_what_waits_and_leaves_what_is_handed_out() {
    let mut rig = Rig::new();
    rig.publish_n(10);
    rig.subscribe(wish(1), 2);
    rig.purge(false);
    assert_eq!(rig.node.counts().0, Counts { acquired: 2, bytes: 200, consumers: 1, ..Counts::default() });
    assert_eq!(rig.journal.messages.len(), 2);
    rig.settle(1, 1, Outcome::Rejected(None));
    rig.purge(true);
    assert_eq!(rig.journal.messages.len(), 1);
}

#[test]
fn a_purge_in_steps_takes_no_more_than_its_limit_and_nothing_that_came_later() {
    let mut rig = Rig::new();
    rig.publish_n(10);
    let until = rig.node.next_seq(false);
    rig.publish_n(3);
    assert_eq!(rig.node.purge(false, 0..until, 4), Purged { removed: 4, next: Some(5) });
    assert_eq!(rig.node.purge(false, 5..until, 4), Purged { removed: 4, next: Some(9) });
    assert_eq!(rig.node.purge(false, 9..until, 4), Purged { removed: 2, next: None });
    assert_eq!(rig.node.counts().0.available, 3);
}

#[test]
fn a_purge_does_not_look_at_all_that_is_handed_out_in_one_step() {
    let mut rig = Rig::new();
    rig.publish_n(100);
    rig.consumer(1);
    assert_eq!(rig.node.purge(false, 0..u64::MAX, 2), Purged { removed: 0, next: Some(21) });
    assert_eq!(rig.node.counts().0.acquired, 100);
}

#[test]
fn settings_are_written_with_the_definition_and_confirmed_when_that_is_safe() {
    let mut rig = Rig::of(Node::create(definition(QueuePolicy::default()), 1));
    rig.pass(0);
    rig.auto_commit = false;
    let policy = QueuePolicy { max_attempts: 2, ..QueuePolicy::default() };
    rig.run(Command::Define { settings: "max-attempts = 2".into(), policy: Box::new(policy.clone()) });
    rig.run(Command::Confirm { token: 7 });
    assert_eq!(rig.node.definition().policy, policy, "in force at once");
    assert!(rig.safe.is_empty(), "nothing is confirmed before it is safe");
    rig.commit();
    assert_eq!(rig.safe, [7]);
    let written = rig.journal.definitions.last().map(|d| (d.settings.as_str(), d.policy.max_attempts));
    assert_eq!(written, Some(("max-attempts = 2", 2)));
    rig.run(Command::Confirm { token: 8 });
    assert_eq!(rig.safe, [7, 8], "at once where nothing is under way");
}

#[test]
fn a_creation_is_confirmed_when_the_queue_is_written() {
    let mut rig = Rig::of(Node::create(definition(QueuePolicy::default()), 1));
    rig.auto_commit = false;
    rig.run(Command::Confirm { token: 1 });
    assert!(rig.safe.is_empty());
    rig.commit();
    assert_eq!((&rig.safe[..], rig.journal.definitions.len()), (&[1][..], 1));
}

#[test]
fn a_dynamic_queue_has_no_record_of_its_settings() {
    let dynamic = crate::broker::QueueDefinition {
        lifetime: Lifetime::DeleteOnClose,
        ..definition(QueuePolicy::default())
    };
    let mut rig = Rig::of(Node::create(dynamic, 1));
    rig.run(Command::Define { settings: "x".into(), policy: Box::default() });
    rig.run(Command::Confirm { token: 1 });
    assert_eq!((&rig.safe[..], rig.journal.definitions.len()), (&[1][..], 0));
}

#[test]
fn only_an_empty_and_unused_queue_may_be_deleted_unless_said_otherwise() {
    let mut rig = Rig::new();
    assert_eq!(rig.node.deletable(true, true), Ok(()));
    rig.publish_n(2);
    rig.subscribe(wish(1), 1);
    rig.settle(1, 1, Outcome::Rejected(None));
    let why = |rig: &Rig, empty, unused| rig.node.deletable(empty, unused).unwrap_err();
    assert_eq!(why(&rig, true, false), "it holds 1 messages and 1 dead letters, expected none");
    assert_eq!(why(&rig, false, true), "it has 0 publishers and 1 consumers, expected none");
    assert_eq!(rig.node.deletable(false, false), Ok(()));
    rig.run(Command::AttachProducer { producer: super::rig::P });
    assert_eq!(why(&rig, false, true), "it has 1 publishers and 1 consumers, expected none");
}

#[test]
fn consumers_are_seen_with_what_they_hold_and_still_take() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    rig.subscribe(Subscribe { browse: true, ..wish(2) }, 1);
    rig.subscribe(wish(1), 5);
    rig.subscribe(Subscribe { dead_letter: true, ..wish(3) }, 9);
    rig.settle(1, 1, Outcome::Accepted);
    let (count, views) = rig.node.consumers(10);
    assert_eq!(count, 3);
    let seen: Vec<_> =
        views.iter().map(|v| (v.id.0, v.dead_letter, v.browse, v.credit, v.unsettled, v.delivered)).collect();
    assert_eq!(seen, [(1, false, false, 2, 2, 3), (2, false, true, 0, 0, 1), (3, true, false, 9, 0, 0)]);
    assert_eq!(rig.node.consumers(1).1.len(), 1);
}

#[test]
fn a_breaker_opened_by_hand_holds_delivery_until_then_and_goes_on_by_itself() {
    let mut policy = QueuePolicy::default();
    policy.breaker.enabled = false;
    let mut rig = Rig::with(policy);
    let until = rig.now.plus_ms(500);
    rig.run(Command::SetBreaker { open_until: Some(until) });
    assert_eq!(rig.node.breaker(), BreakerState::Open { until });
    rig.publish_n(2);
    rig.consumer(1);
    assert_eq!(rig.seqs(), Vec::<u64>::new());
    rig.pass(500);
    assert_eq!(rig.seqs(), [1]);
    rig.run(Command::SetBreaker { open_until: None });
    assert_eq!((rig.node.breaker(), rig.seqs()), (BreakerState::Closed, vec![2]));
    rig.settle(1, 1, failed());
    assert_eq!(rig.node.breaker(), BreakerState::Closed);
    assert_eq!(rig.node.counts().0, Counts { acquired: 2, bytes: 200, consumers: 1, ..Counts::default() });
}
