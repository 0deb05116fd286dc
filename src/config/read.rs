//! Reading one table of the file, key by key, without stopping at the first problem.
//!
//! Invariant: a key that was not asked for is a problem by the time `finish` ran; a wrong value leaves the
//! default in place and one problem behind. Does not know which keys there are (`sections`).

use std::{fmt::Display, ops::RangeInclusive};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::Problem,
    units::{duration_text, parse_duration_ms, parse_size, size_text},
};

/// What a whole reading gathers.
pub(super) struct Reading<'i> {
    input: &'i str,
    pub problems: Vec<Problem>,
    /// Every key that was asked for, with its table: what there is to be configured.
    pub keys: Vec<String>,
}

impl<'i> Reading<'i> {
    pub fn new(input: &'i str) -> Self {
        Self { input, problems: Vec::new(), keys: Vec::new() }
    }

    /// A problem at a byte offset of the input.
    pub fn problem(&mut self, at: usize, text: String, hint: Option<String>) {
        let line = self.input.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        self.problems.push(Problem { line, text, hint });
    }

    /// The value as it stands in the file.
    fn source(&self, value: &Spanned<DeValue<'_>>) -> String {
        let text = self.input.get(value.span()).unwrap_or("?");
        let line = text.lines().next().unwrap_or("");
        let short: String = line.chars().take(60).collect();
        if short.len() == text.len() { short } else { format!("{short} …") }
    }
}

/// A table being read. Without one in the file, all keys are absent.
pub(super) struct Section<'a, 'i> {
    /// `limits.` for the keys below `[limits]`; empty at the top.
    prefix: String,
    table: Option<&'a DeTable<'i>>,
    asked: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub fn top(table: &'a DeTable<'i>) -> Self {
        Self { prefix: String::new(), table: Some(table), asked: Vec::new() }
    }

    /// One table of an array of tables; keys are named `queue.name`.
    pub fn element(name: &str, table: Option<&'a DeTable<'i>>) -> Self {
        Self { prefix: format!("{name}."), table, asked: Vec::new() }
    }

