//! `verdict dead-letter ls`: dead letters, a line each.
//!
//! Invariant: asks for no more than is shown; looking changes nothing.

use serde_json::{Value as Json, json};

use super::filter::Filter;
use crate::cli::{
    Failure, json,
    management::{Ask, DEAD_LETTER, Management},
    out::Out,
    table::{Table, left, right, text},
};

/// What the broker gives at once.
const PAGE: u64 = 1000;

/// List dead letters, the oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter ls orders --reason rejected --since 2h\n  \
                        verdict dead-letter ls orders --text 'order 17' --json")]
pub(super) struct Args {
    /// The queue whose dead letters they are
    queue: String,
    /// Most to show
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on from this sequence
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    #[command(flatten)]
    filter: Filter,
}

impl Args {
    pub async fn perform(&self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        run(self, node, out).await
    }
}

async fn run(args: &Args, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let mut letters = Vec::new();
    let mut next = args.from;
    let mut total = None;
    let filter = args.filter.arguments(out.now_ms);
    loop {
        let count = (args.limit - letters.len() as u64).min(PAGE);
        let body = json!({ "from": next, "count": count, "filter": filter });
        let mut page = node.ask(Ask::new("LIST", DEAD_LETTER, args.queue.as_str()).with(body)).await?;
        // The first page counts what there is from the beginning of what was asked for.
        total = total.or_else(|| json::number(&page, "total"));
        next = json::number(&page, "next");
        let more =
            page.get_mut("letters").and_then(Json::as_array_mut).map(std::mem::take).unwrap_or_default();
        letters.extend(more);
        if next.is_none() || letters.len() as u64 >= args.limit {
            break;
        }
    }
    if out.json {
        return out.document(&json!({ "letters": letters, "next": next, "total": total }));
    }
    out.table(&table(&letters, out), &format!("no dead letters in {}{}", args.queue, args.filter.words()))?;
    if let Some(next) = next {
        let of = total.map_or_else(String::new, |total| format!(" of {total}"));
        let shown = letters.len();
        out.hint(&format!("{shown}{of} are shown; --from {next} goes on, --limit N shows more at once"));
    }
    Ok(())
}

fn table(letters: &[Json], out: &Out) -> Table {
    let columns = [
        right("seq"),
        right("age"),
        left("reason"),
        text("condition"),
        text("description"),
        right("attempts"),
        text("message-id"),
        text("consumer"),
    ];
    let mut table = Table::new(&columns);
    for letter in letters {
        let cell = |key: &str| json::cell(letter.get(key));
        table.row([
            cell("sequence"),
            out.age(json::time_ms(letter, "time")),
            cell("reason"),
            cell("condition"),
            cell("description"),
            cell("attempts"),
            cell("message-id"),
            cell("consumer"),
        ]);
    }
    table
}
