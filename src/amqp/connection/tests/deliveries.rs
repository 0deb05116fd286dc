//! Messages, credit, settlement.

use proptest::prelude::*;

use super::*;

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn messages_go_both_ways_and_are_settled_as_ranges() {
    let mut pair = Pair::open();
    let (publisher, incoming) = pair.publisher(100);
    for token in 0..10 {
        pair.client.engine.send(publisher, message(token, b"hello"));
    }
    pair.run();
    assert_eq!(pair.client.engine.take_sent(publisher), (10, 50));
    assert_eq!(pair.server.engine.credit_left(incoming), 90);
    let messages = pair.server.messages();
    assert_eq!(messages.len(), 10);
    assert!(messages.iter().all(|message| &*message.payload == b"hello" && message.link == incoming));
    for message in &messages {
        let id = message.delivery_id;
        pair.server.engine.dispose(incoming, id, id, true, DeliveryState::Accepted);
    }
    let before = pair.server.engine.output().len();
    assert!(before < 40, "ten answers are one frame: {before} bytes");
    pair.run();
    let (tokens, settled, state) = pair.client.expect("disposition", tokens);
    assert_eq!(tokens, (0..10).collect::<Vec<_>>());
    assert_eq!((settled, state), (true, Some(DeliveryState::Accepted)));
}

#[test]
fn answers_with_different_states_stay_apart_and_in_order() {
    let mut pair = Pair::open();
    let (publisher, incoming) = pair.publisher(100);
    (0..4).for_each(|token| pair.client.engine.send(publisher, message(token, b"x")));
    pair.run();
    let first = pair.server.messages()[0].delivery_id;
    pair.server.engine.dispose(incoming, first + 1, first + 1, true, DeliveryState::Released);
    pair.server.engine.dispose(incoming, first, first, true, DeliveryState::Accepted);
    pair.server.engine.dispose(incoming, first + 2, first + 3, true, DeliveryState::Accepted);
    pair.run();
    assert_eq!(pair.client.expect("a", tokens), (vec![1], true, Some(DeliveryState::Released)));
    assert_eq!(pair.client.expect("b", tokens), (vec![0, 2, 3], true, Some(DeliveryState::Accepted)));
}

/// Sends messages of many sizes from `from` to `to` and checks that they arrive whole.
fn exchange(client_max: u32, server_max: u32, chunk: usize, sizes: &[usize], first_id: u32) {
    let client = Config { max_frame_size: client_max, ..config("client") };
    let server = Config { max_frame_size: server_max, ..config("server") };
    let mut pair = Pair::open_with(client, server);
    pair.client.engine.count_from(first_id);
    pair.server.engine.count_from(first_id);
    pair.chunk = chunk;
    let session = pair.session();
    let (publisher, incoming) = pair.link(session, attach("up", Role::Sender));
    let (down, outgoing) = pair.link(session, attach("down", Role::Receiver));
    pair.server.engine.set_credit(incoming, 1_000);
    pair.client.engine.set_credit(down, 1_000);
    pair.run();
    for (token, &size) in sizes.iter().enumerate() {
        let body = body(size);
        let (prefix, rest) = body.split_at(size / 3);
        let split = Outgoing { prefix: prefix.to_vec(), ..message(token as u64, rest) };
        pair.client.engine.send(publisher, split);
        let offset = [&[0; 5][..], &body].concat();
        pair.server.engine.send(outgoing, Outgoing { body_from: 5, ..message(token as u64, &offset) });
    }
    pair.run();
    for (side, max, link) in [(&mut pair.server, server_max, incoming), (&mut pair.client, client_max, down)]
    {
        let messages = side.messages();
        assert_eq!(messages.len(), sizes.len());
        for (message, &size) in messages.iter().zip(sizes) {
            assert!(*message.payload == *body(size), "{size} bytes in frames of {max}");
        }
        let (first, last) = (messages[0].delivery_id, messages[sizes.len() - 1].delivery_id);
        assert_eq!(first, first_id);
        side.engine.dispose(link, first, last, true, DeliveryState::Accepted);
    }
    pair.run();
    let all: Vec<u64> = (0..sizes.len() as u64).collect();
    assert_eq!(pair.client.expect("disposition", tokens).0, all);
    assert_eq!(pair.server.expect("disposition", tokens).0, all);
}

