//! A receiving link of the load generator.
//!
//! Invariant: what one read brought is answered with one disposition per contiguous run of delivery-ids;
//! credit is topped up when half of it is used; with a rate, as time passes, and time without messages is not made
//! up for.

use std::sync::Arc;

use fe2o3_amqp_types::{
    definitions::{ReceiverSettleMode, Role as WireRole, SenderSettleMode},
    messaging::{Modified, Source, Target, TargetArchetype},
    performatives::Attach,
};

use super::{
    super::Failure,
    drive::{Go, Role, bare_attach, capabilities},
    plan::{Plan, Verdict},
    tally::{Live, Tally},
};
use crate::amqp::{Connection, Event, LinkId, codec::DeliveryState};

pub(super) struct Receiver {
    plan: Arc<Plan>,
    live: Arc<Live>,
    tally: Tally,
    address: String,
    index: u32,
    link: Option<LinkId>,
    go: Option<Go>,
    /// Deliveries to answer: first and last of a contiguous run.
    run: Option<(u32, u32)>,
    uncounted: u64,
    /// With a rate: credit to give, and since when more of it has come.
    tokens: f64,
    since_ns: u64,
}

/// With a rate: how often credit is given, and how much of the rate may come at once.
const STEP_NS: u64 = 1_000_000;
const BURST_NS: f64 = 10_000_000.0;

impl Receiver {
    pub fn new(plan: &Arc<Plan>, live: &Arc<Live>, index: u32) -> Result<Self, Failure> {
        Ok(Self {
            plan: Arc::clone(plan),
            live: Arc::clone(live),
            tally: Tally::new()?,
            address: plan.address(index),
            index,
            link: None,
            go: None,
            run: None,
            uncounted: 0,
            tokens: 0.0,
            since_ns: 0,
        })
    }

    fn answer(&mut self, engine: &mut Connection, link: LinkId) {
        let Some((first, last)) = self.run.take() else { return };
        let state = match self.plan.outcome {
            Verdict::Accepted => DeliveryState::Accepted,
            Verdict::Released => DeliveryState::Released,
            Verdict::Rejected => DeliveryState::Rejected(None),
            Verdict::Failed => {
                let failed = Modified {
                    delivery_failed: Some(true),
                    undeliverable_here: None,
                    message_annotations: None,
                };
                DeliveryState::Modified(Box::new(failed), 0)
            }
        };
        engine.dispose(link, first, last, true, state);
    }

    fn top_up(&mut self, engine: &mut Connection, link: LinkId, now_ns: u64) {
        let (left, most) = (engine.credit_left(link), self.plan.credit);
        let Some(rate) = self.plan.receive_rate else {
            if left <= most / 2 {
                engine.set_credit(link, most);
            }
            return;
        };
        let passed_ns = now_ns.saturating_sub(self.since_ns) as f64;
        self.since_ns = now_ns;
        self.tokens = (self.tokens + passed_ns * rate / 1e9).min(BURST_NS * rate / 1e9 + 1.0);
        let more = (self.tokens as u32).min(most.saturating_sub(left));
        if more > 0 {
            self.tokens -= f64::from(more);
            engine.set_credit(link, left + more);
        }
    }

    /// The due time in the body, which is the last part of the message.
    fn stamp(&self, payload: &[u8], now_ns: u64) -> Option<u64> {
        let body = payload.get(payload.len().checked_sub(self.plan.size_bytes)?..)?;
        let stamp = u64::from_le_bytes(*body.first_chunk::<8>()?);
        // Others may send here too: what cannot be a time of this machine's last hour is no stamp.
        (stamp <= now_ns && now_ns - stamp < 3_600_000_000_000).then_some(stamp)
    }
}

impl Role for Receiver {
    fn attach(&self) -> Attach {
        let source = Source {
            address: Some(self.address.clone()),
            capabilities: capabilities(self.plan.capability.as_deref()),
            ..Source::default()
        };
        let mut attach = bare_attach(format!("verdict-bench-receiver-{}", self.index), WireRole::Receiver);
        attach.snd_settle_mode = SenderSettleMode::Mixed;
        attach.rcv_settle_mode = ReceiverSettleMode::First;
        attach.source = Some(Box::new(source));
        attach.target = Some(Box::new(TargetArchetype::Target(Target::default())));
        attach
    }

    fn attached(&mut self, engine: &mut Connection, link: LinkId) {
        self.link = Some(link);
        if self.go.is_some() && self.plan.receive_rate.is_none() {
            engine.set_credit(link, self.plan.credit);
        }
    }

    fn start(&mut self, go: Go) {
        self.go = Some(go);
        self.since_ns = go.start_ns;
    }

    fn event(&mut self, engine: &mut Connection, event: Event, now_ns: u64) {
        match event {
            Event::Message(message) => {
                if let Some(stamp) = self.stamp(&message.payload, now_ns) {
                    self.tally.e2e_ns.saturating_record(now_ns - stamp);
                }
                self.tally.receiving_ns.note(now_ns);
                self.tally.received += 1;
                self.uncounted += 1;
                if message.settled {
                    return;
                }
                let id = message.delivery_id;
                self.run = match self.run {
                    Some((first, last)) if id == last.wrapping_add(1) => Some((first, id)),
                    _ => {
                        self.answer(engine, message.link);
                        Some((id, id))
                    }
                };
            }
            // The broker has nothing to say that we would answer.
            Event::SenderFlow { .. } => {}
            _ => {}
        }
    }

    fn drive(&mut self, engine: &mut Connection, now_ns: u64) {
        let (Some(link), Some(_)) = (self.link, self.go) else { return };
        self.answer(engine, link);
        self.live.received.add(std::mem::take(&mut self.uncounted));
        self.top_up(engine, link, now_ns);
    }

    fn wake_ns(&self, now_ns: u64) -> Option<u64> {
        self.go.filter(|_| self.plan.receive_rate.is_some()).map(|_| now_ns + STEP_NS)
    }

    fn is_done(&self, _now_ns: u64) -> bool {
        // Who receives the last message is not known here: `run` decides over all receivers.
        false
    }

    fn finish(self) -> Tally {
        self.tally
    }
}
