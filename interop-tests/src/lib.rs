//! Black-box tests of the `verdict` binary with clients of other houses.
//!
//! Responsibility: what such tests share, that is a broker process and a thin layer over the fe2o3-amqp
//! client. Invariant: nothing here or in the tests depends on the `verdict` library. `proton/` next door
//! holds the tests with python-qpid-proton, `frames/` what each client library sends; `scripts/interop` runs all.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod broker;
mod client;

pub use broker::Broker;
pub use client::{Client, Letter, marks, number, soon, symbol};
