//! Links to and from `$management`: requests are passed on, answers find their way back.
//!
//! Invariant: a request that was taken is accepted and answered at most once, wherever its answer is to go; each
//! counts against its link's credit until that answer was written, so a requester that does not read its answers
//! cannot ask on. Requests of one connection are executed one after the other, in the order they came, and none is
//! begun while too many bytes of answers were not taken. They are executed elsewhere (`Host::manage`) and understood
//! in `management`.

use std::{collections::VecDeque, sync::Arc};

use fe2o3_amqp_types::{
    definitions::{AmqpError, Error, SenderSettleMode},
    messaging::{Source, Target, TargetArchetype},
    performatives::Attach,
};
use rustc_hash::FxHashMap;

use super::{Container, Host, Link, Place, Wish, attach};
use crate::{
    amqp::{AttachReply, Incoming, LinkId, Outgoing, SessionId, codec::DeliveryState},
    broker::{
        Command, Message, Outcome, ProducerId, Publish,
        address::{Address, MANAGEMENT},
    },
    limits::{MANAGEMENT_ANSWER_BYTES, MANAGEMENT_CREDIT, MANAGEMENT_REQUEST_BYTES, MANAGEMENT_REQUESTS},
    management::{self, Envelope, Operation, Reply},
};

/// A link with `$management` as its target.
pub(super) struct Requester {
    session: SessionId,
    /// Requests whose answers have not gone out.
    open: u32,
}

/// A link with `$management` as its source.
pub(super) struct Answerer {
    session: SessionId,
    /// The target's address: answers with this reply-to go here.
    address: Option<String>,
    presettled: bool,
    /// Whose answers, of how many bytes, the engine has and has not written yet, in order.
    unsent: VecDeque<(LinkId, u64)>,
}

/// A request that is not answered.
pub(super) struct Waiting {
    requester: LinkId,
    envelope: Envelope,
    route: Route,
    bytes: u64,
}

/// Where an answer goes.
enum Route {
    Link(LinkId),
    Queue(Place),
}

/// All requests of a connection that are not answered.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) waiting: FxHashMap<u64, Waiting>,
    /// Those not begun, in the order they came: what is asked, or what is wrong with it.
    queue: VecDeque<(u64, Result<Operation, Reply>)>,
    /// The one being executed.
    running: Option<u64>,
    next: u64,
    /// Bytes of answers that were not written.
    pub(super) unsent_bytes: u64,
}

/// Whether this is the address of the management node.
pub(super) fn is_management(address: Option<&str>) -> bool {
    address.is_some_and(|address| Address::parse(address) == Ok(Address::Management))
}

impl Container {
    pub(super) fn attach_requester(
        &mut self,
        link: LinkId,
        session: SessionId,
        attach: Attach,
        target: Target,
    ) {
        let reply = AttachReply {
            source: attach.source,
            target: Some(Box::new(TargetArchetype::Target(target))),
            max_message_size: Some(MANAGEMENT_REQUEST_BYTES),
            ..AttachReply::default()
        };
        self.engine.accept_attach(link, reply);
        self.engine.set_credit(link, MANAGEMENT_CREDIT);
        self.enter(link, Link::Requester(Requester { session, open: 0 }));
    }

    pub(super) fn attach_answerer(
        &mut self,
        link: LinkId,
        session: SessionId,
        attach: Attach,
        mut source: Source,
    ) {
        attach::reply_source(&mut source, &Outcome::Released, false);
        let address = match attach.target.as_deref() {
            Some(TargetArchetype::Target(target)) => target.address.clone(),
            _ => None,
        };
        let presettled = attach.snd_settle_mode == SenderSettleMode::Settled;
        let reply =
            AttachReply { source: Some(Box::new(source)), target: attach.target, ..AttachReply::default() };
        self.engine.accept_attach(link, reply);
        self.enter(link, Link::Answerer(Answerer { session, address, presettled, unsent: VecDeque::new() }));
    }

