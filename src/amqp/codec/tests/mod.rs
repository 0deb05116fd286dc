//! Tests of the codec: each pitfall by name, and properties against serde_amqp as the other implementation.

mod against_serde;
mod attach;
mod frame;
mod hostile;
mod performative;
mod scalar;
mod section;
mod state;
mod strategy;
mod validate;

use super::{code, write};

/// A list of encoded fields behind a descriptor, in the long form that our own encoder uses only for long ones.
fn long_list(descriptor: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let elements = fields.concat();
    let mut out = vec![code::DESCRIBED, code::ULONG, 0, 0, 0, 0, 0, 0, 0, descriptor, code::LIST32];
    out.extend_from_slice(&(elements.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(&(fields.len() as u32).to_be_bytes());
    out.extend_from_slice(&elements);
    out
}

/// What `write` appends.
fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn string(text: &str) -> Vec<u8> {
    bytes(|out| write::string(out, text))
}

fn symbol(text: &str) -> Vec<u8> {
    bytes(|out| write::symbol(out, text))
}

fn null() -> Vec<u8> {
    vec![code::NULL]
}
