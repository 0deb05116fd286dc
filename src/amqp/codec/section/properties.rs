//! The properties section (part 3.2.4), a field at a time.
//!
//! Invariant: read-only, since it is part of the bare message. A field that cannot be read is an absent one:
//! whether a message is well-formed inside is between its publisher and its consumer.

use std::fmt::Write as _;

use super::section_value;
use crate::amqp::codec::{
    code,
    read::{Field, FieldReader},
};

/// The fields, by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PropertyField {
    MessageId = 0,
    UserId = 1,
    To = 2,
    Subject = 3,
    ReplyTo = 4,
    CorrelationId = 5,
    ContentType = 6,
    ContentEncoding = 7,
    AbsoluteExpiryTime = 8,
    CreationTime = 9,
    GroupId = 10,
    GroupSequence = 11,
    ReplyToGroupId = 12,
}

fn lookup(section: &[u8], field: PropertyField) -> Option<Field<'_>> {
    let (mut fields, _) = FieldReader::open("properties", section_value(section).ok()?).ok()?;
    for _ in 0..field as usize {
        fields.next("properties").ok()?;
    }
    fields.next("properties").ok()?
}

/// The encoding of a field of a properties section (with or without its descriptor); none where it is null.
#[must_use]
pub fn property(section: &[u8], field: PropertyField) -> Option<&[u8]> {
    lookup(section, field).map(|field| field.raw)
}

/// A field that is a string or symbol.
#[must_use]
pub fn property_str(section: &[u8], field: PropertyField) -> Option<&str> {
    let field = lookup(section, field)?;
    field.string().or_else(|_| field.symbol()).ok()
}

/// properties.to: the address a message is sent to through the anonymous relay.
#[must_use]
pub fn property_to(section: &[u8]) -> Option<&str> {
    property_str(section, PropertyField::To)
}

/// properties.absolute-expiry-time, in milliseconds since the epoch.
#[must_use]
pub fn absolute_expiry_time(section: &[u8]) -> Option<i64> {
    lookup(section, PropertyField::AbsoluteExpiryTime)?.timestamp().ok()
}

/// A field in words, whatever its type: for message-id and correlation-id ulong, uuid, binary or string
/// (3.2.11 to 3.2.14), binary as hexadecimal digits.
#[must_use]
pub fn property_display(section: &[u8], field: PropertyField) -> Option<String> {
    let field = lookup(section, field)?;
    if let Ok(text) = field.string().or_else(|_| field.symbol()) {
        return Some(text.to_owned());
    }
    if let Ok(number) = field.u64() {
        return Some(number.to_string());
    }
    if let Ok(number) = field.u32() {
        return Some(number.to_string());
    }
    if let Ok(time) = field.timestamp() {
        return Some(time.to_string());
    }
    if let Ok(bytes) = field.binary() {
        return Some(hex(bytes, &[]));
    }
    match field.raw.split_first() {
        Some((&code::UUID, bytes)) => Some(hex(bytes, &[4, 6, 8, 10])),
        _ => None,
    }
}

/// Hexadecimal digits with a dash in front of these bytes.
fn hex(bytes: &[u8], dashes: &[usize]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2 + dashes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if dashes.contains(&at) {
            text.push('-');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
