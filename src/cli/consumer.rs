//! `verdict consumer`: the links that take messages from queues, and how they do.
//!
//! Invariant: looks only.

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::{
    Failure, json,
    management::{CONSUMER, Common, Management},
    out::Out,
    table::{Table, left, right, text},
};

/// See who consumes from which queue
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict consumer ls\n  verdict consumer ls 'orders*' --json")]
pub(super) struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the consumers, with what they may still be sent (credit) and have not settled
    Ls {
        /// Of these queues only; `*` stands for any run of characters
        #[arg(value_name = "GLOB")]
        queue: Option<String>,
    },
}

impl Args {
    pub async fn perform(self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        let Command::Ls { queue } = self.command;
        list(node, out, queue.as_deref()).await
    }
}

async fn list(node: &mut Management, out: &mut Out, queue: Option<&str>) -> Result<(), Failure> {
    let found = node.query(CONSUMER, queue).await?;
    if out.json {
        return out.document(&json!({ "consumers": found }));
    }
    let columns = [
        left("queue"),
        text("container"),
        text("link"),
        text("user"),
        right("conn"),
        right("credit"),
        right("unsettled"),
        right("delivered"),
        text("remarks"),
    ];
    let mut table = Table::new(&columns);
    for one in &found {
        let cell = |key: &str| json::cell(one.get(key));
        let is = |key: &str| one.get(key).and_then(Json::as_bool).unwrap_or(false);
        let address = if is("dead-letter") { "/$deadletter" } else { "" };
        table.row([
            format!("{}{address}", cell("queue")),
            cell("container-id"),
            cell("link"),
            cell("user"),
            cell("connection"),
            cell("credit"),
            cell("unsettled"),
            cell("delivered"),
            remarks(is("browse"), is("suspect-alone"), &cell("filter")),
        ]);
    }
    out.table(
        &table,
        &queue.map_or_else(|| "no consumers".to_owned(), |queue| format!("no consumers of {queue}")),
    )
}

fn remarks(browses: bool, suspect: bool, filter: &str) -> String {
    let mut all = Vec::new();
    if browses {
        all.push("browses".to_owned());
    }
    if suspect {
        all.push("has a crash suspect alone".to_owned());
    }
    if !filter.is_empty() {
        all.push(format!("filter {filter}"));
    }
    all.join(", ")
}
