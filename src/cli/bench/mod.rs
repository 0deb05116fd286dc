//! `verdict bench`: a load generator on our own engine in its client role, for any AMQP 1.0 broker.
//!
//! Invariant: one task per connection; nothing is measured before all of them are attached. A run ends: by
//! count, by time, or because nothing moved for `--timeout`.

mod clock;
mod drive;
mod plan;
mod receiver;
mod report;
mod sender;
mod tally;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, timeout},
};

pub(super) use plan::Args;

use super::{Failure, interrupted, print_line};
use clock::{nanos, now_ns};
use drive::{Go, Phase};
use plan::{Ends, Plan};
use report::{Report, number, whole};
use tally::{Live, Tally};

/// How often it is looked whether all is done.
const TICK: Duration = Duration::from_millis(20);
/// Longer than a connection takes to close.
const ENDING: Duration = Duration::from_secs(7);
/// After the last sender's end in a run by time: receivers that get nothing for this long have it all.
const QUIET_NS: u64 = 2_000_000_000;

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let plan = Arc::new(Plan::new(&args)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(args.threads))
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    let loaded = runtime.block_on(load(&args, &plan));
    runtime.shutdown_background();
    let (tally, failure) = loaded?;
    if let Some(failure) = failure.as_ref().filter(|_| tally.sent == 0 && tally.received == 0) {
        return Err(failure.clone()); // nothing was measured: a table of zeros would hide why
    }
    let report = Report { plan: &plan, tally: &tally, cpu_seconds: cpu_seconds() };
    print_line(&if args.json { report.json() } else { report.text() })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let refused = tally.rejected + tally.released + tally.modified;
    if refused > 0 {
        let why = tally.reason.as_deref().map_or(String::new(), |reason| format!(": {reason}"));
        return Err(Failure::new(format!("{refused} messages were not accepted{why}")));
    }
    Ok(())
}

type Tasks = JoinSet<Result<Tally, Failure>>;

/// Runs the load; what was measured is told even when it failed on the way.
async fn load(args: &Args, plan: &Arc<Plan>) -> Result<(Tally, Option<Failure>), Failure> {
    let live = Arc::new(Live::default());
    let (phase, follow) = watch::channel(Phase::Setup);
    let mut tasks = spawn(args, plan, &live, &follow)?;
    let mut total = Tally::new()?;
    let mut failure = setup(plan, &live, &mut tasks).await.err();
    if failure.is_none() {
        let start_ns = now_ns();
        let end_ns = match plan.ends {
            Ends::Count(_) => None,
            Ends::After(duration) => Some(start_ns.saturating_add(nanos(duration))),
        };
        let _ = phase.send(Phase::Go(Go { start_ns, end_ns }));
        let watched = Watch::new(args, plan, &live, start_ns, end_ns);
        failure = tokio::select! {
            result = watched.until_done(&mut tasks, &mut total) => result.err(),
            () = interrupted() => Some(Failure::new("interrupted")),
        };
    }
    let _ = phase.send(Phase::Stop);
    // They close within their own time; one that does not is not waited for.
    while let Ok(Some(ended)) = timeout(ENDING, tasks.join_next()).await {
        if let Err(late) = add(&mut total, ended) {
            failure.get_or_insert(late);
        }
    }
    Ok((total, failure))
}

fn spawn(
    args: &Args,
    plan: &Arc<Plan>,
    live: &Arc<Live>,
    follow: &watch::Receiver<Phase>,
) -> Result<Tasks, Failure> {
    let mut tasks = JoinSet::new();
    let name = |role: &str, index: u32| format!("verdict-bench-{}-{role}-{index}", std::process::id());
    let url = &args.broker.url;
    for index in 0..plan.receivers {
        let role = receiver::Receiver::new(plan, live, index)?;
        tasks.spawn(drive::run(role, url.clone(), name("receiver", index), Arc::clone(live), follow.clone()));
    }
    for index in 0..plan.senders {
        let role = sender::Sender::new(plan, live, index)?;
        tasks.spawn(drive::run(role, url.clone(), name("sender", index), Arc::clone(live), follow.clone()));
    }
    Ok(tasks)
}

