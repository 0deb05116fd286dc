//! `verdict dead-letter causes`: dead letters counted by what killed them.
//!
//! Invariant: looks only; what counts as one cause is the broker's to say.

use serde_json::Value as Json;
use serde_json::json;

use super::filter::Filter;
use crate::cli::{
    Failure, human, json,
    management::{Ask, DEAD_LETTER, Management},
    out::Out,
    table::{Table, left, right, text},
};

/// Count dead letters by cause: same reason, condition and kind of description
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter causes orders --since 1d\n  \
                        verdict dead-letter replay orders --cause ID")]
pub(super) struct Args {
    /// The queue whose dead letters they are
    queue: String,
    #[command(flatten)]
    filter: Filter,
}

impl Args {
    pub async fn perform(&self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        run(self, node, out).await
    }
}

async fn run(args: &Args, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let body = json!({ "filter": args.filter.arguments(out.now_ms) });
    let answer = node.ask(Ask::new("CAUSES", DEAD_LETTER, args.queue.as_str()).with(body)).await?;
    if out.json {
        return out.document(&answer);
    }
    let causes = json::list(&answer, "causes");
    let words = args.filter.words();
    out.table(&table(causes, out), &format!("no dead letters in {}{words}", args.queue))?;
    if let Some(first) = causes.first() {
        let id = human::one_line(&json::cell(first.get("id")));
        let queue = &args.queue;
        out.hint(&format!(
            "--cause {id} chooses the first of them: `verdict dead-letter ls {queue} --cause {id}`"
        ));
    }
    Ok(())
}

fn table(causes: &[Json], out: &Out) -> Table {
    let columns = [
        right("count"),
        left("reason"),
        text("condition"),
        text("description"),
        right("first"),
        right("last"),
        right("example"),
        left("cause"),
    ];
    let mut table = Table::new(&columns);
    for cause in causes {
        let cell = |key: &str| json::cell(cause.get(key));
        let ago = |key: &str| {
            let age = out.age(json::time_ms(cause, key));
            if age.is_empty() { age } else { format!("{age} ago") }
        };
        table.row([
            cell("count"),
            cell("reason"),
            cell("condition"),
            cell("description"),
            ago("first"),
            ago("last"),
            cell("example"),
            cell("id"),
        ]);
    }
    table
}
