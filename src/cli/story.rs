//! The history of one message, for people: what it is, what became of each attempt, and what is in it.
//!
//! Invariant: shows what the broker says (EXPLANATION, docs/management.md) and infers nothing; a field it does not know
//! it leaves to `--json`. Nothing a message holds moves the terminal's cursor.

use serde_json::Value as Json;

use super::{human, json, moment, out::Out};

mod body;

pub(super) use body::BODY_BYTES;

/// What stands in a column of its own before the text of a line.
const LABEL: usize = 16;

/// The whole story; of the body at most so many bytes.
pub(super) fn lines(message: &Json, out: &Out, body_bytes: usize) -> Vec<String> {
    let mut lines = vec![title(message)];
    lines.extend(facts(message, out));
    lines.extend(history(message));
    lines.extend(section("annotations", message.get("annotations")));
    lines.extend(section("message-annotations", message.get("message-annotations")));
    lines.extend(section("properties", message.get("properties")));
    lines.extend(section("application-properties", message.get("application-properties")));
    if let Some(bytes) = json::text(message, "body").and_then(json::binary) {
        lines.extend(body::lines(&bytes, body_bytes));
    }
    lines
}

fn title(message: &Json) -> String {
    let cell = |key: &str| json::cell(message.get(key));
    let id = match json::text(message, "message-id") {
        Some(id) => format!(" ({id})"),
        None => String::new(),
    };
    let what = if is_dead(message) { "dead letter" } else { "message" };
    human::one_line(&format!("{what} {} of {}{id}", cell("sequence"), cell("queue")))
}

/// Whether it lies among the dead letters: one that was replayed has died, too, but does no more.
fn is_dead(message: &Json) -> bool {
    message.get("dead-letter").and_then(Json::as_bool).unwrap_or_else(|| has_died(message))
}

fn has_died(message: &Json) -> bool {
    message.get("reason").is_some_and(|reason| !reason.is_null())
}

fn facts(message: &Json, out: &Out) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fact = |label: &str, text: String| {
        if !text.is_empty() {
            lines.push(human::one_line(&format!("  {label:<LABEL$}{text}")));
        }
    };
    let cell = |key: &str| json::cell(message.get(key));
    fact("status", cell("status"));
    if has_died(message) {
        fact(
            if is_dead(message) { "dead because" } else { "died because" },
            joined(&[&cell("reason"), &cell("condition"), &cell("description")], ": "),
        );
        fact("died", time(message, "time", out));
        fact("died in", if cell("origin") == cell("queue") { String::new() } else { cell("origin") });
        fact("published to", cell("address"));
        fact("cause", cell("cause"));
    }
    fact("attempts", cell("attempts"));
    let counts = [("delivery-count", cell("delivery-count")), ("acquired-count", cell("acquired-count"))];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| !count.is_empty())
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    fact("counts", counts.join(", "));
    fact("size", json::number(message, "size").map_or_else(String::new, human::size));
    fact("priority", cell("priority"));
    fact("not before", time(message, "not-before", out));
    fact("expires", time(message, "expires", out));
    fact("first death", first_death(message));
    fact("turned away at", several(message.get("excluded")));
    fact("replays", several(message.get("replays")));
    lines
}

/// `2026-11-24 06:13:47.123Z (3m12s ago)`
fn time(message: &Json, key: &str, out: &Out) -> String {
    let Some(ms) = json::time_ms(message, key) else { return String::new() };
    let distance = human::span(ms.abs_diff(out.now_ms));
    let words = if ms > out.now_ms { format!("in {distance}") } else { format!("{distance} ago") };
    format!("{} ({words})", moment::readable(ms))
}

/// Where it died first and why, if that is another story than the last time.
fn first_death(message: &Json) -> String {
    let Some(death) = json::list(message, "deaths").first() else { return String::new() };
    let cell = |key: &str| json::cell(death.get(key));
    let first = (cell("first-queue"), cell("first-reason"));
    if first == (cell("queue"), cell("reason")) {
        String::new()
    } else {
        format!("{} in {}", first.1, first.0)
    }
}

/// A number, or things one after the other; nothing for none.
fn several(value: Option<&Json>) -> String {
    match value {
        Some(Json::Array(all)) => all.iter().map(pairs).collect::<Vec<_>>().join("; "),
        Some(Json::Number(number)) if number.as_u64() == Some(0) => String::new(),
        other => other.map_or_else(String::new, pairs),
    }
}

/// `key=value, key=value`
fn pairs(value: &Json) -> String {
    match value {
        Json::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null());
            known
                .map(|(key, value)| format!("{key}={}", json::cell(Some(value))))
                .collect::<Vec<_>>()
                .join(", ")
        }
        other => json::cell(Some(other)),
    }
}

fn joined(parts: &[&str], between: &str) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(between)
}

/// The failed attempts, one after the other.
fn history(message: &Json) -> Vec<String> {
    let failures = json::list(message, "failures");
    let dropped = json::number(message, "failures-dropped").unwrap_or(0);
    if failures.is_empty() && dropped == 0 {
        return Vec::new();
    }
    let mut lines = vec!["history".to_owned()];
    if dropped > 0 {
        lines.push(format!("  {} not kept", human::count(dropped, "earlier attempt")));
    }
    let last = dropped + failures.len() as u64;
    for (number, failure) in (dropped + 1..).zip(failures) {
        // Behind the last attempt of a dead letter comes no other.
        lines.extend(attempt(number, failure, has_died(message) && number == last));
    }
    lines
}

fn attempt(number: u64, failure: &Json, died: bool) -> Vec<String> {
    let cell = |key: &str| json::cell(failure.get(key));
    let when = json::time_ms(failure, "time").map_or_else(String::new, moment::readable);
    let who = cell("consumer");
    let by = if who.is_empty() { String::new() } else { format!(" by {who}") };
    let mut lines = vec![format!("  {when}  attempt {number}: {}{by}", cell("outcome"))];
    let mut detail = |text: String| {
        if !text.is_empty() {
            lines.push(format!("      {text}"));
        }
    };
    detail(joined(&[&cell("condition"), &cell("description")], ": "));
    let info = failure.get("info").map_or_else(String::new, pairs);
    detail(if info.is_empty() { info } else { format!("info: {info}") });
    let annotations = failure.get("annotations").map_or_else(String::new, pairs);
    detail(if annotations.is_empty() { annotations } else { format!("annotations: {annotations}") });
    let delay = json::number(failure, "delay-ms").filter(|_| !died);
    let delay = delay.map_or_else(String::new, |ms| match ms {
        0 => "tried again at once".to_owned(),
        ms => format!("tried again after {}", human::span(ms)),
    });
    let rule = cell("rule");
    let rule = if rule.is_empty() { rule } else { format!("rule {rule}") };
    detail(joined(&[&delay, &rule], ", "));
    lines.iter().map(|line| human::one_line(line)).collect()
}

fn section(title: &str, value: Option<&Json>) -> Vec<String> {
    let Some(Json::Object(fields)) = value else { return Vec::new() };
    let known: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
    if known.is_empty() {
        return Vec::new();
    }
    let widest = known.iter().map(|(key, _)| human::width(key)).max().unwrap_or(0).min(40);
    let mut lines = vec![title.to_owned()];
    lines.extend(
        known
            .iter()
            .map(|(key, value)| human::one_line(&format!("  {key:<widest$}  {}", json::cell(Some(value))))),
    );
    lines
}
