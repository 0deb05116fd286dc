//! What is asked: one variant for each operation of the catalogue, with validated arguments.
//!
//! Invariant: reading asks for every argument the catalogue has and for no other (a test compares). Does not look at
//! the message around it (`message`).

use super::{
    arguments::{Arguments, Read, number, text},
    catalogue::{self, BROKER, CONNECTION, CONSUMER, DEAD_LETTER, MANAGEMENT, QUEUE, REPLAY},
    letters::{DeadLetter, Page, Which},
    reply::Reply,
    tree::{Key, Tree},
};
use crate::{
    broker::Pattern,
    limits::{self, MANAGEMENT_PAGE},
};

/// Longest time a breaker is held open by hand: 30 days.
const BREAKER_MAX_MS: u64 = 30 * 86_400_000;

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// `QUERY`.
    Query(Query),
    /// `GET-TYPES`, of one type or all.
    GetTypes(Option<String>),
    /// `GET-ATTRIBUTES`.
    GetAttributes(Option<String>),
    /// `GET-OPERATIONS`.
    GetOperations(Option<String>),
    /// `GET-MGMT-NODES`.
    GetNodes,
    /// On the broker.
    Broker(Broker),
    /// On the queue of this name.
    Queue(String, Queue),
    /// `EXPLAIN`: in the queue of this name, or in all.
    Explain(Option<String>, Which),
    /// On the dead letters of the queue of this name.
    DeadLetter(String, Box<DeadLetter>),
    /// `READ` of the replay of this name.
    ReadReplay(String),
    /// `DELETE` of the replay of this name.
    StopReplay(String),
    /// On the connection of this number.
    Connection(u32, Connection),
}

/// Which entities `QUERY` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entities {
    /// Queues.
    Queues,
    /// Connections.
    Connections,
    /// Consumers.
    Consumers,
    /// Replays.
    Replays,
}

/// `QUERY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Of what.
    pub entities: Entities,
    /// Which attributes, in this order; never empty.
    pub attributes: Vec<&'static str>,
    /// Only of queues that match.
    pub queue: Option<Pattern>,
    /// Rows left out.
    pub offset: u64,
    /// Most rows.
    pub count: usize,
}

/// On the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// `READ`.
    Read,
    /// `RELOAD`.
    Reload,
}

/// On a queue.
#[derive(Debug, Clone, PartialEq)]
pub enum Queue {
    /// `CREATE` with these settings, checked by whoever knows them.
    Create(Vec<(Key, Tree)>),
    /// `READ`.
    Read,
    /// `UPDATE` of these settings; null takes one back.
    Update(Vec<(Key, Tree)>),
    /// `DELETE`.
    Delete {
        /// Only if it holds nothing.
        if_empty: bool,
        /// Only if nobody is attached.
        if_unused: bool,
    },
    /// `PURGE`.
    Purge,
    /// `BREAKER`: close it.
    CloseBreaker,
    /// `BREAKER`: open it, for as long.
    OpenBreaker(Option<u64>),
    /// `MESSAGES`.
    Messages(Box<Page>),
}

/// On a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// `READ`.
    Read,
    /// `DELETE`, with words for its peer.
    Delete(Option<String>),
}

/// A request's application properties and body.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub operation: String,
    pub kind: Option<String>,
    pub name: Option<String>,
    pub entity_type: Option<String>,
    pub offset: Option<Tree>,
    pub count: Option<Tree>,
    pub body: Vec<(Key, Tree)>,
}

