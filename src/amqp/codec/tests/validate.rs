//! Part 1: what is a well-formed value.

use crate::{
    amqp::codec::{DecodeError, validate},
    limits::MAX_VALUE_DEPTH,
};

#[test]
fn the_length_of_the_first_value_is_told() {
    assert_eq!(validate(&[0x40, 0x40]), Ok(1));
    assert_eq!(validate(&[0x70, 0, 0, 0, 1, 0xff]), Ok(5));
    assert_eq!(validate(&[0x00, 0x53, 0x24, 0x45]), Ok(4));
    assert_eq!(validate(&[0xc0, 4, 2, 0x41, 0x52, 7]), Ok(6));
}

#[test]
fn nothing_is_no_value() {
    assert!(validate(&[]).is_err());
}

#[test]
fn an_undefined_constructor_is_refused() {
    for code in [0x01, 0x3f, 0x46, 0x57, 0x62, 0x75, 0x85, 0x99, 0xa2, 0xb4, 0xc2, 0xd2, 0xe1, 0xf1, 0xff] {
        let bytes = [&[code][..], &[0; 32]].concat();
        assert_eq!(validate(&bytes), Err(DecodeError::Constructor { code }), "0x{code:02x}");
    }
}

#[test]
fn four_billion_elements_in_ten_bytes_are_refused() {
    let list = [0xd0, 0, 0, 0, 10, 0xff, 0xff, 0xff, 0xff, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40];
    assert!(matches!(validate(&list), Err(DecodeError::Count { .. })));
    let nulls = [0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
    assert!(matches!(validate(&nulls), Err(DecodeError::Count { .. })));
    let uints = [0xf0, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0x70, 0, 0, 0, 0];
    assert!(matches!(validate(&uints), Err(DecodeError::Count { .. })));
}

#[test]
fn elements_without_bytes_are_bounded_over_all_arrays_together() {
    let array = [0xe0, 2, 255, 0x40];
    assert_eq!(validate(&array), Ok(4));
    let many: Vec<u8> = array.repeat(60);
    let mut list = vec![0xc0, many.len() as u8 + 1, 60];
    list.extend_from_slice(&many);
    assert!(matches!(validate(&list), Err(DecodeError::Count { .. })));
}

#[test]
fn nesting_is_bounded_for_every_kind_of_compound() {
    // Described values, each inside the other.
    let described = |depth: usize| [[0x00, 0x53, 0x01].repeat(depth), vec![0x40]].concat();
    assert!(validate(&described(MAX_VALUE_DEPTH)).is_ok());
    assert_eq!(validate(&described(MAX_VALUE_DEPTH + 1)), Err(DecodeError::TooDeep { max: MAX_VALUE_DEPTH }));
    assert!(validate(&described(1_000_000)).is_err());
    // Described descriptors.
    assert!(validate(&[0x00; 100_000]).is_err());
    // Lists.
    let list = |depth: usize| {
        (0..depth).fold(vec![0x40], |inner, _| {
            let size = (inner.len() as u32 + 4).to_be_bytes();
            [&[0xd0][..], &size, &[0, 0, 0, 1], &inner].concat()
        })
    };
    assert!(validate(&list(MAX_VALUE_DEPTH)).is_ok());
    assert!(validate(&list(MAX_VALUE_DEPTH + 1)).is_err());
    // Arrays of arrays.
    let array = |depth: usize| {
        (0..depth).fold(vec![0x40], |inner, _| {
            let size = (inner.len() as u32 + 4).to_be_bytes();
            [&[0xf0][..], &size, &[0, 0, 0, 1], &inner].concat()
        })
    };
    assert!(validate(&array(8)).is_ok());
    assert!(validate(&array(MAX_VALUE_DEPTH + 2)).is_err());
}

#[test]
fn a_size_that_is_not_met_is_refused() {
    assert!(validate(&[0xc0, 3, 1, 0x40, 0x40]).is_err(), "an element too few");
    assert!(validate(&[0xc0, 2, 2, 0x40]).is_err(), "an element too many");
    assert!(validate(&[0xc0, 2, 1, 0x52, 7]).is_err(), "an element across the end");
    assert!(validate(&[0xc0, 0]).is_err(), "no room for the count");
    assert!(validate(&[0xe0, 4, 1, 0x50, 1, 2]).is_err(), "elements of fixed width that leave a rest");
    assert!(validate(&[0xc0, 2, 0, 0x40]).is_err(), "an empty list with something in it");
}

#[test]
fn a_map_has_a_value_for_each_key() {
    assert_eq!(validate(&[0xc1, 2, 1, 0x40]), Err(DecodeError::OddMap { count: 1 }));
    assert_eq!(validate(&[0xc1, 3, 2, 0x40, 0x40]), Ok(5));
    assert_eq!(validate(&[0xc1, 1, 0]), Ok(3));
}

#[test]
fn text_is_what_it_claims_to_be() {
    assert_eq!(validate(&[0xa1, 2, 0xc3, 0xa4]), Ok(4));
    assert!(validate(&[0xa1, 2, 0xc3, 0x28]).is_err());
    assert!(validate(&[0xa3, 2, 0xc3, 0xa4]).is_err());
    assert!(validate(&[0xb3, 0, 0, 0, 1, 0x80]).is_err());
    assert_eq!(validate(&[0xa0, 2, 0xc3, 0x28]), Ok(4));
}

#[test]
fn booleans_and_characters_are_in_range() {
    assert!(validate(&[0x56, 2]).is_err());
    assert!(validate(&[0x73, 0, 0, 0xd8, 0]).is_err());
    assert_eq!(validate(&[0x73, 0, 1, 0xf6, 0]), Ok(5));
    assert!(validate(&[0xe0, 3, 1, 0x56, 2]).is_err(), "in an array");
}

#[test]
fn arrays_of_every_kind_are_read() {
    assert_eq!(validate(&[0xe0, 6, 2, 0xa3, 1, b'a', 1, b'b']), Ok(8), "symbols");
    assert!(validate(&[0xe0, 6, 2, 0xa3, 1, b'a', 1, 0x80]).is_err(), "symbols, one not ascii");
    assert_eq!(validate(&[0xe0, 5, 2, 0x00, 0x53, 1, 0x45]), Ok(7), "described empty lists");
    assert_eq!(validate(&[0xe0, 6, 2, 0xc0, 1, 0, 1, 0]), Ok(8), "empty lists");
    assert_eq!(validate(&[0xe0, 2, 0, 0xa3]), Ok(4), "empty, with constructor");
    assert_eq!(validate(&[0xe0, 1, 0]), Ok(3), "empty, as serde_amqp writes it");
}
