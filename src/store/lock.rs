//! One broker per data directory: an advisory lock on a file in it.
//!
//! Invariant: while a `DirLock` lives, no other process (and no other store of this one) has one for the
//! same directory. The kernel drops it when the process dies, however it dies.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock or says who has it.
    pub fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| super::failed("open", &path, &error))?;
        lock(&mut file, dir)?;
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(|error| super::failed("write", &path, &error))?;
        Ok(Self { _file: file })
    }
    /// The same without writing anything; where there is no lock file, nobody holds it.
    pub fn acquire_existing(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join("lock");
        match File::open(&path) {
            Ok(mut file) => {
                lock(&mut file, dir)?;
                Ok(Some(Self { _file: file }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(super::failed("open", &path, &error)),
        }
    }
}

/// The process that has this data directory open, if one has.
///
/// # Errors
/// When the lock file is there and cannot be read.
pub fn holder(dir: &Path) -> Result<Option<u32>, StoreError> {
    let path = dir.join("lock");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(super::failed("open", &path, &error)),
    };
    // What the file says is true only while somebody holds the lock: pids are used again.
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(None);
    }
    let mut owner = String::new();
    file.read_to_string(&mut owner).map_err(|error| super::failed("read", &path, &error))?;
    match owner.trim().parse() {
        Ok(pid) => Ok(Some(pid)),
        Err(_) => Err(StoreError::Failed(
            format!("{} does not name a process, got {owner:?}", path.display()).into(),
        )),
    }
}

fn lock(file: &mut File, dir: &Path) -> Result<(), StoreError> {
    if flock(&*file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        // Only to name the other process; without it the message is as true.
        let _ = file.read_to_string(&mut owner);
        let owner = owner.trim();
        let by = if owner.is_empty() { String::new() } else { format!(" (process {owner})") };
        return Err(StoreError::Locked(
            format!("the data directory {} is in use by another verdict{by}", dir.display()).into(),
        ));
    }
    Ok(())
}
