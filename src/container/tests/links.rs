//! Links through a container, a client's engine on the other end and a house that only takes notes.

mod management;

use std::{collections::BTreeMap, sync::Arc};

use fe2o3_amqp_types::{
    definitions::{Fields, Handle, ReceiverSettleMode, Role, SenderSettleMode},
    messaging::{Source, Target, TargetArchetype},
    performatives::Attach,
};
use serde_amqp::{
    Value,
    primitives::{Symbol, Timestamp},
};

use crate::{
    amqp::{
        self, ClientSasl, Connection, Event, LinkId, Outgoing, SessionId,
        codec::{
            DeliveryState, FrameKind, Transfer, encode_transfer, frame_end, frame_start, section, write,
        },
    },
    auth::Verdict,
    broker::{
        BreakerState, Command, ConnectionId, DetachCause, Effect, Lifetime, ProducerId, Publish, QueueId,
        Refusal,
    },
    container::{Container, Host, NoPlace, Notice, Peer, Place, Wish},
    limits,
    management::Operation,
    time::Millis,
};

const NOW: Millis = Millis(0);

/// Every address leads to a node; what is sent there is noted.
#[derive(Default)]
struct House {
    nodes: BTreeMap<String, QueueId>,
    sent: Vec<(QueueId, Command)>,
    asked: Vec<(u64, Operation)>,
}

impl Host for House {
    fn authenticate(&mut self, _: &str, _: &[u8]) -> Verdict {
        Verdict::Allowed("anonymous".into())
    }

    fn resolve(&mut self, address: &str, wish: Wish) -> Result<Place, NoPlace> {
        if wish.existing && address.starts_with("no-") {
            return Err(NoPlace::NotFound("no such queue".into()));
        }
        let next = QueueId(2 + 2 * u32::try_from(self.nodes.len()).unwrap());
        let node = *self.nodes.entry(address.to_owned()).or_insert(next);
        Ok(Place { node, dead_letter: false })
    }

    fn create_dynamic(&mut self, _: Lifetime) -> Result<(String, QueueId), NoPlace> {
        Err(NoPlace::Limit("no".into()))
    }

    fn delete(&mut self, _: QueueId) {}

    fn manage(&mut self, token: u64, operation: Operation, _: &Arc<Peer>) {
        self.asked.push((token, operation));
    }

    fn send(&mut self, node: QueueId, command: Command) {
        self.sent.push((node, command));
    }
}

struct Rig {
    container: Container,
    client: Connection,
    session: SessionId,
    house: House,
}

impl Rig {
    fn new(container_id: &str) -> Self {
        let config = |id: &str| amqp::Config {
            container_id: id.to_owned(),
            idle_timeout_ms: Some(1_000),
            ..amqp::Config::default()
        };
        let mut client = Connection::client(config(container_id), ClientSasl::Bare, NOW);
        let session = client.begin();
        let container = Container::new(Connection::server(config("broker"), NOW), ConnectionId(1));
        let mut rig = Self { container, client, session, house: House::default() };
        rig.exchange();
        rig
    }

