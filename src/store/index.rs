//! The index: where every queued message is, and its counters, so that a start need not read the whole
//! journal. The only importer of sled.
//!
//! Invariant: everything in it can be rebuilt from the journal; its position is written after the
//! changes it stands for are on the disk. The rules for sled 0.34.7 kept here, each from a failure
//! seen: `flush` is not an fsync, so the `db` file is synced by us; no value above 64 KiB; removal
//! through `remove`, never `Batch`; left-over `snap.*.generating` files are deleted before opening; never
//! `flush_async`; no background flush; after an error the handle is dead.

mod files;
mod keys;
mod seen;
mod states;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::keys::Checkpoint;
use self::keys::{block_key, decode_checkpoint, encode_checkpoint, meta_key, u32_be, u64_be};
use super::StoreError;
use super::block::{self, BLOCK_SEQS, IndexEntry};
use super::delta::{Base, BlockDelta, Delta};
use super::record;
use crate::broker::{QueueDefinition, QueueId, Seq};

const POSITION_KEY: &[u8] = b"position";

/// Bytes of live messages per segment.
pub(crate) type LiveBytes = BTreeMap<u32, u64>;

/// The sled trees.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    db: sled::Db,
    /// queue (u32 BE), block number (u64 BE) → block.
    blocks: sled::Tree,
    /// queue, seq (u64 BE), chunk (u16 BE) → part of an encoded state.
    states: sled::Tree,
    /// queue, block number → ids of messages that came.
    seen: sled::Tree,
    /// `position`, `d` + queue → definition, `n` + queue → next seq, `s` + queue → ids below are forgotten.
    meta: sled::Tree,
    file: Arc<File>,
    dir: PathBuf,
}

/// The directory of sled's files.
pub(crate) fn index_dir(data: &Path) -> PathBuf {
    data.join("index")
}

