//! Messages' states, in a tree of their own, in pieces: no value of sled's may exceed 64 KiB.
//!
//! Invariant: the pieces of one state are written and removed together.

use std::sync::Arc;

use super::Index;
use super::keys::state_key;
use crate::broker::{EntryState, QueueId, Seq};
use crate::store::StoreError;
use crate::store::record::{self, Packed};

/// Bytes of a state kept in one value.
const STATE_CHUNK_BYTES: usize = 48 * 1024;

impl Index {
    /// `known`: it may have an older one, which may be longer.
    pub(super) fn put_state(
        &self,
        queue: QueueId,
        seq: Seq,
        state: &Packed,
        known: bool,
    ) -> Result<(), StoreError> {
        if known {
            self.remove_state(queue, seq)?;
        }
        for (number, chunk) in state.bytes().chunks(STATE_CHUNK_BYTES).enumerate() {
            let key = state_key(queue, seq, number as u16);
            self.states.insert(key, chunk).map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    pub(super) fn remove_state(&self, queue: QueueId, seq: Seq) -> Result<(), StoreError> {
        let prefix = &state_key(queue, seq, 0)[..12];
        for key in self.states.scan_prefix(prefix).keys() {
            self.states
                .remove(key.map_err(|error| self.error(&error))?)
                .map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    /// A message's state.
    pub fn state(&self, queue: QueueId, seq: Seq) -> Result<Option<EntryState>, StoreError> {
        let Some(bytes) = self.state_bytes(queue, seq)? else { return Ok(None) };
        record::state_from_bytes(&bytes)
            .map(Some)
            .map_err(|error| self.damaged(&format!("queue {} seq {}: {error}", queue.0, seq.0)))
    }

    /// The bytes of a message's state.
    pub fn state_bytes(&self, queue: QueueId, seq: Seq) -> Result<Option<Arc<[u8]>>, StoreError> {
        let first = self.states.get(state_key(queue, seq, 0)).map_err(|error| self.error(&error))?;
        let Some(first) = first else { return Ok(None) };
        let mut more = Vec::new();
        if first.len() == STATE_CHUNK_BYTES {
            for chunk in self.states.scan_prefix(&state_key(queue, seq, 0)[..12]).values() {
                more.extend_from_slice(&chunk.map_err(|error| self.error(&error))?);
            }
        }
        Ok(Some(if more.is_empty() { Arc::from(&*first) } else { more.into() }))
    }
}
