//! 2.6.1 to 2.6.3, 2.7.3: names, handles, establishing and refusing.

use crate::{
    frames::{RECEIVER, SENDER, attach_receiver, attach_sender, data, detach, frame, new},
    peer::Peer,
    value::{V, fields, symbol, symbols},
};

/// 2.6.3 "The link endpoint is then mapped to an unused handle, and an attach frame is issued carrying the state of the
/// newly created endpoint."
#[test]
fn an_attach_is_answered_with_the_same_name_and_the_other_role() {
    let mut peer = Peer::ready();
    let out = peer.attach(0, &attach_sender("the link", 40, "q"));
    assert_eq!((out.get("name").text(), out.flag("role")), ("the link", RECEIVER));
    let back = peer.attach(0, &attach_receiver("another", 30, "q"));
    assert_eq!((back.get("name").text(), back.flag("role")), ("another", SENDER));
    assert_ne!(out.uint("handle"), back.uint("handle"));
}

/// 2.7.3 initial-delivery-count "MUST NOT be null if role is sender, and it is ignored if the role is receiver".
#[test]
fn our_sending_attach_has_an_initial_delivery_count() {
    let mut peer = Peer::ready();
    peer.receiver(0, 0, "q").uint("initial-delivery-count");
}

/// 2.7.3 As above, of the peer. What follows from a null is not said; clients that leave it out mean zero.
#[test]
fn a_senders_attach_without_initial_delivery_count_counts_from_zero() {
    let mut peer = Peer::ready();
    peer.attach(0, &attach_sender("x", 0, "q").with("initial-delivery-count", V::Null));
    assert_eq!(peer.expect_flow(Some(0)).uint("delivery-count"), 0);
}

/// 2.7.3 "An attempt to attach using a handle which is already associated with a link MUST be responded to with an
/// immediate close carrying a handle-in-use session-error": a session-error, so it is the session that is closed.
#[test]
fn a_handle_in_use_ends_the_session() {
    let mut peer = Peer::ready();
    peer.sender(0, 0, "q");
    peer.drain();
    peer.send(0, &attach_receiver("other", 0, "q"));
    peer.ended_with(0, "amqp:session:handle-in-use");
}

/// 2.8.17 "unattached-handle: A frame (other than attach) was received referencing a handle which is not currently in use
/// of an attached link."
#[test]
fn a_frame_for_a_handle_not_attached_ends_the_session() {
    for body in [crate::frames::transfer(3, 0), detach(3)] {
        let mut peer = Peer::ready();
        peer.sender(0, 0, "q");
        peer.drain();
        peer.send(0, &body);
        peer.ended_with(0, "amqp:session:unattached-handle");
    }
}

/// 2.6.1 "Link names MUST uniquely identify the link amongst all links of the same direction between the two
/// participating containers": directions do not share names.
#[test]
fn a_sender_and_a_receiver_may_have_the_same_name() {
    let mut peer = Peer::ready();
    peer.attach(0, &attach_sender("same", 0, "q"));
    peer.attach(0, &attach_receiver("same", 1, "q"));
    peer.publish(0, 0, 0, &data(b"x"));
    assert_eq!(peer.expect("disposition").inner("state").name(), "accepted");
    peer.credit(0, 1, 0, 1);
    assert!(peer.expect("transfer").payload.ends_with(&data(b"x")));
}

