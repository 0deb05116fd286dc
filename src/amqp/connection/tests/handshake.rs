//! Headers, SASL, open, close, silence.

use super::*;
use crate::amqp::connection::handshake::{AMQP_HEADER, SASL_HEADER};

fn opened(event: &Event) -> Option<String> {
    match event {
        Event::Opened(open) => Some(open.container_id.clone()),
        _ => None,
    }
}

fn plain() -> ClientSasl {
    ClientSasl::Plain { user: "u".to_owned(), password: "p".to_owned() }
}

#[test]
fn bare_sasl_anonymous_and_plain_clients_open() {
    for (sasl, chunk) in [
        (ClientSasl::Bare, usize::MAX),
        (ClientSasl::Anonymous, usize::MAX),
        (plain(), usize::MAX),
        (plain(), 1),
        (ClientSasl::Bare, 3),
    ] {
        let mut pair = Pair::new(config("client"), config("server"), sasl);
        pair.chunk = chunk;
        pair.run();
        assert_eq!(pair.client.expect("opened", opened), "server");
    }
}

#[test]
fn plain_response_reaches_the_application_and_a_wrong_one_is_refused() {
    let mut pair = Pair::new(config("client"), config("server"), plain());
    pair.auto = false;
    pair.run();
    let (mechanism, response) = pair.server.expect("sasl init", |event| match event {
        Event::SaslInit { mechanism, response, .. } => Some((mechanism.clone(), response.clone())),
        _ => None,
    });
    assert_eq!((mechanism.as_str(), response.as_slice()), ("PLAIN", b"\0u\0p".as_slice()));
    pair.server.engine.sasl_outcome(1);
    pair.run();
    assert_eq!(pair.server.expect("closed", closed), (false, false, None));
    assert!(pair.server.engine.is_finished());
    let refused = Some("amqp:unauthorized-access".to_owned());
    assert_eq!(pair.client.expect("closed", closed), (false, true, refused));
}

#[test]
fn a_challenge_is_answered_by_a_response_event() {
    let mut server = Connection::server(config("server"), Millis(0));
    let mut input = SASL_HEADER.to_vec();
    let init = crate::amqp::codec::SaslFrame::Init { mechanism: "X".into(), response: None, hostname: None };
    let response = crate::amqp::codec::SaslFrame::Response(vec![7]);
    for frame in [init, response] {
        let start = crate::amqp::codec::frame_start(&mut input, crate::amqp::codec::FrameKind::Sasl, 0);
        crate::amqp::codec::encode_sasl(&frame, &mut input);
        crate::amqp::codec::frame_end(&mut input, start);
    }
    assert_eq!(server.handle_input(&input, Millis(0)), input.len());
    assert!(matches!(server.poll_event(), Some(Event::SaslInit { .. })));
    assert!(server.poll_event().is_none(), "the response waits for the challenge");
    server.sasl_challenge(b"c");
    assert!(matches!(server.poll_event(), Some(Event::SaslResponse { response }) if response == [7]));
}

#[test]
fn nothing_behind_an_open_is_told_before_the_application_opens() {
    let bytes = {
        let mut client = Connection::client(config("client"), ClientSasl::Bare, Millis(0));
        let session = client.begin();
        client.attach(session, attach("q", Role::Sender));
        client.out.release();
        client.out.pending().to_vec()
    };
    for cut in 0..=bytes.len() {
        let mut server = Connection::server(config("server"), Millis(0));
        let (a, b) = bytes.split_at(cut);
        let used = server.handle_input(a, Millis(0));
        let mut rest = a[used..].to_vec();
        rest.extend_from_slice(b);
        let used = server.handle_input(&rest, Millis(0));
        assert_eq!(used, rest.len());
        assert!(matches!(server.poll_event(), Some(Event::Opened(_))));
        assert!(server.poll_event().is_none());
        server.open();
        assert!(matches!(server.poll_event(), Some(Event::Begun { .. })), "cut at {cut}");
        assert!(matches!(server.poll_event(), Some(Event::Attach { .. })));
    }
}

