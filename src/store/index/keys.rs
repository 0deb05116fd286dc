//! The index's keys, and the value that says how far it is.
//!
//! Invariant: keys sort as queues and sequence numbers do.

use crate::broker::{QueueId, Seq};
use crate::store::journal::layout::{FORMAT_VERSION, OLDEST_VERSION, Position};

const POSITION_BYTES: usize = 33;

/// How far the index knows the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Everything before this is in the index.
    pub position: Position,
    /// The epoch of the process that wrote it.
    pub epoch: u64,
    /// Whether it was the last thing before a clean stop.
    pub clean: bool,
}

pub(super) fn encode_checkpoint(checkpoint: &Checkpoint) -> [u8; POSITION_BYTES] {
    let mut bytes = [0; POSITION_BYTES];
    bytes[..4].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
    bytes[4..8].copy_from_slice(&checkpoint.position.segment.to_be_bytes());
    bytes[8..12].copy_from_slice(&checkpoint.position.offset.to_be_bytes());
    bytes[12..20].copy_from_slice(&checkpoint.position.sequence.to_be_bytes());
    bytes[20..28].copy_from_slice(&checkpoint.epoch.to_be_bytes());
    bytes[28] = u8::from(checkpoint.clean);
    let crc = crc32fast::hash(&bytes[..29]);
    bytes[29..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub(super) fn decode_checkpoint(value: &[u8]) -> Option<Checkpoint> {
    let bytes: &[u8; POSITION_BYTES] = value.try_into().ok()?;
    let known = (OLDEST_VERSION..=FORMAT_VERSION).contains(&u32_be(bytes));
    if crc32fast::hash(&bytes[..29]) != u32_be(&bytes[29..]) || !known {
        return None;
    }
    let position = Position {
        segment: u32_be(&bytes[4..]),
        offset: u32_be(&bytes[8..]),
        sequence: u64_be(&bytes[12..]),
    };
    Some(Checkpoint { position, epoch: u64_be(&bytes[20..]), clean: bytes[28] == 1 })
}

pub(super) fn block_key(queue: QueueId, number: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&queue.0.to_be_bytes());
    key[4..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn state_key(queue: QueueId, seq: Seq, chunk: u16) -> [u8; 14] {
    let mut key = [0; 14];
    key[..12].copy_from_slice(&block_key(queue, seq.0));
    key[12..].copy_from_slice(&chunk.to_be_bytes());
    key
}

pub(super) fn meta_key(kind: u8, queue: QueueId) -> [u8; 5] {
    let mut key = [kind; 5];
    key[1..].copy_from_slice(&queue.0.to_be_bytes());
    key
}

pub(super) fn u32_be(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

pub(super) fn u64_be(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk))
}
