//! 3.5.3 source, and 3.3.2, 3.5.1, 3.5.2: what a consumer may ask for.

use crate::{
    frames::{attach_receiver, data, detach, new, settle},
    peer::Peer,
    subject::Whole,
    value::{Composite, V, fields, symbol, symbols},
};

fn asking(source: Composite) -> (Peer<Whole>, Composite) {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"1"), data(b"2")]);
    let answer = peer.attach(0, &attach_receiver("x", 0, "q").with("source", source));
    let source = answer.inner("source").clone();
    (peer, source)
}

fn from_q() -> Composite {
    new("source").with("address", "q")
}

/// The attach must have been refused: null source, then this.
fn refused(source: Composite) -> Composite {
    let mut peer = Peer::ready();
    peer.send(0, &attach_receiver("x", 0, "q").with("source", source));
    assert_eq!(peer.expect("attach").get("source"), &V::Null);
    let error = peer.expect("detach").inner("error").clone();
    peer.quiet();
    peer.send(0, &detach(0));
    peer.usable();
    error
}

/// 3.5.3 "address: [...] The address of the source MUST be set when sent on an attach frame sent by the sending link
/// endpoint": as it was written.
#[test]
fn the_address_is_echoed_as_it_was_written() {
    for address in ["q", "a b", "queue/ä", "q/$deadletter"] {
        let mut peer = Peer::ready();
        let answer = peer.receiver(0, 0, address);
        assert_eq!(answer.inner("source").get("address"), &V::Str(address.to_owned()));
    }
}

/// 3.5.3 dynamic: "When set to true by the receiving link endpoint, this field constitutes a request for the sending peer to
/// dynamically create a node at the source. [...] the address field will contain the address of the created node."
#[test]
fn a_dynamic_source_gets_a_node_of_its_own() {
    let mut peer = Peer::ready();
    let dynamic = new("source").with("dynamic", true);
    let mut addresses = Vec::new();
    for handle in [0, 1] {
        let attach = attach_receiver(&format!("d{handle}"), handle, "").with("source", dynamic.clone());
        let answer = peer.attach(0, &attach);
        let source = answer.inner("source");
        assert!(source.flag("dynamic"));
        addresses.push(source.get("address").text().to_owned());
    }
    assert!(!addresses[0].is_empty() && addresses[0] != addresses[1]);
    // Others reach it by its address.
    peer.sender(0, 2, &addresses[0]);
    peer.publish(0, 2, 0, &data(b"reply"));
    assert_eq!(peer.expect("disposition").inner("state").name(), "accepted");
    peer.credit(0, 0, 0, 1);
    assert!(peer.expect("transfer").payload.ends_with(&data(b"reply")));
}

/// 3.5.9 "Definitionally, the lifetime will never be less than the lifetime of the link which caused its creation". 3.5.10
/// delete-on-close: "will be deleted at the point that the link which caused its creation ceases to exist."
#[test]
fn a_dynamic_node_ends_with_the_link_that_made_it() {
    let policy = fields(&[("lifetime-policy", new("delete-on-close").into())]);
    for source in [
        new("source").with("dynamic", true),
        new("source").with("dynamic", true).with("dynamic-node-properties", policy),
    ] {
        let mut peer = Peer::ready();
        let answer = peer.attach(0, &attach_receiver("d", 0, "").with("source", source));
        let address = answer.inner("source").get("address").text().to_owned();
        assert!(peer.subject.house.borrow().has(&address));
        peer.send(0, &detach(0));
        peer.expect("detach");
        peer.run();
        assert!(!peer.subject.house.borrow().has(&address));
    }
}

/// 3.5.11 delete-on-no-links: "will be deleted at the point that there remain no links for which the node is either the source
/// or target."
#[test]
fn delete_on_no_links_waits_for_the_last_link() {
    let mut peer = Peer::ready();
    let policy = fields(&[("lifetime-policy", new("delete-on-no-links").into())]);
    let source = new("source").with("dynamic", true).with("dynamic-node-properties", policy);
    let answer = peer.attach(0, &attach_receiver("d", 0, "").with("source", source));
    let address = answer.inner("source").get("address").text().to_owned();
    peer.sender(0, 1, &address);
    peer.drain();
    peer.send(0, &detach(0));
    peer.expect("detach");
    assert!(peer.subject.house.borrow().has(&address));
    peer.send(0, &detach(1));
    peer.expect("detach");
    peer.run();
    assert!(!peer.subject.house.borrow().has(&address));
}

