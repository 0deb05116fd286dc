//! (10) at the node: a crash suspect goes out alone on its link, and an open breaker lets nothing out.
//!
//! Invariant: counts as outstanding what was delivered and not answered, nor taken back with its link or with the
//! batch it was in (then all the node's consumers are taken to hold nothing that is known: rarely, so no matter).

use std::collections::{BTreeMap, BTreeSet};

use verdict::{
    broker::{BreakerState, Command, ConsumerId, Delivery, Effect, FailureOutcome, Seq},
    time::Millis,
};

/// What a consumer has.
#[derive(Default)]
struct Held {
    seqs: BTreeSet<Seq>,
    /// One of them is a suspect: nothing else may come.
    alone: bool,
}

/// Per consumer of one node that takes messages.
#[derive(Default)]
pub struct Alone(BTreeMap<ConsumerId, Held>);

fn suspect(delivery: &Delivery) -> bool {
    let Some(state) = &delivery.state else { return false };
    let last = state.failures.last().filter(|failure| failure.outcome == FailureOutcome::Lost);
    last.is_some_and(|failure| state.death.as_ref().is_none_or(|death| failure.time > death.time))
}

impl Alone {
    /// The node is told something.
    pub fn told(&mut self, command: &Command) {
        match command {
            Command::Settle { consumer, settlements } => {
                let Some(held) = self.0.get_mut(consumer) else { return };
                settlements.iter().for_each(|settlement| _ = held.seqs.remove(&settlement.seq));
                held.alone &= !held.seqs.is_empty();
            }
            Command::Unsubscribe { consumer, .. } => _ = self.0.remove(consumer),
            Command::CommitFailed { .. } => self.0.clear(),
            _ => {}
        }
    }

    /// The node delivers to a consumer that takes; `paused`: what its breaker did before.
    pub fn did(&mut self, effect: &Effect, takes: bool, paused: Option<BreakerState>, now: Millis) {
        let Effect::Deliver { consumer, deliveries } = effect else { return };
        if !takes {
            return;
        }
        if let Some(BreakerState::Open { until }) = paused {
            assert!(until <= now, "rule 10 broken: {consumer:?} got a message while the breaker was open");
        }
        let held = self.0.entry(*consumer).or_default();
        for delivery in deliveries {
            assert!(!held.alone, "rule 10 broken: {:?} came to {consumer:?} beside a suspect", delivery.seq);
            held.alone = suspect(delivery);
            assert!(
                !held.alone || held.seqs.is_empty(),
                "rule 10 broken: suspect {:?} came to {consumer:?}, which has {:?}",
                delivery.seq,
                held.seqs
            );
            held.seqs.insert(delivery.seq);
        }
    }
}
