//! Failures on demand, for tests: the Nth fsync or write of the journal fails as a bad disk would.
//!
//! Invariant: the default does nothing. Not a simulation of a disk: see `memory` for that.

/// Which call is to fail.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    fsync_at: Option<u64>,
    write_at: Option<u64>,
    fsyncs: u64,
    writes: u64,
}

impl Fault {
    /// Reads `fsync:N` or `write:N` (the Nth call and all after it fail with `EIO`); the server passes the
    /// environment's `VERDICT_FAULT`. Anything else is no fault.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (kind, number) = text.split_once(':').unwrap_or_default();
        let number = number.parse().ok();
        match kind {
            "fsync" => Self { fsync_at: number, ..Self::default() },
            "write" => Self { write_at: number, ..Self::default() },
            _ => Self::default(),
        }
    }

    /// Before an fsync.
    pub(crate) fn before_fsync(&mut self) -> std::io::Result<()> {
        self.fsyncs += 1;
        fail_from(self.fsync_at, self.fsyncs)
    }

    /// Before a write.
    pub(crate) fn before_write(&mut self) -> std::io::Result<()> {
        self.writes += 1;
        fail_from(self.write_at, self.writes)
    }
}

fn fail_from(at: Option<u64>, count: u64) -> std::io::Result<()> {
    match at {
        Some(at) if count >= at => Err(rustix::io::Errno::IO.into()),
        _ => Ok(()),
    }
}
