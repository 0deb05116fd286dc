//! Time for measuring: the monotonic clock in nanoseconds, and a timer that keeps to it.
//!
//! Invariant: the stamp in a message is this clock's, so sender and receiver may be different processes of
//! one machine. Tokio's own timer counts whole milliseconds, which is more than what is to be measured.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Nanoseconds of a duration, saturating.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
pub(super) use linux::Timer;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, os::fd::OwnedFd};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    /// Wakes its task at a point of the monotonic clock, to some 50 µs.
    pub(in super::super) struct Timer {
        fd: AsyncFd<OwnedFd>,
        armed_ns: Option<u64>,
    }

    impl Timer {
        pub fn new() -> io::Result<Self> {
            let fd =
                timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            // Deprecated because `AsRawFd` alone promises nothing; an `OwnedFd` that nobody else can reach does
            // stay open and the same while it is registered. The way out is unsafe code, which we forbid.
            #[allow(deprecated)]
            let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
            Ok(Self { fd, armed_ns: None })
        }

        /// Ends at `due_ns`, or never. Dropped early, it can be called again.
        pub async fn wait(&mut self, due_ns: Option<u64>) -> io::Result<()> {
            let Some(due_ns) = due_ns else { return std::future::pending().await };
            if self.armed_ns != Some(due_ns) {
                let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
                // A value of zero would disarm it.
                let due = due_ns.max(1);
                let value = Timespec {
                    tv_sec: (due / 1_000_000_000).cast_signed(),
                    tv_nsec: (due % 1_000_000_000).cast_signed(),
                };
                let timer = Itimerspec { it_interval: zero, it_value: value };
                timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &timer)?;
                self.armed_ns = Some(due_ns);
            }
            loop {
                let mut ready = self.fd.readable().await?;
                let mut expirations = [0; 8];
                match rustix::io::read(self.fd.get_ref(), &mut expirations) {
                    Ok(_) => break,
                    // Readiness of an earlier setting.
                    Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
            }
            self.armed_ns = None;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::{io, time::Duration};

    /// Wakes its task at a point of the monotonic clock, to a millisecond.
    pub(in super::super) struct Timer;

    impl Timer {
        pub fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Ends at `due_ns`, or never.
        pub async fn wait(&mut self, due_ns: Option<u64>) -> io::Result<()> {
            let Some(due_ns) = due_ns else { return std::future::pending().await };
            tokio::time::sleep(Duration::from_nanos(due_ns.saturating_sub(super::now_ns()))).await;
            Ok(())
        }
    }
}
