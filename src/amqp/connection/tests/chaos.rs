//! Frames that are well-formed and make no sense, and an application that answers as it likes: what is told must
//! still add up.

use std::collections::BTreeSet;

use fe2o3_amqp_types::{
    definitions::{AmqpError, Handle},
    performatives::{Begin, Detach, End},
};
use proptest::prelude::*;

use super::*;
use crate::amqp::codec::{
    Disposition, Flow, FrameKind, Transfer, encode_attach, encode_begin, encode_detach, encode_disposition,
    encode_end, encode_flow, encode_transfer, frame_end, frame_start,
};

#[derive(Debug, Clone)]
enum Step {
    Begin(u16),
    End(u16),
    Attach(u16, u32, u8, bool, bool),
    Detach(u16, u32, bool),
    Flow(u16, Option<u32>, u32, u32, bool, bool),
    Transfer(u16, u32, u32, usize, bool, bool, bool),
    Dispose(u16, bool, u32, u32, bool),
    /// The application does this to a link it knows.
    App(u8, usize),
    Output(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (channel, handle) = (|| 0u16..2, || 0u32..4);
    let accept = || (0u8..3, 0usize..3).prop_map(|(what, which)| Step::App(what, which));
    prop_oneof![
        2 => channel().prop_map(Step::Begin),
        1 => channel().prop_map(Step::End),
        4 => (channel(), handle(), 0u8..6, any::<bool>(), any::<bool>())
            .prop_map(|(c, h, name, role, second)| Step::Attach(c, h, name, role, second)),
        1 => (channel(), handle(), any::<bool>()).prop_map(|(c, h, closed)| Step::Detach(c, h, closed)),
        12 => (channel(), prop::option::of(handle()), 0u32..5, 0u32..20, any::<bool>(), any::<bool>())
            .prop_map(|(c, h, count, credit, drain, echo)| Step::Flow(c, h, count, credit, drain, echo)),
        20 => (channel(), handle(), 0u32..30, 0usize..40, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(c, h, id, len, more, settled, aborted)| Step::Transfer(c, h, id, len, more, settled, aborted)),
        8 => (channel(), any::<bool>(), 0u32..30, 0u32..40, any::<bool>())
            .prop_map(|(c, role, first, len, settled)| Step::Dispose(c, role, first, len, settled)),
        4 => accept(),
        24 => (3u8..25, 0usize..6).prop_map(|(what, which)| Step::App(what, which)),
        8 => (0usize..4_000).prop_map(Step::Output),
    ]
}

fn encode(step: &Step, next_id: &mut u32, continues: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let channel = match *step {
        Step::Begin(c) | Step::End(c) | Step::Attach(c, ..) | Step::Detach(c, ..) => c,
        Step::Flow(c, ..) | Step::Transfer(c, ..) | Step::Dispose(c, ..) => c,
        Step::App(..) | Step::Output(_) => return out,
    };
    let start = frame_start(&mut out, FrameKind::Amqp, channel);
    match *step {
        Step::Flow(_, handle, count, credit, drain, echo) => encode_flow(
            &Flow {
                next_incoming_id: Some(count),
                incoming_window: 9 + 10 * credit,
                handle,
                delivery_count: Some(count),
                link_credit: Some(credit),
                drain,
                echo,
                ..Flow::default()
            },
            &mut out,
        ),
        Step::Transfer(_, handle, skip, len, more, settled, aborted) => {
            // Mostly in order, now and then again.
            if skip > 0 && !continues {
                *next_id += 1;
            }
            let transfer = Transfer {
                handle,
                delivery_id: (!continues).then_some(*next_id),
                delivery_tag: (!continues).then_some(b"t"),
                settled: Some(settled),
                more,
                aborted,
                ..Transfer::default()
            };
            encode_transfer(&transfer, &mut out);
            out.resize(out.len() + len, 7);
        }
        Step::Dispose(_, receiver, first, len, settled) => encode_disposition(
            &Disposition {
                role: if receiver { Role::Receiver } else { Role::Sender },
                first,
                last: Some(first.wrapping_add(len)),
                settled,
                state: Some(DeliveryState::Accepted),
                batchable: false,
            },
            &mut out,
        ),
        _ => encode_rare(step, &mut out),
    }
    frame_end(&mut out, start);
    out
}

fn encode_rare(step: &Step, out: &mut Vec<u8>) {
    match *step {
        Step::Begin(_) => encode_begin(
            &Begin {
                remote_channel: None,
                next_outgoing_id: 0,
                incoming_window: 7,
                outgoing_window: 7,
                handle_max: Handle(10),
                offered_capabilities: None,
                desired_capabilities: None,
                properties: None,
            },
            out,
        ),
        Step::End(_) => encode_end(&End { error: None }, out),
        Step::Attach(_, handle, name, sender, second) => {
            let role = if sender { Role::Sender } else { Role::Receiver };
            let mode = if second { ReceiverSettleMode::Second } else { ReceiverSettleMode::First };
            let named = attach(&format!("n{name}"), role);
            encode_attach(&Attach { handle: Handle(handle), rcv_settle_mode: mode, ..named }, out);
        }
        Step::Detach(_, handle, closed) => {
            encode_detach(&Detach { handle: Handle(handle), closed, error: None }, out);
        }
        _ => {}
    }
}

/// What the application may know, and whether it is told so that it adds up.
#[derive(Default)]
struct Ledger {
    sessions: BTreeSet<SessionId>,
    links: BTreeSet<LinkId>,
    all: Vec<LinkId>,
    /// Sent and not yet answered, settled or given back.
    outstanding: BTreeSet<(LinkId, u64)>,
    closed: bool,
    next_token: u64,
}

impl Ledger {
    fn told(&mut self, event: &Event) {
        match event {
            Event::Begun { session, .. } => assert!(self.sessions.insert(*session)),
            Event::Attach { session, link, .. } => {
                assert!(self.sessions.contains(session) && self.links.insert(*link));
                self.all.push(*link);
            }
            Event::Credit { link, .. }
            | Event::SenderFlow { link, .. }
            | Event::SenderSettled { link, .. } => {
                assert!(self.links.contains(link), "{event:?} of a link that is gone");
            }
            Event::Message(message) => assert!(self.links.contains(&message.link)),
            Event::Disposition { link, tokens, settled, .. } => {
                assert!(self.links.contains(link), "{event:?} of a link that is gone");
                for token in tokens {
                    assert!(self.outstanding.contains(&(*link, *token)), "{token} told again");
                    if *settled {
                        self.outstanding.remove(&(*link, *token));
                    }
                }
            }
            Event::Detached { link, unsettled, .. } => {
                assert!(self.links.remove(link), "{link:?} detached twice");
                for token in unsettled {
                    assert!(self.outstanding.remove(&(*link, *token)), "{token} given back twice");
                }
                let left = self.outstanding.iter().find(|(other, _)| other == link);
                assert_eq!(left, None, "a delivery was lost");
                assert!(unsettled.is_sorted(), "out of order: {unsettled:?}");
            }
            Event::Ended { session, .. } => assert!(self.sessions.remove(session)),
            Event::Closed { .. } => {
                assert!(self.links.is_empty() && self.sessions.is_empty());
                self.closed = true;
            }
            _ => {}
        }
    }

