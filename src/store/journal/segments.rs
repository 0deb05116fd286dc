//! The segment files there are: their sizes, and open handles to read from.
//!
//! Invariant: a segment is in here from before its first frame is written until it is deleted, oldest
//! first; at most `OPEN_FILES` handles are open. Does not know what is in the files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::super::{StoreError, failed};
use super::layout::{journal_dir, segment_path};

/// Handles kept open for reading; far below a process's usual limit of 1024.
const OPEN_FILES: usize = 256;

#[derive(Debug)]
struct Segment {
    bytes: u64,
    file: Option<Arc<File>>,
    used: AtomicU64,
}

/// All segments, shared by writer, readers and compaction.
#[derive(Debug)]
pub(crate) struct Segments {
    data: PathBuf,
    map: RwLock<BTreeMap<u32, Segment>>,
    clock: AtomicU64,
}

impl Segments {
    /// None yet, in this data directory.
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), map: RwLock::default(), clock: AtomicU64::new(0) }
    }

    /// Adds a segment, or updates how much of it is used.
    pub fn set(&self, number: u32, bytes: u64) {
        self.write()
            .entry(number)
            .or_insert_with(|| Segment { bytes, file: None, used: AtomicU64::new(0) })
            .bytes = bytes;
    }

    /// Numbers and used bytes, oldest first.
    pub fn list(&self) -> Vec<(u32, u64)> {
        self.read().iter().map(|(number, segment)| (*number, segment.bytes)).collect()
    }

    /// A handle to read from.
    pub fn file(&self, number: u32) -> Result<Arc<File>, StoreError> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(segment) = self.read().get(&number) {
            segment.used.store(now, Ordering::Relaxed);
            if let Some(file) = &segment.file {
                return Ok(Arc::clone(file));
            }
        }
        let path = segment_path(&self.data, number);
        let mut map = self.write();
        let Some(segment) = map.get_mut(&number) else {
            return Err(StoreError::Corrupt(format!("{} is not there any more", path.display()).into()));
        };
        let file = Arc::new(File::open(&path).map_err(|error| failed("open", &path, &error))?);
        segment.file = Some(Arc::clone(&file));
        let open = map.values_mut().filter(|segment| segment.file.is_some());
        let (count, oldest) = open.fold((0, None::<&mut Segment>), |(count, oldest), segment| {
            let used = segment.used.load(Ordering::Relaxed);
            let older = oldest.as_ref().is_none_or(|other| used < other.used.load(Ordering::Relaxed));
            (count + 1, if older { Some(segment) } else { oldest })
        });
        if let (true, Some(oldest)) = (count > OPEN_FILES, oldest) {
            oldest.file = None;
        }
        Ok(file)
    }

    /// Deletes a segment and its file.
    pub fn delete(&self, number: u32) -> Result<(), StoreError> {
        self.write().remove(&number);
        let path = segment_path(&self.data, number);
        std::fs::remove_file(&path).map_err(|error| failed("delete", &path, &error))
    }

    /// Makes creations and deletions of files durable.
    pub fn sync_dir(&self) -> Result<(), StoreError> {
        sync_dir(&journal_dir(&self.data))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<u32, Segment>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<u32, Segment>> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes creations and deletions in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| failed("sync", dir, &error))
}
