//! Part 3: message sections, outcomes and what nodes do with them, sources and targets.

mod format;
mod outcomes;
mod source;
mod target;
