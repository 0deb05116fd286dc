//! A message's sections (part 3.2): where they are, and a look into those the broker must understand.
//!
//! Invariant: the walk allocates nothing and looks into nothing: the bare message is its publisher's, and goes on
//! bit for bit. Sections overlap nowhere and together are the payload.

mod annotations;
mod header;
mod properties;

use std::ops::Range;

pub use annotations::{
    EncodedPair, MapPairs, annotation_pairs, canonical_key, encode_map, encode_map_section, map_pairs,
    map_pairs_so_far,
};
pub use header::{Header, decode_header, encode_header};
pub use properties::{
    PropertyField, absolute_expiry_time, property, property_display, property_str, property_to,
};

use super::{
    DecodeError, code,
    code::descriptor,
    read::{Descriptor, described, value_len},
};

/// What a body is made of (3.2: "one or more data sections, one or more amqp-sequence sections, or a single
/// amqp-value section").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// data (3.2.6), one or more.
    Data,
    /// amqp-sequence (3.2.7), one or more.
    Sequence,
    /// amqp-value (3.2.8), one.
    Value,
}

/// Where the sections of a message are. Each range is the whole section, its descriptor included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sections {
    /// 3.2.1.
    pub header: Option<Range<usize>>,
    /// 3.2.2.
    pub delivery_annotations: Option<Range<usize>>,
    /// 3.2.3.
    pub message_annotations: Option<Range<usize>>,
    /// 3.2.4.
    pub properties: Option<Range<usize>>,
    /// 3.2.5.
    pub application_properties: Option<Range<usize>>,
    /// What the body is, if there is one, and all its sections.
    pub body: Option<(BodyKind, Range<usize>)>,
    /// 3.2.9.
    pub footer: Option<Range<usize>>,
    /// The bare message and the footer behind it: what is forwarded bit for bit. Runs to the end of the payload;
    /// empty where there is none of it.
    pub bare: Range<usize>,
}

/// Finds the sections of a payload. A message without a body is taken, though 3.2 asks for one: clients send it.
///
/// # Errors
/// A section that is unknown, out of order, doubled, of the wrong type, or does not end within the payload.
pub fn walk(payload: &[u8]) -> Result<Sections, DecodeError> {
    let mut sections = Sections::default();
    let mut bare_from = None;
    let mut last = 0;
    let mut pos = 0;
    while pos < payload.len() {
        let rest = payload.get(pos..).unwrap_or_default();
        let (kind, value) = section_kind(rest)?;
        let from = pos;
        let value_at = rest.len() - value.len();
        check_type(kind, value)?;
        pos += value_at + value_len(value)?;
        let range = from..pos;
        // 3.2 gives the order, in which the descriptors rise. Only data and amqp-sequence may repeat.
        let repeats = matches!(kind, descriptor::DATA | descriptor::AMQP_SEQUENCE) && kind == last;
        let second_body = is_body(kind) && is_body(last) && !repeats;
        if (kind <= last && !repeats) || second_body {
            return Err(out_of_order(kind, last));
        }
        last = kind;
        if kind >= descriptor::PROPERTIES && bare_from.is_none() {
            bare_from = Some(from);
        }
        match kind {
            descriptor::HEADER => sections.header = Some(range),
            descriptor::DELIVERY_ANNOTATIONS => sections.delivery_annotations = Some(range),
            descriptor::MESSAGE_ANNOTATIONS => sections.message_annotations = Some(range),
            descriptor::PROPERTIES => sections.properties = Some(range),
            descriptor::APPLICATION_PROPERTIES => sections.application_properties = Some(range),
            descriptor::FOOTER => sections.footer = Some(range),
            body => match &mut sections.body {
                Some((_, whole)) => whole.end = pos,
                None => sections.body = Some((body_kind(body), range)),
            },
        }
    }
    sections.bare = bare_from.unwrap_or(payload.len())..payload.len();
    Ok(sections)
}

/// The descriptor of the section at the front, and its value.
#[inline]
fn section_kind(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    let expected = "a section (0x70 to 0x78)";
    match described(bytes)? {
        Some((Descriptor::Known(kind @ descriptor::HEADER..=descriptor::FOOTER), value)) => Ok((kind, value)),
        Some((other, _)) => {
            Err(DecodeError::Descriptor { what: "message section", got: other.to_string(), expected })
        }
        None => {
            let code = bytes.first().copied().unwrap_or(code::NULL);
            Err(DecodeError::WrongType { field: "message section", code, expected })
        }
    }
}

fn check_type(kind: u8, value: &[u8]) -> Result<(), DecodeError> {
    let code = value.first().copied().ok_or(DecodeError::Truncated {
        what: "message section",
        needed: 1,
        got: 0,
    })?;
    let (good, expected) = match kind {
        descriptor::HEADER | descriptor::PROPERTIES | descriptor::AMQP_SEQUENCE => {
            (matches!(code, code::LIST0 | code::LIST8 | code::LIST32), "list")
        }
        descriptor::DATA => (matches!(code, code::BINARY8 | code::BINARY32), "binary"),
        descriptor::AMQP_VALUE => (true, "any"),
        _ => (matches!(code, code::MAP8 | code::MAP32), "map"),
    };
    if good { Ok(()) } else { Err(DecodeError::WrongType { field: "message section", code, expected }) }
}

fn is_body(kind: u8) -> bool {
    (descriptor::DATA..=descriptor::AMQP_VALUE).contains(&kind)
}

fn body_kind(kind: u8) -> BodyKind {
    match kind {
        descriptor::DATA => BodyKind::Data,
        descriptor::AMQP_SEQUENCE => BodyKind::Sequence,
        _ => BodyKind::Value,
    }
}

#[cold]
fn out_of_order(kind: u8, last: u8) -> DecodeError {
    DecodeError::Content {
        what: "message sections",
        got: format!("0x{kind:02x} behind 0x{last:02x}"),
        expected: "each once and in order (only data and amqp-sequence repeat)",
    }
}

/// The value of a section given with or without its descriptor.
fn section_value(section: &[u8]) -> Result<&[u8], DecodeError> {
    Ok(described(section)?.map_or(section, |(_, value)| value))
}
