//! Which messages a consumer wants, as the queue sees it: a question it can ask.
//!
//! Invariant: the answer depends on the arguments alone, so a message is asked about again only when something about it
//! has changed. What a filter looks at inside a message is the business of whoever made it.

use super::{EntryState, Message};

/// Which messages a consumer wants.
pub trait Chooser: std::fmt::Debug + Send + Sync {
    /// Whether it wants this one, as it would be delivered with these counts and this state.
    fn wants(
        &self,
        message: &Message,
        delivery_count: u32,
        acquired_count: u32,
        state: Option<&EntryState>,
    ) -> bool;

    /// What it wants, in its consumer's words.
    fn words(&self) -> String;
}
