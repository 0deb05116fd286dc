//! `verdict serve`: configuration, logging and runtime for the server, which does the rest.
//!
//! Invariant: a flag goes before the file, the file before the default. Does not open sockets or disks.

use std::{
    io::{self, IsTerminal as _},
    num::NonZeroUsize,
    path::PathBuf,
    thread,
};

use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::{
    config::{self, Config, Log, LogFormat},
    server,
    store::StoreError,
};

/// Run the broker
///
/// Without any flag it listens on 127.0.0.1:5672 and keeps its data in ./verdict-data.
/// It stops in good order at Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Logs go to standard error. RUST_LOG=debug shows more; so does `level` in the configuration.\n\
                        Every setting of a configuration file is in config.example.toml."
)]
pub(super) struct Args {
    /// Where to listen; may be given more than once [default: 127.0.0.1:5672]
    #[arg(long, value_name = "HOST:PORT", value_parser = listen)]
    listen: Vec<String>,
    /// Directory for messages and queues; made if it is not there [default: ./verdict-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Args {
    /// File and flags together.
    pub fn into_config(self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(file) => Config::load(file).map_err(|error| {
                let failure = Failure::usage(error.to_string());
                if error.list().is_empty() {
                    failure
                } else {
                    failure.hint("config.example.toml explains every key")
                }
            })?,
        };
        if !self.listen.is_empty() {
            config.listen = self.listen;
        }
        if let Some(data) = self.data {
            config.data = data;
        }
        Ok(config)
    }
}

fn listen(text: &str) -> Result<String, String> {
    config::check_listen(text).map(|()| text.to_owned())
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = args.into_config()?;
    start_logging(&config.log)?;
    let threads =
        config.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("verdict")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start {threads} threads: {error}")))?;
    runtime.block_on(server::run(config, None)).map_err(explained)
}

/// Why the broker ended, and what to do about it.
fn explained(error: anyhow::Error) -> Failure {
    let hint = error.chain().find_map(hint);
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if matches!(cause.downcast_ref(), Some(StoreError::Locked(_))) {
        return Some("stop that one first, or give this one a directory of its own with --data DIR");
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::AddrInUse => {
            Some("another program listens there; choose another port with --listen HOST:PORT")
        }
        io::ErrorKind::AddrNotAvailable => {
            Some("--listen wants an address of this machine, or 0.0.0.0 for all it has")
        }
        io::ErrorKind::PermissionDenied => {
            Some("ports below 1024 are for privileged users; choose another with --listen HOST:PORT")
        }
        _ => None,
    }
}

fn start_logging(log: &Log) -> Result<(), Failure> {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|directives| !directives.is_empty());
    let filter = EnvFilter::try_new(directives(asked.as_deref().unwrap_or(&log.level))).map_err(|error| {
        Failure::usage(format!("RUST_LOG={}: {error}", asked.as_deref().unwrap_or_default()))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        // Where in the program a line comes from is for those who ask for levels by module.
        LogFormat::Text => {
            builder.with_target(asked.is_some()).with_ansi(std::io::stderr().is_terminal()).try_init()
        }
    };
    started.map_err(|error| Failure::new(format!("cannot start logging: {error}")))
}

/// The levels asked for, but for the index's library: at `debug` it would drown ours with each of its steps.
pub(super) fn directives(asked: &str) -> String {
    if asked.contains("sled") { asked.to_owned() } else { format!("sled=error,{asked}") }
}
