//! Addresses as peers write them, taken apart: `orders`, `orders/$deadletter`, `queue://x`, `topic://x`.
//!
//! Invariant: pure; the same string always means the same. The address is echoed to the peer as it was
//! written, so nothing here changes one. Whether such a node exists or may be made is not decided here.

use crate::limits::MAX_NAME;

/// Suffix of a queue's dead-letter tree.
pub const DEAD_LETTER: &str = "/$deadletter";
/// The other name it answers to.
const DEAD_LETTER_QUEUE: &str = "/$deadletterqueue";
/// The management node's address.
pub const MANAGEMENT: &str = "$management";

/// What kind of node an address says it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does not say: the capabilities or the configuration decide.
    Any,
    /// `queue://`.
    Queue,
    /// `topic://`.
    Topic,
}

/// An address, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// A node by name.
    Node {
        /// Its name.
        name: &'a str,
        /// What it is to be.
        kind: Kind,
    },
    /// The dead-letter tree of a queue.
    DeadLetter {
        /// The queue's name.
        queue: &'a str,
    },
    /// The management node.
    Management,
}

/// Why a string is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing in it.
    #[error("the address is empty, expected a name such as `orders`")]
    Empty,
    /// Longer than a name may be.
    #[error("the address has {got} bytes, expected at most {MAX_NAME}")]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// A control character.
    #[error("the address has the control character U+{got:04X} at byte {at}, expected none")]
    Control {
        /// The character.
        got: u32,
        /// Where it is.
        at: usize,
    },
    /// A part with `$` in front, which is ours.
    #[error("the address ends in `{got}`, expected `$deadletter` or a name that does not begin with `$`")]
    Reserved {
        /// The part.
        got: String,
    },
    /// A scheme other than `queue` and `topic`.
    #[error("the address has the scheme `{got}://`, expected `queue://`, `topic://` or none")]
    Scheme {
        /// The scheme.
        got: String,
    },
}

impl<'a> Address<'a> {
    /// Takes an address apart.
    ///
    /// # Errors
    /// When it cannot be the address of anything here; says what is wrong and what was expected.
    pub fn parse(address: &'a str) -> Result<Self, AddressError> {
        if address.len() > MAX_NAME {
            return Err(AddressError::TooLong { got: address.len() });
        }
        if let Some((at, c)) = address.char_indices().find(|(_, c)| c.is_control()) {
            return Err(AddressError::Control { got: c.into(), at });
        }
        if address == MANAGEMENT {
            return Ok(Self::Management);
        }
        let (kind, name) = match address.split_once("://") {
            Some(("queue", name)) => (Kind::Queue, name),
            Some(("topic", name)) => (Kind::Topic, name),
            Some((scheme, _)) => return Err(AddressError::Scheme { got: scheme.to_owned() }),
            None => (Kind::Any, address),
        };
        let tree = name.strip_suffix(DEAD_LETTER).or_else(|| name.strip_suffix(DEAD_LETTER_QUEUE));
        let plain = tree.unwrap_or(name);
        if plain.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(part) = plain.split('/').find(|part| part.starts_with('$')) {
            return Err(AddressError::Reserved { got: part.to_owned() });
        }
        Ok(match tree {
            Some(queue) => Self::DeadLetter { queue },
            None => Self::Node { name, kind },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_forms_of_an_address_mean() {
        let node = |name, kind| Ok(Address::Node { name, kind });
        assert_eq!(Address::parse("orders"), node("orders", Kind::Any));
        assert_eq!(Address::parse("a/b.c d"), node("a/b.c d", Kind::Any));
        assert_eq!(Address::parse("queue://orders"), node("orders", Kind::Queue));
        assert_eq!(Address::parse("topic://news"), node("news", Kind::Topic));
        for dead in ["orders/$deadletter", "orders/$deadletterqueue", "queue://orders/$deadletter"] {
            assert_eq!(Address::parse(dead), Ok(Address::DeadLetter { queue: "orders" }), "{dead}");
        }
        assert_eq!(Address::parse("$management"), Ok(Address::Management));
    }

    #[test]
    fn what_is_no_address_is_refused_in_words() {
        let text = |a: &str| Address::parse(a).map(|_| ()).map_err(|e| e.to_string());
        for empty in ["", "queue://", "/$deadletter"] {
            assert_eq!(Address::parse(empty), Err(AddressError::Empty), "{empty:?}");
        }
        assert_eq!(
            text(&"x".repeat(MAX_NAME + 1)),
            Err("the address has 1025 bytes, expected at most 1024".to_owned())
        );
        assert!(Address::parse(&"x".repeat(MAX_NAME)).is_ok());
        assert_eq!(
            text("a\nb"),
            Err("the address has the control character U+000A at byte 1, expected none".to_owned())
        );
        assert!(matches!(text("orders/$other"), Err(e) if e.contains("`$other`")));
        assert!(matches!(text("$internal"), Err(e) if e.contains("`$internal`")));
        assert!(matches!(text("http://x"), Err(e) if e.contains("`http://`")));
    }
}
