//! The ids of messages that came, in a tree of their own.
//!
//! Invariant: as for all of the index: what is in it can be made again from the journal. An id counts among the live
//! bytes of its segment, so that none is deleted before its node has written the id again or forgotten it.

use std::collections::BTreeMap;

use super::keys::{block_key, meta_key, u32_be, u64_be};
use super::{Index, LiveBytes};
use crate::broker::QueueId;
use crate::store::StoreError;
use crate::store::seen::{self, BLOCK_IDS, LIVE_BYTES, SeenIds, StoredId};

impl Index {
    /// Applies what changed about the ids of a queue.
    pub(super) fn apply_seen(
        &self,
        queue: QueueId,
        changes: &SeenIds,
        live: &mut LiveBytes,
    ) -> Result<(), StoreError> {
        let oldest = self.oldest(queue)?.max(changes.oldest);
        let mut blocks: BTreeMap<u64, BTreeMap<u8, StoredId>> = BTreeMap::new();
        for (number, id) in changes.ids.range(oldest..) {
            blocks.entry(number / BLOCK_IDS).or_default().insert((number % BLOCK_IDS) as u8, *id);
        }
        // The block that is forgotten in part.
        blocks.entry(oldest / BLOCK_IDS).or_default();
        for (number, changed) in blocks {
            let key = block_key(queue, number);
            let old = self.seen_block(&key)?;
            let mut new = old.clone();
            new.extend(changed);
            new.retain(|offset, _| number * BLOCK_IDS + u64::from(*offset) >= oldest);
            if new != old {
                shift(live, &old, &new);
                let done = if new.is_empty() {
                    self.seen.remove(key)
                } else {
                    self.seen.insert(key, seen::encode_block(&new))
                };
                done.map_err(|error| self.error(&error))?;
            }
        }
        if let Some(last) = (oldest / BLOCK_IDS).checked_sub(1) {
            self.remove_seen(queue, last, live)?;
        }
        let key = meta_key(b's', queue);
        self.meta.insert(key, &oldest.to_be_bytes()).map_err(|error| self.error(&error))?;
        Ok(())
    }

    /// Forgets all ids of a queue.
    pub(super) fn delete_seen(&self, queue: QueueId, live: &mut LiveBytes) -> Result<(), StoreError> {
        self.remove_seen(queue, u64::MAX, live)
    }

    /// Removes blocks up to this one.
    fn remove_seen(&self, queue: QueueId, last: u64, live: &mut LiveBytes) -> Result<(), StoreError> {
        for item in self.seen.range(block_key(queue, 0)..=block_key(queue, last)) {
            let (key, value) = item.map_err(|error| self.error(&error))?;
            shift(live, &seen::decode_block(&value).unwrap_or_default(), &BTreeMap::new());
            self.seen.remove(key).map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    fn oldest(&self, queue: QueueId) -> Result<u64, StoreError> {
        let value = self.meta.get(meta_key(b's', queue)).map_err(|error| self.error(&error))?;
        Ok(value.map_or(0, |value| u64_be(&value)))
    }

    fn seen_block(&self, key: &[u8]) -> Result<BTreeMap<u8, StoredId>, StoreError> {
        match self.seen.get(key).map_err(|error| self.error(&error))? {
            Some(value) => {
                seen::decode_block(&value).ok_or_else(|| self.damaged("a block of ids is unreadable"))
            }
            None => Ok(BTreeMap::new()),
        }
    }

    /// What every queue remembers.
    pub fn seen_ids(&self) -> Result<BTreeMap<QueueId, SeenIds>, StoreError> {
        let mut found: BTreeMap<QueueId, SeenIds> = BTreeMap::new();
        for item in self.meta.scan_prefix(b"s") {
            let (key, value) = item.map_err(|error| self.error(&error))?;
            let queue = QueueId(u32_be(key.get(1..).unwrap_or_default()));
            found.entry(queue).or_default().oldest = u64_be(&value);
        }
        for item in &self.seen {
            let (key, value) = item.map_err(|error| self.error(&error))?;
            let (queue, number) = (QueueId(u32_be(&key)), u64_be(key.get(4..).unwrap_or_default()));
            let ids = seen::decode_block(&value).ok_or_else(|| {
                self.damaged(&format!("the block of ids of queue {} at {}", queue.0, number * BLOCK_IDS))
            })?;
            let ids = ids
                .into_iter()
                .map(|(offset, id)| (number.saturating_mul(BLOCK_IDS) + u64::from(offset), id));
            found.entry(queue).or_default().ids.extend(ids);
        }
        Ok(found)
    }

    /// Counts the ids among the live bytes.
    pub(super) fn verify_seen(&self, live: &mut LiveBytes) -> Result<(), StoreError> {
        for seen in self.seen_ids()?.into_values() {
            seen.ids.values().for_each(|id| *live.entry(id.segment).or_default() += LIVE_BYTES);
        }
        Ok(())
    }
}

fn shift(live: &mut LiveBytes, old: &BTreeMap<u8, StoredId>, new: &BTreeMap<u8, StoredId>) {
    for id in new.values() {
        *live.entry(id.segment).or_default() += LIVE_BYTES;
    }
    for id in old.values() {
        let bytes = live.entry(id.segment).or_default();
        *bytes = bytes.saturating_sub(LIVE_BYTES);
        if *bytes == 0 {
            live.remove(&id.segment);
        }
    }
}
