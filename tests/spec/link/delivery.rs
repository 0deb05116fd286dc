//! 2.6.11 to 2.6.14, 2.7.5: deliveries of one and many transfers.

use crate::{
    frames::{continuation, data, frame_with, new, transfer},
    peer::Peer,
    subject::{Bare, Subject},
    value::V,
};

fn granted(credit: u32) -> Peer<Bare> {
    let mut peer = Peer::sending();
    peer.grant(0, credit);
    peer.drain();
    peer
}

/// 2.6.14 "additional data MAY be transferred in additional transfer frames by setting the more flag on all but the last
/// transfer frame." 2.7.5 "On continuation transfers the delivery-id MAY be omitted."
#[test]
fn a_delivery_of_many_transfers_is_one_message() {
    let mut peer = granted(1);
    peer.send_with(0, &transfer(0, 0).with("more", true), b"\x00\x53\x75");
    peer.send_with(0, &continuation(0).with("more", true), b"\xa0\x05");
    assert!(peer.messages().is_empty());
    peer.send_with(0, &continuation(0).with("more", true).with("delivery-id", 0_u32), b"hel");
    peer.send_with(0, &continuation(0).with("more", true), b"");
    peer.send_with(0, &continuation(0), b"lo");
    peer.quiet();
    assert_eq!(peer.messages(), [data(b"hello")]);
}

/// 2.7.5 A delivery uses one credit, whatever the number of its transfers.
#[test]
fn a_delivery_of_many_transfers_takes_one_credit() {
    let mut peer = granted(2);
    for id in 0..2 {
        peer.send_with(0, &transfer(0, id).with("more", true), b"\x00\x53\x75\xa0");
        for _ in 0..10 {
            peer.send_with(0, &continuation(0).with("more", true), b"");
        }
        peer.send_with(0, &continuation(0), b"\x00");
    }
    peer.quiet();
    assert_eq!(peer.messages().len(), 2);
}

/// 2.6.14 "messages being transferred along different links MAY be interleaved."
#[test]
fn deliveries_of_two_links_may_be_interleaved() {
    let mut peer = granted(5);
    peer.sender(0, 1, "q");
    peer.grant(1, 5);
    peer.drain();
    peer.send_with(0, &transfer(0, 0).with("more", true), b"\x00\x53\x75\xa0");
    peer.send_with(0, &transfer(1, 1).with("more", true), b"\x00\x53");
    peer.send_with(0, &continuation(0).with("more", true), b"\x01");
    peer.send_with(0, &continuation(1), b"\x75\xa0\x01b");
    peer.send_with(0, &continuation(0), b"a");
    peer.quiet();
    assert_eq!(peer.messages(), [data(b"b"), data(b"a")]);
}

/// 2.7.5 "It is an error if the delivery-id on a continuation transfer differs from the delivery-id on the first transfer of
/// a delivery." 2.6.14 "messages transferred along a single link MUST NOT be interleaved."
#[test]
fn another_delivery_id_on_a_continuation_is_an_error() {
    let mut peer = granted(5);
    peer.send_with(0, &transfer(0, 0).with("more", true), b"\x00");
    peer.send_with(0, &transfer(0, 1), b"x");
    let answer = peer.next().expect("an answer");
    assert!(matches!(answer.name(), "end" | "detach"), "{answer:?}");
    assert_ne!(answer.condition(), "");
    assert!(peer.messages().is_empty());
    peer.usable();
}

/// 2.7.5 "The delivery-id MUST be supplied on the first transfer of a multi-transfer delivery."
#[test]
fn a_first_transfer_without_delivery_id_is_an_error() {
    let mut peer = granted(5);
    peer.send_with(0, &transfer(0, 0).with("delivery-id", V::Null), &data(b"x"));
    let answer = peer.next().expect("an answer");
    assert!(matches!(answer.name(), "end" | "detach"), "{answer:?}");
    assert_ne!(answer.condition(), "");
    assert!(peer.messages().is_empty());
    peer.usable();
}

/// 2.7.5 delivery-tag: "This field MUST be specified for the first transfer of a multi-transfer message and can only be
/// omitted for continuation transfers."
#[test]
fn a_first_transfer_without_delivery_tag_is_an_error_of_the_link_at_most_the_session() {
    let mut peer = granted(5);
    peer.send_with(0, &transfer(0, 0).with("delivery-tag", V::Null), &data(b"x"));
    let answer = peer.next().expect("an answer");
    assert!(matches!(answer.name(), "end" | "detach"), "{answer:?}");
    assert_eq!(answer.condition(), "amqp:invalid-field");
    assert!(peer.messages().is_empty());
    peer.usable();
}

