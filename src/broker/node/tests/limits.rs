//! Queue limits and lifetimes.

use super::rig::*;
use crate::broker::policy::{Lifetime, WhenFull};
use crate::broker::*;

#[test]
fn a_full_queue_rejects_where_the_policy_says_so() {
    let policy = QueuePolicy { max_messages: Some(2), when_full: WhenFull::Reject, ..QueuePolicy::default() };
    let mut rig = Rig::with(policy);
    rig.publish_n(3);
    let refused: Vec<_> = rig.answers.iter().filter(|a| a.1.is_some()).copied().collect();
    assert_eq!(refused, [(3, Some(Refusal::QueueFull))]);
    assert_eq!(rig.credit, []);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    rig.publish_n(1);
    assert_eq!(rig.answers.last(), Some(&(4, None)));
}

#[test]
fn bytes_are_a_limit_too() {
    let policy = QueuePolicy { max_bytes: Some(250), when_full: WhenFull::Reject, ..QueuePolicy::default() };
    let mut rig = Rig::with(policy);
    rig.publish_n(4);
    assert_eq!(rig.answers.iter().filter(|a| a.1 == Some(Refusal::QueueFull)).count(), 1);
}

#[test]
fn a_full_queue_blocks_publishers_until_it_is_well_below_its_limit() {
    let mut rig = Rig::with(QueuePolicy { max_messages: Some(16), ..QueuePolicy::default() });
    rig.run(Command::AttachProducer { producer: P });
    rig.publish_n(17);
    assert_eq!(rig.credit, [(P, false)]);
    assert_eq!(rig.node.counts().0.available, 17, "what comes within credit already given is queued");
    rig.consumer(1);
    for seq in 1..=2 {
        rig.settle(1, seq, Outcome::Accepted);
    }
    assert_eq!(rig.credit.len(), 1);
    rig.settle(1, 3, Outcome::Accepted);
    assert_eq!(rig.credit, [(P, false), (P, true)]);
}

#[test]
fn a_producer_that_left_is_told_nothing() {
    let mut rig = Rig::with(QueuePolicy { max_messages: Some(1), ..QueuePolicy::default() });
    rig.run(Command::AttachProducer { producer: P });
    rig.run(Command::DetachProducer { producer: P });
    rig.publish_n(1);
    assert_eq!(rig.credit, []);
}

fn dynamic(lifetime: Lifetime) -> Rig {
    Rig::of(Node::new(QueueDefinition { lifetime, ..definition(QueuePolicy::default()) }, 1))
}

#[test]
fn delete_on_no_links_ends_with_the_last_link() {
    let mut rig = dynamic(Lifetime::DeleteOnNoLinks);
    rig.pass(10);
    assert_eq!(rig.expired, 0, "it was made for a link that is about to attach");
    rig.run(Command::AttachProducer { producer: P });
    rig.consumer(1);
    rig.publish_n(1);
    rig.leave(1, DetachCause::Clean);
    assert_eq!(rig.expired, 0);
    rig.run(Command::DetachProducer { producer: P });
    rig.pass(10);
    assert_eq!(rig.expired, 1);
}

#[test]
fn delete_on_no_messages_ends_with_the_last_message() {
    let mut rig = dynamic(Lifetime::DeleteOnNoMessages);
    rig.consumer(1);
    assert_eq!(rig.expired, 0);
    rig.publish_n(1);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.expired, 1);
}

#[test]
fn delete_on_no_links_or_messages_ends_when_both_are_gone() {
    let mut rig = dynamic(Lifetime::DeleteOnNoLinksOrMessages);
    rig.consumer(1);
    rig.publish_n(2);
    rig.settle(1, 1, Outcome::Accepted);
    rig.leave(1, DetachCause::Clean);
    assert_eq!(rig.expired, 0);
    rig.consumer(2);
    rig.settle(2, 2, Outcome::Accepted);
    assert_eq!(rig.expired, 0);
    rig.leave(2, DetachCause::Clean);
    assert_eq!(rig.expired, 1);
}

#[test]
fn permanent_and_delete_on_close_nodes_do_not_end_by_themselves() {
    for lifetime in [Lifetime::Permanent, Lifetime::DeleteOnClose] {
        let mut rig = dynamic(lifetime);
        rig.consumer(1);
        rig.leave(1, DetachCause::Clean);
        assert_eq!(rig.expired, 0);
    }
}
