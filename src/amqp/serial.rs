//! Serial numbers (RFC 1982, used by AMQP part 2.8.10 `sequence-no`): 32-bit counters that wrap.
//!
//! Invariant: comparison is right as long as the two numbers are less than 2^31 apart. Deliberately no
//! `Ord`: serial numbers have no total order.

use std::fmt;

/// A transfer-id, delivery-id or delivery-count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Serial(pub u32);

impl Serial {
    /// This number `n` steps on.
    pub fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The number after this one.
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// Steps from `earlier` to this number, going forward.
    pub fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this number comes before `other`: `other` is 1 to 2^31 - 1 steps ahead.
    pub fn is_before(self, other: Self) -> bool {
        let ahead = other.since(self);
        ahead != 0 && ahead < 1 << 31
    }

    /// Steps from `earlier` to this number, 0 where `earlier` is not earlier.
    pub fn saturating_since(self, earlier: Self) -> u32 {
        if earlier.is_before(self) { self.since(earlier) } else { 0 }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Serial;

    #[test]
    fn order_holds_across_the_wrap() {
        assert!(Serial(u32::MAX).is_before(Serial(0)));
        assert!(!Serial(0).is_before(Serial(u32::MAX)));
        assert_eq!(Serial(2).since(Serial(u32::MAX)), 3);
        assert_eq!(Serial(u32::MAX).saturating_since(Serial(2)), 0);
    }

    proptest! {
        #[test]
        fn a_number_is_before_every_number_less_than_half_the_circle_ahead(a: u32, n in 1u32..1 << 31) {
            prop_assert!(Serial(a).is_before(Serial(a).plus(n)));
            prop_assert!(!Serial(a).plus(n).is_before(Serial(a)));
            prop_assert_eq!(Serial(a).plus(n).since(Serial(a)), n);
        }
    }
}
