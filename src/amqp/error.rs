//! What a peer can do wrong, whose scope it costs, and the condition it goes by on the wire.
//!
//! Invariant: every violation closes exactly the scope it belongs to (part 2.8.15 to 2.8.18) and
//! [`ProtocolError::to_wire`] is the only place where violations become conditions.

use fe2o3_amqp_types::definitions::{
    AmqpError, ConnectionError, Error, ErrorCondition, LinkError, SessionError,
};
use thiserror::Error as ThisError;

use super::codec::DecodeError;

/// Whose end an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Close.
    Connection,
    /// End.
    Session,
    /// Detach of the link with this handle (ours).
    Link(u32),
}

/// A violation by the peer.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub(crate) enum ProtocolError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("got a {got} frame, expected {expected}")]
    IllegalState { got: &'static str, expected: &'static str },
    #[error("sasl frame on an amqp connection")]
    SaslFrame,
    #[error("max-frame-size {got}, expected at least 512")]
    MaxFrameSize { got: u32 },
    #[error("channel {got}, expected at most {max} (channel-max)")]
    ChannelRange { got: u16, max: u16 },
    #[error("channel {channel} has no session")]
    UnknownChannel { channel: u16 },
    #[error("begin on channel {channel}, which is in use")]
    ChannelInUse { channel: u16 },
    #[error("begin answers channel {channel}, where none was begun")]
    UnknownRemoteChannel { channel: u16 },
    #[error("{what}: {got} bytes, expected at most {max}")]
    NameTooLong { what: &'static str, got: usize, max: usize },
    #[error("no channel left within the peer's channel-max {max}")]
    NoChannel { max: u16 },
    #[error("nothing came for {silent_ms} ms, expected a frame at least every {expected_ms} ms")]
    Silent { silent_ms: u64, expected_ms: u32 },
    #[error("more than {max} bytes sent ahead of our answer")]
    SentAhead { max: usize },
    #[error("more than {max} bytes of answers were not read")]
    Unread { max: usize },
    #[error("our {what} of {got} bytes does not fit the peer's max-frame-size {max}")]
    FrameTooSmall { what: &'static str, got: usize, max: u32 },

    #[error("handle {got}, expected at most {max} (handle-max)")]
    HandleRange { got: u32, max: u32 },
    #[error("handle {handle} is attached already")]
    HandleInUse { handle: u32 },
    #[error("{frame} for handle {handle}, which is not attached")]
    UnattachedHandle { frame: &'static str, handle: u32 },
    #[error("transfer beyond the incoming-window")]
    WindowViolation,
    #[error("no handle left within the peer's handle-max {max}")]
    NoHandle { max: u32 },
    #[error("transfer begins a delivery without delivery-id")]
    NoDeliveryId,
    #[error("delivery-id {got}, expected one after {last}")]
    DeliveryIdOrder { got: u32, last: u32 },
    #[error("delivery-id {got} within delivery {expected}")]
    DeliveryIdChanged { got: u32, expected: u32 },

    #[error("transfer on a link whose sender we are")]
    ErrantTransfer { handle: u32 },
    #[error("transfer beyond the link credit")]
    TransferLimit { handle: u32 },
    #[error("message of more than {max} bytes (max-message-size)")]
    MessageSize { handle: u32, max: u64 },
    #[error(
        "more than {max} bytes of unfinished deliveries on the connection's links; send fewer messages in parts at a time"
    )]
    PartialBytes { handle: u32, max: u64 },
    #[error("more than {max} deliveries that the sender has not settled")]
    Unsettled { handle: u32, max: u32 },
    #[error("{what}")]
    InvalidTransfer { handle: u32, what: &'static str },
    #[error("resuming deliveries is not supported")]
    Resume { handle: u32 },
    #[error("attached anew under the same name")]
    Stolen { handle: u32 },
}

impl ProtocolError {
    /// Whose end this is.
    pub fn scope(&self) -> Scope {
        match *self {
            Self::Decode(_)
            | Self::IllegalState { .. }
            | Self::SaslFrame
            | Self::MaxFrameSize { .. }
            | Self::ChannelRange { .. }
            | Self::UnknownChannel { .. }
            | Self::ChannelInUse { .. }
            | Self::UnknownRemoteChannel { .. }
            | Self::NameTooLong { .. }
            | Self::NoChannel { .. }
            | Self::Silent { .. }
            | Self::SentAhead { .. }
            | Self::Unread { .. }
            | Self::FrameTooSmall { .. }
            // 2.7.2: "a peer that receives a handle outside the supported range MUST close the connection
            // with the framing-error error-code"
            | Self::HandleRange { .. } => Scope::Connection,
            Self::HandleInUse { .. }
            | Self::UnattachedHandle { .. }
            | Self::WindowViolation
            | Self::NoHandle { .. }
            | Self::NoDeliveryId
            | Self::DeliveryIdOrder { .. }
            | Self::DeliveryIdChanged { .. } => Scope::Session,
            Self::ErrantTransfer { handle }
            | Self::TransferLimit { handle }
            | Self::MessageSize { handle, .. }
            | Self::PartialBytes { handle, .. }
            | Self::Unsettled { handle, .. }
            | Self::InvalidTransfer { handle, .. }
            | Self::Resume { handle }
            | Self::Stolen { handle } => Scope::Link(handle),
        }
    }

    fn condition(&self) -> ErrorCondition {
        match self {
            Self::Decode(error) => error.condition(),
            // 2.8.15 illegal-state: "the peer sent a frame that is not permitted in the current state"
            Self::IllegalState { .. } => AmqpError::IllegalState.into(),
            // 2.7.1, 2.7.2: channel-max and handle-max
            Self::SaslFrame | Self::ChannelRange { .. } | Self::HandleRange { .. } => {
                ConnectionError::FramingError.into()
            }
            Self::MaxFrameSize { .. }
            | Self::NameTooLong { .. }
            | Self::NoDeliveryId
            | Self::DeliveryIdOrder { .. }
            | Self::DeliveryIdChanged { .. }
            | Self::InvalidTransfer { .. } => AmqpError::InvalidField.into(),
            Self::UnknownChannel { .. }
            | Self::ChannelInUse { .. }
            | Self::UnknownRemoteChannel { .. }
            | Self::NoChannel { .. }
            | Self::NoHandle { .. }
            | Self::ErrantTransfer { .. } => AmqpError::NotAllowed.into(),
            // 2.4.5: a peer whose idle time-out is exceeded "SHOULD try to gracefully close the connection
            // using a close frame with an error explaining why".
            Self::Silent { .. }
            | Self::SentAhead { .. }
            | Self::Unread { .. }
            | Self::PartialBytes { .. }
            | Self::Unsettled { .. } => AmqpError::ResourceLimitExceeded.into(),
            Self::FrameTooSmall { .. } => AmqpError::FrameSizeTooSmall.into(),
            Self::HandleInUse { .. } => SessionError::HandleInUse.into(),
            Self::UnattachedHandle { .. } => SessionError::UnattachedHandle.into(),
            Self::WindowViolation => SessionError::WindowViolation.into(),
            Self::TransferLimit { .. } => LinkError::TransferLimitExceeded.into(),
            Self::MessageSize { .. } => LinkError::MessageSizeExceeded.into(),
            Self::Resume { .. } => AmqpError::NotImplemented.into(),
            Self::Stolen { .. } => LinkError::Stolen.into(),
        }
    }

    /// The error to send: condition, and this error's words as description.
    pub fn to_wire(&self) -> Error {
        Error { condition: self.condition(), description: Some(self.to_string()), info: None }
    }
}
