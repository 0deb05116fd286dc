//! Seeds that once found a bug, run always. Each with what it found.
//!
//! A change of the simulator changes what a seed means: then these are only seeds among others, and
//! the bug's own regression test is at the lowest layer it can be shown in.

/// The list.
pub const REGRESSIONS: &[u64] = &[];
