//! What the broker core asks of a message and cannot read itself: what a duplicate is told by, and its group.
//!
//! Invariant: values that are equal have one fingerprint, however each was encoded; values of different types, and of
//! different keys, have different ones: the message-id 5 (ulong) is not "5" (string). Reads, and changes nothing.

use serde_amqp::Value;
use sha2::{Digest, Sha256};

use super::encode;
use crate::{
    amqp::codec::{
        code::{self, descriptor},
        decode_value, encode_value,
        section::{self, PropertyField, Sections},
    },
    broker::{Fingerprint, Message, Reader, policy::Detect},
};

/// For `Node::with_reader`.
pub const READER: Reader = Reader { duplicate_key, group };

fn sections(message: &Message) -> Option<(&[u8], Sections)> {
    if encode::is_foreign(message.format) {
        return None;
    }
    let payload = message.payload();
    Some((payload, section::walk(payload).ok()?))
}

fn duplicate_key(message: &Message, detect: &Detect) -> Option<Fingerprint> {
    let (payload, sections) = sections(message)?;
    let at = |range: &Option<std::ops::Range<usize>>| payload.get(range.clone()?);
    match detect {
        Detect::Off => None,
        Detect::MessageId => {
            let value = section::property(at(&sections.properties)?, PropertyField::MessageId)?;
            fingerprint(&[descriptor::PROPERTIES], value)
        }
        // Clients that cannot set annotations (JMS) have properties of the application's instead.
        Detect::Named(name) => {
            let places = [at(&sections.message_annotations), at(&sections.application_properties)];
            let value = places.into_iter().flatten().find_map(|section| named(section, name))?;
            fingerprint(name.as_bytes(), value)
        }
    }
}

/// The value of a key, a symbol or string, in a map; none where it is null.
fn named<'a>(section: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let is_it = |key: &[u8]| match key.split_first() {
        Some((&(code::SYMBOL8 | code::STRING8), key)) => key.get(1..) == Some(name.as_bytes()),
        Some((&(code::SYMBOL32 | code::STRING32), key)) => key.get(4..) == Some(name.as_bytes()),
        _ => false,
    };
    let found = section::map_pairs(section).ok()?.find(|(key, _)| is_it(key));
    found.map(|(_, value)| value).filter(|value| *value != [code::NULL])
}

/// Of the value in its one canonical encoding, in the space of what it is the value of.
fn fingerprint(space: &[u8], value: &[u8]) -> Option<Fingerprint> {
    let value = decode_value(value).ok()?;
    if value == Value::Null {
        return None;
    }
    let mut canonical = Vec::new();
    encode_value(&value, &mut canonical);
    Some(hash(space, &canonical))
}

fn group(message: &Message) -> Option<Fingerprint> {
    let (payload, sections) = sections(message)?;
    let properties = payload.get(sections.properties?)?;
    let id = section::property_str(properties, PropertyField::GroupId).filter(|id| !id.is_empty())?;
    Some(hash(&[], id.as_bytes()))
}

/// Half of a SHA-256: whoever could make two with one of these could have a message taken for another.
fn hash(space: &[u8], value: &[u8]) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update((space.len() as u64).to_be_bytes());
    hash.update(space);
    hash.update(value);
    let whole: [u8; 32] = hash.finalize().into();
    Fingerprint(whole.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn message(sections: &[&[u8]]) -> Message {
        Message {
            bytes: Arc::from(sections.concat()),
            from: 0,
            format: 0,
            durable: true,
            priority: 4,
            first_acquirer: true,
            delivery_count: 0,
            expires: None,
        }
    }

    /// A properties section of these encoded fields.
    fn properties(fields: &[&[u8]]) -> Vec<u8> {
        let content = fields.concat();
        let head = [0x00, 0x53, 0x73, 0xd0];
        let size = (content.len() as u32 + 4).to_be_bytes();
        [&head[..], &size, &(fields.len() as u32).to_be_bytes(), &content].concat()
    }

    fn with_id(id: &[u8]) -> Option<Fingerprint> {
        duplicate_key(&message(&[&properties(&[id]), b"\x00\x53\x75\xa0\x01x"]), &Detect::MessageId)
    }

    /// "message-id … ulong, uuid, binary or string" (3.2.4, 3.2.11 to 3.2.14).
    #[test]
    fn a_message_id_of_each_type_has_a_fingerprint_of_its_own() {
        let uuid = [&[0x98][..], &[0x35; 16]].concat();
        let ids: [&[u8]; 5] = [b"\x53\x35", &uuid, b"\xa0\x01\x35", b"\xa1\x015", b"\xa1\x00"];
        let prints: std::collections::BTreeSet<_> = ids.iter().map(|id| with_id(id).unwrap()).collect();
        assert_eq!(prints.len(), ids.len());
        assert_eq!(with_id(b"\x40"), None);
        assert_eq!(duplicate_key(&message(&[b"\x00\x53\x75\xa0\x01x"]), &Detect::MessageId), None);
    }

    #[test]
    fn an_id_is_the_same_however_it_is_encoded() {
        assert_eq!(with_id(b"\x53\x05"), with_id(b"\x80\0\0\0\0\0\0\0\x05"));
        assert_eq!(with_id(b"\x44"), with_id(b"\x53\x00"));
        assert_eq!(with_id(b"\xa1\x02ab"), with_id(b"\xb1\0\0\0\x02ab"));
        assert_eq!(with_id(b"\xa0\x02ab"), with_id(b"\xb0\0\0\0\x02ab"));
    }

    #[test]
    fn a_named_key_is_an_annotation_or_else_an_application_property() {
        let annotations = b"\x00\x53\x72\xc1\x0b\x02\xa3\x05x-key\xa1\x01a";
        let properties = b"\x00\x53\x74\xc1\x0b\x02\xa1\x05x-key\xa1\x01b";
        let same = b"\x00\x53\x74\xc1\x0b\x02\xa1\x05x-key\xa1\x01a";
        let key = |sections: &[&[u8]]| duplicate_key(&message(sections), &Detect::Named("x-key".into()));
        assert!(key(&[annotations]).is_some());
        assert_eq!(key(&[annotations, properties]), key(&[annotations]));
        assert_eq!(key(&[same]), key(&[annotations]));
        assert_ne!(key(&[properties]), key(&[annotations]));
        assert_eq!(key(&[b"\x00\x53\x72\xc1\x0a\x02\xa3\x05x-key\x40"]), None);
        assert_eq!(key(&[b"\x00\x53\x72\xc1\x0b\x02\xa3\x05y-key\xa1\x01a"]), None);
    }

    #[test]
    fn a_group_is_told_by_group_id() {
        let with = |group: &[u8]| {
            let mut fields = vec![&b"\x40"[..]; 10];
            fields.push(group);
            super::group(&message(&[&properties(&fields)]))
        };
        assert_eq!(with(b"\xa1\x01g"), with(b"\xb1\0\0\0\x01g"));
        assert_ne!(with(b"\xa1\x01g"), with(b"\xa1\x01h"));
        assert_eq!((with(b"\x40"), with(b"\xa1\x00"), super::group(&message(&[]))), (None, None, None));
    }

    #[test]
    fn a_message_of_another_format_has_neither() {
        let sections = properties(&[b"\xa1\x01a"]);
        let foreign = Message { format: 0x8000_0000, ..message(&[&sections]) };
        assert_eq!(duplicate_key(&foreign, &Detect::MessageId), None);
    }
}
