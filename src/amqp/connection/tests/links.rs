//! Attach, detach, sessions, and what a peer does wrong there.

use fe2o3_amqp_types::{definitions::AmqpError, performatives::Detach};

use super::*;
use crate::amqp::codec::{
    AttachFrame, Flow, FrameKind, Performative, Transfer, encode_attach, encode_detach, encode_flow,
    encode_transfer, frame_end, frame_start, parse_frame,
};

fn frame(channel: u16, encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame_start(&mut out, FrameKind::Amqp, channel);
    encode(&mut out);
    frame_end(&mut out, start);
    out
}

fn transfer(transfer: &Transfer<'_>, payload: &[u8]) -> Vec<u8> {
    frame(0, |out| {
        encode_transfer(transfer, out);
        out.extend_from_slice(payload);
    })
}

fn first(id: u32, more: bool) -> Transfer<'static> {
    Transfer { delivery_id: Some(id), delivery_tag: Some(b"t"), more, ..Transfer::default() }
}

/// What the server says to bytes that no client of ours would send: conditions of detach, end and close.
fn answer(pair: &mut Pair, bytes: &[u8]) -> Vec<String> {
    pair.server.engine.handle_input(bytes, pair.now);
    pair.server.collect();
    let output = pair.server.engine.output().to_vec();
    let (mut rest, mut conditions) = (output.as_slice(), Vec::new());
    while let Ok(crate::amqp::codec::Parsed::Frame { body, total, .. }) = parse_frame(rest, u32::MAX) {
        rest = &rest[total..];
        let Ok((performative, _)) = crate::amqp::codec::decode(body) else { continue };
        let (frame, error) = match performative {
            Performative::Detach(detach) => ("detach", detach.error),
            Performative::End(end) => ("end", end.error),
            Performative::Close(close) => ("close", close.error),
            _ => continue,
        };
        let condition = error.map_or_else(String::new, |error| condition(&error));
        conditions.push(format!("{frame} {condition}").trim_end().to_owned());
    }
    conditions
}

#[test]
fn one_name_serves_both_directions_in_one_session() {
    let mut pair = Pair::open();
    let session = pair.session();
    let (up, _) = pair.link(session, attach("same", Role::Sender));
    let (down, _) = pair.link(session, attach("same", Role::Receiver));
    assert_ne!(up, down);
}

#[test]
fn a_refused_attach_has_no_terminus_and_is_detached_with_the_error() {
    let mut pair = Pair::open();
    let session = pair.session();
    let ours = pair.client.engine.attach(session, attach("q", Role::Receiver));
    pair.run();
    let theirs = pair.server.expect("attach", |event| match event {
        Event::Attach { link, .. } => Some(*link),
        _ => None,
    });
    pair.server.engine.refuse_attach(theirs, AmqpError::NotFound.into());
    pair.run();
    let source = pair.client.expect("attached", |event| match event {
        Event::Attached { attach, .. } => Some(attach.source.clone()),
        _ => None,
    });
    assert_eq!(source, None);
    let not_found = Some("amqp:not-found".to_owned());
    assert_eq!(pair.client.expect("detached", detached), (ours, true, not_found, vec![]));
    assert!(!pair.server.events.iter().any(|event| detached(event).is_some()));
    // The handle is free again on both sides.
    pair.link(session, attach("q", Role::Receiver));
}

#[test]
fn detach_is_answered_with_the_same_closed_and_unsettled_tokens_are_told() {
    for closed in [true, false] {
        let mut pair = Pair::open();
        let (ours, theirs) = pair.consumer(10);
        (0..3).for_each(|token| pair.server.engine.send(theirs, message(token, b"x")));
        pair.run();
        pair.client.engine.dispose(ours, 1, 1, true, DeliveryState::Accepted);
        pair.client.engine.detach(ours, closed, None);
        pair.run();
        pair.server.expect("disposition", tokens);
        assert_eq!(pair.server.expect("detached", detached), (theirs, closed, None, vec![0, 2]));
        assert_eq!(pair.client.expect("detached", detached), (ours, closed, None, vec![]));
        assert!(pair.server.engine.names.is_empty() && pair.client.engine.names.is_empty());
    }
}

