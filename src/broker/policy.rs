//! What a queue does, as its owner decided: attempt limit, retry delays, limits. Plain values.
//!
//! Invariant: a `QueuePolicy` is always valid (the configuration checks before it builds one). It says
//! what to do and never does it; `retry`, `settlement` and `queue` read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A queue's rules. Durations are milliseconds, sizes bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct QueuePolicy {
    /// Attempts after which a failing message is dead-lettered, at the moment of its last NACK; ≥ 1.
    pub max_attempts: u32,
    /// Delay before a failed message is tried again.
    pub retry_delay: RetryDelay,
    /// Another queue that takes this queue's dead letters, instead of its own tree.
    pub dead_letter_queue: Option<String>,
    /// Most messages the queue holds (waiting or handed out); none: no limit.
    pub max_messages: Option<u64>,
    /// Most bytes of messages the queue holds; none: no limit.
    pub max_bytes: Option<u64>,
    /// What happens to a new message when the queue is full.
    pub when_full: WhenFull,
    /// A time to live for messages that come without one, and the longest that is allowed.
    pub max_ttl_ms: Option<u64>,
    /// What happens to a message whose time to live has passed.
    pub expired: ExpiredTo,
    /// How long a message that every attached consumer excluded waits before it is dead-lettered.
    pub stranded_after_ms: u64,
    /// How many of the oldest unsettled deliveries of a lost connection count as failed attempts.
    pub crash_suspects: u32,
    /// What to do with which failure; the first that matches decides, before those that are shipped.
    pub rules: Vec<Rule>,
    /// Delays that rules may name.
    pub delays: BTreeMap<String, RetryDelay>,
    /// When delivery pauses since too much of it fails. Not in the journal: `server::recover` makes every policy anew
    /// of the configuration and `QueueDefinition::settings`, and the stored form stays what it is.
    #[serde(skip)]
    pub breaker: BreakerPolicy,
    /// How messages that come twice are told. Not in the journal either.
    #[serde(skip)]
    pub duplicates: DuplicatePolicy,
    /// What a failed message holds back. Not in the journal either.
    #[serde(skip)]
    pub retry_order: RetryOrder,
    /// How many dead letters are kept, and how long. Not in the journal either.
    #[serde(skip)]
    pub dead_letters: LetterLimits,
}

/// Limits on a queue's own dead letters; beyond them the oldest go. None: nothing ever goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LetterLimits {
    /// Most of them.
    pub max_messages: Option<u64>,
    /// Most bytes of them.
    pub max_bytes: Option<u64>,
    /// The longest any is kept.
    pub max_age_ms: Option<u64>,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            retry_delay: RetryDelay::default(),
            dead_letter_queue: None,
            max_messages: None,
            max_bytes: None,
            when_full: WhenFull::Block,
            max_ttl_ms: None,
            expired: ExpiredTo::DeadLetter,
            stranded_after_ms: 60_000,
            crash_suspects: 1,
            rules: Vec::new(),
            delays: BTreeMap::new(),
            breaker: BreakerPolicy::default(),
            duplicates: DuplicatePolicy::default(),
            retry_order: RetryOrder::Message,
            dead_letters: LetterLimits::default(),
        }
    }
}

/// Exponential back-off. The first retry is immediate when `initial_ms` is 0-th: see `first_ms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RetryDelay {
    /// Delay before the first retry (default 0: at once).
    pub first_ms: u64,
    /// Delay before the second retry (default 100 ms).
    pub initial_ms: u64,
    /// Factor from one retry to the next (default 2).
    pub multiplier: f64,
    /// Longest delay (default 30 s).
    pub max_ms: u64,
    /// Random share added or taken away, 0 to 1 (default 0.2: ±20 %).
    pub jitter: f64,
}

impl Default for RetryDelay {
    fn default() -> Self {
        Self { first_ms: 0, initial_ms: 100, multiplier: 2.0, max_ms: 30_000, jitter: 0.2 }
    }
}

/// A rule on failures. What is `None` matches anything; `rules` does the matching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// What the failure record calls it.
    pub name: String,
    /// The outcome it is about. `None`: any; but only a rule that says `rejected` itself can do anything
    /// with a rejected message other than dead-letter it.
    pub outcome: Option<RuleOutcome>,
    /// The error condition: `*` stands for any run of characters, `?` for one; letter case is ignored.
    pub condition: Option<String>,
    /// An annotation the consumer gave with its answer.
    pub annotation: Option<RuleAnnotation>,
    /// The attempt that failed, 1 for the first.
    pub attempt: Option<AttemptRange>,
    /// What kind of failure this is.
    pub class: Class,
    /// What happens.
    pub action: Action,
    /// For `retry`: which of the policy's `delays`; `None`: `retry_delay`.
    pub delay: Option<String>,
}

