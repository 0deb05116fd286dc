//! Verdict: a durable AMQP 1.0 broker. The layers and who may import whom: `ARCHITECTURE.md`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod amqp;
pub mod auth;
pub mod broker;
#[cfg(feature = "server")]
pub mod cli;
pub mod config;
pub mod container;
pub mod limits;
pub mod management;
pub mod selector;
#[cfg(feature = "server")]
pub mod server;
pub mod store;
pub mod time;