impl Operation {
    pub(super) fn read(asked: Asked) -> Read<Self> {
        let own = catalogue::find(MANAGEMENT).into_iter().flat_map(|kind| kind.operations);
        let is_own = own.into_iter().any(|operation| operation.name == asked.operation);
        let kind = match asked.kind.as_deref() {
            // The draft's type is the node's; there are clients that name the entity type there.
            _ if is_own => MANAGEMENT,
            Some(kind) => kind,
            None => {
                let known = catalogue::names(|_| true);
                return Err(Reply::bad(format!(
                    "the application property type is missing: expected one of {known}"
                )));
            }
        };
        let Some(kind) = catalogue::find(kind) else {
            let (kind, known) = (Tree::from(kind).brief(), catalogue::names(|_| true));
            return Err(Reply::bad(format!("type = {kind}: expected one of {known}")));
        };
        let Some(row) = kind.operations.iter().find(|operation| operation.name == asked.operation) else {
            let there = kind.operations.iter().map(|operation| operation.name).collect::<Vec<_>>().join(", ");
            let there = if there.is_empty() { "none (QUERY lists them)" } else { &there };
            let got = Tree::from(asked.operation).brief();
            return Err(Reply::not_implemented(format!("operation = {got}: {} has {there}", kind.name)));
        };
        let Asked { name, entity_type, kind: said, offset, count, body, .. } = asked;
        let arguments = &mut Arguments::open(row.arguments, body)?;
        match kind.name {
            MANAGEMENT => {
                let entity_type = entity_type.or(said.filter(|said| said != MANAGEMENT));
                own_operation(row.name, entity_type, (offset, count), arguments)
            }
            BROKER => match name.as_deref() {
                None | Some("self") => Ok(Self::Broker(match row.name {
                    "RELOAD" => Broker::Reload,
                    _ => Broker::Read,
                })),
                Some(other) => {
                    let other = Tree::from(other).brief();
                    Err(Reply::not_found(format!("no broker {other}: expected the name \"self\"")))
                }
            },
            QUEUE => queue_operation(row.name, name, arguments),
            DEAD_LETTER => {
                let name = named(name, "a queue's name")?;
                Ok(Self::DeadLetter(name, Box::new(DeadLetter::read(row.name, arguments)?)))
            }
            REPLAY if row.name == "DELETE" => Ok(Self::StopReplay(named(name, "a replay's id")?)),
            REPLAY => Ok(Self::ReadReplay(named(name, "a replay's id")?)),
            _ => connection_operation(row.name, name, arguments),
        }
    }
}

fn named(name: Option<String>, expected: &str) -> Read<String> {
    match name {
        Some(name) if !name.is_empty() && name.len() <= limits::MAX_NAME => Ok(name),
        Some(name) => Err(Reply::bad(format!(
            "the application property name has {} bytes: expected {expected} of 1 to {}",
            name.len(),
            limits::MAX_NAME
        ))),
        None => Err(Reply::bad(format!("the application property name is missing: expected {expected}"))),
    }
}

fn own_operation(
    operation: &str,
    entity_type: Option<String>,
    (offset, count): (Option<Tree>, Option<Tree>),
    arguments: &mut Arguments,
) -> Read<Operation> {
    if let Some(kind) = entity_type.as_deref().filter(|kind| catalogue::find(kind).is_none()) {
        let (kind, known) = (Tree::from(kind).brief(), catalogue::names(|_| true));
        return Err(Reply::bad(format!("entityType = {kind}: expected one of {known}")));
    }
    match operation {
        "QUERY" => Ok(Operation::Query(query(entity_type, offset, count, arguments)?)),
        "GET-TYPES" => Ok(Operation::GetTypes(entity_type)),
        "GET-ATTRIBUTES" => Ok(Operation::GetAttributes(entity_type)),
        "GET-OPERATIONS" => Ok(Operation::GetOperations(entity_type)),
        _ => Ok(Operation::GetNodes),
    }
}

