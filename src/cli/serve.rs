//! `verdict serve`: configuration, logging and runtime for the server, which does the rest.
//!
//! Invariant: a flag goes before the file, the file before the default. Does not open sockets or disks.

use std::{io::IsTerminal as _, num::NonZeroUsize, path::PathBuf, thread};

use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::{
    config::{self, Config, Log, LogFormat},
    server,
};

/// Run the broker
///
/// Without any flag it listens on 127.0.0.1:5672 and keeps its data in ./verdict-data.
/// It stops in good order at Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Logs go to standard error. RUST_LOG=debug (or info,verdict::store=debug) shows more.\n\
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
    let listen = config.listen.join(", ");
    runtime.block_on(server::run(config, None)).map_err(|error| {
        let in_use = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|cause| cause.kind() == std::io::ErrorKind::AddrInUse);
        let failure = Failure::from(error);
        if in_use {
            failure.hint(format!(
                "another program listens on {listen}; choose another port with --listen HOST:PORT"
            ))
        } else {
            failure
        }
    })
}

fn start_logging(log: &Log) -> Result<(), Failure> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(&directives)
            .map_err(|error| Failure::usage(format!("RUST_LOG={directives}: {error}")))?,
        _ => EnvFilter::new(&log.level),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|error| Failure::new(format!("cannot start logging: {error}")))
}
