//! Tests of the breaker in its node: what pauses, what does not, and a storm from beginning to end.

use std::collections::VecDeque;

use super::rig::*;
use crate::broker::{
    BreakerState, Command, DetachCause, Outcome, QueuePolicy, Subscribe,
    policy::{BreakerPolicy, RetryDelay},
};

fn policy() -> QueuePolicy {
    let retry_delay = RetryDelay { initial_ms: 0, max_ms: 0, ..RetryDelay::default() };
    QueuePolicy { max_attempts: 1000, retry_delay, ..QueuePolicy::default() }
}

/// A queue of `n` messages whose breaker has just opened: consumer 1 has one message (of 21) left unsettled.
fn open(n: u64) -> Rig {
    let mut rig = Rig::with(policy());
    rig.publish_n(n);
    rig.subscribe(wish(1), 21);
    for seq in 1..=20 {
        rig.settle(1, seq, failed());
    }
    rig.clear();
    assert_eq!(rig.node.breaker(), BreakerState::Open { until: rig.now.plus_ms(1000) });
    rig
}

#[test]
fn when_failures_exceed_the_budget_delivery_pauses_and_then_probes_one_message_at_a_time() {
    let mut rig = open(30);
    rig.flow(1, 21, 10, false);
    rig.consumer(2);
    assert_eq!(rig.got(), []);
    assert_eq!(rig.node.next_wake(), Some(rig.now.plus_ms(1000)));
    rig.pass(999);
    assert_eq!(rig.got(), []);
    rig.pass(1);
    assert_eq!((rig.got().len(), rig.node.breaker()), (1, BreakerState::HalfOpen { allowed: 1 }));
    rig.publish_n(1);
    assert_eq!(rig.got(), []);
    let kinds: Vec<&str> = rig.breaker.iter().map(|state| state.as_str()).collect();
    assert_eq!(kinds, ["open", "half-open"]);
}

#[test]
fn probes_double_on_success() {
    let mut rig = open(200);
    rig.consumer(2);
    rig.pass(1000);
    let mut rounds = Vec::new();
    while rig.node.breaker() != BreakerState::Closed {
        let out = rig.seqs();
        rounds.push(out.len());
        for seq in out {
            rig.settle(2, seq, Outcome::Accepted);
        }
    }
    assert_eq!(rounds, [1, 2, 4, 8, 16, 32]);
    assert_eq!(rig.breaker.last(), Some(&BreakerState::Closed));
    assert!(rig.got().len() > 64, "all that is left at once");
}

#[test]
fn a_failure_while_half_open_opens_it_again() {
    let mut rig = open(30);
    rig.consumer(2);
    rig.pass(1000);
    let seq = rig.seqs()[0];
    rig.settle(2, seq, failed());
    assert_eq!(rig.node.breaker(), BreakerState::Open { until: rig.now.plus_ms(2000) });
}

#[test]
fn endless_released_loops_open_it_too() {
    let mut rig = Rig::with(policy());
    rig.publish_n(1);
    rig.consumer(1);
    for _ in 0..100 {
        if rig.seqs() == [1] {
            rig.settle(1, 1, Outcome::Released);
        }
    }
    assert_eq!(rig.node.breaker().as_str(), "open");
    assert_eq!(rig.stored(1).map(|s| (s.delivery_count, s.acquired_count)), Some((0, 21)));
}

#[test]
fn a_consumer_that_stops_in_good_order_does_not_open_it() {
    for released in [true, false] {
        let mut rig = Rig::with(policy());
        rig.publish_n(1000);
        rig.consumer(1);
        if released {
            // All at once, before the link ends.
            let released = |seq| crate::broker::Settlement {
                seq: crate::broker::Seq(seq),
                outcome: Some(Outcome::Released),
                confirm: false,
            };
            rig.run(Command::Settle { consumer: c(1), settlements: (1..=1000).map(released).collect() });
        }
        rig.leave(1, DetachCause::Clean);
        assert_eq!(rig.node.breaker(), BreakerState::Closed);
    }
}

#[test]
fn lost_suspects_count_and_what_was_prefetched_does_not() {
    let mut rig = Rig::with(policy());
    rig.publish_n(100);
    for n in 1..=20 {
        assert_eq!(rig.node.breaker(), BreakerState::Closed);
        rig.subscribe(wish(100 + n), 1);
        rig.subscribe(wish(n), 50);
        rig.leave(n, DetachCause::Clean);
        rig.leave(100 + n, DetachCause::Lost);
    }
    assert_eq!(rig.node.breaker().as_str(), "open");
}

#[test]
fn rejections_do_not_open_it() {
    let mut rig = Rig::with(policy());
    rig.publish_n(100);
    rig.consumer(1);
    (1..=100).for_each(|seq| rig.settle(1, seq, Outcome::Rejected(None)));
    assert_eq!((rig.node.breaker(), rig.node.counts().1.available), (BreakerState::Closed, 100));
}

#[test]
fn those_who_browse_are_not_paused() {
    let mut rig = open(30);
    rig.subscribe(Subscribe { browse: true, ..wish(2) }, 100);
    assert_eq!(rig.got().len(), 29, "all but the one that is out");
}

#[test]
fn a_drain_is_answered_while_it_is_open() {
    let mut rig = open(30);
    rig.flow(1, 21, 10, true);
    assert_eq!(rig.flows, [(c(1), 31, 0, 29, true)]);
    rig.subscribe(Subscribe { browse: true, ..wish(2) }, 100);
    rig.flow(2, 29, 71, true);
    assert_eq!(rig.flows.last().map(|f| (f.0, f.4)), Some((c(2), true)));
}

