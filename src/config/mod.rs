//! What the owner of a broker decided: every setting with its default; no file is needed.
//!
//! Invariant: a `Config` that came out of `parse` or `load` is valid, so nobody after it checks again.
//! All problems of a file are told at once, each with its line, key, value and what was expected.
//! Deliberately not done: reading the command line (`cli`), reloading, acting on any of it.

mod error;
mod order;
mod overlay;
mod read;
mod rules;
mod sections;
mod units;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt, fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

pub use error::{ConfigError, Problem};
pub use overlay::settings_of;
pub use units::{duration_text, parse_duration_ms, parse_size, size_text};

pub use crate::broker::Pattern;
use crate::{broker::QueuePolicy, limits};

/// All settings of a broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Addresses to listen on, each `HOST:PORT`; port 0 lets the system choose.
    pub listen: Vec<String>,
    /// Where to answer `/metrics`, `/healthz` and `/readyz`, `HOST:PORT`; none: nowhere.
    pub http: Option<String>,
    /// The directory that holds journal and index.
    pub data: PathBuf,
    /// container-id in our `open` (part 2.4.1).
    pub container_id: String,
    /// Worker threads of the runtime; none: one per core.
    pub threads: Option<NonZeroUsize>,
    /// Memory for message bodies, over all queues; what is above is read back from the journal.
    pub memory_bytes: u64,
    /// What is logged, and how.
    pub log: Log,
    /// What is told to an OpenTelemetry collector, if anything.
    pub telemetry: Telemetry,
    /// What one peer may ask of us.
    pub limits: Limits,
    /// How the journal is kept.
    pub store: StoreSettings,
    /// Who may connect.
    pub auth: Auth,
    /// Queues with these names come into being when a client attaches to them.
    pub create: Vec<Pattern>,
    /// Rules of queues that have none of their own.
    pub queue_defaults: QueuePolicy,
    /// Queues with rules of their own, in the file's order.
    pub queues: Vec<QueueEntry>,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Lines for people or for machines.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Spans for an OpenTelemetry collector.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// The collector; none: no spans.
    pub otlp: Option<Otlp>,
    /// Which share of the traces is told of, 0 to 1; failed attempts always are.
    pub sample: f64,
}

/// An OTLP/HTTP endpoint without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// HOST:PORT.
    pub authority: String,
    /// The path to send traces to.
    pub path: String,
}

/// What one peer may ask of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame we take (part 2.7.1 max-frame-size).
    pub max_frame_size_bytes: u32,
    /// Largest message we take (part 2.7.3 max-message-size).
    pub max_message_size_bytes: u64,
    /// Connections at once.
    pub max_connections: u32,
    /// Sessions per connection (channel-max + 1).
    pub max_sessions: u16,
    /// Links per session (handle-max + 1).
    pub max_links: u32,
    /// A peer that is silent for this long is given up (part 2.4.5); none: never.
    pub idle_timeout_ms: Option<u32>,
    /// From the accepted socket to the peer's `open`.
    pub handshake_timeout_ms: u64,
}

/// How the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// A journal file is closed at this size and the next one begun.
    pub segment_size_bytes: u32,
    /// Longest time between checkpoints of the index.
    pub checkpoint_interval_ms: u64,
    /// Most journal bytes between checkpoints.
    pub checkpoint_bytes: u64,
    /// Below this much free disk, new messages are refused while settlements go on.
    pub disk_reserve_bytes: u64,
}

/// Who may connect.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// Whether clients without a name may come in (SASL ANONYMOUS, or no SASL at all).
    pub anonymous: bool,
    /// Passwords by user name, for SASL PLAIN.
    pub users: BTreeMap<String, String>,
    /// Users who may manage the broker through `$management`.
    pub managers: Vec<Pattern>,
}

impl Auth {
    /// The SASL mechanisms to offer, best first (part 5.3.3.1 wants them in order of preference).
    #[must_use]
    pub fn mechanisms(&self) -> Vec<&'static str> {
        let mut mechanisms = Vec::with_capacity(2);
        if !self.users.is_empty() {
            mechanisms.push("PLAIN");
        }
        if self.anonymous {
            mechanisms.push("ANONYMOUS");
        }
        mechanisms
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords must not reach a log by way of `{:?}`.
        let users: Vec<&String> = self.users.keys().collect();
        f.debug_struct("Auth")
            .field("anonymous", &self.anonymous)
            .field("users", &users)
            .field("managers", &self.managers)
            .finish()
    }
}

