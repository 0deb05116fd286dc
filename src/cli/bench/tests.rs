//! Tests of the load generator's bookkeeping.

use std::{sync::Arc, time::Duration};

use clap::Parser;

use super::{
    Args,
    clock::{Timer, now_ns},
    drive::{Go, Role as _},
    plan::{Ends, Plan},
    receiver::Receiver,
    report::{Report, number},
    sender::Sender,
    tally::{Live, Span, Tally},
};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(line: &str) -> Args {
    Line::try_parse_from(format!("bench {line}").split_ascii_whitespace()).unwrap().args
}

fn plan(line: &str) -> Plan {
    Plan::new(&args(line)).unwrap()
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    for line in [
        "--senders 0 --receivers 0",
        "--senders 0 --rate 1",
        "--addresses 2",
        "--receivers 0 --receive-rate 1",
    ] {
        let failure = Plan::new(&args(line)).expect_err(line);
        assert_eq!(failure.exit_code(), std::process::ExitCode::from(2), "{line}");
    }
    for line in ["--count 1 --duration 1s", "--rate 0", "--rate nan", "--size 2GiB", "--window 0"] {
        let words = format!("bench {line}");
        assert!(Line::try_parse_from(words.split(' ')).is_err(), "{line}");
    }
}

#[test]
fn without_count_a_run_lasts_ten_seconds() {
    assert_eq!(plan("").ends, Ends::After(Duration::from_secs(10)));
    assert_eq!(plan("--count 5").ends, Ends::Count(5));
}

#[test]
fn senders_share_the_count() {
    let plan = plan("--count 10 --senders 4");
    let quotas: Vec<u64> = (0..4).map(|index| plan.quota(index)).collect();
    assert_eq!(quotas, [3, 3, 2, 2]);
}

#[test]
fn connections_share_the_addresses() {
    let plan_of = |line: &str| plan(line);
    let two = plan_of("--address q%d --addresses 2 --senders 3");
    assert_eq!([0, 1, 2].map(|index| two.address(index)), ["q0", "q1", "q0"]);
    assert_eq!(plan_of("--address q%d --senders 8").address(7), "q7");
    assert_eq!(plan_of("--address q").address(7), "q");
}

#[test]
fn with_a_rate_messages_are_due_whether_the_broker_keeps_up_or_not() {
    let plan = Arc::new(plan("--rate 1000 --senders 2 --duration 1s"));
    let mut second = Sender::new(&plan, &Arc::new(Live::default()), 1).unwrap();
    second.start(Go { start_ns: 5_000_000_000, end_ns: Some(6_000_000_000) });
    // Nothing was sent, as there is no credit: done only when the next message would be due after the end.
    assert!(!second.is_done(5_500_000_000));
    assert_eq!(second.wake_ns(5_500_000_000), Some(6_000_000_000));
    // Messages that were due before the end are still to be sent, when the broker gives credit: no earlier.
    assert!(!second.is_done(6_000_000_000));
    assert_eq!(second.wake_ns(6_000_000_000), None);
}

#[test]
fn receivers_share_the_rate_and_wake_to_give_credit() {
    let plan = Arc::new(plan("--receive-rate 1000 --receivers 2 --outcome failed --duration 1s"));
    assert_eq!(plan.receive_rate, Some(500.0));
    let mut receiver = Receiver::new(&plan, &Arc::new(Live::default()), 0).unwrap();
    assert_eq!(receiver.wake_ns(0), None, "not before it begins");
    receiver.start(Go { start_ns: 5_000_000_000, end_ns: None });
    assert_eq!(receiver.wake_ns(5_500_000_000), Some(5_501_000_000));
}

#[test]
fn span_is_from_the_first_to_the_last() {
    let mut span = Span::default();
    assert!(span.rate(1, None) == 0.0);
    span.note(3_000_000_000);
    span.note(1_000_000_000);
    let mut other = Span::default();
    other.note(5_000_000_000);
    span.join(other);
    assert!((span.rate(8, None) - 2.0).abs() < 1e-9);
    assert!((span.rate(8, Some(3_000_000_000)) - 4.0).abs() < 1e-9);
    assert_eq!(span.begin_ns(), Some(1_000_000_000));
}

#[test]
fn numbers_are_grouped() {
    let all = [0, 999, 1000, 123_456, 1_234_567].map(number);
    assert_eq!(all, ["0", "999", "1,000", "123,456", "1,234,567"]);
}

#[test]
fn report_tells_counts_rates_and_latency() {
    let mut tally = Tally::new().unwrap();
    (tally.sent, tally.accepted, tally.rejected, tally.received) = (1500, 1000, 500, 1000);
    tally.sending_ns.note(1_000_000_000);
    tally.sending_ns.note(2_000_000_000);
    tally.receiving_ns.note(1_500_000_000);
    tally.receiving_ns.note(3_000_000_000);
    tally.ack_ns.saturating_record(1_500_000);
    let plan = plan("");
    let report = Report { plan: &plan, tally: &tally, cpu_seconds: None };
    let text = report.text();
    assert!(text.contains("1,000/s accepted, 500 rejected"), "{text}");
    assert!(text.contains("          500/s"), "{text}");
    assert!(text.contains("ack       p50 1,500 µs"), "{text}");
    assert!(!text.contains("e2e"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["send_per_s"], 1000.0);
    assert_eq!(json["receive_per_s"], 500.0);
    assert_eq!(json["e2e_us"], serde_json::Value::Null);
}

#[tokio::test]
async fn timer_can_be_dropped_and_set_anew() {
    let mut timer = Timer::new().unwrap();
    let far_ns = now_ns() + 3_600_000_000_000;
    let waited = tokio::select! {
        biased;
        _ = timer.wait(Some(far_ns)) => "far",
        () = tokio::task::yield_now() => "dropped",
    };
    assert_eq!(waited, "dropped");
    let due_ns = now_ns() + 1_000_000;
    timer.wait(Some(due_ns)).await.unwrap();
    assert!(now_ns() >= due_ns);
    // A time that has gone is now, but lets others have a turn first.
    let other = tokio::spawn(async {});
    timer.wait(Some(1)).await.unwrap();
    assert!(other.is_finished());
}
