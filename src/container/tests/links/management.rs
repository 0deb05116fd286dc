//! Requests to `$management` and their answers, as far as links are concerned.

use super::*;
use crate::{
    amqp::Incoming,
    limits::{MANAGEMENT_CREDIT, MANAGEMENT_REQUESTS},
    management::{
        Reply, Tree,
        tests::{Draft, asking},
    },
};

impl Rig {
    fn requester(&mut self, name: &str) -> LinkId {
        self.attach(Role::Sender, name, Some("$management"))
    }

    /// A link answers come on, with credit for many.
    fn answerer(&mut self, name: &str, address: Option<&str>) -> LinkId {
        let link = self.attach_between(Role::Receiver, name, Some("$management"), address);
        self.client.set_credit(link, 100);
        self.exchange();
        link
    }

    fn request(&mut self, link: LinkId, token: u64, draft: &Draft) -> Vec<Event> {
        self.send(link, token, false, draft.encode());
        self.exchange()
    }

    /// Executes all that was asked, one after the other.
    fn execute(&mut self) -> Vec<Event> {
        self.execute_with(Tree::Null)
    }

    fn execute_with(&mut self, body: Tree) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((token, _)) = self.house.asked.pop() {
            assert!(self.house.asked.is_empty(), "one at a time");
            self.container.answer(token, &Reply::ok(body.clone()), &mut self.house);
            events.extend(self.settle());
        }
        events
    }

    /// Requests that are not answered.
    fn unanswered(&self) -> usize {
        self.container.desk.waiting.len()
    }

    /// As `exchange`, and tells the container of what was written, as a connection does.
    fn settle(&mut self) -> Vec<Event> {
        let mut events = self.exchange();
        self.container.report_room(&mut self.house);
        events.extend(self.exchange());
        events
    }
}

fn read(reply_to: Option<&str>) -> Draft<'_> {
    Draft { reply_to, ..asking("verdict.broker", "READ", None, None) }
}

fn answers(events: &[Event]) -> Vec<&Incoming> {
    events.iter().filter_map(|e| if let Event::Message(message) = e { Some(message) } else { None }).collect()
}

fn rejection(events: &[Event]) -> String {
    let [(_, DeliveryState::Rejected(Some(error)))] = states(events)[..] else { panic!("{events:?}") };
    error.description.clone().unwrap_or_default()
}

#[test]
fn a_request_is_accepted_and_answered_on_the_link_its_reply_to_names() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    let (one, two) = (rig.answerer("one", Some("here")), rig.answerer("two", Some("there")));
    let events = rig.request(requester, 1, &read(Some("there")));
    assert!(matches!(states(&events)[..], [([1], DeliveryState::Accepted)]), "{events:?}");
    assert!(matches!(rig.house.asked[..], [(_, Operation::Broker(_))]));
    let events = rig.execute();
    assert_eq!(answers(&events).iter().map(|message| message.link).collect::<Vec<_>>(), [two]);
    assert_ne!(one, two);
    assert_eq!(rig.container.inflight_bytes, 0);
}

#[test]
fn without_reply_to_the_answer_goes_to_the_one_link_of_the_session_there_is() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    let why = rejection(&rig.request(requester, 1, &read(None)));
    assert!(why.contains("no reply-to, and its session has no link from $management"), "{why}");
    let link = rig.answerer("one", None);
    rig.request(requester, 2, &read(None));
    let events = rig.execute();
    assert_eq!(answers(&events)[0].link, link);
    rig.answerer("two", None);
    let why = rejection(&rig.request(requester, 3, &read(None)));
    assert!(why.contains("several links"), "{why}");
}

#[test]
fn an_answer_may_go_to_a_queue_that_exists() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    rig.request(requester, 1, &read(Some("replies")));
    rig.execute();
    let [(node, _, publish)] = &rig.published()[..] else { panic!("expected one message") };
    assert_eq!(rig.house.nodes.get("replies"), Some(node));
    assert!(!publish.message.durable && !publish.answer);
    assert!(section::walk(&publish.message.bytes).is_ok());
    let why = rejection(&rig.request(requester, 2, &read(Some("no-queue"))));
    assert!(why.contains("target of no link from $management on this connection, and no queue"), "{why}");
}

#[test]
fn what_is_no_request_is_rejected_and_what_is_wrong_with_one_is_answered() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    rig.answerer("one", Some("me"));
    let why = rejection(&rig.request(requester, 1, &Draft { reply_to: Some("me"), ..Draft::default() }));
    assert!(why.contains("operation is missing"), "{why}");
    let events = rig.request(requester, 2, &asking("verdict.queue", "DANCE", Some("q"), None));
    assert!(matches!(states(&events)[..], [(_, DeliveryState::Accepted)]));
    assert_eq!(answers(&events).len(), 1);
    assert!(rig.house.asked.is_empty());
}

