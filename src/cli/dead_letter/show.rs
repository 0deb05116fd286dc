//! `verdict dead-letter show`: one dead letter with everything that is known of it.
//!
//! Invariant: looks only; how it is written down is `story`'s.

use serde_json::json;

use crate::cli::{
    Failure,
    management::{Ask, DEAD_LETTER, Management},
    out::Out,
    story,
};

/// Show one dead letter: every failed attempt, where it has been, and what is in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter show orders 17\n  \
                        verdict dead-letter show orders --message-id order-17 --json")]
pub(super) struct Args {
    /// The queue whose dead letter it is
    queue: String,
    /// Its sequence, as `verdict dead-letter ls` shows it
    #[arg(required_unless_present = "message_id")]
    sequence: Option<u64>,
    /// Its message-id instead
    #[arg(long, value_name = "ID", conflicts_with = "sequence")]
    message_id: Option<String>,
    /// Show all of the body, however long it is
    #[arg(long)]
    whole: bool,
}

impl Args {
    pub async fn perform(&self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        run(self, node, out).await
    }
}

async fn run(args: &Args, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let body = json!({ "sequence": args.sequence, "message-id": args.message_id });
    let letter = node.ask(Ask::new("SHOW", DEAD_LETTER, args.queue.as_str()).with(body)).await?;
    if out.json {
        return out.document(&letter);
    }
    let most = if args.whole { usize::MAX } else { story::BODY_BYTES };
    story::lines(&letter, out, most).iter().try_for_each(|line| out.line(line))?;
    if let Some(sequence) = letter.get("sequence") {
        let queue = &args.queue;
        out.hint(&format!(
            "`verdict dead-letter replay {queue} --seq {sequence}` sends it once more, `purge` removes it"
        ));
    }
    Ok(())
}