#[test]
fn what_is_queued_goes_out_before_our_detach() {
    let mut pair = Pair::open();
    let (publisher, _) = pair.publisher(10);
    pair.client.engine.send(publisher, message(1, b"last words"));
    pair.client.engine.detach(publisher, true, None);
    pair.run();
    assert_eq!(pair.server.messages().len(), 1);
    assert_eq!(pair.client.expect("detached", detached).3, [1]);
}

#[test]
fn a_name_attached_anew_steals_the_link_and_its_new_id_works() {
    let mut pair = Pair::open();
    let (_, theirs) = pair.publisher(10);
    let session = pair.session();
    // The client engine would not confuse itself: it is the server's view that counts.
    let (new, new_theirs) = pair.link(session, attach("q", Role::Sender));
    assert_ne!(theirs, new_theirs);
    pair.server.engine.set_credit(new_theirs, 1);
    pair.run();
    pair.client.engine.send(new, message(1, b"x"));
    pair.run();
    assert_eq!(pair.server.messages()[0].link, new_theirs);
    let stolen = pair.client.events.iter().find_map(detached);
    assert!(stolen.is_none() || stolen.is_some_and(|it| it.2.as_deref() == Some("amqp:link:stolen")));
    assert_eq!(pair.server.engine.names.len(), 1);
}

#[test]
fn a_stolen_link_is_told_with_its_condition() {
    let mut pair = Pair::open();
    let (_, theirs) = pair.publisher(10);
    let again = Attach { handle: 9.into(), initial_delivery_count: Some(0), ..attach("q", Role::Sender) };
    let bytes = frame(0, |out| encode_attach(&again, out));
    assert_eq!(answer(&mut pair, &bytes), ["detach amqp:link:stolen"]);
    assert_eq!(
        pair.server.expect("detached", detached),
        (theirs, true, Some("amqp:link:stolen".into()), vec![])
    );
    pair.server.expect("attach", |event| matches!(event, Event::Attach { .. }).then_some(()));
}

#[test]
fn an_ended_session_tells_its_links_and_its_channel_is_used_again() {
    let mut pair = Pair::open();
    for _ in 0..3 {
        let session = pair.session();
        let (ours, theirs) = pair.link(session, attach("q", Role::Sender));
        pair.client.engine.end(session, None);
        pair.run();
        assert_eq!(pair.server.expect("detached", detached).0, theirs);
        pair.server.expect("ended", |event| matches!(event, Event::Ended { .. }).then_some(()));
        assert_eq!(pair.client.expect("detached", detached).0, ours);
        pair.client.expect("ended", |event| matches!(event, Event::Ended { .. }).then_some(()));
        assert_eq!(pair.server.engine.sessions.iter().flatten().count(), 0);
    }
    assert_eq!(pair.server.engine.sessions.len(), 1);
}

#[test]
fn a_transfer_beyond_credit_costs_the_link_and_nothing_else() {
    let mut pair = Pair::open();
    pair.publisher(1);
    let two = [transfer(&first(0, false), b"a"), transfer(&first(1, false), b"b")].concat();
    assert_eq!(answer(&mut pair, &two), ["detach amqp:link:transfer-limit-exceeded"]);
    assert_eq!(pair.server.messages().len(), 1);
    // Up to its detach, what it sends is discarded.
    let (third, detach) = (
        transfer(&first(2, false), b"c"),
        frame(0, |out| encode_detach(&Detach { handle: 0.into(), closed: true, error: None }, out)),
    );
    pair.server.engine.consume_output(usize::MAX, pair.now);
    assert_eq!(answer(&mut pair, &[third, detach].concat()), Vec::<String>::new());
    assert!(pair.server.messages().is_empty() && pair.server.engine.names.is_empty());
}

#[test]
fn an_aborted_delivery_is_discarded_and_its_credit_used() {
    let mut pair = Pair::open();
    let (_, link) = pair.publisher(5);
    let aborted = Transfer { aborted: true, ..Transfer::default() };
    let bytes = [
        transfer(&first(0, true), b"half"),
        transfer(&aborted, b""),
        transfer(&first(1, true), b"ab"),
        transfer(&Transfer { settled: Some(true), ..Transfer::default() }, b"cd"),
    ]
    .concat();
    assert_eq!(answer(&mut pair, &bytes), Vec::<String>::new());
    let messages = pair.server.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!((&*messages[0].payload, messages[0].settled), (b"abcd".as_slice(), true));
    assert_eq!(pair.server.engine.credit_left(link), 3);
}

