//! Why a text is no selector.
//!
//! Invariant: says where (in characters, the first is 1), what came and what was expected; never more of a peer's text
//! than helps.

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: got {got}, expected {expected}")]
pub struct SelectorError {
    /// The character it is about, counted from 1.
    pub at: usize,
    /// What is there.
    pub got: String,
    /// What should be.
    pub expected: String,
}

impl SelectorError {
    /// An error at a byte of the text.
    pub(super) fn new(text: &str, byte: usize, got: impl Into<String>, expected: impl Into<String>) -> Self {
        let at = text.char_indices().take_while(|(index, _)| *index < byte).count() + 1;
        Self { at, got: got.into(), expected: expected.into() }
    }
}

/// A piece of the text as it is told, in quotes and not at any length.
pub(super) fn excerpt(text: &str) -> String {
    const KEPT: usize = 32;
    match text.char_indices().nth(KEPT) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
