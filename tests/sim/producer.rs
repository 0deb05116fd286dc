//! A publisher: sends within its credit, and knows which messages wait for an answer.
//!
//! Invariant: never more than the credit given, and each message once.

use std::{collections::BTreeSet, sync::Arc};

use verdict::{
    amqp::{Connection, LinkId, Outgoing, codec::DeliveryState},
    time::Millis,
};

use crate::{
    body::{self, Wanted},
    note,
    plan::ProducerPlan,
    scene::Scene,
};

/// A publisher's link.
pub struct Producer {
    plan: ProducerPlan,
    queue: usize,
    /// Messages still to be sent.
    pub left: u64,
    /// The link's delivery-count, and up to where it may go.
    sent: u32,
    limit: u32,
    outstanding: BTreeSet<u64>,
    next_at: Millis,
}

impl Producer {
    /// One with so much to send.
    pub fn new(plan: ProducerPlan, queue: usize, left: u64) -> Self {
        Self { plan, queue, left, sent: 0, limit: 0, outstanding: BTreeSet::new(), next_at: Millis(0) }
    }

    /// For a new link.
    pub fn reset(&mut self) {
        (self.sent, self.limit) = (0, 0);
    }

    /// All is sent and answered.
    pub fn is_satisfied(&self) -> bool {
        self.left == 0 && self.outstanding.is_empty()
    }

    /// For the report of a stall.
    pub fn describe(&self) -> String {
        let Self { left, sent, limit, outstanding, .. } = self;
        format!(
            "producer to q{}: {left} left, sent {sent}, limit {limit}, unanswered {outstanding:?}",
            self.queue
        )
    }

    /// When it sends next.
    pub fn next_due(&self) -> Option<Millis> {
        (self.left > 0 && self.allowance() > 0).then_some(self.next_at)
    }

    fn allowance(&self) -> u32 {
        let credit = self.limit.wrapping_sub(self.sent);
        if credit > u32::MAX / 2 { 0 } else { credit }
    }

    /// The broker gave credit.
    pub fn credit(
        &mut self,
        engine: &mut Connection,
        link: LinkId,
        delivery_count: u32,
        credit: u32,
        echo: bool,
    ) {
        self.limit = delivery_count.wrapping_add(credit);
        if echo {
            engine.sender_flow(link, u32::try_from(self.left).unwrap_or(u32::MAX), false);
        }
    }

    /// Sends some. `false`: could not.
    pub fn act(&mut self, engine: &mut Connection, link: LinkId, key: u64, scene: &mut Scene) -> bool {
        if self.left == 0 || self.allowance() == 0 || self.next_at > scene.now {
            return false;
        }
        let most = self.left.min(u64::from(self.allowance())).min(scene.rng.range(1, 8));
        for _ in 0..most {
            self.send(engine, link, key, scene);
        }
        self.next_at = scene.now.plus_ms(scene.rng.range(0, self.plan.pause_ms));
        true
    }

    fn send(&mut self, engine: &mut Connection, link: LinkId, key: u64, scene: &mut Scene) {
        let rng = &mut *scene.rng;
        let wanted = Wanted {
            id: scene.model.next_id(),
            size: rng.range(8, self.plan.size) as usize,
            durable: rng.per_mille(self.plan.durable),
            priority: if self.plan.priorities { rng.below(10) as u8 } else { 4 },
            ttl_ms: rng.per_mille(self.plan.mortal).then(|| rng.range(1, 400) as u32),
            key: scene.model.key_for(self.queue, rng.per_mille(self.plan.repeats), rng),
            group: rng.range(0, self.plan.groups) as u8,
        };
        let settled = rng.per_mille(self.plan.settled);
        note!(scene.now, "link {key} publishes {wanted:?} settled {settled}");
        let bytes = body::encode(&wanted);
        // What is written anew and what is forwarded, cut anywhere.
        let cut = rng.below(bytes.len() as u64 + 1) as usize;
        let (prefix, body_from) = if rng.one_in(2) { (bytes[..cut].to_vec(), cut) } else { (Vec::new(), 0) };
        let body = Arc::from(bytes);
        engine.send(link, Outgoing { token: wanted.id, format: 0, settled, prefix, body, body_from });
        self.sent = self.sent.wrapping_add(1);
        self.left -= 1;
        if !settled {
            self.outstanding.insert(wanted.id);
        }
        scene.model.sent(wanted, self.queue, key, settled, scene.now);
    }

    /// The broker answered.
    pub fn disposition(
        &mut self,
        engine: &mut Connection,
        link: LinkId,
        ids: &[u64],
        settled: bool,
        state: Option<DeliveryState>,
        scene: &mut Scene,
    ) {
        for id in ids {
            assert!(
                self.outstanding.remove(id),
                "rule 8 broken: an answer to message {id}, which waits for none"
            );
            let taken = match &state {
                Some(DeliveryState::Accepted) => true,
                Some(DeliveryState::Rejected(Some(_))) => false,
                other => panic!("rule 8 broken: message {id} was answered with {other:?}"),
            };
            scene.model.answered(*id, taken, scene.disk, scene.now);
        }
        if let (false, Some(state)) = (settled, state) {
            engine.settle_sent(link, ids, state);
        }
    }

    /// What waits for an answer, and waits no more.
    pub fn take_outstanding(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.outstanding)
    }
}