/// The outcomes a rule can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleOutcome {
    /// `modified(delivery-failed=true)`.
    Failed,
    /// `rejected`.
    Rejected,
    /// The connection was lost while the consumer held the message, and it is a crash suspect.
    Lost,
}

/// An annotation to look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuleAnnotation {
    /// Its key.
    pub name: String,
    /// Its value as text, a pattern like `Rule::condition`; `None`: any value.
    pub value: Option<String>,
}

/// Attempts from `from` to `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AttemptRange {
    /// The first of them.
    pub from: u32,
    /// The last of them.
    pub to: u32,
}

/// What kind of failure a rule sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It may go well the next time.
    Transient,
    /// It will go the same way every time.
    Permanent,
    /// The message harms its consumers.
    Poison,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Another attempt after a delay, up to `max_attempts`.
    Retry,
    /// To the dead letters, at once.
    DeadLetter,
    /// Back to its place at once, as if released; `max_attempts` is not looked at.
    Release,
}

/// The budget of failures, and what happens when it is used up.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerPolicy {
    /// Whether there is a breaker at all.
    pub enabled: bool,
    /// Share of the settlements that must have failed, above 0 to 1.
    pub share: f64,
    /// Fewest failures.
    pub at_least: u32,
    /// The time they are counted over.
    pub window_ms: u64,
    /// How long delivery pauses the first time; from then on twice as long each time the probes fail.
    pub pause_ms: u64,
    /// Longest pause.
    pub max_pause_ms: u64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            share: 0.5,
            at_least: 20,
            window_ms: 10_000,
            pause_ms: 1000,
            max_pause_ms: 30_000,
        }
    }
}

/// By what a message is told to be one that came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detect {
    /// Not at all.
    Off,
    /// properties.message-id, of any of its types.
    MessageId,
    /// The message-annotation of this name or, where there is none, the application-property.
    Named(String),
}

/// Which messages are duplicates: those with the key of one that came within the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicatePolicy {
    /// The key.
    pub detect: Detect,
    /// How long a key is remembered, from the first message with it on.
    pub window_ms: u64,
    /// How many keys are remembered.
    pub count: usize,
}

impl Default for DuplicatePolicy {
    fn default() -> Self {
        Self { detect: Detect::Off, window_ms: 600_000, count: 100_000 }
    }
}

/// What waits while a failed message is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryOrder {
    /// Nothing: each message is for itself.
    #[default]
    Message,
    /// Later messages of the same group.
    Group,
}

/// What a full queue does with a new message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// Publishers get no credit until there is room; what comes within credit already given is queued.
    Block,
    /// The message is `rejected` with `amqp:resource-limit-exceeded`.
    Reject,
}

/// Where expired messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiredTo {
    /// To the dead letters, with reason `expired`.
    DeadLetter,
    /// Removed.
    Discard,
}

/// How long a dynamic node lives (part 3.5.10–13). Nodes of the configuration and of plain attach: `Permanent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifetime {
    /// Until deleted by a person.
    Permanent,
    /// Until the link that created it is closed (lost connections included).
    DeleteOnClose,
    /// Until no links are attached to it.
    DeleteOnNoLinks,
    /// Until it holds no messages.
    DeleteOnNoMessages,
    /// Until neither links nor messages are left.
    DeleteOnNoLinksOrMessages,
}

/// A queue, as it is written to the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueDefinition {
    /// Even; its dead-letter tree is `id + 1`.
    pub id: super::QueueId,
    /// The address, for example `orders`.
    pub name: String,
    /// Its rules: the configuration's for this name, with `settings` over them.
    pub policy: QueuePolicy,
    /// How long it lives; only `Permanent` ones are written to the journal.
    pub lifetime: Lifetime,
    /// The shard it belongs to; 0 while there is one.
    pub shard: u32,
    /// What was set through management, and that alone: the text of a TOML table with keys as in `[[queue]]`.
    /// Opaque here; what it comes to is in `policy`.
    #[serde(default)]
    pub settings: String,
}
