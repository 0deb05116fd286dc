//! What a message says of the trace it belongs to (W3C Trace Context), and its id.
//!
//! Invariant: copies a few bytes and keeps nothing of the message; what cannot be read is not there. The publisher's
//! context is its message-annotation `traceparent`, which those on the way may have set, else its application property.

use crate::{
    amqp::codec::section::{self, PropertyField, property_display},
    broker::Message,
};

/// Bytes kept of a message-id.
const MESSAGE_ID_BYTES: usize = 128;
/// The name of both annotation and property.
const TRACEPARENT: &str = "traceparent";
/// Length of a traceparent of version 00.
const TRACEPARENT_BYTES: usize = 55;

/// A span elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    pub trace_id: u128,
    pub span_id: u64,
    /// The trace-flag of that name.
    pub sampled: bool,
}

/// The publisher's context, and the message-id.
pub(super) fn read(message: &Message) -> (Option<Context>, Option<String>) {
    // 2.8.11: another format has no sections.
    if message.format >> 8 != 0 {
        return (None, None);
    }
    let payload = message.payload();
    let Ok(sections) = section::walk(payload) else { return (None, None) };
    let part = |range: Option<std::ops::Range<usize>>| range.and_then(|range| payload.get(range));
    let context = [sections.message_annotations, sections.application_properties]
        .into_iter()
        .find_map(|range| traceparent_in(part(range)?));
    let id = part(sections.properties).and_then(|found| property_display(found, PropertyField::MessageId));
    (context, id.map(shortened))
}

fn shortened(mut text: String) -> String {
    let end = (0..=MESSAGE_ID_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

fn traceparent_in(map: &[u8]) -> Option<Context> {
    let (_, value) = section::map_pairs(map).ok()?.find(|(key, _)| short_text(key) == Some(TRACEPARENT))?;
    parse(short_text(value)?)
}

/// A string or symbol in its short encoding, the only one a text of less than 256 bytes has need of.
fn short_text(encoded: &[u8]) -> Option<&str> {
    match encoded {
        [0xa1 | 0xa3, len, text @ ..] if text.len() == usize::from(*len) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// "version-format: trace-id "-" parent-id "-" trace-flags", in lower-case hexadecimal digits; ids of zeros and version
/// ff are invalid. Of later versions, what begins like this one.
fn parse(text: &str) -> Option<Context> {
    let (version, rest) = text.split_once('-')?;
    let known = text.get(..TRACEPARENT_BYTES)?;
    let longer = text.len() > TRACEPARENT_BYTES;
    if hex(version, 2)? == 0xff
        || longer && (version == "00" || !text.get(TRACEPARENT_BYTES..)?.starts_with('-'))
    {
        return None;
    }
    let mut parts = rest.get(..known.len() - 3)?.split('-');
    let trace_id = hex(parts.next()?, 32)?;
    let span_id = u64::try_from(hex(parts.next()?, 16)?).ok()?;
    let flags = hex(parts.next()?, 2)?;
    (trace_id != 0 && span_id != 0).then_some(Context { trace_id, span_id, sampled: flags & 1 == 1 })
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let good = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if good { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::codec::write;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn good() -> Context {
        Context {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0x00f0_67aa_0ba9_02b7,
            sampled: true,
        }
    }

    #[test]
    fn a_traceparent_is_read_as_w3c_has_it() {
        assert_eq!(parse(GOOD), Some(good()));
        assert_eq!(parse(&GOOD.replace("-01", "-00")), Some(Context { sampled: false, ..good() }));
        assert_eq!(parse(&GOOD.replacen("00-", "cc-", 1)), Some(good()));
        assert_eq!(parse(&format!("{}-what-comes-later", GOOD.replacen("00-", "cc-", 1))), Some(good()));
        for wrong in [
            "",
            "00",
            "ä",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{}more", GOOD.replacen("00-", "cc-", 1)),
            &GOOD.replacen("00-", "ff-", 1),
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-3600f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    /// A message with these annotations and application properties.
    fn message(annotation: Option<&str>, property: Option<&str>, format: u32) -> Message {
        let mut bytes = Vec::new();
        let mut map = |kind, symbol: bool, value: Option<&str>| {
            let Some(value) = value else { return };
            let (mut key, mut text) = (Vec::new(), Vec::new());
            if symbol {
                write::symbol(&mut key, TRACEPARENT)
            } else {
                write::string(&mut key, TRACEPARENT)
            }
            write::string(&mut text, value);
            section::encode_map_section(kind, [(&key[..], &text[..])], &mut bytes);
        };
        map(0x72, true, annotation);
        map(0x74, false, property);
        Message {
            bytes: bytes.into(),
            from: 0,
            format,
            durable: true,
            priority: 4,
            first_acquirer: true,
            delivery_count: 0,
            expires: None,
        }
    }

    #[test]
    fn the_annotation_goes_before_the_application_property() {
        let other = GOOD.replace("4bf9", "aaaa");
        assert_eq!(read(&message(Some(GOOD), Some(&other), 0)), (Some(good()), None));
        assert_eq!(read(&message(None, Some(GOOD), 0)), (Some(good()), None));
        assert_eq!(read(&message(Some("nonsense"), Some(GOOD), 0)), (Some(good()), None));
        assert_eq!(read(&message(None, None, 0)), (None, None));
        assert_eq!(read(&message(Some(GOOD), None, 0x100)), (None, None), "another message format");
    }

    #[test]
    fn a_message_id_is_kept_up_to_a_length() {
        let mut id = Vec::new();
        write::string(&mut id, &"ä".repeat(100));
        let len = u8::try_from(id.len() + 1).unwrap();
        let mut bytes = vec![0x00, 0x53, 0x73, 0xc0, len, 1];
        bytes.extend(id);
        let (_, id) = read(&Message { bytes: bytes.into(), ..message(None, None, 0) });
        assert_eq!(id, Some("ä".repeat(64)));
    }
}