/// 2.6.1 "the link can be 'stolen', i.e., the second attach succeeds and the first attach MUST then be closed with a link
/// error of stolen."
#[test]
fn an_attach_of_the_same_name_steals_the_link() {
    let mut peer = Peer::ready();
    peer.begin(1);
    let first = peer.attach(0, &attach_receiver("mine", 4, "q"));
    peer.drain();
    peer.send(1, &attach_receiver("mine", 9, "q"));
    let mut got = peer.drain();
    got.retain(|frame| frame.name() != "flow");
    let detach = got.iter().find(|f| f.name() == "detach").expect("a detach");
    assert_eq!((detach.channel, detach.uint("handle")), (peer.theirs(0), first.uint("handle")));
    assert_eq!(detach.condition(), "amqp:link:stolen");
    assert!(detach.flag("closed"));
    let attach = got.iter().find(|f| f.name() == "attach").expect("an attach");
    assert_eq!((attach.channel, attach.get("name").text()), (peer.theirs(1), "mine"));
    assert_ne!(attach.get("source"), &V::Null);
    assert_eq!(got.len(), 2);
    peer.send(0, &crate::frames::detach(4));
    peer.quiet();
    // The new one works.
    peer.fill("q", &[data(b"x")]);
    peer.credit(1, 9, 0, 1);
    assert_eq!(peer.expect("transfer").channel, peer.theirs(1));
}

/// 2.6.2 "The two endpoints are not REQUIRED to use the same handle." 2.7.3 "it is RECOMMENDED that implementations always
/// assign the lowest available handle to this field."
#[test]
fn our_handles_are_the_lowest_free_ones() {
    let mut peer = Peer::ready();
    assert_eq!(peer.sender(0, 100, "q").uint("handle"), 0);
    assert_eq!(peer.sender(0, 50, "q").uint("handle"), 1);
    peer.drain();
    peer.send(0, &detach(100));
    peer.expect("detach");
    assert_eq!(peer.sender(0, 7, "q").uint("handle"), 0);
}

/// 2.6.3 "Note that if the application chooses not to create a terminus, the session endpoint will still create a link
/// endpoint and issue an attach indicating that the link endpoint has no associated local terminus. In this case, the
/// session endpoint MUST immediately detach the newly created link endpoint."
#[test]
fn a_refused_sender_gets_an_attach_with_null_target_and_a_detach_with_the_reason() {
    let mut peer = Peer::ready();
    peer.send(0, &attach_sender("x", 5, "missing"));
    let attach = peer.expect("attach");
    assert_eq!(attach.get("target"), &V::Null);
    assert_eq!(attach.get("name").text(), "x");
    let detach = peer.expect("detach");
    assert_eq!((detach.uint("handle"), detach.condition()), (attach.uint("handle"), "amqp:not-found"));
    assert!(detach.flag("closed"));
    peer.quiet();
    peer.send(0, &crate::frames::detach(5));
    peer.quiet();
    peer.sender(0, 5, "q");
}

/// 2.6.3 As above; for a receiver the local terminus is the source.
#[test]
fn a_refused_receiver_gets_an_attach_with_null_source_and_a_detach_with_the_reason() {
    let mut peer = Peer::ready();
    peer.send(0, &attach_receiver("x", 5, "missing"));
    assert_eq!(peer.expect("attach").get("source"), &V::Null);
    let detach = peer.expect("detach");
    assert_eq!(detach.condition(), "amqp:not-found");
    assert!(detach.flag("closed"));
    peer.send(0, &crate::frames::detach(5));
    peer.receiver(0, 5, "q");
}

/// 2.6.3, 2.6.5 Frames the peer sent before it read of the refusal are for a link that was detached with an error; flows
/// and transfers in flight do not cost the session before the peer can know.
#[test]
fn frames_pipelined_behind_a_refused_attach_do_not_end_the_connection() {
    let mut peer = Peer::ready();
    let flow = peer.flow(0).with("handle", 0_u32).with("link-credit", 10_u32);
    peer.send_bytes(&[frame(0, &attach_receiver("x", 0, "missing")), frame(0, &flow)].concat());
    peer.expect("attach");
    assert_eq!(peer.expect("detach").condition(), "amqp:not-found");
    if let Some(next) = peer.next() {
        assert_eq!((next.name(), next.condition()), ("end", "amqp:session:errant-link"));
    }
    peer.usable();
}

