//! Tests of `top`: rates between samples, what is sorted how, and that a frame fits.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::cli::top::{Key, Rates, Sample, Sort, View};

fn queue(name: &str, published: u64, dead: u64) -> Json {
    json!({
        "name": name, "published": published, "delivered": 0, "accepted": 0, "failed": published / 10, "rejected": 1,
        "ready": 5, "acquired": 0, "delayed": 0, "dead": dead, "consumers": 1, "oldest-age-ms": 0, "bytes": 10,
        "breaker": "closed", "breaker-until": null,
    })
}

fn sample(at: Instant, uptime_ms: u64, queues: Vec<Json>) -> Sample {
    let broker = json!({ "version": "0.1.0", "uptime-ms": uptime_ms, "connections": 2, "disk-bytes": 2048, "ready": true });
    Sample { at, now_ms: 1_795_500_827_123, broker, queues }
}

fn two_samples(uptime_ms: u64) -> (Sample, Sample) {
    let begin = Instant::now();
    let before = sample(begin, 10_000, vec![queue("a", 100, 3), queue("b", 100, 9)]);
    let queues = vec![queue("a", 100, 3), queue("b", 400, 9), queue("c", 5, 0)];
    (before, sample(begin + Duration::from_secs(2), uptime_ms, queues))
}

#[test]
fn rates_are_differences_a_second() {
    let (before, now) = two_samples(12_000);
    let rates = Rates::between(&before, &now);
    let tenths = |at: usize| rates.of(&now.queues[at]).map(|rate| rate.tenths);
    assert_eq!(tenths(0), Some([0, 0, 0, 0]));
    assert_eq!(tenths(1), Some([1500, 0, 0, 150]));
    assert_eq!(tenths(2), Some([25, 0, 0, 5]), "a queue that is new began at 0");
    assert_eq!(rates.total().map(|rate| rate.tenths), Some([1525, 0, 0, 155]));
}

#[test]
fn rates_are_not_told_over_a_restart() {
    let (before, now) = two_samples(500);
    assert!(Rates::between(&before, &now).total().is_none());
    let (now, mut before) = (now, before);
    before.queues[0]["published"] = json!(1000);
    let later = Sample { broker: before.broker.clone(), ..now };
    let rates = Rates::between(&before, &later);
    assert!(rates.of(&later.queues[0]).is_none(), "a queue that was made again");
    assert!(rates.of(&later.queues[1]).is_some());
}

fn order(view: &View, now: &Sample, rates: &Rates) -> String {
    view.table(now, rates, None).iter().skip(1).map(|line| &line[..1]).collect()
}

#[test]
fn keys_choose_what_is_sorted_by_and_turn_it() {
    let (before, now) = two_samples(12_000);
    let rates = Rates::between(&before, &now);
    let mut view = View::new(Duration::from_secs(1), Sort::In);
    assert_eq!(order(&view, &now, &rates), "bca");
    view.press(Key::Turn);
    assert_eq!(order(&view, &now, &rates), "acb");
    view.press(Key::Left);
    assert_eq!(order(&view, &now, &rates), "cba", "by name, turned");
    let view = View::new(Duration::from_secs(1), Sort::Dead);
    assert_eq!(order(&view, &now, &rates), "bac");
}

#[test]
fn keys_change_the_interval_within_bounds_and_quit() {
    let mut view = View::new(Duration::from_secs(1), Sort::In);
    for _ in 0..20 {
        view.press(Key::Faster);
    }
    assert_eq!(view.interval, Duration::from_millis(100));
    for _ in 0..20 {
        view.press(Key::Slower);
    }
    assert_eq!(view.interval, Duration::from_secs(60));
    assert!(view.press(Key::Pause) && view.paused);
    assert!(!view.press(Key::Quit));
}

#[test]
fn frames_fit_the_terminal_and_scroll() {
    let queues = (0..50).map(|n| queue(&format!("q{n:02}"), 0, 0)).collect();
    let now = sample(Instant::now(), 1000, queues);
    let url = "127.0.0.1:1".parse().unwrap();
    let mut view = View::new(Duration::from_secs(1), Sort::Name);
    for (columns, rows) in [(110, 16), (40, 8), (1, 1), (200, 100)] {
        let frame = view.frame(&now, &Rates::default(), &url, (columns, rows));
        assert!(
            frame.len() <= rows && frame.iter().all(|line| line.chars().count() <= columns),
            "{frame:#?}"
        );
    }
    let last = |view: &mut View| view.frame(&now, &Rates::default(), &url, (110, 16)).pop().unwrap();
    assert!(last(&mut view).starts_with("q09 "));
    view.press(Key::Down);
    assert!(last(&mut view).starts_with("q10 "));
    for _ in 0..100 {
        view.press(Key::Down);
    }
    assert!(last(&mut view).starts_with("q49 "), "not beyond the last");
    view.press(Key::Up);
    assert!(last(&mut view).starts_with("q48 "));
    assert!(last(&mut view).contains("  -  "), "no rate is known yet");
}
