//! What messages died of, so that those that died of the same are counted together.
//!
//! Invariant: pure, and bounded in length; two descriptions that differ only in numbers, identifiers and quoted
//! words have the same normal form. Never shown as what a consumer said: that is in the failure record.

use crate::broker::{Death, DeathReason};

/// Longest normal form in bytes.
const LONGEST: usize = 256;

/// What a message died of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cause {
    /// The queue it died in.
    pub origin: Box<str>,
    /// Why.
    pub reason: DeathReason,
    /// The error condition, empty if there was none.
    pub condition: Box<str>,
    /// The normal form of its description, empty if there was none.
    pub description: Box<str>,
    /// Stands for causes that are too many to be told apart.
    pub various: bool,
}

impl Cause {
    pub(super) fn of(death: &Death) -> Self {
        let cause = death.cause.as_ref();
        let description = cause.and_then(|cause| cause.description.as_deref()).unwrap_or_default();
        Self {
            origin: death.queue.as_str().into(),
            reason: death.reason,
            condition: cause.map_or("", |cause| cause.condition.as_str()).into(),
            description: normal_form(description).into(),
            various: false,
        }
    }

    /// What a cause counts as when there are too many.
    pub(super) fn various(reason: DeathReason) -> Self {
        let nothing = || Box::from("");
        Self { origin: nothing(), reason, condition: nothing(), description: nothing(), various: true }
    }

    /// A name for it that is the same after a restart and on another broker (FNV-1a, 64 bits).
    pub(super) fn id(&self) -> u64 {
        let reason = self.reason.as_str();
        let parts = [&*self.origin, reason, &self.condition, &self.description];
        let bytes = parts.into_iter().flat_map(|part| part.bytes().chain([0xff]));
        bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// A description without what differs from message to message: numbers and identifiers become `#`, what stands in
/// quotes `…`.
pub(super) fn normal_form(description: &str) -> String {
    let mut out = String::new();
    let mut rest = description;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if out.len() >= LONGEST {
            break;
        }
        if matches!(c, '"' | '\'' | '`')
            && !before.is_alphanumeric()
            && let Some((_, after)) = rest.get(1..).and_then(|inside| inside.split_once(c))
        {
            out.extend([c, '…', c]);
            (rest, before) = (after, c);
            continue;
        }
        if c.is_alphanumeric() {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            push_word(&mut out, word);
            (rest, before) = (after, 'x');
            continue;
        }
        out.push(c);
        (rest, before) = (rest.get(c.len_utf8()..).unwrap_or_default(), c);
    }
    join_numbers(&out)
}

fn push_word(out: &mut String, word: &str) {
    let has_digit = word.bytes().any(|b| b.is_ascii_digit());
    let number = word.bytes().next().is_some_and(|b| b.is_ascii_digit());
    if has_digit && (number || word.bytes().all(|b| b.is_ascii_hexdigit())) {
        out.push('#');
        return;
    }
    // A word with a number in it, as in `line17`.
    let mut in_number = false;
    for c in word.chars() {
        let digit = c.is_ascii_digit();
        if !(digit && in_number) {
            out.push(if digit { '#' } else { c });
        }
        in_number = digit;
    }
}

/// `#-#` and the like are one thing: a date, an address, a UUID (of which some parts may be letters only).
fn join_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let joins = matches!(c, '-' | '.' | ':' | ',' | '/' | '+' | '_');
        if joins && out.ends_with('#') && chars.peek() == Some(&'#') {
            chars.next();
            continue;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::normal_form;

    #[test]
    fn descriptions_that_differ_in_numbers_and_names_have_one_form() {
        for (text, form) in [
            ("order 17 not found", "order # not found"),
            ("timeout after 30.5s on 10.0.0.1:5432", "timeout after # on #"),
            ("can't parse 'abc' at line17:3", "can't parse '…' at line#"),
            ("bad id 0b9f6e3a-1c2d-4e5f-8a9b-0c1d2e3f4a5b", "bad id #"),
            ("at 2026-11-24T06:02:34Z", "at #"),
            ("unexpected token \"}\" in JSON", "unexpected token \"…\" in JSON"),
            ("dead beef", "dead beef"),
            ("an open 'quote", "an open 'quote"),
            ("größe 12 zu groß", "größe # zu groß"),
            ("", ""),
        ] {
            assert_eq!(normal_form(text), form, "{text}");
        }
    }

    #[test]
    fn a_form_is_bounded() {
        assert!(normal_form(&"ä; ".repeat(10_000)).len() <= super::LONGEST + 4);
        assert!(normal_form(&"x".repeat(10_000)).len() <= 10_000);
    }
}
