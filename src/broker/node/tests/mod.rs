//! Tests of the node, with a journal in memory standing for the store.

mod accounts;
mod attempts;
mod dead_letters;
mod delivery;
mod duplicates;
mod expiry;
mod filters;
mod groups;
mod limits;
mod lines;
mod looking;
mod management;
mod model;
mod outcomes;
mod paging;
mod policy;
mod replay;
mod rig;
mod states;
mod storm;
mod suspects;
mod tally;
