//! `verdict reload`: asks a running broker to read its configuration file again.
//!
//! Invariant: a signal goes only to a process that is a broker: SIGHUP would end any other. Whether the file is good
//! is for the broker to say, in its log.

use std::{fs, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::{Failure, print_line};
use crate::store;

/// Make a running broker read its configuration file again
///
/// Rules of queues, users, limits for new connections, names that may be created, memory and the log level are taken
/// at once; a file with a mistake in it is refused whole. The broker's log says what changed, what needs a restart
/// and what is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The broker's process
    #[arg(long, value_name = "N", conflicts_with = "data", value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// The broker's data directory, as given to `verdict serve --data`
    #[arg(long, value_name = "DIR", default_value = "./verdict-data")]
    data: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let number = match args.pid {
        Some(number) => number,
        None => holder(&args.data)?,
    };
    // Not everywhere is there a /proc; where there is, a wrong number must not end somebody else's process.
    if let Ok(name) = fs::read_to_string(format!("/proc/{number}/comm"))
        && let name = name.trim_end()
        // Also `verdict-0.1.0` and the like, as people keep several.
        && !(name == "verdict" || name.starts_with("verdict-"))
    {
        return Err(Failure::new(format!("process {number} is {name:?}, expected a verdict broker")));
    }
    let pid = Pid::from_raw(number).ok_or_else(|| Failure::usage("expected a process number above 0"))?;
    kill_process(pid, Signal::HUP)
        .map_err(|error| Failure::new(format!("cannot send SIGHUP to process {number}: {error}")))?;
    print_line(&format!("process {number} reads its configuration again; its log says what came of it"))
}

fn holder(data: &std::path::Path) -> Result<i32, Failure> {
    let nobody = || {
        Failure::new(format!("no broker runs on {}", data.display()))
            .hint("name its data directory with --data DIR, or its process with --pid N")
    };
    let holder = store::holder(data).map_err(|why| Failure::new(why.to_string()))?.ok_or_else(nobody)?;
    i32::try_from(holder).map_err(|_| Failure::new(format!("{holder} is not a process number")))
}
