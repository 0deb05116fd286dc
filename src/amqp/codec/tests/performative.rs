//! Part 2.7: forms a performative may have.

use fe2o3_amqp_types::performatives::Close;

use super::{bytes, long_list, null, string, symbol};
use crate::amqp::codec::{
    DecodeError, Performative, SaslFrame, Transfer, code::descriptor, decode, decode_sasl, encode_close,
    encode_open, encode_sasl, encode_transfer,
};

#[test]
fn a_transfer_is_as_short_as_can_be() {
    let transfer = Transfer {
        handle: 0,
        delivery_id: Some(300),
        delivery_tag: Some(b"t"),
        settled: Some(true),
        ..Transfer::default()
    };
    let encoded = bytes(|out| encode_transfer(&transfer, out));
    let expected = [0x00, 0x53, 0x14, 0xc0, 12, 5, 0x43, 0x70, 0, 0, 1, 0x2c, 0xa0, 1, b't', 0x40, 0x41];
    assert_eq!(encoded, expected);
}

#[test]
fn the_payload_begins_behind_the_list() {
    let mut body = bytes(|out| encode_transfer(&Transfer { handle: 1, ..Transfer::default() }, out));
    let len = body.len();
    body.extend_from_slice(b"payload");
    let (performative, payload_at) = decode(&body).expect("transfer");
    assert_eq!(payload_at, len);
    assert!(matches!(performative, Performative::Transfer(Transfer { handle: 1, .. })));
}

#[test]
fn a_transfer_is_read_in_long_forms_with_unknown_fields_behind() {
    let fields = [
        vec![0x70, 0, 0, 0, 1],
        vec![0x52, 5],
        vec![0xb0, 0, 0, 0, 1, b't'],
        vec![0x43],
        vec![0x56, 1],
        vec![0x56, 0],
        vec![0x50, 1],
        null(),
        vec![0x42],
        vec![0x41],
        vec![0x41],
        symbol("from the future"),
        vec![0xc1, 1, 0],
    ];
    let body = long_list(descriptor::TRANSFER, &fields);
    let (performative, payload_at) = decode(&body).expect("transfer");
    assert_eq!(payload_at, body.len());
    let expected = Transfer {
        handle: 1,
        delivery_id: Some(5),
        delivery_tag: Some(b"t"),
        message_format: Some(0),
        settled: Some(true),
        rcv_settle_mode: Some(1),
        aborted: true,
        batchable: true,
        ..Transfer::default()
    };
    assert_eq!(performative, Performative::Transfer(expected));
}

#[test]
fn symbolic_descriptors_are_read() {
    let body = [&[0x00][..], &symbol("amqp:transfer:list"), &[0xc0, 2, 1, 0x43]].concat();
    assert!(matches!(decode(&body), Ok((Performative::Transfer(_), _))));
    let body = [&[0x00][..], &symbol("amqp:close:list"), &[0x45]].concat();
    assert!(matches!(decode(&body), Ok((Performative::Close(_), _))));
}

#[test]
fn a_mandatory_field_left_out_or_null_is_missed() {
    for (descriptor, field) in [
        (descriptor::TRANSFER, "transfer.handle"),
        (descriptor::DISPOSITION, "disposition.role"),
        (descriptor::DETACH, "detach.handle"),
        (descriptor::OPEN, "open.container-id"),
        (descriptor::ATTACH, "attach.name"),
    ] {
        assert_eq!(decode(&[0x00, 0x53, descriptor, 0x45]), Err(DecodeError::Missing { field }));
        assert_eq!(decode(&[0x00, 0x53, descriptor, 0xc0, 2, 1, 0x40]), Err(DecodeError::Missing { field }));
    }
    let missing = Err(DecodeError::Missing { field: "flow.incoming-window" });
    assert_eq!(decode(&[0x00, 0x53, descriptor::FLOW, 0x45]), missing);
}

#[test]
fn a_field_of_the_wrong_type_is_an_error() {
    let body = long_list(descriptor::TRANSFER, &[string("1")]);
    let error = decode(&body).expect_err("a string as handle");
    assert_eq!(error.to_string(), "transfer.handle: got constructor 0xa1, expected uint");
    assert!(!error.is_framing());
}

