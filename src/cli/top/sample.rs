//! What the broker said at two points in time, and the rates between them.
//!
//! Invariant: a rate is only told between two samples of the same run of the broker: totals begin at 0 with it. A queue
//! that is new since the last sample began at 0.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use crate::cli::{json, moment};

/// What the broker said.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Sample {
    pub at: Instant,
    pub now_ms: u64,
    pub broker: Json,
    pub queues: Vec<Json>,
}

/// Names of rates, and the totals each adds up.
const SUMS: [(&str, &[&str]); 4] = [
    ("in", &["published"]),
    ("out", &["delivered"]),
    ("done", &["accepted"]),
    ("failed", &["failed", "rejected"]),
];

/// Things a second, in tenths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) struct Rate {
    pub tenths: [u64; 4],
}

/// Rates of each queue, where they are known.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Rates {
    queues: BTreeMap<String, Rate>,
    elapsed_ms: u64,
}

impl Rates {
    pub fn between(before: &Sample, now: &Sample) -> Self {
        let elapsed_ms = u64::try_from(now.at.duration_since(before.at).as_millis()).unwrap_or(u64::MAX);
        let up_ms = |sample: &Sample| json::number(&sample.broker, "uptime-ms").unwrap_or(0);
        if elapsed_ms == 0 || up_ms(now) < up_ms(before) {
            return Self { queues: BTreeMap::new(), elapsed_ms };
        }
        let old: BTreeMap<_, _> = before.queues.iter().map(|queue| (name(queue), queue)).collect();
        let rate = |queue: &Json| {
            let then = old.get(&name(queue)).copied().unwrap_or(&Json::Null);
            Some((name(queue), Rate { tenths: per_second(then, queue, elapsed_ms)? }))
        };
        Self { queues: now.queues.iter().filter_map(rate).collect(), elapsed_ms }
    }

    pub fn of(&self, queue: &Json) -> Option<Rate> {
        self.queues.get(&name(queue)).copied()
    }

    /// Over all queues.
    pub fn total(&self) -> Option<Rate> {
        let mut total = Rate::default();
        for rate in self.queues.values() {
            for (sum, more) in total.tenths.iter_mut().zip(rate.tenths) {
                *sum = sum.saturating_add(more);
            }
        }
        (!self.queues.is_empty()).then_some(total)
    }

    /// A snapshot for programs.
    pub fn object(&self, now: &Sample) -> Json {
        let queues = now.queues.iter().map(|queue| {
            let mut fields = queue.as_object().cloned().unwrap_or_default();
            if let Some(rate) = self.of(queue) {
                let rates = SUMS.iter().zip(rate.tenths);
                let rates =
                    rates.map(|((name, _), tenths)| ((*name).to_owned(), json!(tenths as f64 / 10.0)));
                fields.insert("per-second".to_owned(), Json::Object(rates.collect::<Map<_, _>>()));
            }
            Json::Object(fields)
        });
        let time = moment::rfc3339(i64::try_from(now.now_ms).unwrap_or(i64::MAX));
        let queues: Vec<Json> = queues.collect();
        json!({ "time": time, "interval-ms": self.elapsed_ms, "broker": now.broker, "queues": queues })
    }
}

pub(super) fn name(queue: &Json) -> String {
    json::cell(queue.get("name"))
}

/// Nothing if a total went back: the queue was removed and made again.
fn per_second(then: &Json, now: &Json, elapsed_ms: u64) -> Option<[u64; 4]> {
    let mut tenths = [0; 4];
    for (rate, (_, totals)) in tenths.iter_mut().zip(SUMS) {
        let sum = |queue: &Json| totals.iter().filter_map(|total| json::number(queue, total)).sum::<u64>();
        let more = sum(now).checked_sub(sum(then))?;
        *rate = more.saturating_mul(10_000) / elapsed_ms;
    }
    Some(tenths)
}