/// A `[[queue]]` of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueEntry {
    /// Its name; with a `*` in it, all queues that match.
    pub name: Pattern,
    /// Its rules, the defaults filled in.
    pub policy: QueuePolicy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:5672".to_owned()],
            http: None,
            data: PathBuf::from("./verdict-data"),
            container_id: default_container_id(),
            threads: None,
            memory_bytes: 64 << 20,
            log: Log { level: "info".to_owned(), format: LogFormat::Text },
            telemetry: Telemetry { otlp: None, sample: 1.0 },
            limits: Limits::default(),
            store: StoreSettings::default(),
            auth: Auth { anonymous: true, users: BTreeMap::new(), managers: vec![Pattern::any()] },
            create: vec![Pattern::any()],
            queue_defaults: QueuePolicy::default(),
            queues: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_size_bytes: limits::MAX_FRAME_SIZE,
            max_message_size_bytes: limits::MAX_MESSAGE_SIZE,
            max_connections: 10_000,
            max_sessions: limits::MAX_SESSIONS,
            max_links: limits::MAX_LINKS,
            idle_timeout_ms: Some(60_000),
            handshake_timeout_ms: 10_000,
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            segment_size_bytes: 64 << 20,
            checkpoint_interval_ms: 1000,
            checkpoint_bytes: 32 << 20,
            disk_reserve_bytes: 256 << 20,
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or with all that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        Self::parse(&text).map_err(|error| error.in_file(path))
    }

    /// Reads a file's text. Keys that are not there have their defaults.
    ///
    /// # Errors
    /// With all that is wrong in it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        sections::parse(text).0
    }

    /// The rules for a queue: its own entry, else the first pattern that matches, else the defaults.
    #[must_use]
    pub fn policy_for(&self, queue_name: &str) -> QueuePolicy {
        let exact = self.queues.iter().find(|entry| entry.name.as_str() == queue_name);
        let entry = exact.or_else(|| self.queues.iter().find(|entry| entry.name.matches(queue_name)));
        let mut policy = entry.map_or(&self.queue_defaults, |entry| &entry.policy).clone();
        // The common target of all dead letters has no other target for its own: it keeps its own tree.
        if policy.dead_letter_queue.as_deref() == Some(queue_name) {
            policy.dead_letter_queue = None;
        }
        policy
    }

    /// Whether attaching to this name may create a queue. Names with a part that begins with `$`
    /// (`$management`, `orders/$deadletter`) are the broker's own and never created so.
    #[must_use]
    pub fn may_create(&self, name: &str) -> bool {
        !name.is_empty()
            && name.len() <= limits::MAX_NAME
            && !name.split('/').any(|part| part.starts_with('$'))
            && self.create.iter().any(|pattern| pattern.matches(name))
    }

    /// Names of the queues that exist from the start, whether a client comes or not.
    pub fn declared_queues(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().filter(|entry| !entry.name.is_glob()).map(|entry| entry.name.as_str())
    }
}

/// Checks a `HOST:PORT`; the server resolves it.
///
/// # Errors
/// In words, with what was expected.
pub fn check_listen(text: &str) -> Result<(), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_v6 || port.parse::<u16>().is_err() {
        return Err(format!(
            "expected HOST:PORT such as \"127.0.0.1:5672\" or \"[::1]:5672\", got \"{text}\""
        ));
    }
    Ok(())
}

/// Reads where to answer HTTP: `HOST:PORT` or `off`; the outer none when it is neither.
#[must_use]
pub fn http_address(text: &str) -> Option<Option<String>> {
    match text {
        "off" => Some(None),
        text => check_listen(text).is_ok().then(|| Some(text.to_owned())),
    }
}

/// Reads where a collector is: `http://HOST[:PORT][/PATH]` or `off`; the outer none when it is neither. As the
/// OTLP exporter specification has it, the port is 4318 where none is given and `/v1/traces` is added to the path.
fn otlp_endpoint(text: &str) -> Option<Option<Otlp>> {
    if text == "off" {
        return Some(None);
    }
    let rest = text.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !b"?#@\"\\".contains(&b));
    if !plain(host) || !plain(path) {
        return None;
    }
    let with_port = [host.to_owned(), format!("{host}:4318")].into_iter().find(|a| check_listen(a).is_ok());
    let authority = with_port.filter(|authority| !authority.ends_with(":0"))?;
    let base = path.trim_end_matches('/');
    let path = if base.is_empty() { "/v1/traces".to_owned() } else { format!("/{base}/v1/traces") };
    Some(Some(Otlp { authority, path }))
}

fn default_container_id() -> String {
    // The kernel's word on Linux; elsewhere the name alone is still a valid container-id.
    match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) if !name.trim().is_empty() => format!("verdict-{}", name.trim()),
        _ => "verdict".to_owned(),
    }
}
