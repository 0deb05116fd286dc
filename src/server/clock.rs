//! The one clock: wall time at start plus monotonic time since, so that it never goes backwards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Millis;

/// Reads the time for everything below the server.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    epoch: Duration,
}

impl Clock {
    /// Anchors the clock at now.
    #[must_use]
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Millis {
        let since = self.epoch + self.started.elapsed();
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// When it was started, in seconds since 1970.
    #[must_use]
    pub fn started_seconds(&self) -> f64 {
        self.epoch.as_secs_f64()
    }

    /// How long ago that was.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The instant at which `now` will be at least `at`, for a timer.
    #[must_use]
    pub fn instant_of(&self, at: Millis) -> tokio::time::Instant {
        let from_start = Duration::from_millis(at.0).saturating_sub(self.epoch);
        // A far future must not overflow the timer.
        let from_start = from_start.min(self.started.elapsed() + Duration::from_secs(86_400 * 365));
        tokio::time::Instant::from_std(self.started + from_start)
    }
}