/// 3.5.3 dynamic: "In this case the address field MUST NOT be set" by the one who asks. Set, it is an error of the link at
/// most, or ignored; the node's address is never the one asked for silently shared.
#[test]
fn a_dynamic_source_with_an_address_shares_no_existing_node() {
    let mut peer = Peer::ready();
    peer.fill("q", &[data(b"1")]);
    peer.send(0, &attach_receiver("d", 0, "q").with("source", from_q().with("dynamic", true)));
    let answer = peer.expect("attach");
    match answer.get("source") {
        V::Null => assert_ne!(peer.expect("detach").condition(), ""),
        V::Composite(source) => assert_ne!(source.get("address").text(), "q"),
        other => panic!("{other:?}"),
    }
}

/// 3.5.3 distribution-mode: "This field MUST be set by the sending end of the link if the endpoint supports more than one
/// distribution-mode."
#[test]
fn the_distribution_mode_in_force_is_told() {
    for (asked, told) in [(V::Null, "move"), (symbol("move"), "move"), (symbol("copy"), "copy")] {
        let (_, source) = asking(from_q().with("distribution-mode", asked));
        assert_eq!(source.get("distribution-mode"), &symbol(told));
    }
}

/// 3.3.2 "The copy distribution-mode leaves the state of the message unchanged at the distribution node. [...] A source MUST NOT
/// resend a message which has previously been successfully transferred from the source".
#[test]
fn a_copy_consumer_sees_each_message_once_and_takes_none() {
    let (mut peer, _) = asking(from_q().with("distribution-mode", symbol("copy")));
    peer.credit(0, 0, 0, 10);
    for body in [b"1", b"2"] {
        let got = peer.expect("transfer");
        assert!(got.payload.ends_with(&data(body)));
        peer.send(0, &settle(got.uint("delivery-id"), got.uint("delivery-id"), new("accepted")));
    }
    peer.quiet();
    assert_eq!(peer.subject.house.borrow().counts("q").0.available, 2);
    peer.receiver(0, 1, "q");
    peer.credit(0, 1, 0, 10);
    peer.expect("transfer");
    peer.expect("transfer");
}

/// 3.5.3 distribution-mode: one that is not known cannot be granted.
#[test]
fn an_unknown_distribution_mode_costs_the_link_at_most() {
    let mut peer = Peer::ready();
    peer.send(
        0,
        &attach_receiver("x", 0, "q").with("source", from_q().with("distribution-mode", symbol("shuffle"))),
    );
    let answer = peer.expect("attach");
    match answer.get("source") {
        V::Null => assert_ne!(peer.expect("detach").condition(), ""),
        V::Composite(source) => assert_ne!(source.get("distribution-mode").text(), "shuffle"),
        other => panic!("{other:?}"),
    }
    peer.usable();
}

/// 3.5.3 filter: "The receiving endpoint sets its desired filter, the sending endpoint sets the filter actually in place". A
/// filter that is not known is not in place.
#[test]
fn an_unknown_filter_is_not_echoed() {
    let filter = V::Described(Box::new(symbol("x:my-filter:string")), Box::new("colour = 'red'".into()));
    let (mut peer, source) = asking(from_q().with("filter", fields(&[("mine", filter)])));
    match source.get("filter") {
        V::Null => {}
        filter @ V::Map(_) => assert_eq!(filter.at("mine"), None),
        other => panic!("{other:?}"),
    }
    peer.credit(0, 0, 0, 1);
    peer.expect("transfer");
}

const SELECTOR: &str = "apache.org:selector-filter:string";

fn selector(descriptor: V, text: &str) -> V {
    V::Described(Box::new(descriptor), Box::new(text.into()))
}

/// As above, "the sending endpoint sets the filter actually in place": of several, those that are, as they were written. By
/// either descriptor (1.2), under any key.
#[test]
fn of_several_filters_those_in_place_are_echoed() {
    for descriptor in [symbol(SELECTOR), V::Ulong(0x0000_468c_0000_0004)] {
        let selector = selector(descriptor, "JMSPriority > 9");
        let other = V::Described(Box::new(V::Ulong(77)), Box::new(V::List(vec![V::Uint(1)])));
        let filters = [("any-key", selector.clone()), ("other", other), ("none", V::Null)];
        let (mut peer, source) = asking(from_q().with("filter", fields(&filters)));
        assert_eq!(source.get("filter"), &fields(&[("any-key", selector)]));
        peer.credit(0, 0, 0, 10);
        peer.quiet();
        assert_eq!(peer.subject.house.borrow().counts("q").0.available, 2);
    }
}

