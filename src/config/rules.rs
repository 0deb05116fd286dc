//! The NACK policy of a queue: `delays` and `rules`.
//!
//! Invariant: every delay a rule names exists, and no rule says two things at once. A problem of a rule
//! names the rule. What the rules mean is not known here (`broker::rules`).

use std::collections::BTreeSet;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    read::{Reading, Section, duration, integer},
    sections::read_retry_delay,
};
use crate::{
    broker::{
        policy::{Action, AttemptRange, Class, QueuePolicy, RetryDelay, Rule, RuleAnnotation, RuleOutcome},
        rules::{NO_RULE, PATTERN_MAX, SHIPPED_PREFIX},
    },
    limits,
};

/// Most rules of a queue: each failure is held against them one after the other.
const RULES_MAX: usize = 100;

/// Reads `delays` and `rules`. Delays are added to those inherited; rules replace them.
pub(super) fn read<'i>(section: &mut Section<'_, 'i>, policy: &mut QueuePolicy, reading: &mut Reading<'i>) {
    read_delays(section.table("delays", reading), policy, reading);
    let Some(value) = section.raw("rules", reading) else {
        // Asked for all the same, so that the list of keys is complete.
        read_rule(section.path("rules"), None, policy, reading);
        return;
    };
    let list = value.get_ref().as_array().filter(|list| list.len() <= RULES_MAX);
    let tables = list.and_then(|list| {
        list.iter().map(|one| Some((one, one.get_ref().as_table()?))).collect::<Option<Vec<_>>>()
    });
    let Some(tables) = tables else {
        let expected = format!("a list of at most {RULES_MAX} rules, each {{ name = \"…\", … }}");
        return section.wrong("rules", value, &expected, reading);
    };
    policy.rules.clear();
    let mut names = BTreeSet::new();
    for (at, (element, table)) in tables.into_iter().enumerate() {
        let name = table.get("name").and_then(|name| name.get_ref().as_str());
        let path = match name {
            Some(name) => format!("{} \"{name}\"", section.path("rules")),
            None => format!("{} number {}", section.path("rules"), at + 1),
        };
        if name.is_some_and(|name| !names.insert(name)) {
            let text = format!("{path}: expected each rule's name once");
            reading.problem(element.span().start, text, None);
        }
        let rule = read_rule(path, Some((element, table)), policy, reading);
        policy.rules.extend(rule);
    }
}

fn read_delays<'i>(section: Section<'_, 'i>, policy: &mut QueuePolicy, reading: &mut Reading<'i>) {
    for (name, value) in section.entries().into_iter().flatten() {
        let key = name.get_ref().as_ref();
        // What is not named is as in the queue's own delay.
        let mut delay = policy.retry_delay.clone();
        if let Some(ms) = duration(value.get_ref()) {
            delay = RetryDelay { first_ms: ms, initial_ms: ms, multiplier: 1.0, max_ms: ms, ..delay };
        } else if let Some(table) = value.get_ref().as_table() {
            read_retry_delay(Section::element(&section.path(key), Some(table)), &mut delay, reading);
        } else {
            let expected = "a duration such as \"10s\", or { first = \"1s\", initial = \"10s\", … }";
            section.wrong(key, value, &expected, reading);
        }
        policy.delays.insert(key.to_owned(), delay);
    }
}

/// Reads one rule; without one in the file, only asks for its keys.
fn read_rule<'i>(
    path: String,
    element: Option<(&Spanned<DeValue<'i>>, &DeTable<'i>)>,
    policy: &QueuePolicy,
    reading: &mut Reading<'i>,
) -> Option<Rule> {
    let before = reading.problems.len();
    let at = element.map_or(0, |(element, _)| element.span().start);
    let mut section = Section::element(&path, element.map(|(_, table)| table));
    let mut name = None;
    let expected = format!(
        "a name of 1 to {} bytes that is not \"{NO_RULE}\" and does not begin with \"{SHIPPED_PREFIX}\"",
        limits::MAX_NAME
    );
    section.text("name", &mut name, &expected, reading, |text| {
        let taken = text == NO_RULE || text.starts_with(SHIPPED_PREFIX);
        (!taken && (1..=limits::MAX_NAME).contains(&text.len())).then(|| Some(text.to_owned()))
    });
    let mut outcome = None;
    let expected = "\"failed\", \"rejected\" or \"lost\"";
    section.text("outcome", &mut outcome, &expected, reading, |text| match text {
        "failed" => Some(Some(RuleOutcome::Failed)),
        "rejected" => Some(Some(RuleOutcome::Rejected)),
        "lost" => Some(Some(RuleOutcome::Lost)),
        _ => None,
    });
    let mut condition = None;
    let expected = format!(
        "a condition of 1 to {PATTERN_MAX} bytes such as \"app:timeout\", or with * and ? a pattern of some"
    );
    section.text("condition", &mut condition, &expected, reading, |text| pattern(text).map(Some));
    let mut annotation = None;
    let expected = format!("\"NAME\" or \"NAME=VALUE\", the value of 1 to {PATTERN_MAX} bytes, with * and ?");
    section.text("annotation", &mut annotation, &expected, reading, |text| annotation_of(text).map(Some));
    let mut attempt = None;
    let expected = "an attempt such as 3, or a range such as \"1-3\" or \"4-\"";
    section.value("attempt", &mut attempt, &expected, reading, |value| attempts(value).map(Some));
    let (class, action) = read_class_and_action(&mut section, at, reading);
    let delay = read_delay_name(&mut section, action, policy, reading);
    section.finish(reading);
    if element.is_some_and(|(_, table)| !table.contains_key("name")) {
        reading.problem(at, format!("{path}: name is missing; expected a name for the failure record"), None);
    }
    if reading.problems.len() > before {
        return None;
    }
    Some(Rule { name: name?, outcome, condition, annotation, attempt, class: class?, action: action?, delay })
}

