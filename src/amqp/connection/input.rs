//! Bytes in: frames, to whom they go, and what their errors cost.
//!
//! Invariant: one frame is handled whole before the next; an error ends its scope and nothing more. What came
//! after our close is discarded.

use fe2o3_amqp_types::{definitions::Error, performatives::Close};

use super::{Connection, NO_CHANNEL, handshake::Phase, index::Place};
use crate::amqp::{
    Event,
    codec::{FrameKind, Parsed, Performative, decode, encode_close, parse_frame},
    error::{ProtocolError, Scope},
    session::SessionState,
};
use crate::{
    limits::{MAX_FRAME_SIZE, MIN_MAX_FRAME_SIZE},
    time::Millis,
};

/// Most bytes kept that came ahead of the application's decision.
const MAX_STASH_BYTES: usize = MAX_FRAME_SIZE as usize;

impl Connection {
    /// Consumes all whole frames of `input`, returns how many bytes those were; the caller keeps the rest and
    /// presents it again with more behind it. After an error the engine swallows everything.
    pub fn handle_input(&mut self, input: &[u8], now: Millis) -> usize {
        self.now = self.now.max(now);
        if !input.is_empty() {
            self.idle.received(now);
        }
        if !self.stash.is_empty() {
            self.stash.extend_from_slice(input);
            self.replay();
            // The beginning of a frame may go back to the caller, so that later input need not be copied.
            let rest = self.stash.len();
            if rest <= input.len() && !self.phase.is_deciding() {
                self.stash = Vec::new();
                return input.len() - rest;
            }
            return input.len();
        }
        let used = self.process(input);
        if self.phase.is_deciding() {
            self.stash.extend_from_slice(input.get(used..).unwrap_or_default());
            self.check_stash();
            return input.len();
        }
        used
    }

    /// Goes on with what was kept aside.
    pub(super) fn replay(&mut self) {
        let mut stash = std::mem::take(&mut self.stash);
        if !stash.is_empty() {
            let used = self.process(&stash);
            stash.drain(..used);
            // What is left is the beginning of a frame, or waits for the next decision.
            self.stash = stash;
            self.check_stash();
        }
    }

    fn check_stash(&mut self) {
        if self.phase.is_deciding() && self.stash.len() > MAX_STASH_BYTES {
            let error = ProtocolError::SentAhead { max: MAX_STASH_BYTES };
            self.on_garbage(!matches!(self.phase, Phase::Deciding), error);
        }
        if self.stash.is_empty() {
            self.stash = Vec::new();
        }
    }

    /// Handles whole frames, up to a decision of the application; returns how many bytes those were.
    fn process(&mut self, input: &[u8]) -> usize {
        let mut used = 0;
        while let Some(rest) = input.get(used..)
            && !rest.is_empty()
        {
            let step = match self.phase {
                Phase::Over => return input.len(),
                Phase::Deciding => return used,
                Phase::Header { secured } => self.on_header(rest, secured),
                _ => self.on_frame(rest),
            };
            if step == 0 && !self.phase.is_over() {
                return used;
            }
            self.check_unread();
            used += step;
        }
        used
    }

    /// Handles the frame in front; returns its size, 0 while it is incomplete.
    fn on_frame(&mut self, input: &[u8]) -> usize {
        let sasl = match self.phase {
            Phase::Sasl(super::handshake::SaslStep::Deciding) => return 0,
            Phase::Sasl(step) => Some(step),
            _ => None,
        };
        // 5.3.1: "the maximum size of a SASL frame is defined by MIN-MAX-FRAME-SIZE"
        let max = if sasl.is_some() { MIN_MAX_FRAME_SIZE } else { self.config.max_frame_size };
        let (header, body, total) = match parse_frame(input, max) {
            Ok(Parsed::Incomplete) => return 0,
            Ok(Parsed::Frame { header, body, total }) => (header, body, total),
            Err(error) => {
                self.on_garbage(sasl.is_some(), error.into());
                return input.len();
            }
        };
        match (sasl, header.kind) {
            (Some(step), FrameKind::Sasl) => {
                if let Err(error) = self.on_sasl(step, body) {
                    self.on_garbage(true, error.into());
                }
            }
            (Some(_), FrameKind::Amqp) => self.on_garbage(true, ProtocolError::SaslFrame),
            (None, FrameKind::Sasl) => self.on_garbage(false, ProtocolError::SaslFrame),
            (None, FrameKind::Amqp) => self.on_amqp(header.channel, body),
        }
        total
    }

