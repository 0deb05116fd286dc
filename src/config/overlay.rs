//! Settings of one queue that were given through management: laid over the configuration's, by the same rules.
//!
//! Invariant: an overlay is read by the code that reads `[[queue]]`, so it can say what that can, in the same words,
//! and nothing else; and `settings_of` writes what that reads back as the same policy. Where they are kept is not
//! known here.

use toml::{Table, Value, de::DeTable};

use super::{
    Config,
    read::{Reading, Section},
    sections, size_text,
    units::duration_text,
};
use crate::broker::{
    QueuePolicy,
    policy::{
        Action, BreakerPolicy, Class, Detect, DuplicatePolicy, ExpiredTo, LetterLimits, RetryDelay,
        RetryOrder, Rule, RuleOutcome, WhenFull,
    },
};

/// What problems of an overlay call it.
const NAME: &str = "settings";

impl Config {
    /// The rules for a queue: those of the configuration, with `settings` (the text of a TOML table) over them; and
    /// what is wrong with these, for which the configuration's hold.
    #[must_use]
    pub fn overlaid(&self, queue_name: &str, settings: &str) -> (QueuePolicy, Vec<String>) {
        let mut policy = self.policy_for(queue_name);
        if settings.is_empty() {
            return (policy, Vec::new());
        }
        let mut reading = Reading::new(settings);
        match DeTable::parse(settings) {
            Ok(table) => {
                let mut section = Section::element(NAME, Some(table.get_ref()));
                sections::read_policy(&mut section, &mut policy, &mut reading);
                section.finish(&mut reading);
            }
            Err(error) => reading.problem(0, format!("{NAME}: not TOML: {}", error.message()), None),
        }
        if policy.dead_letter_queue.as_deref() == Some(queue_name) {
            policy.dead_letter_queue = None;
        }
        let told = reading.problems.into_iter().map(|problem| match problem.hint {
            Some(hint) => format!("{} ({hint})", problem.text),
            None => problem.text,
        });
        (policy, told.collect())
    }

    /// Whether a `[[queue]]` of the file names this queue, or a pattern in one does.
    #[must_use]
    pub fn names(&self, queue_name: &str) -> bool {
        self.queues.iter().any(|entry| entry.name.matches(queue_name))
    }
}

/// A policy as `[[queue]]` would say it, all keys.
#[must_use]
pub fn settings_of(policy: &QueuePolicy) -> Table {
    let QueuePolicy {
        max_attempts, retry_delay, dead_letter_queue, max_messages, max_bytes, when_full, ..
    } = policy;
    let QueuePolicy { max_ttl_ms, expired, stranded_after_ms, crash_suspects, .. } = policy;
    let QueuePolicy { rules, delays, breaker, dead_letters, duplicates, .. } = policy;
    let when_full = match when_full {
        WhenFull::Block => "block",
        WhenFull::Reject => "reject",
    };
    let expired = match expired {
        ExpiredTo::DeadLetter => "dead-letter",
        ExpiredTo::Discard => "discard",
    };
    let retry_order = match policy.retry_order {
        RetryOrder::Message => "message",
        RetryOrder::Group => "group",
    };
    let delays = delays.iter().map(|(name, delay)| (name.clone(), Value::Table(delay_table(delay))));
    table([
        ("max-attempts", number((*max_attempts).into())),
        ("retry-delay", Value::Table(delay_table(retry_delay))),
        ("dead-letter-queue", or_none(dead_letter_queue.as_deref(), |name| name.into())),
        ("max-messages", or_none(*max_messages, number)),
        ("max-bytes", or_none(*max_bytes, size)),
        ("when-full", when_full.into()),
        ("max-ttl", or_none(*max_ttl_ms, duration)),
        ("expired", expired.into()),
        ("stranded-after", duration(*stranded_after_ms)),
        ("crash-suspects", number((*crash_suspects).into())),
        ("delays", Value::Table(delays.collect())),
        ("retry-order", retry_order.into()),
        ("duplicates", Value::Table(duplicates_table(duplicates))),
        ("rules", Value::Array(rules.iter().map(|rule| Value::Table(rule_table(rule))).collect())),
        ("breaker", Value::Table(breaker_table(breaker))),
        ("dead-letters", Value::Table(letters_table(dead_letters))),
    ])
}

fn table<const N: usize>(pairs: [(&str, Value); N]) -> Table {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn number(value: u64) -> Value {
    // TOML's integers end there; nothing that is counted comes near it.
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

fn duration(ms: u64) -> Value {
    Value::String(duration_text(ms))
}

fn size(bytes: u64) -> Value {
    Value::String(size_text(bytes))
}

fn or_none<T>(value: Option<T>, write: impl FnOnce(T) -> Value) -> Value {
    value.map_or_else(|| "none".into(), write)
}

fn delay_table(delay: &RetryDelay) -> Table {
    table([
        ("first", duration(delay.first_ms)),
        ("initial", duration(delay.initial_ms)),
        ("multiplier", delay.multiplier.into()),
        ("max", duration(delay.max_ms)),
        ("jitter", delay.jitter.into()),
    ])
}

fn breaker_table(breaker: &BreakerPolicy) -> Table {
    table([
        ("enabled", breaker.enabled.into()),
        ("share", breaker.share.into()),
        ("at-least", number(breaker.at_least.into())),
        ("window", duration(breaker.window_ms)),
        ("pause", duration(breaker.pause_ms)),
        ("max-pause", duration(breaker.max_pause_ms)),
    ])
}

fn letters_table(limits: &LetterLimits) -> Table {
    table([
        ("max-messages", or_none(limits.max_messages, number)),
        ("max-bytes", or_none(limits.max_bytes, size)),
        ("max-age", or_none(limits.max_age_ms, duration)),
    ])
}

fn duplicates_table(duplicates: &DuplicatePolicy) -> Table {
    let detect = match &duplicates.detect {
        Detect::Off => "off",
        Detect::MessageId => "message-id",
        Detect::Named(name) => name,
    };
    table([
        ("detect", detect.into()),
        ("window", duration(duplicates.window_ms)),
        ("count", number(duplicates.count as u64)),
    ])
}

fn rule_table(rule: &Rule) -> Table {
    let mut written = table([("name", rule.name.clone().into())]);
    let mut put = |key: &str, value: Option<String>| {
        written.extend(value.map(|value| (key.to_owned(), Value::String(value))));
    };
    let outcome = rule.outcome.map(|outcome| match outcome {
        RuleOutcome::Failed => "failed",
        RuleOutcome::Rejected => "rejected",
        RuleOutcome::Lost => "lost",
    });
    put("outcome", outcome.map(str::to_owned));
    put("condition", rule.condition.clone());
    let annotation = rule.annotation.as_ref().map(|annotation| match &annotation.value {
        Some(value) => format!("{}={value}", annotation.name),
        None => annotation.name.clone(),
    });
    put("annotation", annotation);
    let attempt = rule.attempt.map(|range| match range.to {
        u32::MAX => format!("{}-", range.from),
        to => format!("{}-{to}", range.from),
    });
    put("attempt", attempt);
    let class = match rule.class {
        Class::Transient => "transient",
        Class::Permanent => "permanent",
        Class::Poison => "poison",
    };
    let action = match rule.action {
        Action::Retry => "retry",
        Action::DeadLetter => "dead-letter",
        Action::Release => "release",
    };
    put("class", Some(class.to_owned()));
    put("action", Some(action.to_owned()));
    put("delay", rule.delay.clone());
    written
}
