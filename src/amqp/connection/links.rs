//! Attach and detach (part 2.6.1, 2.6.3 to 2.6.6).
//!
//! Invariant: every attach of the peer is answered by an attach, every detach by a detach with the same `closed`;
//! one name and direction is attached once in a connection. Does not judge termini.

use fe2o3_amqp_types::{
    definitions::{AmqpError, Error, Handle, ReceiverSettleMode, Role},
    performatives::{Attach, Detach},
};

use super::{Connection, handshake::symbols, index::Place};
use crate::{
    amqp::{
        AttachReply, Event, LinkId, SessionId,
        codec::{AttachFrame, encode_attach, encode_detach},
        error::ProtocolError,
        link::{End, Link, LinkState, incoming::Receiver, outgoing::Sender},
        session::{SessionState, credit_event},
    },
    limits::MAX_NAME,
};

impl Connection {
    pub(super) fn link_at(&mut self, place: Place) -> Option<&mut Link> {
        self.session_mut(place.channel)?.link_mut(place.handle)
    }

    /// The link by its id, and where it is.
    pub(super) fn find(&mut self, id: LinkId) -> Option<(Place, &mut Link)> {
        let place = self.index.get(id)?;
        self.link_at(place).filter(|link| link.id == id).map(|link| (place, link))
    }

    /// Makes a link at the lowest handle that is free. `attach` may be the peer's or ours: `role` is ours.
    fn new_link(
        &mut self,
        channel: u16,
        attach: &Attach,
        role: &Role,
        remote_handle: Option<u32>,
    ) -> Result<Place, ProtocolError> {
        let max_message_size = self.config.max_message_size;
        let partial_bytes = self.partial_bytes.clone();
        let id = LinkId(self.next_link);
        let Some(session) = self.session_mut(channel) else {
            return Err(ProtocolError::UnknownChannel { channel });
        };
        let handle = session.free_handle();
        let max = session.remote_handle_max;
        if handle > max {
            return Err(ProtocolError::NoHandle { max });
        }
        let end = match role {
            Role::Sender => End::Sender(Sender::default()),
            Role::Receiver => {
                let second = attach.rcv_settle_mode == ReceiverSettleMode::Second;
                let mut receiver = Receiver::new(max_message_size, second, partial_bytes);
                // 2.7.3 says it must be there; where it is not, 0 harms nobody.
                receiver.credit.begin(attach.initial_delivery_count.unwrap_or(0));
                End::Receiver(receiver)
            }
        };
        let state = match remote_handle {
            None => LinkState::AttachSent,
            Some(_) => LinkState::AttachReceived { early: None },
        };
        let link = Link {
            id,
            name: attach.name.as_str().into(),
            handle,
            remote_handle,
            state,
            told_detached: false,
            snd_settle_mode: attach.snd_settle_mode.clone(),
            rcv_settle_mode: attach.rcv_settle_mode.clone(),
            end,
        };
        let key = link.key();
        if let Some(remote) = remote_handle {
            session.map_handle(remote, handle);
        }
        session.insert(link);
        let place = Place { channel, handle };
        self.next_link += 1;
        self.index.push(id, place);
        self.names.insert(key, id);
        Ok(place)
    }

    /// Removes a link from everywhere.
    fn remove_link(&mut self, place: Place) {
        let Some(link) = self.session_mut(place.channel).and_then(|session| session.remove(place.handle))
        else {
            return;
        };
        self.index.remove(link.id);
        let key = link.key();
        if self.names.get(&key) == Some(&link.id) {
            self.names.remove(&key);
        }
    }

    /// Client: attaches. `attach.handle` is ignored; sender links start at delivery-count 0.
    /// Where the session is gone or the peer takes no more links, it is told as detached at once.
    pub fn attach(&mut self, session: SessionId, attach: Attach) -> LinkId {
        let id = LinkId(self.next_link);
        let role = attach.role.clone();
        let made = match self.channel_of(session) {
            Some(channel) if !self.phase.is_closing() => self.new_link(channel, &attach, &role, None),
            _ => Err(ProtocolError::NoHandle { max: 0 }),
        };
        let sent = made.and_then(|place| {
            let initial_delivery_count = (role == Role::Sender).then_some(0);
            let frame = Attach { handle: Handle(place.handle), initial_delivery_count, ..attach };
            self.out.frame(place.channel, "attach", |out| encode_attach(&frame, out)).inspect_err(|_| {
                self.remove_link(place);
            })
        });
        if let Err(error) = sent {
            self.next_link = id.0 + 1;
            let error = Some(Box::new(error.to_wire()));
            self.events.push_back(Event::Detached { link: id, closed: true, error, unsettled: Vec::new() });
        }
        id
    }

