//! The table of what can be managed: types, their attributes, their operations and the arguments of these.
//!
//! Invariant: an operation that is not here cannot be asked for, an argument that is not here is refused, and an
//! attribute that is not here is not answered; `GET-TYPES` and its like answer out of this.

use super::tree::{Key, Tree};

/// The management node's own type.
pub const MANAGEMENT: &str = "org.amqp.management";
/// The broker.
pub const BROKER: &str = "verdict.broker";
/// Queues.
pub const QUEUE: &str = "verdict.queue";
/// The dead letters of a queue.
pub const DEAD_LETTER: &str = "verdict.dead-letter";
/// Replays of dead letters.
pub const REPLAY: &str = "verdict.replay";
/// Connections.
pub const CONNECTION: &str = "verdict.connection";
/// Consumers.
pub const CONSUMER: &str = "verdict.consumer";

/// Keys of a filter of messages.
pub const FILTER: &[&str] = &[
    "reason",
    "condition",
    "description",
    "since",
    "until",
    "min-attempts",
    "max-attempts",
    "consumer",
    "text",
    "cause",
    "sequences",
    "origin",
];

/// A manageable entity type.
#[derive(Debug)]
pub struct Type {
    /// Its name.
    pub name: &'static str,
    /// What is answered about one of its kind.
    pub attributes: &'static [&'static str],
    /// What can be done.
    pub operations: &'static [Operation],
    /// Whether `QUERY` lists them.
    pub listed: bool,
}

/// An operation of a type.
#[derive(Debug)]
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// Keys its body may have.
    pub arguments: &'static [&'static str],
}

const fn operation(name: &'static str, arguments: &'static [&'static str]) -> Operation {
    Operation { name, arguments }
}

/// All there are.
pub const TYPES: &[Type] = &[
    Type {
        name: MANAGEMENT,
        attributes: &["name", "type"],
        operations: &[
            // The second is how fe2o3-amqp-management spells the first.
            operation("QUERY", &["attributeNames", "attribute_names", "queue"]),
            operation("GET-TYPES", &[]),
            operation("GET-ATTRIBUTES", &[]),
            operation("GET-OPERATIONS", &[]),
            operation("GET-MGMT-NODES", &[]),
        ],
        listed: false,
    },
    Type {
        name: BROKER,
        attributes: &[
            "version",
            "container-id",
            "uptime-ms",
            "queues",
            "connections",
            "messages",
            "dead-letters",
            "disk-bytes",
            "ready",
            "unready-reason",
            "log-level",
        ],
        operations: &[operation("READ", &[]), operation("RELOAD", &[])],
        listed: false,
    },
    Type {
        name: QUEUE,
        attributes: &[
            "name",
            "dynamic",
            "ready",
            "acquired",
            "delayed",
            "held",
            "moving",
            "bytes",
            "dead",
            "dead-bytes",
            "consumers",
            "publishers",
            "oldest-age-ms",
            "published",
            "refused",
            "delivered",
            "redelivered",
            "accepted",
            "failed",
            "rejected",
            "released",
            "modified",
            "expired",
            "dead-lettered",
            "duplicates",
            "breaker",
            "breaker-until",
            "settings",
            "configured",
        ],
        operations: &[
            // fe2o3-amqp-management has no other place for the name of what it creates.
            operation("CREATE", &["settings", "name"]),
            operation("READ", &[]),
            operation("UPDATE", &["settings"]),
            operation("DELETE", &["if-empty", "if-unused"]),
            operation("PURGE", &[]),
            operation("BREAKER", &["state", "for-ms"]),
            operation("MESSAGES", &["from", "count", "filter", "bodies"]),
            operation("EXPLAIN", &["sequence", "message-id"]),
        ],
        listed: true,
    },
    Type {
        name: DEAD_LETTER,
        attributes: &[],
        operations: &[
            operation("LIST", &["from", "count", "filter", "bodies"]),
            operation("SHOW", &["sequence", "message-id"]),
            operation("CAUSES", &["filter"]),
            operation("PURGE", &["filter", "all"]),
            operation("EXPORT", &["from", "count", "filter"]),
            operation("IMPORT", &["letters"]),
            operation("REPLAY", &["id", "filter", "dry-run", "rate", "limit", "canary"]),
        ],
        listed: false,
    },
    Type {
        name: REPLAY,
        attributes: &[
            "id",
            "queue",
            "state",
            "matching",
            "replayed",
            "skipped",
            "started",
            "finished",
            "rate",
            "canary",
            "failed-again",
            "error",
        ],
        operations: &[operation("READ", &[]), operation("DELETE", &[])],
        listed: true,
    },
    Type {
        name: CONNECTION,
        attributes: &[
            "id",
            "address",
            "container-id",
            "user",
            "product",
            "opened",
            "publishers",
            "consumers",
        ],
        operations: &[operation("READ", &[]), operation("DELETE", &["description"])],
        listed: true,
    },
    Type {
        name: CONSUMER,
        attributes: &[
            "connection",
            "link",
            "queue",
            "dead-letter",
            "container-id",
            "user",
            "credit",
            "unsettled",
            "browse",
            "filter",
            "delivered",
            "suspect-alone",
        ],
        operations: &[],
        listed: true,
    },
];

/// The type of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|kind| kind.name == name)
}

/// Names of types, for errors.
pub(super) fn names(wanted: impl Fn(&Type) -> bool) -> String {
    TYPES.iter().filter(|kind| wanted(kind)).map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

/// `GET-TYPES`: each with the types it extends, of which there are none.
#[must_use]
pub fn types(only: Option<&str>) -> Tree {
    each(only, |_| Tree::List(Vec::new()))
}

/// `GET-ATTRIBUTES`.
#[must_use]
pub fn attributes(only: Option<&str>) -> Tree {
    each(only, |kind| Tree::list(kind.attributes.iter().copied()))
}

/// `GET-OPERATIONS`: each operation with its arguments.
#[must_use]
pub fn operations(only: Option<&str>) -> Tree {
    each(only, |kind| {
        let pair = |operation: &Operation| {
            (Key::Borrowed(operation.name), Tree::list(operation.arguments.iter().copied()))
        };
        Tree::Map(kind.operations.iter().map(pair).collect())
    })
}

fn each(only: Option<&str>, make: impl Fn(&Type) -> Tree) -> Tree {
    let wanted = TYPES.iter().filter(|kind| only.is_none_or(|only| only == kind.name));
    Tree::Map(wanted.map(|kind| (Key::Borrowed(kind.name), make(kind))).collect())
}
