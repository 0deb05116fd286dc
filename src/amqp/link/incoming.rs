//! The receiving end of a link: credit, reassembly of deliveries, second-mode settlement.
//!
//! Invariant: at most one delivery is in parts at a time (2.6.14: deliveries of one link do not interleave), and
//! what is held of it was sent, is within max-message-size and, with what the connection's other links hold,
//! within its budget. Does not settle anything by itself.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::credit::ReceiverCredit;
use crate::{
    amqp::{
        Incoming, LinkId,
        codec::{DeliveryState, Transfer},
        error::ProtocolError,
        serial::Serial,
    },
    limits::{PARTIAL_MESSAGES, SESSION_WINDOW},
};

/// Longest delivery-tag (2.8.7).
const MAX_TAG_BYTES: usize = 32;

/// Bytes of deliveries in parts, of all links of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartialBytes(Arc<AtomicU64>);

impl PartialBytes {
    /// How many they are.
    #[cfg(test)]
    pub fn held(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A delivery's share in them, given back however the delivery ends.
#[derive(Debug)]
struct Share {
    of: PartialBytes,
    bytes: u64,
}

impl Share {
    /// Takes so many bytes more; returns how many all links hold then.
    fn grow(&mut self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        self.bytes += bytes;
        self.of.0.fetch_add(bytes, Relaxed) + bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Relaxed);
    }
}

/// A delivery of which more is to come.
#[derive(Debug)]
struct Partial {
    id: Serial,
    tag: Box<[u8]>,
    format: u32,
    settled: bool,
    second: bool,
    state: Option<DeliveryState>,
    payload: Vec<u8>,
    share: Share,
}

/// Receiving end.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    pub credit: ReceiverCredit,
    /// Largest message taken; 0: no limit.
    pub max_message_size: u64,
    /// rcv-settle-mode second was negotiated.
    pub second: bool,
    partial: Option<Box<Partial>>,
    partial_bytes: PartialBytes,
    /// Second mode: deliveries the sender has not settled, oldest first.
    awaiting: VecDeque<Serial>,
    /// Deliveries on a second-mode link that were sent in first mode.
    firsts: Vec<Serial>,
}

impl Receiver {
    /// A receiving end without credit.
    pub fn new(max_message_size: u64, second: bool, partial_bytes: PartialBytes) -> Self {
        Self { max_message_size, second, partial_bytes, ..Self::default() }
    }

    /// Forgets a delivery in parts: the link is over.
    pub fn abandon(&mut self) {
        self.partial = None;
    }

    /// A transfer came in; returns the message where this was its last part. `last_id` is the session's.
    pub fn transfer(
        &mut self,
        link: LinkId,
        handle: u32,
        last_id: &mut Option<Serial>,
        transfer: Transfer<'_>,
        payload: &[u8],
    ) -> Result<Option<Incoming>, ProtocolError> {
        if self.partial.is_some() {
            return self.go_on(link, handle, transfer, payload);
        }
        let id = Serial(transfer.delivery_id.ok_or(ProtocolError::NoDeliveryId)?);
        if let Some(last) = last_id.filter(|last| !last.is_before(id)) {
            return Err(ProtocolError::DeliveryIdOrder { got: id.0, last: last.0 });
        }
        *last_id = Some(id);
        self.credit.used().map_err(|_| ProtocolError::TransferLimit { handle })?;
        let invalid = |what| ProtocolError::InvalidTransfer { handle, what };
        // 2.7.5: "this field MUST be specified for the first transfer of a multi-transfer message"
        let tag = transfer.delivery_tag.ok_or_else(|| invalid("transfer begins a delivery without tag"))?;
        if tag.len() > MAX_TAG_BYTES {
            return Err(invalid("delivery-tag of more than 32 bytes"));
        }
        if transfer.resume {
            return Err(ProtocolError::Resume { handle });
        }
        let second = self.delivery_mode(transfer.rcv_settle_mode).map_err(invalid)?;
        if transfer.aborted {
            // 2.7.5: "aborted messages SHOULD be discarded by the recipient"; its credit is used up.
            return Ok(None);
        }
        self.check_size(handle, payload.len())?;
        let settled = transfer.settled.unwrap_or(false);
        let format = transfer.message_format.unwrap_or(0);
        let tag = Box::from(tag);
        if transfer.more {
            let mut share = Share { of: self.partial_bytes.clone(), bytes: 0 };
            self.hold(handle, &mut share, payload.len())?;
            self.partial = Some(Box::new(Partial {
                id,
                tag,
                format,
                settled,
                second,
                state: transfer.state,
                payload: payload.to_vec(),
                share,
            }));
            return Ok(None);
        }
        self.remember(handle, id, settled, second)?;
        let state = transfer.state;
        Ok(Some(Incoming { link, delivery_id: id.0, tag, format, settled, payload: payload.into(), state }))
    }

