//! Which keys there are, what each may be, and what must hold between them.
//!
//! Invariant: every key is asked for in one place, here, whether or not the file has it; so the list of
//! keys asked for is the list of all keys (the example file is tested against it).

use std::{collections::BTreeSet, num::NonZeroUsize, path::PathBuf};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Auth, Config, ConfigError, Limits, Log, LogFormat, Pattern, QueueEntry, StoreSettings, Telemetry,
    check_listen, order,
    read::{Reading, Section},
    rules,
};
use crate::{
    broker::{
        QueuePolicy,
        policy::{BreakerPolicy, ExpiredTo, LetterLimits, RetryDelay, WhenFull},
    },
    limits,
};

const ANY: std::ops::RangeInclusive<u64> = 0..=u64::MAX;
const HOUR_MS: u64 = 3_600_000;

/// Reads the text; also returns all keys there are.
pub(super) fn parse(text: &str) -> (Result<Config, ConfigError>, Vec<String>) {
    let mut reading = Reading::new(text);
    let mut config = Config::default();
    match DeTable::parse(text) {
        Ok(document) => read_all(document.get_ref(), &mut config, &mut reading),
        Err(error) => {
            // A file that is not TOML has one problem: what follows it would be guessing.
            let at = error.span().map_or(0, |span| span.start);
            let line =
                text.get(..at).and_then(|before| text.get(before.rfind('\n').map_or(0, |end| end + 1)..));
            // A line with a value that is a word without quotes is the usual mistake.
            let bare =
                line.and_then(|line| line.lines().next()?.split_once('=')).is_some_and(|(_, value)| {
                    let value = value.trim();
                    !value.is_empty() && !value.starts_with(['"', '\'', '[', '{', '='])
                });
            let hint = bare.then(|| "texts, sizes and durations stand in quotes: key = \"value\"".to_owned());
            reading.problem(at, format!("not TOML: {}", error.message().replace('\n', ", ")), hint);
        }
    }
    let result =
        if reading.problems.is_empty() { Ok(config) } else { Err(ConfigError::problems(reading.problems)) };
    (result, reading.keys)
}

fn read_all<'i>(document: &DeTable<'i>, config: &mut Config, reading: &mut Reading<'i>) {
    let mut top = Section::top(document);
    let expected = "\"HOST:PORT\" or a list of them, such as \"127.0.0.1:5672\"";
    top.value("listen", &mut config.listen, &expected, reading, |value| {
        strings(value).filter(|list| !list.is_empty() && list.iter().all(|one| check_listen(one).is_ok()))
    });
    let expected = "\"HOST:PORT\" such as \"127.0.0.1:8672\", or \"off\"";
    top.text("http", &mut config.http, &expected, reading, super::http_address);
    let expected = "the path of a directory";
    top.text("data", &mut config.data, &expected, reading, |text| {
        (!text.is_empty()).then(|| PathBuf::from(text))
    });
    let expected = format!("a name of 1 to {} bytes", limits::MAX_NAME);
    top.text("container-id", &mut config.container_id, &expected, reading, text_of_name_length);
    let expected = "a whole number from 1 to 1024";
    top.value("threads", &mut config.threads, &expected, reading, |value| {
        let number = value.as_integer().filter(|number| number.radix() == 10)?;
        Some(number.as_str().parse::<NonZeroUsize>().ok().filter(|got| got.get() <= 1024))
            .filter(Option::is_some)
    });
    top.size("memory", 1 << 20..=u64::MAX, &mut config.memory_bytes, reading);
    let expected = "a list of names or patterns such as [\"orders\", \"jobs.*\"]";
    top.value("create", &mut config.create, &expected, reading, |value| {
        strings(value)?.iter().map(|text| Pattern::new(text)).collect()
    });
    read_log(top.table("log", reading), &mut config.log, reading);
    read_telemetry(top.table("telemetry", reading), &mut config.telemetry, reading);
    read_limits(top.table("limits", reading), &mut config.limits, reading);
    read_store(top.table("store", reading), &mut config.store, reading);
    read_auth(top.table("auth", reading), &mut config.auth, reading);
    let mut defaults = top.table("queue-defaults", reading);
    read_policy(&mut defaults, &mut config.queue_defaults, reading);
    defaults.finish(reading);
    let queues = top.raw("queue", reading);
    if let Some(queues) = queues {
        read_queues(&top, queues, config, reading);
    } else {
        // Asked for all the same, so that the list of keys is complete.
        read_queue(Section::element("queue", None), 0, config, reading);
    }
    top.finish(reading);
}

