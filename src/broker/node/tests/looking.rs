//! Looking at messages, and why one is not being delivered.

use super::rig::*;
use crate::broker::*;

fn page(
    rig: &Rig,
    dead_letter: bool,
    from: u64,
    scan: usize,
    limit: usize,
    filter: &Filter,
) -> (Vec<u64>, Option<u64>) {
    let page = rig.node.look(Look { dead_letter, from: Seq(from), scan, limit, filter });
    (page.seen.iter().map(|seen| seen.seq.0).collect(), page.next.map(|seq| seq.0))
}

fn reject_as(condition: &str) -> Outcome {
    Outcome::Rejected(Some(Box::new(Cause { condition: condition.to_owned(), ..Cause::default() })))
}

#[test]
fn pages_cover_a_queue_once_in_order() {
    let mut rig = Rig::new();
    rig.publish_n(5);
    let all = Filter::default();
    assert_eq!(page(&rig, false, 0, 100, 2, &all), (vec![1, 2], Some(3)));
    assert_eq!(page(&rig, false, 3, 2, 100, &all), (vec![3, 4], Some(5)));
    assert_eq!(page(&rig, false, 5, 100, 100, &all), (vec![5], None));
    let some = Filter { sequences: Some([2, 4, 9].into()), ..Filter::default() };
    assert_eq!(page(&rig, false, 0, 100, 100, &some).0, [2, 4]);
}

#[test]
fn looking_never_changes_anything() {
    let mut rig = Rig::new();
    rig.publish_n(2);
    rig.consumer(1);
    rig.settle(1, 1, reject_as("a"));
    let before = (rig.node.counts(), format!("{:?}", rig.node.look_at(true, Seq(1))), rig.node.next_wake());
    let filter = Filter { condition: Some("a".into()), ..Filter::default() };
    assert_eq!(page(&rig, true, 0, 100, 100, &filter).0, [1]);
    assert_eq!((rig.node.causes(true, &filter).len(), rig.node.count_letters(true, &filter)), (1, (1, 0)));
    assert_eq!(rig.node.why(rig.now, true, Seq(1)).first(), Some(&Why::Dead));
    let after = (rig.node.counts(), format!("{:?}", rig.node.look_at(true, Seq(1))), rig.node.next_wake());
    assert_eq!(before, after);
}

#[test]
fn dead_letters_are_found_by_what_they_died_of_after_a_restart_too() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    rig.consumer(1);
    for (seq, condition) in [(1, "app:a"), (2, "app:b"), (3, "app:a")] {
        rig.settle(1, seq, reject_as(condition));
    }
    let filter = Filter { condition: Some("app:a".into()), ..Filter::default() };
    assert_eq!(page(&rig, true, 0, 1000, 10, &filter), (vec![1, 3], None));
    rig.restart();
    assert_eq!(page(&rig, true, 0, 1000, 10, &filter), (vec![1, 3], None));
    let causes = rig.node.causes(true, &Filter::default());
    assert_eq!(
        causes.iter().map(|c| (&*c.condition, c.count)).collect::<Vec<_>>(),
        [("app:a", 2), ("app:b", 1)]
    );
    rig.node.purge(true, 0..u64::MAX, 100);
    rig.flush(Vec::new());
    assert!(rig.node.causes(true, &Filter::default()).is_empty());
}

#[test]
fn why_a_message_is_not_delivered_now() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    let why = |rig: &Rig, seq| rig.node.why(rig.now, false, Seq(seq));
    assert_eq!(why(&rig, 1), [Why::NoConsumer]);
    assert_eq!(why(&rig, 3), [Why::NoConsumer, Why::Behind { messages: 2 }]);
    rig.subscribe(wish(1), 1);
    assert_eq!(why(&rig, 1), [Why::Acquired { consumer: wish(1).identity }]);
    assert_eq!(why(&rig, 2), [Why::NoCredit { consumers: 1 }]);
    let here = Modified { undeliverable_here: true, ..Modified::default() };
    rig.settle(1, 1, Outcome::Modified(Box::new(here)));
    rig.flow(1, 1, 1, false);
    rig.settle(1, 2, Outcome::Accepted);
    rig.flow(1, 2, 1, false);
    rig.settle(1, 3, Outcome::Accepted);
    rig.flow(1, 3, 1, false);
    assert_eq!(why(&rig, 1), [Why::Excluded { endpoints: vec![wish(1).endpoint] }]);
    assert_eq!(why(&rig, 99), []);
}

#[test]
fn a_delayed_and_a_dead_message_say_so() {
    let mut rig = Rig::with(QueuePolicy {
        retry_delay: policy::RetryDelay { first_ms: 500, jitter: 0.0, ..Default::default() },
        ..QueuePolicy::default()
    });
    rig.publish_n(2);
    rig.consumer(1);
    rig.settle(1, 1, failed());
    let until = rig.now.plus_ms(500);
    assert_eq!(rig.node.why(rig.now, false, Seq(1)), [Why::Delayed { until }]);
    rig.settle(1, 2, reject_as("x"));
    assert_eq!(rig.node.why(rig.now, true, Seq(1)), [Why::Dead, Why::NoConsumer]);
}

#[test]
fn a_crash_suspect_and_an_open_breaker_say_so() {
    let policy = QueuePolicy {
        breaker: policy::BreakerPolicy { at_least: 1, ..Default::default() },
        ..QueuePolicy::default()
    };
    let mut rig = Rig::with(policy);
    rig.publish_n(2);
    rig.subscribe(wish(1), 1);
    rig.leave(1, DetachCause::Lost);
    rig.pass(2000);
    rig.subscribe(wish(2), 0);
    let why = rig.node.why(rig.now, false, Seq(1));
    assert!(why.contains(&Why::Suspect) || matches!(why[0], Why::Delayed { .. }), "{why:?}");
    let why = rig.node.why(rig.now, false, Seq(2));
    assert!(matches!(why[0], Why::BreakerOpen { .. } | Why::BreakerProbing { .. }), "{why:?}");
}
