//! A sending link of the load generator.
//!
//! Invariant: never more than `window` messages without an answer, nor beyond the link's credit. With a rate,
//! messages have a due time that does not wait for the broker, and latency counts from it: a broker that
//! stalls is charged for every message it kept waiting (no coordinated omission).

use std::{collections::VecDeque, sync::Arc};

use fe2o3_amqp_types::{
    definitions::{ReceiverSettleMode, Role as WireRole, SenderSettleMode},
    messaging::{Source, Target, TargetArchetype},
    performatives::Attach,
};

use super::{
    super::{Failure, client::condition},
    drive::{Go, Role, bare_attach, capabilities},
    plan::Plan,
    tally::{Live, Tally},
};
use crate::amqp::{Connection, Event, LinkId, Outgoing, codec::DeliveryState};

pub(super) struct Sender {
    plan: Arc<Plan>,
    live: Arc<Live>,
    tally: Tally,
    address: String,
    index: u32,
    link: Option<LinkId>,
    go: Option<Go>,
    /// Messages of this sender; `u64::MAX` when the time decides.
    quota: u64,
    /// The link's delivery-count, as far as we sent (part 2.6.7).
    delivery_count: u32,
    /// delivery-count up to which we have credit.
    limit: u32,
    /// Due times of the messages without an answer; the token of the first is `first_token`.
    unanswered: VecDeque<Option<u64>>,
    first_token: u64,
    waiting: u32,
    /// Sections before the body's bytes: header and the data section's head.
    head: Vec<u8>,
    filler: Arc<[u8]>,
    /// Sent settled and known to be encoded.
    encoded: u64,
}

impl Sender {
    pub fn new(plan: &Arc<Plan>, live: &Arc<Live>, index: u32) -> Result<Self, Failure> {
        Ok(Self {
            plan: Arc::clone(plan),
            live: Arc::clone(live),
            tally: Tally::new()?,
            address: plan.address(index),
            index,
            link: None,
            go: None,
            quota: plan.quota(index),
            delivery_count: 0,
            limit: 0,
            unanswered: VecDeque::new(),
            first_token: 0,
            waiting: 0,
            head: head(plan.durable, plan.size_bytes),
            filler: vec![b'x'; plan.size_bytes].into(),
            encoded: 0,
        })
    }

    /// When the next message is to be sent; `None`: when it can be.
    fn due(&self) -> Option<u64> {
        let (rate, go) = (self.plan.rate?, self.go?);
        let senders = f64::from(self.plan.senders);
        // Senders take turns, so that together they are even.
        let turn = self.tally.sent as f64 * senders + f64::from(self.index);
        Some(go.start_ns.saturating_add((turn * 1e9 / rate) as u64))
    }

    fn all_sent(&self, now_ns: u64) -> bool {
        let over = self.go.and_then(|go| go.end_ns).is_some_and(|end_ns| {
            let next_ns = self.due().map_or(now_ns, |due_ns| due_ns.min(now_ns));
            next_ns >= end_ns
        });
        self.tally.sent >= self.quota || over
    }

    fn has_room(&self) -> bool {
        let credit = self.limit.wrapping_sub(self.delivery_count).cast_signed();
        credit > 0 && (self.plan.settled || self.waiting < self.plan.window)
    }

    fn send(&mut self, engine: &mut Connection, link: LinkId, due_ns: u64) {
        let mut prefix = Vec::with_capacity(self.head.len() + 8);
        prefix.extend_from_slice(&self.head);
        let stamped = self.plan.size_bytes >= 8;
        if stamped {
            prefix.extend_from_slice(&due_ns.to_le_bytes());
        }
        engine.send(
            link,
            Outgoing {
                token: self.tally.sent,
                format: 0,
                settled: self.plan.settled,
                prefix,
                body: Arc::clone(&self.filler),
                body_from: if stamped { 8 } else { 0 },
            },
        );
        self.delivery_count = self.delivery_count.wrapping_add(1);
        self.tally.sent += 1;
        if self.plan.settled {
            return;
        }
        self.unanswered.push_back(Some(due_ns));
        self.waiting += 1;
    }

    fn answered(&mut self, token: u64, state: Option<&DeliveryState>, now_ns: u64) {
        let Ok(index) = usize::try_from(token.wrapping_sub(self.first_token)) else { return };
        let Some(due_ns) = self.unanswered.get_mut(index).and_then(Option::take) else { return };
        self.tally.ack_ns.saturating_record(now_ns.saturating_sub(due_ns));
        self.waiting -= 1;
        while let Some(None) = self.unanswered.front() {
            self.unanswered.pop_front();
            self.first_token += 1;
        }
        match state {
            Some(DeliveryState::Accepted) => self.tally.accepted += 1,
            Some(DeliveryState::Rejected(error)) => {
                self.tally.rejected += 1;
                if self.tally.reason.is_none() {
                    self.tally.reason = error.as_deref().map(condition);
                }
            }
            Some(DeliveryState::Modified(..)) => self.tally.modified += 1,
            _ => self.tally.released += 1,
        }
    }
}