fn read_log<'i>(mut section: Section<'_, 'i>, log: &mut Log, reading: &mut Reading<'i>) {
    let levels = ["error", "warn", "info", "debug", "trace"];
    let expected = "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    section.text("level", &mut log.level, &expected, reading, |text| {
        levels.contains(&text).then(|| text.to_owned())
    });
    section.text("format", &mut log.format, &"\"text\" or \"json\"", reading, |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    });
    section.finish(reading);
}

fn read_telemetry<'i>(mut section: Section<'_, 'i>, telemetry: &mut Telemetry, reading: &mut Reading<'i>) {
    let expected = "\"http://HOST:PORT\" (there is no TLS: a collector nearby), or \"off\"";
    section.text("otlp", &mut telemetry.otlp, &expected, reading, super::otlp_endpoint);
    section.decimal("sample", 0.0..=1.0, &mut telemetry.sample, reading);
    section.finish(reading);
}

fn read_limits<'i>(mut section: Section<'_, 'i>, limits: &mut Limits, reading: &mut Reading<'i>) {
    let frame = u64::from(limits::MIN_MAX_FRAME_SIZE)..=16 << 20;
    section.size("max-frame-size", frame, &mut limits.max_frame_size_bytes, reading);
    // A journal record's length is 32 bits, a segment at most 2 GiB.
    section.size("max-message-size", 1..=1 << 30, &mut limits.max_message_size_bytes, reading);
    section.integer("max-connections", 1..=1_000_000, &mut limits.max_connections, reading);
    section.integer("max-sessions", 1..=u64::from(u16::MAX), &mut limits.max_sessions, reading);
    section.integer("max-links", 1..=1 << 20, &mut limits.max_links, reading);
    section.optional_duration("idle-timeout", 1000..=24 * HOUR_MS, &mut limits.idle_timeout_ms, reading);
    section.duration("handshake-timeout", 100..=HOUR_MS, &mut limits.handshake_timeout_ms, reading);
    section.finish(reading);
}

fn read_store<'i>(mut section: Section<'_, 'i>, store: &mut StoreSettings, reading: &mut Reading<'i>) {
    section.size("segment-size", 1 << 20..=2 << 30, &mut store.segment_size_bytes, reading);
    section.duration("checkpoint-interval", 10..=HOUR_MS, &mut store.checkpoint_interval_ms, reading);
    section.size("checkpoint-bytes", 64 << 10..=u64::MAX, &mut store.checkpoint_bytes, reading);
    section.size("disk-reserve", ANY, &mut store.disk_reserve_bytes, reading);
    section.finish(reading);
}

fn read_auth<'i>(mut section: Section<'_, 'i>, auth: &mut Auth, reading: &mut Reading<'i>) {
    section.boolean("anonymous", &mut auth.anonymous, reading);
    let expected = "a list of user names or patterns such as [\"alice\", \"ops-*\"]";
    section.value("managers", &mut auth.managers, &expected, reading, |value| {
        strings(value)?.iter().map(|text| Pattern::new(text)).collect()
    });
    let users = section.table("users", reading);
    let mut users_wrong = false;
    for (user, password) in users.entries().into_iter().flatten() {
        match password.get_ref().as_str() {
            Some(password) if !user.get_ref().is_empty() && !password.is_empty() => {
                auth.users.insert(user.get_ref().to_string(), password.to_owned());
            }
            _ => {
                // The value is not shown: it may be a secret put in the wrong way.
                let text =
                    format!("auth.users.{}: expected a password, a text that is not empty", user.get_ref());
                reading.problem(password.span().start, text, None);
                users_wrong = true;
            }
        }
    }
    if !auth.anonymous && auth.users.is_empty() && !users_wrong {
        let at = section.raw("anonymous", reading).map_or(0, |value| value.span().start);
        let text = "auth.anonymous = false: expected at least one user, else nobody can connect".to_owned();
        reading.problem(at, text, Some("add a table [auth.users] with name = \"password\"".to_owned()));
    }
    section.finish(reading);
}