    /// Bytes that cannot be understood. Within SASL there is nothing to say so with.
    fn on_garbage(&mut self, sasl: bool, error: ProtocolError) {
        match self.phase {
            _ if sasl => self.finish(false, false, Some(error.to_wire())),
            // Our close is out already; where its answer would be found is unknown now.
            Phase::Discarding { .. } => self.finish(false, false, None),
            _ => self.fail(&error),
        }
    }

    fn on_amqp(&mut self, channel: u16, body: &[u8]) {
        if body.is_empty() && !matches!(self.phase, Phase::Open) {
            return;
        }
        let (performative, payload_at) = match decode(body) {
            Ok(decoded) => decoded,
            Err(error) => return self.on_garbage(false, error.into()),
        };
        let payload = body.get(payload_at..).unwrap_or_default();
        let result = match (&self.phase, performative) {
            (_, Performative::Close(close)) if !matches!(self.phase, Phase::Open) => {
                self.on_close(*close);
                Ok(())
            }
            (Phase::Discarding { .. }, _) => Ok(()),
            // 2.4.1: before, "the maximum channel number is 0", and "the open frame can only be sent on channel 0"
            (Phase::Open, Performative::Open(_)) if channel != 0 => {
                Err(ProtocolError::ChannelRange { got: channel, max: 0 })
            }
            (Phase::Open, Performative::Open(open)) => self.on_open(open),
            (Phase::Open, other) => {
                Err(ProtocolError::IllegalState { got: name(&other), expected: "an open frame" })
            }
            (_, Performative::Open(_)) => {
                Err(ProtocolError::IllegalState { got: "second open", expected: "one open frame" })
            }
            (_, performative) => self.on_session_frame(channel, performative, payload),
        };
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    /// A frame on a channel. Errors of a session or link end here; those of the connection are returned.
    fn on_session_frame(
        &mut self,
        remote: u16,
        performative: Performative<'_>,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let max = self.config.channel_max;
        if remote > max {
            // 2.7.1: "a peer that receives a channel number outside the supported range MUST close the
            // connection with the framing-error error-code"
            return Err(ProtocolError::ChannelRange { got: remote, max });
        }
        let performative = match performative {
            Performative::Begin(begin) => return self.on_begin(remote, begin),
            other => other,
        };
        let channel = self
            .remote_channels
            .get(usize::from(remote))
            .copied()
            .filter(|&channel| channel != NO_CHANNEL)
            .ok_or(ProtocolError::UnknownChannel { channel: remote })?;
        let result = self.on_mapped(channel, performative, payload);
        let Err(error) = result else { return Ok(()) };
        match error.scope() {
            Scope::Connection => Err(error),
            Scope::Session => {
                self.fail_session(channel, &error);
                Ok(())
            }
            Scope::Link(handle) => {
                self.fail_link(Place { channel, handle }, &error);
                Ok(())
            }
        }
    }

    fn on_mapped(
        &mut self,
        channel: u16,
        performative: Performative<'_>,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_deref_mut) else {
            return Ok(());
        };
        if let Performative::End(end) = performative {
            self.on_end(channel, *end);
            return Ok(());
        }
        // 2.5.5 discarding: after our end, everything up to the peer's is.
        if matches!(session.state, SessionState::EndSent { .. }) {
            return Ok(());
        }
        match performative {
            Performative::Transfer(transfer) => {
                session.on_transfer(transfer, payload, &mut self.events)?;
                if session.windows.wants_refresh() {
                    self.mark_dirty(channel);
                }
            }
            Performative::Disposition(disposition) => session.on_disposition(disposition, &mut self.events),
            Performative::Flow(flow) => {
                let effect = session.on_flow(flow, &mut self.events)?;
                if effect.dirty {
                    self.mark_dirty(channel);
                }
                if !effect.unblocked.is_empty() {
                    self.unblock(channel, effect.unblocked);
                }
                if let Some(handle) = effect.ready {
                    self.mark_ready(Place { channel, handle });
                }
            }
            Performative::Attach(attach) => self.on_attach(channel, *attach)?,
            Performative::Detach(detach) => self.on_detach(channel, *detach)?,
            Performative::Open(_)
            | Performative::Begin(_)
            | Performative::End(_)
            | Performative::Close(_) => {}
        }
        Ok(())
    }

