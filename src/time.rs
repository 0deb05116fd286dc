//! The one notion of time below the server: milliseconds since the Unix epoch, always passed in.
//!
//! Invariant: nothing below `server` reads a clock. The server anchors a monotonic clock at start, so
//! within one process `Millis` never goes backwards. Deliberately no arithmetic that can wrap or panic.

use serde::{Deserialize, Serialize};

/// A point in time in milliseconds since the Unix epoch (the unit of AMQP's `timestamp`, part 1.6.17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// This point plus `ms` milliseconds, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this point; 0 if `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