#[test]
fn the_dead_letters_are_not_paused() {
    let mut rig = open(30);
    rig.settle(1, 21, Outcome::Rejected(None));
    rig.dead_consumer(2);
    assert_eq!(rig.got(), [(2, 1)]);
}

#[test]
fn a_message_that_always_comes_back_is_not_every_probe() {
    let mut rig = Rig::with(policy());
    rig.publish_n(1);
    rig.subscribe(wish(1), 10_000);
    // Alone it is what opens the breaker, and what is probed.
    for _ in 0..21 {
        rig.settle(1, 1, Outcome::Released);
    }
    rig.clear();
    rig.pass(1000);
    assert_eq!(rig.seqs(), [1]);
    // Others come: the next probe is one of them, and when it goes well so do the rest.
    rig.publish_n(3);
    rig.settle(1, 1, Outcome::Released);
    assert_eq!(rig.node.breaker().as_str(), "open");
    rig.pass(2000);
    assert_eq!(rig.seqs(), [2]);
    rig.settle(1, 2, Outcome::Accepted);
    assert_eq!(rig.seqs(), [3, 4]);
    // It comes back in its place.
    rig.settle(1, 3, Outcome::Accepted);
    rig.pass(1000);
    assert_eq!(rig.seqs(), [1]);
}

#[test]
fn a_presettled_delivery_is_a_success() {
    let mut rig = open(300);
    rig.subscribe(Subscribe { presettled: true, ..wish(2) }, 1000);
    rig.pass(1000);
    assert_eq!(rig.node.breaker(), BreakerState::Closed);
    assert_eq!(rig.got().len(), 299);
}

#[test]
fn the_policy_switches_it_off() {
    let mut rig = open(30);
    let off = BreakerPolicy { enabled: false, ..BreakerPolicy::default() };
    rig.consumer(2);
    rig.run(Command::Policy(Box::new(QueuePolicy { breaker: off, ..policy() })));
    assert_eq!((rig.node.breaker(), rig.got().len()), (BreakerState::Closed, 29));
}

/// A consumer that fails everything at once, as fast as it gets it; later it does not.
#[test]
fn a_storm_falls_to_the_probe_rate_and_ends_when_the_consumer_recovers() {
    let mut rig = Rig::with(policy());
    rig.publish_n(2000);
    rig.subscribe(wish(1), 100);
    let mut sent = Vec::new();
    let mut prefetched = VecDeque::new();
    let mut count = 0;
    for second in 0..120 {
        for _ in 0..1000 {
            rig.pass(1);
            // 5 answers in a millisecond at most.
            for _ in 0..5 {
                prefetched.extend(rig.seqs());
                let Some(seq) = prefetched.pop_front() else { break };
                count += 1;
                rig.settle(1, seq, if second < 60 { failed() } else { Outcome::Accepted });
            }
            rig.flow(1, count, 100, false);
        }
        sent.push(count);
    }
    assert_eq!(rig.node.counts().0.acquired, 0);
    let during = sent[59];
    assert!((20..200).contains(&during), "{during} deliveries in a minute of storm");
    assert!(sent[58] - sent[28] <= 2, "a probe in 30 s: {:?}", &sent[28..60]);
    assert_eq!(rig.node.breaker(), BreakerState::Closed);
    // Within one pause of recovery.
    assert!(sent[95] - sent[59] >= 1700, "{:?}", &sent[59..]);
    assert_eq!(rig.node.counts().0.available + rig.node.counts().0.delayed, 0);
}

#[test]
fn each_change_of_the_breaker_is_told_once_to_each_link_it_holds_back_and_to_one_that_comes_later() {
    let mut rig = Rig::with(policy());
    rig.publish_n(200);
    rig.subscribe(wish(1), 20);
    rig.subscribe(wish(2), 0);
    rig.subscribe(Subscribe { browse: true, ..wish(3) }, 1);
    rig.dead_consumer(4);
    for seq in 1..=20 {
        rig.settle(1, seq, failed());
    }
    let open = BreakerState::Open { until: rig.now.plus_ms(1000) };
    assert_eq!(std::mem::take(&mut rig.breaker_news), [(c(1), open), (c(2), open)]);
    rig.subscribe(wish(5), 10_000);
    rig.subscribe(Subscribe { browse: true, ..wish(6) }, 1);
    rig.leave(2, DetachCause::Clean);
    assert_eq!(std::mem::take(&mut rig.breaker_news), [(c(5), open)]);
    rig.pass(1000);
    let half = BreakerState::HalfOpen { allowed: 1 };
    assert_eq!(std::mem::take(&mut rig.breaker_news), [(c(1), half), (c(5), half)]);
    while rig.node.breaker() != BreakerState::Closed {
        for seq in rig.seqs() {
            rig.settle(5, seq, Outcome::Accepted);
        }
    }
    assert_eq!(rig.breaker_news, [(c(1), BreakerState::Closed), (c(5), BreakerState::Closed)]);
    rig.breaker_news.clear();
    rig.consumer(7);
    assert_eq!(rig.breaker_news, []);
}

#[test]
fn openings_are_counted_those_after_failed_probes_too() {
    let mut rig = open(30);
    rig.consumer(2);
    rig.pass(1000);
    let seq = rig.seqs()[0];
    rig.settle(2, seq, failed());
    assert_eq!(rig.node.tally().breaker_openings, 2);
}
