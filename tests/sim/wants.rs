//! What some consumers want: a selector, and the same judged by hand on what they got.
//!
//! Invariant: `has` reads what came over the wire, so it is independent of the selector's evaluation. Deliberately few:
//! what counts is that some change for a message while it is queued (and so must be judged again) and some do not.

use crate::body::Got;

/// Which messages a consumer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Those of high priority.
    Important,
    /// Those nobody had before.
    New,
    /// Those somebody gave back an odd number of times.
    Odd,
    /// Those that failed, or died.
    Failed,
}

impl Wants {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Important, Self::New, Self::Odd, Self::Failed];

    /// As the broker is told.
    pub fn selector(self) -> &'static str {
        match self {
            Self::Important => "JMSPriority BETWEEN 5 AND 255",
            Self::New => "x-opt-acquired-count IS NULL",
            Self::Odd => "x-opt-acquired-count - x-opt-acquired-count / 2 * 2 = 1",
            Self::Failed => "JMSRedelivered OR m.x-opt-dl-reason IN ('rejected', 'expired')",
        }
    }

    /// Whether a message is one of them.
    pub fn has(self, got: &Got) -> bool {
        match self {
            Self::Important => got.priority >= 5,
            Self::New => got.acquired_count == 0,
            Self::Odd => got.acquired_count % 2 == 1,
            Self::Failed => {
                got.delivery_count > 0 || matches!(got.dead_reason.as_deref(), Some("rejected" | "expired"))
            }
        }
    }
}
