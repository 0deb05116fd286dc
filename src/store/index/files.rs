//! sled's files, where they need a hand of ours.
//!
//! Invariant: called only while sled does not have the directory open.

use std::fs;
use std::path::Path;

use crate::store::{StoreError, failed};

/// Deletes snapshots that a crash left half written: sled 0.34.7 stumbles over them.
pub(super) fn remove_unfinished_snapshots(dir: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(dir).map_err(|error| failed("read", dir, &error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(|error| failed("remove", &entry.path(), &error))?;
        }
    }
    Ok(())
}
