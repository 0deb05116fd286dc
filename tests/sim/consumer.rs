//! A consumer: gives credit, holds messages for a while, answers them as its plan says.
//!
//! Invariant: each delivery is answered at most once, and (rule 6) no more come than credit was given.

use std::collections::BTreeMap;

use fe2o3_amqp_types::{
    definitions::{AmqpError, Error},
    messaging::Modified,
};
use verdict::{
    amqp::{Connection, Incoming, LinkId, codec::DeliveryState},
    broker::ConnectionId,
    time::Millis,
};

use crate::{
    body,
    model::{Answer, Floor},
    note,
    plan::ConsumerPlan,
    scene::Scene,
};

/// What a consumer may say, in the order of `ConsumerPlan::weights`.
const ANSWERS: [Answer; 7] = [
    Answer::Accept,
    Answer::Fail,
    Answer::Reject,
    Answer::Release,
    Answer::Release,
    Answer::NotHere,
    Answer::Release,
];

struct Held {
    due: Millis,
    delivery: u32,
    id: u64,
}

/// A consumer's link.
pub struct Consumer {
    plan: ConsumerPlan,
    second: bool,
    strict: bool,
    /// Messages that may still come.
    allowance: i64,
    held: Vec<Held>,
    /// Answers not confirmed yet: message, answer, failures that must be counted by then.
    unconfirmed: BTreeMap<u32, (u64, Answer, Floor)>,
    draining: bool,
}

impl Consumer {
    /// One with these habits.
    pub fn new(plan: ConsumerPlan, second: bool, strict: bool) -> Self {
        let (held, unconfirmed) = (Vec::new(), BTreeMap::new());
        Self { plan, second, strict, allowance: 0, held, unconfirmed, draining: false }
    }

    /// For a new link.
    pub fn reset(&mut self) {
        self.allowance = 0;
        self.held.clear();
        self.unconfirmed.clear();
        self.draining = false;
    }

    /// Every answer was confirmed, every drain answered.
    pub fn is_satisfied(&self) -> bool {
        self.unconfirmed.is_empty() && !self.draining
    }

    /// For the report of a stall.
    pub fn describe(&self) -> String {
        let held: Vec<u64> = self.held.iter().map(|held| held.id).collect();
        let Self { allowance, draining, unconfirmed, plan, .. } = self;
        let tree = if plan.dead_letter { "dead letters" } else { "queue" };
        format!(
            "consumer of {tree}: allowance {allowance}, holds {held:?}, unconfirmed {unconfirmed:?}, draining {draining}"
        )
    }

    /// When it does something of itself next.
    pub fn next_due(&self) -> Option<Millis> {
        if self.wants_credit() {
            return Some(Millis(0));
        }
        self.held.iter().map(|held| held.due).min()
    }

    fn wants_credit(&self) -> bool {
        let credit = i64::from(self.plan.credit);
        let low = self.allowance <= credit / 2 && (self.held.len() as i64) < 2 * credit;
        !self.draining && if self.strict { self.allowance == 0 && self.held.is_empty() } else { low }
    }

    /// Its turn. `false`: nothing to do.
    pub fn act(&mut self, engine: &mut Connection, link: LinkId, key: u64, scene: &mut Scene) -> bool {
        let due = self.held.iter().position(|held| held.due <= scene.now);
        if let Some(at) = due {
            self.answer(at, engine, link, key, scene);
            return true;
        }
        if !self.draining
            && !scene.calm
            && self.plan.drain_one_in > 0
            && scene.rng.one_in(self.plan.drain_one_in * 20)
        {
            note!(scene.now, "link {key} drains");
            self.drain(engine, link);
            return true;
        }
        if self.wants_credit() {
            note!(scene.now, "link {key} gives {} credit", self.plan.credit);
            self.allowance = i64::from(self.plan.credit) + self.begun(engine, link);
            engine.set_credit(link, self.plan.credit);
            return true;
        }
        false
    }

    /// Deliveries of which only a part has come: credit given now is for those after them.
    fn begun(&self, engine: &Connection, link: LinkId) -> i64 {
        let begun = self.allowance - i64::from(engine.credit_left(link));
        assert!(
            (0..=1).contains(&begun),
            "rule 6 broken: allowed {}, engine says {begun} less",
            self.allowance
        );
        begun
    }

