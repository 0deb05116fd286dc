//! The arguments of one request, taken one after the other, each with its type and range.
//!
//! Invariant: an argument that the catalogue does not know is refused, before any is read; null is as good as left
//! out. Errors name the argument, what came and what was expected.

use std::ops::RangeInclusive;

use super::{
    reply::Reply,
    tree::{Key, Tree},
};
use crate::{broker::Pattern, time::Millis};

/// Longest text taken as an argument: what is matched against many messages must not cost at will.
const TEXT_BYTES: usize = 1024;

/// A map being read.
#[derive(Debug)]
pub(super) struct Arguments {
    /// In front of names in errors: empty, or `filter.`.
    prefix: &'static str,
    known: &'static [&'static str],
    pairs: Vec<(Key, Tree)>,
}

pub(super) type Read<T> = Result<T, Reply>;

impl Arguments {
    /// Opens a request's body.
    pub fn open(known: &'static [&'static str], pairs: Vec<(Key, Tree)>) -> Read<Self> {
        Self::within("", known, pairs)
    }

    fn within(prefix: &'static str, known: &'static [&'static str], pairs: Vec<(Key, Tree)>) -> Read<Self> {
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !known.contains(&&**key)) {
            let expected = match known {
                [] => "no arguments".to_owned(),
                known => known.join(", "),
            };
            let key = Tree::from(&**key).brief();
            return Err(Reply::bad(format!("unknown argument {prefix}{key}: expected {expected}")));
        }
        Ok(Self { prefix, known, pairs })
    }

    /// The value of an argument, as it came.
    pub fn raw(&mut self, key: &'static str) -> Option<Tree> {
        debug_assert!(self.known.contains(&key), "{key} is not in the catalogue");
        let at = self.pairs.iter().position(|(name, _)| name == key)?;
        Some(self.pairs.swap_remove(at).1).filter(|value| *value != Tree::Null)
    }

    pub fn wrong(&self, key: &str, got: &Tree, expected: &str) -> Reply {
        Reply::bad(format!("{}{key} = {}: expected {expected}", self.prefix, got.brief()))
    }

    pub fn missing(&self, key: &str, expected: &str) -> Reply {
        Reply::bad(format!("{}{key} is missing: expected {expected}", self.prefix))
    }

    /// A value that `read` takes.
    pub fn take<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Tree) -> Option<T>,
    ) -> Read<Option<T>> {
        let Some(value) = self.raw(key) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| self.wrong(key, &value, expected))
    }

    pub fn boolean(&mut self, key: &'static str, default: bool) -> Read<bool> {
        let read = |value: &Tree| if let Tree::Bool(value) = value { Some(*value) } else { None };
        Ok(self.take(key, "true or false", read)?.unwrap_or(default))
    }

    pub fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Read<Option<u64>> {
        let expected = match *range.end() {
            u64::MAX => format!("a whole number, at least {}", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        self.take(key, &expected, |value| number(value).filter(|got| range.contains(got)))
    }

    pub fn text(&mut self, key: &'static str, expected: &str) -> Read<Option<String>> {
        self.take(key, &format!("{expected}, a string of 1 to {TEXT_BYTES} bytes"), text)
    }

    /// One of these words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Read<Option<T>> {
        let expected = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        self.take(key, &format!("one of {expected}"), |value| {
            let text = text(value)?;
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
        })
    }

    pub fn pattern(&mut self, key: &'static str) -> Read<Option<Pattern>> {
        let text = self.text(key, "a name, or with * a pattern of names")?;
        Ok(text.and_then(|text| Pattern::new(&text)))
    }

    /// A point in time: timestamp, milliseconds since 1970, or RFC 3339.
    pub fn time(&mut self, key: &'static str) -> Read<Option<Millis>> {
        let expected = "a time: a timestamp, milliseconds since 1970, or such as \"2026-11-24T12:00:00Z\"";
        self.take(key, expected, |value| match value {
            Tree::Time(at) => Some(*at),
            Tree::Unsigned(ms) => Some(Millis(*ms)),
            Tree::Text(text) => rfc3339(text),
            _ => None,
        })
    }

    pub fn binary(&mut self, key: &'static str) -> Read<Option<std::sync::Arc<[u8]>>> {
        let read = |value: &Tree| if let Tree::Binary(bytes) = value { Some(bytes.clone()) } else { None };
        self.take(key, "a binary", read)
    }

    /// A list of at most `most` values that `read` takes.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        most: usize,
        what: &str,
        read: impl Fn(&Tree) -> Option<T>,
    ) -> Read<Option<Vec<T>>> {
        self.take(key, &format!("a list of at most {most} {what}"), |value| match value {
            Tree::List(values) if values.len() <= most => values.iter().map(read).collect(),
            _ => None,
        })
    }

    /// A map within, with arguments of its own; empty if it is not there.
    pub fn map(
        &mut self,
        key: &'static str,
        prefix: &'static str,
        known: &'static [&'static str],
    ) -> Read<Self> {
        match self.raw(key) {
            None => Ok(Self { prefix, known, pairs: Vec::new() }),
            Some(Tree::Map(pairs)) => Self::within(prefix, known, pairs),
            Some(other) => Err(self.wrong(key, &other, "a map with strings as keys")),
        }
    }
}

pub(super) fn number(value: &Tree) -> Option<u64> {
    if let Tree::Unsigned(number) = value { Some(*number) } else { None }
}

pub(super) fn text(value: &Tree) -> Option<String> {
    match value {
        Tree::Text(text) | Tree::Symbol(text) if (1..=TEXT_BYTES).contains(&text.len()) => Some(text.clone()),
        _ => None,
    }
}

/// `2026-11-24T12:00:00Z`, with decimals of a second or an offset if need be.
pub(super) fn rfc3339(text: &str) -> Option<Millis> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(at);
    let digits = |text: &str, len: usize| -> Option<u64> {
        (text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) =
        (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let (clock, decimals) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = clock.splitn(3, ':');
    let (hour, minute, second) =
        (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let offset_minutes = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
            let total = i64::try_from(hours * 60 + minutes).ok().filter(|_| hours < 24 && minutes < 60)?;
            if sign == "-" { -total } else { total }
        }
    };
    let valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61
        && !decimals.is_empty()
        && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let before = |year: u64| year * 365 + year / 4 - year / 100 + year / 400;
    let days = before(year.checked_sub(1).filter(|_| valid)?) - before(1969)
        + (1..month).map(|month| days_of(year, month)).sum::<u64>()
        + day
        - 1;
    let ms: u64 = format!("{decimals:0<3}").get(..3)?.parse().ok()?;
    let local = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms;
    let utc = i64::try_from(local).ok()? - offset_minutes * 60_000;
    u64::try_from(utc).ok().map(Millis)
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
