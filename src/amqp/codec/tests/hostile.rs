//! Whatever comes, it comes back as a value or an error: no panic, and nothing read outside the input.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    bytes,
    strategy::{disposition, fields, flow, value},
};
use crate::amqp::codec::{
    DeliveryState, decode, decode_fields, decode_sasl, decode_state, decode_value, encode_disposition,
    encode_fields, encode_flow, encode_value, parse_frame,
    section::{PropertyField, canonical_key, decode_header, map_pairs, property_display, walk},
    validate,
};

/// Every door a peer's bytes can come through.
fn try_all(bytes: &[u8]) {
    if let Ok(len) = validate(bytes) {
        assert!(len <= bytes.len());
    }
    if let Ok((_, payload_at)) = decode(bytes) {
        assert!(payload_at <= bytes.len());
    }
    let _ = parse_frame(bytes, 4096);
    let _ = decode_sasl(bytes);
    let _ = decode_state(bytes);
    let _ = decode_value(bytes);
    let _ = decode_fields("fields", bytes);
    let _ = decode_header(bytes);
    let _ = canonical_key(bytes);
    let _ = property_display(bytes, PropertyField::CorrelationId);
    let _ = map_pairs(bytes).map(Iterator::count);
    let _ = walk(bytes);
}

/// Bytes that are likelier than chance to mean something.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        Just(0x00_u8),
        0x40..=0x45_u8,
        0x50..=0x56_u8,
        Just(0x53_u8),
        0x10..=0x30_u8,
        0x70..=0x78_u8,
        Just(0xa0_u8),
        Just(0xa1_u8),
        Just(0xa3_u8),
        Just(0xc0_u8),
        Just(0xc1_u8),
        Just(0xd0_u8),
        Just(0xe0_u8),
        Just(0xf0_u8),
        0..8_u8,
        any::<u8>(),
    ];
    vec(code, 0..60)
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..200)) {
        try_all(&bytes);
    }

    #[test]
    fn likely_bytes(bytes in likely()) {
        try_all(&bytes);
        for descriptor in (0x10..=0x44).chain(0x70..=0x78) {
            try_all(&[&[0x00, 0x53, descriptor][..], &bytes].concat());
        }
    }

    #[test]
    fn mutated_performatives(
        flow in flow(),
        disposition in disposition(),
        value in value(),
        at in any::<Index>(),
        to in any::<u8>(),
        cut in any::<Index>(),
    ) {
        for mut whole in [
            bytes(|out| encode_flow(&flow, out)),
            bytes(|out| encode_disposition(&disposition, out)),
            bytes(|out| encode_value(&value, out)),
        ] {
            try_all(&whole[..cut.index(whole.len())]);
            let at = at.index(whole.len());
            whole[at] = to;
            try_all(&whole);
        }
    }

    /// What passes `validate` is readable to the end: decoding it can fail on meaning alone (reserved descriptors).
    #[test]
    fn valid_is_readable(bytes in likely()) {
        if let Ok(len) = validate(&bytes) {
            match decode_value(&bytes[..len]) {
                Ok(_) => {}
                Err(error) => prop_assert!(error.to_string().starts_with("descriptor:"), "{}", error),
            }
        }
    }

    #[test]
    fn no_field_of_a_map_is_lost(fields in fields()) {
        let map = bytes(|out| encode_fields(&fields, out));
        prop_assert_eq!(map_pairs(&map).expect("map").count(), fields.len());
    }

    #[test]
    fn sections_reassemble_to_the_payload(
        present in any::<[bool; 7]>(),
        map in fields(),
        datas in vec(vec(any::<u8>(), 0..300), 1..4),
        body in 0..4_u8,
    ) {
        let mut payload = Vec::new();
        let map = bytes(|out| encode_fields(&map, out));
        for (at, kind) in [0x70, 0x71, 0x72, 0x73, 0x74].into_iter().enumerate() {
            if present[at] {
                payload.extend_from_slice(&[0x00, 0x53, kind]);
                if matches!(kind, 0x70 | 0x73) { payload.push(0x45) } else { payload.extend_from_slice(&map) }
            }
        }
        match body {
            0 => datas.iter().for_each(|data| {
                payload.extend_from_slice(&[0x00, 0x53, 0x75]);
                crate::amqp::codec::write::binary(&mut payload, data);
            }),
            1 => payload.extend_from_slice(&[0x00, 0x53, 0x76, 0x45, 0x00, 0x53, 0x76, 0x45]),
            2 => payload.extend_from_slice(&[&[0x00, 0x53, 0x77][..], &map].concat()),
            _ => {}
        }
        if present[5] {
            payload.extend_from_slice(&[&[0x00, 0x53, 0x78][..], &map].concat());
        }
        let sections = walk(&payload).expect("sections");
        let front = [&sections.header, &sections.delivery_annotations, &sections.message_annotations];
        let bare = [
            sections.properties.clone(),
            sections.application_properties.clone(),
            sections.body.clone().map(|(_, range)| range),
            sections.footer.clone(),
        ];
        let mut end = 0;
        for range in front.into_iter().flatten() {
            prop_assert_eq!(range.start, end);
            end = range.end;
        }
        prop_assert_eq!(sections.bare.start, end);
        for range in bare.into_iter().flatten() {
            prop_assert_eq!(range.start, end);
            end = range.end;
        }
        prop_assert_eq!(sections.bare.end, end);
        prop_assert_eq!(end, payload.len());
    }
}

#[test]
fn a_state_in_a_state_in_a_state_does_not_recurse() {
    let nested =
        [[0x00, 0x53, 0x34, 0xd0, 0, 0, 0, 4, 0, 0, 0, 2, 0xa0, 0].repeat(50_000), vec![0x40]].concat();
    try_all(&nested);
    assert!(!matches!(decode_state(&nested), Ok(DeliveryState::Transactional(_))));
}
