//! Part 3.2: sections of a message.

use super::{bytes, long_list, null, string, symbol};
use crate::amqp::codec::{
    code::descriptor,
    section::{
        BodyKind, Header, PropertyField, absolute_expiry_time, canonical_key, decode_header, encode_header,
        encode_map_section, map_pairs, property, property_display, property_to, walk,
    },
    write,
};

const DATA: [u8; 7] = [0x00, 0x53, 0x75, 0xa0, 2, b'h', b'i'];
const VALUE: [u8; 5] = [0x00, 0x53, 0x77, 0x52, 7];
const SEQUENCE: [u8; 4] = [0x00, 0x53, 0x76, 0x45];
const MAP: [u8; 6] = [0x00, 0x53, 0, 0xc1, 1, 0];

fn map_section(kind: u8) -> Vec<u8> {
    let mut section = MAP.to_vec();
    section[2] = kind;
    section
}

fn list_section(kind: u8) -> Vec<u8> {
    vec![0x00, 0x53, kind, 0x45]
}

#[test]
fn every_section_is_found() {
    let parts = [
        list_section(0x70),
        map_section(0x71),
        map_section(0x72),
        list_section(0x73),
        map_section(0x74),
        DATA.to_vec(),
        DATA.to_vec(),
        map_section(0x78),
    ];
    let payload = parts.concat();
    let sections = walk(&payload).expect("sections");
    assert_eq!(sections.header, Some(0..4));
    assert_eq!(sections.delivery_annotations, Some(4..10));
    assert_eq!(sections.message_annotations, Some(10..16));
    assert_eq!(sections.properties, Some(16..20));
    assert_eq!(sections.application_properties, Some(20..26));
    assert_eq!(sections.body, Some((BodyKind::Data, 26..40)));
    assert_eq!(sections.footer, Some(40..46));
    assert_eq!(sections.bare, 16..46);
}

#[test]
fn symbolic_and_long_descriptors_are_found() {
    let named = [&[0x00][..], &symbol("amqp:data:binary"), &[0xa0, 0]].concat();
    assert_eq!(walk(&named).expect("data").body, Some((BodyKind::Data, 0..named.len())));
    let long = [0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x77, 0x40];
    assert_eq!(walk(&long).expect("value").body, Some((BodyKind::Value, 0..11)));
}

#[test]
fn a_message_without_a_body_or_without_anything_is_taken() {
    assert_eq!(walk(&[]).expect("empty").bare, 0..0);
    let sections = walk(&list_section(0x70)).expect("header alone");
    assert_eq!((sections.bare, sections.body), (4..4, None));
}

#[test]
fn sections_come_in_order_and_once() {
    for wrong in [
        [list_section(0x73), list_section(0x70)],
        [list_section(0x70), list_section(0x70)],
        [map_section(0x72), map_section(0x71)],
        [DATA.to_vec(), list_section(0x73)],
        [VALUE.to_vec(), VALUE.to_vec()],
        [DATA.to_vec(), VALUE.to_vec()],
        [DATA.to_vec(), SEQUENCE.to_vec()],
        [map_section(0x78), map_section(0x78)],
        [map_section(0x78), DATA.to_vec()],
    ] {
        assert!(walk(&wrong.concat()).is_err(), "{wrong:02x?}");
    }
    assert!(walk(&[SEQUENCE, SEQUENCE].concat()).is_ok());
}

#[test]
fn a_section_of_the_wrong_type_or_cut_off_is_refused() {
    assert!(walk(&[0x00, 0x53, 0x75, 0xa1, 0]).is_err(), "data that is a string");
    assert!(walk(&[0x00, 0x53, 0x70, 0xc1, 1, 0]).is_err(), "header that is a map");
    assert!(walk(&[0x00, 0x53, 0x72, 0x45]).is_err(), "annotations that are a list");
    assert!(walk(&[0x00, 0x53, 0x79, 0x45]).is_err(), "unknown section");
    assert!(walk(&[0x45]).is_err(), "not a section");
    for len in 1..DATA.len() {
        assert!(walk(&DATA[..len]).is_err(), "{len} bytes");
    }
    let huge = [0x00, 0x53, 0x75, 0xb0, 0xff, 0xff, 0xff, 0xff, 1];
    assert!(walk(&huge).is_err());
}

