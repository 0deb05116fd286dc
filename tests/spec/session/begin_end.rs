//! 2.5.1 to 2.5.5, 2.7.2, 2.7.8: beginning and ending.

use crate::{
    frames::{attach_sender, begin, data, detach, error, frame, new, transfer},
    peer::Peer,
    subject::{Bare, Subject},
    value::{V, fields, symbol},
};

fn opened() -> Peer<Bare> {
    let mut peer = Peer::engine();
    peer.open();
    peer
}

/// 2.5.1 "The partner will therefore allocate an unused outgoing channel for the remotely initiated session and indicate
/// this by sending its own begin setting the remote-channel field to the incoming channel of the remotely initiated
/// session."
#[test]
fn a_begin_is_answered_with_a_begin_that_names_its_channel() {
    let mut peer = opened();
    for channel in [9, 0, 255] {
        let answer = peer.begin(channel);
        assert_eq!(answer.get("remote-channel"), &V::Ushort(channel));
        answer.uint("next-outgoing-id");
        assert!(answer.uint("incoming-window") > 0);
        answer.uint("outgoing-window");
    }
    peer.silent();
}

/// 2.5.1 "it is RECOMMENDED that implementations always assign the lowest available unused channel number."
#[test]
fn our_channels_are_the_lowest_free_ones() {
    let mut peer = opened();
    assert_eq!(peer.begin(40).channel, 0);
    assert_eq!(peer.begin(30).channel, 1);
    assert_eq!(peer.begin(20).channel, 2);
    peer.send(30, &new("end"));
    assert_eq!(peer.expect("end").channel, 1);
    assert_eq!(peer.begin(10).channel, 1);
}

/// 2.7.2 Only next-outgoing-id and the windows are mandatory; everything else may come in any form its type allows.
#[test]
fn a_begin_with_every_field_is_taken() {
    let full = begin()
        .with("handle-max", 10_u32)
        .with("offered-capabilities", symbol("one"))
        .with("desired-capabilities", crate::value::symbols(&["one", "two"]))
        .with("properties", fields(&[("x", V::Map(Vec::new()))]));
    opened().begin_with(0, &full);
}

/// 2.7.2 next-outgoing-id, incoming-window and outgoing-window are mandatory (1.4).
#[test]
fn a_begin_without_a_mandatory_field_closes_the_connection() {
    for missing in ["next-outgoing-id", "incoming-window", "outgoing-window"] {
        let mut peer = opened();
        peer.send(0, &begin().with(missing, V::Null));
        let close = peer.expect("close");
        assert!(
            ["amqp:decode-error", "amqp:invalid-field"].contains(&close.condition()),
            "{missing}: {close:?}"
        );
    }
}

/// 2.5.1 A begin needs "an unused channel number".
#[test]
fn a_begin_on_a_channel_in_use_closes_the_connection() {
    let mut peer = opened();
    peer.begin(3);
    peer.send(3, &begin());
    let close = peer.expect("close");
    assert!(["amqp:not-allowed", "amqp:illegal-state"].contains(&close.condition()), "{close:?}");
}

/// 2.7.2 "If a session is locally initiated, the remote-channel MUST NOT be set": set, it answers a begin of ours, and
/// there was none.
#[test]
fn an_answer_to_a_begin_we_never_sent_closes_the_connection() {
    let mut peer = opened();
    peer.send(0, &begin().with("remote-channel", 0_u16));
    let close = peer.expect("close");
    assert!(
        ["amqp:not-allowed", "amqp:illegal-state", "amqp:invalid-field"].contains(&close.condition()),
        "{close:?}"
    );
}

/// 2.5.2 "an end frame is sent to announce the disassociation of the endpoint from its outgoing channel"; the partner
/// answers with its own.
#[test]
fn an_end_is_answered_with_an_end_without_error() {
    let mut peer = opened();
    let ours = peer.begin(5).channel;
    for (n, end) in [new("end"), new("end").with("error", error("my:condition"))].into_iter().enumerate() {
        if n > 0 {
            peer.begin(5);
        }
        peer.send(5, &end);
        let answer = peer.expect("end");
        assert_eq!((answer.channel, answer.get("error")), (ours, &V::Null));
    }
    peer.silent();
}