#[test]
fn messages_of_a_byte_to_a_mebibyte_pass_frames_of_512_bytes() {
    let near = [440, 441, 442, 443, 444, 445, 446, 447, 448, 449, 450, 470, 480, 490, 512, 1_024];
    exchange(512, 512, usize::MAX, &[&[0, 1, 10], &near[..], &[1 << 20]].concat(), 0);
}

#[test]
fn messages_of_a_mebibyte_pass_default_frames_and_the_transfer_id_wrap() {
    exchange(128 * 1024, 128 * 1024, usize::MAX, &[1 << 20, 3, 1 << 20], u32::MAX - 1);
}

#[test]
fn frames_of_512_bytes_outrun_the_session_window_and_go_on() {
    // 8 MiB in frames of 512 bytes are twice the window.
    exchange(512, 512, usize::MAX, &[8 << 20], u32::MAX - 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn however_the_bytes_are_cut(
        chunk in 1usize..2_000, max in 512u32..3_000, sizes in prop::collection::vec(0usize..5_000, 1..8), back in 0u32..12,
    ) {
        exchange(max, 512, chunk, &sizes, u32::MAX - back);
    }
}

#[test]
fn a_settled_message_is_not_tracked() {
    let mut pair = Pair::open();
    let (publisher, incoming) = pair.publisher(10);
    pair.client.engine.send(publisher, Outgoing { settled: true, ..message(1, b"x") });
    pair.run();
    assert!(pair.server.messages()[0].settled);
    pair.server.engine.dispose(incoming, 0, 0, true, DeliveryState::Accepted);
    pair.run();
    assert!(!pair.client.events.iter().any(|event| tokens(event).is_some()));
}

#[test]
fn messages_wait_for_credit_and_go_with_it() {
    let mut pair = Pair::open();
    let (ours, theirs) = pair.consumer(2);
    (0..5).for_each(|token| pair.server.engine.send(theirs, message(token, b"x")));
    pair.run();
    assert_eq!(pair.client.messages().len(), 2);
    pair.client.engine.set_credit(ours, 10);
    pair.run();
    assert_eq!(pair.client.messages().len(), 3);
    assert_eq!(pair.client.engine.credit_left(ours), 7);
}

#[test]
fn credit_is_told_absolutely_and_coalesced() {
    let mut pair = Pair::open();
    let (ours, theirs) = pair.consumer(5);
    pair.server.engine.send(theirs, message(1, b"x"));
    pair.run();
    pair.server.events.clear();
    pair.client.engine.set_credit(ours, 1);
    pair.client.engine.set_credit(ours, 50);
    pair.run();
    let credits: Vec<_> = pair
        .server
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Credit { link, delivery_count, credit, .. } => Some((*link, *delivery_count, *credit)),
            _ => None,
        })
        .collect();
    assert_eq!(credits, [(theirs, 1, 50)]);
}

#[test]
fn credit_given_before_the_link_is_accepted_is_told_once_it_is() {
    let mut pair = Pair::open();
    let session = pair.session();
    let ours = pair.client.engine.attach(session, attach("q", Role::Receiver));
    pair.run();
    let theirs = pair.server.expect("attach", |event| match event {
        Event::Attach { link, .. } => Some(*link),
        _ => None,
    });
    pair.client.engine.set_credit(ours, 3);
    pair.server.engine.accept_attach(theirs, AttachReply::default());
    pair.run();
    pair.server.expect("credit", |event| matches!(event, Event::Credit { credit: 3, .. }).then_some(()));
}

#[test]
fn a_drain_is_answered_behind_what_was_queued() {
    let mut pair = Pair::open();
    let (ours, theirs) = pair.consumer(0);
    pair.client.engine.drain(ours, 10);
    pair.run();
    pair.server.expect("drain", |event| {
        matches!(event, Event::Credit { drain: true, credit: 10, .. }).then_some(())
    });
    pair.server.engine.send(theirs, message(1, b"x"));
    pair.server.engine.sender_flow(theirs, 0, true);
    pair.run();
    assert!(matches!(pair.client.events.pop_front(), Some(Event::Message(_))));
    pair.client.expect("drained", |event| match event {
        Event::SenderFlow { drained: true, available: 0, .. } => Some(()),
        _ => None,
    });
    assert_eq!(pair.client.engine.credit_left(ours), 0);
    // The next credit counts on from there.
    pair.client.engine.set_credit(ours, 1);
    pair.run();
    (2..4).for_each(|token| pair.server.engine.send(theirs, message(token, b"y")));
    pair.run();
    assert_eq!(pair.client.messages().len(), 1);
}