    /// Drains once, to see that it is answered.
    pub fn drain(&mut self, engine: &mut Connection, link: LinkId) {
        let begun = self.begun(engine, link);
        let credit = self.plan.credit.max(engine.credit_left(link));
        self.allowance = i64::from(credit) + begun;
        self.draining = true;
        engine.drain(link, credit);
    }

    /// A message came.
    pub fn message(
        &mut self,
        engine: &mut Connection,
        message: Incoming,
        key: u64,
        connection: ConnectionId,
        scene: &mut Scene,
    ) {
        self.allowance -= 1;
        assert!(self.allowance >= 0, "rule 6 broken: link {key} got more than it gave credit for");
        let got = body::read(&message.payload).unwrap_or_else(|why| panic!("rule 8 broken: {why}"));
        let (browse, presettled) = (self.plan.browse, self.plan.presettled);
        assert_eq!(message.settled, presettled, "rule 8 broken: settled, or not, against the link's mode");
        let wanted = self.plan.wants.is_none_or(|wants| wants.has(&got));
        assert!(wanted, "rule 11 broken: link {key} wants {:?} and got {got:?}", self.plan.wants);
        scene.model.received(&got, key, connection, browse, presettled, scene.now);
        if browse && !presettled {
            let state = if scene.rng.one_in(2) { DeliveryState::Accepted } else { DeliveryState::Released };
            engine.dispose(message.link, message.delivery_id, message.delivery_id, !self.second, state);
        } else if !presettled {
            let due = scene.now.plus_ms(scene.rng.range(0, self.plan.hold_ms));
            self.held.push(Held { due, delivery: message.delivery_id, id: got.id });
        }
    }

    /// Answers a delivery, and perhaps those after it with the same word.
    fn answer(&mut self, at: usize, engine: &mut Connection, link: LinkId, key: u64, scene: &mut Scene) {
        let kind = match scene.rng.weighted(&self.plan.weights) {
            // A second-mode receiver settles only after the sender, which waits for an outcome.
            6 if self.second => 3,
            kind => kind,
        };
        let answer = ANSWERS[kind];
        let first = self.held[at].delivery;
        let mut last = first;
        let mut ids = vec![self.held.remove(at).id];
        while at < self.held.len() && self.held[at].delivery == last.wrapping_add(1) && scene.rng.one_in(2) {
            last = last.wrapping_add(1);
            ids.push(self.held.remove(at).id);
        }
        note!(scene.now, "link {key} answers {ids:?} ({first} to {last}) with {answer:?}");
        let modified = |delivery_failed, undeliverable_here| {
            let modified = Modified {
                delivery_failed: Some(delivery_failed),
                undeliverable_here: Some(undeliverable_here),
                message_annotations: None,
            };
            DeliveryState::Modified(Box::new(modified), 0)
        };
        let state = match kind {
            0 => DeliveryState::Accepted,
            1 => modified(true, false),
            2 if scene.rng.one_in(2) => DeliveryState::Rejected(None),
            2 => {
                let error = Error::new(AmqpError::DecodeError, Some("as planned".to_owned()), None);
                DeliveryState::Rejected(Some(Box::new(error)))
            }
            3 => DeliveryState::Released,
            4 => modified(false, false),
            5 => modified(false, true),
            // Settled without an outcome: the default applies, which is released.
            _ => DeliveryState::Received(0, 0),
        };
        for (offset, id) in ids.into_iter().enumerate() {
            let floor = scene.model.settling(id, answer, key);
            if self.second {
                self.unconfirmed.insert(first.wrapping_add(offset as u32), (id, answer, floor));
            }
        }
        engine.dispose(link, first, last, !self.second, state);
    }

    /// The broker settled what we had answered.
    pub fn confirmed(&mut self, deliveries: &[u32], scene: &mut Scene) {
        for delivery in deliveries {
            // A browser's answers are not kept account of.
            if let Some((id, answer, floor)) = self.unconfirmed.remove(delivery) {
                scene.model.confirmed(id, answer, floor, scene.disk);
            }
        }
    }

    /// The broker told of its side.
    pub fn flow(&mut self, drained: bool) {
        if drained && self.draining {
            self.draining = false;
            self.allowance = 0;
        }
    }
}
