//! `verdict dead-letter replay`: dead letters sent to their queue once more, watched until it is done.
//!
//! Invariant: the replay has its id before the broker is asked, so that whatever happens to this process the person can
//! go on with it; the broker puts nothing back twice under one id. Ends with 0 only when all was put back.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::filter::Filter;
use crate::cli::{
    Failure, human, interrupted, json,
    management::{Ask, DEAD_LETTER, Management, REPLAY},
    moment,
    out::Out,
    replay,
};

/// A canary that takes longer perhaps has nobody to take it.
const PATIENCE_MS: u64 = 5000;

/// Put dead letters back into the queue they died in
///
/// The broker does it, this command watches. Each goes back as it was published, with its attempts counted from 0. Run
/// again with the same --id, it goes on where it was: no dead letter is put back twice.
/// Exit code 0: all that match were put back. 1: not, such as a canary that failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict dead-letter replay orders --cause 3f1c --dry-run\n  \
                        verdict dead-letter replay orders --cause 3f1c --canary --rate 100\n  \
                        verdict dead-letter replay orders --all --id fix-4711 --detach")]
pub(super) struct Args {
    /// The queue whose dead letters they are
    queue: String,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Say how many there are, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Put back at most so many a second [default: as fast as it goes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Put back one, then ten, then the others; stop as soon as one of the first fails again
    #[arg(long)]
    canary: bool,
    /// Name of this replay, to go on with it later [default: one is made]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Put back at most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Do not watch: `verdict replay show ID` tells how far it is
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    /// How often to look
    #[arg(long, hide = true, default_value = "250ms", value_parser = crate::cli::send::duration)]
    poll: Duration,
    #[command(flatten)]
    filter: Filter,
}

impl Args {
    pub fn check(&self) -> Result<(), Failure> {
        self.filter.or_all(self.all, "put back")
    }

    pub async fn perform(&self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        run(self, node, out).await
    }
}

async fn run(args: &Args, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let queue = args.queue.as_str();
    let id = args.id.clone().unwrap_or_else(|| made_up(out.now_ms));
    let body = json!({
        "id": (!args.dry_run).then_some(&id),
        "filter": args.filter.arguments(out.now_ms),
        "dry-run": args.dry_run,
        "rate": args.rate,
        "limit": args.limit,
        "canary": args.canary,
    });
    let ask = Ask::new("REPLAY", DEAD_LETTER, queue).with(body);
    if args.dry_run {
        let answer = node.ask(ask).await?;
        let matching = json::number(&answer, "matching").unwrap_or(0);
        let words = format!(
            "{} of {queue} would be put back; nothing was done",
            human::count(matching, "dead letter")
        );
        return out.told(&answer, &words);
    }
    tokio::select! {
        ended = start(args, node, out, &id, ask) => ended,
        () = interrupted() => Err(goes_on(args, &id)),
    }
}

/// Starts it, and waits for its end, telling how far it is.
async fn start(args: &Args, node: &mut Management, out: &mut Out, id: &str, ask: Ask) -> Result<(), Failure> {
    let began = Instant::now();
    let mut now = node.ask(ask).await?;
    if args.detach {
        return out.told(&now, &format!("replay {id} runs; `verdict replay show {id}` tells how far it is"));
    }
    let mut told = false;
    while !replay::is_over(&now) {
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        out.progress(&format!("{}  (Ctrl-C leaves it to the broker)", replay::progress(&now, elapsed_ms)));
        if !told && elapsed_ms >= PATIENCE_MS && replay::waits_for_canary(&now) {
            told = true;
            let queue = &args.queue;
            out.hint(&format!(
                "the canary is in {queue} and not settled yet: `verdict consumer ls {queue}` shows who could take it"
            ));
        }
        sleep(args.poll).await;
        now = node.ask(Ask::new("READ", REPLAY, id)).await.map_err(|failure| {
            failure
                .hint(format!("the same command with --id {id} goes on with it, and puts nothing back twice"))
        })?;
    }
    if out.json {
        out.document(&now)?;
        return replay::outcome(&now).map(drop);
    }
    out.line(&replay::outcome(&now)?)
}

fn goes_on(args: &Args, id: &str) -> Failure {
    let queue = &args.queue;
    Failure::new(format!("no longer watching; the broker goes on with replay {id}")).hint(format!(
        "`verdict replay show {id}` tells how far it is, `verdict replay stop {id}` stops it;\n      \
         `verdict dead-letter replay {queue} --id {id}` with the same filter goes on with a stopped one"
    ))
}

/// An id that nobody has used.
fn made_up(now_ms: u64) -> String {
    let time: String = moment::readable(now_ms).chars().filter(char::is_ascii_digit).collect();
    format!("r{time}-{}", std::process::id())
}