/// Each of these bytes, sent to a server with one link, makes it say this and nothing else.
fn check(cases: Vec<(&str, Vec<u8>, &str)>) {
    for (what, bytes, expected) in cases {
        let small = Config { max_message_size: 1_000, ..config("server") };
        let mut pair = Pair::open_with(config("client"), small);
        pair.publisher(10);
        assert_eq!(answer(&mut pair, &bytes), [expected], "{what}");
    }
}

#[test]
fn a_broken_delivery_closes_the_scope_it_belongs_to() {
    let zero = Transfer { handle: 0, ..Transfer::default() };
    check(vec![
        (
            "no id",
            transfer(&Transfer { delivery_tag: Some(b"t"), ..zero.clone() }, b""),
            "end amqp:invalid-field",
        ),
        (
            "no tag",
            transfer(&Transfer { delivery_id: Some(0), ..zero.clone() }, b""),
            "detach amqp:invalid-field",
        ),
        (
            "id again",
            [transfer(&first(4, false), b""), transfer(&first(4, false), b"")].concat(),
            "end amqp:invalid-field",
        ),
        (
            "id changed",
            [transfer(&first(4, true), b""), transfer(&first(5, false), b"")].concat(),
            "end amqp:invalid-field",
        ),
        (
            "tag changed",
            [
                transfer(&first(4, true), b""),
                transfer(&Transfer { delivery_tag: Some(b"u"), ..zero.clone() }, b""),
            ]
            .concat(),
            "detach amqp:invalid-field",
        ),
        (
            "second on first",
            transfer(&Transfer { rcv_settle_mode: Some(1), ..first(0, false) }, b""),
            "detach amqp:invalid-field",
        ),
        (
            "resume",
            transfer(&Transfer { resume: true, ..first(0, false) }, b""),
            "detach amqp:not-implemented",
        ),
        ("too large", transfer(&first(0, false), &[0; 2_000]), "detach amqp:link:message-size-exceeded"),
    ]);
}

#[test]
fn a_frame_out_of_place_closes_the_scope_it_belongs_to() {
    check(vec![
        (
            "unattached",
            transfer(&Transfer { handle: 7, ..first(0, false) }, b""),
            "end amqp:session:unattached-handle",
        ),
        (
            "flow unattached",
            frame(0, |out| encode_flow(&Flow { handle: Some(7), ..Flow::default() }, out)),
            "end amqp:session:unattached-handle",
        ),
        (
            "handle in use",
            frame(0, |out| encode_attach(&attach("other", Role::Sender), out)),
            "end amqp:session:handle-in-use",
        ),
        (
            "handle out of range",
            frame(0, |out| encode_attach(&Attach { handle: 5_000.into(), ..attach("o", Role::Sender) }, out)),
            "close amqp:connection:framing-error",
        ),
        ("unknown channel", frame(3, |out| encode_flow(&Flow::default(), out)), "close amqp:not-allowed"),
        (
            "channel out of range",
            frame(300, |out| encode_flow(&Flow::default(), out)),
            "close amqp:connection:framing-error",
        ),
        ("garbage", frame(0, |out| out.extend_from_slice(b"\xff\xff")), "close amqp:decode-error"),
    ]);
}

#[test]
fn a_transfer_beyond_the_session_window_ends_the_session() {
    let mut pair = Pair::open();
    pair.publisher(u32::MAX);
    let mut bytes = Vec::new();
    for id in 0..=crate::limits::SESSION_WINDOW {
        bytes.extend(transfer(&first(id, false), b""));
    }
    assert_eq!(answer(&mut pair, &bytes), ["end amqp:session:window-violation"]);
}

#[test]
fn a_peer_that_takes_one_handle_gets_no_second() {
    let mut pair = Pair::open_with(config("client"), Config { handle_max: 0, ..config("server") });
    let session = pair.session();
    pair.link(session, attach("a", Role::Sender));
    let second = pair.client.engine.attach(session, attach("b", Role::Sender));
    pair.client.collect();
    assert_eq!(pair.client.expect("detached", detached).0, second);
    pair.run();
}

