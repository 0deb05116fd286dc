//! 2.2 Version negotiation.

use crate::{
    frames::{AMQP, SASL, frame, open},
    peer::Peer,
    subject::Subject,
};

/// 2.2 "If the requested protocol version is supported, the server MUST send its own protocol header with the
/// requested version to the socket, and then proceed according to the protocol definition."
#[test]
fn the_header_of_amqp_1_0_0_is_answered_with_itself() {
    let mut peer = Peer::broker();
    peer.send_bytes(&AMQP);
    peer.expect_header(AMQP);
    peer.silent();
    assert!(!peer.subject.is_finished());
}

/// 2.2, as above, with protocol id three (5.3).
#[test]
fn the_header_of_sasl_is_answered_with_itself() {
    let mut peer = Peer::broker();
    peer.send_bytes(&SASL);
    peer.expect_header(SASL);
    peer.expect("sasl-mechanisms");
}

/// 2.2 "The AMQP peer which acted in the role of the TCP server MAY elect to wait until receiving the incoming
/// protocol header before sending its own outgoing protocol header."
#[test]
fn a_server_that_heard_nothing_says_nothing() {
    let mut peer = Peer::broker();
    peer.run();
    peer.silent();
}

/// 2.2 "If the requested protocol version is not supported, the server MUST send a protocol header with a
/// supported protocol version and then close the socket."
#[test]
fn other_versions_are_answered_with_ours_and_the_socket_is_closed() {
    for version in [[0, 9, 1], [1, 1, 0], [1, 0, 1], [2, 0, 0], [0, 0, 0], [255, 255, 255]] {
        for id in [0, 3] {
            let mut peer = Peer::broker();
            peer.send_bytes(&[&b"AMQP"[..], &[id], &version].concat());
            let got = peer.take_bytes();
            assert!(got == AMQP || got == SASL, "{id} {version:?}: {got:02x?}");
            assert!(peer.subject.is_finished(), "{id} {version:?}");
        }
    }
}

/// 2.2 "The server [...] MUST send a protocol header with an acceptable protocol id (and version) and then close
/// the socket. It MAY choose any protocol id."
#[test]
fn protocol_ids_we_do_not_have_are_answered_with_one_we_have() {
    // 1 was amqp 0-10's class, 2 is TLS (5.2.1).
    for id in [1, 2, 4, 255] {
        let mut peer = Peer::broker();
        peer.send_bytes(&[b'A', b'M', b'Q', b'P', id, 1, 0, 0]);
        let got = peer.take_bytes();
        assert!(got == AMQP || got == SASL, "{id}: {got:02x?}");
        assert!(peer.subject.is_finished(), "{id}");
    }
}

/// 2.2 "If the server can't parse the protocol header, the server MUST send a valid protocol header with a
/// supported protocol version and then close the socket."
#[test]
fn garbage_is_answered_with_a_valid_header_and_the_socket_is_closed() {
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0; 64],
        b"amqp\0\x01\0\0",
    ] {
        let mut peer = Peer::broker();
        peer.send_bytes(garbage);
        let got = peer.take_bytes();
        assert!(got == AMQP || got == SASL, "{got:02x?}");
        assert!(peer.subject.is_finished());
    }
}

/// 2.2 A stream has no boundaries: the header may come in any pieces.
#[test]
fn a_header_in_single_octets_is_a_header() {
    let mut peer = Peer::broker();
    peer.chunk = 1;
    peer.send_bytes(&AMQP[..7]);
    peer.silent();
    peer.send_bytes(&AMQP[7..]);
    peer.expect_header(AMQP);
    peer.send_bytes(&frame(0, &open()));
    peer.expect("open");
}

/// 2.2 What follows a header that is refused is never looked at: no frame is sent after ours.
#[test]
fn after_a_refused_header_only_our_header_is_sent() {
    let mut peer = Peer::broker();
    peer.send_bytes(&[&b"AMQP\x00\x00\x09\x01"[..], &frame(0, &open())].concat());
    assert_eq!(peer.take_bytes().len(), 8);
    assert!(peer.subject.is_finished());
}

/// 2.2 "In this case, the server MUST send a protocol header with an acceptable protocol id": where SASL is
/// required, only protocol id three is acceptable.
#[test]
fn a_bare_client_is_sent_the_sasl_header_where_sasl_is_required() {
    let mut config = crate::peer::config();
    config.allow_bare = false;
    let mut peer = Peer::broker_with(config);
    peer.send_bytes(&[&AMQP[..], &frame(0, &open())].concat());
    assert_eq!(peer.take_bytes(), SASL);
    assert!(peer.subject.is_finished());
}
