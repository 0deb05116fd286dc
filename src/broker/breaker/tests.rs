//! Tests of the breaker alone: budget, pauses, probes, bounds.

use super::*;
use crate::broker::Modified;

fn breaker() -> Breaker {
    Breaker::new(BreakerPolicy::default())
}

const T: Millis = Millis(1_000_000);

fn storm(breaker: &mut Breaker, now: Millis, failed: u64, good: u64) {
    for seq in 0..good {
        breaker.settled(now, seq, false);
    }
    for seq in 0..failed {
        breaker.settled(now, seq, true);
    }
}

/// Lets the pause pass and hands out one message.
fn probe(breaker: &mut Breaker, seq: u64) -> Millis {
    let BreakerState::Open { until } = breaker.state() else { panic!("{:?}", breaker.state()) };
    breaker.advance(until);
    assert_eq!((breaker.state(), breaker.room()), (BreakerState::HalfOpen { allowed: 1 }, 1));
    breaker.handed(until, seq);
    assert_eq!(breaker.room(), 0);
    until
}

#[test]
fn at_least_20_failures_in_10_s_open_it() {
    let mut b = breaker();
    storm(&mut b, T, 19, 0);
    assert_eq!((b.state(), b.room()), (BreakerState::Closed, u64::MAX));
    storm(&mut b, T, 1, 0);
    assert_eq!((b.state(), b.room()), (BreakerState::Open { until: T.plus_ms(1000) }, 0));
    assert_eq!(b.take_change(), Some(b.state()));
    assert_eq!(b.take_change(), None);
}

#[test]
fn half_of_the_settlements_must_have_failed() {
    let mut b = breaker();
    storm(&mut b, T, 1000, 1001);
    assert_eq!(b.state(), BreakerState::Closed);
    storm(&mut b, T, 1, 0);
    assert_eq!(b.state(), BreakerState::Open { until: T.plus_ms(1000) });
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let mut b = breaker();
    storm(&mut b, T, 19, 500);
    storm(&mut b, T.plus_ms(10_001), 19, 0);
    assert_eq!(b.state(), BreakerState::Closed, "neither the failures nor the successes of then count");
    storm(&mut b, T.plus_ms(10_001), 1, 0);
    assert_ne!(b.state(), BreakerState::Closed);
}

#[test]
fn the_window_slides_in_buckets_and_adds_up() {
    let mut w = Window::new(1600);
    for ms in 0..10_000 {
        let (settled, failed) = w.add(Millis(ms), ms % 2 == 0);
        assert!((1500..=1600).contains(&settled) || ms < 1600, "{settled} at {ms}");
        assert!(failed.abs_diff(settled / 2) <= 1);
    }
    assert_eq!(w.add(Millis(1 << 40), true), (1, 1));
    assert_eq!(w.add(Millis(5), true), (2, 2), "a time that goes back is taken as now");
}

