//! Time to live.

use super::rig::*;
use crate::broker::policy::ExpiredTo;
use crate::broker::*;
use crate::time::Millis;

#[test]
fn a_time_to_live_that_passed_sends_the_message_to_the_dead_letters() {
    let mut rig = Rig::new();
    let at = rig.now.plus_ms(160);
    rig.publish(vec![message(), Message { expires: Some(at), ..message() }]);
    let wake = rig.node.next_wake().unwrap_or_default();
    assert!(wake >= at && wake < at.plus_ms(16), "{wake:?}");
    rig.now = wake;
    rig.flush(Vec::new());
    let state = rig.stored_dead(1).and_then(|s| s.state.clone()).unwrap_or_default();
    assert_eq!(state.death.as_ref().map(|d| (d.reason, d.attempts)), Some((DeathReason::Expired, 0)));
    assert_eq!(state.failures.first().map(|f| f.outcome), Some(FailureOutcome::Expired));
    assert_eq!((rig.node.counts().0.available, rig.node.counts().1.available), (1, 1));
    // There it stays, also after a restart.
    rig.restart();
    rig.pass(1_000_000);
    assert_eq!(rig.node.counts().1.available, 1);
    rig.dead_consumer(1);
    assert_eq!(rig.deliveries.last().map(|(_, d)| d.ttl_ms), Some(None));
}

#[test]
fn an_expired_message_is_removed_where_the_policy_says_discard() {
    let mut rig = Rig::with(QueuePolicy { expired: ExpiredTo::Discard, ..QueuePolicy::default() });
    rig.publish(vec![Message { expires: Some(rig.now.plus_ms(5)), ..message() }]);
    rig.pass(100);
    assert!(rig.journal.messages.is_empty());
    assert_eq!(rig.node.counts(), (Counts::default(), Counts::default()));
}

#[test]
fn an_expired_message_is_never_delivered_and_ttl_counts_down() {
    let mut rig = Rig::new();
    rig.publish(vec![
        Message { expires: Some(rig.now.plus_ms(99)), ..message() },
        Message { expires: Some(rig.now.plus_ms(1000)), ..message() },
    ]);
    rig.now = rig.now.plus_ms(99);
    rig.consumer(1);
    let got: Vec<_> = rig.deliveries.iter().map(|(_, d)| (d.seq.0, d.ttl_ms)).collect();
    assert_eq!(got, [(2, Some(901))]);
    assert_eq!(rig.node.counts().1.available, 1);
}

#[test]
fn a_message_expired_on_arrival_is_refused() {
    let mut rig = Rig::new();
    rig.publish(vec![Message { expires: Some(rig.now), ..message() }]);
    assert_eq!(rig.answers, [(1, Some(Refusal::Expired))]);
}

#[test]
fn max_ttl_caps_and_supplies_the_time_to_live() {
    let mut rig = Rig::with(QueuePolicy { max_ttl_ms: Some(50), ..QueuePolicy::default() });
    rig.publish(vec![
        message(),
        Message { expires: Some(rig.now.plus_ms(10)), ..message() },
        Message { expires: Some(Millis(u64::MAX)), ..message() },
    ]);
    rig.consumer(1);
    let got: Vec<_> = rig.deliveries.iter().map(|(_, d)| d.ttl_ms).collect();
    assert_eq!(got, [Some(50), Some(10), Some(50)]);
    assert_eq!(rig.stored(3).map(|s| s.message.expires), Some(Some(rig.now.plus_ms(50))));
}