#[test]
fn an_attach_with_what_the_codec_does_not_know_is_told_to_be_refused() {
    // The codec's tests hold what that is; here: a name longer than we keep.
    let mut pair = Pair::open();
    let session = pair.session();
    pair.client.engine.attach(session, attach(&"n".repeat(2_000), Role::Sender));
    pair.run();
    let refuse = pair.server.expect("attach", |event| match event {
        Event::Attach { refuse, .. } => Some(refuse.is_some()),
        _ => None,
    });
    assert!(refuse);
}

#[test]
fn a_message_to_a_link_that_was_just_detached_comes_back() {
    let mut pair = Pair::open();
    let (ours, theirs) = pair.consumer(10);
    pair.client.engine.detach(ours, true, None);
    let bytes = pair.client.engine.output().to_vec();
    pair.server.engine.handle_input(&bytes, pair.now);
    pair.server.engine.send(theirs, message(7, b"too late"));
    pair.server.collect();
    assert_eq!(pair.server.expect("detached", detached).3, [7]);
}

proptest::proptest! {
    /// No bytes, behind any handshake, panic or stall.
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), flip in 0usize..400) {
        let mut pair = Pair::open();
        pair.publisher(10);
        let mut input = [transfer(&first(0, true), b"abc"), transfer(&first(1, false), b"def")].concat();
        if let Some(byte) = input.get_mut(flip) {
            *byte ^= 0x55;
        }
        pair.server.engine.handle_input(&input, pair.now);
        pair.server.engine.handle_input(&bytes, pair.now);
        pair.server.collect();
        let _ = pair.server.engine.output();
        let _ = AttachFrame { attach: attach("x", Role::Sender), refuse: None };
    }
}

#[test]
fn a_peer_that_makes_us_answer_and_never_reads_is_closed_and_given_up() {
    let mut pair = Pair::open();
    let session = pair.session();
    pair.link(session, attach("q", Role::Sender));
    let again = frame(0, |out| encode_attach(&Attach { handle: 1.into(), ..attach("r", Role::Sender) }, out));
    let off = frame(0, |out| encode_detach(&Detach { handle: 1.into(), closed: true, error: None }, out));
    let both = [again, off].concat();
    for _ in 0..200_000 {
        pair.server.engine.handle_input(&both, pair.now);
        while pair.server.engine.poll_event().is_some_and(|event| !matches!(event, Event::Closed { .. })) {}
        if pair.server.engine.phase.is_closing() {
            break;
        }
    }
    assert!(pair.server.engine.phase.is_closing(), "it answers for ever");
    assert!(pair.server.engine.out.pending().len() < 5 * 1024 * 1024);
    let until = pair.server.engine.poll_timeout().expect("it does not wait for ever");
    pair.server.engine.handle_timeout(until);
    assert!(pair.server.engine.is_finished());
}

#[test]
fn of_a_link_that_failed_nothing_is_told_but_that_it_did() {
    let mut pair = Pair::open();
    let session = pair.session();
    let second = Attach { rcv_settle_mode: ReceiverSettleMode::Second, ..attach("q", Role::Sender) };
    let (_, link) = pair.link(session, second);
    pair.server.engine.set_credit(link, 1);
    let settled = crate::amqp::codec::Disposition {
        role: Role::Sender,
        first: 0,
        last: None,
        settled: true,
        state: None,
        batchable: false,
    };
    let bytes = [
        transfer(&first(0, false), b"a"),
        transfer(&first(1, false), b"beyond credit"),
        frame(0, |out| crate::amqp::codec::encode_disposition(&settled, out)),
    ]
    .concat();
    assert_eq!(answer(&mut pair, &bytes), ["detach amqp:link:transfer-limit-exceeded"]);
    assert_eq!(pair.server.messages().len(), 1);
    pair.server.expect("detached", detached);
    assert!(pair.server.events.is_empty(), "{:?}", pair.server.events);
}

#[test]
fn a_second_mode_sender_that_never_settles_loses_its_link() {
    let mut pair = Pair::open();
    let session = pair.session();
    let second = Attach { rcv_settle_mode: ReceiverSettleMode::Second, ..attach("q", Role::Sender) };
    let (_, link) = pair.link(session, second);
    let mut said = Vec::new();
    for id in 0..=crate::limits::SESSION_WINDOW {
        pair.server.engine.set_credit(link, 2);
        said.extend(answer(&mut pair, &transfer(&first(id, false), b"")));
        pair.server.engine.consume_output(usize::MAX, pair.now);
    }
    assert_eq!(said, ["detach amqp:resource-limit-exceeded"]);
}
