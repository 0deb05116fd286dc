//! Our delivery states to and from those of fe2o3-amqp-types, which termini and unsettled maps are made of.
//!
//! Invariant: one to one, but for `Unknown`, which theirs has no place for.

use fe2o3_amqp_types::{
    messaging::{Accepted, DeliveryState as WireState, Outcome, Received, Rejected, Released},
    transaction::{Declared, TransactionalState},
};
use serde_bytes::ByteBuf;

use super::DeliveryState;

/// To theirs.
///
/// # Errors
/// The descriptor of an unknown state.
pub fn to_wire(state: &DeliveryState) -> Result<WireState, String> {
    Ok(match state {
        DeliveryState::Received(number, offset) => {
            WireState::Received(Received { section_number: *number, section_offset: *offset })
        }
        DeliveryState::Transactional(inner) => {
            let (txn_id, outcome) = inner.as_ref();
            WireState::TransactionalState(TransactionalState {
                txn_id: ByteBuf::from(txn_id.clone()),
                outcome: outcome.as_ref().map(to_wire_outcome).transpose()?,
            })
        }
        outcome => to_wire_outcome(outcome)?.into(),
    })
}

/// To theirs, of an outcome.
///
/// # Errors
/// The name of a state that is none, or unknown.
pub fn to_wire_outcome(state: &DeliveryState) -> Result<Outcome, String> {
    Ok(match state {
        DeliveryState::Accepted => Outcome::Accepted(Accepted {}),
        DeliveryState::Rejected(error) => Outcome::Rejected(Rejected { error: error.as_deref().cloned() }),
        DeliveryState::Released => Outcome::Released(Released {}),
        DeliveryState::Modified(modified, _) => Outcome::Modified(modified.as_ref().clone()),
        DeliveryState::Declared(txn_id) => {
            Outcome::Declared(Declared { txn_id: ByteBuf::from(txn_id.clone()) })
        }
        DeliveryState::Received(..) => return Err("amqp:received:list".to_owned()),
        DeliveryState::Transactional(_) => return Err("amqp:transactional-state:list".to_owned()),
        DeliveryState::Unknown(descriptor) => return Err(descriptor.to_string()),
    })
}

/// From theirs.
#[must_use]
pub fn from_wire(state: &WireState) -> DeliveryState {
    match state {
        WireState::Received(received) => {
            DeliveryState::Received(received.section_number, received.section_offset)
        }
        WireState::Accepted(_) => DeliveryState::Accepted,
        WireState::Rejected(rejected) => DeliveryState::Rejected(rejected.error.clone().map(Box::new)),
        WireState::Released(_) => DeliveryState::Released,
        WireState::Modified(modified) => DeliveryState::Modified(Box::new(modified.clone()), 0),
        WireState::Declared(declared) => DeliveryState::Declared(declared.txn_id.to_vec()),
        WireState::TransactionalState(state) => DeliveryState::Transactional(Box::new((
            state.txn_id.to_vec(),
            state.outcome.as_ref().map(from_wire_outcome),
        ))),
    }
}

/// From theirs, of an outcome (a source's default-outcome).
#[must_use]
pub fn from_wire_outcome(outcome: &Outcome) -> DeliveryState {
    from_wire(&WireState::from(outcome.clone()))
}