#[test]
fn what_is_no_performative_is_an_error() {
    assert!(decode(&[]).is_err());
    assert!(decode(&[0x45]).is_err());
    assert!(decode(&[0x00]).is_err());
    assert!(decode(&[0x00, 0x53]).is_err());
    assert!(decode(&[0x00, 0x53, 0x24, 0x45]).is_err());
    assert!(decode(&[0x00, 0xa3, 3, b'a', b'b', b'c', 0x45]).is_err());
    assert!(decode(&[0x00, 0x53, 0x14, 0x41]).is_err());
}

#[test]
fn deep_nesting_in_open_is_refused_without_recursion() {
    let deep = [[0x00, 0x53, 0x01].repeat(100_000), vec![0x40]].concat();
    let map = bytes(|out| crate::amqp::codec::write::map(out, 2, &[symbol("k"), deep].concat()));
    let fields = [string("c"), null(), null(), null(), null(), null(), null(), null(), null(), map];
    assert!(matches!(decode(&long_list(descriptor::OPEN, &fields)), Err(DecodeError::TooDeep { .. })));
}

#[test]
fn a_multiple_field_is_one_symbol_an_array_or_nothing() {
    let capabilities = |field: Vec<u8>| {
        let fields = [string("c"), null(), null(), null(), null(), null(), null(), field];
        match decode(&long_list(descriptor::OPEN, &fields)).expect("open").0 {
            Performative::Open(open) => open.offered_capabilities.map(|names| names.into_inner()),
            other => panic!("{other:?}"),
        }
    };
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).into()).collect());
    assert_eq!(capabilities(symbol("a")), names(&["a"]));
    assert_eq!(capabilities(vec![0xe0, 6, 2, 0xa3, 1, b'a', 1, b'b']), names(&["a", "b"]));
    assert_eq!(capabilities(vec![0xe0, 2, 0, 0xa3]), None);
    assert_eq!(capabilities(vec![0xe0, 1, 0]), None);
    assert_eq!(capabilities(null()), None);
}

#[test]
fn an_odd_error_does_not_keep_a_peer_from_closing() {
    let body = long_list(descriptor::CLOSE, &[long_list(descriptor::ERROR, &[])]);
    assert!(matches!(decode(&body), Ok((Performative::Close(close), _)) if close.error.is_some()));
    let body = long_list(descriptor::CLOSE, &[string("oops")]);
    assert!(matches!(decode(&body), Ok((Performative::Close(close), _)) if close.error.is_none()));
    assert_eq!(bytes(|out| encode_close(&Close { error: None }, out)), [0x00, 0x53, 0x18, 0x45]);
}

#[test]
fn an_open_never_holds_an_empty_array() {
    let body = long_list(descriptor::OPEN, &[string("c")]);
    let Performative::Open(mut open) = decode(&body).expect("open").0 else { panic!("not an open") };
    open.offered_capabilities = Some(Vec::new().into());
    open.desired_capabilities = Some(Vec::new().into());
    assert_eq!(bytes(|out| encode_open(&open, out)), [0x00, 0x53, 0x10, 0xc0, 4, 1, 0xa1, 1, b'c']);
}

#[test]
fn sasl_frames_come_back_as_they_went() {
    for frame in [
        SaslFrame::Mechanisms(vec!["PLAIN".into(), "ANONYMOUS".into()]),
        SaslFrame::Mechanisms(vec!["PLAIN".into()]),
        SaslFrame::Init { mechanism: "PLAIN".into(), response: Some(b"\0u\0p".to_vec()), hostname: None },
        SaslFrame::Init { mechanism: "ANONYMOUS".into(), response: None, hostname: Some("h".into()) },
        SaslFrame::Challenge(vec![1; 300]),
        SaslFrame::Response(Vec::new()),
        SaslFrame::Outcome { code: 1, additional: None },
    ] {
        assert_eq!(decode_sasl(&bytes(|out| encode_sasl(&frame, out))), Ok(frame));
    }
}

#[test]
fn mechanisms_may_be_a_single_symbol() {
    let body = long_list(descriptor::SASL_MECHANISMS, &[symbol("EXTERNAL")]);
    assert_eq!(decode_sasl(&body), Ok(SaslFrame::Mechanisms(vec!["EXTERNAL".into()])));
}

#[test]
fn a_sasl_frame_has_no_payload_and_no_other_type() {
    assert!(decode_sasl(&[0x00, 0x53, 0x44, 0xc0, 3, 1, 0x50, 0, 0xff]).is_err());
    assert!(decode_sasl(&[0x00, 0x53, 0x10, 0x45]).is_err());
    assert!(decode_sasl(&[]).is_err());
}
