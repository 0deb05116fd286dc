//! What the application does with links that are attached, and with the connection's end.
//!
//! Invariant: a command for what is gone does nothing. Nothing is encoded here that could gather until
//! the next `output`.

use fe2o3_amqp_types::definitions::{Error, Fields};

use super::{Connection, handshake::Phase, idle::Due, index::Place};
use crate::{
    amqp::{
        Event, LinkId, Outgoing,
        codec::{DeliveryState, FrameKind, frame_end, frame_start},
        error::ProtocolError,
        link::{End, LinkState},
    },
    time::Millis,
};

impl Connection {
    /// Receiving link: sets link credit to this from now on (absolute); sent with the next output.
    pub fn set_credit(&mut self, link: LinkId, credit: u32) {
        self.give(link, credit, false);
    }

    /// Receiving link: asks the sender to drain.
    pub fn drain(&mut self, link: LinkId, credit: u32) {
        self.give(link, credit, true);
    }

    fn give(&mut self, link: LinkId, credit: u32, drain: bool) {
        let Some((place, link)) = self.find(link) else { return };
        let End::Receiver(receiver) = &mut link.end else { return };
        receiver.credit.set(credit, drain);
        if let Some(session) = self.session_mut(place.channel) {
            session.want_link_flow(place.handle);
        }
        self.mark_dirty(place.channel);
    }

    /// Receiving link: what is left of the credit given.
    #[must_use]
    pub fn credit_left(&self, link: LinkId) -> u32 {
        let left = || {
            let place = self.index.get(link)?;
            let session = self.sessions.get(usize::from(place.channel))?.as_deref()?;
            match &session.link(place.handle)?.end {
                End::Receiver(receiver) => Some(receiver.credit.left()),
                End::Sender(_) => None,
            }
        };
        left().unwrap_or(0)
    }

    /// Sending link: queues a message; it goes out as the session window allows. The caller respects credit.
    pub fn send(&mut self, link: LinkId, message: Outgoing) {
        let Some((place, found)) = self.find(link) else { return self.unsent(link, &message) };
        let End::Sender(sender) = &mut found.end else { return };
        sender.push(message);
        if !sender.ready {
            self.mark_ready(place);
        }
    }

    /// The link is gone, but the application may not have read so yet: then it will with this.
    fn unsent(&mut self, gone: LinkId, message: &Outgoing) {
        let told = self.events.iter_mut().rev().find_map(|event| match event {
            Event::Detached { link, unsettled, .. } if *link == gone => Some(unsettled),
            _ => None,
        });
        if let Some(unsettled) = told.filter(|_| !message.settled) {
            unsettled.push(message.token);
        }
    }

    /// Sending link: (messages, payload bytes) encoded since this was last called.
    pub fn take_sent(&mut self, link: LinkId) -> (u32, u64) {
        match self.find(link).map(|(_, link)| &mut link.end) {
            Some(End::Sender(sender)) => sender.take_sent(),
            _ => (0, 0),
        }
    }

    /// Sending link: answers a drain or echo with a flow, behind what is queued and may go out.
    /// After `drained` the link has no credit left.
    pub fn sender_flow(&mut self, link: LinkId, available: u32, drained: bool) {
        let Some((place, link)) = self.find(link) else { return };
        let End::Sender(sender) = &mut link.end else { return };
        let answer = sender.answer.get_or_insert_default();
        answer.available = Some(available);
        answer.drained |= drained;
        self.want_answer(place);
    }

    /// Sending link: tells the receiver of the link's state in the properties of a flow (2.7.4). One that has not gone
    /// out yet is replaced: these are not events.
    pub fn link_state(&mut self, link: LinkId, properties: Fields) {
        let Some((place, link)) = self.find(link) else { return };
        let End::Sender(sender) = &mut link.end else { return };
        sender.answer.get_or_insert_default().properties = Some(Box::new(properties));
        self.want_answer(place);
    }

    fn want_answer(&mut self, place: Place) {
        if let Some(session) = self.session_mut(place.channel) {
            session.want_link_flow(place.handle);
        }
        self.mark_dirty(place.channel);
    }

    /// Receiving link: answers deliveries `first..=last` that came in on the link's session.
    /// On a second-mode link `settled` is held back until the sender settles.
    pub fn dispose(&mut self, link: LinkId, first: u32, last: u32, settled: bool, state: DeliveryState) {
        let Some(place) = self.index.get(link) else { return };
        let session = self.sessions.get_mut(usize::from(place.channel)).and_then(Option::as_deref_mut);
        if let Some(session) = session.filter(|session| session.is(place.handle, link)) {
            session.dispose(place.handle, first, last, settled, state, &mut self.out);
            self.mark_dirty(place.channel);
        }
    }

    /// Sending link: settles deliveries that the peer disposed of without settling (second mode), with this state.
    pub fn settle_sent(&mut self, link: LinkId, tokens: &[u64], state: DeliveryState) {
        let Some(place) = self.index.get(link) else { return };
        let session = self.sessions.get_mut(usize::from(place.channel)).and_then(Option::as_deref_mut);
        if let Some(session) = session {
            session.settle_sent(link, tokens, state, &mut self.out);
            self.mark_dirty(place.channel);
        }
    }

    /// Sends close (after the open if that has not gone out) and stops: links and sessions are told as gone, and
    /// `Closed` when the peer has answered.
    pub fn close(&mut self, error: Option<Error>) {
        match self.phase {
            Phase::Over | Phase::Discarding { .. } => {}
            // Before both AMQP headers frames would be taken for one, and the peer's header for a frame.
            Phase::Header { .. } | Phase::Sasl(_) => self.finish(true, false, None),
            Phase::Open | Phase::Deciding | Phase::Running => {
                self.shut(error);
                self.phase = Phase::Discarding { told: false };
            }
        }
    }

    /// Input is not being read, and not for want of it: the peer's silence until now does not count.
    pub fn excuse_silence(&mut self, now: Millis) {
        self.idle.received(now);
    }

    /// Sends a heartbeat or closes a silent peer, as due.
    pub fn handle_timeout(&mut self, now: Millis) {
        self.now = self.now.max(now);
        if self.phase.is_over() {
            if self.idle.due(now) == Due::CloseUnanswered {
                // The peer does not read the last of it.
                self.out.discard();
            }
            return;
        }
        match self.idle.due(now) {
            Due::Nothing => {}
            Due::Heartbeat => {
                // Where something waits to be written, the socket is what is slow: it will do.
                if self.output().is_empty() {
                    let out = self.out.raw();
                    let start = frame_start(out, FrameKind::Amqp, 0);
                    frame_end(out, start);
                }
                self.idle.sent(now);
            }
            Due::Silent(silent_ms) => {
                let expected_ms = self.idle.allowed_ms().unwrap_or(0);
                let error = ProtocolError::Silent { silent_ms, expected_ms };
                match self.phase {
                    Phase::Running | Phase::Deciding => self.fail(&error),
                    // Nobody there ever spoke AMQP.
                    _ => self.finish(false, false, Some(error.to_wire())),
                }
            }
            Due::CloseUnanswered => {
                self.out.discard();
                self.finish(true, false, None);
            }
        }
        self.trim();
    }

    /// Gives memory back that is not used now.
    fn trim(&mut self) {
        self.out.trim();
        for session in self.sessions.iter_mut().flatten() {
            session.shrink();
        }
    }

    /// The link is attached.
    pub(super) fn is_attached(state: &LinkState) -> bool {
        matches!(state, LinkState::Attached)
    }
}