    /// A request came in.
    pub(super) fn request(&mut self, incoming: &Incoming, host: &mut dyn Host) {
        let Some(Link::Requester(requester)) = self.links.get(&incoming.link) else { return };
        let session = requester.session;
        if self.desk.waiting.len() >= MANAGEMENT_REQUESTS {
            let why = format!(
                "{MANAGEMENT_REQUESTS} requests of this connection are not answered yet, the most there may be"
            );
            return self.refuse_request(incoming, AmqpError::ResourceLimitExceeded, why);
        }
        let request = match management::parse(&incoming.payload) {
            Ok(request) => request,
            Err(why) => return self.refuse_request(incoming, AmqpError::DecodeError, why),
        };
        let route = match self.route(session, request.envelope.reply_to.as_deref(), host) {
            Ok(route) => route,
            Err(why) => return self.refuse_request(incoming, AmqpError::PreconditionFailed, why),
        };
        if !incoming.settled {
            let id = incoming.delivery_id;
            self.engine.dispose(incoming.link, id, id, true, DeliveryState::Accepted);
        }
        if let Some(Link::Requester(requester)) = self.links.get_mut(&incoming.link) {
            requester.open += 1;
        }
        let token = self.desk.next;
        self.desk.next += 1;
        let bytes = incoming.payload.len() as u64;
        self.inflight_bytes += bytes;
        let waiting = Waiting { requester: incoming.link, envelope: request.envelope, route, bytes };
        self.desk.waiting.insert(token, waiting);
        self.desk.queue.push_back((token, request.operation));
        self.begin_next(host);
    }

    /// Begins the next request, if none is being executed and answers are taken.
    fn begin_next(&mut self, host: &mut dyn Host) {
        while self.desk.running.is_none() && self.desk.unsent_bytes < MANAGEMENT_ANSWER_BYTES {
            let Some((token, operation)) = self.desk.queue.pop_front() else { return };
            match operation {
                Ok(operation) => {
                    self.desk.running = Some(token);
                    host.manage(token, operation, &self.peer);
                }
                Err(reply) => self.deliver_answer(token, &reply, host),
            }
        }
    }

    fn refuse_request(&mut self, incoming: &Incoming, condition: AmqpError, why: String) {
        self.refuse_message(incoming, Error::new(condition, Some(why), None));
    }

    /// Where the answer goes: a link from `$management` with this address as its target, of the same session before
    /// others; else the queue of that address. Without an address: the one link of the session there is.
    fn route(
        &self,
        session: SessionId,
        reply_to: Option<&str>,
        host: &mut dyn Host,
    ) -> Result<Route, String> {
        let mut answerers = self.links.iter().filter_map(|(id, link)| match link {
            Link::Answerer(answerer) => Some((*id, answerer)),
            _ => None,
        });
        let Some(to) = reply_to else {
            let mut own = answerers.filter(|(_, answerer)| answerer.session == session).map(|(id, _)| id);
            return match (own.next(), own.next()) {
                (Some(link), None) => Ok(Route::Link(link)),
                (got, _) => Err(format!(
                    "no request: it has no reply-to, and its session has {} from {MANAGEMENT}, expected one",
                    if got.is_some() { "several links" } else { "no link" }
                )),
            };
        };
        let mut found = None;
        for (id, _) in answerers.by_ref().filter(|(_, answerer)| answerer.address.as_deref() == Some(to)) {
            let same =
                |id: LinkId| matches!(self.links.get(&id), Some(Link::Answerer(a)) if a.session == session);
            // Links come in no order: of several that fit equally, the first attached.
            if found.is_none_or(|other| (!same(id), id.0) < (!same(other), other.0)) {
                found = Some(id);
            }
        }
        if let Some(link) = found {
            return Ok(Route::Link(link));
        }
        match host.resolve(to, Wish::existing()) {
            Ok(place) if !place.dead_letter => Ok(Route::Queue(place)),
            Ok(_) => Err(format!("no request: its reply-to {to:?} is a dead-letter tree, expected a queue")),
            Err(why) => Err(format!(
                "no request: its reply-to {to:?} is the target of no link from {MANAGEMENT} on this connection, \
                 and no queue: {why}"
            )),
        }
    }

    /// A request was executed. Call `output` afterwards.
    pub fn answer(&mut self, token: u64, reply: &Reply, host: &mut dyn Host) {
        self.desk.running = self.desk.running.filter(|running| *running != token);
        self.deliver_answer(token, reply, host);
        self.begin_next(host);
    }

