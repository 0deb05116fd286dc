//! 2.5.6 Session flow control: both windows.

use verdict::amqp::Outgoing;

use crate::{
    frames::{begin, data, frame_with, transfer},
    peer::Peer,
    subject::Bare,
};

/// An engine with a link it sends on, and messages it wants to send.
fn pushing(window: u32, messages: u64, body: &[u8]) -> Peer<Bare> {
    let mut peer = Peer::engine();
    peer.open_with(&crate::frames::open().with("max-frame-size", 512_u32));
    peer.begin_with(0, &begin().with("incoming-window", window));
    peer.receiver(0, 0, "q");
    let flow = peer.flow(0).with("incoming-window", window);
    peer.send(0, &flow.with("handle", 0_u32).with("delivery-count", 0_u32).with("link-credit", 1000_u32));
    let link = peer.subject.links[0];
    for token in 0..messages {
        let body = data(body).into();
        peer.subject.engine.send(
            link,
            Outgoing { token, format: 0, settled: false, prefix: Vec::new(), body, body_from: 0 },
        );
    }
    peer.run();
    peer
}

fn transfers(peer: &mut Peer<Bare>) -> usize {
    peer.drain().iter().filter(|frame| frame.name() == "transfer").count()
}

/// 2.5.6 "remote-incoming-window reflects the maximum number of outgoing transfers that can be sent without exceeding the
/// remote endpoint's incoming-window."
#[test]
fn no_more_transfers_are_sent_than_the_peers_incoming_window() {
    let mut peer = pushing(3, 10, b"x");
    assert_eq!(transfers(&mut peer), 3);
    // next-incoming-id + incoming-window - next-outgoing-id: nothing new.
    let flow = peer.flow(0).with("incoming-window", 0_u32);
    peer.send(0, &flow);
    assert_eq!(transfers(&mut peer), 0);
    let flow = peer.flow(0).with("incoming-window", 2_u32);
    peer.send(0, &flow);
    assert_eq!(transfers(&mut peer), 2);
}

/// 2.5.6 The window counts transfer frames, not deliveries.
#[test]
fn each_frame_of_a_delivery_takes_a_place_in_the_window() {
    let mut peer = pushing(2, 1, &[7; 1500]);
    assert_eq!(transfers(&mut peer), 2);
    let flow = peer.flow(0).with("incoming-window", 1_u32);
    peer.send(0, &flow);
    assert_eq!(transfers(&mut peer), 1);
    let flow = peer.flow(0).with("incoming-window", 10_u32);
    peer.send(0, &flow);
    assert!(transfers(&mut peer) >= 1);
}

/// 2.5.6 next-incoming-id of a flow may lie behind what we sent since: "remote-incoming-window := next-incoming-id(flow) +
/// incoming-window(flow) - next-outgoing-id(endpoint)".
#[test]
fn a_flow_that_crossed_our_transfers_does_not_open_the_window_twice() {
    let mut peer = pushing(5, 20, b"x");
    let stale = peer.flow(0).with("incoming-window", 6_u32);
    assert_eq!(transfers(&mut peer), 5);
    // It says: from transfer 0 on, six. Five are out.
    peer.send(0, &stale);
    assert_eq!(transfers(&mut peer), 1);
}

/// 2.5.6 A window that shrinks below what is out closes; it is not negative, and does not wrap.
#[test]
fn a_window_that_shrinks_below_what_was_sent_is_closed() {
    let mut peer = pushing(5, 20, b"x");
    let stale = peer.flow(0).with("incoming-window", 2_u32);
    assert_eq!(transfers(&mut peer), 5);
    peer.send(0, &stale);
    assert_eq!(transfers(&mut peer), 0);
}

/// 2.5.6 "If the next-incoming-id field of the flow frame is not set, then remote-incoming-window is computed as follows:
/// initial-outgoing-id(endpoint) + incoming-window(flow) - next-outgoing-id(endpoint)".
#[test]
fn without_next_incoming_id_the_window_counts_from_the_first_transfer() {
    let mut peer = pushing(3, 20, b"x");
    assert_eq!(transfers(&mut peer), 3);
    let flow = peer.flow(0).with("next-incoming-id", crate::value::V::Null).with("incoming-window", 5_u32);
    peer.send(0, &flow);
    assert_eq!(transfers(&mut peer), 2);
}

/// 2.5.6 incoming-window: "the maximum number of incoming transfer frames that the endpoint can currently receive".
#[test]
fn the_whole_incoming_window_can_be_used_at_once() {
    let mut peer = Peer::engine();
    peer.open();
    let window = peer.begin(0).uint("incoming-window");
    peer.sender(0, 0, "q");
    peer.grant(0, window);
    let bytes: Vec<u8> = (0..window).flat_map(|id| frame_with(0, &transfer(0, id), b"")).collect();
    peer.send_bytes(&bytes);
    peer.quiet();
    assert_eq!(peer.messages().len(), window as usize);
}

/// 2.8.17 "window-violation: The peer violated incoming window for the session." How far it reaches the last begin or flow
/// told; one more in the same batch, before any newer flow can have arrived, is one too many.
#[test]
fn a_transfer_beyond_the_incoming_window_ends_the_session() {
    let mut peer = Peer::engine();
    peer.open();
    peer.begin(1);
    let window = peer.begin(0).uint("incoming-window");
    peer.sender(0, 0, "q");
    peer.grant(0, 10 * window);
    let bytes: Vec<u8> = (0..window + 1).flat_map(|id| frame_with(0, &transfer(0, id), b"")).collect();
    peer.send_bytes(&bytes);
    assert_eq!(peer.expect("end").condition(), "amqp:session:window-violation");
    assert_eq!(peer.messages().len(), window as usize);
    peer.sender(1, 0, "q");
}

/// 2.5.6 "Settling outstanding transfers can cause the window to grow": it is told, so that the peer can go on.
#[test]
fn a_window_used_up_is_opened_again_when_deliveries_are_settled() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    let mut credit = 0;
    let mut window = verdict::limits::SESSION_WINDOW;
    let total = verdict::limits::SESSION_WINDOW * 2;
    let mut sent = 0;
    while sent < total {
        for frame in peer.drain() {
            if frame.name() == "flow" {
                window = frame.uint("next-incoming-id") + frame.uint("incoming-window");
                credit = frame.uint("delivery-count") + frame.uint("link-credit");
            }
        }
        let until = credit.min(window).min(total);
        assert!(until > sent, "stuck at {sent}: credit until {credit}, window until {window}");
        let bytes: Vec<u8> =
            (sent..until).flat_map(|id| frame_with(0, &transfer(0, id), &data(b"x"))).collect();
        peer.send_bytes(&bytes);
        sent = until;
    }
    assert_eq!(peer.subject.house.borrow().counts("q").0.available, u64::from(total));
}
