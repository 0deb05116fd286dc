//! `verdict connection`: who is connected, and closing a connection.
//!
//! Invariant: a connection is named by the broker's number for it, which is never used twice.

use clap::Subcommand;
use serde_json::json;

use super::{
    Failure, json,
    management::{Ask, CONNECTION, Common, Management},
    out::Out,
    table::{Table, left, right, text},
};

/// See who is connected to a running broker, and close connections
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict connection ls\n  \
                        verdict connection close 17 --description 'maintenance, come back at 12'")]
pub(super) struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the connections
    Ls,
    /// Close a connection; its client is told amqp:connection:forced, and may come back
    Close {
        /// The connection's number, as `verdict connection ls` shows it
        id: u64,
        /// What to tell the client
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
}

impl Args {
    pub async fn perform(self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        match self.command {
            Command::Ls => list(node, out).await,
            Command::Close { id, description } => {
                let ask = Ask::new("DELETE", CONNECTION, id.to_string());
                node.ask(ask.with(json!({ "description": description }))).await?;
                out.told(&json!({ "closed": id }), &format!("connection {id} is closed"))
            }
        }
    }
}

async fn list(node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let found = node.query(CONNECTION, None).await?;
    if out.json {
        return out.document(&json!({ "connections": found }));
    }
    let columns = [
        right("id"),
        left("address"),
        text("container"),
        text("user"),
        text("product"),
        right("open for"),
        right("pub"),
        right("cons"),
    ];
    let mut table = Table::new(&columns);
    for one in &found {
        let cell = |key: &str| json::cell(one.get(key));
        table.row([
            cell("id"),
            cell("address"),
            cell("container-id"),
            cell("user"),
            cell("product"),
            out.age(json::time_ms(one, "opened")),
            cell("publishers"),
            cell("consumers"),
        ]);
    }
    out.table(&table, "no connections")
}
