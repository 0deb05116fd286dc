//! One queue, for people.
//!
//! Invariant: settings are named as `--set` takes them.

use serde_json::Value as Json;

use super::{breaker_words, oldest};
use crate::cli::{Failure, human, json, out::Out};

const TOTALS: [&str; 12] = [
    "published",
    "refused",
    "duplicates",
    "delivered",
    "redelivered",
    "accepted",
    "failed",
    "rejected",
    "released",
    "modified",
    "expired",
    "dead-lettered",
];

/// Everything the broker says of a queue.
pub(in crate::cli) fn show(queue: &Json, out: &mut Out) -> Result<(), Failure> {
    if out.json {
        return out.document(queue);
    }
    lines(queue, out.now_ms).iter().try_for_each(|line| out.line(line))
}

fn lines(queue: &Json, now_ms: u64) -> Vec<String> {
    let number = |key: &str| json::number(queue, key).unwrap_or(0);
    let is = |key: &str| queue.get(key).and_then(Json::as_bool).unwrap_or(false);
    let origin = match (is("dynamic"), is("configured")) {
        (true, _) => "a reply queue, gone with its link",
        (_, true) => "named in the configuration",
        _ => "made by a client or by `verdict queue create`",
    };
    let counts = ["ready", "acquired", "delayed", "moving"].map(|key| format!("{} {key}", number(key)));
    let totals = TOTALS.iter().filter(|key| number(key) > 0).map(|key| format!("{} {key}", number(key)));
    let totals: Vec<String> = totals.collect();
    let mut lines = vec![
        human::one_line(&format!("{} ({origin})", json::cell(queue.get("name")))),
        format!(
            "  messages      {}; {}; oldest {}",
            counts.join(", "),
            human::size(number("bytes")),
            oldest(queue)
        ),
        format!("  dead letters  {}; {}", number("dead"), human::size(number("dead-bytes"))),
        format!(
            "  links         {}, {}",
            human::count(number("publishers"), "publisher"),
            human::count(number("consumers"), "consumer")
        ),
        format!("  breaker       {}", breaker_words(queue, now_ms)),
        format!(
            "  since start   {}",
            if totals.is_empty() { "nothing".to_owned() } else { totals.join(", ") }
        ),
    ];
    let mut settings = Vec::new();
    if let Some(own) = queue.get("settings") {
        flatten("", own, &mut settings);
    }
    if !settings.is_empty() {
        lines.push("settings".to_owned());
        let widest = settings.iter().map(|(key, _)| human::width(key)).max().unwrap_or(0);
        lines.extend(
            settings.iter().map(|(key, value)| format!("  {key:<widest$}  {}", human::one_line(value))),
        );
    }
    lines
}

fn flatten(path: &str, value: &Json, found: &mut Vec<(String, String)>) {
    match value {
        Json::Object(inner) if !inner.is_empty() => {
            for (key, value) in inner {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, found);
            }
        }
        other => found.push((human::one_line(path), json::cell(Some(other)))),
    }
}
