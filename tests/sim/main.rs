//! The simulator: the real engine, container and broker over virtual time and a faulty store.
//!
//! A seed is a whole run, drawn by `plan`: queues and their rules, clients and their habits, faults. `world`
//! lets one actor at a time do a step; connections (`wire`, `pipe`) deliver bytes late and in pieces and are
//! cut; the broker (`house`) crashes and stops; the store (`disk`) gathers, is full, has segments emptied.
//! After the faults every queue is swept empty. `model` is an independent ledger; `body` reads the wire.
//!
//! Rules, by the numbers in its messages:
//! 1. Nothing accepted to its publisher is lost, and durable messages are accepted only when safe.
//! 2. Nothing accepted by a consumer comes back while its connection and the broker live, nothing whose
//!    acceptance was confirmed ever does.
//! 3. delivery-count is what was failed: exactly, but for answers a cut may have eaten and crash suspects.
//! 4. A message is in one place: one consumer, queue or dead letters, on the wire and on the disk.
//! 5. First deliveries are in order; what came back goes before what is younger.
//! 6. Never more deliveries than credit, at the node and at the client.
//! 7. Dead-lettered at the last attempt allowed, not before or after, and for the reason it says.
//! 8. No link, session or connection ends unasked; every message sent unsettled is answered once.
//! 9. Once faults stop, a run comes to its end.
//! 10. A crash suspect is alone on its link, and nothing goes out while the breaker is open.
//! 11. A consumer with a selector gets only what it selects.
//! 12. Of messages with one key at most one is queued; the others are accepted when it, and its key, is safe.
//! 13. While a failed message is tried again, no later one of its group goes out.
//!
//! 14. A replay puts a dead letter back once for each name, with a fresh count, and it does not expire again.
//!
//! `SIM_SEEDS=n SIM_FIRST=n` choose seeds, `SIM_TRACE=1` prints all events. A failure is run again for its
//! last events, which also shows that it depends on the seed alone. Invariant: no clock, no other dice.
//!
//! That it can fail was tried by breaking the code on purpose; found within the first seeds each time:
//! a `Settle` record left out (2), a failure not counted (3), counted but not recorded (3), count lost at
//! recovery (3), `Move` record left out (3, 4), one attempt too many (7), confirmation before the commit
//! (2), `accepted` before the commit (1), an expired message handed out (1), credit given twice (6), a
//! drain not answered (9);
//! an id not recorded before the answer, or not restored (11), not forgotten with its refused message, or not kept with
//! a consumed one (9), not written again (by `disk`); a failure that holds no group, or none after a restart (12), a
//! held message never freed (9). What it found in earnest: `seeds`.

mod alone;
mod body;
mod client;
mod consumer;
mod credit;
mod disk;
mod grouped;
mod house;
mod model;
mod pipe;
mod plan;
mod producer;
mod rng;
mod scene;
mod seat;
mod seeds;
mod trace;
mod wants;
mod wire;
mod words;
mod world;

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use seat::Report;
use trace::Mode;
use world::World;

/// Seeds run by default.
const SEEDS: u64 = 1400;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static WHY: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics of a run are its verdict, told once and in full by `check`.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                WHY.set(info.to_string());
            } else {
                usual(info);
            }
        }));
    });
}

fn run(seed: u64, mode: Mode) -> Result<Report, String> {
    catch_panics();
    trace::start(mode);
    QUIET.set(true);
    let done = catch_unwind(AssertUnwindSafe(|| World::new(seed).run()));
    QUIET.set(false);
    done.map_err(|_| WHY.take())
}

/// Runs a seed; if it fails, runs it again to tell the story.
fn check(seed: u64) -> Result<Report, String> {
    let mode = if std::env::var_os("SIM_TRACE").is_some() { Mode::Print } else { Mode::Off };
    run(seed, mode).map_err(|why| {
        let again = match run(seed, Mode::Keep) {
            Err(again) if again == why => String::new(),
            other => format!("\nIT DID NOT FAIL THE SAME WAY AGAIN: {other:?}"),
        };
        let events = trace::take().join("\n");
        let command = format!("SIM_FIRST={seed} SIM_SEEDS=1 SIM_TRACE=1 cargo test --test sim seeds -- --nocapture");
        format!("seed {seed} failed: {why}{again}\nthe last events:\n{events}\nseed {seed} failed: {why}\nreproduce: {command}\n")
    })
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

/// Runs seeds on all cores, each by itself on one; stops at the first that fails.
fn check_all(seeds: &[u64]) -> Vec<Report> {
    let next = AtomicU64::new(0);
    let (reports, failure) = (Mutex::new(Vec::new()), Mutex::new(None));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    match check(*seed) {
                        Ok(report) => reports.lock().unwrap_or_else(PoisonError::into_inner).push(report),
                        Err(why) => {
                            next.store(u64::MAX / 2, Ordering::Relaxed);
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                        }
                    }
                }
            });
        }
    });
    if let Some(why) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        panic!("{why}");
    }
    reports.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn seeds_hold_every_rule() {
    let first = number("SIM_FIRST", 1);
    let seeds: Vec<u64> = (first..first + number("SIM_SEEDS", SEEDS)).collect();
    let reports = check_all(&seeds);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    println!(
        "{} seeds: {} steps, {} s of virtual time, {} messages, {} deliveries, {} cuts, {} crashes, {} restarts, {} batches refused, {} messages left out, {} evacuations, {} dead letters replayed, {} duplicates, {} turns with held messages",
        reports.len(),
        sum(|r| r.steps),
        sum(|r| r.end_ms - 1_000_000) / 1000,
        sum(|r| r.messages),
        sum(|r| r.deliveries),
        sum(|r| r.cuts),
        sum(|r| r.crashes),
        sum(|r| r.restarts),
        sum(|r| r.refused),
        sum(|r| r.left_out),
        sum(|r| r.evacuations),
        sum(|r| r.replayed),
        sum(|r| r.duplicates),
        sum(|r| r.held),
    );
}

#[test]
fn seeds_that_once_found_a_bug_hold_every_rule() {
    check_all(seeds::REGRESSIONS);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 15] {
        let (first, again) = (check(seed), check(seed));
        assert_eq!(first, again);
    }
}
