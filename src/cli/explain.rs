//! `verdict explain`: what happened to one message, and why it is not delivered now.
//!
//! Invariant: the reasons are the broker's, in its order, the most decisive first; here is only what to do about each.

use serde_json::{Value as Json, json};

use super::{
    Failure, human, json,
    management::{Ask, Common, Management, QUEUE},
    moment,
    out::Out,
    story,
};

/// Say what happened to a message, and why it is not delivered now
///
/// A message is named by its message-id, which is looked for in all queues and their dead letters; or, with --queue, by
/// its sequence there.
/// Exit code 1: there is no such message; it was never here, or is settled.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict explain order-17\n  verdict explain --queue orders 4711\n  \
                        verdict explain --queue orders --message-id 4711")]
pub(super) struct Args {
    #[command(flatten)]
    pub common: Common,
    /// message-id; with --queue, the sequence
    #[arg(value_name = "MESSAGE-ID|SEQ", required_unless_present = "message_id")]
    which: Option<String>,
    /// Look in this queue only
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// message-id, also where it looks like a sequence
    #[arg(long, value_name = "ID", conflicts_with = "which")]
    message_id: Option<String>,
}

impl Args {
    /// What the broker is asked to look for.
    fn which(&self) -> Json {
        let sequence =
            self.queue.as_ref().and(self.which.as_ref()).and_then(|which| which.parse::<u64>().ok());
        match (&self.which, sequence) {
            (_, Some(sequence)) => json!({ "sequence": sequence }),
            (which, None) => json!({ "message-id": which.as_ref().or(self.message_id.as_ref()) }),
        }
    }

    pub async fn perform(self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        explain(&self, node, out).await
    }
}

async fn explain(args: &Args, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let ask = match &args.queue {
        Some(queue) => Ask::new("EXPLAIN", QUEUE, queue.as_str()),
        None => Ask::anywhere("EXPLAIN", QUEUE),
    };
    let answer = node.ask(ask.with(args.which())).await?;
    let found = json::list(&answer, "found");
    if out.json {
        out.document(&answer)?;
    }
    if found.is_empty() {
        let name = args.which.as_ref().or(args.message_id.as_ref()).map_or("", String::as_str);
        let place = args.queue.as_ref().map_or_else(|| "any queue".to_owned(), |queue| queue.clone());
        return Err(Failure::new(format!("no message {name} in {place}"))
            .hint("it was never here, or it is settled: an accepted message leaves nothing behind"));
    }
    if out.json {
        return Ok(());
    }
    for (number, message) in found.iter().enumerate() {
        if number > 0 {
            out.line("")?;
        }
        explanation(message, out).iter().try_for_each(|line| out.line(line))?;
        if let Some(hint) = json::list(message, "why").first().and_then(|why| advice(why, message)) {
            out.hint(&hint);
        }
    }
    Ok(())
}

/// The story, and behind it why it is not delivered.
fn explanation(message: &Json, out: &Out) -> Vec<String> {
    let mut lines = story::lines(message, out, story::BODY_BYTES);
    let reasons = json::list(message, "why");
    if !reasons.is_empty() {
        let deliverable = reasons.iter().all(|why| json::text(why, "reason") == Some("deliverable"));
        lines.push(if deliverable { "now" } else { "why it is not delivered now" }.to_owned());
        lines
            .extend(reasons.iter().map(|why| format!("  - {}", human::one_line(&sentence(why, out.now_ms)))));
    }
    lines
}

/// The broker's words; its reason and what belongs to it where there are none.
fn sentence(why: &Json, now_ms: u64) -> String {
    let mut text = match json::text(why, "text") {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => json::cell(why.get("reason")),
    };
    if let Some(until_ms) = json::time_ms(why, "until") {
        let distance = human::span(until_ms.abs_diff(now_ms));
        let words = if until_ms > now_ms { format!("in {distance}") } else { format!("{distance} ago") };
        text.push_str(&format!(" ({}, {words})", moment::readable(until_ms)));
    }
    text
}

/// What to do about a reason.
fn advice(why: &Json, message: &Json) -> Option<String> {
    let queue = json::cell(message.get("queue"));
    let sequence = json::cell(message.get("sequence"));
    Some(match json::text(why, "reason")? {
        "acquired" => format!(
            "`verdict consumer ls {queue}` shows who holds how much; `verdict connection close` takes it back"
        ),
        "excluded" => "it waits for another consumer than those that turned it away (undeliverable-here); \
                       without one it goes to the dead letters after `stranded-after`"
            .to_owned(),
        "group-held" => {
            let by = json::cell(why.get("by"));
            format!(
                "`verdict explain --queue {queue} {by}` says what holds up the message before it in its group"
            )
        }
        "no-consumer" => {
            format!("attach a consumer to {queue}: `verdict receive {queue} --count 1`, for a try")
        }
        "no-credit" => {
            format!("the consumers of {queue} take no more for now: see `verdict consumer ls {queue}`")
        }
        "breaker-open" => {
            format!(
                "most of what was delivered failed; once that is mended, `verdict queue breaker {queue} close` goes on at once"
            )
        }
        "filtered" => format!("no consumer's filter lets it pass: see `verdict consumer ls {queue}`"),
        "suspect" => {
            "a consumer may have crashed on it, so it goes alone, to a consumer that has nothing else"
                .to_owned()
        }
        "dead" => format!("`verdict dead-letter replay {queue} --seq {sequence}` sends it once more"),
        _ => return None,
    })
}