    fn on_close(&mut self, close: Close) {
        match self.phase {
            Phase::Discarding { .. } => self.finish(true, false, close.error),
            _ => {
                self.end_all_sessions();
                self.write_close(None);
                self.finish(true, true, close.error);
            }
        }
    }

    /// The peer closed the socket, or it failed. Called again, what was left to write is given up.
    pub fn handle_eof(&mut self, now: Millis) {
        self.now = self.now.max(now);
        match self.phase {
            Phase::Over => self.out.discard(),
            Phase::Discarding { .. } => self.finish(true, false, None),
            _ => {
                self.end_all_sessions();
                self.finish(false, true, None);
            }
        }
    }

    /// The peer broke the protocol: closes the connection with the error.
    pub(super) fn fail(&mut self, error: &ProtocolError) {
        if self.phase.is_closing() {
            return;
        }
        self.shut(Some(error.to_wire()));
        self.phase = Phase::Discarding { told: true };
        let error = Some(Box::new(error.to_wire()));
        self.events.push_back(Event::Closed { clean: false, by_peer: false, error });
    }

    /// Ends everything and sends close, after the open if that has not gone out.
    pub(super) fn shut(&mut self, error: Option<Error>) {
        self.end_all_sessions();
        self.stash = Vec::new();
        if !self.has_opened() {
            // 2.4.3: a close is preceded by an open.
            self.out.drop_held();
            self.write_open();
        }
        self.out.release();
        self.write_close(error);
        self.idle.closing(self.now);
    }

    fn has_opened(&self) -> bool {
        match self.side {
            super::Side::Server => matches!(self.phase, Phase::Running),
            // A client sends open with its AMQP header.
            super::Side::Client(_) => true,
        }
    }

    fn write_close(&mut self, error: Option<Error>) {
        self.out.frame_with_error(0, "close", error, |error, out| encode_close(&Close { error }, out));
    }

    /// The connection is over: what is written goes out, nothing more is read.
    pub(super) fn finish(&mut self, clean: bool, by_peer: bool, error: Option<Error>) {
        let told = matches!(self.phase, Phase::Discarding { told: true });
        self.phase = Phase::Over;
        self.stash = Vec::new();
        self.out.drop_held();
        self.idle.closing(self.now);
        if told {
            return;
        }
        self.events.push_back(Event::Closed { clean, by_peer, error: error.map(Box::new) });
    }
}

fn name(performative: &Performative<'_>) -> &'static str {
    match performative {
        Performative::Open(_) => "open",
        Performative::Begin(_) => "begin",
        Performative::Attach(_) => "attach",
        Performative::Flow(_) => "flow",
        Performative::Transfer(_) => "transfer",
        Performative::Disposition(_) => "disposition",
        Performative::Detach(_) => "detach",
        Performative::End(_) => "end",
        Performative::Close(_) => "close",
    }
}
