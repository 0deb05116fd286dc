//! The body of a message, for people: text if it is text, else a hex dump, and never more than a screen or so.
//!
//! Invariant: the bytes come from a publisher, so they pass the validator before the decoder. A message that cannot be
//! decoded is dumped as it is.

use fe2o3_amqp_types::primitives::Value;

use super::super::{human, json};
use crate::amqp::codec::{
    decode_value,
    section::{self, BodyKind},
    validate,
};

/// How much of a body is shown unless the whole is asked for.
pub(in crate::cli) const BODY_BYTES: usize = 4096;
const DUMP_ROW: usize = 16;

/// What is in a whole message (bare message, or with its annotations).
pub(super) fn lines(message: &[u8], most: usize) -> Vec<String> {
    let (kind, bytes) = match decode(message) {
        None => ("of a message that cannot be decoded", message.to_vec()),
        Some(None) => return vec!["body: none".to_owned()],
        Some(Some((BodyKind::Data, parts))) => ("data", parts.iter().flat_map(printed).collect()),
        Some(Some((BodyKind::Value, parts))) => ("amqp-value", parts.iter().flat_map(printed).collect()),
        Some(Some((BodyKind::Sequence, parts))) => ("amqp-sequence", printed(&Value::List(parts))),
    };
    let mut lines = vec![format!("body ({kind}, {})", human::size(bytes.len() as u64))];
    let shown = bytes.get(..most).unwrap_or(&bytes);
    match text(shown) {
        Some(text) => lines.extend(human::lines(text).lines().map(|line| format!("  {line}"))),
        None => lines.extend(dump(shown)),
    }
    if shown.len() < bytes.len() {
        let rest = human::size((bytes.len() - shown.len()) as u64);
        lines.push(format!("  … {rest} more; --whole shows all, --json has it in base64"));
    }
    lines
}

/// The values of the body's sections, if there are any.
fn decode(message: &[u8]) -> Option<Option<(BodyKind, Vec<Value>)>> {
    let Some((kind, range)) = section::walk(message).ok()?.body else { return Some(None) };
    let mut rest = message.get(range)?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, behind) = rest.split_at_checked(validate(rest).ok()?)?;
        rest = behind;
        match decode_value(part).ok()? {
            Value::Described(part) => parts.push(part.value),
            other => parts.push(other),
        }
    }
    Some(Some((kind, parts)))
}

fn printed(value: &Value) -> Vec<u8> {
    match value {
        Value::Binary(bytes) => bytes.to_vec(),
        other => json::cell(Some(&json::from_amqp(other))).into_bytes(),
    }
}

/// As text, if it is: a cut within a character at the end is no reason against it.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let binary = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{1b}');
    (!text.contains(binary)).then_some(text)
}

fn dump(bytes: &[u8]) -> Vec<String> {
    let rows = bytes.chunks(DUMP_ROW).enumerate();
    rows.map(|(row, bytes)| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text: String = bytes
            .iter()
            .map(|byte| if matches!(byte, 0x20..=0x7e) { char::from(*byte) } else { '.' })
            .collect();
        format!("  {:08x}  {hex:<48} {text}", row * DUMP_ROW)
    })
    .collect()
}
