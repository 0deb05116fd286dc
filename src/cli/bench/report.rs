//! What was measured, for people and for programs.
//!
//! Invariant: rates are over the time in which the thing happened: sending from the start to the last answer,
//! receiving to the last message.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{plan::Plan, tally::Tally};

/// The percentiles told, with their names.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)];

pub(super) struct Report<'a> {
    pub plan: &'a Plan,
    pub tally: &'a Tally,
    /// CPU time of this process.
    pub cpu_seconds: Option<f64>,
}

impl Report<'_> {
    fn send_rate(&self) -> f64 {
        self.tally.sending_ns.rate(self.tally.accepted, None)
    }

    fn receive_rate(&self) -> f64 {
        let tally = self.tally;
        tally.receiving_ns.rate(tally.received, tally.sending_ns.begin_ns())
    }

    pub fn text(&self) -> String {
        let (plan, tally) = (self.plan, self.tally);
        let mut lines = Vec::new();
        if plan.senders > 0 {
            let mut line = format!(
                "sent      {:>12}   {:>12}/s accepted",
                number(tally.sent),
                number(whole(self.send_rate()))
            );
            let others =
                [("rejected", tally.rejected), ("released", tally.released), ("modified", tally.modified)];
            for (name, count) in others.into_iter().filter(|(_, count)| *count > 0) {
                line += &format!(", {} {name}", number(count));
            }
            lines.push(line);
        }
        if plan.receivers > 0 {
            let rate = number(whole(self.receive_rate()));
            lines.push(format!("received  {:>12}   {rate:>12}/s", number(tally.received)));
        }
        for (name, latency) in [("ack", &tally.ack_ns), ("e2e", &tally.e2e_ns)] {
            if !latency.is_empty() {
                let all = PERCENTILES
                    .map(|(name, at)| format!("{name} {}", micros(latency.value_at_percentile(at))));
                lines.push(format!("{name:<9} {}", all.join("   ")));
            }
        }
        if let Some(cpu) = self.cpu_seconds {
            lines.push(format!("load generator: {cpu:.2} s CPU"));
        }
        lines.join("\n")
    }

    pub fn json(&self) -> String {
        let (plan, tally) = (self.plan, self.tally);
        json!({
            "senders": plan.senders, "receivers": plan.receivers, "size_bytes": plan.size_bytes,
            "window": plan.window, "credit": plan.credit, "durable": plan.durable, "rate": plan.rate,
            "sent": tally.sent, "accepted": tally.accepted, "rejected": tally.rejected,
            "released": tally.released, "modified": tally.modified, "received": tally.received,
            "send_per_s": self.send_rate().round(), "receive_per_s": self.receive_rate().round(),
            "ack_us": percentiles(&tally.ack_ns), "e2e_us": percentiles(&tally.e2e_ns),
            "cpu_s": self.cpu_seconds, "reason": tally.reason,
        })
        .to_string()
    }
}

fn percentiles(latency: &Histogram<u64>) -> Value {
    if latency.is_empty() {
        return Value::Null;
    }
    let of = |at: f64| json!(latency.value_at_percentile(at) as f64 / 1000.0);
    PERCENTILES.iter().map(|(name, at)| ((*name).to_owned(), of(*at))).collect()
}

/// `1234567` as `1,234,567`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate without its decimals.
pub(super) fn whole(rate: f64) -> u64 {
    // `as` saturates, and NaN becomes 0.
    rate.round() as u64
}

fn micros(ns: u64) -> String {
    match ns {
        0..10_000_000 => format!("{} µs", number((ns + 500) / 1000)),
        _ => format!("{} ms", number((ns + 500_000) / 1_000_000)),
    }
}
