//! `verdict replay`: the replays of dead letters that the broker runs or remembers, looked at and stopped; and how one
//! is shown while `verdict dead-letter replay` waits for it.
//!
//! Invariant: starts none: that is `verdict dead-letter replay`, beside the filters it needs.

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::{
    Failure, human, json,
    management::{Ask, Common, Management, REPLAY},
    moment,
    out::Out,
    table::{Table, left, right, text},
};

/// See and stop replays of dead letters; `verdict dead-letter replay` starts one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  verdict replay ls\n  verdict replay show fix-4711\n  verdict replay stop fix-4711"
)]
pub(super) struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the replays that run, and the last ones that ended
    Ls,
    /// Show one
    Show {
        /// The replay's id
        id: String,
    },
    /// Stop one; what it has put back stays there
    Stop {
        /// The replay's id
        id: String,
    },
}

impl Args {
    pub async fn perform(self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        match self.command {
            Command::Ls => list(node, out).await,
            Command::Show { id } => {
                let replay = node.ask(Ask::new("READ", REPLAY, id)).await?;
                if out.json {
                    return out.document(&replay);
                }
                show(&replay).iter().try_for_each(|line| out.line(line))
            }
            Command::Stop { id } => {
                node.ask(Ask::new("DELETE", REPLAY, id.as_str())).await?;
                let words = format!("replay {id} is stopped; what it put back stays in the queue");
                out.told(&json!({ "stopped": id }), &words)
            }
        }
    }
}

async fn list(node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let found = node.query(REPLAY, None).await?;
    if out.json {
        return out.document(&json!({ "replays": found }));
    }
    let columns = [
        left("id"),
        left("queue"),
        left("state"),
        right("replayed"),
        right("of"),
        right("skipped"),
        right("failed again"),
        right("started"),
        text("error"),
    ];
    let mut table = Table::new(&columns);
    for one in &found {
        let cell = |key: &str| json::cell(one.get(key));
        let started = out.age(json::time_ms(one, "started"));
        table.row([
            cell("id"),
            cell("queue"),
            cell("state"),
            cell("replayed"),
            cell("matching"),
            cell("skipped"),
            cell("failed-again"),
            if started.is_empty() { started } else { format!("{started} ago") },
            cell("error"),
        ]);
    }
    out.table(&table, "no replays since the broker started")
}

/// All there is to know, a line each.
fn show(replay: &Json) -> Vec<String> {
    let Json::Object(fields) = replay else { return Vec::new() };
    let known = fields.iter().filter(|(_, value)| !value.is_null());
    known
        .map(|(key, value)| {
            let value = match json::time_ms(replay, key) {
                Some(ms) if matches!(key.as_str(), "started" | "finished") => moment::readable(ms),
                _ => json::cell(Some(value)),
            };
            format!("{key:<13} {}", human::one_line(&value))
        })
        .collect()
}

/// Whether the broker does nothing more for it.
pub(super) fn is_over(replay: &Json) -> bool {
    !matches!(json::text(replay, "state"), Some("running" | "waiting-for-canary"))
}

/// Whether all depends on what becomes of the first ones.
pub(super) fn waits_for_canary(replay: &Json) -> bool {
    json::text(replay, "state") == Some("waiting-for-canary")
}

/// How far it is, in one line: `1200 of 5000 put back, 3 skipped, 1000 a second`.
pub(super) fn progress(replay: &Json, elapsed_ms: u64) -> String {
    let number = |key: &str| json::number(replay, key).unwrap_or(0);
    let replayed = number("replayed");
    let mut text = format!("{replayed} of {} put back", number("matching"));
    if number("skipped") > 0 {
        text.push_str(&format!(", {} skipped", number("skipped")));
    }
    if number("failed-again") > 0 {
        text.push_str(&format!(", {} failed again", number("failed-again")));
    }
    if waits_for_canary(replay) {
        text.push_str("; waiting for what becomes of the canary");
    } else if elapsed_ms >= 1000 {
        text.push_str(&format!(", {} a second", replayed.saturating_mul(1000) / elapsed_ms));
    }
    text
}

/// What came of it: the sentence, and whether it is what was asked for.
pub(super) fn outcome(replay: &Json) -> Result<String, Failure> {
    let id = json::cell(replay.get("id"));
    let queue = json::cell(replay.get("queue"));
    let error = json::text(replay, "error").map_or_else(String::new, |error| format!(": {error}"));
    let told = progress(replay, 0);
    match json::text(replay, "state") {
        Some("done") => Ok(format!("{told} into {queue} (replay {id})")),
        Some("canary-failed") => Err(Failure::new(format!("the canary of replay {id} failed{error}; {told}"))
            .hint(format!("`verdict dead-letter ls {queue} --since 5m` shows why it failed; the others were left where they are"))),
        Some("stopped") => Err(Failure::new(format!("replay {id} was stopped{error}; {told}"))
            .hint(format!("the same command with --id {id} goes on with it, and puts nothing back twice"))),
        state => Err(Failure::new(format!("replay {id} ended as {}{error}; {told}", state.unwrap_or("unknown")))
            .hint(format!("the same command with --id {id} goes on with it, and puts nothing back twice"))),
    }
}