/// 2.8.7 "A delivery-tag can be up to 32 octets of binary data." The empty tag is one.
#[test]
fn tags_of_none_to_32_octets_are_tags() {
    let mut peer = granted(5);
    for (id, len) in [0, 1, 31, 32].into_iter().enumerate() {
        peer.send_with(0, &transfer(0, id as u32).with("delivery-tag", &vec![7_u8; len][..]), &data(b"x"));
    }
    peer.quiet();
    assert_eq!(peer.messages().len(), 4);
}

/// 2.8.7 As above: 33 octets are no delivery-tag.
#[test]
fn a_tag_of_33_octets_is_an_error() {
    let mut peer = granted(5);
    peer.send_with(0, &transfer(0, 0).with("delivery-tag", &[7_u8; 33][..]), &data(b"x"));
    let answer = peer.next().expect("an answer");
    assert!(matches!(answer.name(), "detach" | "end" | "close"), "{answer:?}");
    assert!(["amqp:invalid-field", "amqp:decode-error"].contains(&answer.condition()), "{answer:?}");
}

/// 2.5.6, 2.8.9 delivery-ids are of "a session scoped sequence": they are serial numbers that go up by one.
#[test]
fn a_delivery_id_that_goes_back_is_an_error() {
    let mut peer = granted(5);
    peer.publish(0, 0, 5, &data(b"x"));
    peer.send_with(0, &transfer(0, 4), &data(b"y"));
    let answer = peer.expect("end");
    assert_eq!(answer.condition(), "amqp:invalid-field");
    peer.usable();
}

/// 2.7.5 aborted: "Aborted messages SHOULD be discarded by the recipient (any payload within the frame carrying the
/// performative MUST be ignored). An aborted message is implicitly settled."
#[test]
fn an_aborted_delivery_is_discarded() {
    let mut peer = granted(5);
    peer.send_with(0, &transfer(0, 0).with("more", true), &data(b"x"));
    peer.send_with(0, &continuation(0).with("aborted", true), &data(b"y"));
    peer.publish(0, 0, 1, &data(b"z"));
    peer.quiet();
    assert_eq!(peer.messages(), [data(b"z")]);
}

/// 2.7.5 more: "if both the more and aborted fields are set to true, the aborted flag takes precedence."
#[test]
fn aborted_takes_precedence_over_more() {
    let mut peer = granted(5);
    peer.send_with(0, &transfer(0, 0).with("more", true), &data(b"x"));
    peer.send_with(0, &continuation(0).with("aborted", true).with("more", true), b"");
    peer.publish(0, 0, 1, &data(b"z"));
    peer.quiet();
    assert_eq!(peer.messages(), [data(b"z")]);
}

/// 2.7.5 A delivery may be aborted with its only transfer; with the broker nothing is queued and nothing answered.
#[test]
fn a_single_aborted_transfer_is_discarded() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.drain();
    peer.send_with(0, &transfer(0, 0).with("aborted", true), &data(b"x"));
    peer.quiet();
    assert_eq!(peer.subject.house.borrow().counts("q").0.available, 0);
    peer.publish(0, 0, 1, &data(b"z"));
    let answer = peer.expect("disposition");
    assert_eq!(answer.uint("first"), 1);
}

/// 2.7.3 "Any attempt to deliver a message larger than this results in a message-size-exceeded link-error."
#[test]
fn a_message_larger_than_max_message_size_detaches_with_message_size_exceeded() {
    let mut peer = Peer::engine();
    peer.open();
    peer.begin(0);
    peer.subject.max_message_size = Some(100);
    assert_eq!(peer.sender(0, 0, "q").get("max-message-size"), &V::Ulong(100));
    peer.sender(0, 1, "q");
    peer.grant(0, 5);
    peer.grant(1, 5);
    peer.drain();
    peer.publish(0, 0, 0, &data(&[1; 95]));
    peer.quiet();
    assert_eq!(peer.messages().len(), 1);
    peer.publish(0, 0, 1, &data(&[1; 96]));
    peer.detached_with(0, 0, "amqp:link:message-size-exceeded");
    assert_eq!(peer.messages().len(), 1);
}

/// 2.7.3 As above, for a message in many transfers: noticed as soon as it is too large, not only at its end.
#[test]
fn a_message_that_grows_too_large_detaches_before_its_end() {
    let mut peer = Peer::engine();
    peer.open();
    peer.begin(0);
    peer.subject.max_message_size = Some(100);
    peer.sender(0, 0, "q");
    peer.grant(0, 5);
    peer.drain();
    peer.send_with(0, &transfer(0, 0).with("more", true), &[0; 60]);
    peer.quiet();
    peer.send_with(0, &continuation(0).with("more", true), &[0; 60]);
    peer.detached_with(0, 0, "amqp:link:message-size-exceeded");
}

