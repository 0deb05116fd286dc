//! The retry-storm breaker of a queue: stops delivering when too much of it fails, then probes.
//!
//! "Retry-storm breaker, per queue: when failures exceed a budget (default: 50 % of settlements and at least 20
//! in 10 s), delivery pauses, then probes one message at a time, doubling on success".
//!
//! Invariant: a constant time per settlement and a bounded memory (`BUCKETS` buckets, `PROBES_KEPT` probes); the
//! same settlements at the same times give the same states. It sees numbers and times only: what counts as a
//! failure is said by `weigh`, who is held back by `queue::dispatch`.

use super::{Outcome, policy::BreakerPolicy};
use crate::time::Millis;

/// Buckets the window is divided into: failures are forgotten in steps of a sixteenth of it.
const BUCKETS: usize = 16;
/// Half-open with this many messages at once allowed is closed.
const CLOSED_AT: u32 = 64;
/// Probes remembered. There are never more than `CLOSED_AT` but for one more in each pause that brings no answer.
const PROBES_KEPT: usize = 256;

/// What a breaker does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Messages go out as usual.
    Closed,
    /// None go out until then.
    Open {
        /// When probing begins.
        until: Millis,
    },
    /// So many may be out at once, to see what becomes of them.
    HalfOpen {
        /// How many: 1 at first, one more for each success (so twice as many each round).
        allowed: u32,
    },
}

impl BreakerState {
    /// The word for it in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

/// Whether an answer speaks for the breaker as a failure (`true`), as a success, or not at all.
/// `given_back`: how often the message had come back before.
///
/// FAILED counts. REJECTED is a verdict on the message and brings no retry, so there is no storm to stop: it is a
/// settlement that is not a failure. "It also covers endless `released` loops, which no attempt limit catches": a
/// message released for the second time or more is going round. The first time it is not, and must not count,
/// since a consumer that stops in good order releases all it had prefetched. Nor does undeliverable-here count:
/// each link endpoint says that once for a message.
pub(crate) fn weigh(outcome: &Outcome, given_back: u32) -> Option<bool> {
    match outcome {
        Outcome::Accepted | Outcome::Rejected(_) => Some(false),
        Outcome::Modified(modified) if modified.delivery_failed => Some(true),
        Outcome::Modified(modified) if modified.undeliverable_here => None,
        Outcome::Modified(_) | Outcome::Released => (given_back > 0).then_some(true),
    }
}

/// A queue's breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    state: State,
    window: Window,
    /// How long it opens the next time.
    pause_ms: u64,
    /// The kind of state changed since it was last asked.
    changed: bool,
    /// Probes of the last half-open state that failed: they shall not be the next ones.
    benched: Vec<u64>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Millis),
    HalfOpen(Probing),
}

#[derive(Debug)]
struct Probing {
    allowed: u32,
    /// What is out beyond `allowed`, since its answer takes too long to wait for.
    extra: u32,
    /// What is out, oldest first.
    probes: Vec<u64>,
    good: u32,
    bad: u32,
    /// When one more goes out though no answer has come.
    patience: Millis,
}

impl Breaker {
    pub(crate) fn new(policy: BreakerPolicy) -> Self {
        Self {
            window: Window::new(policy.window_ms),
            pause_ms: policy.pause_ms,
            policy,
            state: State::Closed,
            changed: false,
            benched: Vec::new(),
        }
    }

    /// New rules. One that is switched off is closed; the budget of another begins anew.
    pub(crate) fn set_policy(&mut self, policy: &BreakerPolicy) {
        if self.policy == *policy {
            return;
        }
        let Self { state, changed, .. } =
            std::mem::replace(self, Self { changed: self.changed, ..Self::new(policy.clone()) });
        if policy.enabled {
            self.state = state;
        } else {
            self.changed = changed || !matches!(state, State::Closed);
        }
    }

    /// What it does now.
    pub(crate) fn state(&self) -> BreakerState {
        match &self.state {
            State::Closed => BreakerState::Closed,
            State::Open(until) => BreakerState::Open { until: *until },
            State::HalfOpen(probing) => BreakerState::HalfOpen { allowed: probing.allowed },
        }
    }

    /// Its state, if it is of another kind than the last time.
    pub(crate) fn take_change(&mut self) -> Option<BreakerState> {
        std::mem::take(&mut self.changed).then(|| self.state())
    }

    /// A person's word, whatever the settlements say: open until then, or closed. It goes on from there by itself,
    /// also where it is not enabled (then it never opens by itself again).
    pub(crate) fn set_by_hand(&mut self, open_until: Option<Millis>) {
        self.pause_ms = self.policy.pause_ms;
        self.benched.clear();
        self.enter(open_until.map_or(State::Closed, State::Open));
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.changed = true;
        self.window.clear();
    }

    fn open(&mut self, now: Millis) {
        self.enter(State::Open(now.plus_ms(self.pause_ms)));
        self.pause_ms = self.pause_ms.saturating_mul(2).min(self.policy.max_pause_ms);
    }

    /// A message was settled, or lost: call before `left`.
    #[inline]
    pub(crate) fn settled(&mut self, now: Millis, seq: u64, failed: bool) {
        match &mut self.state {
            State::Closed if self.policy.enabled => {
                let (settled, failures) = self.window.add(now, failed);
                let BreakerPolicy { at_least, share, .. } = self.policy;
                if failed && failures >= u64::from(at_least) && failures as f64 >= share * settled as f64 {
                    self.open(now);
                }
            }
            State::HalfOpen(_) => self.probed(now, seq, failed),
            // What was out when it opened is no probe: it would only tell what is known.
            State::Closed | State::Open(_) => {}
        }
    }