fn read_queues<'i>(
    top: &Section<'_, 'i>,
    value: &Spanned<DeValue<'i>>,
    config: &mut Config,
    reading: &mut Reading<'i>,
) {
    let expected = "tables, each begun with [[queue]]";
    let Some(list) = value.get_ref().as_array() else {
        return top.wrong("queue", value, &expected, reading);
    };
    let mut starts = Vec::new();
    for element in list.iter() {
        let Some(table) = element.get_ref().as_table() else {
            top.wrong("queue", element, &expected, reading);
            continue;
        };
        let at = element.span().start;
        let before = config.queues.len();
        read_queue(Section::element("queue", Some(table)), at, config, reading);
        if config.queues.len() > before {
            starts.push(at);
        }
    }
    check_queues(config, &starts, reading);
}

fn read_queue<'i>(mut section: Section<'_, 'i>, at: usize, config: &mut Config, reading: &mut Reading<'i>) {
    let mut name_found = None;
    let expected = format!(
        "a queue's name or a pattern such as \"jobs.*\", of 1 to {} bytes, no part of it begun with `$`",
        limits::MAX_NAME
    );
    section.text("name", &mut name_found, &expected, reading, |text| {
        name(text).and_then(|text| Pattern::new(&text)).map(Some)
    });
    let present = section.entries();
    if present.is_some_and(|table| !table.contains_key("name")) {
        reading.problem(at, "queue.name: missing; expected a queue's name".to_owned(), None);
    }
    let mut policy = config.queue_defaults.clone();
    read_policy(&mut section, &mut policy, reading);
    section.finish(reading);
    if let Some(name) = name_found {
        config.queues.push(QueueEntry { name, policy });
    }
}

pub(super) fn read_policy<'i>(
    section: &mut Section<'_, 'i>,
    policy: &mut QueuePolicy,
    reading: &mut Reading<'i>,
) {
    section.integer("max-attempts", 1..=u64::from(u32::MAX), &mut policy.max_attempts, reading);
    read_retry_delay(section.table("retry-delay", reading), &mut policy.retry_delay, reading);
    let expected = format!(
        "a queue's name of 1 to {} bytes, no part of it begun with `$`, or \"none\"",
        limits::MAX_NAME
    );
    section.text("dead-letter-queue", &mut policy.dead_letter_queue, &expected, reading, |text| {
        if text == "none" { Some(None) } else { name(text).map(Some) }
    });
    section.optional_integer("max-messages", &mut policy.max_messages, reading);
    section.optional_size("max-bytes", &mut policy.max_bytes, reading);
    section.text(
        "when-full",
        &mut policy.when_full,
        &"\"block\" or \"reject\"",
        reading,
        |text| match text {
            "block" => Some(WhenFull::Block),
            "reject" => Some(WhenFull::Reject),
            _ => None,
        },
    );
    section.optional_duration("max-ttl", 1..=u64::MAX, &mut policy.max_ttl_ms, reading);
    let expected = "\"dead-letter\" or \"discard\"";
    section.text("expired", &mut policy.expired, &expected, reading, |text| match text {
        "dead-letter" => Some(ExpiredTo::DeadLetter),
        "discard" => Some(ExpiredTo::Discard),
        _ => None,
    });
    section.duration("stranded-after", ANY, &mut policy.stranded_after_ms, reading);
    section.integer("crash-suspects", 0..=u64::from(u32::MAX), &mut policy.crash_suspects, reading);
    order::read(section, policy, reading);
    rules::read(section, policy, reading);
    read_breaker(section.table("breaker", reading), &mut policy.breaker, reading);
    read_letter_limits(section.table("dead-letters", reading), &mut policy.dead_letters, reading);
}

