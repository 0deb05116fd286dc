//! 2.7.4: link state properties of flows, which tell consumers what the queue's retry-storm breaker does.

use crate::{
    frames::{data, new, settle},
    peer::Peer,
    subject::Whole,
    value::{V, symbol},
};

/// The link state a flow tells: its properties' breaker state, and until when.
fn state(peer: &mut Peer<Whole>, handle: u32) -> (String, Option<i64>) {
    let flow = peer.expect_flow(Some(handle));
    let V::Map(pairs) = flow.get("properties") else { panic!("no properties: {flow:?}") };
    let get = |key: &str| pairs.iter().find(|(k, _)| *k == symbol(key)).map(|(_, value)| value.clone());
    let Some(V::Symbol(state)) = get("verdict:breaker-state") else { panic!("{pairs:?}") };
    let until = match get("verdict:breaker-until") {
        Some(V::Timestamp(ms)) => Some(ms),
        None => None,
        other => panic!("{other:?}"),
    };
    (state, until)
}

/// A queue of 100 messages, and a consumer that fails what it gets, 20 messages, so that its breaker opens.
fn storm() -> Peer<Whole> {
    let mut peer = Peer::ready();
    peer.fill("q", &vec![data(b"x"); 100]);
    peer.receiver(0, 0, "q");
    peer.credit(0, 0, 0, 20);
    let (mut first, mut last) = (None, 0);
    for _ in 0..20 {
        last = peer.expect("transfer").uint("delivery-id");
        first.get_or_insert(last);
    }
    peer.quiet();
    let failed = new("modified").with("delivery-failed", true);
    peer.send(0, &settle(first.unwrap_or(0), last, failed));
    peer
}

/// 2.7.4 "properties: link state properties"; 2.6.7 the flow itself is as any other: delivery-count and credit as they are.
#[test]
fn a_consumer_is_told_when_the_breaker_opens_probes_and_closes() {
    let mut peer = storm();
    let now = i64::try_from(peer.now.0).unwrap_or(0);
    assert_eq!(state(&mut peer, 0), ("open".to_owned(), Some(now + 1000)));
    peer.silent();
    peer.credit(0, 0, 20, 1);
    peer.silent();
    peer.pass_ms(1000);
    let flow = peer.next().unwrap_or_else(|| panic!("nothing came"));
    // The state first, then the probe, or the other way round: it is the same moment.
    assert!(["flow", "transfer"].contains(&flow.name()), "{flow:?}");
    let rest = peer.drain();
    let all: Vec<_> = std::iter::once(flow).chain(rest).collect();
    let told: Vec<_> = all.iter().filter(|f| f.name() == "flow" && f.get("properties") != &V::Null).collect();
    assert_eq!(told.len(), 1, "{all:?}");
    assert_eq!(
        told[0].get("properties"),
        &V::Map(vec![(symbol("verdict:breaker-state"), symbol("half-open"))])
    );
    let mut id = all.iter().find(|f| f.name() == "transfer").expect("a probe").uint("delivery-id");
    let mut count = 21;
    let closed = 'closed: loop {
        peer.send(0, &settle(id, id, new("accepted")));
        peer.credit(0, 0, count, 1);
        for frame in peer.drain() {
            match frame.name() {
                "transfer" => id = frame.uint("delivery-id"),
                _ if frame.get("properties") != &V::Null => break 'closed frame,
                _ => {}
            }
        }
        count += 1;
        assert!(count < 200, "it never closes");
    };
    assert_eq!(closed.get("properties"), &V::Map(vec![(symbol("verdict:breaker-state"), symbol("closed"))]));
}

#[test]
fn a_link_that_comes_while_the_breaker_is_open_is_told_without_having_given_credit() {
    let mut peer = storm();
    peer.drain();
    let mut other = Peer::beside(&peer, 2);
    other.open();
    other.begin(0);
    other.receiver(0, 0, "q");
    other.run();
    assert_eq!(state(&mut other, 0).0, "open");
    other.silent();
    // The dead letters are not held back.
    other.receiver(0, 1, "q/$deadletter");
    other.silent();
}
