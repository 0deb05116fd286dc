//! Commands for people: the command line, what it says, and with which code it ends.
//!
//! Invariant: exit code 0 means it was done, 1 that it failed or found something wrong, 2 that it was asked
//! in a wrong way (usage, configuration). Results go to standard output, everything else to standard error;
//! errors say what to try next in a `hint:`. The commands' work is done in their own files.

mod bench;
mod check;
mod client;
mod completions;
mod confirm;
mod connection;
mod consumer;
mod dead_letter;
mod explain;
mod failure;
mod human;
mod json;
mod managed;
mod management;
mod moment;
mod out;
mod queue;
mod receive;
mod reload;
mod replay;
mod send;
mod serve;
mod show;
mod story;
mod table;
mod top;
mod url;

#[cfg(test)]
mod tests;

use std::{future::Future, io::Write as _, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use failure::Failure;

/// The raw command line.
#[derive(Debug, Parser)]
#[command(
    name = "verdict",
    version,
    about = "A durable AMQP 1.0 broker",
    long_about = "A durable AMQP 1.0 broker: accepted, failed and rejected each done right, visibly.\n\n\
                  `verdict serve` runs it; no configuration is needed.",
    arg_required_else_help = true,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Send(send::Args),
    Receive(receive::Args),
    #[command(flatten)]
    Managed(managed::Command),
    Check(check::Args),
    Reload(reload::Args),
    Bench(bench::Args),
    Completions(completions::Args),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Send(args) => send::run(args),
        Command::Receive(args) => receive::run(args),
        Command::Managed(command) => managed::run(command),
        Command::Check(args) => check::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Completions(args) => completions::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

/// Runs a client command: one thread is enough for it.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(work);
    // A blocked read of standard input must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// Ends when the person (or the system) asks this process to stop.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Prints one line of results. A reader that went away (`| head`) ends the command in good order.
fn print_line(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
    }
}
