//! Room for the copies that `check` works on.
//!
//! Invariant: outside of the data directory, and removed afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use crate::store::{StoreError, failed};

/// A directory of our own, gone when we are.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Result<Self, StoreError> {
        let base = std::env::temp_dir();
        for number in 0..1000 {
            let path = base.join(format!("verdict-check-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", &path, &error)),
            }
        }
        Err(StoreError::Failed(format!("no room for a scratch directory in {}", base.display()).into()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the system's place for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies the files of one directory.
pub(super) fn copy_dir(from: &Path, to: &Path) -> Result<(), StoreError> {
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    };
    copy().map_err(|error| failed("copy", from, &error))
}