#[test]
fn a_requester_whose_answers_are_not_taken_waits_by_credit() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    let answerer = rig.attach_between(Role::Receiver, "a", Some("$management"), Some("me"));
    for token in 0..u64::from(MANAGEMENT_CREDIT) + 3 {
        rig.send(requester, token, false, read(Some("me")).encode());
    }
    rig.exchange();
    assert_eq!(rig.unanswered(), MANAGEMENT_CREDIT as usize);
    assert!(answers(&rig.execute()).is_empty());
    assert_eq!(rig.unanswered(), 0, "executed, and no more are taken before somebody takes the answers");
    rig.client.set_credit(answerer, 2);
    assert_eq!(answers(&rig.settle()).len(), 2);
    assert_eq!(rig.unanswered(), 2);
}

#[test]
fn requests_of_one_connection_are_bounded_over_all_its_links() {
    let mut rig = Rig::new("c");
    rig.answerer("a", Some("me"));
    let links = MANAGEMENT_REQUESTS as u64 / u64::from(MANAGEMENT_CREDIT);
    for link in 0..links {
        let requester = rig.requester(&format!("r{link}"));
        for token in 0..u64::from(MANAGEMENT_CREDIT) {
            rig.send(requester, token, false, read(Some("me")).encode());
        }
    }
    rig.exchange();
    assert_eq!(rig.unanswered(), MANAGEMENT_REQUESTS);
    let one_more = rig.requester("more");
    let why = rejection(&rig.request(one_more, 0, &read(Some("me"))));
    assert!(why.starts_with("64 requests of this connection are not answered yet"), "{why}");
    assert_eq!(answers(&rig.execute()).len(), MANAGEMENT_REQUESTS);
}

#[test]
fn answers_to_a_link_that_is_gone_are_dropped_and_their_requester_may_ask_on() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    let answerer = rig.attach_between(Role::Receiver, "a", Some("$management"), Some("me"));
    for token in 0..u64::from(MANAGEMENT_CREDIT) {
        rig.send(requester, token, false, read(Some("me")).encode());
    }
    rig.exchange();
    let (token, _) = rig.house.asked.remove(0);
    rig.container.answer(token, &Reply::ok(Tree::Null), &mut rig.house);
    rig.client.detach(answerer, true, None);
    rig.exchange();
    rig.execute();
    assert_eq!(rig.container.engine.credit_left(LinkId(0)), MANAGEMENT_CREDIT);
    assert_eq!(rig.container.link_counts(), (1, 0));
}

#[test]
fn a_drain_of_answers_is_answered_behind_those_there_are() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    let answerer = rig.attach_between(Role::Receiver, "a", Some("$management"), Some("me"));
    rig.request(requester, 1, &read(Some("me")));
    rig.execute();
    rig.client.drain(answerer, 10);
    let events = rig.settle();
    assert_eq!(answers(&events).len(), 1);
    let drained = |e: &Event| matches!(e, Event::SenderFlow { link, drained: true, .. } if *link == answerer);
    assert!(events.iter().any(drained), "{events:?}");
}

#[test]
fn requests_are_executed_one_after_the_other_and_answered_in_the_order_they_came() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    rig.answerer("a", Some("me"));
    for (token, operation) in [(0, "READ"), (1, "DANCE"), (2, "RELOAD")] {
        let id = Some(Tree::Unsigned(token));
        let draft = Draft { message_id: id, ..asking("verdict.broker", operation, None, None) };
        rig.send(requester, token, false, draft.encode());
    }
    rig.exchange();
    assert_eq!(rig.house.asked.len(), 1, "the second waits, though nobody need be asked about it");
    let events = rig.execute();
    let id = |message: &&Incoming| {
        let sections = section::walk(&message.payload).unwrap();
        let properties = &message.payload[sections.properties.unwrap()];
        section::property_display(properties, section::PropertyField::CorrelationId).unwrap()
    };
    assert_eq!(answers(&events).iter().map(id).collect::<Vec<_>>(), ["0", "1", "2"]);
}

#[test]
fn no_request_is_begun_while_large_answers_are_not_taken() {
    let mut rig = Rig::new("c");
    let requester = rig.requester("r");
    let answerer = rig.attach_between(Role::Receiver, "a", Some("$management"), Some("me"));
    (0..3).for_each(|token| rig.send(requester, token, false, read(Some("me")).encode()));
    rig.exchange();
    let large = vec![0; usize::try_from(limits::MANAGEMENT_ANSWER_BYTES).unwrap()];
    rig.execute_with(Tree::Binary(large.into()));
    assert_eq!(rig.unanswered(), 2);
    rig.client.set_credit(answerer, 1);
    assert_eq!(answers(&rig.settle()).len(), 1);
    assert_eq!((rig.house.asked.len(), rig.container.desk.unsent_bytes), (1, 0));
}