fn read_letter_limits<'i>(
    mut section: Section<'_, 'i>,
    limits: &mut LetterLimits,
    reading: &mut Reading<'i>,
) {
    section.optional_integer("max-messages", &mut limits.max_messages, reading);
    section.optional_size("max-bytes", &mut limits.max_bytes, reading);
    section.optional_duration("max-age", 1..=u64::MAX, &mut limits.max_age_ms, reading);
    section.finish(reading);
}

fn read_breaker<'i>(mut section: Section<'_, 'i>, breaker: &mut BreakerPolicy, reading: &mut Reading<'i>) {
    section.boolean("enabled", &mut breaker.enabled, reading);
    section.decimal("share", 0.01..=1.0, &mut breaker.share, reading);
    section.integer("at-least", 1..=u64::from(u32::MAX), &mut breaker.at_least, reading);
    section.duration("window", 1..=HOUR_MS, &mut breaker.window_ms, reading);
    section.duration("pause", 1..=HOUR_MS, &mut breaker.pause_ms, reading);
    section.duration("max-pause", 1..=HOUR_MS, &mut breaker.max_pause_ms, reading);
    section.finish(reading);
}

pub(super) fn read_retry_delay<'i>(
    mut section: Section<'_, 'i>,
    delay: &mut RetryDelay,
    reading: &mut Reading<'i>,
) {
    section.duration("first", ANY, &mut delay.first_ms, reading);
    section.duration("initial", ANY, &mut delay.initial_ms, reading);
    section.decimal("multiplier", 1.0..=1000.0, &mut delay.multiplier, reading);
    section.duration("max", ANY, &mut delay.max_ms, reading);
    section.decimal("jitter", 0.0..=1.0, &mut delay.jitter, reading);
    section.finish(reading);
}

/// What must hold between queues: names once, dead letters sent to what there can be, and not in a circle.
fn check_queues(config: &Config, starts: &[usize], reading: &mut Reading<'_>) {
    let mut names = BTreeSet::new();
    for (entry, at) in config.queues.iter().zip(starts) {
        let name = entry.name.as_str();
        if !names.insert(name) {
            reading.problem(*at, format!("queue.name = \"{name}\": expected each name once"), None);
        }
        if let Some(target) = &entry.policy.dead_letter_queue
            && !config.may_create(target)
            && !config.declared_queues().any(|declared| declared == target)
        {
            let text = format!(
                "queue.dead-letter-queue of \"{name}\": no queue \"{target}\", and none may be created"
            );
            let hint = format!("add a [[queue]] with name = \"{target}\", or let `create` match it");
            reading.problem(*at, text, Some(hint));
        }
        let mut seen = vec![name.to_owned()];
        while let Some(next) = seen.last().and_then(|last| config.policy_for(last).dead_letter_queue) {
            let circle = next == name;
            if !circle && seen.contains(&next) {
                break; // Some other queue's circle, told there.
            }
            seen.push(next);
            if circle {
                let path = seen.join(" -> ");
                let text =
                    format!("queue.dead-letter-queue of \"{name}\": dead letters go in a circle: {path}");
                reading.problem(*at, text, None);
                break;
            }
        }
    }
}

fn strings(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::String(text) => Some(vec![text.to_string()]),
        DeValue::Array(list) => {
            list.iter().map(|one| one.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    }
}

fn text_of_name_length(text: &str) -> Option<String> {
    (1..=limits::MAX_NAME).contains(&text.len()).then(|| text.to_owned())
}

/// Names with a part that begins with `$` are the broker's own.
fn name(text: &str) -> Option<String> {
    text_of_name_length(text).filter(|text| !text.split('/').any(|part| part.starts_with('$')))
}