/// One of the two is enough: a class has an action of its own, and an action fits one class best.
fn read_class_and_action<'i>(
    section: &mut Section<'_, 'i>,
    at: usize,
    reading: &mut Reading<'i>,
) -> (Option<Class>, Option<Action>) {
    let before = reading.problems.len();
    let (mut class, mut action) = (None, None);
    let expected = "\"transient\", \"permanent\" or \"poison\"";
    section.text("class", &mut class, &expected, reading, |text| match text {
        "transient" => Some(Some(Class::Transient)),
        "permanent" => Some(Some(Class::Permanent)),
        "poison" => Some(Some(Class::Poison)),
        _ => None,
    });
    let expected = "\"retry\", \"dead-letter\" or \"release\"";
    section.text("action", &mut action, &expected, reading, |text| match text {
        "retry" => Some(Some(Action::Retry)),
        "dead-letter" => Some(Some(Action::DeadLetter)),
        "release" => Some(Some(Action::Release)),
        _ => None,
    });
    if reading.problems.len() > before || section.entries().is_none() {
        return (class, action);
    }
    let again = matches!(action, Some(Action::Retry | Action::Release));
    match class {
        Some(Class::Permanent | Class::Poison) if again => {
            if let Some(value) = section.raw("action", reading) {
                let expected = "\"dead-letter\": a permanent or poison failure comes again at every attempt";
                section.wrong("action", value, &expected, reading);
            }
        }
        None if action.is_none() => {
            let text = format!(
                "{}: missing; expected \"retry\", \"dead-letter\" or \"release\", or a class",
                section.path("action")
            );
            reading.problem(at, text, None);
        }
        _ => {}
    }
    let its_action = class.map(|class| match class {
        Class::Transient => Action::Retry,
        Class::Permanent | Class::Poison => Action::DeadLetter,
    });
    let its_class = if action == Some(Action::DeadLetter) { Class::Permanent } else { Class::Transient };
    (class.or(Some(its_class)), action.or(its_action))
}

fn read_delay_name<'i>(
    section: &mut Section<'_, 'i>,
    action: Option<Action>,
    policy: &QueuePolicy,
    reading: &mut Reading<'i>,
) -> Option<String> {
    let value = section.raw("delay", reading)?;
    let known = || policy.delays.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    match value.get_ref().as_str() {
        _ if action.is_some_and(|action| action != Action::Retry) => {
            section.wrong("delay", value, &"no delay: only action = \"retry\" has one", reading);
        }
        Some(name) if policy.delays.contains_key(name) => return Some(name.to_owned()),
        _ if policy.delays.is_empty() => {
            section.wrong("delay", value, &"the name of a delay, and there is no table of `delays`", reading);
        }
        _ => section.wrong("delay", value, &format!("the name of one of `delays`: {}", known()), reading),
    }
    None
}

fn pattern(text: &str) -> Option<String> {
    (1..=PATTERN_MAX).contains(&text.len()).then(|| text.to_owned())
}

fn annotation_of(text: &str) -> Option<RuleAnnotation> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(pattern(value)?)),
        None => (text, None),
    };
    (1..=limits::MAX_NAME).contains(&name.len()).then(|| RuleAnnotation { name: name.to_owned(), value })
}

/// `3`, `"3"`, `"1-3"`, `"4-"`.
fn attempts(value: &DeValue<'_>) -> Option<AttemptRange> {
    let (from, to) = match value.as_str() {
        Some(text) => {
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            let from = from.trim().parse().ok()?;
            (from, if to.trim().is_empty() { u32::MAX } else { to.trim().parse().ok()? })
        }
        None => {
            let attempt = u32::try_from(integer(value)?).ok()?;
            (attempt, attempt)
        }
    };
    (1 <= from && from <= to).then_some(AttemptRange { from, to })
}
