//! STUB of the agreed interface; the engine's author replaces the bodies, not the signatures.
#![allow(unused_variables, missing_docs)]

use fe2o3_amqp_types::{
    definitions::{Error, Fields},
    performatives::Attach,
};

use super::{AttachReply, Event, LinkId, Outgoing, SessionId, codec::DeliveryState};
use crate::time::Millis;

/// How an endpoint behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ours, in `open`.
    pub container_id: String,
    /// Client: hostname in `open`.
    pub hostname: Option<String>,
    pub max_frame_size: u32,
    pub channel_max: u16,
    pub handle_max: u32,
    /// Sent to the peer as half of this; without traffic from it for this long, the connection is closed.
    pub idle_timeout_ms: Option<u32>,
    /// Largest message reassembled.
    pub max_message_size: u64,
    /// Server: SASL mechanisms offered, in order. Client: unused.
    pub mechanisms: Vec<String>,
    /// Server: whether a client may skip SASL.
    pub allow_bare: bool,
    pub offered_capabilities: Vec<String>,
    pub desired_capabilities: Vec<String>,
    pub properties: Option<Fields>,
}

/// Client: how to authenticate.
#[derive(Debug, Clone)]
pub enum ClientSasl {
    /// No SASL layer.
    Bare,
    Anonymous,
    Plain {
        user: String,
        password: String,
    },
}

pub struct Connection {}

impl Connection {
    pub fn server(config: Config, now: Millis) -> Self {
        todo!()
    }
    /// Client: sends headers, SASL and open at once as far as the protocol allows.
    pub fn client(config: Config, sasl: ClientSasl, now: Millis) -> Self {
        todo!()
    }

    /// Consumes all whole frames of `input`, returns how many bytes those were; the caller keeps the rest and
    /// presents it again with more behind it. After an error the engine swallows everything.
    pub fn handle_input(&mut self, input: &[u8], now: Millis) -> usize {
        todo!()
    }
    /// The peer closed the socket, or it failed.
    pub fn handle_eof(&mut self, now: Millis) {
        todo!()
    }
    /// Sends a heartbeat or closes a silent peer, as due.
    pub fn handle_timeout(&mut self, now: Millis) {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Millis> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// Encoded bytes to be written. Encodes as much of what is pending as windows and the high-water mark allow.
    pub fn output(&mut self) -> &[u8] {
        todo!()
    }
    /// `n` bytes of `output` were written at `now`.
    pub fn consume_output(&mut self, n: usize, now: Millis) {
        todo!()
    }
    /// Nothing is left to write and the connection is closed: drop the socket.
    pub fn is_finished(&self) -> bool {
        todo!()
    }

    pub fn sasl_challenge(&mut self, challenge: &[u8]) {
        todo!()
    }
    /// code 0 ok, 1 auth, 2 sys, ... (5.3.3.6); anything but 0 closes after the outcome was sent.
    pub fn sasl_outcome(&mut self, code: u8) {
        todo!()
    }
    /// Server: answers `Opened`.
    pub fn open(&mut self) {
        todo!()
    }
    /// Sends close (after the open if that has not gone out) and stops. No more events but `Closed`.
    pub fn close(&mut self, error: Option<Error>) {
        todo!()
    }
    /// Client: begins a session.
    pub fn begin(&mut self) -> SessionId {
        todo!()
    }
    pub fn end(&mut self, session: SessionId, error: Option<Error>) {
        todo!()
    }
    /// Client: attaches. `attach.handle` is ignored; sender links start at delivery-count 0.
    pub fn attach(&mut self, session: SessionId, attach: Attach) -> LinkId {
        todo!()
    }
    /// Server: answers `Event::Attach`. Modes are echoed as negotiated; sender links start at delivery-count 0.
    pub fn accept_attach(&mut self, link: LinkId, reply: AttachReply) {
        todo!()
    }
    /// Server: answers with the terminus that we would be null, then detach(closed) with the error (2.6.3).
    pub fn refuse_attach(&mut self, link: LinkId, error: Error) {
        todo!()
    }
    pub fn detach(&mut self, link: LinkId, closed: bool, error: Option<Error>) {
        todo!()
    }
    /// Receiving link: sets link credit to this from now on (absolute); sent with the next output.
    pub fn set_credit(&mut self, link: LinkId, credit: u32) {
        todo!()
    }
    /// Receiving link: what is left of the credit given.
    pub fn credit_left(&self, link: LinkId) -> u32 {
        todo!()
    }
    /// Receiving link: asks the sender to drain.
    pub fn drain(&mut self, link: LinkId, credit: u32) {
        todo!()
    }
    /// Sending link: queues a message; it goes out as the session window allows. The caller respects credit.
    pub fn send(&mut self, link: LinkId, message: Outgoing) {
        todo!()
    }
    /// Sending link: (messages, payload bytes) encoded since this was last called.
    pub fn take_sent(&mut self, link: LinkId) -> (u32, u64) {
        todo!()
    }
    /// Sending link: answers a drain or echo with a flow. After `drained` the link has no credit left.
    pub fn sender_flow(&mut self, link: LinkId, available: u32, drained: bool) {
        todo!()
    }
    /// Receiving link: answers deliveries `first..=last` that came in on the link's session.
    /// On a second-mode link `settled` is held back until the sender settles.
    pub fn dispose(&mut self, link: LinkId, first: u32, last: u32, settled: bool, state: DeliveryState) {
        todo!()
    }
    /// Sending link: settles deliveries that the peer disposed of without settling (second mode), with this state.
    pub fn settle_sent(&mut self, link: LinkId, tokens: &[u64], state: DeliveryState) {
        todo!()
    }
}
