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
    config::{self, Config, ConfigError, Log, LogFormat},
    server::{self, SetLogLevel},
    store::StoreError,
};

/// Run the broker
///
/// Without any flag it listens on 127.0.0.1:5672 and keeps its data in ./verdict-data.
/// It stops in good order at Ctrl-C or SIGTERM, and reads its configuration file again at SIGHUP
/// (`verdict reload`).
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Logs go to standard error. RUST_LOG=debug shows more; so does `level` in the configuration.\n\
                        Every setting of a configuration file is in config.example.toml."
)]
pub(super) struct Args {
    /// Where to listen; may be given more than once [default: 127.0.0.1:5672]
    #[arg(long, value_name = "HOST:PORT", value_parser = listen)]
    listen: Vec<String>,
    /// Where to answer /metrics, /healthz and /readyz, or off [default: off]
    #[arg(long, value_name = "HOST:PORT|off", value_parser = http)]
    http: Option<Http>,
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
        self.load().map_err(|error| {
            let failure = Failure::usage(error.to_string());
            if error.list().is_empty() {
                failure
            } else {
                failure.hint("config.example.toml explains every key")
            }
        })
    }

    fn load(self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(file) => Config::load(file)?,
        };
        if !self.listen.is_empty() {
            config.listen = self.listen;
        }
        if let Some(Http(http)) = self.http {
            config.http = http;
        }
        if let Some(data) = self.data {
            config.data = data;
        }
        Ok(config)
    }
}

/// Where to answer HTTP, if anywhere.
#[derive(Debug, Clone)]
struct Http(Option<String>);

fn http(text: &str) -> Result<Http, String> {
    config::http_address(text)
        .map(Http)
        .ok_or_else(|| "expected HOST:PORT such as 127.0.0.1:8672, or off".to_owned())
}

fn listen(text: &str) -> Result<String, String> {
    config::check_listen(text).map(|()| text.to_owned())
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = args.clone().into_config()?;
    let set_log_level = start_logging(&config.log)?;
    let threads =
        config.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("verdict")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start {threads} threads: {error}")))?;
    runtime.block_on(server::run_with(config, None, source(args, set_log_level))).map_err(explained)
}

/// Why the broker ended, and what to do about it.
fn explained(error: anyhow::Error) -> Failure {
    let hint = error.chain().find_map(hint);
    let failure = Failure::from(error);
    match hint {
        // For HTTP the message itself says what to do.
        Some(hint) if !failure.message().contains("for HTTP") => failure.hint(hint),
        _ => failure,
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

/// What SIGHUP reads: the same file and flags again.
fn source(args: Args, set_log_level: SetLogLevel) -> server::Source {
    let load = move || {
        let Some(file) = &args.config else {
            return Err(vec!["there is no configuration file (serve --config FILE)".to_owned()]);
        };
        args.clone().load().map_err(|error| match error.list() {
            [] => vec![error.to_string()],
            problems => {
                let line = |p: &config::Problem| format!("{} line {}: {}", file.display(), p.line, p.text);
                problems.iter().map(line).collect()
            }
        })
    };
    server::Source { load: Box::new(load), set_log_level }
}

/// Starts to log; what it gives changes the level later.
fn start_logging(log: &Log) -> Result<SetLogLevel, Failure> {
    let directives = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|directives| !directives.is_empty());
    let filter = match &directives {
        Some(directives) => EnvFilter::try_new(self::directives(directives))
            .map_err(|error| Failure::usage(format!("RUST_LOG={directives}: {error}")))?,
        None => EnvFilter::new(self::directives(&log.level)),
    };
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr);
    // The two forms are two types.
    let (started, set_level): (_, SetLogLevel) = match log.format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |level: &str| {
                handle.reload(EnvFilter::new(self::directives(level))).map_err(|e| e.to_string())
            };
            (builder.try_init(), Box::new(set))
        }
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal();
            // Where in the program a line comes from is for those who ask for levels by module.
            let builder = builder
                .with_target(directives.is_some())
                .with_ansi(ansi)
                .with_env_filter(filter)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |level: &str| {
                handle.reload(EnvFilter::new(self::directives(level))).map_err(|e| e.to_string())
            };
            (builder.try_init(), Box::new(set))
        }
    };
    started.map_err(|error| Failure::new(format!("cannot start logging: {error}")))?;
    Ok(match directives {
        Some(_) => Box::new(|_| Err("RUST_LOG is set, and goes before the file".to_owned())),
        None => set_level,
    })
}

/// The levels asked for, but for the index's library: at `debug` it would drown ours with each of its steps.
pub(super) fn directives(asked: &str) -> String {
    if asked.contains("sled") { asked.to_owned() } else { format!("sled=error,{asked}") }
}