/// 2.5.5 UNMAPPED: after end and end the channel is free, in both directions.
#[test]
fn a_channel_is_used_again_after_end() {
    let mut peer = opened();
    for _ in 0..1000 {
        assert_eq!(peer.begin(0).channel, 0);
        peer.sender(0, 0, "q");
        peer.send(0, &new("end"));
        peer.expect("end");
    }
    peer.silent();
}

/// 2.5.1 A begin may follow the end at once; it is another session.
#[test]
fn end_and_begin_may_be_pipelined() {
    let mut peer = opened();
    peer.begin(0);
    peer.sender(0, 0, "q");
    peer.send_bytes(
        &[frame(0, &new("end")), frame(0, &begin()), frame(0, &attach_sender("again", 0, "q"))].concat(),
    );
    peer.expect("end");
    peer.expect("begin");
    peer.expect("attach");
}

/// 2.5.4 "It MUST then proceed to discard all incoming frames from the remote endpoint until receiving the remote
/// endpoint's corresponding end frame."
#[test]
fn after_ending_for_an_error_frames_are_discarded_until_the_peers_end() {
    let mut peer = opened();
    peer.begin(0);
    peer.begin(1);
    peer.send(0, &transfer(77, 0));
    assert_eq!(peer.expect("end").condition(), "amqp:session:unattached-handle");
    peer.send(0, &attach_sender("x", 0, "q"));
    peer.send_with(0, &transfer(77, 1), &data(b"x"));
    peer.send(0, &detach(3));
    peer.silent();
    // The other session goes on.
    peer.sender(1, 0, "q");
    peer.send(0, &new("end"));
    peer.silent();
    peer.begin(0);
}

/// 2.5.3 "it will appear to each peer as though their partner's spontaneously initiated end frame is actually an answer to
/// the peer's initial end frame."
#[test]
fn two_ends_that_cross_are_each_others_answers() {
    let mut peer = opened();
    peer.begin(0);
    let session = peer.subject.events.iter().find_map(|event| match event {
        verdict::amqp::Event::Begun { session, .. } => Some(*session),
        _ => None,
    });
    peer.subject.engine.end(session.expect("a session"), None);
    peer.send(0, &new("end"));
    peer.expect("end");
    peer.silent();
    peer.begin(0);
}

/// 2.4 "Channels are unidirectional, and thus at each connection endpoint the incoming and outgoing channels are
/// completely distinct." Links of two sessions have their handles and ids for themselves.
#[test]
fn sessions_do_not_share_handles_or_ids() {
    let mut peer = Peer::broker();
    peer.open();
    for channel in [4, 2, 8] {
        peer.begin(channel);
        peer.sender(channel, 0, "q");
    }
    for channel in [8, 4, 2] {
        peer.publish(channel, 0, 0, &data(b"x"));
        let answer = peer.expect("disposition");
        assert_eq!((answer.channel, answer.uint("first")), (peer.theirs(channel), 0));
    }
}

/// 2.7.2 "A peer that receives a handle outside the supported range MUST close the connection with the framing-error
/// error-code."
#[test]
fn a_handle_above_our_handle_max_is_a_framing_error() {
    let mut peer = Peer::engine_with(verdict::amqp::Config { handle_max: 3, ..crate::peer::config() });
    peer.open();
    assert_eq!(peer.begin(0).uint("handle-max"), 3);
    peer.sender(0, 3, "q");
    peer.drain();
    peer.send(0, &attach_sender("beyond", 4, "q"));
    peer.closed_with("amqp:connection:framing-error");
}

/// 2.7.2 "A peer MUST NOT attempt to attach a link using a handle value outside the range that its partner can handle."
#[test]
fn no_handle_above_the_peers_handle_max_is_used() {
    let mut peer = opened();
    peer.begin_with(0, &begin().with("handle-max", 0_u32));
    assert_eq!(peer.sender(0, 5, "q").uint("handle"), 0);
    peer.send(0, &attach_sender("second", 6, "q"));
    let answer = peer.expect("end");
    assert_ne!(answer.condition(), "");
}

/// 2.5.2 Ending a session ends its links: what they had unsettled goes back.
#[test]
fn links_of_a_session_end_with_it() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"1"), data(b"2")]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 10);
    peer.expect("transfer");
    peer.expect("transfer");
    peer.send(0, &new("end"));
    peer.expect("end");
    peer.run();
    let (queue, _) = peer.subject.house.borrow().counts("q");
    assert_eq!((queue.available, queue.acquired, queue.consumers), (2, 0, 0));
    assert!(!peer.subject.is_finished());
}
