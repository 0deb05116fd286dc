//! The AMQP 1.0 specification as tests: a scripted peer with a codec of its own talks to the engine, or to the
//! broker, over bytes; each test is named after what it shows and quotes what the specification says.
//!
//! Written without looking at the engine. What is tested elsewhere: the codec (unit tests), real clients
//! (`interop-tests`), faults and long runs (`sim`, `durability`).

mod frames;
mod house;
mod names;
mod peer;
mod subject;
mod value;

mod connection;
mod hostile;
mod link;
mod messaging;
mod security;
mod session;
