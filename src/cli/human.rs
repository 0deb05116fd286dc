//! Numbers and texts as they are shown to people: `3m12s`, `1.2 GiB`, nothing that moves a cursor.
//!
//! Invariant: what comes from a peer leaves here without control characters. Rounds; never for programs.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A span of time in its two largest units: `3d4h`, `3m12s`, `12s`, `250ms`.
pub(super) fn span(ms: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let Some(at) = UNITS.iter().position(|(_, unit_ms)| ms >= *unit_ms) else { return format!("{ms}ms") };
    let mut left = ms;
    let mut text = String::new();
    for (name, unit_ms) in UNITS.iter().skip(at).take(2) {
        let amount = left / unit_ms;
        left %= unit_ms;
        if amount > 0 {
            text.push_str(&format!("{amount}{name}"));
        }
    }
    text
}

/// A size: `512 B`, `1.2 GiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In tenths of the unit, and the next unit from where the tenths would round to 1024.0.
    let mut unit_bytes = 1024u128;
    let mut tenths = 0;
    let mut name = "";
    for unit in UNITS {
        (name, tenths) = (unit, (u128::from(bytes) * 10 + unit_bytes / 2) / unit_bytes);
        if tenths < 10_240 {
            break;
        }
        unit_bytes *= 1024;
    }
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// `1 message`, `2 messages`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A text on one line, with nothing in it that moves the cursor.
pub(super) fn one_line(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || is_hidden(c)) { escape(text, false) } else { text.to_owned() }
}

/// A text of several lines, with nothing else in it that moves the cursor.
pub(super) fn lines(text: &str) -> String {
    escape(text, true)
}

fn escape(text: &str, breaks: bool) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' if breaks => clean.push(c),
            c if c.is_control() || is_hidden(c) => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}

/// Characters that turn the order of writing: a terminal would show another text than there is.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// Columns that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text, or as much of it as fits, with `…` for the rest.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}
