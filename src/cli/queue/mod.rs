//! `verdict queue`: queues seen, made, changed, emptied and removed.
//!
//! Invariant: what loses messages asks first (`confirm`). Settings have the configuration's names and forms; whether
//! they are good is for the broker to say.

mod settings;
mod show;

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value as Json, json};

use super::{
    Failure,
    confirm::confirm,
    human, json,
    management::{Ask, Common, Management, QUEUE},
    moment,
    out::Out,
    send::duration,
    table::{Table, left, right},
};

pub(super) use settings::{assignment, nested};
pub(super) use show::show;

/// See, make, change and remove queues
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict queue ls 'orders*'\n  \
                        verdict queue create jobs --set max-attempts=3 --set retry-delay.initial=1s\n  \
                        verdict queue update jobs --set max-bytes=1GiB --unset max-attempts\n  \
                        verdict queue breaker jobs close")]
pub(super) struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List queues and what is in them
    Ls {
        /// Only these; `*` stands for any run of characters
        glob: Option<String>,
    },
    /// Show one queue: counts, totals since the broker's start, breaker, settings
    Show {
        /// The queue's name
        name: String,
    },
    /// Make a queue
    ///
    /// It is there after a restart, with the settings given here. What is not set is as the configuration says for that
    /// name.
    Create {
        /// The queue's name
        name: String,
        #[command(flatten)]
        set: Set,
    },
    /// Change settings of a queue; they hold at once, and after a restart
    ///
    /// A setting that is a table, such as retry-delay, is replaced whole: what is not said of it is as in the configuration.
    Update {
        /// The queue's name
        name: String,
        #[command(flatten)]
        set: Set,
        /// Setting, or whole table, that goes back to what the configuration says; may be given more than once
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Remove a queue that is empty (of dead letters, too) and not in use
    Delete {
        /// The queue's name
        name: String,
        /// With everything in it, and though it is in use: its links are closed
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, requires = "force")]
        yes: bool,
    },
    /// Remove all waiting messages of a queue; its dead letters stay (see `verdict dead-letter purge`)
    Purge {
        /// The queue's name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Close a queue's circuit breaker by hand, or open it: an open one delivers nothing
    Breaker {
        /// The queue's name
        name: String,
        /// What it is to be
        state: Breaker,
        /// With open: for how long, such as 10m [default: as the queue's settings say]
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        lasting: Option<Duration>,
    },
}

#[derive(Debug, clap::Args)]
struct Set {
    /// Setting, with the name and form it has in the configuration, as max-bytes=1GiB or retry-delay.initial=1s; may be
    /// given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, Json)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Breaker {
    /// Deliver again
    Close,
    /// Deliver nothing
    Open,
}

impl Args {
    pub fn check(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Update { set, unset, .. } if set.set.is_empty() && unset.is_empty() => {
                Err(Failure::usage("nothing to change").hint("--set KEY=VALUE or --unset KEY"))
            }
            Command::Update { unset, .. } if unset.iter().any(|key| key.contains('.')) => {
                Err(Failure::usage("a part of a table cannot be unset on its own")
                    .hint("--unset retry-delay takes back all of it, --set retry-delay.max=1h says what it is to be"))
            }
            Command::Breaker { state: Breaker::Close, lasting: Some(_), .. } => Err(Failure::usage(
                "--for says how long the breaker is to be open; a closed one stays closed until it trips",
            )),
            _ => Ok(()),
        }
    }

    pub async fn perform(self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        perform(self.command, node, out).await
    }
}

async fn perform(command: Command, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    match command {
        Command::Ls { glob } => list(node, out, glob.as_deref()).await,
        Command::Show { name } => {
            let queue = node.ask(Ask::new("READ", QUEUE, name)).await?;
            show(&queue, out)
        }
        Command::Create { name, set } => {
            let settings = nested(set.set, &[])?;
            let ask = Ask::new("CREATE", QUEUE, name.as_str());
            let queue = node.ask(ask.with(json!({ "settings": settings }))).await?;
            out.told(
                &queue,
                &format!("queue {name} is there; `verdict queue show {name}` shows its settings"),
            )
        }
        Command::Update { name, set, unset } => {
            let settings = nested(set.set, &unset)?;
            let ask = Ask::new("UPDATE", QUEUE, name);
            let queue = node.ask(ask.with(json!({ "settings": settings }))).await?;
            show(&queue, out)
        }
        Command::Delete { name, force, yes } => delete(node, out, &name, force, yes).await,
        Command::Purge { name, yes } => purge(node, out, &name, yes).await,
        Command::Breaker { name, state, lasting } => breaker(node, out, &name, state, lasting).await,
    }
}

