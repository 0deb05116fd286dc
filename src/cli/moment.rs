//! Points in time and spans of it, as people and programs write and read them.
//!
//! Invariant: what `rfc3339` writes, `parse` reads back as the same millisecond. Always UTC: the command line knows
//! no time zones, and a broker's log and its clients are seldom in the same one.

use std::time::{Duration, SystemTime};

use crate::config::parse_duration_ms;

const DAY_MS: i64 = 86_400_000;

/// What the clock says, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `2026-11-24T06:13:47.123Z`
pub(super) fn rfc3339(ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let of_day = ms.rem_euclid(DAY_MS);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
}

/// For people: `2026-11-24 06:13:47.123Z`
pub(super) fn readable(ms: u64) -> String {
    rfc3339(i64::try_from(ms).unwrap_or(i64::MAX)).replacen('T', " ", 1)
}

/// Milliseconds of an RFC 3339 time; a day alone is its midnight.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let year = digits(parts.next()?, 4)?;
    let (month, day) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let days = days(year, month, day);
    if civil(days) != (year, month, day) {
        return None;
    }
    let of_day = time.map_or(Some(0), time_of_day)?;
    u64::try_from(days * DAY_MS + of_day).ok()
}

fn time_of_day(text: &str) -> Option<i64> {
    let at = text.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = text.split_at(at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.splitn(3, ':').map(|part| digits(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    // A leap second is taken for the one after it.
    if hour > 23 || minute > 59 || second > 60 || fraction.is_empty() {
        return None;
    }
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms = digits(format!("{fraction}00").get(..3)?, 3)?;
    let offset = match zone.split_at(1) {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), zone) => {
            let (hours, minutes) = zone.split_once(':')?;
            let minutes = digits(hours, 2)? * 60 + digits(minutes, 2)?;
            if sign == "-" { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some((hour * 60 + minute - offset) * 60_000 + second * 1000 + ms)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let good = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

/// A point in time, from a command line: a duration is so long ago.
pub(super) fn when(text: &str) -> Result<When, String> {
    if let Some(ms) = parse_duration_ms(text) {
        return Ok(When::Ago(ms));
    }
    parse(text)
        .map(When::At)
        .ok_or_else(|| "expected how long ago, such as 2h, or a time such as 2026-11-24T06:00:00Z".to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Ago(u64),
    At(u64),
}

impl When {
    pub fn ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(ms) => now_ms.saturating_sub(ms),
            Self::At(ms) => ms,
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01, in years that begin in March so that the leap day is last
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}