    /// The table behind `key`.
    pub fn table(&mut self, key: &'static str, reading: &mut Reading<'i>) -> Self {
        let prefix = format!("{}{key}.", self.prefix);
        let table = self.raw(key, reading).and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.wrong(key, value, &format!("a table, [{}{key}]", self.prefix), reading);
            }
            table
        });
        Self { prefix, table, asked: Vec::new() }
    }

    /// The table itself, for those whose keys are free (user names).
    pub fn entries(&self) -> Option<&'a DeTable<'i>> {
        self.table
    }

    /// What the problems of `key` call it.
    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The value of `key` as it is.
    pub fn raw(&mut self, key: &'static str, reading: &mut Reading<'i>) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.push(key);
        reading.keys.push(format!("{}{key}", self.prefix));
        self.table.and_then(|table| table.get(key))
    }

    /// Tells that `key` has a wrong value.
    pub fn wrong(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &dyn Display,
        reading: &mut Reading<'i>,
    ) {
        let text = format!("{}{key} = {}: expected {expected}", self.prefix, reading.source(value));
        reading.problem(value.span().start, text, None);
    }

    /// Any value: `convert` makes it of the text's value, or says no.
    pub fn value<T>(
        &mut self,
        key: &'static str,
        into: &mut T,
        expected: &dyn Display,
        reading: &mut Reading<'i>,
        convert: impl FnOnce(&DeValue<'i>) -> Option<T>,
    ) {
        let Some(value) = self.raw(key, reading) else { return };
        match convert(value.get_ref()) {
            Some(converted) => *into = converted,
            None => self.wrong(key, value, expected, reading),
        }
    }

    pub fn boolean(&mut self, key: &'static str, into: &mut bool, reading: &mut Reading<'i>) {
        self.value(key, into, &"true or false", reading, DeValue::as_bool);
    }

    /// A text that `accept` takes.
    pub fn text<T>(
        &mut self,
        key: &'static str,
        into: &mut T,
        expected: &dyn Display,
        reading: &mut Reading<'i>,
        accept: impl FnOnce(&str) -> Option<T>,
    ) {
        self.value(key, into, expected, reading, |value| value.as_str().and_then(accept));
    }

    /// A whole number.
    pub fn integer<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
        reading: &mut Reading<'i>,
    ) {
        let expected = match *range.end() {
            u64::MAX => format!("a whole number, at least {}", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        self.value(key, into, &expected, reading, |value| within(&range, integer(value)));
    }

    /// A number with decimals.
    pub fn decimal(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        into: &mut f64,
        reading: &mut Reading<'i>,
    ) {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.value(key, into, &expected, reading, |value| decimal(value).filter(|got| range.contains(got)));
    }

    /// Bytes: `"64MiB"`, or a whole number.
    pub fn size<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
        reading: &mut Reading<'i>,
    ) {
        let expected = size_expected(&range);
        self.value(key, into, &expected, reading, |value| within(&range, size(value)));
    }

    /// Bytes, or `"none"`.
    pub fn optional_size(&mut self, key: &'static str, into: &mut Option<u64>, reading: &mut Reading<'i>) {
        let expected = format!("{}, or \"none\"", size_expected(&(1..=u64::MAX)));
        self.value(key, into, &expected, reading, |value| {
            none_or(value, |value| size(value).filter(|n| *n > 0))
        });
    }

    /// A whole number from 1 on, or `"none"`.
    pub fn optional_integer(&mut self, key: &'static str, into: &mut Option<u64>, reading: &mut Reading<'i>) {
        let expected = "a whole number, at least 1, or \"none\"";
        self.value(key, into, &expected, reading, |value| {
            none_or(value, |value| integer(value).filter(|n| *n > 0))
        });
    }

    /// Milliseconds: `"60s"`, `"100ms"`.
    pub fn duration<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
        reading: &mut Reading<'i>,
    ) {
        let expected = duration_expected(&range);
        self.value(key, into, &expected, reading, |value| within(&range, duration(value)));
    }

    /// Milliseconds, or `"none"`.
    pub fn optional_duration<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut Option<T>,
        reading: &mut Reading<'i>,
    ) {
        let expected = format!("{}, or \"none\"", duration_expected(&range));
        self.value(key, into, &expected, reading, |value| {
            none_or(value, |value| within(&range, duration(value)))
        });
    }

    /// Tells of every key that nobody asked for.
    pub fn finish(self, reading: &mut Reading<'i>) {
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            if self.asked.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let text = format!("{}{}: unknown key", self.prefix, key.get_ref());
            let hint = match nearest(key.get_ref(), &self.asked) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            reading.problem(key.span().start, text, Some(hint));
        }
    }
}

fn size_expected(range: &RangeInclusive<u64>) -> String {
    match *range.end() {
        u64::MAX => format!("a size of at least {}, such as \"64MiB\"", size_text(*range.start())),
        end => format!("a size from {} to {}, such as \"1MiB\"", size_text(*range.start()), size_text(end)),
    }
}

fn duration_expected(range: &RangeInclusive<u64>) -> String {
    match *range.end() {
        u64::MAX => {
            format!("a duration of at least {}, such as \"100ms\" or \"60s\"", duration_text(*range.start()))
        }
        end => format!(
            "a duration from {} to {}, such as \"100ms\" or \"60s\"",
            duration_text(*range.start()),
            duration_text(end)
        ),
    }
}

fn within<T: TryFrom<u64>>(range: &RangeInclusive<u64>, got: Option<u64>) -> Option<T> {
    T::try_from(got.filter(|got| range.contains(got))?).ok()
}

fn none_or<T>(value: &DeValue<'_>, some: impl FnOnce(&DeValue<'_>) -> Option<T>) -> Option<Option<T>> {
    if value.as_str() == Some("none") { Some(None) } else { some(value).map(Some) }
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn decimal(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        _ => None,
    }
}

fn size(value: &DeValue<'_>) -> Option<u64> {
    integer(value).or_else(|| value.as_str().and_then(parse_size))
}

pub(super) fn duration(value: &DeValue<'_>) -> Option<u64> {
    value.as_str().and_then(parse_duration_ms)
}

/// The known key that `got` may have been meant for.
fn nearest<'k>(got: &str, known: &[&'k str]) -> Option<&'k str> {
    let got = got.replace('_', "-").to_lowercase();
    let close = |key: &&&str| edits(&got, key) <= 1 + key.len() / 5;
    known.iter().filter(close).min_by_key(|key| edits(&got, key)).copied()
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let cost = (diagonal + usize::from(ca != *cb)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
