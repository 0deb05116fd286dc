//! The codec: the one door between bytes and performatives.
//!
//! Invariant: every byte of a peer passes `validate` before any serde_amqp decoder sees it; hot
//! performatives (transfer, disposition, flow) never touch serde at all. Unknown types in known places
//! come out as values (`DeliveryState::Unknown`, `AttachFrame::refuse`), never as a decode error.

pub mod code;
pub mod section;
pub mod write;

mod attach;
mod delivery_state;
mod disposition;
mod encode_value;
mod error;
mod flow;
mod frame;
mod performative;
mod read;
mod sasl;
mod scalar;
mod terminus;
mod transfer;
mod validate;
mod value;
mod wire_state;

use fe2o3_amqp_types::definitions::Error;

pub use attach::{AttachFrame, encode_attach};
pub use delivery_state::{condition_name, decode_state, encode_error, encode_state, error_condition};
pub use disposition::{Disposition, encode_disposition};
pub use encode_value::{encode_fields, encode_value};
pub use error::DecodeError;
pub use flow::{Flow, encode_flow};
pub use frame::{FrameHeader, FrameKind, Parsed, frame_end, frame_start, parse_frame};
pub use performative::{
    Performative, decode, encode_begin, encode_close, encode_detach, encode_end, encode_open,
};
pub use sasl::{SaslFrame, decode_sasl, encode_sasl};
pub use scalar::{Scalar, scalar};
pub use terminus::{OUTCOMES, encode_source, encode_target};
pub use transfer::{Transfer, encode_transfer};
pub use validate::validate;
pub use value::{decode_fields, decode_value};
pub use wire_state::{from_wire, from_wire_outcome, to_wire, to_wire_outcome};

/// A delivery state (part 3.4, 4.5.8), small enough to pass by value.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryState {
    /// 3.4.2 accepted.
    Accepted,
    /// 3.4.3 rejected.
    Rejected(Option<Box<Error>>),
    /// 3.4.4 released.
    Released,
    /// 3.4.5 modified.
    /// And how many of its annotations could not be taken.
    Modified(Box<fe2o3_amqp_types::messaging::Modified>, u32),
    /// 3.4.1 received: section-number, section-offset.
    Received(u32, u64),
    /// 4.5.8 transactional-state: txn-id and outcome.
    Transactional(Box<(Vec<u8>, Option<DeliveryState>)>),
    /// 4.5.5 declared: txn-id.
    Declared(Vec<u8>),
    /// Something else: its descriptor in words.
    Unknown(Box<str>),
}

#[cfg(test)]
mod tests;
