//! Begin and end (part 2.5.1, 2.5.2, 2.5.5).
//!
//! Invariant: a session's links are told as detached before it is told as ended, each once.

use fe2o3_amqp_types::{
    definitions::{Error, Handle},
    performatives::{Begin, End},
};

use super::{Connection, NO_CHANNEL};
use crate::{
    amqp::{
        Event, SessionId,
        codec::{encode_begin, encode_end},
        error::ProtocolError,
        session::{Session, SessionState},
    },
    limits::SESSION_WINDOW,
};

impl Connection {
    pub(super) fn session_mut(&mut self, channel: u16) -> Option<&mut Session> {
        self.sessions.get_mut(usize::from(channel))?.as_deref_mut()
    }

    /// Our channel of a session.
    pub(super) fn channel_of(&self, id: SessionId) -> Option<u16> {
        self.sessions.iter().flatten().find(|session| session.id == id).map(|session| session.channel)
    }

    /// Makes a session on the lowest channel that is free.
    fn new_session(&mut self, state: SessionState) -> Result<u16, ProtocolError> {
        let free = self.sessions.iter().position(Option::is_none).unwrap_or(self.sessions.len());
        let max = self.remote_channel_max.min(NO_CHANNEL - 1);
        let channel =
            u16::try_from(free).ok().filter(|&it| it <= max).ok_or(ProtocolError::NoChannel { max })?;
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let session = Box::new(Session::new(id, channel, state, self.first_id));
        match self.sessions.get_mut(free) {
            Some(place) => *place = Some(session),
            None => self.sessions.push(Some(session)),
        }
        Ok(channel)
    }

    fn map_channel(&mut self, remote: u16, local: u16) {
        let at = usize::from(remote);
        if self.remote_channels.len() <= at {
            self.remote_channels.resize(at + 1, NO_CHANNEL);
        }
        if let Some(place) = self.remote_channels.get_mut(at) {
            *place = local;
        }
    }

    fn write_begin(&mut self, channel: u16) -> Result<(), ProtocolError> {
        let handle_max = Handle(self.config.handle_max);
        let Some(session) = self.session_mut(channel) else { return Ok(()) };
        let begin = Begin {
            remote_channel: session.remote_channel,
            next_outgoing_id: session.windows.next_outgoing(),
            incoming_window: session.windows.incoming(),
            outgoing_window: SESSION_WINDOW,
            handle_max,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.out.frame(channel, "begin", |out| encode_begin(&begin, out))
    }

    /// Client: begins a session. Where the peer takes no more, it is told as ended at once.
    pub fn begin(&mut self) -> SessionId {
        let id = SessionId(self.next_session);
        let begun = if self.phase.is_closing() {
            self.next_session += 1;
            return id;
        } else {
            self.new_session(SessionState::BeginSent)
        };
        match begun.and_then(|channel| self.write_begin(channel)) {
            Ok(()) => {}
            Err(error) => {
                self.next_session = id.0 + 1;
                let error = Some(Box::new(error.to_wire()));
                self.events.push_back(Event::Ended { session: id, error });
            }
        }
        id
    }

    /// The peer's begin: a new session, or the answer to ours.
    pub(super) fn on_begin(&mut self, remote: u16, begin: Box<Begin>) -> Result<(), ProtocolError> {
        let in_use = self.remote_channels.get(usize::from(remote)).is_some_and(|&it| it != NO_CHANNEL);
        if in_use {
            return Err(ProtocolError::ChannelInUse { channel: remote });
        }
        let (channel, answers) = match begin.remote_channel {
            Some(ours) => (ours, true),
            None => (self.new_session(SessionState::Mapped)?, false),
        };
        let unknown = ProtocolError::UnknownRemoteChannel { channel };
        let session = self.session_mut(channel).ok_or(unknown.clone())?;
        if answers && session.remote_channel.is_some() {
            return Err(unknown);
        }
        session.remote_channel = Some(remote);
        session.remote_handle_max = begin.handle_max.0;
        session.windows.begun(begin.next_outgoing_id, begin.incoming_window);
        let id = session.id;
        // Where we have ended it meanwhile, only the peer's end is waited for.
        let ended = matches!(session.state, SessionState::EndSent { .. });
        if !ended {
            session.state = SessionState::Mapped;
        }
        let blocked = std::mem::take(&mut session.blocked);
        self.map_channel(remote, channel);
        if !answers {
            self.write_begin(channel)?;
        }
        if !ended {
            self.events.push_back(Event::Begun { session: id, begin });
            self.unblock(channel, blocked);
            self.mark_dirty(channel);
        }
        Ok(())
    }

    /// Removes all links of a session and tells each as detached.
    fn drop_links(&mut self, channel: u16, error: Option<&Error>) {
        let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_deref_mut) else {
            return;
        };
        for handle in session.handles() {
            let unsettled = session.abandon(handle);
            let Some(link) = session.remove(handle) else { continue };
            self.index.remove(link.id);
            let key = link.key();
            if self.names.get(&key) == Some(&link.id) {
                self.names.remove(&key);
            }
            if !link.told_detached {
                let error = error.cloned().map(Box::new);
                self.events.push_back(Event::Detached { link: link.id, closed: false, error, unsettled });
            }
        }
    }

