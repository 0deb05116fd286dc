//! The store against a real disk: what was committed is there after whatever happened.

mod basics;
mod common;
mod faults;
mod ids;
mod model;
mod rebuild;
mod tails;
mod unknown;