impl Role for Sender {
    fn attach(&self) -> Attach {
        let plan = &self.plan;
        let target = Target {
            address: Some(self.address.clone()),
            capabilities: capabilities(plan.capability.as_deref()),
            ..Target::default()
        };
        let mut attach = bare_attach(format!("verdict-bench-sender-{}", self.index), WireRole::Sender);
        attach.snd_settle_mode =
            if plan.settled { SenderSettleMode::Settled } else { SenderSettleMode::Unsettled };
        attach.rcv_settle_mode = ReceiverSettleMode::First;
        attach.source = Some(Box::new(Source::default()));
        attach.target = Some(Box::new(TargetArchetype::Target(target)));
        attach.initial_delivery_count = Some(0);
        attach
    }

    fn attached(&mut self, _engine: &mut Connection, link: LinkId) {
        self.link = Some(link);
    }

    fn start(&mut self, go: Go) {
        self.go = Some(go);
    }

    fn event(&mut self, engine: &mut Connection, event: Event, now_ns: u64) {
        match event {
            Event::Credit { link, delivery_count, credit, drain, echo } => {
                // 2.6.7: link-credit(snd) := delivery-count(rcv) + link-credit(rcv) - delivery-count(snd)
                self.limit = delivery_count.wrapping_add(credit);
                if drain {
                    // We have nothing that must go now, so all of it is given back.
                    self.delivery_count = self.limit;
                }
                if drain || echo {
                    engine.sender_flow(link, 0, drain);
                }
            }
            Event::Disposition { link, tokens, settled, state } => {
                let terminal = !matches!(state, Some(DeliveryState::Received(..)));
                if !terminal && !settled {
                    return;
                }
                let before = self.tally.accepted;
                for token in &tokens {
                    self.answered(*token, state.as_ref(), now_ns);
                }
                self.live.answered.add(tokens.len() as u64);
                self.live.accepted.add(self.tally.accepted - before);
                self.tally.sending_ns.note(now_ns);
                if let (false, Some(state)) = (settled, state) {
                    engine.settle_sent(link, &tokens, state);
                }
            }
            _ => {}
        }
    }

    fn drive(&mut self, engine: &mut Connection, now_ns: u64) {
        let (Some(link), Some(_)) = (self.link, self.go) else { return };
        let before = self.tally.sent;
        while self.has_room() && !self.all_sent(now_ns) {
            let due_ns = self.due().unwrap_or(now_ns);
            if due_ns > now_ns {
                break;
            }
            if self.tally.sent == 0 {
                self.tally.sending_ns.note(due_ns);
            }
            self.send(engine, link, due_ns);
        }
        self.live.sent.add(self.tally.sent - before);
        if self.plan.settled {
            let (encoded, _) = engine.take_sent(link);
            self.encoded += u64::from(encoded);
            if encoded > 0 {
                self.tally.accepted += u64::from(encoded);
                self.tally.sending_ns.note(now_ns);
                self.live.answered.add(u64::from(encoded));
                self.live.accepted.add(u64::from(encoded));
            }
        }
    }

    fn wake_ns(&self, now_ns: u64) -> Option<u64> {
        // What has gone by was acted on in `drive`, or waits for the broker: credit or an answer.
        let end_ns = self.go.and_then(|go| go.end_ns);
        let due_ns = if self.has_room() { self.due() } else { None };
        end_ns.into_iter().chain(due_ns).filter(|at_ns| *at_ns > now_ns).min()
    }

    fn is_done(&self, now_ns: u64) -> bool {
        let answered = if self.plan.settled { self.encoded == self.tally.sent } else { self.waiting == 0 };
        self.go.is_some() && answered && self.all_sent(now_ns)
    }

    fn finish(self) -> Tally {
        self.tally
    }
}

/// The sections before the body's bytes.
fn head(durable: bool, size_bytes: usize) -> Vec<u8> {
    // 3.2.1 header: a list of one boolean, or left out.
    let mut head = if durable { vec![0x00, 0x53, 0x70, 0xc0, 0x02, 0x01, 0x41] } else { Vec::new() };
    // 3.2.6 data: binary with a length of one octet, or of four.
    head.extend([0x00, 0x53, 0x75]);
    match u8::try_from(size_bytes) {
        Ok(len) => head.extend([0xa0, len]),
        Err(_) => {
            head.push(0xb0);
            head.extend(u32::try_from(size_bytes).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    head
}
