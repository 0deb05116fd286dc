//! The specification's composite types: code, descriptor and field names (parts 2.7, 2.8.14, 3.2, 3.4, 3.5, 5.3.3).

type Row = (u64, &'static str, &'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    (
        0x10,
        "open",
        "amqp:open:list",
        &[
            "container-id",
            "hostname",
            "max-frame-size",
            "channel-max",
            "idle-time-out",
            "outgoing-locales",
            "incoming-locales",
            "offered-capabilities",
            "desired-capabilities",
            "properties",
        ],
    ),
    (
        0x11,
        "begin",
        "amqp:begin:list",
        &[
            "remote-channel",
            "next-outgoing-id",
            "incoming-window",
            "outgoing-window",
            "handle-max",
            "offered-capabilities",
            "desired-capabilities",
            "properties",
        ],
    ),
    (
        0x12,
        "attach",
        "amqp:attach:list",
        &[
            "name",
            "handle",
            "role",
            "snd-settle-mode",
            "rcv-settle-mode",
            "source",
            "target",
            "unsettled",
            "incomplete-unsettled",
            "initial-delivery-count",
            "max-message-size",
            "offered-capabilities",
            "desired-capabilities",
            "properties",
        ],
    ),
    (
        0x13,
        "flow",
        "amqp:flow:list",
        &[
            "next-incoming-id",
            "incoming-window",
            "next-outgoing-id",
            "outgoing-window",
            "handle",
            "delivery-count",
            "link-credit",
            "available",
            "drain",
            "echo",
            "properties",
        ],
    ),
    (
        0x14,
        "transfer",
        "amqp:transfer:list",
        &[
            "handle",
            "delivery-id",
            "delivery-tag",
            "message-format",
            "settled",
            "more",
            "rcv-settle-mode",
            "state",
            "resume",
            "aborted",
            "batchable",
        ],
    ),
    (
        0x15,
        "disposition",
        "amqp:disposition:list",
        &["role", "first", "last", "settled", "state", "batchable"],
    ),
    (0x16, "detach", "amqp:detach:list", &["handle", "closed", "error"]),
    (0x17, "end", "amqp:end:list", &["error"]),
    (0x18, "close", "amqp:close:list", &["error"]),
    (0x1d, "error", "amqp:error:list", &["condition", "description", "info"]),
    (0x23, "received", "amqp:received:list", &["section-number", "section-offset"]),
    (0x24, "accepted", "amqp:accepted:list", &[]),
    (0x25, "rejected", "amqp:rejected:list", &["error"]),
    (0x26, "released", "amqp:released:list", &[]),
    (
        0x27,
        "modified",
        "amqp:modified:list",
        &["delivery-failed", "undeliverable-here", "message-annotations"],
    ),
    (
        0x28,
        "source",
        "amqp:source:list",
        &[
            "address",
            "durable",
            "expiry-policy",
            "timeout",
            "dynamic",
            "dynamic-node-properties",
            "distribution-mode",
            "filter",
            "default-outcome",
            "outcomes",
            "capabilities",
        ],
    ),
    (
        0x29,
        "target",
        "amqp:target:list",
        &[
            "address",
            "durable",
            "expiry-policy",
            "timeout",
            "dynamic",
            "dynamic-node-properties",
            "capabilities",
        ],
    ),
    (0x2b, "delete-on-close", "amqp:delete-on-close:list", &[]),
    (0x2c, "delete-on-no-links", "amqp:delete-on-no-links:list", &[]),
    (0x40, "sasl-mechanisms", "amqp:sasl-mechanisms:list", &["sasl-server-mechanisms"]),
    (0x41, "sasl-init", "amqp:sasl-init:list", &["mechanism", "initial-response", "hostname"]),
    (0x42, "sasl-challenge", "amqp:sasl-challenge:list", &["challenge"]),
    (0x43, "sasl-response", "amqp:sasl-response:list", &["response"]),
    (0x44, "sasl-outcome", "amqp:sasl-outcome:list", &["code", "additional-data"]),
    (0x70, "header", "amqp:header:list", &["durable", "priority", "ttl", "first-acquirer", "delivery-count"]),
    (
        0x73,
        "properties",
        "amqp:properties:list",
        &[
            "message-id",
            "user-id",
            "to",
            "subject",
            "reply-to",
            "correlation-id",
            "content-type",
            "content-encoding",
            "absolute-expiry-time",
            "creation-time",
            "group-id",
            "group-sequence",
            "reply-to-group-id",
        ],
    ),
];

/// Whether it is a type of the specification.
pub fn is_known(code: u64) -> bool {
    TABLE.iter().any(|row| row.0 == code)
}

/// Name and fields of a code.
pub fn fields_of(code: u64) -> (&'static str, &'static [&'static str]) {
    TABLE.iter().find(|row| row.0 == code).map_or(("unknown", &[]), |row| (row.1, row.3))
}

/// The code of a name.
pub fn code_of(name: &str) -> u64 {
    TABLE.iter().find(|row| row.1 == name).map(|row| row.0).unwrap_or_else(|| panic!("no type {name}"))
}

/// The code of a symbolic descriptor.
pub fn code_of_descriptor(name: &str) -> Option<u64> {
    TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
}
