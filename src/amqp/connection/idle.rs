//! When a connection is silent for too long, on either side (part 2.4.5).
//!
//! Invariant: `next` is in the future once `due` was acted on, so a caller that sleeps until then never spins.

use crate::time::Millis;

/// How long we wait for a peer's close after ours.
const CLOSE_WAIT_MS: u64 = 5_000;

/// Timers of a connection.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Longest silence of the peer allowed.
    allowed_ms: Option<u32>,
    /// The peer's idle-time-out.
    peer_ms: Option<u32>,
    last_in: Millis,
    last_out: Millis,
    /// While the handshake lasts, input does not put off its end: all of it has the time of one silence.
    opened: bool,
    close_by: Option<Millis>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Heartbeat,
    /// The peer was silent for this long.
    Silent(u64),
    /// The peer did not answer our close.
    CloseUnanswered,
}

impl Idle {
    pub fn new(allowed_ms: Option<u32>, now: Millis) -> Self {
        Self {
            allowed_ms: allowed_ms.filter(|&ms| ms > 0),
            peer_ms: None,
            last_in: now,
            last_out: now,
            opened: false,
            close_by: None,
        }
    }

    /// The time-out to announce: half of what is enforced, since the specification leaves open whether
    /// a peer sends in time for it or in time for half of it (2.4.5).
    pub fn announce_ms(&self) -> Option<u32> {
        self.allowed_ms.map(|ms| (ms / 2).max(1))
    }

    /// Longest silence allowed.
    pub fn allowed_ms(&self) -> Option<u32> {
        self.allowed_ms
    }

    /// The peer's open; 0 counts as none.
    pub fn peer_opened(&mut self, idle_time_out_ms: Option<u32>, now: Millis) {
        self.peer_ms = idle_time_out_ms.filter(|&ms| ms > 0);
        self.opened = true;
        self.last_in = now;
    }

    pub fn received(&mut self, now: Millis) {
        if self.opened {
            self.last_in = now;
        }
    }

    pub fn sent(&mut self, now: Millis) {
        self.last_out = now;
    }

    /// Our close was sent.
    pub fn closing(&mut self, now: Millis) {
        self.close_by.get_or_insert(now.plus_ms(CLOSE_WAIT_MS));
    }

    fn heartbeat_at(&self) -> Option<Millis> {
        // 2.4.5: half the peer's time-out, so that it is honoured even where the timer is late.
        self.peer_ms.map(|ms| self.last_out.plus_ms(u64::from(ms / 2).max(1)))
    }

    fn silent_at(&self) -> Option<Millis> {
        self.allowed_ms.map(|ms| self.last_in.plus_ms(u64::from(ms)))
    }

    /// When to ask again.
    pub fn next(&self) -> Option<Millis> {
        match self.close_by {
            Some(at) => Some(at),
            None => [self.heartbeat_at(), self.silent_at()].into_iter().flatten().min(),
        }
    }

    pub fn due(&self, now: Millis) -> Due {
        if let Some(at) = self.close_by {
            return if at <= now { Due::CloseUnanswered } else { Due::Nothing };
        }
        if self.silent_at().is_some_and(|at| at <= now) {
            return Due::Silent(now.since_ms(self.last_in));
        }
        if self.heartbeat_at().is_some_and(|at| at <= now) { Due::Heartbeat } else { Due::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_due_at_half_of_the_peers_time_out() {
        let mut idle = Idle::new(None, Millis(0));
        idle.peer_opened(Some(1_000), Millis(10));
        assert_eq!(idle.next(), Some(Millis(500)));
        assert_eq!(idle.due(Millis(499)), Due::Nothing);
        assert_eq!(idle.due(Millis(500)), Due::Heartbeat);
        idle.sent(Millis(500));
        assert_eq!(idle.next(), Some(Millis(1_000)));
    }

    #[test]
    fn half_of_the_allowed_silence_is_announced_and_the_whole_enforced() {
        let mut idle = Idle::new(Some(1_000), Millis(0));
        assert_eq!(idle.announce_ms(), Some(500));
        idle.peer_opened(None, Millis(10));
        idle.received(Millis(100));
        assert_eq!(idle.due(Millis(1_099)), Due::Nothing);
        assert_eq!(idle.due(Millis(1_100)), Due::Silent(1_000));
    }

    #[test]
    fn bytes_do_not_prolong_the_handshake() {
        let mut idle = Idle::new(Some(1_000), Millis(0));
        idle.received(Millis(900));
        assert_eq!(idle.due(Millis(1_000)), Due::Silent(1_000));
    }

    #[test]
    fn a_time_out_of_zero_is_none() {
        let mut idle = Idle::new(Some(0), Millis(0));
        idle.peer_opened(Some(0), Millis(0));
        assert_eq!(idle.next(), None);
    }
}
