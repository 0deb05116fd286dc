//! (6) at the node: what it hands a consumer never goes beyond the credit it was told of.
//!
//! The engine would hold back what exceeds a link's credit, so that no client could see it. Invariant:
//! delivery-counts begin at 0 here and are too short-lived to wrap.

use std::collections::BTreeMap;

use verdict::broker::{Command, ConsumerId, Effect};

/// Per consumer: deliveries (with what a drain used up), and how many there may be.
#[derive(Default)]
pub struct Credits(BTreeMap<ConsumerId, (u32, u32)>);

impl Credits {
    /// A node is told something.
    pub fn told(&mut self, command: &Command) {
        if let Command::Flow { consumer, delivery_count, credit, .. } = command {
            let (_, limit) = self.0.entry(*consumer).or_default();
            *limit = delivery_count + credit;
        }
    }

    /// A node did something.
    pub fn did(&mut self, effect: &Effect) {
        match effect {
            Effect::Deliver { consumer, deliveries } => {
                let (count, limit) = self.0.entry(*consumer).or_default();
                *count += deliveries.len() as u32;
                assert!(
                    count <= limit,
                    "rule 6 broken: {consumer:?} was handed {count}, its credit ends at {limit}"
                );
            }
            Effect::Flow { consumer, delivery_count, drained: true, .. } => {
                self.0.entry(*consumer).or_default().0 = *delivery_count;
            }
            _ => {}
        }
    }
}