    /// Forgets a session; its links are gone already.
    fn remove_session(&mut self, channel: u16) {
        let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::take) else {
            return;
        };
        if let Some(place) =
            session.remote_channel.and_then(|at| self.remote_channels.get_mut(usize::from(at)))
        {
            *place = NO_CHANNEL;
        }
    }

    fn write_end(&mut self, channel: u16, error: Option<Error>) {
        if let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_deref_mut) {
            session.flush_dispositions(&mut self.out);
        }
        self.out.frame_with_error(channel, "end", error, |error, out| encode_end(&End { error }, out));
    }

    /// The peer's end.
    pub(super) fn on_end(&mut self, channel: u16, end: End) {
        let Some(session) = self.session_mut(channel) else { return };
        let (id, state) = (session.id, session.state);
        let told = matches!(state, SessionState::EndSent { told: true });
        if !matches!(state, SessionState::EndSent { .. }) {
            self.drop_links(channel, end.error.as_ref());
            self.write_end(channel, None);
        }
        self.remove_session(channel);
        if !told {
            self.events.push_back(Event::Ended { session: id, error: end.error.map(Box::new) });
        }
    }

    /// Ends a session. Its links are told as detached now, since what the peer still says about them is discarded;
    /// `Ended` comes with its answer. Messages not encoded yet are not sent.
    pub fn end(&mut self, session: SessionId, error: Option<Error>) {
        let Some(channel) = self.channel_of(session) else { return };
        let ended = |session: &mut Session| matches!(session.state, SessionState::EndSent { .. });
        if self.phase.is_closing() || self.session_mut(channel).is_none_or(ended) {
            return;
        }
        self.drop_links(channel, None);
        self.write_end(channel, error);
        if let Some(session) = self.session_mut(channel) {
            session.state = SessionState::EndSent { told: false };
        }
    }

    /// The peer broke a session: ends it with the error.
    pub(super) fn fail_session(&mut self, channel: u16, error: &ProtocolError) {
        let wire = error.to_wire();
        self.drop_links(channel, Some(&wire));
        self.write_end(channel, Some(wire.clone()));
        let Some(session) = self.session_mut(channel) else { return };
        session.state = SessionState::EndSent { told: true };
        let session = session.id;
        self.events.push_back(Event::Ended { session, error: Some(Box::new(wire)) });
    }

    /// The connection is over: tells all links as detached, all sessions as ended.
    pub(super) fn end_all_sessions(&mut self) {
        for at in 0..self.sessions.len() {
            let Ok(channel) = u16::try_from(at) else { return };
            let Some(session) = self.sessions.get_mut(at).and_then(Option::as_deref_mut) else { continue };
            session.flush_dispositions(&mut self.out);
            let id = session.id;
            let told = matches!(session.state, SessionState::EndSent { told: true });
            self.drop_links(channel, None);
            self.remove_session(channel);
            if !told {
                self.events.push_back(Event::Ended { session: id, error: None });
            }
        }
    }
}