    /// The peer's attach: a new link, or the answer to ours.
    pub(super) fn on_attach(&mut self, channel: u16, frame: AttachFrame) -> Result<(), ProtocolError> {
        let AttachFrame { attach, mut refuse } = frame;
        let (remote, max) = (attach.handle.0, self.config.handle_max);
        if remote > max {
            return Err(ProtocolError::HandleRange { got: remote, max });
        }
        let Some(session) = self.session_mut(channel) else { return Ok(()) };
        if session.local_handle(remote).is_some() {
            return Err(ProtocolError::HandleInUse { handle: remote });
        }
        let session_id = session.id;
        let role = if attach.role == Role::Sender { Role::Receiver } else { Role::Sender };
        let key = (role == Role::Sender, attach.name.as_str().into());
        if let Some(place) = self.names.get(&key).copied().and_then(|id| self.index.get(id)) {
            if place.channel == channel
                && self.link_at(place).is_some_and(|link| link.remote_handle.is_none())
            {
                self.on_attach_answer(place, remote, attach);
                return Ok(());
            }
            // 2.6.1: the link is attached already: the new attach wins, the old is detached.
            self.fail_link(place, &ProtocolError::Stolen { handle: place.handle });
        }
        let got = attach.name.len();
        if got > MAX_NAME && refuse.is_none() {
            let words = format!("link name: {got} bytes, expected at most {MAX_NAME}");
            refuse = Some(Box::new(Error::new(AmqpError::InvalidField, words, None)));
        }
        let place = self.new_link(channel, &attach, &role, Some(remote))?;
        if let Some(link) = self.link_at(place).map(|link| link.id) {
            self.events.push_back(Event::Attach {
                session: session_id,
                link,
                attach: Box::new(attach),
                refuse,
            });
        }
        Ok(())
    }

    /// The peer answered our attach.
    fn on_attach_answer(&mut self, place: Place, remote: u32, attach: Attach) {
        let Some(session) = self.session_mut(place.channel) else { return };
        session.map_handle(remote, place.handle);
        let Some(link) = session.link_mut(place.handle) else { return };
        link.remote_handle = Some(remote);
        if !matches!(link.state, LinkState::AttachSent) {
            // We detached meanwhile: the peer's detach is all that matters.
            return;
        }
        link.state = LinkState::Attached;
        if let End::Receiver(receiver) = &mut link.end {
            receiver.credit.begin(attach.initial_delivery_count.unwrap_or(0));
        }
        let link = link.id;
        self.events.push_back(Event::Attached { link, attach: Box::new(attach) });
        self.mark_ready(place);
        self.mark_dirty(place.channel);
    }

    /// Server: answers `Event::Attach`. Modes are echoed as negotiated; sender links start at delivery-count 0.
    pub fn accept_attach(&mut self, link: LinkId, reply: AttachReply) {
        let default_max = self.config.max_message_size;
        let Some((place, link)) = self.find(link) else { return };
        let LinkState::AttachReceived { early } = link.state else { return };
        let mut attach = link.attach();
        attach.source = reply.source;
        attach.target = reply.target;
        attach.max_message_size = reply.max_message_size.filter(|&max| max > 0);
        if let End::Receiver(receiver) = &mut link.end {
            let max =
                [attach.max_message_size.unwrap_or(0), default_max].into_iter().filter(|&max| max > 0).min();
            receiver.max_message_size = max.unwrap_or(0);
            attach.max_message_size = max;
        }
        attach.offered_capabilities = symbols(&reply.capabilities);
        attach.properties = reply.properties;
        let (id, previous) = (link.id, std::mem::replace(&mut link.state, LinkState::Attached));
        let mut sent = self.out.frame(place.channel, "attach", |out| encode_attach(&attach, out));
        if sent.is_err() {
            let brief = Attach { offered_capabilities: None, properties: None, ..attach };
            sent = self.out.frame(place.channel, "attach", |out| encode_attach(&brief, out));
        }
        if let Err(error) = sent {
            if let Some(link) = self.link_at(place) {
                link.state = previous;
            }
            self.fail_link(place, &error);
            return;
        }
        self.events.extend(early.map(|flow| credit_event(id, flow)));
        self.mark_ready(place);
        self.mark_dirty(place.channel);
    }