/// 2.7.5 resume: "The receiver MUST ignore resumed deliveries that are not in its local unsettled map." We keep none, so none
/// of them may become a message; at most the link is detached with not-implemented.
#[test]
fn a_resumed_delivery_becomes_no_message() {
    let mut peer = granted(5);
    peer.send_with(0, &transfer(0, 0).with("resume", true), &data(b"x"));
    if let Some(answer) = peer.next() {
        assert_eq!((answer.name(), answer.condition()), ("detach", "amqp:not-implemented"));
    }
    assert!(peer.messages().is_empty());
    peer.usable();
}

/// 2.7.5 message-format is "32-bit message format code" (2.8.11): any value is passed on.
#[test]
fn a_message_format_is_told_as_it_was_sent() {
    let mut peer = granted(5);
    for (id, format) in [0_u32, 1, 0x8001_3300, u32::MAX].into_iter().enumerate() {
        peer.send_with(0, &transfer(0, id as u32).with("message-format", format), b"not amqp at all");
    }
    let formats: Vec<u32> = peer
        .subject
        .events
        .iter()
        .filter_map(|event| match event {
            verdict::amqp::Event::Message(message) => Some(message.format),
            _ => None,
        })
        .collect();
    assert_eq!(formats, [0, 1, 0x8001_3300, u32::MAX]);
}

/// 2.7.5 A transfer is from a sender to a receiver: on a link we send on, it is an error of that link (or its session).
#[test]
fn a_transfer_on_a_link_we_send_on_is_not_allowed() {
    let mut peer = Peer::ready();
    peer.receiver(0, 0, "q");
    peer.send_with(0, &transfer(0, 0), &data(b"x"));
    let answer = peer.next().expect("an answer");
    assert!(matches!(answer.name(), "end" | "detach"), "{answer:?}");
    assert!(["amqp:not-allowed", "amqp:illegal-state"].contains(&answer.condition()), "{answer:?}");
    peer.usable();
}

/// 2.7.5, as sender: first transfers have delivery-id, tag and format; tags are unique among what is unsettled (2.6.12).
#[test]
fn our_transfers_name_their_deliveries() {
    let mut peer = Peer::ready();
    peer.fill("q", &vec![data(b"x"); 100]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 100);
    let mut tags = std::collections::BTreeSet::new();
    for id in 0..100 {
        let sent = peer.expect("transfer");
        assert_eq!(sent.uint("delivery-id"), id);
        assert_eq!(sent.uint("message-format"), 0);
        let V::Binary(tag) = sent.get("delivery-tag") else { panic!("{sent:?}") };
        assert!(tag.len() <= 32 && tags.insert(tag.clone()), "{sent:?}");
        assert!(!sent.flag("more") && !sent.flag("resume") && !sent.flag("aborted"));
    }
}

/// 2.6.14 With the broker, both ways: a message far larger than a frame, in small frames in, in smaller ones out, interleaved
/// with one of another link.
#[test]
fn a_large_message_passes_whole_through_small_frames() {
    let mut peer = Peer::broker();
    peer.open_with(&crate::frames::open().with("max-frame-size", 700_u32));
    peer.begin(0);
    for handle in [0, 1] {
        peer.sender(0, handle, &format!("q{handle}"));
        peer.receiver(0, handle + 2, &format!("q{handle}"));
    }
    let bodies: Vec<Vec<u8>> = [3_u8, 5].iter().map(|n| data(&vec![*n; 20_000])).collect();
    let mut bytes = Vec::new();
    for (n, handle) in [0_u32, 1].into_iter().enumerate() {
        bytes.extend(frame_with(0, &transfer(handle, n as u32).with("more", true), &bodies[n][..10]));
    }
    let parts = bodies[0][10..].chunks(333).zip(bodies[1][10..].chunks(333));
    for (a, b) in parts {
        bytes.extend(frame_with(0, &continuation(0).with("more", true), a));
        bytes.extend(frame_with(0, &continuation(1).with("more", true), b));
    }
    bytes.extend([frame_with(0, &continuation(0), b""), frame_with(0, &continuation(1), b"")].concat());
    peer.send_bytes(&bytes);
    let answered: u32 = peer
        .drain()
        .iter()
        .filter(|f| f.name() == "disposition")
        .map(|f| match f.get("last") {
            V::Uint(last) => last - f.uint("first") + 1,
            _ => 1,
        })
        .sum();
    assert_eq!(answered, 2);
    for handle in [2, 3] {
        peer.credit(0, handle, 0, 1);
    }
    let mut got: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
    let first = peer.theirs(0);
    while got[0].len() < bodies[0].len() || got[1].len() < bodies[1].len() {
        let part = peer.expect("transfer");
        assert_eq!(part.channel, first);
        let which = usize::from(part.payload.last() == Some(&5));
        got[which].extend(&part.payload);
    }
    assert_eq!(got[0], bodies[0]);
    assert_eq!(got[1], bodies[1]);
    assert!(!peer.subject.is_finished());
    peer.send(0, &new("close"));
    peer.expect("close");
}
