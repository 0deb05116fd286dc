//! `verdict top`: what goes on in the queues, live.
//!
//! Invariant: asks once an interval, and changes nothing. On a terminal it draws on the alternate screen and takes keys;
//! with `--batch`, or where there is no terminal, it prints one snapshot after the other.

mod sample;
mod screen;
mod view;

use std::{io::IsTerminal as _, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    Failure, interrupted,
    management::{Ask, BROKER, Common, Management, QUEUE},
    out::Out,
    send::duration,
};
use screen::Screen;

pub(super) use sample::{Rates, Sample};
pub(super) use view::{Sort, View};
#[cfg(test)]
pub(super) use {screen::keys, view::Key};

/// Watch the queues live: rates, what waits, dead letters, breakers
///
/// Rates are of the last interval: IN published, OUT delivered, DONE accepted, FAILED failed or rejected.
/// Keys: q quits, left and right choose the column to sort by, r turns the order, up and down scroll, p pauses,
/// + and - change the interval.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  verdict top\n  verdict top 'orders*' --interval 5s --sort dead\n  \
                        verdict top --batch -n 3 --json")]
pub(super) struct Args {
    #[command(flatten)]
    pub common: Common,
    /// Only these queues; `*` stands for any run of characters
    glob: Option<String>,
    /// How often to look, such as 500ms or 5s
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = pace)]
    interval: Duration,
    /// Column to sort by
    #[arg(long, value_enum, default_value_t = Sort::In)]
    sort: Sort,
    /// Print one snapshot an interval, without keys and screen
    #[arg(long)]
    batch: bool,
    /// With --batch: end after so many snapshots [default: go on]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn pace(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|pace| match pace {
        pace if pace >= view::FASTEST => Ok(pace),
        _ => Err("expected at least 100ms".to_owned()),
    })
}

impl Args {
    pub async fn perform(self, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
        let people = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        if self.batch || self.count.is_some() || out.json || !people {
            tokio::select! {
                ended = batch(&self, node, out) => ended,
                () = interrupted() => Ok(()),
            }
        } else {
            live(&self, node, out).await
        }
    }
}

async fn take(node: &mut Management, glob: Option<&str>) -> Result<Sample, Failure> {
    let queues = node.query(QUEUE, glob).await?;
    let at = Instant::now();
    let broker = node.ask(Ask::new("READ", BROKER, "self")).await?;
    Ok(Sample { at, now_ms: super::moment::now_ms(), broker, queues })
}

/// The first snapshot comes after an interval: rates are of something.
async fn batch(args: &Args, node: &mut Management, out: &mut Out) -> Result<(), Failure> {
    let mut before = take(node, args.glob.as_deref()).await?;
    let view = View::new(args.interval, args.sort);
    let mut shown = 0;
    while args.count.is_none_or(|count| shown < count) {
        sleep(args.interval).await;
        let now = take(node, args.glob.as_deref()).await?;
        let rates = Rates::between(&before, &now);
        if out.json {
            out.object(&rates.object(&now))?;
        } else {
            if shown > 0 {
                out.line("")?;
            }
            let lines = view.summary(&now, &rates).into_iter().chain(view.table(&now, &rates, out.width));
            for line in lines {
                out.line(&line)?;
            }
        }
        before = now;
        shown += 1;
    }
    Ok(())
}

async fn live(args: &Args, node: &mut Management, out: &Out) -> Result<(), Failure> {
    let mut view = View::new(args.interval, args.sort);
    let mut before = take(node, args.glob.as_deref()).await?;
    let mut rates = Rates::default();
    let mut now = before.clone();
    let mut screen = Screen::open()?;
    let mut ticks = ticks(view.interval);
    let stop = interrupted();
    tokio::pin!(stop);
    loop {
        screen.draw(&view.frame(&now, &rates, &args.common.url, screen.size(out.width)))?;
        tokio::select! {
            () = &mut stop => return Ok(()),
            pressed = screen.keys() => {
                let pace = view.interval;
                if !pressed?.into_iter().all(|key| view.press(key)) {
                    return Ok(());
                }
                if view.interval != pace {
                    ticks = self::ticks(view.interval);
                }
            }
            _ = ticks.tick() => {
                let next = take(node, args.glob.as_deref()).await?;
                if !view.paused {
                    rates = Rates::between(&before, &next);
                    now = next.clone();
                }
                before = next;
            }
        }
    }
}

fn ticks(pace: Duration) -> tokio::time::Interval {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is at once, and nothing has happened yet.
    ticks.reset();
    ticks
}
