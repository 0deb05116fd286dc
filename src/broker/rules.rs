//! The NACK policy: which rule a failed attempt falls under, and what that rule says.
//!
//! Invariant: the first rule that matches decides, the queue's own before the shipped ones; matching takes
//! at most text × pattern steps and no recursion. Does nothing itself: `settlement` acts on the ruling.

use super::{
    FailureOutcome,
    policy::{Action, Class, QueuePolicy, RetryDelay, Rule, RuleAnnotation, RuleOutcome},
};

#[cfg(test)]
mod tests;

/// What the failure record names where no rule matched.
pub const NO_RULE: &str = "default";
/// How the names of shipped rules begin; no others may.
pub const SHIPPED_PREFIX: &str = "shipped:";
/// Longest pattern, in bytes: what is matched comes from a peer, and each of its bytes costs at most this.
pub const PATTERN_MAX: usize = 128;

/// "Shipped default: parse and validation errors are permanent even when they come as FAILED": name and
/// condition of the rules that follow a queue's own. All are on FAILED, permanent, and dead-letter; what
/// comes as REJECTED is dead-lettered anyway.
pub const SHIPPED: [(&str, &str); 4] = [
    ("shipped:decode-error", "amqp:decode-error"),
    ("shipped:invalid-field", "amqp:invalid-field"),
    ("shipped:parse", "*parse*"),
    ("shipped:validation", "*validation*"),
];

/// A failed attempt, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    /// How it failed.
    pub outcome: FailureOutcome,
    /// The error condition; empty if there was none.
    pub condition: &'a str,
    /// Annotations of the answer, as texts.
    pub annotations: &'a [(String, String)],
    /// Which attempt it was, 1 for the first.
    pub attempt: u32,
}

/// What is to be done, and on whose word.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruling {
    /// The rule's name.
    pub rule: String,
    /// What kind of failure it takes this for.
    pub class: Class,
    /// What to do.
    pub action: Action,
    /// For `retry`, the delay the rule names; `None`: the queue's.
    pub delay: Option<RetryDelay>,
}

/// The ruling of the first rule that matches.
#[must_use]
pub fn decide(policy: &QueuePolicy, nack: &Nack<'_>) -> Option<Ruling> {
    if let Some(rule) = policy.rules.iter().find(|rule| matches(rule, nack)) {
        let delay = rule.delay.as_ref().and_then(|name| policy.delays.get(name)).cloned();
        return Some(Ruling { rule: rule.name.clone(), class: rule.class, action: rule.action, delay });
    }
    if nack.outcome != FailureOutcome::Failed || nack.condition.is_empty() {
        return None;
    }
    let (name, _) = SHIPPED.iter().find(|(_, condition)| glob(condition, nack.condition))?;
    Some(Ruling {
        rule: (*name).to_owned(),
        class: Class::Permanent,
        action: Action::DeadLetter,
        delay: None,
    })
}

fn matches(rule: &Rule, nack: &Nack<'_>) -> bool {
    outcome_matches(rule, nack.outcome)
        && rule.attempt.is_none_or(|range| (range.from..=range.to).contains(&nack.attempt))
        && rule
            .condition
            .as_ref()
            .is_none_or(|pattern| !nack.condition.is_empty() && glob(pattern, nack.condition))
        && rule.annotation.as_ref().is_none_or(|wanted| annotated(wanted, nack.annotations))
}

fn outcome_matches(rule: &Rule, outcome: FailureOutcome) -> bool {
    let outcome = match outcome {
        FailureOutcome::Failed => RuleOutcome::Failed,
        FailureOutcome::Rejected => RuleOutcome::Rejected,
        FailureOutcome::Lost => RuleOutcome::Lost,
        // No consumer said anything: the policy's `expired` decides.
        FailureOutcome::Expired => return false,
    };
    match rule.outcome {
        Some(wanted) => wanted == outcome,
        // Rejected is the consumer's last word; only a rule that names it may overrule it.
        None => outcome != RuleOutcome::Rejected || rule.action == Action::DeadLetter,
    }
}

fn annotated(wanted: &RuleAnnotation, given: &[(String, String)]) -> bool {
    let value_matches = |value: &str| wanted.value.as_ref().is_none_or(|pattern| glob(pattern, value));
    given.iter().any(|(name, value)| *name == wanted.name && value_matches(value))
}

/// Whether `text` fits `pattern`, in which `*` stands for any run of characters and `?` for one; the case
/// of ASCII letters is ignored, since one client's `ParseError` is another's `parse-error`.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (mut rest_of_pattern, mut rest) = (pattern.chars(), text.chars());
    // Where to go on if what follows the last star does not fit. Only the last: what an earlier one took
    // is the least it could, which leaves the most to those after it.
    let mut retry = None;
    loop {
        let mut ahead = rest_of_pattern.clone();
        let wanted = ahead.next();
        if wanted == Some('*') {
            retry = Some((ahead.clone(), rest.clone()));
            rest_of_pattern = ahead;
            continue;
        }
        let mut after = rest.clone();
        let got = after.next();
        match (wanted, got) {
            (None, None) => return true,
            (Some(wanted), Some(got)) if wanted == '?' || wanted.eq_ignore_ascii_case(&got) => {
                (rest_of_pattern, rest) = (ahead, after);
            }
            _ => {
                let Some((pattern_again, mut text_again)) = retry.take() else { return false };
                if text_again.next().is_none() {
                    return false;
                }
                retry = Some((pattern_again.clone(), text_again.clone()));
                (rest_of_pattern, rest) = (pattern_again, text_again);
            }
        }
    }
}