async fn list(node: &mut Management, out: &mut Out, glob: Option<&str>) -> Result<(), Failure> {
    let mut found = node.query(QUEUE, glob).await?;
    found.sort_by_key(|queue| json::cell(queue.get("name")));
    if out.json {
        return out.document(&json!({ "queues": found }));
    }
    let columns = [
        left("queue"),
        right("ready"),
        right("acquired"),
        right("delayed"),
        right("size"),
        right("dead"),
        right("pub"),
        right("cons"),
        right("oldest"),
        left("breaker"),
    ];
    let mut table = Table::new(&columns);
    for queue in &found {
        let cell = |key: &str| json::cell(queue.get(key));
        table.row([
            cell("name"),
            cell("ready"),
            cell("acquired"),
            cell("delayed"),
            json::number(queue, "bytes").map_or_else(String::new, human::size),
            cell("dead"),
            cell("publishers"),
            cell("consumers"),
            oldest(queue),
            breaker_words(queue, out.now_ms),
        ]);
    }
    out.table(&table, &glob.map_or_else(|| "no queues".to_owned(), |glob| format!("no queue matches {glob}")))
}

/// The age of the oldest message, where there is one.
pub(super) fn oldest(queue: &Json) -> String {
    json::number(queue, "oldest-age-ms").filter(|ms| *ms > 0).map_or_else(|| "-".to_owned(), human::span)
}

/// `closed`, or `open for 12s`.
pub(super) fn breaker_words(queue: &Json, now_ms: u64) -> String {
    let state = json::cell(queue.get("breaker"));
    match json::time_ms(queue, "breaker-until") {
        Some(until) if state != "closed" && until > now_ms => {
            format!("{state} for {}", human::span(until - now_ms))
        }
        _ => state,
    }
}

async fn delete(
    node: &mut Management,
    out: &mut Out,
    name: &str,
    force: bool,
    yes: bool,
) -> Result<(), Failure> {
    if force && !yes {
        let queue = node.ask(Ask::new("READ", QUEUE, name)).await?;
        let dead = human::count(json::number(&queue, "dead").unwrap_or(0), "dead letter");
        let all = waiting(&queue, &["ready", "acquired", "delayed"]);
        confirm(&format!("remove the queue {name} with {all} and {dead}"), name, false).await?;
    }
    let arguments = if force { json!({ "if-empty": false, "if-unused": false }) } else { json!({}) };
    node.ask(Ask::new("DELETE", QUEUE, name).with(arguments)).await?;
    out.told(&json!({ "deleted": name }), &format!("queue {name} is removed"))
}

async fn purge(node: &mut Management, out: &mut Out, name: &str, yes: bool) -> Result<(), Failure> {
    if !yes {
        let queue = node.ask(Ask::new("READ", QUEUE, name)).await?;
        // Those handed out stay.
        let all = waiting(&queue, &["ready", "delayed"]);
        confirm(&format!("remove {all} from {name}"), name, false).await?;
    }
    let answer = node.ask(Ask::new("PURGE", QUEUE, name)).await?;
    let removed = json::number(&answer, "removed").unwrap_or(0);
    out.told(&answer, &format!("{} removed from {name}", human::count(removed, "message")))
}

fn waiting(queue: &Json, which: &[&str]) -> String {
    let count = which.iter().filter_map(|key| json::number(queue, key)).sum();
    human::count(count, "message")
}

async fn breaker(
    node: &mut Management,
    out: &mut Out,
    name: &str,
    state: Breaker,
    lasting: Option<Duration>,
) -> Result<(), Failure> {
    let state = match state {
        Breaker::Close => "closed",
        Breaker::Open => "open",
    };
    let lasting_ms = lasting.map(|lasting| u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX));
    let ask = Ask::new("BREAKER", QUEUE, name).with(json!({ "state": state, "for-ms": lasting_ms }));
    let answer = node.ask(ask).await?;
    let until = json::time_ms(&answer, "breaker-until");
    let until = until.map_or_else(String::new, |ms| format!(", until {}", moment::readable(ms)));
    out.told(&answer, &format!("the breaker of {name} is {}{until}", json::cell(answer.get("breaker"))))
}
