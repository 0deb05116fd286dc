//! How the core looks into a message, whose encoding it does not know: two questions, and who answers them.
//!
//! Invariant: an answer depends on the message's bytes alone, so that it is the same after a restart, and for a
//! body that was read back. Whoever knows the encoding hands a `Reader` in; without one no message has either.

use serde::{Deserialize, Serialize};

use super::{Message, policy::Detect};

/// What stands for a value that may be long: 128 bits of a cryptographic hash.
///
/// A message is dropped when this is equal, so it must not be so by accident nor by intent: of 10¹² messages held
/// against a window of 10⁶ one in 10²⁰ such histories would drop one wrongly. 64 bits would not do: one in 20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

/// The two questions.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// The fingerprint of what duplicates are told by; none: the message does not have it.
    pub duplicate_key: fn(&Message, &Detect) -> Option<Fingerprint>,
    /// The fingerprint of the group it is in (properties.group-id, part 3.2.4).
    pub group: fn(&Message) -> Option<Fingerprint>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { duplicate_key: |_, _| None, group: |_| None }
    }
}
