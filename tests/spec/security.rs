//! 5.3 SASL: frames, negotiation, mechanisms.

use verdict::amqp::{ClientSasl, Config};

use crate::{
    frames::{AMQP, Frame, SASL, begin, data, frame, new, open, raw_frame, sasl_frame},
    peer::{Peer, config},
    subject::{Subject, Whole},
    value::{V, symbol, symbols},
};

fn init(mechanism: &str, response: &[u8]) -> crate::value::Composite {
    new("sasl-init").with("mechanism", symbol(mechanism)).with("initial-response", response)
}

/// A broker that knows alice, with the SASL header exchanged and its mechanisms read.
fn greeted(anonymous: bool) -> (Peer<Whole>, Frame) {
    let mechanisms = if anonymous { vec!["ANONYMOUS".into(), "PLAIN".into()] } else { vec!["PLAIN".into()] };
    let mut peer = Peer::broker_with(Config { mechanisms, allow_bare: anonymous, ..config() });
    peer.send_bytes(&SASL);
    peer.expect_header(SASL);
    let mechanisms = peer.expect("sasl-mechanisms");
    peer.silent();
    (peer, mechanisms)
}

fn outcome(peer: &mut Peer<Whole>) -> u8 {
    let outcome = peer.expect("sasl-outcome");
    assert_eq!(outcome.kind, 1);
    assert!(outcome.size <= 512);
    let V::Ubyte(code) = outcome.get("code") else { panic!("{outcome:?}") };
    *code
}

/// The exchange must have failed for this code, and the socket been closed with nothing said after.
fn denied(peer: &mut Peer<Whole>, code: u8) {
    assert_eq!(outcome(peer), code);
    peer.silent();
    assert!(peer.subject.is_finished());
}

fn authenticated(peer: &mut Peer<Whole>) {
    assert_eq!(outcome(peer), 0);
    peer.silent();
    peer.open();
    peer.begin(0);
}

/// 5.3.2 "The peer acting as the SASL server MUST announce supported authentication mechanisms using the sasl-mechanisms
/// frame." 5.3.3.1 "It is invalid for this list to be null or empty. [...] The server mechanisms are ordered in decreasing
/// level of preference."
#[test]
fn mechanisms_are_announced_in_a_sasl_frame() {
    let (_, frame) = greeted(true);
    assert_eq!((frame.kind, frame.channel), (1, 0));
    assert!(frame.size <= 512);
    assert_eq!(frame.get("sasl-server-mechanisms").symbols(), ["ANONYMOUS", "PLAIN"]);
    let (_, frame) = greeted(false);
    assert_eq!(frame.get("sasl-server-mechanisms").symbols(), ["PLAIN"]);
}

/// 5.3.2 The SASL client "MUST then choose one of the supported mechanisms and initiate a sasl exchange." 5.3.3.5 "Upon
/// successful completion of the SASL dialog the security layer has been established, and the peers MUST exchange protocol
/// headers to either start a nested security layer, or to establish the AMQP connection."
#[test]
fn anonymous_is_let_in_with_or_without_a_trace() {
    for sent in [
        new("sasl-init").with("mechanism", symbol("ANONYMOUS")),
        init("ANONYMOUS", b""),
        init("ANONYMOUS", b"me@here"),
    ] {
        let (mut peer, _) = greeted(true);
        peer.send_bytes(&sasl_frame(&sent));
        authenticated(&mut peer);
    }
}

/// RFC 4616: [authzid] NUL authcid NUL password. 5.3.3.6 code 0: "Connection authentication succeeded."
#[test]
fn plain_with_the_right_password_is_let_in() {
    for response in [&b"\0alice\0secret"[..], b"alice\0alice\0secret"] {
        let (mut peer, _) = greeted(false);
        peer.send_bytes(&sasl_frame(&init("PLAIN", response).with("hostname", "broker.example")));
        authenticated(&mut peer);
        assert_eq!(peer.subject.container.peer().user, "alice");
    }
}

/// 5.3.3.6 code 1: "Connection authentication failed due to an unspecified problem with the supplied credentials": which part
/// of them was wrong is not told.
#[test]
fn plain_with_anything_else_fails_alike() {
    for response in [
        &b"\0alice\0wrong"[..],
        b"\0bob\0secret",
        b"\0alice\0",
        b"\0\0",
        b"",
        b"alice",
        b"\0alice",
        b"\0alice\0secret\0",
        b"\0ALICE\0secret",
        b"\xff\0\xfe\0\xfd",
        &[0; 300],
    ] {
        let (mut peer, _) = greeted(false);
        peer.send_bytes(&sasl_frame(&init("PLAIN", response)));
        denied(&mut peer, 1);
    }
}

/// 5.3.3.2 initial-response may be left out; PLAIN has nothing to judge then.
#[test]
fn plain_without_a_response_is_not_let_in() {
    let (mut peer, _) = greeted(false);
    peer.send_bytes(&sasl_frame(&new("sasl-init").with("mechanism", symbol("PLAIN"))));
    let first = peer.next().expect("an answer");
    match first.name() {
        // RFC 4422: an empty challenge asks for the response.
        "sasl-challenge" => {
            peer.send_bytes(&sasl_frame(&new("sasl-response").with("response", &b"\0alice\0wrong"[..])));
            denied(&mut peer, 1);
        }
        "sasl-outcome" => assert_ne!(first.get("code"), &V::Ubyte(0)),
        other => panic!("{other}"),
    }
    assert!(peer.subject.is_finished());
}