    /// A delivery is in parts.
    #[cfg(test)]
    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// A further transfer of the delivery in parts.
    fn go_on(
        &mut self,
        link: LinkId,
        handle: u32,
        transfer: Transfer<'_>,
        payload: &[u8],
    ) -> Result<Option<Incoming>, ProtocolError> {
        let Some(mut partial) = self.partial.take() else { return Ok(None) };
        let invalid = |what| ProtocolError::InvalidTransfer { handle, what };
        // 2.7.5: on continuations id and tag may be left out, but not changed.
        if let Some(got) = transfer.delivery_id.filter(|&id| id != partial.id.0) {
            return Err(ProtocolError::DeliveryIdChanged { got, expected: partial.id.0 });
        }
        if transfer.delivery_tag.is_some_and(|tag| *tag != *partial.tag) {
            return Err(invalid("delivery-tag changed within a delivery"));
        }
        if transfer.message_format.is_some_and(|format| format != partial.format) {
            return Err(invalid("message-format changed within a delivery"));
        }
        if transfer.aborted {
            return Ok(None);
        }
        self.check_size(handle, partial.payload.len().saturating_add(payload.len()))?;
        self.hold(handle, &mut partial.share, payload.len())?;
        partial.payload.extend_from_slice(payload);
        // 2.7.5: settled "on any transfer of the delivery" settles it.
        partial.settled |= transfer.settled.unwrap_or(false);
        if transfer.state.is_some() {
            partial.state = transfer.state;
        }
        if transfer.more {
            self.partial = Some(partial);
            return Ok(None);
        }
        self.remember(handle, partial.id, partial.settled, partial.second)?;
        let Partial { id, tag, format, settled, state, payload, .. } = *partial;
        Ok(Some(Incoming { link, delivery_id: id.0, tag, format, settled, payload: payload.into(), state }))
    }

    /// 2.7.5 rcv-settle-mode: a transfer may choose first on a second-mode link, not the other way round.
    fn delivery_mode(&self, mode: Option<u8>) -> Result<bool, &'static str> {
        match mode {
            None => Ok(self.second),
            Some(0) => Ok(false),
            Some(1) if self.second => Ok(true),
            Some(1) => Err("rcv-settle-mode second on a link that settles first"),
            Some(_) => Err("rcv-settle-mode is neither first nor second"),
        }
    }

    fn check_size(&self, handle: u32, bytes: usize) -> Result<(), ProtocolError> {
        let max = self.max_message_size;
        if max != 0 && bytes as u64 > max {
            return Err(ProtocolError::MessageSize { handle, max });
        }
        Ok(())
    }

    /// Counts bytes that are held until the rest of their delivery comes.
    fn hold(&self, handle: u32, share: &mut Share, bytes: usize) -> Result<(), ProtocolError> {
        let max = self.max_message_size.saturating_mul(PARTIAL_MESSAGES);
        if share.grow(bytes) > max && max != 0 {
            return Err(ProtocolError::PartialBytes { handle, max });
        }
        Ok(())
    }

    fn remember(
        &mut self,
        handle: u32,
        id: Serial,
        settled: bool,
        second: bool,
    ) -> Result<(), ProtocolError> {
        if settled || !self.second {
            return Ok(());
        }
        // A sender that never settles would make us remember all it ever sent.
        if self.awaiting.len() + self.firsts.len() >= SESSION_WINDOW as usize {
            return Err(ProtocolError::Unsettled { handle, max: SESSION_WINDOW });
        }
        if second {
            self.awaiting.push_back(id);
        } else {
            self.firsts.push(id);
        }
        Ok(())
    }

    /// Whether our answer to delivery `id` settles it, or has to wait for the sender (second mode).
    /// Asked once per delivery on links where `mixed` says so.
    pub fn settles_first(&mut self, id: Serial) -> bool {
        let Some(at) = self.firsts.iter().position(|&first| first == id) else { return !self.second };
        self.firsts.swap_remove(at);
        true
    }

    /// Deliveries of both modes are unsettled.
    pub fn mixed(&self) -> bool {
        !self.firsts.is_empty()
    }

    /// The sender settled `first..=last`: which of them are news.
    pub fn settled_by_sender(&mut self, first: Serial, last: Serial) -> Vec<u32> {
        // In order of ids: a range that names nothing of this link costs next to nothing.
        let from = self.awaiting.partition_point(|id| id.is_before(first));
        let until = self.awaiting.partition_point(|id| !last.is_before(*id));
        self.awaiting.drain(from..until.max(from)).map(|id| id.0).collect()
    }
}
