//! From the first byte to both opens: protocol headers (2.2), SASL (5.3), open (2.4.1).
//!
//! Invariant: nothing is acted on before the application has decided on what it depends: input behind a SASL
//! response or an open is kept aside until the application has answered that. Knows no mechanism but how a
//! client begins ANONYMOUS and PLAIN.

use fe2o3_amqp_types::{
    definitions::{AmqpError, Error},
    performatives::{ChannelMax, MaxFrameSize, Open},
};
use serde_amqp::primitives::{Array, Symbol};

use super::{ClientSasl, Connection, Side};
use crate::amqp::{
    Event,
    codec::{
        DecodeError, FrameKind, SaslFrame, decode_sasl, encode_open, encode_sasl, frame_end, frame_start,
    },
    error::ProtocolError,
};
use crate::limits::{MAX_NAME, MIN_MAX_FRAME_SIZE};

/// Protocol header of AMQP itself (2.2).
pub(super) const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
/// Protocol header of the SASL layer (5.3.2).
pub(super) const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

/// Where a connection stands (2.4.6, with the SASL layer of 5.3 in front).
///
/// ```text
///  Header ──sasl──► Sasl(step) ──outcome ok──► Header{secured} ──┐
///     └──────────────────────bare───────────────────────────────┴► Open ──open received──►
///        server: Deciding ──open()──► Running        client: Running
///  Running ──close received──► Over      Running ──close(), error: close sent──► Discarding ──close received──► Over
/// ```
#[derive(Debug)]
pub(super) enum Phase {
    /// Expects a protocol header; `secured`: behind SASL.
    Header { secured: bool },
    /// Within the SASL layer.
    Sasl(SaslStep),
    /// Expects the peer's open.
    Open,
    /// Server: the application decides on the peer's open.
    Deciding,
    /// Both opened.
    Running,
    /// Our close was sent; what comes is discarded up to the peer's. `told`: `Closed` was told already.
    Discarding { told: bool },
    /// Nothing more is read.
    Over,
}

/// What the SASL layer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SaslStep {
    /// Server: the client's choice.
    Init,
    /// Server: the client's response to our challenge.
    Response,
    /// Server: the application.
    Deciding,
    /// Client: what the server offers.
    Mechanisms,
    /// Client: the outcome.
    Outcome,
}

impl Phase {
    /// Input has to wait for the application.
    pub fn is_deciding(&self) -> bool {
        matches!(self, Self::Deciding | Self::Sasl(SaslStep::Deciding))
    }

    /// Nothing more is read.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Our close was sent, or nothing is read any more.
    pub fn is_closing(&self) -> bool {
        matches!(self, Self::Over | Self::Discarding { .. })
    }
}

impl Connection {
    /// Client: the first bytes.
    pub(super) fn begin_handshake(&mut self) {
        if matches!(self.side, Side::Client(ClientSasl::Bare)) {
            self.out.raw().extend_from_slice(&AMQP_HEADER);
            self.write_open();
        } else {
            self.out.raw().extend_from_slice(&SASL_HEADER);
        }
    }

    /// Consumes a header; 0 while it is incomplete.
    pub(super) fn on_header(&mut self, input: &[u8], secured: bool) -> usize {
        let Some(header) = input.first_chunk::<8>() else {
            let begins = [AMQP_HEADER, SASL_HEADER].iter().any(|header| header.starts_with(input));
            if !begins {
                self.refuse_header(input, secured);
            }
            return 0;
        };
        match (&self.side, *header) {
            (Side::Server, SASL_HEADER) if !secured && !self.config.mechanisms.is_empty() => {
                self.out.raw().extend_from_slice(&SASL_HEADER);
                let mechanisms = self.config.mechanisms.clone();
                self.write_sasl(&SaslFrame::Mechanisms(mechanisms));
                self.phase = Phase::Sasl(SaslStep::Init);
            }
            (Side::Server, AMQP_HEADER) if secured || self.config.allow_bare => {
                self.out.raw().extend_from_slice(&AMQP_HEADER);
                self.phase = Phase::Open;
            }
            (Side::Client(ClientSasl::Bare), AMQP_HEADER) => self.phase = Phase::Open,
            (Side::Client(_), AMQP_HEADER) if secured => self.phase = Phase::Open,
            (Side::Client(ClientSasl::Anonymous | ClientSasl::Plain { .. }), SASL_HEADER) if !secured => {
                self.phase = Phase::Sasl(SaslStep::Mechanisms);
            }
            _ => {
                self.refuse_header(header, secured);
                return 0;
            }
        }
        header.len()
    }

    /// 2.2: "if it does not support the protocol, it MUST send a protocol header that it supports and then close
    /// the socket". A client just closes.
    fn refuse_header(&mut self, got: &[u8], secured: bool) {
        // Within SASL there is no other SASL.
        let supported = if secured || self.config.mechanisms.is_empty() { AMQP_HEADER } else { SASL_HEADER };
        if matches!(self.side, Side::Server) {
            self.out.raw().extend_from_slice(&supported);
        }
        let words = format!("protocol header {}, not supported here", got.escape_ascii());
        self.finish(false, false, Some(Error::new(AmqpError::NotImplemented, words, None)));
    }

    fn write_sasl(&mut self, frame: &SaslFrame) {
        let out = self.out.raw();
        let start = frame_start(out, FrameKind::Sasl, 0);
        encode_sasl(frame, out);
        frame_end(out, start);
    }

