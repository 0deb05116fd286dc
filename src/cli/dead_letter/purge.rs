//! `verdict dead-letter purge`: dead letters removed for good.
//!
//! Invariant: only with a filter or `--all`, and only when confirmed; how many there are is counted for the question.

use serde_json::json;

use super::filter::Filter;
use crate::cli::{
    Failure,
    confirm::confirm,
    human, json,
    management::{Ask, DEAD_LETTER, Management},
    out::Out,
};

/// Remove dead letters for good
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter purge orders --until 30d --yes\n  \
                        verdict dead-letter purge orders --all")]
pub(super) struct Args {
    /// The queue whose dead letters they are
    queue: String,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Args {
    pub fn check(&self) -> Result<(), Failure> {
        self.filter.or_all(self.all, "removed")
    }

    pub async fn perform(&self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        run(self, node, out).await
    }
}

async fn run(args: &Args, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let queue = args.queue.as_str();
    let filter = args.filter.arguments(out.now_ms);
    if !args.yes {
        let body = json!({ "count": 1, "filter": filter });
        let page = node.ask(Ask::new("LIST", DEAD_LETTER, queue).with(body)).await?;
        let total = json::number(&page, "total").unwrap_or(0);
        if total == 0 {
            return out.told(
                &json!({ "removed": 0 }),
                &format!("no dead letters in {queue}{}", args.filter.words()),
            );
        }
        confirm(&format!("remove {} of {queue}", human::count(total, "dead letter")), queue, false).await?;
    }
    // The contract: "An empty filter must be said: {all: true}".
    let body = if args.all { json!({ "all": true }) } else { json!({ "filter": filter }) };
    let answer = node.ask(Ask::new("PURGE", DEAD_LETTER, queue).with(body)).await?;
    let removed = json::number(&answer, "removed").unwrap_or(0);
    out.told(&answer, &format!("{} of {queue} removed", human::count(removed, "dead letter")))
}
