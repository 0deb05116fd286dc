//! What a queue counts of itself.

use super::rig::*;
use crate::broker::*;

#[test]
fn each_delivery_and_its_end_is_counted_once() {
    let mut rig = Rig::new();
    rig.publish_n(6);
    rig.consumer(1);
    let modified = Outcome::Modified(Box::default());
    let ends = [Outcome::Accepted, Outcome::Rejected(None), modified, failed(), Outcome::Released];
    for (seq, outcome) in (1..).zip(ends) {
        rig.settle(1, seq, outcome);
    }
    let tally = *rig.node.tally();
    // The three that came back were handed out again.
    assert_eq!((tally.published, tally.delivered, tally.redelivered), (6, 9, 3));
    let ended = (tally.accepted, tally.rejected, tally.modified, tally.failed, tally.released);
    assert_eq!(ended, (1, 1, 1, 1, 1));
    assert_eq!(tally.dead_lettered(DeathReason::Rejected), 1);
    assert_eq!(tally.delivered - 5, rig.node.counts().0.acquired);
}

#[test]
fn a_lost_consumers_suspect_counts_as_failed_the_rest_as_released() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    rig.consumer(1);
    rig.leave(1, DetachCause::Lost);
    assert_eq!((rig.node.tally().failed, rig.node.tally().released), (1, 2));
}

#[test]
fn an_expired_message_is_counted_and_its_death_too() {
    let mut rig = Rig::new();
    let expires = Some(rig.now.plus_ms(100));
    rig.publish(vec![Message { expires, ..message() }]);
    rig.pass(1000);
    assert_eq!((rig.node.tally().expired, rig.node.tally().dead_lettered(DeathReason::Expired)), (1, 1));
}

#[test]
fn dead_letters_taken_by_a_consumer_are_not_counted_as_the_queues_own() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    let before = *rig.node.tally();
    rig.dead_consumer(2);
    let dead = rig.deliveries.last().map(|(_, d)| d.seq.0).unwrap();
    rig.settle(2, dead, Outcome::Accepted);
    assert_eq!(*rig.node.tally(), before);
}

#[test]
fn a_message_that_is_not_taken_is_counted_as_refused() {
    let mut rig = Rig::new();
    rig.run(Command::StorageFull(true));
    rig.publish_n(2);
    assert_eq!((rig.node.tally().published, rig.node.tally().refused), (0, 2));
}

#[test]
fn the_oldest_messages_age_is_told_and_ends_with_it() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.pass(5000);
    rig.publish_n(1);
    rig.pass(1000);
    assert_eq!(rig.node.oldest_age_ms(rig.now), 6000);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.node.oldest_age_ms(rig.now), 1000);
    rig.settle(1, 2, Outcome::Accepted);
    assert_eq!(rig.node.oldest_age_ms(rig.now), 0);
}