fn query(
    entity_type: Option<String>,
    offset: Option<Tree>,
    count: Option<Tree>,
    arguments: &mut Arguments,
) -> Read<Query> {
    let listed = || catalogue::names(|kind| kind.listed);
    let Some(kind) = entity_type.as_deref().and_then(catalogue::find).filter(|kind| kind.listed) else {
        let got = entity_type.map_or("missing".to_owned(), |kind| format!("= {}", Tree::from(kind).brief()));
        return Err(Reply::bad(format!(
            "the application property entityType {got}: expected one of {}",
            listed()
        )));
    };
    let entities = match kind.name {
        QUEUE => Entities::Queues,
        CONNECTION => Entities::Connections,
        CONSUMER => Entities::Consumers,
        _ => Entities::Replays,
    };
    let most = kind.attributes.len();
    let mut asked = Vec::new();
    for key in ["attributeNames", "attribute_names"] {
        asked.extend(arguments.list(key, most, "names of attributes", text)?.unwrap_or_default());
    }
    let mut attributes = Vec::with_capacity(asked.len());
    for name in &asked {
        match kind.attributes.iter().find(|known| *known == name) {
            Some(known) if !attributes.contains(known) => attributes.push(*known),
            Some(_) => {
                return Err(Reply::bad(format!("attributeNames has {name:?} twice: expected it once")));
            }
            None => {
                let (name, known) = (Tree::from(&**name).brief(), kind.attributes.join(", "));
                return Err(Reply::bad(format!("attributeNames has {name}: {} has {known}", kind.name)));
            }
        }
    }
    if attributes.is_empty() {
        attributes = kind.attributes.to_vec();
    }
    let queue = arguments.pattern("queue")?;
    if queue.is_some() && !matches!(entities, Entities::Queues | Entities::Consumers) {
        return Err(Reply::bad(format!("queue: expected only with {QUEUE} and {CONSUMER}")));
    }
    let property = |name: &str, value: Option<Tree>, most: u64, default: u64| match value {
        None | Some(Tree::Null) => Ok(default),
        Some(value) => number(&value).filter(|got| *got <= most).ok_or_else(|| {
            let got = value.brief();
            Reply::bad(format!(
                "the application property {name} = {got}: expected a whole number up to {most}"
            ))
        }),
    };
    let offset = property("offset", offset, u64::MAX, 0)?;
    // A larger count is no mistake: the answer says how many rows there are, and how many it has.
    let count = property("count", count, u64::MAX, MANAGEMENT_PAGE)?.min(MANAGEMENT_PAGE);
    Ok(Query { entities, attributes, queue, offset, count: usize::try_from(count).unwrap_or(usize::MAX) })
}

fn queue_operation(operation: &str, name: Option<String>, arguments: &mut Arguments) -> Read<Operation> {
    let expected = "a queue's name";
    if operation == "EXPLAIN" {
        let name = name.map(|name| named(Some(name), expected)).transpose()?;
        return Ok(Operation::Explain(name, Which::read(arguments)?));
    }
    let name = match (operation, name) {
        ("CREATE", None) => arguments.text("name", expected)?,
        (_, name) => name,
    };
    let name = named(name, expected)?;
    let settings = |arguments: &mut Arguments| match arguments.raw("settings") {
        None => Ok(Vec::new()),
        Some(Tree::Map(pairs)) => Ok(pairs),
        Some(other) => Err(arguments.wrong("settings", &other, "a map of settings")),
    };
    let what = match operation {
        "CREATE" => Queue::Create(settings(arguments)?),
        "UPDATE" => Queue::Update(settings(arguments)?),
        "DELETE" => Queue::Delete {
            if_empty: arguments.boolean("if-empty", true)?,
            if_unused: arguments.boolean("if-unused", true)?,
        },
        "PURGE" => Queue::Purge,
        "BREAKER" => breaker(arguments)?,
        "MESSAGES" => Queue::Messages(Box::new(Page::read(arguments, true)?)),
        _ => Queue::Read,
    };
    Ok(Operation::Queue(name, what))
}

fn breaker(arguments: &mut Arguments) -> Read<Queue> {
    let open = arguments.word("state", &[("closed", false), ("open", true)])?;
    let for_ms = arguments.number("for-ms", 1..=BREAKER_MAX_MS)?;
    match (open, for_ms) {
        (Some(true), for_ms) => Ok(Queue::OpenBreaker(for_ms)),
        (Some(false), None) => Ok(Queue::CloseBreaker),
        (Some(false), Some(_)) => Err(Reply::bad("for-ms: expected only with state = \"open\"")),
        (None, _) => Err(arguments.missing("state", "\"closed\" or \"open\"")),
    }
}

fn connection_operation(operation: &str, name: Option<String>, arguments: &mut Arguments) -> Read<Operation> {
    let expected = "a connection's number";
    let name = named(name, expected)?;
    let id = name.parse().map_err(|_| {
        Reply::not_found(format!("no connection {}: expected {expected}", Tree::from(&*name).brief()))
    })?;
    let what = match operation {
        "DELETE" => Connection::Delete(arguments.text("description", "words for the peer")?),
        _ => Connection::Read,
    };
    Ok(Operation::Connection(id, what))
}
