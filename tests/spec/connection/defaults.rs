//! 2.7, 2.8: what a field that is left out, or null, means.

use crate::{
    frames::{RECEIVER, attach_receiver, begin, data, new, open, transfer},
    peer::Peer,
    value::V,
};

/// 2.7.1 max-frame-size, default 4294967295: "the peer does not impose any specific limit".
#[test]
fn without_max_frame_size_frames_are_as_large_as_we_like() {
    let mut peer = Peer::broker();
    peer.open_with(&open().with("max-frame-size", V::Null));
    peer.begin(0);
    peer.receiver(0, 0, "q");
    peer.fill("q", &[data(&[1; 10_000])]);
    peer.credit(0, 0, 0, 1);
    let got = peer.expect("transfer");
    assert!(!got.flag("more"));
    assert!(got.size > 10_000);
}

/// 2.7.1 channel-max, default 65535; 2.7.2 handle-max, default 4294967295.
#[test]
fn without_channel_max_and_handle_max_many_sessions_and_links_are_fine() {
    let mut peer = Peer::engine();
    peer.open();
    for channel in 0..100 {
        peer.begin(channel);
    }
    for handle in 0..100 {
        peer.sender(3, handle, "q");
    }
    peer.quiet();
}

/// 2.3 With lists, "trailing nulls may be left out" (1.4): a performative with its nulls is the same one.
#[test]
fn trailing_nulls_may_be_written() {
    let mut peer = Peer::engine();
    let mut full = open();
    full.fields.resize(10, V::Null);
    peer.open_with(&full);
    let mut full = begin();
    full.fields.resize(8, V::Null);
    peer.begin_with(0, &full);
    let mut full = crate::frames::attach_sender("x", 0, "q");
    full.fields.resize(14, V::Null);
    peer.attach(0, &full);
    peer.grant(0, 1);
    let mut full = transfer(0, 0);
    full.fields.resize(11, V::Null);
    peer.send_with(0, &full, &data(b"x"));
    peer.quiet();
    assert_eq!(peer.messages().len(), 1);
}

/// 2.7.6 settled, default false; 2.7.4 drain and echo, default false; 2.7.7 closed, default false.
#[test]
fn flags_left_out_are_false() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"x")]);
    peer.attach(0, &attach_receiver("x", 0, "q").with("rcv-settle-mode", 1_u8));
    // Neither drained nor echoed: only the message comes.
    peer.credit(0, 0, 0, 5);
    peer.expect("transfer");
    peer.silent();
    // Not settled by us: the broker settles, as mode second wants it.
    peer.send(
        0,
        &new("disposition").with("role", RECEIVER).with("first", 0_u32).with("state", new("accepted")),
    );
    assert!(peer.expect("disposition").flag("settled"));
    peer.send(0, &new("detach").with("handle", 0_u32));
    assert!(!peer.expect("detach").flag("closed"));
}

/// 2.7.5 message-format: "This field MUST be specified for the first transfer of a multi-transfer message and can only be
/// omitted for continuation transfers." Clients that leave it out mean 0, which all messages have.
#[test]
fn without_message_format_a_message_is_of_format_0() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.send_with(0, &transfer(0, 0).with("message-format", V::Null), &data(b"x"));
    assert_eq!(peer.expect("disposition").inner("state").name(), "accepted");
    peer.receiver(0, 1, "q");
    peer.credit(0, 1, 0, 1);
    assert_eq!(peer.expect("transfer").uint("message-format"), 0);
}

/// 3.5.3 source: durable none, expiry-policy session-end, timeout 0, dynamic false; an empty list is all of it.
#[test]
fn an_empty_source_or_target_is_one_with_its_defaults() {
    let mut peer = Peer::ready();
    let attach = attach_receiver("x", 0, "q").with("target", V::Raw(vec![0x00, 0x53, 0x29, 0xc0, 1, 0]));
    let answer = peer.attach(0, &attach);
    let source = answer.inner("source");
    assert!(!source.flag("dynamic"));
    assert!(matches!(source.get("durable"), V::Null | V::Uint(0)));
}

/// 2.8.14 error.condition is mandatory, description and info are not.
#[test]
fn an_error_without_condition_is_no_error_of_ours() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.drain();
    peer.send(0, &crate::frames::detach(0).with("error", new("error").with("description", "no condition")));
    let answer = peer.next().expect("an answer");
    match answer.name() {
        "detach" => peer.usable(),
        "close" => assert!(["amqp:decode-error", "amqp:invalid-field"].contains(&answer.condition())),
        other => panic!("{other}"),
    }
}
