//! The header section (part 3.2.1).
//!
//! Invariant: a field left out has its default; unknown fields behind are ignored.

use super::section_value;
use crate::amqp::codec::{
    DecodeError,
    code::descriptor,
    read::FieldReader,
    write::{self, ListWriter},
};

/// header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Survives a crash.
    pub durable: bool,
    /// Priority, default 4.
    pub priority: u8,
    /// Time to live in milliseconds.
    pub ttl: Option<u32>,
    /// Nobody was handed it before.
    pub first_acquirer: bool,
    /// Failed attempts before this one.
    pub delivery_count: u32,
}

impl Default for Header {
    fn default() -> Self {
        Self { durable: false, priority: 4, ttl: None, first_acquirer: false, delivery_count: 0 }
    }
}

/// Decodes a header section, with or without its descriptor.
///
/// # Errors
/// A field of the wrong type.
pub fn decode_header(section: &[u8]) -> Result<Header, DecodeError> {
    let (mut fields, _) = FieldReader::open("header", section_value(section)?)?;
    Ok(Header {
        durable: fields.bool("header.durable")?.unwrap_or(false),
        priority: fields.u8("header.priority")?.unwrap_or(4),
        ttl: fields.u32("header.ttl")?,
        first_acquirer: fields.bool("header.first-acquirer")?.unwrap_or(false),
        delivery_count: fields.u32("header.delivery-count")?.unwrap_or(0),
    })
}

/// Appends a header section. (One that is all default need not be sent: the caller's choice.)
pub fn encode_header(header: &Header, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::HEADER);
    list.flag(header.durable);
    list.option(Some(header.priority).filter(|priority| *priority != 4), write::ubyte);
    list.option(header.ttl, write::uint);
    list.flag(header.first_acquirer);
    list.option(Some(header.delivery_count).filter(|count| *count != 0), write::uint);
    list.finish();
}