/// Waits until all connections are attached.
async fn setup(plan: &Plan, live: &Live, tasks: &mut Tasks) -> Result<(), Failure> {
    let wanted = u64::from(plan.senders) + u64::from(plan.receivers);
    let begin_ns = now_ns();
    let mut total = Tally::new()?;
    while live.ready.get() < wanted {
        tokio::select! {
            Some(ended) = tasks.join_next() => {
                add(&mut total, ended)?;
                return Err(Failure::new("a connection ended before it began"));
            }
            () = tokio::time::sleep(TICK) => {}
            () = interrupted() => return Err(Failure::new("interrupted")),
        }
        if now_ns() - begin_ns > 30_000_000_000 {
            let ready = live.ready.get();
            return Err(Failure::new(format!(
                "only {ready} of {wanted} connections were attached after 30 s"
            )));
        }
    }
    Ok(())
}

fn add(
    total: &mut Tally,
    ended: Result<Result<Tally, Failure>, tokio::task::JoinError>,
) -> Result<(), Failure> {
    let tally = ended.map_err(|error| Failure::new(format!("a task failed: {error}")))??;
    total.add(&tally);
    Ok(())
}

/// Looks on while the load runs.
struct Watch<'a> {
    plan: &'a Plan,
    live: &'a Live,
    timeout_ns: u64,
    start_ns: u64,
    end_ns: Option<u64>,
    moved_ns: u64,
    moved: u64,
    told_ns: u64,
    told: (u64, u64),
    senders_left: u32,
}

impl<'a> Watch<'a> {
    fn new(args: &Args, plan: &'a Plan, live: &'a Live, start_ns: u64, end_ns: Option<u64>) -> Self {
        Self {
            plan,
            live,
            timeout_ns: nanos(args.timeout),
            start_ns,
            end_ns,
            moved_ns: start_ns,
            moved: 0,
            told_ns: start_ns,
            told: (0, 0),
            senders_left: plan.senders,
        }
    }

    async fn until_done(mut self, tasks: &mut Tasks, total: &mut Tally) -> Result<(), Failure> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                Some(ended) = tasks.join_next() => {
                    // Receivers end only when told to, so this was a sender.
                    add(total, ended)?;
                    self.senders_left = self.senders_left.saturating_sub(1);
                }
                _ = tick.tick() => {}
            }
            let now_ns = now_ns();
            self.tell(now_ns);
            if self.is_done(now_ns) {
                return Ok(());
            }
            if now_ns - self.moved_ns > self.timeout_ns {
                let live = self.live;
                return Err(Failure::new(format!(
                    "nothing moved for {} s: sent {}, answered {}, received {}",
                    self.timeout_ns / 1_000_000_000,
                    live.sent.get(),
                    live.answered.get(),
                    live.received.get()
                )));
            }
        }
    }

    fn is_done(&mut self, now_ns: u64) -> bool {
        let received = self.live.received.get();
        let moved = received + self.live.answered.get();
        if moved != self.moved {
            (self.moved, self.moved_ns) = (moved, now_ns);
        }
        if self.senders_left > 0 {
            return false;
        }
        if self.plan.receivers == 0 {
            return true;
        }
        let by_time = self.end_ns.is_some();
        let wanted = match self.plan.ends {
            _ if self.plan.senders > 0 => self.live.accepted.get(),
            Ends::Count(count) => count,
            Ends::After(_) => u64::MAX,
        };
        let over = self.end_ns.is_some_and(|end_ns| now_ns >= end_ns);
        let all_there = received >= wanted;
        if self.plan.senders == 0 {
            return all_there || over;
        }
        all_there || by_time && over && now_ns - self.moved_ns > QUIET_NS
    }

    /// A progress line each second.
    fn tell(&mut self, now_ns: u64) {
        let nanos = now_ns - self.told_ns;
        if nanos < 1_000_000_000 {
            return;
        }
        let (answered, received) = (self.live.answered.get(), self.live.received.get());
        let rate = |now: u64, before: u64| number(whole((now - before) as f64 * 1e9 / nanos as f64));
        eprintln!(
            "{:>4} s   answered {:>12} ({:>9}/s)   received {:>12} ({:>9}/s)   waiting {}",
            (now_ns - self.start_ns) / 1_000_000_000,
            number(answered),
            rate(answered, self.told.0),
            number(received),
            rate(received, self.told.1),
            number(self.live.sent.get().saturating_sub(answered)),
        );
        (self.told_ns, self.told) = (now_ns, (answered, received));
    }
}

/// CPU time of this process: user and system, from fields 14 and 15 of its stat.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    Some((user + system) / ticks_per_second)
}