#[test]
fn any_other_header_is_answered_with_the_sasl_header_and_the_end() {
    for header in [b"AMQP\x02\x01\x00\x00", b"AMQP\x00\x00\x09\x01", b"GET / HT", b"AMQP\x01\x01\x00\x00"] {
        for len in [5, 8] {
            let mut server = Connection::server(config("server"), Millis(0));
            server.handle_input(&header[..len], Millis(0));
            if len == 5 && header.starts_with(b"AMQP\x00") {
                continue;
            }
            assert_eq!(server.output(), SASL_HEADER, "{header:?}");
            server.consume_output(8, Millis(0));
            assert!(server.is_finished());
            assert!(matches!(server.poll_event(), Some(Event::Closed { clean: false, .. })));
        }
    }
}

#[test]
fn a_bare_header_is_refused_where_sasl_is_demanded() {
    let demanding = Config { allow_bare: false, ..config("server") };
    let mut server = Connection::server(demanding, Millis(0));
    server.handle_input(&AMQP_HEADER, Millis(0));
    assert_eq!(server.output(), SASL_HEADER);
}

#[test]
fn close_is_answered_and_both_sides_finish() {
    let mut pair = Pair::open();
    let (_, _) = pair.publisher(1);
    pair.client.engine.close(None);
    pair.run();
    assert_eq!(pair.server.expect("closed", closed), (true, true, None));
    assert_eq!(pair.client.expect("closed", closed), (true, false, None));
    assert!(pair.client.engine.is_finished() && pair.server.engine.is_finished());
}

#[test]
fn a_server_that_closes_instead_of_opening_opens_first() {
    let mut pair = Pair::new(config("client"), config("server"), ClientSasl::Bare);
    pair.auto = false;
    pair.run();
    pair.server.engine.close(Some(fe2o3_amqp_types::definitions::AmqpError::NotFound.into()));
    pair.run();
    pair.client.expect("opened", opened);
    assert_eq!(pair.client.expect("closed", closed), (true, true, Some("amqp:not-found".to_owned())));
}

#[test]
fn a_broken_frame_closes_the_connection_and_eof_ends_the_wait() {
    let mut pair = Pair::open();
    let (_, link) = pair.publisher(1);
    pair.server.engine.handle_input(b"\x00\x00\x00\x04\x02\x00\x00\x00", pair.now);
    pair.server.collect();
    assert_eq!(pair.server.expect("detached", detached).0, link);
    let framing = Some("amqp:connection:framing-error".to_owned());
    assert_eq!(pair.server.expect("closed", closed), (false, false, framing.clone()));
    pair.run();
    assert_eq!(pair.client.expect("closed", closed), (true, true, framing));
    assert!(pair.server.engine.is_finished());
}

#[test]
fn eof_tells_links_sessions_and_the_end() {
    let mut pair = Pair::open();
    let (_, link) = pair.consumer(10);
    pair.server.engine.send(link, message(1, b"a"));
    pair.server.engine.send(link, message(2, b"b"));
    pair.run();
    pair.server.engine.send(link, message(3, b"never encoded"));
    pair.server.engine.handle_eof(pair.now);
    pair.server.collect();
    assert_eq!(pair.server.expect("detached", detached), (link, false, None, vec![1, 2, 3]));
    pair.server.expect("ended", |event| matches!(event, Event::Ended { .. }).then_some(()));
    assert_eq!(pair.server.expect("closed", closed), (false, true, None));
    assert!(pair.server.engine.poll_event().is_none());
}

#[test]
fn heartbeats_keep_a_quiet_connection_and_silence_ends_it() {
    let impatient = Config { idle_timeout_ms: Some(1_000), ..config("server") };
    let mut pair = Pair::open_with(config("client"), impatient);
    for _ in 0..20 {
        pair.now = pair.client.engine.poll_timeout().expect("the client owes heartbeats");
        pair.client.engine.handle_timeout(pair.now);
        pair.server.engine.handle_timeout(pair.now);
        pair.run();
    }
    assert_eq!(pair.now, Millis(1_000 + 20 * 250), "half of the half that was announced");
    assert!(pair.server.events.is_empty());
    pair.now = pair.server.engine.poll_timeout().expect("the server watches");
    pair.server.engine.handle_timeout(pair.now);
    pair.run();
    let silent = Some("amqp:resource-limit-exceeded".to_owned());
    assert_eq!(pair.server.expect("closed", closed), (false, false, silent.clone()));
    assert_eq!(pair.client.expect("closed", closed), (true, true, silent));
}

