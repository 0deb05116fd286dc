//! Parts 2.4 to 2.6 in the other role: the engine as the client, the scripted peer as the server.

use verdict::amqp::{ClientSasl, Config, Event, SessionId};

use crate::{
    frames::{AMQP, attach_sender, begin, detach, error, new, open},
    peer::{Peer, config},
    subject::{Bare, Subject},
    value::V,
};

/// A client, opened from both sides.
fn opened() -> Peer<Bare> {
    opened_with(config(), &open())
}

fn opened_with(config: Config, answer: &crate::value::Composite) -> Peer<Bare> {
    let mut peer = Peer::client(config, ClientSasl::Bare);
    peer.expect_header(AMQP);
    peer.send_bytes(&AMQP);
    peer.expect("open");
    peer.send(0, answer);
    peer.silent();
    peer
}

fn begun(peer: &mut Peer<Bare>) -> SessionId {
    let session = peer.subject.engine.begin();
    peer.run();
    let sent = peer.expect("begin");
    // 2.7.2 "If a session is locally initiated, the remote-channel MUST NOT be set."
    assert_eq!(sent.get("remote-channel"), &V::Null);
    // The server has channels of its own.
    peer.send(sent.channel + 30, &begin().with("remote-channel", sent.channel));
    session
}

fn attach() -> fe2o3_amqp_types::performatives::Attach {
    let bytes = attach_sender("mine", 0, "q").encode();
    serde_amqp::from_slice(&bytes).expect("an attach")
}

fn events(peer: &mut Peer<Bare>) -> Vec<Event> {
    std::mem::take(&mut peer.subject.events)
}

/// 2.2 "The AMQP peer which acted in the role of the TCP client (i.e., the peer that opened the connection) MUST immediately
/// send its outgoing protocol header on establishment of the TCP connection."
#[test]
fn a_client_sends_its_header_at_once() {
    let mut peer = Peer::client(config(), ClientSasl::Bare);
    peer.expect_header(AMQP);
}

/// 2.7.2 "When an endpoint responds to a remotely initiated session, the remote-channel MUST be set to the channel on which the
/// remote session sent the begin": that is how the two channels are found to be one session's.
#[test]
fn the_servers_channel_is_learnt_from_its_begin() {
    let mut peer = opened();
    let (one, two) = (begun(&mut peer), begun(&mut peer));
    let told: Vec<SessionId> = events(&mut peer)
        .iter()
        .filter_map(|event| match event {
            Event::Begun { session, .. } => Some(*session),
            _ => None,
        })
        .collect();
    assert_eq!(told, [one, two]);
    // The second session ends, on the channel the server chose for it; we answer on ours.
    peer.send(31, &new("end"));
    assert_eq!(peer.expect("end").channel, 1);
    peer.silent();
}

/// 2.7.2 An answer to a session nobody began.
#[test]
fn a_begin_that_answers_nothing_closes_the_connection() {
    let mut peer = opened();
    begun(&mut peer);
    peer.send(7, &begin().with("remote-channel", 9_u16));
    assert_ne!(peer.expect("close").condition(), "");
}

/// 2.6.3 "issue an attach indicating that the link endpoint has no associated local terminus. In this case, the session endpoint
/// MUST immediately detach the newly created link endpoint": a refusal, as the client sees it.
#[test]
fn a_refused_attach_is_told_with_its_reason() {
    let mut peer = opened();
    let session = begun(&mut peer);
    let link = peer.subject.engine.attach(session, attach());
    peer.run();
    let sent = peer.expect("attach");
    assert_eq!((sent.get("name").text(), sent.uint("handle")), ("mine", 0));
    peer.send(30, &new("attach").with("name", "mine").with("handle", 5_u32).with("role", true));
    peer.send(30, &detach(5).with("error", error("amqp:not-found")));
    let answer = peer.expect("detach");
    assert_eq!((answer.uint("handle"), answer.flag("closed")), (0, true));
    let told = events(&mut peer);
    let reason = told.iter().find_map(|event| match event {
        Event::Detached { link: l, closed: true, error: Some(error), .. } if *l == link => {
            Some(error.clone())
        }
        _ => None,
    });
    assert_eq!(
        reason.expect("a reason").condition,
        fe2o3_amqp_types::definitions::AmqpError::NotFound.into()
    );
    peer.silent();
}

/// 2.6.7 A client's sending link sends as much as the server gives credit for, on its own handle.
#[test]
fn a_client_sends_within_the_servers_credit() {
    let mut peer = opened();
    let session = begun(&mut peer);
    let link = peer.subject.engine.attach(session, attach());
    for token in 0..5 {
        let body = crate::frames::data(b"x").into();
        let message = verdict::amqp::Outgoing {
            token,
            format: 0,
            settled: false,
            prefix: Vec::new(),
            body,
            body_from: 0,
        };
        peer.subject.engine.send(link, message);
    }
    peer.run();
    peer.expect("attach");
    peer.silent();
    let answer = new("attach").with("name", "mine").with("handle", 5_u32).with("role", true);
    peer.send(30, &answer.with("target", new("target").with("address", "q")));
    peer.silent();
    let flow = new("flow")
        .with("next-incoming-id", 0_u32)
        .with("incoming-window", 100_u32)
        .with("next-outgoing-id", 0_u32)
        .with("outgoing-window", 100_u32)
        .with("handle", 5_u32)
        .with("delivery-count", 0_u32)
        .with("link-credit", 2_u32);
    peer.send(30, &flow);
    for id in 0..2 {
        let sent = peer.expect("transfer");
        assert_eq!((sent.channel, sent.uint("handle"), sent.uint("delivery-id")), (0, 0, id));
    }
    peer.silent();
    // The server settles: told by the tokens that were given with the messages.
    peer.send(30, &crate::frames::settle(0, 1, new("accepted")));
    let told = events(&mut peer);
    assert!(
        told.iter().any(
            |event| matches!(event, Event::Disposition { tokens, settled: true, .. } if *tokens == [0, 1])
        )
    );
}

/// 2.4.5 A client keeps to the server's idle time-out, and to its own.
#[test]
fn idle_time_outs_hold_for_a_client() {
    let ours = Config { idle_timeout_ms: Some(10_000), ..config() };
    let mut peer = opened_with(ours, &open().with("idle-time-out", 2_000_u32));
    peer.pass_ms(9_999);
    let beats = peer.drain();
    assert!(beats.len() >= 5 && beats.iter().all(|frame| frame.name() == "empty"), "{}", beats.len());
    peer.pass_ms(2);
    assert_eq!(peer.expect("close").condition(), "amqp:resource-limit-exceeded");
}

/// 2.4.3 A server's close is answered, and its reason told.
#[test]
fn a_servers_close_is_answered_and_told() {
    let mut peer = opened();
    begun(&mut peer);
    peer.send(0, &new("close").with("error", error("amqp:connection:forced")));
    assert_eq!(peer.expect("close").get("error"), &V::Null);
    assert!(peer.subject.is_finished());
    assert!(matches!(
        events(&mut peer).last(),
        Some(Event::Closed { by_peer: true, error: Some(error), .. })
            if error.condition == fe2o3_amqp_types::definitions::ConnectionError::ConnectionForced.into()
    ));
}
