//! What can be wrong with a peer's bytes, in words, and the condition it goes by on the wire.
//!
//! Invariant: an error says what was read, what was got and what was expected; it holds no peer bytes but
//! short names. It does not decide whose scope (connection, session, link) is closed: the engine does.

use fe2o3_amqp_types::definitions::{AmqpError, ConnectionError, Error, ErrorCondition};
use thiserror::Error as ThisError;

/// Bytes that are not what the specification says they should be.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum DecodeError {
    /// A frame shorter than its own header (part 2.3.1).
    #[error("frame size {size}, expected at least 8")]
    RuntFrame {
        /// Size as sent.
        size: u32,
    },
    /// A frame larger than announced as acceptable (part 2.7.1 max-frame-size).
    #[error("frame size {size}, expected at most {max} (max-frame-size)")]
    OversizeFrame {
        /// Size as sent.
        size: u32,
        /// Largest accepted.
        max: u32,
    },
    /// A data offset before the end of the header or behind the end of the frame (part 2.3.1).
    #[error("data offset {doff} words in a frame of {size} bytes, expected 2 or more within the frame")]
    DataOffset {
        /// Offset as sent, in words of 4 bytes.
        doff: u8,
        /// Size of the frame.
        size: u32,
    },
    /// A frame type that is neither AMQP nor SASL (part 2.3.1, 5.3.1).
    #[error("frame type 0x{kind:02x}, expected 0x00 (amqp) or 0x01 (sasl)")]
    FrameType {
        /// Type as sent.
        kind: u8,
    },
    /// A value that goes on behind the end of what holds it.
    #[error("{what}: {needed} bytes needed, got {got}")]
    Truncated {
        /// What was read.
        what: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes there are.
        got: usize,
    },
    /// A constructor that the specification does not define (part 1.2, 1.6).
    #[error("constructor 0x{code:02x} is not defined")]
    Constructor {
        /// Format code as sent.
        code: u8,
    },
    /// Values nested deeper than [`crate::limits::MAX_VALUE_DEPTH`].
    #[error("values nested deeper than {max}")]
    TooDeep {
        /// Deepest accepted.
        max: usize,
    },
    /// A count that does not fit the bytes it counts.
    #[error("{what}: {count} elements do not fit in {bytes} bytes")]
    Count {
        /// What was read.
        what: &'static str,
        /// Count as sent.
        count: u32,
        /// Bytes there are.
        bytes: usize,
    },
    /// A map with a key that has no value (part 1.6.23).
    #[error("map of {count} elements, expected an even number")]
    OddMap {
        /// Count as sent.
        count: u32,
    },
    /// A compound value whose elements end before or behind the size it was given.
    #[error("{what}: elements end {got} bytes in, expected {expected} (its size)")]
    Size {
        /// What was read.
        what: &'static str,
        /// Where the elements end.
        got: usize,
        /// Where the size says they should.
        expected: usize,
    },
    /// Bytes that are not the text or number they claim to be.
    #[error("{what}: got {got}, expected {expected}")]
    Content {
        /// What was read.
        what: &'static str,
        /// What it is.
        got: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A field of another type than specified.
    #[error("{field}: got constructor 0x{code:02x}, expected {expected}")]
    WrongType {
        /// Name of the field.
        field: &'static str,
        /// Constructor as sent.
        code: u8,
        /// Type expected.
        expected: &'static str,
    },
    /// A mandatory field that is null or left out.
    #[error("{field}: missing, but mandatory")]
    Missing {
        /// Name of the field.
        field: &'static str,
    },
    /// A described value with a descriptor that does not belong there.
    #[error("{what}: got descriptor {got}, expected {expected}")]
    Descriptor {
        /// What was read.
        what: &'static str,
        /// Descriptor as sent.
        got: String,
        /// What would have been taken.
        expected: &'static str,
    },
}

impl DecodeError {
    /// Whether framing itself is broken, so that nothing behind it can be read (part 2.8.16).
    #[must_use]
    pub fn is_framing(&self) -> bool {
        matches!(
            self,
            Self::RuntFrame { .. }
                | Self::OversizeFrame { .. }
                | Self::DataOffset { .. }
                | Self::FrameType { .. }
        )
    }

    /// The condition to close with: `amqp:connection:framing-error` or `amqp:decode-error`.
    #[must_use]
    pub fn condition(&self) -> ErrorCondition {
        if self.is_framing() {
            ErrorCondition::ConnectionError(ConnectionError::FramingError)
        } else {
            ErrorCondition::AmqpError(AmqpError::DecodeError)
        }
    }

    /// The error to send: condition, and this error's words as description.
    #[must_use]
    pub fn to_error(&self) -> Error {
        Error { condition: self.condition(), description: Some(self.to_string()), info: None }
    }
}