#[test]
fn a_failing_probe_opens_it_again_for_twice_as_long_up_to_the_most() {
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    let mut pauses = Vec::new();
    for seq in 0..7 {
        let now = probe(&mut b, seq);
        b.settled(now, seq, true);
        let BreakerState::Open { until } = b.state() else { panic!("{:?}", b.state()) };
        pauses.push(until.since_ms(now));
    }
    assert_eq!(pauses, [2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
}

#[test]
fn successes_double_what_may_be_out_each_round_until_it_is_closed() {
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    let now = probe(&mut b, 0);
    let mut rounds = vec![1];
    let mut out = vec![0];
    while b.state() != BreakerState::Closed {
        out.drain(..).for_each(|seq| b.settled(now, seq, false));
        let room = b.room();
        if room != u64::MAX {
            out = (1000..1000 + room).collect();
            out.iter().for_each(|&seq| b.handed(now, seq));
            rounds.push(room);
        }
    }
    assert_eq!(rounds, [1, 2, 4, 8, 16, 32]);
    // The pause begins anew, and so does the count.
    storm(&mut b, now, 19, 0);
    assert_eq!(b.state(), BreakerState::Closed);
    storm(&mut b, now, 1, 0);
    assert_eq!(b.state(), BreakerState::Open { until: now.plus_ms(1000) });
}

#[test]
fn failures_within_the_share_do_not_keep_it_from_closing() {
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    let now = probe(&mut b, 0);
    b.settled(now, 0, false);
    for seq in 1..1000 {
        b.handed(now, seq);
        b.settled(now, seq, seq % 5 == 0);
    }
    assert_eq!(b.state(), BreakerState::Closed);
}

#[test]
fn what_was_out_when_it_opened_is_no_probe() {
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    storm(&mut b, T, 100, 100);
    assert_eq!(b.state(), BreakerState::Open { until: T.plus_ms(1000) });
    let now = probe(&mut b, 500);
    storm(&mut b, now, 100, 100);
    assert_eq!((b.state(), b.room()), (BreakerState::HalfOpen { allowed: 1 }, 0));
}

#[test]
fn a_probe_that_comes_back_without_a_verdict_makes_room_for_another() {
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    probe(&mut b, 7);
    b.left(7);
    assert_eq!((b.state(), b.room()), (BreakerState::HalfOpen { allowed: 1 }, 1));
}

#[test]
fn a_probe_without_an_answer_stops_the_queue_for_a_pause_only_and_memory_is_bounded() {
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    let mut now = probe(&mut b, 0);
    for seq in 1..2000 {
        assert_eq!((b.room(), b.next_wake()), (0, Some(now.plus_ms(1000))));
        now = now.plus_ms(1000);
        b.advance(now);
        assert!(b.room() > 0);
        assert_eq!(b.next_wake(), None, "a wake-up that brings nothing would come again at once");
        b.handed(now, seq);
        let State::HalfOpen(probing) = &mut b.state else { panic!() };
        // What is no longer remembered does not make room.
        assert!(probing.probes.len() <= PROBES_KEPT);
        if probing.room() > 0 {
            return;
        }
    }
    panic!("never reached the most probes remembered");
}

#[test]
fn a_probe_that_failed_is_named_when_probing_begins_again() {
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    let now = probe(&mut b, 7);
    b.settled(now, 7, true);
    let BreakerState::Open { until } = b.state() else { panic!() };
    assert_eq!(b.advance(until), Some((vec![7], until.plus_ms(1000))));
}

#[test]
fn switched_off_it_stays_closed_and_is_closed_at_once() {
    let off = BreakerPolicy { enabled: false, ..BreakerPolicy::default() };
    let mut b = Breaker::new(off.clone());
    storm(&mut b, T, 1000, 0);
    assert_eq!((b.state(), b.take_change(), b.next_wake()), (BreakerState::Closed, None, None));
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    b.take_change();
    b.set_policy(&off);
    assert_eq!((b.take_change(), b.room()), (Some(BreakerState::Closed), u64::MAX));
}

#[test]
fn new_rules_do_not_end_a_pause() {
    let mut b = breaker();
    storm(&mut b, T, 20, 0);
    let open = b.state();
    b.set_policy(&BreakerPolicy { at_least: 5, ..BreakerPolicy::default() });
    assert_eq!(b.state(), open);
}

#[test]
fn rejected_is_a_verdict_and_released_counts_from_the_second_time_on() {
    let modified = |delivery_failed, undeliverable_here| {
        Outcome::Modified(Box::new(Modified { delivery_failed, undeliverable_here, ..Modified::default() }))
    };
    let table = [
        (Outcome::Accepted, Some(false), Some(false)),
        (Outcome::Rejected(None), Some(false), Some(false)),
        (modified(true, false), Some(true), Some(true)),
        (modified(true, true), Some(true), Some(true)),
        (Outcome::Released, None, Some(true)),
        (modified(false, false), None, Some(true)),
        (modified(false, true), None, None),
    ];
    for (outcome, first, later) in table {
        assert_eq!((weigh(&outcome, 0), weigh(&outcome, 3)), (first, later), "{outcome:?}");
    }
}