/// 5.3.3.2 "If the selected mechanism is not supported by the receiving peer, it MUST close the connection with the
/// authentication-failure close-code."
#[test]
fn a_mechanism_that_was_not_offered_fails() {
    for mechanism in ["ANONYMOUS", "EXTERNAL", "SCRAM-SHA-256", "plain", "", "x y"] {
        let (mut peer, _) = greeted(false);
        peer.send_bytes(&sasl_frame(&init(mechanism, b"\0alice\0secret")));
        denied(&mut peer, 1);
    }
}

/// 5.3.1 "The maximum size of a SASL frame is defined by MIN-MAX-FRAME-SIZE."
#[test]
fn a_sasl_frame_above_512_octets_ends_the_connection() {
    let (mut peer, _) = greeted(true);
    peer.send_bytes(&sasl_frame(&init("ANONYMOUS", &[b'x'; 600])));
    assert!(peer.subject.is_finished());
    assert!(peer.next().is_none_or(|frame| frame.get("code") != &V::Ubyte(0)));
}

/// 5.3.1 As above: 512 octets are fine.
#[test]
fn a_sasl_frame_of_512_octets_is_taken() {
    let size = |len: usize| sasl_frame(&init("ANONYMOUS", &vec![b'x'; len])).len();
    let len = (400..512).find(|len| size(*len) == 512).expect("a length that fits");
    let (mut peer, _) = greeted(true);
    peer.send_bytes(&sasl_frame(&init("ANONYMOUS", &vec![b'x'; len])));
    authenticated(&mut peer);
}

/// 5.3.1 "Bytes 6 and 7 of the header are ignored. [...] The extended header is ignored."
#[test]
fn channel_and_extended_header_of_a_sasl_frame_are_ignored() {
    let (mut peer, _) = greeted(true);
    let body = init("ANONYMOUS", b"").encode();
    let mut bytes = (body.len() as u32 + 12).to_be_bytes().to_vec();
    bytes.extend([3, 1, 0xab, 0xcd]);
    bytes.extend([1, 2, 3, 4]);
    bytes.extend(body);
    peer.send_bytes(&bytes);
    authenticated(&mut peer);
}

/// 5.3.1 "Receipt of an empty frame is an irrecoverable error."
#[test]
fn an_empty_sasl_frame_ends_the_connection() {
    let (mut peer, _) = greeted(true);
    peer.send_bytes(&raw_frame(1, 0, &[]));
    assert!(peer.subject.is_finished());
}

/// 5.3.1 "A SASL frame has a type code of 0x01": an AMQP frame before the layer is established is none.
#[test]
fn an_amqp_frame_during_sasl_ends_the_connection() {
    for bytes in [frame(0, &open()), raw_frame(0, 0, &init("ANONYMOUS", b"").encode()), raw_frame(0, 0, &[])]
    {
        let (mut peer, _) = greeted(true);
        peer.send_bytes(&bytes);
        assert!(peer.subject.is_finished());
        assert!(peer.drain().iter().all(|frame| frame.name() != "open" && frame.get("code") != &V::Ubyte(0)));
    }
}

/// 5.3.2 The exchange has its order: a response without a challenge, a second init, and what only a server sends are out of it.
#[test]
fn sasl_frames_out_of_order_end_the_connection() {
    for body in [
        new("sasl-response").with("response", &b"x"[..]),
        new("sasl-challenge").with("challenge", &b"x"[..]),
        new("sasl-outcome").with("code", V::Ubyte(0)),
        new("sasl-mechanisms").with("sasl-server-mechanisms", symbol("PLAIN")),
        new("sasl-init"),
        open(),
    ] {
        let (mut peer, _) = greeted(true);
        peer.send_bytes(&sasl_frame(&body));
        assert!(peer.subject.is_finished(), "{body:?}");
        assert!(peer.drain().iter().all(|frame| frame.get("code") != &V::Ubyte(0)));
    }
}

/// 5.3.3.5 After the outcome come protocol headers: frames, SASL or AMQP, do not.
#[test]
fn after_the_outcome_only_a_header_is_taken() {
    for bytes in [sasl_frame(&init("ANONYMOUS", b"")), frame(0, &open())] {
        let (mut peer, _) = greeted(true);
        peer.send_bytes(&sasl_frame(&init("ANONYMOUS", b"")));
        assert_eq!(outcome(&mut peer), 0);
        peer.send_bytes(&bytes);
        assert_eq!(peer.take_bytes(), AMQP);
        assert!(peer.subject.is_finished());
    }
}