    fn deliver_answer(&mut self, token: u64, reply: &Reply, host: &mut dyn Host) {
        let Some(waiting) = self.desk.waiting.remove(&token) else { return };
        self.inflight_bytes = self.inflight_bytes.saturating_sub(waiting.bytes);
        let Waiting { requester, envelope, route, .. } = waiting;
        match route {
            Route::Link(link) => {
                let Some(Link::Answerer(answerer)) = self.links.get_mut(&link) else {
                    return self.answered(requester);
                };
                let to = envelope.reply_to.as_deref().or(answerer.address.as_deref()).unwrap_or_default();
                let prefix = envelope.answer(to, reply);
                let bytes = prefix.len() as u64;
                answerer.unsent.push_back((requester, bytes));
                self.desk.unsent_bytes += bytes;
                let (settled, body) = (answerer.presettled, Arc::from([]));
                self.engine.send(link, Outgoing { token, format: 0, settled, prefix, body, body_from: 0 });
                if !self.sending.contains(&link) {
                    self.sending.push(link);
                }
            }
            Route::Queue(place) => {
                let to = envelope.reply_to.as_deref().unwrap_or_default();
                let message = Message {
                    bytes: envelope.answer(to, reply).into(),
                    from: 0,
                    format: 0,
                    durable: false,
                    priority: crate::amqp::codec::section::Header::default().priority,
                    first_acquirer: true,
                    delivery_count: 0,
                    expires: None,
                };
                let producer = ProducerId::new(self.id, requester.0);
                let messages = vec![Publish { token, message: Arc::new(message), answer: false }];
                host.send(place.node, Command::Publish { producer, messages });
                self.answered(requester);
            }
        }
    }

    /// An answer is out, or will never be: its requester may ask again.
    fn answered(&mut self, requester: LinkId) {
        let Some(Link::Requester(link)) = self.links.get_mut(&requester) else { return };
        link.open = link.open.saturating_sub(1);
        self.touch(requester);
    }

    /// Gives credit for the requests a link may send now.
    pub(super) fn top_up_requester(&mut self, link: LinkId) {
        let Some(Link::Requester(requester)) = self.links.get(&link) else { return };
        let wanted = MANAGEMENT_CREDIT.saturating_sub(requester.open);
        if wanted > self.engine.credit_left(link) {
            self.engine.set_credit(link, wanted);
        }
    }

    /// After output was written: which answers are out. `true`: there are more.
    pub(super) fn report_answers(&mut self, link: LinkId, host: &mut dyn Host) -> bool {
        let (sent, _) = self.engine.take_sent(link);
        let Some(Link::Answerer(answerer)) = self.links.get_mut(&link) else { return false };
        let sent = answerer.unsent.len().min(sent as usize);
        let out: Vec<(LinkId, u64)> = answerer.unsent.drain(..sent).collect();
        let more = !answerer.unsent.is_empty();
        for (requester, bytes) in out {
            self.desk.unsent_bytes = self.desk.unsent_bytes.saturating_sub(bytes);
            self.answered(requester);
            self.top_up_requester(requester);
        }
        self.begin_next(host);
        more
    }

    /// The receiver of answers gave credit: the engine sends by itself, only a drain or an echo wants a word.
    pub(super) fn answerer_credit(&mut self, link: LinkId, drain: bool, echo: bool) {
        let Some(Link::Answerer(answerer)) = self.links.get(&link) else { return };
        if drain || echo {
            let available = u32::try_from(answerer.unsent.len()).unwrap_or(u32::MAX);
            self.engine.sender_flow(link, available, drain);
        }
    }

    /// What became of answers is between the receiver and itself: whatever it is, they are gone.
    pub(super) fn answers_settled(
        &mut self,
        link: LinkId,
        tokens: &[u64],
        settled: bool,
        state: Option<DeliveryState>,
    ) {
        let outcome = state.filter(|state| !settled && !matches!(state, DeliveryState::Received(..)));
        if let Some(outcome) = outcome {
            self.engine.settle_sent(link, tokens, outcome);
        }
    }

    pub(super) fn end_answerer(&mut self, answerer: Answerer, host: &mut dyn Host) {
        for (requester, bytes) in answerer.unsent {
            self.desk.unsent_bytes = self.desk.unsent_bytes.saturating_sub(bytes);
            self.answered(requester);
        }
        self.begin_next(host);
    }
}