/// 2.7.3 A link without source (receiver) or target (sender): "A link with no target will never permit incoming messages."
/// Null is an address of nothing unless it is the anonymous terminus; it must not cost more than the link.
#[test]
fn an_attach_without_either_terminus_costs_the_link_alone() {
    for attach in [
        attach_sender("x", 0, "q").with("target", V::Null),
        attach_receiver("x", 0, "q").with("source", V::Null),
    ] {
        let mut peer = Peer::ready();
        peer.send(0, &attach.with("unsettled", V::Null));
        peer.expect("attach");
        let detach = peer.expect("detach");
        assert_ne!(detach.condition(), "");
        peer.quiet();
        peer.send(0, &crate::frames::detach(0));
        peer.usable();
    }
}

/// 2.7.3 offered- and desired-capabilities and properties may be absent, one symbol or an array (1.4 "multiple").
#[test]
fn an_attach_with_every_field_is_taken() {
    let mut peer = Peer::ready();
    let full = attach_sender("full", 0, "q")
        .with("snd-settle-mode", 2_u8)
        .with("rcv-settle-mode", 0_u8)
        .with("incomplete-unsettled", false)
        .with("max-message-size", 1_000_000_u64)
        .with("offered-capabilities", symbol("one"))
        .with("desired-capabilities", symbols(&["one", "two"]))
        .with("properties", fields(&[("x", V::Ubyte(1))]));
    let full = full.with(
        "source",
        new("source")
            .with("address", "from")
            .with("durable", 0_u32)
            .with("expiry-policy", symbol("session-end")),
    );
    peer.attach(0, &full);
    peer.publish(0, 0, 0, &data(b"x"));
    peer.expect("disposition");
}

/// 2.7.3 name, handle and role are mandatory.
#[test]
fn an_attach_without_a_mandatory_field_is_refused() {
    for missing in ["name", "handle", "role"] {
        let mut peer = Peer::ready();
        peer.send(0, &attach_sender("x", 0, "q").with(missing, V::Null));
        let answer = peer.next().expect("an answer");
        assert!(matches!(answer.name(), "close" | "end"), "{missing}: {answer:?}");
        assert!(["amqp:decode-error", "amqp:invalid-field"].contains(&answer.condition()), "{answer:?}");
    }
}

/// 2.7.3 max-message-size: "If this field is zero or unset, there is no maximum size imposed by the link endpoint." Ours is
/// told where there is one.
#[test]
fn our_receiving_attach_tells_the_largest_message_it_takes() {
    let mut peer = Peer::ready();
    assert_eq!(peer.sender(0, 0, "q").get("max-message-size"), &V::Ulong(verdict::limits::MAX_MESSAGE_SIZE));
}

/// 2.6.1 "Link names are only used when attaching a link, so they can be arbitrarily long without a significant penalty":
/// 1,000 bytes are fine, and the empty name is a name.
#[test]
fn long_and_empty_names_are_names() {
    let mut peer = Peer::ready();
    for (handle, name) in ["", &"n".repeat(1000), "ü ∆ \u{0} x"].into_iter().enumerate() {
        peer.attach(0, &attach_sender(name, handle as u32, "q"));
    }
}

/// 2.6.13, 2.7.3 A non-null unsettled map resumes; a broker that forgot everything ignores what only the target has, and
/// the link comes up.
#[test]
fn an_attach_with_an_unsettled_map_is_taken() {
    let mut peer = Peer::ready();
    let unsettled = V::Map(vec![
        (V::Binary(vec![1]), V::Null),
        (V::Binary(vec![2]), new("accepted").into()),
        (
            V::Binary(vec![3]),
            new("received").with("section-number", 0_u32).with("section-offset", 0_u64).into(),
        ),
    ]);
    peer.attach(0, &attach_receiver("r", 0, "q").with("unsettled", unsettled.clone()));
    let answer = peer.attach(0, &attach_sender("s", 1, "q").with("unsettled", unsettled));
    assert!(matches!(answer.get("unsettled"), V::Null | V::Map(_)));
    peer.publish(0, 1, 0, &data(b"x"));
    peer.expect("disposition");
}
