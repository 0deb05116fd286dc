//! The sending end of a link: what waits to be sent, and its encoding into transfers.
//!
//! Invariant: a delivery goes out only under link credit and each of its transfers only under the session's
//! window; no frame is larger than the peer takes. Frame header, performative, prefix and body are
//! written straight into the output. Does not decide what to send.

use std::{collections::VecDeque, mem};

use fe2o3_amqp_types::definitions::Fields;

use super::credit::SenderCredit;
use crate::amqp::{
    LinkId, Outgoing,
    codec::{FrameKind, Transfer, encode_transfer, frame_end, frame_start},
    delivery::Unsettled,
    serial::Serial,
    session::window::Windows,
};

/// More than a transfer performative of ours with its frame header takes.
const TRANSFER_HEAD_BYTES: usize = 64;

/// Queues longer than this give memory back when they run empty.
const QUEUE_KEPT: usize = 64;

/// A flow owed to the receiver.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub available: Option<u32>,
    pub drained: bool,
    /// Link state properties.
    pub properties: Option<Box<Fields>>,
}

/// Why encoding stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Nothing is left to send.
    Empty,
    /// The rest waits for link credit.
    NoCredit,
    /// The rest waits for the session's window.
    NoWindow,
    /// The output holds enough for now.
    Full,
}

/// What of the session a sender needs to encode.
pub(crate) struct Wire<'s> {
    pub out: &'s mut Vec<u8>,
    pub channel: u16,
    pub max_frame: usize,
    pub windows: &'s mut Windows,
    pub unsettled: &'s mut Unsettled,
    pub next_delivery_id: &'s mut Serial,
}

/// Sending end.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    pub credit: SenderCredit,
    queue: VecDeque<Outgoing>,
    /// Bytes of the first message in the queue that went out; `None`: it has not begun.
    begun: Option<usize>,
    /// Tokens of what was queued when the link was given up.
    given_up: Vec<u64>,
    sent_messages: u32,
    sent_bytes: u64,
    /// A flow owed, sent behind what is queued.
    pub answer: Option<Answer>,
    /// It is in the connection's list of links with something to send.
    pub ready: bool,
}

impl Sender {
    /// Queues a message.
    pub fn push(&mut self, message: Outgoing) {
        self.queue.push_back(message);
    }

    /// Messages and payload bytes encoded since last asked.
    pub fn take_sent(&mut self) -> (u32, u64) {
        (mem::take(&mut self.sent_messages), mem::take(&mut self.sent_bytes))
    }

    /// Something is queued.
    pub fn is_pending(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Something is queued that credit lets go out.
    pub fn can_send(&self) -> bool {
        self.is_pending() && (self.begun.is_some() || self.credit.left() > 0)
    }

    /// Forgets what is queued, returns the tokens of unsettled messages that had not begun to go out.
    pub fn abandon(&mut self) -> Vec<u64> {
        let begun = usize::from(self.begun.take().is_some());
        let queue = mem::take(&mut self.queue);
        let unsettled = queue.iter().skip(begun).filter(|message| !message.settled);
        let mut tokens = mem::take(&mut self.given_up);
        tokens.extend(unsettled.map(|message| message.token));
        tokens
    }

    /// Nothing more goes out: keeps of what is queued only what `abandon` is to tell.
    pub fn give_up(&mut self) {
        self.given_up = self.abandon();
    }

    /// Encodes until nothing is left, something forbids more, or `out` is `until` bytes long.
    pub fn pump(&mut self, link: LinkId, handle: u32, wire: &mut Wire<'_>, until: usize) -> Pumped {
        while let Some(message) = self.queue.front() {
            if wire.out.len() >= until {
                return Pumped::Full;
            }
            if wire.windows.sendable() == 0 {
                return Pumped::NoWindow;
            }
            let offset = match self.begun {
                Some(offset) => offset,
                None => {
                    if self.credit.left() == 0 {
                        return Pumped::NoCredit;
                    }
                    self.credit.used();
                    0
                }
            };
            let first = self.begun.is_none();
            let sent = offset + transfer(message, first, offset, link, handle, wire);
            let total = payload_len(message);
            if sent < total {
                self.begun = Some(sent);
                continue;
            }
            self.begun = None;
            self.sent_messages = self.sent_messages.saturating_add(1);
            self.sent_bytes = self.sent_bytes.saturating_add(total as u64);
            self.queue.pop_front();
        }
        if self.queue.capacity() > QUEUE_KEPT {
            self.queue.shrink_to(QUEUE_KEPT);
        }
        Pumped::Empty
    }
}

fn body(message: &Outgoing) -> &[u8] {
    message.body.get(message.body_from..).unwrap_or_default()
}

fn payload_len(message: &Outgoing) -> usize {
    message.prefix.len() + body(message).len()
}

/// Encodes one transfer of `message` from `offset` on; returns how many payload bytes it took along.
fn transfer(
    message: &Outgoing,
    first: bool,
    offset: usize,
    link: LinkId,
    handle: u32,
    wire: &mut Wire<'_>,
) -> usize {
    let left = payload_len(message).saturating_sub(offset);
    let start = frame_start(wire.out, FrameKind::Amqp, wire.channel);
    let id = *wire.next_delivery_id;
    // Unique among the session's unsettled deliveries, so among the link's (2.8.7).
    let tag = id.0.to_be_bytes();
    let mut transfer =
        Transfer { handle, more: left + TRANSFER_HEAD_BYTES > wire.max_frame, ..Default::default() };
    if first {
        transfer.delivery_id = Some(id.0);
        transfer.delivery_tag = Some(&tag);
        transfer.message_format = Some(message.format);
        transfer.settled = Some(message.settled);
        *wire.next_delivery_id = id.next();
        if !message.settled {
            wire.unsettled.push(id, link, message.token);
        }
    }
    let body_at = wire.out.len();
    encode_transfer(&transfer, wire.out);
    let mut room = wire.max_frame.saturating_sub(wire.out.len() - start);
    if transfer.more && left <= room {
        transfer.more = false;
        wire.out.truncate(body_at);
        encode_transfer(&transfer, wire.out);
        room = left;
    }
    let n = left.min(room);
    append(message, offset, n, wire.out);
    frame_end(wire.out, start);
    wire.windows.sent();
    n
}

/// Appends `n` bytes of prefix and body, taken as one, from `offset` on.
fn append(message: &Outgoing, offset: usize, n: usize, out: &mut Vec<u8>) {
    let prefix = message.prefix.get(offset..).unwrap_or_default();
    let of_prefix = prefix.len().min(n);
    out.extend_from_slice(prefix.get(..of_prefix).unwrap_or_default());
    let from = (offset + of_prefix).saturating_sub(message.prefix.len());
    let of_body = body(message).get(from..).unwrap_or_default();
    out.extend_from_slice(of_body.get(..n - of_prefix).unwrap_or_default());
}