    /// Carries bytes both ways until there are none; what the client saw.
    fn exchange(&mut self) -> Vec<Event> {
        loop {
            let up = self.client.output().to_vec();
            assert_eq!(self.container.handle_input(&up, NOW), up.len());
            self.client.consume_output(up.len(), NOW);
            self.container.process(NOW, &mut self.house);
            let down = self.container.output().to_vec();
            assert_eq!(self.client.handle_input(&down, NOW), down.len());
            self.container.consume_output(down.len(), NOW);
            if up.is_empty() && down.is_empty() {
                break;
            }
        }
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn attach(&mut self, role: Role, name: &str, address: Option<&str>) -> LinkId {
        let (source, target) = match role {
            Role::Sender => (None, address),
            Role::Receiver => (address, None),
        };
        self.attach_between(role, name, source, target)
    }

    fn attach_between(
        &mut self,
        role: Role,
        name: &str,
        source: Option<&str>,
        target: Option<&str>,
    ) -> LinkId {
        let source = Source { address: source.map(str::to_owned), ..Source::default() };
        let target = Target { address: target.map(str::to_owned), ..Target::default() };
        let attach = Attach {
            name: name.to_owned(),
            handle: Handle(0),
            role,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: Some(Box::new(source)),
            target: Some(Box::new(TargetArchetype::Target(target))),
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: None,
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let link = self.client.attach(self.session, attach);
        self.exchange();
        link
    }

    fn send(&mut self, link: LinkId, token: u64, settled: bool, message: Vec<u8>) {
        let body: Arc<[u8]> = message.into();
        self.client
            .send(link, Outgoing { token, format: 0, settled, prefix: Vec::new(), body, body_from: 0 });
    }

    /// Messages the house was sent since last asked, and by whom.
    fn published(&mut self) -> Vec<(QueueId, ProducerId, Publish)> {
        let mut all = Vec::new();
        for (node, command) in self.house.sent.drain(..) {
            if let Command::Publish { producer, messages } = command {
                all.extend(messages.into_iter().map(|message| (node, producer, message)));
            }
        }
        all
    }

    fn answer(&mut self, producer: ProducerId, answers: Vec<(u64, Option<crate::broker::Refusal>)>) {
        self.container.handle_effects(vec![Effect::Published { producer, answers }], &mut self.house);
    }
}

/// A message of `bytes` bytes of data, with a `to`.
fn message(to: Option<&str>, bytes: usize) -> Vec<u8> {
    let mut message = Vec::new();
    if let Some(to) = to {
        // properties: message-id, user-id, to
        message.extend_from_slice(&[
            0x00,
            0x53,
            0x73,
            0xc0,
            u8::try_from(to.len() + 5).unwrap(),
            3,
            0x40,
            0x40,
        ]);
        write::string(&mut message, to);
    }
    message.extend_from_slice(&[0x00, 0x53, 0x75]);
    write::binary(&mut message, &vec![b'x'; bytes]);
    section::walk(&message).expect("valid sections");
    message
}

#[test]
fn names_in_failure_records_are_bounded_and_endpoints_stay_distinct() {
    let mut rig = Rig::new(&"c".repeat(1000));
    for end in ["1", "2"] {
        rig.attach(Role::Receiver, &("n".repeat(1000) + end), Some("q"));
    }
    let wishes: Vec<_> = rig.house.sent.drain(..).map(|(_, command)| command).collect();
    let wishes: Vec<_> = wishes
        .iter()
        .filter_map(|command| match command {
            Command::Subscribe(wish) => Some(&**wish),
            _ => None,
        })
        .collect();
    assert_eq!(wishes.len(), 2);
    assert!(wishes.iter().all(|wish| wish.identity.len() < 3 * limits::IDENTITY_BYTES));
    assert!(wishes.iter().all(|wish| wish.endpoint.len() < 3 * limits::IDENTITY_BYTES));
    assert_ne!(wishes[0].endpoint, wishes[1].endpoint);
}

fn states(events: &[Event]) -> Vec<(&[u64], &DeliveryState)> {
    let mut states = Vec::new();
    for event in events {
        if let Event::Disposition { tokens, state: Some(state), .. } = event {
            states.push((&tokens[..], state));
        }
    }
    states
}

#[test]
fn what_a_relay_link_sent_to_a_node_that_is_deleted_is_refused_and_gives_its_credit_back() {
    let mut rig = Rig::new("c");
    let link = rig.attach(Role::Sender, "relay", None);
    rig.send(link, 7, false, message(Some("gone"), 10));
    rig.send(link, 8, false, message(Some("stays"), 10));
    rig.exchange();
    let published = rig.published();
    let (gone, producer, _) = published[0];
    rig.container.node_deleted(gone, &mut rig.house);
    let events = rig.exchange();
    let [([7], DeliveryState::Rejected(Some(error)))] = states(&events)[..] else { panic!("{events:?}") };
    assert_eq!(crate::amqp::codec::condition_name(&error.condition), "amqp:resource-deleted");
    // An answer that was under way is too late; the other node's is not.
    rig.answer(producer, vec![(published[1].2.token, None)]);
    let events = rig.exchange();
    assert!(matches!(states(&events)[..], [([8], DeliveryState::Accepted)]), "{events:?}");
    assert_eq!(rig.container.inflight_bytes, 0);
}

#[test]
fn messages_sent_settled_count_until_they_are_safe_and_their_answers_stay_here() {
    let mut rig = Rig::new("c");
    let link = rig.attach(Role::Sender, "w", Some("q"));
    let mut sent = Vec::new();
    for token in 0..3 {
        rig.send(link, token, true, message(None, 1_000_000));
        rig.exchange();
        sent.append(&mut rig.published());
    }
    assert!(!rig.container.wants_input(), "3 MB wait for the disk");
    for (_, producer, publish) in sent {
        assert!(publish.answer);
        rig.answer(producer, vec![(publish.token, None)]);
    }
    assert!(rig.container.wants_input());
    assert!(states(&rig.exchange()).is_empty());
}

#[test]
fn credit_that_aborted_deliveries_used_up_is_given_again() {
    let mut rig = Rig::new("c");
    let link = rig.attach(Role::Sender, "w", Some("q"));
    let window = limits::PUBLISHER_CREDIT;
    assert_eq!(rig.container.engine.credit_left(LinkId(0)), window);
    for id in 0..window {
        let tag = id.to_be_bytes();
        let aborted = Transfer {
            delivery_id: Some(id),
            delivery_tag: Some(&tag),
            aborted: true,
            ..Transfer::default()
        };
        let mut frame = Vec::new();
        let start = frame_start(&mut frame, FrameKind::Amqp, 0);
        encode_transfer(&aborted, &mut frame);
        frame_end(&mut frame, start);
        rig.container.handle_input(&frame, NOW);
        rig.container.process(NOW, &mut rig.house);
    }
    assert!(rig.container.engine.credit_left(LinkId(0)) >= window / 2);
    assert!(rig.published().is_empty() && link == LinkId(0));
}

#[test]
fn a_publisher_that_is_not_read_from_is_not_silent() {
    let mut rig = Rig::new("c");
    let link = rig.attach(Role::Sender, "w", Some("q"));
    rig.send(link, 0, false, message(None, 3_000_000));
    rig.exchange();
    let (_, producer, publish) = rig.published().remove(0);
    rig.container.handle_timeout(Millis(1_500));
    rig.container.process(Millis(1_500), &mut rig.house);
    assert!(!rig.container.take_notices().iter().any(|notice| matches!(notice, Notice::Ended(_))));
    rig.answer(producer, vec![(publish.token, None)]);
    rig.container.handle_timeout(Millis(2_500));
    rig.container.process(Millis(2_500), &mut rig.house);
    assert!(rig.container.take_notices().iter().any(|notice| matches!(notice, Notice::Ended(_))));
}

#[test]
fn what_is_logged_of_a_refused_link_is_bounded() {
    let mut rig = Rig::new("c");
    rig.attach(Role::Receiver, &"n".repeat(50_000), Some("q"));
    let refused = |notice: Notice| match notice {
        Notice::LinkRefused(name, why) => Some(name.len() + why.len()),
        _ => None,
    };
    let lengths: Vec<_> = rig.container.take_notices().into_iter().filter_map(refused).collect();
    assert!(matches!(lengths[..], [length] if length < 2_000), "{lengths:?}");
}

#[test]
fn what_the_breaker_does_goes_out_in_one_flow_the_latest_alone_and_with_an_answer_that_is_due() {
    let mut rig = Rig::new("client");
    let link = rig.attach(Role::Receiver, "in", Some("q"));
    rig.client.set_credit(link, 5);
    rig.exchange();
    let consumer = rig.house.sent.iter().find_map(|(_, command)| match command {
        Command::Subscribe(wish) => Some(wish.consumer),
        _ => None,
    });
    let consumer = consumer.unwrap();
    let news = |state| Effect::BreakerNews { consumer, state };
    let told = |rig: &mut Rig, effects| {
        rig.container.handle_effects(effects, &mut rig.house);
        let flow = |event| match event {
            Event::SenderFlow { available, drained, properties, .. } => {
                Some((available, drained, properties))
            }
            _ => None,
        };
        rig.exchange().into_iter().filter_map(flow).collect::<Vec<_>>()
    };
    let state = |properties: &Option<Box<Fields>>| {
        let get = |key: &str| properties.as_ref().and_then(|map| map.get(&Symbol::from(key)).cloned());
        (get("verdict:breaker-state"), get("verdict:breaker-until"))
    };
    let symbol = |text: &str| Some(Value::Symbol(Symbol::from(text)));

    let open = BreakerState::Open { until: Millis(1234) };
    let flows = told(
        &mut rig,
        vec![news(BreakerState::Closed), news(BreakerState::HalfOpen { allowed: 1 }), news(open)],
    );
    assert_eq!(flows.len(), 1);
    let until = Some(Value::Timestamp(Timestamp::from_milliseconds(1234)));
    assert_eq!(state(&flows[0].2), (symbol("open"), until));
    assert!(!flows[0].1);

    rig.client.drain(link, 5);
    rig.exchange();
    let drained = Effect::Flow { consumer, delivery_count: 5, credit: 0, available: 7, drained: true };
    let flows = told(&mut rig, vec![drained, news(BreakerState::Closed)]);
    assert_eq!((flows.len(), flows[0].0, flows[0].1), (1, 7, true));
    assert_eq!(state(&flows[0].2), (symbol("closed"), None));
    let echo = Effect::Flow { consumer, delivery_count: 5, credit: 0, available: 1, drained: false };
    let flows = told(&mut rig, vec![echo]);
    assert_eq!((flows.len(), flows[0].2.is_none()), (1, true), "told once");
}

/// settlement.md, Towards the publisher: "Refusal is `rejected(error with condition)` …; or `released` … Never
/// `modified`: the blocking proton client takes it for success."
#[test]
fn a_publisher_is_told_accepted_or_rejected_with_a_condition_and_never_modified() {
    let answers = [
        (None, None),
        (Some(Refusal::QueueFull), Some("amqp:resource-limit-exceeded")),
        (Some(Refusal::StorageFull), Some("amqp:resource-limit-exceeded")),
        (Some(Refusal::Expired), Some("amqp:precondition-failed")),
        (Some(Refusal::Deleted), Some("amqp:resource-deleted")),
    ];
    for (answer, expected) in answers {
        let mut rig = Rig::new("c");
        let link = rig.attach(Role::Sender, "w", Some("q"));
        rig.send(link, 0, false, message(None, 10));
        rig.exchange();
        let (_, producer, publish) = rig.published().remove(0);
        rig.answer(producer, vec![(publish.token, answer)]);
        let events = rig.exchange();
        let told = match states(&events)[..] {
            [([0], DeliveryState::Accepted)] => None,
            [([0], DeliveryState::Rejected(Some(error)))] => {
                assert!(error.description.is_some());
                Some(crate::amqp::codec::condition_name(&error.condition))
            }
            _ => panic!("{answer:?}: {events:?}"),
        };
        assert_eq!(told.as_deref(), expected, "{answer:?}");
    }
}

/// settlement.md, Towards the publisher: "no route": to nowhere, over the anonymous relay.
#[test]
fn a_message_without_a_route_is_rejected_with_not_found() {
    let mut rig = Rig::new("c");
    let link = rig.attach(Role::Sender, "relay", None);
    rig.send(link, 0, false, message(Some("no-such"), 10));
    rig.send(link, 1, false, message(None, 10));
    let events = rig.exchange();
    let told: Vec<_> = states(&events)
        .into_iter()
        .map(|(tokens, state)| match state {
            DeliveryState::Rejected(Some(error)) => {
                (tokens[0], crate::amqp::codec::condition_name(&error.condition))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(0, "amqp:not-found".to_owned()), (1, "amqp:precondition-failed".to_owned())]);
}

/// settlement.md, The failure record: "consumer (container-id, link, user)".
#[test]
fn a_consumer_is_known_by_container_link_and_user() {
    let mut rig = Rig::new("client-7");
    rig.attach(Role::Receiver, "orders-in", Some("q"));
    let identity = rig.house.sent.iter().find_map(|(_, command)| match command {
        Command::Subscribe(wish) => Some(wish.identity.to_string()),
        _ => None,
    });
    assert_eq!(identity.as_deref(), Some("client-7/orders-in (anonymous)"));
}

/// settlement.md, Connection loss: "the consumer may have crashed"; "A clean detach is not a crash", and neither is an
/// end, a close, or what we close ourselves.
#[test]
fn only_what_ends_without_a_word_is_a_crash() {
    type End = fn(&mut Rig, LinkId);
    let ends: [(&str, DetachCause, End); 6] = [
        ("detach", DetachCause::Clean, |rig, link| rig.client.detach(link, true, None)),
        ("end", DetachCause::Clean, |rig, _| rig.client.end(rig.session, None)),
        ("close", DetachCause::Clean, |rig, _| rig.client.close(None)),
        ("our close", DetachCause::Clean, |rig, _| rig.container.close_internal("stopping")),
        ("end of the stream", DetachCause::Lost, |rig, _| rig.container.handle_eof(NOW)),
        ("silence", DetachCause::Lost, |rig, _| rig.container.handle_timeout(Millis(60_000))),
    ];
    for (what, expected, end) in ends {
        let mut rig = Rig::new("c");
        let link = rig.attach(Role::Receiver, "in", Some("q"));
        rig.house.sent.clear();
        end(&mut rig, link);
        // The container's turn first: what we close is over for us before the peer says anything.
        rig.container.process(NOW, &mut rig.house);
        let up = rig.client.output().to_vec();
        rig.container.handle_input(&up, NOW);
        rig.container.process(NOW, &mut rig.house);
        let causes: Vec<_> = rig
            .house
            .sent
            .iter()
            .filter_map(|(_, command)| match command {
                Command::Unsubscribe { cause, .. } => Some(*cause),
                _ => None,
            })
            .collect();
        assert_eq!(causes, [expected], "{what}");
    }
}