#[test]
fn a_header_comes_back_as_it_went() {
    assert_eq!(decode_header(&[0x00, 0x53, 0x70, 0x45]), Ok(Header::default()));
    let header =
        Header { durable: true, priority: 9, ttl: Some(70_000), first_acquirer: true, delivery_count: 2 };
    assert_eq!(decode_header(&bytes(|out| encode_header(&header, out))), Ok(header));
    let default = bytes(|out| encode_header(&Header::default(), out));
    assert_eq!(default, [0x00, 0x53, 0x70, 0x45]);
    assert!(decode_header(&[0x00, 0x53, 0x70, 0xc0, 3, 1, 0x52, 1]).is_err(), "durable as uint");
}

fn properties(fields: &[Vec<u8>]) -> Vec<u8> {
    long_list(descriptor::PROPERTIES, fields)
}

#[test]
fn properties_are_looked_up_by_place() {
    let time = bytes(|out| write::timestamp(out, -5));
    let fields = [string("id"), null(), string("q"), null(), null(), vec![0x53, 7], null(), null(), time];
    let section = properties(&fields);
    assert_eq!(property_to(&section), Some("q"));
    assert_eq!(absolute_expiry_time(&section), Some(-5));
    assert_eq!(property(&section, PropertyField::MessageId), Some(string("id").as_slice()));
    assert_eq!(property(&section, PropertyField::UserId), None);
    assert_eq!(property(&section, PropertyField::ReplyToGroupId), None);
    assert_eq!(property_display(&section, PropertyField::CorrelationId).as_deref(), Some("7"));
}

#[test]
fn a_message_id_is_shown_whatever_its_type() {
    let shown = |id: Vec<u8>| property_display(&properties(&[id]), PropertyField::MessageId);
    assert_eq!(shown(string("a")).as_deref(), Some("a"));
    assert_eq!(shown(vec![0x44]).as_deref(), Some("0"));
    assert_eq!(shown(vec![0xa0, 2, 0x0a, 0xff]).as_deref(), Some("0aff"));
    let uuid = [vec![0x98], (0..16).collect()].concat();
    assert_eq!(shown(uuid).as_deref(), Some("00010203-0405-0607-0809-0a0b0c0d0e0f"));
    assert_eq!(shown(vec![0x41]), None);
}

#[test]
fn annotations_are_pairs_of_encodings() {
    let (a, b) = (symbol("a"), symbol("b"));
    let list = [0xc0, 3, 1, 0x52, 1];
    let pairs = [(a.as_slice(), list.as_slice()), (b.as_slice(), [0x40].as_slice())];
    let section = bytes(|out| encode_map_section(descriptor::MESSAGE_ANNOTATIONS, pairs, out));
    assert_eq!(map_pairs(&section).expect("map").collect::<Vec<_>>(), pairs);
    assert!(map_pairs(&section[..section.len() - 1]).is_err());
    assert!(map_pairs(&[0x45]).is_err());
}

#[test]
fn a_large_map_takes_the_long_form() {
    let value = bytes(|out| write::binary(out, &[0; 300]));
    let key = symbol("k");
    let section = bytes(|out| encode_map_section(0x72, [(key.as_slice(), value.as_slice())], out));
    assert_eq!(section[3], 0xd1);
    assert_eq!(map_pairs(&section).expect("map").next(), Some((key.as_slice(), value.as_slice())));
}

#[test]
fn a_key_is_the_same_in_whatever_form() {
    let short = symbol("k");
    assert_eq!(canonical_key(&[0xb3, 0, 0, 0, 1, b'k']).as_deref(), Some(short.as_slice()));
    assert_eq!(canonical_key(&short).as_deref(), Some(short.as_slice()));
    assert_eq!(canonical_key(&[0x80, 0, 0, 0, 0, 0, 0, 0, 7]).as_deref(), Some([0x53, 7].as_slice()));
    assert_eq!(canonical_key(&string("k")), None);
}
