//! Frames (part 2.3) and the performatives the tests begin with.

use std::ops::Deref;

use crate::value::{Composite, V, decode};

pub const AMQP: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
pub const SASL: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// attach.role and disposition.role (2.8.1).
pub const SENDER: bool = false;
pub const RECEIVER: bool = true;

/// A frame the broker sent.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub channel: u16,
    /// None: an empty frame.
    pub body: Option<Composite>,
    pub payload: Vec<u8>,
    /// Octets of all of it.
    pub size: usize,
}

impl Deref for Frame {
    type Target = Composite;

    fn deref(&self) -> &Composite {
        self.body.as_ref().expect("a frame with a body")
    }
}

impl Frame {
    /// What it is: the performative's name, or `empty`.
    pub fn name(&self) -> &'static str {
        self.body.as_ref().map_or("empty", Composite::name)
    }

    /// Reads one off the front of what the broker sent. Checks that fe2o3 understands it, too.
    pub fn read(bytes: &mut Vec<u8>) -> Option<Self> {
        let size = u32::from_be_bytes(bytes.get(..4)?.try_into().expect("four octets")) as usize;
        assert!(size >= 8, "the broker sent a frame of {size} octets: {bytes:02x?}");
        if bytes.len() < size {
            return None;
        }
        let frame: Vec<u8> = bytes.drain(..size).collect();
        assert_eq!(frame[4], 2, "data offset");
        let kind = frame[5];
        let channel = u16::from_be_bytes([frame[6], frame[7]]);
        let mut rest = &frame[8..];
        if rest.is_empty() {
            return Some(Self { kind, channel, body: None, payload: Vec::new(), size });
        }
        let all = rest;
        let V::Composite(body) = decode(&mut rest) else { panic!("no performative in {frame:02x?}") };
        check_with_fe2o3(&body, &all[..all.len() - rest.len()]);
        Some(Self { kind, channel, body: Some(body), payload: rest.to_vec(), size })
    }
}

fn check_with_fe2o3(body: &Composite, encoded: &[u8]) {
    use fe2o3_amqp_types::{performatives::Performative, sasl};
    let read = match body.code {
        0x10..=0x18 => serde_amqp::from_slice::<Performative>(encoded).map(drop),
        0x40 => serde_amqp::from_slice::<sasl::SaslMechanisms>(encoded).map(drop),
        0x44 => serde_amqp::from_slice::<sasl::SaslOutcome>(encoded).map(drop),
        other => panic!("no performative has code {other:#x}"),
    };
    read.unwrap_or_else(|error| panic!("fe2o3 does not understand {body:?}: {error}"));
}

/// A frame of any type around any bytes.
pub fn raw_frame(kind: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 8).to_be_bytes().to_vec();
    out.extend([2, kind]);
    out.extend(channel.to_be_bytes());
    out.extend(body);
    out
}

/// An AMQP frame.
pub fn frame(channel: u16, body: &Composite) -> Vec<u8> {
    raw_frame(0, channel, &body.encode())
}

/// An AMQP frame with a payload.
pub fn frame_with(channel: u16, body: &Composite, payload: &[u8]) -> Vec<u8> {
    raw_frame(0, channel, &[&body.encode()[..], payload].concat())
}

/// A SASL frame.
pub fn sasl_frame(body: &Composite) -> Vec<u8> {
    raw_frame(1, 0, &body.encode())
}

/// A composite by name, empty.
pub fn new(name: &str) -> Composite {
    Composite::new(name)
}

pub fn open() -> Composite {
    new("open").with("container-id", "peer")
}

pub fn begin() -> Composite {
    new("begin")
        .with("next-outgoing-id", 0_u32)
        .with("incoming-window", 2048_u32)
        .with("outgoing-window", 2048_u32)
}

/// We send.
pub fn attach_sender(name: &str, handle: u32, address: &str) -> Composite {
    new("attach")
        .with("name", name)
        .with("handle", handle)
        .with("role", SENDER)
        .with("source", new("source"))
        .with("target", new("target").with("address", address))
        .with("initial-delivery-count", 0_u32)
}

/// We receive.
pub fn attach_receiver(name: &str, handle: u32, address: &str) -> Composite {
    new("attach")
        .with("name", name)
        .with("handle", handle)
        .with("role", RECEIVER)
        .with("source", new("source").with("address", address))
        .with("target", new("target"))
}

/// An unsettled single transfer of message-format 0.
pub fn transfer(handle: u32, id: u32) -> Composite {
    new("transfer")
        .with("handle", handle)
        .with("delivery-id", id)
        .with("delivery-tag", &id.to_be_bytes()[..])
        .with("message-format", 0_u32)
}

/// A transfer that continues a delivery.
pub fn continuation(handle: u32) -> Composite {
    new("transfer").with("handle", handle)
}

/// A settled disposition of a receiver.
pub fn settle(first: u32, last: u32, state: Composite) -> Composite {
    new("disposition")
        .with("role", RECEIVER)
        .with("first", first)
        .with("last", last)
        .with("settled", true)
        .with("state", state)
}

/// An error.
pub fn error(condition: &str) -> Composite {
    new("error").with("condition", crate::value::symbol(condition))
}

/// A detach that closes.
pub fn detach(handle: u32) -> Composite {
    new("detach").with("handle", handle).with("closed", true)
}

/// A data section.
pub fn data(bytes: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, 0x75][..], &V::from(bytes).encode()].concat()
}
