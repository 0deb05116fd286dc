//! Where batches wait for the committer.
//!
//! Invariant: first in, first out; a batch handed over before `close` is taken. Pushing never waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::Done;
use crate::broker::Batch;

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
    waiting: bool,
    closed: bool,
}

impl Inbox {
    /// Hands a batch over; gives it back when the store is closed.
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        if state.closed {
            return Err(job);
        }
        state.jobs.push(job);
        // A wake-up is a system call: only when somebody sleeps.
        if std::mem::take(&mut state.waiting) {
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

    /// Waits for batches; swaps them into `jobs`. False when closed and empty.
    pub fn take(&self, jobs: &mut Vec<Job>, timeout: Option<Duration>) -> bool {
        let mut state = self.lock();
        while state.jobs.is_empty() && !state.closed {
            state.waiting = true;
            match timeout {
                None => state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let waited = self.filled.wait_timeout(state, timeout);
                    let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
                    state = guard;
                    if result.timed_out() {
                        break;
                    }
                }
            }
        }
        state.waiting = false;
        std::mem::swap(&mut state.jobs, jobs);
        !(jobs.is_empty() && state.closed)
    }

    /// What has come meanwhile, without waiting, behind what is in `jobs`.
    pub fn take_more(&self, jobs: &mut Vec<Job>) {
        jobs.append(&mut self.lock().jobs);
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