    fn act(&mut self, engine: &mut Connection, what: u8, which: usize) {
        let Some(&link) = self.all.get(self.all.len().wrapping_sub(1 + which)) else { return };
        match what {
            0..=2 => engine.accept_attach(link, AttachReply::default()),
            3 => {
                engine.refuse_attach(link, AmqpError::NotFound.into());
            }
            4 => engine.set_credit(link, 5),
            5 => engine.detach(link, true, None),
            6 => engine.sender_flow(link, 0, which.is_multiple_of(2)),
            7 => engine.dispose(link, 0, 20, true, DeliveryState::Accepted),
            8 => engine.drain(link, 3),
            9 => engine.set_credit(link, 9),
            _ if self.links.contains(&link) => {
                self.next_token += 1;
                engine.send(link, message(self.next_token, &[1; 700]));
                self.outstanding.insert((link, self.next_token));
            }
            _ => {}
        }
    }
}

/// A server that has opened towards a peer with frames of 512 bytes.
fn opened() -> Connection {
    let small = Config { max_frame_size: 512, ..config("peer") };
    let mut peer = Connection::client(small, ClientSasl::Bare, Millis(0));
    let mut server = Connection::server(config("server"), Millis(0));
    let bytes = peer.output().to_vec();
    server.handle_input(&bytes, Millis(0));
    server.poll_event();
    server.open();
    server
}

/// The peer would only break the protocol with this: most such steps are left out, or little else would happen.
fn is_violation(server: &Connection, step: &Step) -> bool {
    let session = |remote: u16| {
        let channel = server.remote_channels.get(usize::from(remote)).copied()?;
        server.sessions.get(usize::from(channel))?.as_deref()
    };
    let attached = |remote: u16, handle: u32| session(remote)?.local_handle(handle);
    match *step {
        Step::Begin(channel) => session(channel).is_some(),
        Step::End(channel) | Step::Dispose(channel, ..) | Step::Flow(channel, None, ..) => {
            session(channel).is_none()
        }
        Step::Attach(channel, handle, ..) => {
            session(channel).is_none() || attached(channel, handle).is_some()
        }
        Step::Detach(channel, handle, _) | Step::Flow(channel, Some(handle), ..) => {
            attached(channel, handle).is_none()
        }
        Step::Transfer(channel, handle, ..) => {
            let link = attached(channel, handle).and_then(|handle| session(channel)?.link(handle));
            link.is_none_or(|link| match &link.end {
                crate::amqp::link::End::Receiver(receiver) => {
                    receiver.credit.left() == 0 && !receiver.is_partial()
                }
                crate::amqp::link::End::Sender(_) => true,
            })
        }
        Step::App(..) | Step::Output(_) => false,
    }
}

/// The transfer goes on with a delivery in parts.
fn continues(server: &Connection, step: &Step) -> bool {
    let Step::Transfer(channel, handle, ..) = *step else { return false };
    let link = || {
        let channel = server.remote_channels.get(usize::from(channel)).copied()?;
        let session = server.sessions.get(usize::from(channel))?.as_deref()?;
        session.link(session.local_handle(handle)?)
    };
    link().is_some_and(|link| matches!(&link.end, crate::amqp::link::End::Receiver(it) if it.is_partial()))
}

fn drive(steps: &[Step], violations: usize) {
    let (mut server, mut ledger, mut next_id) = (opened(), Ledger::default(), 0);
    // Links the application refused or whose role does not send: what is sent there is not counted.
    let mut senders = BTreeSet::new();
    let tell = |server: &mut Connection, ledger: &mut Ledger, senders: &mut BTreeSet<LinkId>| {
        while let Some(event) = server.poll_event() {
            if let Event::Attach { link, attach, .. } = &event
                && attach.role == Role::Receiver
            {
                senders.insert(*link);
            }
            ledger.told(&event);
            // Most are accepted at once, the others when the steps say so.
            if let Event::Attach { link, .. } = event
                && !link.0.is_multiple_of(4)
            {
                server.accept_attach(link, AttachReply::default());
                server.set_credit(link, 20);
            }
        }
    };
    for (at, step) in steps.iter().enumerate() {
        if is_violation(&server, step) && !(at + 1).is_multiple_of(violations) {
            continue;
        }
        match *step {
            Step::App(what, which) => {
                let link = ledger.all.get(ledger.all.len().wrapping_sub(1 + which)).copied();
                let sends = link.is_some_and(|link| senders.contains(&link));
                if what < 10 || sends {
                    let live = link.filter(|link| what == 3 && ledger.links.contains(link));
                    ledger.act(&mut server, what, which);
                    // A refused link is not told of again.
                    if let Some(link) = live
                        && server.find(link).is_none_or(|(_, link)| link.told_detached)
                    {
                        ledger.links.remove(&link);
                        ledger.outstanding.retain(|(other, _)| *other != link);
                    }
                }
            }
            Step::Output(n) => {
                let n = server.output().len().min(n);
                server.consume_output(n, Millis(0));
            }
            _ => {
                let bytes = encode(step, &mut next_id, continues(&server, step));
                let used = server.handle_input(&bytes, Millis(0));
                assert_eq!(used, bytes.len());
            }
        }
        tell(&mut server, &mut ledger, &mut senders);
    }
    let _ = server.output();
    server.handle_eof(Millis(0));
    tell(&mut server, &mut ledger, &mut senders);
    if !ledger.closed {
        server.handle_eof(Millis(0));
        tell(&mut server, &mut ledger, &mut senders);
    }
    assert!(ledger.closed);
    assert!(server.names.is_empty() && server.sessions.iter().flatten().next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_comes_what_is_told_adds_up(steps in prop::collection::vec(step(), 0..300), violations in 5usize..1_000) {
        let begin = vec![
            Step::Begin(0),
            Step::Begin(1),
            Step::Attach(0, 0, 1, true, false),
            Step::Attach(0, 1, 1, false, false),
            Step::Attach(0, 2, 2, true, true),
            Step::Attach(0, 3, 3, false, false),
            Step::Attach(1, 1, 4, false, true),
            Step::Flow(0, Some(1), 0, 10, false, false),
        ];
        let begun = [begin, steps].concat();
        drive(&begun, violations);
    }
}
