//! Sizes and durations as people write them: `64MiB`, `100ms`.
//!
//! Invariant: what `*_text` writes, `parse_*` reads back as the same number. Nothing overflows.

const SIZES: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Bytes of a size such as `64MiB`, `1.5GiB`, `10kB`, `512B` or `512`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    if unit.is_empty() {
        return number.parse().ok();
    }
    let factor = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
    scale(number, factor)
}

/// Milliseconds of a duration such as `60s`, `1.5h` or `100ms`.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let factor = DURATIONS.iter().find(|(name, _)| *name == unit)?.1;
    scale(number, factor)
}

/// A size in the largest unit that says it exactly.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    text(bytes, &SIZES[..4], "B")
}

/// A duration in the largest unit that says it exactly.
#[must_use]
pub fn duration_text(ms: u64) -> String {
    text(ms, &DURATIONS[..4], "ms")
}

fn text(amount: u64, units: &[(&str, u64)], smallest: &str) -> String {
    match units.iter().find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", amount / factor),
        None => format!("{amount}{smallest}"),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// `number` × `factor`; decimals are allowed as long as the product is a whole number.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if decimals.is_empty() {
        return (!number.ends_with('.')).then_some(whole);
    }
    let divisor = 10u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let part = decimals.parse::<u64>().ok()?.checked_mul(factor)?;
    (part % divisor == 0).then(|| whole.checked_add(part / divisor))?
}
