//! How records look in the journal: bytes from records, and records from bytes.
//!
//! Invariant: decoding what was encoded gives the same record; decoding anything else is an error, never
//! a panic. A `Put` carries a checksum of its own, so that a wrong location is noticed when it is read.
//! Deliberately ignorant of frames, segments and files (see `journal`).
//!
//! All integers are little-endian. A put is 36 bytes of header, the message's bytes, and 4 of CRC-32:
//!
//! ```text
//! tag flags priority 0 | length u32 | queue u32 | seq u64 | format u32 | delivery-count u32 | expires u64
//! ```

mod embedded;
mod seen;

use std::sync::Arc;

pub use self::embedded::{
    Packed, definition_from_bytes, definition_to_bytes, state_from_bytes, state_to_bytes,
};
pub use self::seen::{SEEN_ID_BYTES, encode_seen};
use crate::broker::{EntryState, Message, QueueDefinition, QueueId, SeenId, Seq};
use crate::time::Millis;

const TAG_PUT: u8 = 1;
const TAG_SETTLE: u8 = 2;
const TAG_COUNT: u8 = 3;
const TAG_STATE: u8 = 4;
const TAG_MOVE: u8 = 5;
const TAG_DEFINE: u8 = 6;
const TAG_DELETE: u8 = 7;
const TAG_NEXT_SEQ: u8 = 8;
const TAG_SEEN: u8 = 9;

const FLAG_FIRST_ACQUIRER: u8 = 1;
const FLAG_EXPIRES: u8 = 2;
const FLAG_DURABLE: u8 = 4;
const FLAG_KEEP: u8 = 8;

const PUT_HEADER_BYTES: usize = 36;
/// What a put takes beyond the message's own bytes.
pub const PUT_OVERHEAD_BYTES: u32 = PUT_HEADER_BYTES as u32 + 4;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a record.
    #[error("record of {needed} bytes, only {left} left")]
    Short {
        /// Bytes the record needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// No record begins like this.
    #[error("unknown record tag {0}")]
    Tag(u8),
    /// A put's checksum does not match.
    #[error("checksum mismatch: got {got:08x}, expected {expected:08x}")]
    Checksum {
        /// Computed from the bytes.
        got: u32,
        /// Written beside them.
        expected: u32,
    },
    /// An embedded state or definition cannot be understood.
    #[error("unreadable {what}: {why}")]
    Inner {
        /// `state` or `definition`.
        what: &'static str,
        /// The decoder's words.
        why: String,
    },
}

/// A put as it stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    /// The queue it was put into.
    pub queue: QueueId,
    /// Its place there.
    pub seq: Seq,
    /// Whether compaction wrote it again: counters and state before it still hold.
    pub keep: bool,
    /// `Message::format`.
    pub format: u32,
    /// `Message::durable`.
    pub durable: bool,
    /// `Message::priority`.
    pub priority: u8,
    /// `Message::first_acquirer`.
    pub first_acquirer: bool,
    /// `Message::delivery_count`.
    pub delivery_count: u32,
    /// `Message::expires`.
    pub expires: Option<Millis>,
    /// `Message::payload`.
    pub bytes: &'a [u8],
}

impl Put<'_> {
    /// The message, with bytes of its own.
    #[must_use]
    pub fn to_message(&self) -> Message {
        Message {
            bytes: Arc::from(self.bytes),
            from: 0,
            format: self.format,
            durable: self.durable,
            priority: self.priority,
            first_acquirer: self.first_acquirer,
            delivery_count: self.delivery_count,
            expires: self.expires,
        }
    }
}

/// A record as it stands in the journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Written<'a> {
    /// `Record::Put`, and the first half of `Record::Keep`.
    Put(Put<'a>),
    /// `Record::Settle`.
    Settle {
        /// The queue.
        queue: QueueId,
        /// The message.
        seq: Seq,
    },
    /// `Record::Count`.
    Count {
        /// The queue.
        queue: QueueId,
        /// The message.
        seq: Seq,
        /// Failed attempts.
        delivery_count: u32,
        /// Times handed out and given back.
        acquired_count: u32,
    },
    /// `Record::State`, and the second half of `Record::Keep`.
    State {
        /// The queue.
        queue: QueueId,
        /// The message.
        seq: Seq,
        /// The whole state.
        state: Arc<EntryState>,
    },
    /// `Record::Move`.
    Move {
        /// Where it was.
        from: (QueueId, Seq),
        /// Where it is.
        to: (QueueId, Seq),
        /// Its state there.
        state: Arc<EntryState>,
    },
    /// `Record::Seen`.
    Seen {
        /// The queue.
        queue: QueueId,
        /// The ids.
        ids: Vec<SeenId>,
        /// All below are forgotten.
        oldest: u64,
    },
    /// `Record::Define`.
    Define(Arc<QueueDefinition>),
    /// `Record::Delete`.
    Delete(QueueId),
    /// The store's own: sequence numbers of the queue go on from here.
    NextSeq(QueueId, u64),
}