    /// A probe was answered: a failure beyond the budget's share opens it again, whose first failure is the first
    /// probe's; a failure within it (a queue in good health has some, too) is borne.
    fn probed(&mut self, now: Millis, seq: u64, failed: bool) {
        let State::HalfOpen(probing) = &mut self.state else { return };
        if !probing.left(seq) {
            return;
        }
        if !failed {
            probing.good += 1;
            probing.allowed += 1;
            if probing.allowed >= CLOSED_AT {
                self.pause_ms = self.policy.pause_ms;
                self.benched.clear();
                self.enter(State::Closed);
            }
            return;
        }
        probing.bad += 1;
        let beyond = f64::from(probing.bad) >= self.policy.share * f64::from(probing.good + probing.bad);
        if self.benched.len() < PROBES_KEPT {
            self.benched.push(seq);
        }
        if beyond {
            self.open(now);
        }
    }

    /// A message is no longer with a consumer, for whatever reason.
    #[inline]
    pub(crate) fn left(&mut self, seq: u64) {
        if let State::HalfOpen(probing) = &mut self.state {
            probing.left(seq);
        }
    }

    /// Time passed: it may begin to probe. Gives the probes that failed the last time, and until when another
    /// message should be tried before them: else one that always comes back would be every first probe.
    pub(crate) fn advance(&mut self, now: Millis) -> Option<(Vec<u64>, Millis)> {
        match &mut self.state {
            State::Open(until) if *until <= now => {
                let patience = now.plus_ms(self.policy.pause_ms);
                self.enter(State::HalfOpen(Probing {
                    allowed: 1,
                    extra: 0,
                    probes: Vec::new(),
                    good: 0,
                    bad: 0,
                    patience,
                }));
                Some((std::mem::take(&mut self.benched), patience)).filter(|(seqs, _)| !seqs.is_empty())
            }
            State::HalfOpen(probing) if probing.patience <= now => {
                // A consumer that takes an hour for its probe does not stop the queue for an hour.
                probing.extra += u32::from(probing.room() == 0);
                probing.patience = now.plus_ms(self.policy.pause_ms);
                None
            }
            _ => None,
        }
    }

    /// How many messages may go out now.
    #[inline]
    pub(crate) fn room(&self) -> u64 {
        match &self.state {
            State::Closed => u64::MAX,
            State::Open(_) => 0,
            State::HalfOpen(probing) => probing.room(),
        }
    }

    /// A message goes out.
    #[inline]
    pub(crate) fn handed(&mut self, now: Millis, seq: u64) {
        if let State::HalfOpen(probing) = &mut self.state {
            probing.probes.push(seq);
            if probing.probes.len() > PROBES_KEPT {
                probing.probes.remove(0);
            }
            probing.patience = now.plus_ms(self.policy.pause_ms);
        }
    }

    /// When `advance` is next due.
    pub(crate) fn next_wake(&self) -> Option<Millis> {
        match &self.state {
            State::Closed => None,
            State::Open(until) => Some(*until),
            // With room left it is the next message that wakes us.
            State::HalfOpen(probing) => (probing.room() == 0).then_some(probing.patience),
        }
    }
}

impl Probing {
    fn room(&self) -> u64 {
        u64::from(self.allowed + self.extra).saturating_sub(self.probes.len() as u64)
    }

    /// Whether it was a probe.
    fn left(&mut self, seq: u64) -> bool {
        let Some(at) = self.probes.iter().position(|probe| *probe == seq) else { return false };
        self.probes.remove(at);
        self.extra = self.extra.saturating_sub(1);
        true
    }
}

/// Settlements and failures of the last so many milliseconds, in buckets.
#[derive(Debug)]
struct Window {
    /// (settled, failed); the bucket of `number` is at `number % BUCKETS`.
    buckets: [(u32, u32); BUCKETS],
    bucket_ms: u64,
    /// The newest bucket, and when it ends.
    number: u64,
    ends: u64,
    settled: u64,
    failed: u64,
}

impl Window {
    fn new(window_ms: u64) -> Self {
        let bucket_ms = window_ms.div_ceil(BUCKETS as u64).max(1);
        Self { buckets: [(0, 0); BUCKETS], bucket_ms, number: 0, ends: 0, settled: 0, failed: 0 }
    }

    fn clear(&mut self) {
        (self.buckets, self.settled, self.failed) = ([(0, 0); BUCKETS], 0, 0);
    }

    /// Adds one; how many were settled and how many failed in the window.
    #[inline]
    fn add(&mut self, now: Millis, failed: bool) -> (u64, u64) {
        // No division but where a bucket begins: this is done for every message.
        if now.0 >= self.ends {
            self.roll(now.0 / self.bucket_ms);
        }
        if let Some(bucket) = self.buckets.get_mut((self.number % BUCKETS as u64) as usize) {
            bucket.0 = bucket.0.saturating_add(1);
            bucket.1 = bucket.1.saturating_add(u32::from(failed));
        }
        self.settled += 1;
        self.failed += u64::from(failed);
        (self.settled, self.failed)
    }

    /// Forgets what is older than the window; at most `BUCKETS` steps.
    fn roll(&mut self, number: u64) {
        for gone in 1..=number.saturating_sub(self.number).min(BUCKETS as u64) {
            let Some(bucket) = self.buckets.get_mut(((self.number + gone) % BUCKETS as u64) as usize) else {
                continue;
            };
            let (settled, failed) = std::mem::take(bucket);
            self.settled = self.settled.saturating_sub(u64::from(settled));
            self.failed = self.failed.saturating_sub(u64::from(failed));
        }
        self.number = number;
        self.ends = number.saturating_add(1).saturating_mul(self.bucket_ms);
    }
}

#[cfg(test)]
mod tests;
