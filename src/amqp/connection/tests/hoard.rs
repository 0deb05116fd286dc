//! Peers that make us keep more than they should.

use super::*;
use crate::amqp::codec::{FrameKind, Transfer, encode_transfer, frame_end, frame_start};

/// A transfer of a delivery's `payload`, raw, on channel 0.
fn transfer(handle: u32, id: u32, more: bool, payload: &[u8]) -> Vec<u8> {
    let tag = id.to_be_bytes();
    let transfer =
        Transfer { handle, delivery_id: Some(id), delivery_tag: Some(&tag), more, ..Transfer::default() };
    let mut frame = Vec::new();
    let start = frame_start(&mut frame, FrameKind::Amqp, 0);
    encode_transfer(&transfer, &mut frame);
    frame.extend_from_slice(payload);
    frame_end(&mut frame, start);
    frame
}

/// Three links to a server that takes messages of 1000 bytes, and their ids there.
fn three_links() -> (Pair, Vec<LinkId>) {
    let mut pair = Pair::open_with(config("client"), Config { max_message_size: 1_000, ..config("server") });
    let session = pair.session();
    let links = ["a", "b", "c"].map(|name| {
        let (_, link) = pair.link(session, attach(name, Role::Sender));
        pair.server.engine.set_credit(link, 100);
        link
    });
    pair.run();
    (pair, links.to_vec())
}

#[test]
fn deliveries_in_parts_on_many_links_hold_no_more_than_two_whole_messages() {
    let (mut pair, links) = three_links();
    let now = pair.now;
    let send = |pair: &mut Pair, frame: Vec<u8>| {
        assert_eq!(pair.server.engine.handle_input(&frame, now), frame.len());
        pair.server.collect();
    };
    for handle in 0..3 {
        send(&mut pair, transfer(handle, handle, true, &[b'x'; 900]));
    }
    let (link, closed, condition, _) = pair.server.expect("detached", detached);
    assert_eq!((link, closed), (links[2], true));
    assert_eq!(condition.as_deref(), Some("amqp:resource-limit-exceeded"));
    // The others go on, and what they hold is given back: by the end of the message, and of the link.
    send(&mut pair, transfer(0, 0, false, b"end"));
    assert_eq!(pair.server.messages().len(), 1);
    pair.server.engine.detach(links[1], true, None);
    for id in 10..20 {
        send(&mut pair, transfer(0, id, true, &[b'x'; 500]));
        send(&mut pair, transfer(0, id, false, &[b'x'; 500]));
    }
    assert_eq!(pair.server.messages().len(), 10);
    assert_eq!(pair.server.engine.partial_bytes.held(), 0);
}

#[test]
fn a_stolen_link_keeps_nothing_of_its_delivery_in_parts() {
    let (mut pair, _) = three_links();
    let now = pair.now;
    pair.server.engine.handle_input(&transfer(0, 0, true, &[b'x'; 900]), now);
    assert_eq!(pair.server.engine.partial_bytes.held(), 900);
    // On a session of its own, so that the engine of our client does not mind.
    let session = pair.session();
    pair.client.engine.attach(session, attach("a", Role::Sender));
    let bytes = pair.client.engine.output().to_vec();
    pair.server.engine.handle_input(&bytes, now);
    assert_eq!(pair.server.engine.partial_bytes.held(), 0, "though the peer has not answered the detach");
}

#[test]
fn a_link_detached_with_an_error_sends_nothing_of_what_is_queued_and_holds_none_of_it() {
    let mut pair = Pair::open();
    let (_, link) = pair.consumer(10);
    for token in 0..3 {
        pair.server.engine.send(link, message(token, &[b'x'; 10_000]));
    }
    let error = fe2o3_amqp_types::definitions::AmqpError::NotAllowed;
    pair.server.engine.detach(link, true, Some(error.into()));
    assert!(pair.server.engine.output().len() < 200);
    pair.run();
    assert_eq!(pair.server.expect("detached", detached).3, [0, 1, 2]);
}
