//! The transfer performative (part 2.7.5), by hand: it comes once or more a message.
//!
//! Invariant: decoding borrows and, without a state, allocates nothing. Does not check what depends on the
//! link (a first transfer's tag, modes): the engine does.

use super::{
    DecodeError, DeliveryState,
    code::descriptor,
    delivery_state::{decode_state, encode_state},
    read::FieldReader,
    write::{self, ListWriter},
};

/// transfer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transfer<'a> {
    /// The link.
    pub handle: u32,
    /// delivery-id; left out on continuations.
    pub delivery_id: Option<u32>,
    /// delivery-tag; left out on continuations.
    pub delivery_tag: Option<&'a [u8]>,
    /// message-format; left out on continuations.
    pub message_format: Option<u32>,
    /// Sent settled.
    pub settled: Option<bool>,
    /// More transfers of this delivery follow.
    pub more: bool,
    /// rcv-settle-mode as sent: 0 first, 1 second; other values are the peer's error (`amqp:invalid-field`).
    pub rcv_settle_mode: Option<u8>,
    /// State at the sender.
    pub state: Option<DeliveryState>,
    /// The delivery is resumed (part 2.6.13).
    pub resume: bool,
    /// The delivery is given up.
    pub aborted: bool,
    /// An answer is not urgent.
    pub batchable: bool,
}

/// Reads the fields; also where the list ends, counted from its constructor.
pub(super) fn decode_transfer(list: &[u8]) -> Result<(Transfer<'_>, usize), DecodeError> {
    let (mut fields, len) = FieldReader::open("transfer", list)?;
    let transfer = Transfer {
        handle: fields.mandatory("transfer.handle")?.u32()?,
        delivery_id: fields.u32("transfer.delivery-id")?,
        delivery_tag: fields.binary("transfer.delivery-tag")?,
        message_format: fields.u32("transfer.message-format")?,
        settled: fields.bool("transfer.settled")?,
        more: fields.bool("transfer.more")?.unwrap_or(false),
        rcv_settle_mode: fields.u8("transfer.rcv-settle-mode")?,
        state: fields.next("transfer.state")?.map(|field| decode_state(field.raw)).transpose()?,
        resume: fields.bool("transfer.resume")?.unwrap_or(false),
        aborted: fields.bool("transfer.aborted")?.unwrap_or(false),
        batchable: fields.bool("transfer.batchable")?.unwrap_or(false),
    };
    Ok((transfer, len))
}

/// Appends a transfer; the payload comes right behind it.
pub fn encode_transfer(transfer: &Transfer<'_>, out: &mut Vec<u8>) {
    let mut list = ListWriter::new(out, descriptor::TRANSFER);
    write::uint(list.field(), transfer.handle);
    list.option(transfer.delivery_id, write::uint);
    list.option(transfer.delivery_tag, write::binary);
    list.option(transfer.message_format, write::uint);
    list.option(transfer.settled, write::bool);
    list.flag(transfer.more);
    list.option(transfer.rcv_settle_mode, write::ubyte);
    list.option(transfer.state.as_ref(), |out, state| encode_state(state, out));
    list.flag(transfer.resume);
    list.flag(transfer.aborted);
    list.flag(transfer.batchable);
    list.finish();
}
