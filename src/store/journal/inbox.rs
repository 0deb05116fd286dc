//! Where batches wait for the committer.
//!
//! Invariant: first in, first out; a batch handed over before `close` is taken; one that somebody waits for
//! is taken at once, any other within `PATIENCE`. Pushing never waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::Done;
use crate::broker::Batch;

/// How long a batch that nobody waits for is kept for company: at low rates, messages settled in the time of
/// a few syncs share one with the messages that come after them.
const PATIENCE: Duration = Duration::from_millis(5);

/// A batch and whom to tell.
pub(crate) type Job = (Batch, Done);

/// Where batches wait for the committer.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    filled: Condvar,
}

#[derive(Default)]
struct InboxState {
    jobs: Vec<Job>,
    /// One of them has somebody waiting for it.
    urgent: bool,
    /// When the oldest came.
    since: Option<Instant>,
    waiting: bool,
    closed: bool,
}

impl InboxState {
    fn take_into(&mut self, jobs: &mut Vec<Job>) {
        jobs.append(&mut self.jobs);
        self.urgent = false;
        self.since = None;
    }
}

impl Inbox {
    /// Hands a batch over; gives it back when the store is closed.
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        if state.closed {
            return Err(job);
        }
        let first = state.jobs.is_empty();
        let urgent = !job.0.patient;
        state.urgent |= urgent;
        if first {
            state.since = Some(Instant::now());
        }
        state.jobs.push(job);
        // A wake-up is a system call: only when somebody sleeps, and does so for this.
        if state.waiting && (urgent || first) {
            state.waiting = false;
            drop(state);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// No more batches; what is here is still committed.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Waits for batches that somebody waits for, or that have waited long enough; swaps all there are into
    /// `jobs`. False when closed and empty.
    pub fn take(&self, jobs: &mut Vec<Job>, timeout: Option<Duration>) -> bool {
        let mut state = self.lock();
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        while !state.urgent && !state.closed {
            let ripe = state.since.map(|since| since + PATIENCE);
            let until = [deadline, ripe].into_iter().flatten().min();
            state.waiting = true;
            let Some(until) = until else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.filled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting = false;
        state.take_into(jobs);
        !(jobs.is_empty() && state.closed)
    }

    /// What has come meanwhile, without waiting, behind what is in `jobs`.
    pub fn take_more(&self, jobs: &mut Vec<Job>) {
        self.lock().take_into(jobs);
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Ticket;

    fn job(ticket: u64, patient: bool) -> Job {
        (Batch { ticket: Ticket(ticket), records: Vec::new(), patient }, Box::new(|_| {}))
    }

    fn taken(inbox: &Inbox) -> Vec<u64> {
        let mut jobs = Vec::new();
        inbox.take(&mut jobs, None);
        jobs.iter().map(|(batch, _)| batch.ticket.0).collect()
    }

    #[test]
    fn a_patient_batch_waits_for_company_and_goes_with_it_in_order() {
        let inbox = Inbox::default();
        assert!(inbox.push(job(1, true)).is_ok() && inbox.push(job(2, false)).is_ok());
        let begun = Instant::now();
        assert_eq!(taken(&inbox), [1, 2]);
        assert!(begun.elapsed() < PATIENCE, "what is urgent is not kept");
    }

    #[test]
    fn a_patient_batch_without_company_goes_alone() {
        let inbox = Inbox::default();
        assert!(inbox.push(job(1, true)).is_ok());
        let begun = Instant::now();
        assert_eq!(taken(&inbox), [1]);
        assert!(begun.elapsed() + Duration::from_millis(1) >= PATIENCE, "it was kept for company");
    }

    #[test]
    fn what_came_before_close_is_taken_and_then_it_is_over() {
        let inbox = Inbox::default();
        assert!(inbox.push(job(1, true)).is_ok());
        inbox.close();
        assert!(inbox.push(job(2, false)).is_err());
        assert_eq!(taken(&inbox), [1]);
        assert!(!inbox.take(&mut Vec::new(), None));
    }
}