    /// A SASL frame came in.
    pub(super) fn on_sasl(&mut self, step: SaslStep, body: &[u8]) -> Result<(), DecodeError> {
        match (step, decode_sasl(body)?) {
            (SaslStep::Init, SaslFrame::Init { mechanism, response, hostname }) => {
                self.phase = Phase::Sasl(SaslStep::Deciding);
                let response = response.unwrap_or_default();
                self.events.push_back(Event::SaslInit { mechanism, response, hostname });
            }
            (SaslStep::Response, SaslFrame::Response(response)) => {
                self.phase = Phase::Sasl(SaslStep::Deciding);
                self.events.push_back(Event::SaslResponse { response });
            }
            (SaslStep::Mechanisms, SaslFrame::Mechanisms(offered)) => self.choose_mechanism(&offered),
            (SaslStep::Outcome, SaslFrame::Outcome { code: 0, .. }) => {
                self.phase = Phase::Header { secured: true };
                self.out.raw().extend_from_slice(&AMQP_HEADER);
                self.write_open();
            }
            (SaslStep::Outcome, SaslFrame::Outcome { .. }) => {
                // 5.3.3.6: any other code: authentication failed; who gave it says why in its log.
                let error =
                    Error::new(AmqpError::UnauthorizedAccess, "sasl authentication failed".to_owned(), None);
                self.finish(false, true, Some(error));
            }
            // 5.3.2: anything else is out of order; there is no frame to say so with.
            _ => self.finish(false, false, None),
        }
        Ok(())
    }

    fn choose_mechanism(&mut self, offered: &[String]) {
        let (mechanism, response) = match &self.side {
            Side::Client(ClientSasl::Plain { user, password }) => ("PLAIN", format!("\0{user}\0{password}")),
            _ => ("ANONYMOUS", self.config.container_id.clone()),
        };
        if !offered.iter().any(|name| name == mechanism) {
            let error = Error::new(
                AmqpError::NotImplemented,
                format!("the server offers {offered:?}, expected {mechanism} among them"),
                None,
            );
            self.finish(false, false, Some(error));
            return;
        }
        self.write_sasl(&SaslFrame::Init {
            mechanism: mechanism.to_owned(),
            response: Some(response.into_bytes()),
            hostname: self.config.hostname.clone(),
        });
        self.phase = Phase::Sasl(SaslStep::Outcome);
    }

    /// Server: another question to the client; answered by `Event::SaslResponse`.
    pub fn sasl_challenge(&mut self, challenge: &[u8]) {
        if !matches!(self.phase, Phase::Sasl(SaslStep::Deciding)) {
            return;
        }
        self.write_sasl(&SaslFrame::Challenge(challenge.to_vec()));
        self.phase = Phase::Sasl(SaslStep::Response);
        self.replay();
    }

    /// Server: code 0 ok, 1 auth, 2 sys, ... (5.3.3.6); anything but 0 closes after the outcome was sent.
    pub fn sasl_outcome(&mut self, code: u8) {
        if !matches!(self.phase, Phase::Sasl(_)) || matches!(self.side, Side::Client(_)) {
            return;
        }
        self.write_sasl(&SaslFrame::Outcome { code, additional: None });
        if code == 0 {
            self.phase = Phase::Header { secured: true };
            self.replay();
        } else {
            self.finish(false, false, None);
        }
    }

    /// The peer's open.
    pub(super) fn on_open(&mut self, open: Box<Open>) -> Result<(), ProtocolError> {
        let max_frame = open.max_frame_size.0;
        if open.container_id.len() > MAX_NAME {
            let (got, max) = (open.container_id.len(), MAX_NAME);
            return Err(ProtocolError::NameTooLong { what: "container-id", got, max });
        }
        // 2.7.1: "both peers MUST accept frames of up to 512 octets"
        if max_frame < MIN_MAX_FRAME_SIZE {
            return Err(ProtocolError::MaxFrameSize { got: max_frame });
        }
        self.out.max_frame = max_frame;
        self.remote_channel_max = open.channel_max.0;
        self.idle.peer_opened(open.idle_time_out, self.now);
        self.phase = match self.side {
            Side::Server => Phase::Deciding,
            Side::Client(_) => {
                self.out.release();
                Phase::Running
            }
        };
        self.events.push_back(Event::Opened(open));
        Ok(())
    }

    /// Server: answers `Opened`.
    pub fn open(&mut self) {
        if !matches!(self.phase, Phase::Deciding) {
            return;
        }
        self.write_open();
        self.out.release();
        self.phase = Phase::Running;
        self.replay();
    }

    pub(super) fn write_open(&mut self) {
        let config = &self.config;
        let open = Open {
            container_id: config.container_id.clone(),
            hostname: config.hostname.clone(),
            max_frame_size: MaxFrameSize(config.max_frame_size),
            channel_max: ChannelMax(config.channel_max),
            idle_time_out: self.idle.announce_ms(),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: symbols(&config.offered_capabilities),
            desired_capabilities: symbols(&config.desired_capabilities),
            properties: config.properties.clone(),
        };
        let bare =
            Open { offered_capabilities: None, desired_capabilities: None, properties: None, ..open.clone() };
        // 2.4.1: "prior to any explicit negotiation, the maximum frame size is 512": what is optional goes first.
        let out = self.out.raw();
        for open in [open, bare] {
            let start = frame_start(out, FrameKind::Amqp, 0);
            encode_open(&open, out);
            frame_end(out, start);
            if out.len() - start <= MIN_MAX_FRAME_SIZE as usize || open.properties.is_none() {
                break;
            }
            out.truncate(start);
        }
    }
}

/// Symbols, or null for none: an empty array is refused by some.
pub(super) fn symbols(names: &[String]) -> Option<Array<Symbol>> {
    (!names.is_empty()).then(|| Array(names.iter().map(|name| Symbol::from(name.as_str())).collect()))
}
