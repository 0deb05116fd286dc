//! 2.4.5 Idle time-out of a connection, both ways, over virtual time.

use verdict::amqp::Config;

use crate::{
    frames::{begin, frame, new, open, raw_frame},
    peer::{Peer, config},
    subject::{Bare, Subject},
};

fn with_timeout(ms: u32) -> Peer<Bare> {
    Peer::engine_with(Config { idle_timeout_ms: Some(ms), ..config() })
}

/// 2.4.5 "To avoid spurious timeouts, the value in idle-time-out SHOULD be half the peer's actual timeout threshold."
#[test]
fn half_of_our_threshold_is_announced() {
    assert_eq!(with_timeout(60_000).open().uint("idle-time-out"), 30_000);
}

/// 2.7.1 "If the value is not set, then the sender does not have an idle time-out."
#[test]
fn without_a_threshold_none_is_announced_and_silence_is_fine() {
    let mut peer = Peer::engine();
    assert_eq!(peer.open().get("idle-time-out"), &crate::value::V::Null);
    peer.pass_ms(24 * 3600 * 1000);
    peer.silent();
    peer.begin(0);
}

/// 2.4.5 "If the threshold is exceeded, then a peer SHOULD try to gracefully close the connection using a close frame
/// with an error explaining why." 2.8.15 resource-limit-exceeded is what the field uses.
#[test]
fn a_silent_peer_is_closed_with_resource_limit_exceeded() {
    let mut peer = with_timeout(1000);
    peer.open();
    peer.pass_ms(999);
    peer.silent();
    peer.pass_ms(2);
    peer.closed_with("amqp:resource-limit-exceeded");
}

/// 2.4.5 "If the remote peer does not respond gracefully within a threshold to this, then the peer MAY close the TCP
/// socket."
#[test]
fn a_silent_peer_that_does_not_answer_the_close_is_left() {
    let mut peer = with_timeout(1000);
    peer.open();
    peer.pass_ms(1001);
    peer.expect("close");
    peer.pass_ms(60_000);
    peer.silent();
    assert!(peer.subject.is_finished());
}

/// 2.4.5 "The idle time-out is measured in milliseconds, and starts from the time the last frame is received." 2.3.2 an
/// empty frame is a frame.
#[test]
fn empty_frames_keep_a_connection_alive() {
    let mut peer = with_timeout(1000);
    peer.open();
    for _ in 0..20 {
        peer.pass_ms(900);
        peer.send_bytes(&raw_frame(0, 0, &[]));
    }
    peer.silent();
    peer.begin(0);
}

/// 2.7.1 idle-time-out: a partner must send something at least this often. 2.4.5 "it MAY send an empty frame".
#[test]
fn heartbeats_are_sent_within_the_peers_idle_time_out() {
    for timeout in [100_u32, 1000, 30_000] {
        let mut peer = Peer::engine();
        peer.open_with(&open().with("idle-time-out", timeout));
        let mut last = peer.now;
        for _ in 0..200 {
            peer.pass_ms(u64::from(timeout / 10));
            for beat in peer.drain() {
                assert_eq!((beat.name(), beat.channel), ("empty", 0));
                last = peer.now;
            }
            assert!(peer.now.since_ms(last) < u64::from(timeout), "nothing for {timeout} ms");
        }
    }
}

/// 2.4.5 The peer's time-out says nothing about ours: heartbeats are no reason to close, nor to expect any.
#[test]
fn a_peer_that_only_reads_heartbeats_is_not_closed() {
    let mut peer = Peer::engine();
    peer.open_with(&open().with("idle-time-out", 1000_u32));
    peer.pass_ms(3_600_000);
    assert!(peer.drain().iter().all(|frame| frame.name() == "empty"));
    peer.begin(0);
}

/// 2.7.1 "A value of zero is the same as if it was not set (null)."
#[test]
fn an_idle_time_out_of_zero_is_none() {
    let mut peer = Peer::engine();
    peer.open_with(&open().with("idle-time-out", 0_u32));
    peer.pass_ms(3_600_000);
    peer.silent();
    peer.begin(0);
}

/// 2.7.1 "If the receiver is unable or unwilling to support the idle time-out then it SHOULD close the connection with
/// an error explaining why (e.g., because it is too small)." Either that, or it keeps to it.
#[test]
fn a_tiny_idle_time_out_is_kept_or_refused() {
    let mut peer = Peer::engine();
    peer.open_with(&open().with("idle-time-out", 1_u32));
    peer.pass_ms(50);
    let got = peer.drain();
    let refused = got.iter().any(|frame| frame.name() == "close" && frame.condition() != "");
    assert!(refused || got.iter().filter(|frame| frame.name() == "empty").count() >= 40, "{}", got.len());
}

/// 2.4.5 "Empty frames can only be sent after the open frame is sent. As they are a frame, they MUST NOT be sent after the
/// close frame has been sent."
#[test]
fn no_heartbeat_follows_our_close() {
    let mut peer = Peer::engine();
    peer.open_with(&open().with("idle-time-out", 100_u32));
    peer.subject.engine.close(None);
    peer.run();
    peer.expect("close");
    peer.pass_ms(1000);
    peer.silent();
}

/// 2.4.5 Traffic is as good as heartbeats; the time counts from what was last received, not from the open.
#[test]
fn traffic_counts_as_a_sign_of_life() {
    let mut peer = with_timeout(1000);
    peer.open();
    for _ in 0..20 {
        peer.pass_ms(999);
        peer.send_bytes(&[frame(0, &begin()), frame(0, &new("end"))].concat());
        peer.expect("begin");
        peer.expect("end");
    }
}

/// 2.4.5 A close that went unanswered is not repeated.
#[test]
fn a_half_received_frame_is_no_sign_of_life_forever() {
    let mut peer = with_timeout(1000);
    peer.open();
    let bytes = frame(0, &begin());
    peer.send_bytes(&bytes[..bytes.len() - 1]);
    peer.pass_ms(1001);
    assert_eq!(peer.expect("close").condition(), "amqp:resource-limit-exceeded");
}