/// 3.5.8 "A message will pass through a filter-set if and only if it passes through each of the named filters."
#[test]
fn a_message_must_pass_through_each_of_the_filters() {
    let filter = |text| selector(symbol(SELECTOR), text);
    for (a, b, passes) in [("TRUE", "TRUE", true), ("TRUE", "FALSE", false), ("FALSE", "TRUE", false)] {
        let filters = fields(&[("a", filter(a)), ("b", filter(b))]);
        let (mut peer, _) = asking(from_q().with("filter", filters));
        peer.credit(0, 0, 0, 1);
        if passes {
            peer.expect("transfer");
        }
        peer.quiet();
    }
}

/// 3.5.8 "If the value for a given [filter] is null, [...] all messages pass through the null filter"; a filter that is not
/// known is not in place. Neither hurts anybody, whatever it is made of.
#[test]
fn what_is_no_known_filter_lets_all_messages_pass() {
    for odd in [V::Null, V::Uint(1), "text".into(), selector(symbol("x:other:string"), "FALSE")] {
        let (mut peer, _) = asking(from_q().with("filter", fields(&[("odd", odd)])));
        peer.credit(0, 0, 0, 2);
        peer.expect("transfer");
        peer.expect("transfer");
        peer.usable();
    }
}

/// 3.5.3 As above: a filter that cannot be understood cannot be put in place, and none instead would hand out what was not
/// asked for. The error says where it is wrong.
#[test]
fn a_malformed_selector_refuses_the_link_with_its_place() {
    for wrong in [selector(symbol(SELECTOR), "colour = "), selector(V::Ulong(0x0000_468c_0000_0004), "a b")] {
        let error = refused(from_q().with("filter", fields(&[("jms-selector", wrong)])));
        assert_eq!(error.get("condition"), &symbol("amqp:invalid-field"));
        let why = error.get("description").text().to_owned();
        assert!(why.contains("jms-selector") && why.contains("at character"), "{why}");
    }
    let number = V::Described(Box::new(symbol(SELECTOR)), Box::new(V::Uint(1)));
    let error = refused(from_q().with("filter", fields(&[("s", number)])));
    assert_eq!(error.get("condition"), &symbol("amqp:invalid-field"));
}

/// 2.6.7 drain with a filter: "the sender will (after sending all available messages) advance the delivery-count as much as
/// possible": what does not pass is not available to this link.
#[test]
fn a_drain_with_a_filter_ends_when_nothing_more_passes() {
    let filter = fields(&[("s", selector(symbol(SELECTOR), "JMSPriority = 9"))]);
    let (mut peer, _) = asking(from_q().with("filter", filter));
    let drain = peer.flow(0).with("handle", 0_u32).with("delivery-count", 0_u32);
    peer.send(0, &drain.with("link-credit", 5_u32).with("drain", true));
    let flow = peer.expect_flow(Some(0));
    assert_eq!((flow.uint("delivery-count"), flow.uint("link-credit")), (5, 0));
}

/// 3.5.3 default-outcome: "Indicates the outcome to be used for transfers that have not reached a terminal state at the
/// receiver when the transfer is settled, including when the source is destroyed." It is told as it will be applied.
#[test]
fn the_default_outcome_asked_for_is_told_and_applied() {
    let (mut peer, source) =
        asking(from_q().with("default-outcome", new("modified").with("delivery-failed", true)));
    let told = source.inner("default-outcome");
    assert_eq!((told.name(), told.flag("delivery-failed")), ("modified", true));
    peer.credit(0, 0, 0, 1);
    peer.expect("transfer");
    peer.send(0, &settle(0, 0, new("accepted")).with("state", V::Null));
    peer.credit(0, 0, 1, 1);
    let payload = peer.expect("transfer").payload;
    assert_eq!(header(&payload).uint("delivery-count"), 1);
}

fn header(payload: &[u8]) -> Composite {
    let mut rest = payload;
    match crate::value::decode(&mut rest) {
        V::Composite(header) if header.name() == "header" => header,
        other => panic!("expected a header, got {other:?}"),
    }
}

/// 3.5.3 As above, "including when the source is destroyed": a link that is closed.
#[test]
fn the_default_outcome_is_applied_when_the_link_is_closed() {
    let (mut peer, _) = asking(from_q().with("default-outcome", new("rejected")));
    peer.credit(0, 0, 0, 1);
    peer.expect("transfer");
    peer.send(0, &detach(0));
    peer.expect("detach");
    peer.run();
    assert_eq!(peer.subject.house.borrow().counts("q").1.available, 1);
}