    /// Server: answers with no terminus, then detach(closed) with the error (2.6.3). Nothing more is told of the link.
    pub fn refuse_attach(&mut self, link: LinkId, error: Error) {
        let Some((place, link)) = self.find(link) else { return };
        if matches!(link.state, LinkState::AttachReceived { .. }) {
            link.told_detached = true;
            self.send_detach(place, true, Some(error));
        }
    }

    /// Detaches a link. What is queued goes out first as far as windows and credit allow, but not where the link has
    /// an error: a peer that does not read could have it over and over. The peer may go on to settle deliveries
    /// until it answers; `Detached` comes then.
    pub fn detach(&mut self, link: LinkId, closed: bool, error: Option<Error>) {
        if self.phase.is_closing() {
            return;
        }
        let Some((place, link)) = self.find(link) else { return };
        if link.is_live() {
            match &mut link.end {
                End::Sender(sender) if error.is_some() => sender.give_up(),
                End::Sender(_) => self.pump_link(place),
                End::Receiver(receiver) => receiver.abandon(),
            }
            self.send_detach(place, closed, error);
        }
    }

    /// Sends detach, behind an attach where the peer's has not been answered, and discards from then on.
    fn send_detach(&mut self, place: Place, closed: bool, error: Option<Error>) {
        let Some(session) = self.sessions.get_mut(usize::from(place.channel)).and_then(Option::as_deref_mut)
        else {
            return;
        };
        session.flush_dispositions(&mut self.out);
        let Some(link) = session.link_mut(place.handle) else { return };
        let unanswered = matches!(link.state, LinkState::AttachReceived { .. });
        link.state = LinkState::DetachSent;
        if unanswered {
            // Modes, name and no terminus fit as long as the name does: else the peer asked for it.
            let attach = link.attach();
            let sent = self.out.frame(place.channel, "attach", |out| encode_attach(&attach, out));
            if let Err(error) = sent {
                self.fail_session(place.channel, &error);
                return;
            }
        }
        let handle = Handle(place.handle);
        self.out.frame_with_error(place.channel, "detach", error, |error, out| {
            encode_detach(&Detach { handle: handle.clone(), closed, error }, out);
        });
    }

    /// The peer's detach: ends the link, and is answered where it is not the answer.
    pub(super) fn on_detach(&mut self, channel: u16, detach: Detach) -> Result<(), ProtocolError> {
        let remote = detach.handle.0;
        let Some(session) = self.session_mut(channel) else { return Ok(()) };
        let handle = session
            .local_handle(remote)
            .ok_or(ProtocolError::UnattachedHandle { frame: "detach", handle: remote })?;
        let place = Place { channel, handle };
        let unsettled = session.abandon(handle);
        let Some(link) = session.link_mut(handle) else { return Ok(()) };
        let (id, live, told) = (link.id, link.is_live(), link.told_detached);
        if live {
            // 2.6.6: "if the peer's detach has closed set, so has the answer".
            self.send_detach(place, detach.closed, None);
        }
        self.remove_link(place);
        if !told {
            let Detach { closed, error, .. } = detach;
            self.events.push_back(Event::Detached {
                link: id,
                closed,
                error: error.map(Box::new),
                unsettled,
            });
        }
        Ok(())
    }

    /// The peer broke a link: detaches it with the error.
    pub(super) fn fail_link(&mut self, place: Place, error: &ProtocolError) {
        let Some(session) = self.session_mut(place.channel) else { return };
        if matches!(session.state, SessionState::EndSent { .. }) {
            return;
        }
        let Some(link) = session.link_mut(place.handle) else { return };
        if !link.is_live() {
            return;
        }
        let id = link.id;
        link.told_detached = true;
        let unsettled = session.abandon(place.handle);
        // 2.6.5: the link endpoint "MUST then be destroyed". A stolen one, too: 2.6.1 "the first attach MUST
        // then be closed with a link error of stolen".
        let wire = error.to_wire();
        self.send_detach(place, true, Some(wire.clone()));
        self.events.push_back(Event::Detached {
            link: id,
            closed: true,
            error: Some(Box::new(wire)),
            unsettled,
        });
    }
}
