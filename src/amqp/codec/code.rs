//! Format codes (part 1.6) and descriptors (parts 2, 3, 4, 5), by name.
//!
//! Invariant: numbers of the specification are written here and nowhere else.

#![allow(missing_docs)]

pub const DESCRIBED: u8 = 0x00;
pub const NULL: u8 = 0x40;
pub const TRUE: u8 = 0x41;
pub const FALSE: u8 = 0x42;
pub const UINT0: u8 = 0x43;
pub const ULONG0: u8 = 0x44;
pub const LIST0: u8 = 0x45;
pub const UBYTE: u8 = 0x50;
pub const BYTE: u8 = 0x51;
pub const SMALL_UINT: u8 = 0x52;
pub const SMALL_ULONG: u8 = 0x53;
pub const SMALL_INT: u8 = 0x54;
pub const SMALL_LONG: u8 = 0x55;
pub const BOOLEAN: u8 = 0x56;
pub const USHORT: u8 = 0x60;
pub const SHORT: u8 = 0x61;
pub const UINT: u8 = 0x70;
pub const INT: u8 = 0x71;
pub const FLOAT: u8 = 0x72;
pub const CHAR: u8 = 0x73;
pub const DECIMAL32: u8 = 0x74;
pub const ULONG: u8 = 0x80;
pub const LONG: u8 = 0x81;
pub const DOUBLE: u8 = 0x82;
pub const TIMESTAMP: u8 = 0x83;
pub const DECIMAL64: u8 = 0x84;
pub const DECIMAL128: u8 = 0x94;
pub const UUID: u8 = 0x98;
pub const BINARY8: u8 = 0xa0;
pub const STRING8: u8 = 0xa1;
pub const SYMBOL8: u8 = 0xa3;
pub const BINARY32: u8 = 0xb0;
pub const STRING32: u8 = 0xb1;
pub const SYMBOL32: u8 = 0xb3;
pub const LIST8: u8 = 0xc0;
pub const MAP8: u8 = 0xc1;
pub const LIST32: u8 = 0xd0;
pub const MAP32: u8 = 0xd1;
pub const ARRAY8: u8 = 0xe0;
pub const ARRAY32: u8 = 0xf0;

/// Descriptors, all of which fit a byte.
pub mod descriptor {
    pub const OPEN: u8 = 0x10;
    pub const BEGIN: u8 = 0x11;
    pub const ATTACH: u8 = 0x12;
    pub const FLOW: u8 = 0x13;
    pub const TRANSFER: u8 = 0x14;
    pub const DISPOSITION: u8 = 0x15;
    pub const DETACH: u8 = 0x16;
    pub const END: u8 = 0x17;
    pub const CLOSE: u8 = 0x18;
    pub const ERROR: u8 = 0x1d;
    pub const RECEIVED: u8 = 0x23;
    pub const ACCEPTED: u8 = 0x24;
    pub const REJECTED: u8 = 0x25;
    pub const RELEASED: u8 = 0x26;
    pub const MODIFIED: u8 = 0x27;
    pub const SOURCE: u8 = 0x28;
    pub const TARGET: u8 = 0x29;
    pub const DELETE_ON_CLOSE: u8 = 0x2b;
    pub const DELETE_ON_NO_LINKS: u8 = 0x2c;
    pub const DELETE_ON_NO_MESSAGES: u8 = 0x2d;
    pub const DELETE_ON_NO_LINKS_OR_MESSAGES: u8 = 0x2e;
    pub const COORDINATOR: u8 = 0x30;
    pub const DECLARED: u8 = 0x33;
    pub const TRANSACTIONAL_STATE: u8 = 0x34;
    pub const SASL_MECHANISMS: u8 = 0x40;
    pub const SASL_INIT: u8 = 0x41;
    pub const SASL_CHALLENGE: u8 = 0x42;
    pub const SASL_RESPONSE: u8 = 0x43;
    pub const SASL_OUTCOME: u8 = 0x44;
    pub const HEADER: u8 = 0x70;
    pub const DELIVERY_ANNOTATIONS: u8 = 0x71;
    pub const MESSAGE_ANNOTATIONS: u8 = 0x72;
    pub const PROPERTIES: u8 = 0x73;
    pub const APPLICATION_PROPERTIES: u8 = 0x74;
    pub const DATA: u8 = 0x75;
    pub const AMQP_SEQUENCE: u8 = 0x76;
    pub const AMQP_VALUE: u8 = 0x77;
    pub const FOOTER: u8 = 0x78;

    /// Symbolic descriptors and their numeric twins.
    const NAMES: &[(&str, u8)] = &[
        ("amqp:open:list", OPEN),
        ("amqp:begin:list", BEGIN),
        ("amqp:attach:list", ATTACH),
        ("amqp:flow:list", FLOW),
        ("amqp:transfer:list", TRANSFER),
        ("amqp:disposition:list", DISPOSITION),
        ("amqp:detach:list", DETACH),
        ("amqp:end:list", END),
        ("amqp:close:list", CLOSE),
        ("amqp:error:list", ERROR),
        ("amqp:received:list", RECEIVED),
        ("amqp:accepted:list", ACCEPTED),
        ("amqp:rejected:list", REJECTED),
        ("amqp:released:list", RELEASED),
        ("amqp:modified:list", MODIFIED),
        ("amqp:source:list", SOURCE),
        ("amqp:target:list", TARGET),
        ("amqp:delete-on-close:list", DELETE_ON_CLOSE),
        ("amqp:delete-on-no-links:list", DELETE_ON_NO_LINKS),
        ("amqp:delete-on-no-messages:list", DELETE_ON_NO_MESSAGES),
        ("amqp:delete-on-no-links-or-messages:list", DELETE_ON_NO_LINKS_OR_MESSAGES),
        ("amqp:coordinator:list", COORDINATOR),
        ("amqp:declared:list", DECLARED),
        ("amqp:transactional-state:list", TRANSACTIONAL_STATE),
        ("amqp:sasl-mechanisms:list", SASL_MECHANISMS),
        ("amqp:sasl-init:list", SASL_INIT),
        ("amqp:sasl-challenge:list", SASL_CHALLENGE),
        ("amqp:sasl-response:list", SASL_RESPONSE),
        ("amqp:sasl-outcome:list", SASL_OUTCOME),
        ("amqp:header:list", HEADER),
        ("amqp:delivery-annotations:map", DELIVERY_ANNOTATIONS),
        ("amqp:message-annotations:map", MESSAGE_ANNOTATIONS),
        ("amqp:properties:list", PROPERTIES),
        ("amqp:application-properties:map", APPLICATION_PROPERTIES),
        ("amqp:data:binary", DATA),
        ("amqp:amqp-sequence:list", AMQP_SEQUENCE),
        ("amqp:amqp-value:*", AMQP_VALUE),
        ("amqp:footer:map", FOOTER),
    ];

    /// The numeric twin of a symbolic descriptor.
    pub fn by_name(name: &[u8]) -> Option<u8> {
        NAMES.iter().find(|(n, _)| n.as_bytes() == name).map(|&(_, code)| code)
    }
}