/// Appends a put; `keep`: written again by compaction.
pub fn encode_put(out: &mut Vec<u8>, queue: QueueId, seq: Seq, message: &Message, keep: bool) {
    let put = Put {
        queue,
        seq,
        keep,
        format: message.format,
        durable: message.durable,
        priority: message.priority,
        first_acquirer: message.first_acquirer,
        delivery_count: message.delivery_count,
        expires: message.expires,
        bytes: message.payload(),
    };
    encode_raw_put(out, &put);
}

/// Appends a put given by its fields.
pub fn encode_raw_put(out: &mut Vec<u8>, put: &Put<'_>) {
    let mut flags = 0;
    if put.first_acquirer {
        flags |= FLAG_FIRST_ACQUIRER;
    }
    if put.expires.is_some() {
        flags |= FLAG_EXPIRES;
    }
    if put.durable {
        flags |= FLAG_DURABLE;
    }
    if put.keep {
        flags |= FLAG_KEEP;
    }
    let mut header = [0; PUT_HEADER_BYTES];
    header[0] = TAG_PUT;
    header[1] = flags;
    header[2] = put.priority;
    header[4..8].copy_from_slice(&(put.bytes.len() as u32).to_le_bytes());
    header[8..12].copy_from_slice(&put.queue.0.to_le_bytes());
    header[12..20].copy_from_slice(&put.seq.0.to_le_bytes());
    header[20..24].copy_from_slice(&put.format.to_le_bytes());
    header[24..28].copy_from_slice(&put.delivery_count.to_le_bytes());
    header[28..36].copy_from_slice(&put.expires.map_or(0, |at| at.0).to_le_bytes());
    let start = out.len();
    out.reserve(PUT_HEADER_BYTES + put.bytes.len() + 4);
    out.extend_from_slice(&header);
    out.extend_from_slice(put.bytes);
    let crc = out.get(start..).map_or(0, crc32fast::hash);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Appends a settle.
pub fn encode_settle(out: &mut Vec<u8>, queue: QueueId, seq: Seq) {
    let mut bytes = [0; 13];
    bytes[0] = TAG_SETTLE;
    bytes[1..5].copy_from_slice(&queue.0.to_le_bytes());
    bytes[5..13].copy_from_slice(&seq.0.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// Appends a count.
pub fn encode_count(out: &mut Vec<u8>, queue: QueueId, seq: Seq, delivery_count: u32, acquired_count: u32) {
    out.push(TAG_COUNT);
    encode_key(out, (queue, seq));
    out.extend_from_slice(&delivery_count.to_le_bytes());
    out.extend_from_slice(&acquired_count.to_le_bytes());
}

/// Appends a state.
pub fn encode_state(out: &mut Vec<u8>, queue: QueueId, seq: Seq, state: &Packed) {
    out.push(TAG_STATE);
    encode_key(out, (queue, seq));
    encode_sized(out, state.bytes());
}

/// Appends a move.
pub fn encode_move(out: &mut Vec<u8>, from: (QueueId, Seq), to: (QueueId, Seq), state: &Packed) {
    out.push(TAG_MOVE);
    encode_key(out, from);
    encode_key(out, to);
    encode_sized(out, state.bytes());
}

/// Appends a definition.
pub fn encode_define(out: &mut Vec<u8>, definition: &QueueDefinition) {
    out.push(TAG_DEFINE);
    encode_sized(out, &definition_to_bytes(definition));
}

/// Appends a deletion.
pub fn encode_delete(out: &mut Vec<u8>, queue: QueueId) {
    out.push(TAG_DELETE);
    out.extend_from_slice(&queue.0.to_le_bytes());
}

/// Appends where a queue's sequence numbers go on.
pub fn encode_next_seq(out: &mut Vec<u8>, queue: QueueId, next: u64) {
    out.push(TAG_NEXT_SEQ);
    encode_key(out, (queue, Seq(next)));
}

fn encode_key(out: &mut Vec<u8>, (queue, seq): (QueueId, Seq)) {
    out.extend_from_slice(&queue.0.to_le_bytes());
    out.extend_from_slice(&seq.0.to_le_bytes());
}

fn encode_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Takes one record off the front of `input`.
///
/// # Errors
/// When the bytes are not a record; `input` is then left somewhere within it.
pub fn decode<'a>(input: &mut &'a [u8]) -> Result<Written<'a>, DecodeError> {
    let whole = *input;
    match take::<1>(input)? {
        [TAG_PUT] => {
            *input = whole;
            decode_put(input, false).map(Written::Put)
        }
        [TAG_SETTLE] => {
            let (queue, seq) = decode_key(input)?;
            Ok(Written::Settle { queue, seq })
        }
        [TAG_COUNT] => {
            let (queue, seq) = decode_key(input)?;
            let delivery_count = u32::from_le_bytes(take(input)?);
            let acquired_count = u32::from_le_bytes(take(input)?);
            Ok(Written::Count { queue, seq, delivery_count, acquired_count })
        }
        [TAG_STATE] => {
            let (queue, seq) = decode_key(input)?;
            Ok(Written::State { queue, seq, state: Arc::new(state_from_bytes(decode_sized(input)?)?) })
        }
        [TAG_MOVE] => {
            let from = decode_key(input)?;
            let to = decode_key(input)?;
            Ok(Written::Move { from, to, state: Arc::new(state_from_bytes(decode_sized(input)?)?) })
        }
        [TAG_DEFINE] => Ok(Written::Define(Arc::new(definition_from_bytes(decode_sized(input)?)?))),
        [TAG_DELETE] => Ok(Written::Delete(QueueId(u32::from_le_bytes(take(input)?)))),
        [TAG_NEXT_SEQ] => {
            let (queue, next) = decode_key(input)?;
            Ok(Written::NextSeq(queue, next.0))
        }
        [TAG_SEEN] => seen::decode_seen(input),
        [tag] => Err(DecodeError::Tag(tag)),
    }
}

/// Takes a put off the front of `input`, with or without checking its checksum (a frame around it has
/// one as well).
///
/// # Errors
/// When the bytes are not a put.
pub fn decode_put<'a>(input: &mut &'a [u8], check: bool) -> Result<Put<'a>, DecodeError> {
    let whole = *input;
    let header: [u8; PUT_HEADER_BYTES] = take(input)?;
    let mut fields = &header[..];
    let [tag, flags, priority, _] = take(&mut fields)?;
    if tag != TAG_PUT {
        return Err(DecodeError::Tag(tag));
    }
    let length = u32::from_le_bytes(take(&mut fields)?) as usize;
    let queue = QueueId(u32::from_le_bytes(take(&mut fields)?));
    let seq = Seq(u64::from_le_bytes(take(&mut fields)?));
    let format = u32::from_le_bytes(take(&mut fields)?);
    let delivery_count = u32::from_le_bytes(take(&mut fields)?);
    let expires = u64::from_le_bytes(take(&mut fields)?);
    let bytes = take_slice(input, length)?;
    let expected = u32::from_le_bytes(take(input)?);
    if check {
        let got = whole.get(..PUT_HEADER_BYTES + length).map_or(0, crc32fast::hash);
        if got != expected {
            return Err(DecodeError::Checksum { got, expected });
        }
    }
    Ok(Put {
        queue,
        seq,
        keep: flags & FLAG_KEEP != 0,
        format,
        durable: flags & FLAG_DURABLE != 0,
        priority,
        first_acquirer: flags & FLAG_FIRST_ACQUIRER != 0,
        delivery_count,
        expires: (flags & FLAG_EXPIRES != 0).then_some(Millis(expires)),
        bytes,
    })
}

fn decode_key(input: &mut &[u8]) -> Result<(QueueId, Seq), DecodeError> {
    let queue = QueueId(u32::from_le_bytes(take(input)?));
    Ok((queue, Seq(u64::from_le_bytes(take(input)?))))
}

fn decode_sized<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = u32::from_le_bytes(take(input)?) as usize;
    take_slice(input, length)
}

fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let Some((head, rest)) = input.split_first_chunk::<N>() else {
        return Err(DecodeError::Short { needed: N, left: input.len() });
    };
    *input = rest;
    Ok(*head)
}

fn take_slice<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    let Some((head, rest)) = input.split_at_checked(length) else {
        return Err(DecodeError::Short { needed: length, left: input.len() });
    };
    *input = rest;
    Ok(head)
}

#[cfg(test)]
mod tests;
