//! 3.5.4 target: where a publisher sends to.

use crate::{
    frames::{attach_sender, data, detach, new},
    peer::Peer,
    value::{V, symbol, symbols},
};

/// 3.5.4 address: as it was written.
#[test]
fn the_address_is_echoed_as_it_was_written() {
    for address in ["q", "a b", "queue/ä"] {
        let mut peer = Peer::ready();
        let answer = peer.sender(0, 0, address);
        assert_eq!(answer.inner("target").get("address"), &V::Str(address.to_owned()));
    }
}

/// 3.5.4 dynamic: "the address field will contain the address of the created node."
#[test]
fn a_dynamic_target_gets_a_node_of_its_own() {
    let mut peer = Peer::ready();
    let answer =
        peer.attach(0, &attach_sender("d", 0, "").with("target", new("target").with("dynamic", true)));
    let target = answer.inner("target");
    assert!(target.flag("dynamic"));
    let address = target.get("address").text().to_owned();
    assert!(!address.is_empty());
    peer.publish(0, 0, 0, &data(b"x"));
    assert_eq!(peer.expect("disposition").inner("state").name(), "accepted");
    peer.receiver(0, 1, &address);
    peer.credit(0, 1, 0, 1);
    assert!(peer.expect("transfer").payload.ends_with(&data(b"x")));
    peer.send(0, &detach(0));
    peer.expect("detach");
    peer.run();
    assert!(!peer.subject.house.borrow().has(&address));
}

/// 3.5.4 A target without an address is the anonymous terminus (in the field: capability ANONYMOUS-RELAY): each message
/// names its node in properties.to (3.2.4 "The to field identifies the node that is the intended destination").
#[test]
fn a_target_without_address_goes_by_the_messages_to() {
    let mut peer = Peer::ready();
    peer.attach(0, &attach_sender("relay", 0, "").with("target", new("target")));
    for (id, to) in ["a", "b", "a"].into_iter().enumerate() {
        peer.publish(0, 0, id as u32, &[new("properties").with("to", to).encode(), data(b"x")].concat());
        assert_eq!(peer.expect("disposition").inner("state").name(), "accepted");
    }
    let house = peer.subject.house.borrow();
    assert_eq!((house.counts("a").0.available, house.counts("b").0.available), (2, 1));
}

/// 3.5.4 Over an anonymous terminus, a message that leads nowhere is refused by itself: the next one may lead somewhere.
#[test]
fn over_an_anonymous_target_a_message_to_nowhere_is_rejected_alone() {
    let mut peer = Peer::ready();
    peer.attach(0, &attach_sender("relay", 0, "").with("target", new("target")));
    peer.publish(0, 0, 0, &[new("properties").with("to", "missing").encode(), data(b"x")].concat());
    let answer = peer.expect("disposition");
    assert_eq!(
        (answer.inner("state").name(), answer.inner("state").condition()),
        ("rejected", "amqp:not-found")
    );
    peer.publish(0, 0, 1, &data(b"no to at all"));
    let answer = peer.expect("disposition");
    assert_eq!(answer.inner("state").name(), "rejected");
    peer.publish(0, 0, 2, &[new("properties").with("to", "a").encode(), data(b"x")].concat());
    assert_eq!(peer.expect("disposition").inner("state").name(), "accepted");
}

/// 3.5.4 capabilities: one symbol or an array; a kind of node we do not have refuses the link (2.6.3).
#[test]
fn capabilities_may_be_one_symbol_or_an_array() {
    for (capabilities, fine) in [
        (symbol("queue"), true),
        (symbols(&["queue"]), true),
        (symbol("topic"), false),
        (symbols(&["x", "topic"]), false),
    ] {
        let mut peer = Peer::ready();
        let target = new("target").with("address", "q").with("capabilities", capabilities);
        peer.send(0, &attach_sender("x", 0, "q").with("target", target));
        let answer = peer.expect("attach");
        assert_eq!(answer.get("target") != &V::Null, fine);
        if !fine {
            assert_eq!(peer.expect("detach").condition(), "amqp:not-implemented");
        }
    }
}

/// 2.7.3 target is of type *: one that is not known (a transaction coordinator counts as one where there are none) costs the
/// link.
#[test]
fn a_target_of_an_unknown_type_costs_the_link() {
    for descriptor in [symbol("x:my-target:list"), symbol("amqp:coordinator:list"), V::Ulong(0x30)] {
        let unknown = V::Described(Box::new(descriptor), Box::new(V::List(Vec::new())));
        let mut peer = Peer::ready();
        peer.send(0, &attach_sender("x", 0, "q").with("target", unknown));
        assert_eq!(peer.expect("attach").get("target"), &V::Null);
        assert_eq!(peer.expect("detach").condition(), "amqp:not-implemented");
        peer.send(0, &detach(0));
        peer.usable();
    }
}

/// 3.5.4 address is of type *: one that is no string is no address here.
#[test]
fn an_address_that_is_no_string_costs_the_link() {
    for address in [V::Uint(7), V::Map(Vec::new())] {
        let mut peer = Peer::ready();
        peer.send(0, &attach_sender("x", 0, "q").with("target", new("target").with("address", address)));
        assert_eq!(peer.expect("attach").get("target"), &V::Null);
        assert_ne!(peer.expect("detach").condition(), "");
        peer.send(0, &detach(0));
        peer.usable();
    }
}