/// 3.5.3 Where none was asked for, the one that is applied is told (or none, which would be none to rely on).
#[test]
fn without_a_default_outcome_released_is_told() {
    let (_, source) = asking(from_q());
    assert_eq!(source.inner("default-outcome").name(), "released");
}

/// 3.5.3 outcomes: "The values in this field are the symbolic descriptors of the outcomes that can be chosen on this link."
#[test]
fn outcomes_in_force_are_told() {
    let all = ["amqp:accepted:list", "amqp:rejected:list", "amqp:released:list", "amqp:modified:list"];
    let (_, source) = asking(from_q());
    let mut told = source.get("outcomes").symbols();
    told.sort();
    let mut expected = all.to_vec();
    expected.sort_unstable();
    assert_eq!(told, expected);
    let (_, source) = asking(from_q().with("outcomes", symbols(&all[..2])));
    assert_eq!(source.get("outcomes").symbols(), all[..2]);
    // One symbol is as good as an array of one (1.4).
    let (_, source) = asking(from_q().with("outcomes", symbol(all[0])));
    assert_eq!(source.get("outcomes").symbols(), all[..1]);
}

/// 3.5.3 As above: another cannot be chosen.
#[test]
fn an_outcome_outside_of_those_in_force_detaches_the_link() {
    let (mut peer, _) = asking(from_q().with("outcomes", symbol("amqp:accepted:list")));
    peer.credit(0, 0, 0, 1);
    peer.expect("transfer");
    peer.send(0, &settle(0, 0, new("rejected")));
    peer.detached_with(0, 0, "amqp:not-allowed");
    assert_eq!(peer.subject.house.borrow().counts("q").1.available, 0);
}

/// 3.5.3 "When present, the values MUST be a symbolic descriptor of a valid outcome": others are not implemented here, which
/// is the link's affair.
#[test]
fn an_outcome_we_do_not_have_refuses_the_link_with_not_implemented() {
    let error = refused(from_q().with("outcomes", symbols(&["amqp:accepted:list", "x:quarantined:list"])));
    assert_eq!(error.get("condition"), &symbol("amqp:not-implemented"));
    let unknown = V::Described(Box::new(symbol("x:quarantined:list")), Box::new(V::List(Vec::new())));
    let error = refused(from_q().with("default-outcome", unknown));
    assert_eq!(error.get("condition"), &symbol("amqp:not-implemented"));
}

/// 3.5.3 capabilities may be one symbol or an array (1.4 "multiple"); a kind of node that is not there refuses the link.
#[test]
fn capabilities_may_be_one_symbol_or_an_array() {
    asking(from_q().with("capabilities", symbol("queue")));
    asking(from_q().with("capabilities", symbols(&["queue", "x"])));
    for capabilities in [symbol("topic"), symbols(&["topic"])] {
        let error = refused(from_q().with("capabilities", capabilities));
        assert_eq!(error.get("condition"), &symbol("amqp:not-implemented"));
    }
}

/// 3.5.5, 3.5.6 durable, expiry-policy and timeout have the values of their types; others cost the link.
#[test]
fn an_unknown_expiry_policy_or_durability_costs_the_link_at_most() {
    for source in [from_q().with("expiry-policy", symbol("full-moon")), from_q().with("durable", 77_u32)] {
        let mut peer = Peer::ready();
        peer.send(0, &attach_receiver("x", 0, "q").with("source", source));
        let answer = peer.expect("attach");
        if answer.get("source") == &V::Null {
            assert_ne!(peer.expect("detach").condition(), "");
        }
        peer.usable();
    }
}

/// 3.5.3 address is of type * : one that is no string is no address here.
#[test]
fn an_address_that_is_no_string_costs_the_link() {
    for address in [V::Uint(7), V::Binary(vec![1]), V::List(Vec::new())] {
        let error = refused(new("source").with("address", address));
        assert_ne!(error.get("condition").text(), "");
    }
}

/// 2.7.3 source is of type *: what is no source at all costs the link.
#[test]
fn a_source_of_an_unknown_type_costs_the_link() {
    let unknown = V::Described(Box::new(symbol("x:my-source:list")), Box::new(V::List(Vec::new())));
    let mut peer = Peer::ready();
    peer.send(0, &attach_receiver("x", 0, "q").with("source", unknown));
    assert_eq!(peer.expect("attach").get("source"), &V::Null);
    assert_ne!(peer.expect("detach").condition(), "");
    peer.send(0, &detach(0));
    peer.usable();
}