#[test]
fn second_mode_settles_when_the_sender_does() {
    let mut pair = Pair::open();
    let session = pair.session();
    let second = Attach { rcv_settle_mode: ReceiverSettleMode::Second, ..attach("q", Role::Sender) };
    let (publisher, incoming) = pair.link(session, second);
    pair.server.engine.set_credit(incoming, 10);
    pair.run();
    (0..3).for_each(|token| pair.client.engine.send(publisher, message(token, b"x")));
    pair.run();
    assert_eq!(pair.server.messages().len(), 3);
    pair.server.engine.dispose(incoming, 0, 2, true, DeliveryState::Accepted);
    pair.run();
    assert_eq!(pair.client.expect("outcome", tokens), (vec![0, 1, 2], false, Some(DeliveryState::Accepted)));
    pair.client.engine.settle_sent(publisher, &[0, 1, 2], DeliveryState::Accepted);
    assert!(pair.client.engine.output().len() < 40, "one frame");
    pair.run();
    let settled = pair.server.expect("settled", |event| match event {
        Event::SenderSettled { link, delivery_ids } => Some((*link, delivery_ids.clone())),
        _ => None,
    });
    assert_eq!(settled, (incoming, vec![0, 1, 2]));
    pair.client.engine.handle_eof(pair.now);
    pair.client.collect();
    assert_eq!(pair.client.expect("detached", detached).3, Vec::<u64>::new());
}

#[test]
fn a_rejection_keeps_its_error() {
    let mut pair = Pair::open();
    let (publisher, incoming) = pair.publisher(10);
    pair.client.engine.send(publisher, message(1, b"x"));
    pair.run();
    let error = fe2o3_amqp_types::definitions::Error::new(
        fe2o3_amqp_types::definitions::AmqpError::DecodeError,
        "not json".to_owned(),
        None,
    );
    let state = DeliveryState::Rejected(Some(Box::new(error)));
    pair.server.engine.dispose(incoming, 0, 0, true, state.clone());
    pair.run();
    assert_eq!(pair.client.expect("rejected", tokens).2, Some(state));
}

#[test]
fn links_of_a_session_share_the_output_fairly() {
    let mut pair = Pair::open();
    let session = pair.session();
    let links: Vec<_> =
        (0..3).map(|i| pair.link(session, attach(&format!("l{i}"), Role::Receiver))).collect();
    for (ours, _) in &links {
        pair.client.engine.set_credit(*ours, 100);
    }
    pair.run();
    for (at, (_, theirs)) in links.iter().enumerate() {
        (0..50).for_each(|i| pair.server.engine.send(*theirs, message(at as u64 * 100 + i, &body(8_000))));
    }
    pair.run();
    let messages = pair.client.messages();
    assert_eq!(messages.len(), 150);
    let first_of_last = messages.iter().position(|message| message.link == links[2].0).expect("some");
    assert!(first_of_last < 20, "the third link began after {first_of_last} messages");
    pair.client.engine.dispose(links[0].0, 0, 149, true, DeliveryState::Accepted);
    pair.run();
    let mut told: Vec<_> = (0..3).map(|_| pair.server.expect("disposition", tokens).0).collect();
    told.sort();
    let expected: Vec<Vec<u64>> = (0..3).map(|at| (at * 100..at * 100 + 50).collect()).collect();
    assert_eq!(told, expected, "one event per link, tokens in order");
}

#[test]
fn output_stops_at_the_high_water_mark() {
    let mut pair = Pair::open();
    let (_, theirs) = pair.consumer(1_000);
    (0..100).for_each(|token| pair.server.engine.send(theirs, message(token, &body(16_000))));
    let len = pair.server.engine.output().len();
    assert!(len < crate::limits::OUTPUT_HIGH_WATER + 20_000, "{len}");
    pair.run();
    assert_eq!(pair.client.messages().len(), 100);
}
