//! (12) at the node: while a failed message is tried again, no later one of its group goes out.
//!
//! Invariant: knows as failed only what certainly failed and is still there: one that may have died (at its last
//! attempt, of age, or excluded by all) is no more taken to hold its group, nor is any when a batch was refused.

use std::collections::{BTreeMap, BTreeSet};

use verdict::broker::{
    Command, ConsumerId, Delivery, DetachCause, Effect, EntryState, Outcome, QueuePolicy, Seq,
    policy::RetryOrder,
};

use crate::body;

struct Out {
    group: u8,
    attempts: u32,
    /// It may expire, or be excluded by all: then it is not known how it ends.
    uncertain: bool,
}

/// Of one node.
pub struct Grouped {
    on: bool,
    max_attempts: u32,
    out: BTreeMap<ConsumerId, BTreeMap<Seq, Out>>,
    failed: BTreeMap<u8, BTreeSet<Seq>>,
}

fn failed_before(state: Option<&EntryState>) -> bool {
    state.is_some_and(|state| state.death.is_none() && !state.failures.is_empty())
}

impl Grouped {
    /// Of a node with this policy.
    pub fn new(policy: &QueuePolicy) -> Self {
        Self {
            on: policy.retry_order == RetryOrder::Group,
            max_attempts: policy.max_attempts,
            out: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// A message of the queue was found at recovery.
    pub fn recovered(&mut self, seq: Seq, payload: &[u8], mortal: bool, state: Option<&EntryState>) {
        let certain = !mortal && state.is_none_or(|state| state.excluded.is_empty());
        if failed_before(state) && certain {
            self.failed.entry(body::group_of(payload)).or_default().insert(seq);
        }
    }

    fn gone(&mut self, group: u8, seq: Seq) {
        self.failed.entry(group).or_default().remove(&seq);
    }

    /// The node is told something.
    pub fn told(&mut self, command: &Command) {
        match command {
            Command::Settle { consumer, settlements } => {
                for settlement in settlements {
                    let out = self.out.get_mut(consumer).and_then(|out| out.remove(&settlement.seq));
                    let Some(out) = out else { continue };
                    self.settled(settlement.seq, &out, settlement.outcome.as_ref());
                }
            }
            Command::Unsubscribe { consumer, cause } => {
                for (seq, out) in self.out.remove(consumer).into_iter().flatten() {
                    let last = *cause == DetachCause::Lost && out.attempts + 1 >= self.max_attempts;
                    if last || out.uncertain {
                        self.gone(out.group, seq);
                    }
                }
            }
            Command::CommitFailed { .. } => {
                self.out.clear();
                self.failed.clear();
            }
            _ => {}
        }
    }

    fn settled(&mut self, seq: Seq, out: &Out, outcome: Option<&Outcome>) {
        let (failed, over) = match outcome {
            Some(Outcome::Accepted | Outcome::Rejected(_)) => (false, true),
            Some(Outcome::Modified(modified)) if modified.undeliverable_here => (false, true),
            Some(Outcome::Modified(modified)) if modified.delivery_failed => {
                (true, out.attempts + 1 >= self.max_attempts)
            }
            _ => (false, false),
        };
        if over || out.uncertain {
            self.gone(out.group, seq);
        } else if failed {
            self.failed.entry(out.group).or_default().insert(seq);
        }
    }

    /// The node delivers to a consumer of the queue that takes.
    pub fn did(&mut self, effect: &Effect, presettled: bool) {
        let Effect::Deliver { consumer, deliveries } = effect else { return };
        for delivery in deliveries {
            let Delivery { seq, message, delivery_count, state, .. } = delivery;
            let group = body::group_of(message.payload());
            let earlier = self.failed.get(&group).and_then(|failed| failed.range(..seq).next());
            assert!(
                !self.on || group == 0 || earlier.is_none(),
                "rule 12 broken: {seq:?} of group {group} came to {consumer:?} while {earlier:?} is tried again"
            );
            let excluded = state.as_ref().is_some_and(|state| !state.excluded.is_empty());
            let uncertain = message.expires.is_some() || excluded;
            if presettled || uncertain {
                self.gone(group, *seq);
            } else if failed_before(state.as_deref()) {
                self.failed.entry(group).or_default().insert(*seq);
            }
            if !presettled {
                let out = Out { group, attempts: *delivery_count, uncertain };
                self.out.entry(*consumer).or_default().insert(*seq, out);
            }
        }
    }
}
