//! Verdict: a durable AMQP 1.0 broker. The layers and who may import whom: `ARCHITECTURE.md`.
#![forbid(unsafe_code)]

pub mod amqp;
pub mod broker;
pub mod limits;
pub mod store;
pub mod time;