/// 5.3.3.5 "either start a nested security layer": a second SASL layer is none that we have.
#[test]
fn a_second_sasl_layer_is_answered_with_the_amqp_header() {
    let (mut peer, _) = greeted(true);
    peer.send_bytes(&sasl_frame(&init("ANONYMOUS", b"")));
    assert_eq!(outcome(&mut peer), 0);
    peer.send_bytes(&SASL);
    assert_eq!(peer.take_bytes(), AMQP);
    assert!(peer.subject.is_finished());
}

/// 2.4.2 with 5.3: "pipelined frames" of a client that knows what it will be offered: everything at once is answered as if
/// it had come bit by bit.
#[test]
fn a_client_may_pipeline_sasl_and_open() {
    for chunk in [1, 5, usize::MAX] {
        let (mut peer, _) = greeted(true);
        peer.chunk = chunk;
        let bytes = [
            sasl_frame(&init("PLAIN", b"\0alice\0secret")),
            AMQP.to_vec(),
            frame(0, &open()),
            frame(0, &begin()),
            frame(0, &crate::frames::attach_sender("x", 0, "q")),
        ];
        peer.send_bytes(&bytes.concat());
        assert_eq!(outcome(&mut peer), 0);
        peer.expect_header(AMQP);
        peer.expect("open");
        peer.expect("begin");
        peer.expect("attach");
        peer.publish(0, 0, 0, &data(b"x"));
        assert_eq!(peer.expect("disposition").inner("state").name(), "accepted");
    }
}

/// As above, header and all from the first byte on; and nothing of it is looked at when the password was wrong.
#[test]
fn what_was_pipelined_behind_a_wrong_password_is_not_looked_at() {
    let mut peer =
        Peer::broker_with(Config { mechanisms: vec!["PLAIN".into()], allow_bare: false, ..config() });
    let bytes = [
        SASL.to_vec(),
        sasl_frame(&init("PLAIN", b"\0alice\0wrong")),
        AMQP.to_vec(),
        frame(0, &open()),
        frame(0, &begin()),
        frame(0, &crate::frames::attach_sender("x", 0, "q")),
    ];
    peer.send_bytes(&bytes.concat());
    peer.expect_header(SASL);
    peer.expect("sasl-mechanisms");
    denied(&mut peer, 1);
    assert!(peer.subject.house.borrow().asked.is_empty());
}

/// 5.3.2 "The peer playing the role of the SASL client and the peer playing the role of the SASL server MUST correspond to the
/// TCP client and server respectively." As a client we choose from what is offered.
#[test]
fn as_client_we_choose_plain_and_go_on_when_it_is_accepted() {
    let sasl = ClientSasl::Plain { user: "alice".into(), password: "secret".into() };
    let mut peer = Peer::client(config(), sasl);
    peer.expect_header(SASL);
    peer.silent();
    let offer = new("sasl-mechanisms")
        .with("sasl-server-mechanisms", symbols(&["SCRAM-SHA-256", "PLAIN", "ANONYMOUS"]));
    peer.send_bytes(&[&SASL[..], &sasl_frame(&offer)].concat());
    let bytes = peer.take_bytes();
    let mut body = &bytes[8..];
    let V::Composite(sent) = crate::value::decode(&mut body) else { panic!("{bytes:02x?}") };
    assert_eq!((sent.name(), sent.get("mechanism")), ("sasl-init", &symbol("PLAIN")));
    assert_eq!(sent.get("initial-response"), &V::Binary(b"\0alice\0secret".to_vec()));
    peer.send_bytes(&sasl_frame(&new("sasl-outcome").with("code", V::Ubyte(0))));
    peer.expect_header(AMQP);
    peer.expect("open");
}

/// 5.3.3.2 As a client: a mechanism that was not offered is not chosen, and a failed outcome ends it.
#[test]
fn as_client_we_give_up_without_a_mechanism_or_with_a_failed_outcome() {
    let sasl = || ClientSasl::Plain { user: "alice".into(), password: "secret".into() };
    let mut peer = Peer::client(config(), sasl());
    peer.expect_header(SASL);
    let offer = new("sasl-mechanisms").with("sasl-server-mechanisms", symbol("EXTERNAL"));
    peer.send_bytes(&[&SASL[..], &sasl_frame(&offer)].concat());
    peer.silent();
    assert!(peer.subject.is_finished());

    let mut peer = Peer::client(config(), sasl());
    peer.expect_header(SASL);
    let offer = new("sasl-mechanisms").with("sasl-server-mechanisms", symbol("PLAIN"));
    peer.send_bytes(&[&SASL[..], &sasl_frame(&offer)].concat());
    peer.take_bytes();
    peer.send_bytes(&sasl_frame(&new("sasl-outcome").with("code", V::Ubyte(1))));
    peer.silent();
    assert!(peer.subject.is_finished());
}

/// 2.2 As a client: a server that answers with another header speaks another protocol.
#[test]
fn as_client_we_give_up_on_another_header() {
    for header in [SASL, *b"AMQP\x00\x00\x09\x01", *b"HTTP/1.1"] {
        let mut peer = Peer::client(config(), ClientSasl::Bare);
        peer.take_bytes();
        peer.send_bytes(&header);
        assert!(peer.subject.is_finished(), "{header:02x?}");
    }
}