impl Index {
    /// Opens or creates it in this directory.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|error| super::failed("create", dir, &error))?;
        files::remove_unfinished_snapshots(dir)?;
        let open = || -> Result<Self, sled::Error> {
            let db = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None).open()?;
            let blocks = db.open_tree("index")?;
            let states = db.open_tree("state")?;
            let seen = db.open_tree("seen")?;
            let meta = db.open_tree("meta")?;
            let file = Arc::new(File::open(dir.join("db"))?);
            Ok(Self { db, blocks, states, seen, meta, file, dir: dir.to_owned() })
        };
        guarded(dir, open)
    }

    /// The last checkpoint; `None` in a new index.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let Some(value) = self.meta.get(POSITION_KEY).map_err(|error| self.error(&error))? else {
            return Ok(None);
        };
        decode_checkpoint(&value).map(Some).ok_or_else(|| self.damaged("its checkpoint is unreadable"))
    }

    /// Applies a delta and writes the checkpoint, each step on the disk before the next.
    pub fn apply(
        &self,
        mut delta: Delta,
        live: &mut LiveBytes,
        checkpoint: Checkpoint,
    ) -> Result<(), StoreError> {
        guarded(&self.dir, || {
            Ok((|| -> Result<(), StoreError> {
                self.apply_changes(&mut delta, live)?;
                self.meta
                    .insert(POSITION_KEY, &encode_checkpoint(&checkpoint)[..])
                    .map_err(|error| self.error(&error))?;
                self.sync()
            })())
        })?
    }

    fn apply_changes(&self, delta: &mut Delta, live: &mut LiveBytes) -> Result<(), StoreError> {
        if !delta.chains.is_empty() {
            self.resolve_moves(delta)?;
        }
        for (&queue, changes) in &delta.queues {
            for (&number, block) in &changes.blocks {
                self.apply_block(queue, number, block, Phase::All { replay: delta.is_replay() }, live)?;
            }
            if changes.next_seq > 0 {
                self.raise_next_seq(queue, changes.next_seq)?;
            }
        }
        for (&queue, changes) in &delta.seen {
            self.apply_seen(queue, changes, live)?;
        }
        for definition in delta.definitions.values() {
            let key = meta_key(b'd', definition.id);
            let value = record::definition_to_bytes(definition);
            self.meta.insert(key, value).map_err(|error| self.error(&error))?;
        }
        if delta.is_empty() {
            return Ok(());
        }
        self.sync()?;
        if delta.chains.is_empty() && delta.deleted.is_empty() {
            return Ok(());
        }
        // A message that moved is taken out of its old place only when it is safe in the new one:
        // otherwise a crash between the two would leave a replay with neither.
        for (&queue, changes) in &delta.queues {
            for (&number, block) in &changes.blocks {
                self.apply_block(queue, number, block, Phase::MovedOut, live)?;
            }
        }
        for &queue in &delta.deleted {
            self.delete_queue(queue, live)?;
        }
        self.sync()
    }

    /// Gives every `MovedFrom` the entry of its source, or, where the source has gone (a replay over an
    /// index that knows more), leaves the target as the index has it.
    fn resolve_moves(&self, delta: &mut Delta) -> Result<(), StoreError> {
        let mut found = Vec::with_capacity(delta.chains.len());
        for chain in &delta.chains {
            let mut newest = None;
            for (queue, seq) in chain.iter().rev() {
                newest = self.entry(*queue, *seq)?;
                if newest.is_some() {
                    break;
                }
            }
            found.push(newest);
        }
        for changes in delta.queues.values_mut() {
            for slot in changes.blocks.values_mut().flat_map(|block| &mut block.slots) {
                if let Base::MovedFrom(chain) = slot.base {
                    slot.base = match found.get(chain).copied().flatten() {
                        Some(entry) => Base::Put(IndexEntry { has_state: false, ..entry }),
                        None => Base::Indexed,
                    };
                }
            }
        }
        Ok(())
    }

    fn entry(&self, queue: QueueId, seq: Seq) -> Result<Option<IndexEntry>, StoreError> {
        let entries = self.block(queue, seq.0 / BLOCK_SEQS)?;
        let offset = (seq.0 % BLOCK_SEQS) as u8;
        Ok(entries.iter().find(|(at, _)| *at == offset).map(|(_, entry)| *entry))
    }

    fn block(&self, queue: QueueId, number: u64) -> Result<Vec<(u8, IndexEntry)>, StoreError> {
        match self.blocks.get(block_key(queue, number)).map_err(|error| self.error(&error))? {
            Some(value) => block::decode(&value).ok_or_else(|| self.damaged("a block is unreadable")),
            None => Ok(Vec::new()),
        }
    }

    fn apply_block(
        &self,
        queue: QueueId,
        number: u64,
        changes: &BlockDelta,
        phase: Phase,
        live: &mut LiveBytes,
    ) -> Result<(), StoreError> {
        let concerned = |base: &Base| match phase {
            Phase::All { .. } => !matches!(base, Base::Gone | Base::Removed { moved: true }),
            Phase::MovedOut => matches!(base, Base::Removed { moved: true }),
        };
        if !changes.slots.iter().any(|slot| concerned(&slot.base)) {
            return Ok(());
        }
        #[cfg(test)]
        tests::burn_fuse()?;
        let mut old: BTreeMap<u8, IndexEntry> = self.block(queue, number)?.into_iter().collect();
        for slot in changes.slots.iter().filter(|slot| concerned(&slot.base)) {
            let seq = Seq(number * BLOCK_SEQS + u64::from(slot.offset));
            let before = old.remove(&slot.offset);
            let mut after = match slot.base {
                Base::Indexed => before,
                Base::Put(entry) => Some(entry),
                Base::Keep(entry) => {
                    Some(before.map_or(entry, |old| IndexEntry { location: entry.location, ..old }))
                }
                Base::Removed { .. } | Base::Gone | Base::MovedFrom(..) => None,
            };
            if let Some(entry) = &mut after {
                if let Some(state) = &slot.state {
                    entry.has_state = true;
                    (entry.delivery_count, entry.acquired_count) =
                        (state.delivery_count, state.acquired_count);
                    // What a crash cut off may have left a state without an entry.
                    let known =
                        phase == Phase::All { replay: true } || before.is_some_and(|entry| entry.has_state);
                    self.put_state(queue, seq, state, known)?;
                }
                if let Some(counts) = slot.counts {
                    (entry.delivery_count, entry.acquired_count) = counts;
                }
            }
            if before.is_some_and(|entry| entry.has_state) && !after.is_some_and(|entry| entry.has_state) {
                self.remove_state(queue, seq)?;
            }
            account(live, before, after);
            if let Some(entry) = after {
                old.insert(slot.offset, entry);
            }
        }
        let key = block_key(queue, number);
        if old.is_empty() {
            self.blocks.remove(key).map_err(|error| self.error(&error))?;
        } else {
            let entries: Vec<_> = old.into_iter().collect();
            self.blocks.insert(key, block::encode(&entries)).map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    fn raise_next_seq(&self, queue: QueueId, next: u64) -> Result<(), StoreError> {
        let key = meta_key(b'n', queue);
        let old = self.meta.get(key).map_err(|error| self.error(&error))?;
        if old.is_none_or(|old| u64_be(&old) < next) {
            self.meta.insert(key, &next.to_be_bytes()).map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    fn delete_queue(&self, queue: QueueId, live: &mut LiveBytes) -> Result<(), StoreError> {
        for item in self.blocks.scan_prefix(queue.0.to_be_bytes()) {
            let (key, value) = item.map_err(|error| self.error(&error))?;
            for (_, entry) in block::decode(&value).unwrap_or_default() {
                account(live, Some(entry), None);
            }
            self.blocks.remove(key).map_err(|error| self.error(&error))?;
        }
        for key in self.states.scan_prefix(queue.0.to_be_bytes()).keys() {
            let key = key.map_err(|error| self.error(&error))?;
            self.states.remove(key).map_err(|error| self.error(&error))?;
        }
        self.delete_seen(queue, live)?;
        for kind in [b'd', b'n', b's'] {
            self.meta.remove(meta_key(kind, queue)).map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    /// Every definition.
    pub fn definitions(&self) -> Result<Vec<QueueDefinition>, StoreError> {
        let mut definitions = Vec::new();
        for value in self.meta.scan_prefix(b"d").values() {
            let value = value.map_err(|error| self.error(&error))?;
            let definition = record::definition_from_bytes(&value)
                .map_err(|error| self.damaged(&format!("a queue's definition: {error}")))?;
            definitions.push(definition);
        }
        Ok(definitions)
    }

    /// Every queue's next sequence number.
    pub fn next_seqs(&self) -> Result<Vec<(QueueId, u64)>, StoreError> {
        let mut found = Vec::new();
        for item in self.meta.scan_prefix(b"n") {
            let (key, value) = item.map_err(|error| self.error(&error))?;
            found.push((QueueId(u32_be(key.get(1..).unwrap_or_default())), u64_be(&value)));
        }
        Ok(found)
    }

    /// Every message, by queue and then by sequence number.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(QueueId, Seq, IndexEntry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for item in &self.blocks {
            let (key, value) = item.map_err(|error| self.error(&error))?;
            let queue = QueueId(u32_be(&key));
            let number = u64_be(key.get(4..).unwrap_or_default());
            let entries = block::decode(&value).ok_or_else(|| {
                self.damaged(&format!("the block of queue {} at {}", queue.0, number * BLOCK_SEQS))
            })?;
            for (offset, entry) in entries {
                visit(queue, Seq(number.saturating_mul(BLOCK_SEQS) + u64::from(offset)), entry)?;
            }
        }
        Ok(())
    }

    /// Reads everything once: what is unreadable is an error now and not later.
    pub fn verify(&self) -> Result<LiveBytes, StoreError> {
        guarded(&self.dir, || {
            Ok((|| {
                let mut live = LiveBytes::new();
                self.definitions()?;
                self.verify_seen(&mut live)?;
                self.for_each(|queue, seq, entry| {
                    account(&mut live, None, Some(entry));
                    if entry.has_state && self.state(queue, seq)?.is_none() {
                        let what = format!("queue {} seq {}: its state is missing", queue.0, seq.0);
                        return Err(self.damaged(&what));
                    }
                    Ok(())
                })?;
                Ok(live)
            })())
        })?
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.error(&error))?;
        let synced = self.file.sync_data().and_then(|()| File::open(&self.dir)?.sync_all());
        synced.map_err(|error| super::failed("sync", &self.dir, &error))
    }

    fn error(&self, error: &sled::Error) -> StoreError {
        StoreError::Failed(format!("index {}: {error}", self.dir.display()).into())
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Corrupt(format!("index {}: {what}", self.dir.display()).into())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// All but those that moved away. In a replay, which the index may know in part.
    All {
        replay: bool,
    },
    MovedOut,
}

/// Runs something on sled, which panics on some kinds of damage where it should return an error.
fn guarded<T>(dir: &Path, run: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, StoreError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StoreError::Failed(format!("index {}: {error}", dir.display()).into())),
        Err(_) => Err(StoreError::Failed(format!("index {}: sled panicked", dir.display()).into())),
    }
}

fn account(live: &mut LiveBytes, before: Option<IndexEntry>, after: Option<IndexEntry>) {
    if let Some(entry) = after {
        *live.entry(entry.location.segment).or_default() += u64::from(entry.location.len);
    }
    if let Some(entry) = before {
        let bytes = live.entry(entry.location.segment).or_default();
        *bytes = bytes.saturating_sub(u64::from(entry.location.len));
        if *bytes == 0 {
            live.remove(&entry.location.segment);
        }
    }
}

#[cfg(test)]
mod tests;