#[test]
fn an_idle_connection_with_a_link_is_small() {
    let mut pair = Pair::open();
    pair.publisher(10);
    pair.server.engine.handle_timeout(pair.now);
    let engine = &pair.server.engine;
    assert!(size_of::<Connection>() < 1_024, "{}", size_of::<Connection>());
    let session = engine.sessions[0].as_deref().expect("session");
    let links = session.links.capacity() * 8 + size_of::<crate::amqp::link::Link>();
    let total = size_of::<crate::amqp::session::Session>()
        + links
        + engine.sessions.capacity() * 8
        + engine.events.capacity() * size_of::<Event>();
    assert!(total < 3 * 1_024, "{total}");
}

#[test]
fn closed_is_told_once_whatever_comes_behind_an_error() {
    let mut pair = Pair::open();
    for _ in 0..3 {
        pair.server.engine.handle_input(b"\x00\x00\x00\x04\x02\x00\x00\x00", pair.now);
    }
    pair.server.engine.handle_eof(pair.now);
    pair.server.engine.close(None);
    pair.server.collect();
    assert_eq!(pair.server.events.iter().filter(|event| closed(event).is_some()).count(), 1);
}

#[test]
fn input_kept_aside_is_given_back_once_it_can_be() {
    let mut pair = Pair::new(config("client"), config("server"), ClientSasl::Bare);
    pair.client.engine.begin();
    pair.client.engine.out.release();
    let mut bytes = pair.client.engine.output().to_vec();
    bytes.extend_from_slice(b"\x00\x00");
    let server = &mut pair.server.engine;
    assert_eq!(server.handle_input(&bytes, pair.now), bytes.len());
    server.open();
    assert_eq!(
        server.handle_input(b"\x00\x08", pair.now),
        2,
        "the rest is kept: it is older than this input"
    );
    assert_eq!(server.handle_input(b"\x02\x00\x00\x00\x00\x00\x00", pair.now), 4, "the new beginning is not");
    assert!(server.stash.is_empty());
}

#[test]
fn a_client_that_sends_ahead_of_the_applications_decision_without_end_is_closed() {
    let mut pair = Pair::new(config("client"), config("server"), ClientSasl::Bare);
    pair.auto = false;
    pair.run();
    for _ in 0..10 {
        pair.server.engine.handle_input(&[0; 64 * 1024], pair.now);
    }
    pair.server.collect();
    let limit = Some("amqp:resource-limit-exceeded".to_owned());
    assert_eq!(pair.server.expect("closed", closed), (false, false, limit));
}

#[test]
fn a_max_frame_size_below_512_is_refused() {
    let mut server = Connection::server(config("server"), Millis(0));
    let mut input = AMQP_HEADER.to_vec();
    let mut client = Connection::client(config("client"), ClientSasl::Bare, Millis(0));
    client.config.max_frame_size = 100;
    client.out.discard();
    client.write_open();
    input.extend_from_slice(client.out.pending());
    server.handle_input(&input, Millis(0));
    let error = server.poll_event().as_ref().and_then(closed);
    assert_eq!(error, Some((false, false, Some("amqp:invalid-field".to_owned()))));
}

#[test]
fn a_frame_before_open_and_a_second_open_are_illegal() {
    for opens in [0, 2] {
        let mut server = Connection::server(config("server"), Millis(0));
        let mut client = Connection::client(config("client"), ClientSasl::Bare, Millis(0));
        client.out.discard();
        (0..opens).for_each(|_| client.write_open());
        client.out.release();
        client.begin();
        server.handle_input(&[&AMQP_HEADER, client.out.pending()].concat(), Millis(0));
        server.open();
        let error = std::iter::from_fn(|| server.poll_event()).find_map(|event| closed(&event));
        assert_eq!(error, Some((false, false, Some("amqp:illegal-state".to_owned()))), "{opens} opens");
    }
}
