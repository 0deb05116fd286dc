//! Operations on messages one by one: dead letters, replays, and looking into queues.
//!
//! Invariant: a filter that came out of `Filter::read` has valid patterns and bounded lists. What a filter matches is
//! not decided here.

use std::sync::Arc;

use super::{
    arguments::{Arguments, Read, number},
    catalogue,
    reply::Reply,
    tree::Tree,
};
use crate::{
    broker::{DeathReason, Seq},
    limits::{MANAGEMENT_PAGE, MANAGEMENT_SEQUENCES},
    time::Millis,
};

/// Messages of a page unless asked otherwise.
const PAGE: u64 = 50;

/// Which messages: all that is asked for must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Why it died.
    pub reason: Option<DeathReason>,
    /// A glob on the condition.
    pub condition: Option<String>,
    /// A glob found anywhere in the description.
    pub description: Option<String>,
    /// It died then or later.
    pub since: Option<Millis>,
    /// It died before then, or then.
    pub until: Option<Millis>,
    /// So many attempts or more.
    pub min_attempts: Option<u32>,
    /// So many attempts or fewer.
    pub max_attempts: Option<u32>,
    /// A glob on who failed last: container-id/link (user).
    pub consumer: Option<String>,
    /// Found anywhere in the body or the description.
    pub text: Option<String>,
    /// The cause's id.
    pub cause: Option<String>,
    /// One of these.
    pub sequences: Option<Vec<Seq>>,
    /// The queue it died in.
    pub origin: Option<String>,
}

impl Filter {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn read(arguments: &mut Arguments) -> Read<Self> {
        let mut filter = arguments.map("filter", "filter.", catalogue::FILTER)?;
        let reasons = [
            DeathReason::Rejected,
            DeathReason::MaxAttempts,
            DeathReason::Expired,
            DeathReason::Undeliverable,
            DeathReason::Overflow,
            DeathReason::Policy,
        ]
        .map(|reason| (reason.as_str(), reason));
        let attempts = 0..=u64::from(u32::MAX);
        let small = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
        let most = usize::try_from(MANAGEMENT_SEQUENCES).unwrap_or(usize::MAX);
        Ok(Self {
            reason: filter.word("reason", &reasons)?,
            condition: filter.text("condition", "a condition, with * and ? a pattern of some")?,
            description: filter.text("description", "a text, with * and ? a pattern of some")?,
            since: filter.time("since")?,
            until: filter.time("until")?,
            min_attempts: small(filter.number("min-attempts", attempts.clone())?),
            max_attempts: small(filter.number("max-attempts", attempts)?),
            consumer: filter.text("consumer", "container-id/link (user), with * and ? a pattern of some")?,
            text: filter.text("text", "a text")?,
            cause: filter.text("cause", "the id of a cause, as CAUSES gave it")?,
            sequences: filter.list("sequences", most, "whole numbers", |value| number(value).map(Seq))?,
            origin: filter.text("origin", "a queue's name")?,
        })
    }
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The first sequence number to look at.
    pub from: Seq,
    /// Most messages.
    pub count: usize,
    /// Which.
    pub filter: Filter,
    /// With their bodies.
    pub bodies: bool,
}

impl Page {
    pub(super) fn read(arguments: &mut Arguments, with_bodies: bool) -> Read<Self> {
        let from = Seq(arguments.number("from", 0..=u64::MAX)?.unwrap_or(0));
        let count = arguments.number("count", 1..=MANAGEMENT_PAGE)?.unwrap_or(PAGE);
        let filter = Filter::read(arguments)?;
        let bodies = with_bodies && arguments.boolean("bodies", false)?;
        Ok(Self { from, count: usize::try_from(count).unwrap_or(usize::MAX), filter, bodies })
    }
}

/// One message, by one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Its place in the queue.
    Sequence(Seq),
    /// Its message-id, in words.
    MessageId(String),
}

impl Which {
    pub(super) fn read(arguments: &mut Arguments) -> Read<Self> {
        let sequence = arguments.number("sequence", 0..=u64::MAX)?;
        let message_id = arguments.take("message-id", "a message-id", |value| match value {
            Tree::Text(text) => Some(text.clone()),
            Tree::Unsigned(number) => Some(number.to_string()),
            _ => None,
        })?;
        match (sequence, message_id) {
            (Some(sequence), None) => Ok(Self::Sequence(Seq(sequence))),
            (None, Some(id)) => Ok(Self::MessageId(id)),
            (None, None) => Err(Reply::bad("expected sequence or message-id, got neither")),
            (Some(_), Some(_)) => Err(Reply::bad("expected sequence or message-id, got both")),
        }
    }
}

/// What is done with the dead letters of a queue.
#[derive(Debug, Clone, PartialEq)]
pub enum DeadLetter {
    /// `LIST`.
    List(Page),
    /// `SHOW`.
    Show(Which),
    /// `CAUSES`.
    Causes(Filter),
    /// `PURGE`; an empty filter is meant.
    Purge(Filter),
    /// `EXPORT`.
    Export(Page),
    /// `IMPORT`.
    Import(Vec<ImportedLetter>),
    /// `REPLAY`.
    Replay(Replay),
}

/// A replay as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its name, if it has one already.
    pub id: Option<String>,
    /// Which letters.
    pub filter: Filter,
    /// Only count them.
    pub dry_run: bool,
    /// Most letters a second.
    pub rate: Option<u64>,
    /// Most letters.
    pub limit: Option<u64>,
    /// One first, then ten, and no more if one fails again.
    pub canary: bool,
}

/// A letter as `EXPORT` gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedLetter {
    /// Unique: its origin, sequence and time.
    pub id: String,
    /// The message's sections.
    pub message: Arc<[u8]>,
    /// message-format.
    pub format: u32,
    /// header.durable.
    pub durable: bool,
    /// header.priority.
    pub priority: u8,
    /// header.first-acquirer.
    pub first_acquirer: bool,
    /// When it expires.
    pub expires: Option<Millis>,
    /// What the broker knew of it, as it wrote it.
    pub state: Option<Arc<[u8]>>,
}

const LETTER: &[&str] =
    &["id", "message", "format", "durable", "priority", "first-acquirer", "expires", "state"];

impl ImportedLetter {
    fn read(letter: Tree) -> Read<Self> {
        let Tree::Map(pairs) = letter else {
            return Err(Reply::bad(format!("letters holds {}: expected maps only", letter.brief())));
        };
        let mut outer = Arguments::open(&["letter"], vec![("letter".into(), Tree::Map(pairs))])?;
        let mut letter = outer.map("letter", "letters.", LETTER)?;
        let id = letter.text("id", "a letter's id")?.ok_or_else(|| letter.missing("id", "a string"))?;
        let message = letter.binary("message")?.ok_or_else(|| letter.missing("message", "a binary"))?;
        let format = letter.number("format", 0..=u64::from(u32::MAX))?.unwrap_or(0);
        let priority = letter.number("priority", 0..=u64::from(u8::MAX))?.unwrap_or(4);
        Ok(Self {
            id,
            message,
            format: u32::try_from(format).unwrap_or(0),
            durable: letter.boolean("durable", true)?,
            priority: u8::try_from(priority).unwrap_or(4),
            first_acquirer: letter.boolean("first-acquirer", false)?,
            expires: letter.time("expires")?,
            state: letter.binary("state")?,
        })
    }
}

impl DeadLetter {
    /// Reads the arguments of the operation of this name.
    pub(super) fn read(operation: &str, arguments: &mut Arguments) -> Read<Self> {
        Ok(match operation {
            "LIST" => Self::List(Page::read(arguments, true)?),
            "SHOW" => Self::Show(Which::read(arguments)?),
            "CAUSES" => Self::Causes(Filter::read(arguments)?),
            "PURGE" => {
                let (filter, all) = (Filter::read(arguments)?, arguments.boolean("all", false)?);
                if filter.is_empty() != all {
                    let why = "expected a filter that is not empty, or all = true for all dead letters";
                    return Err(Reply::bad(why));
                }
                Self::Purge(filter)
            }
            "EXPORT" => Self::Export(Page::read(arguments, false)?),
            "IMPORT" => {
                let most = usize::try_from(MANAGEMENT_PAGE).unwrap_or(usize::MAX);
                let letters = arguments
                    .list("letters", most, "letters", |letter| Some(letter.clone()))?
                    .ok_or_else(|| arguments.missing("letters", "a list of letters, as EXPORT gave them"))?;
                Self::Import(letters.into_iter().map(ImportedLetter::read).collect::<Read<_>>()?)
            }
            _ => Self::Replay(Replay {
                id: arguments.text("id", "a replay's id")?,
                filter: Filter::read(arguments)?,
                dry_run: arguments.boolean("dry-run", false)?,
                rate: arguments.number("rate", 1..=1_000_000)?,
                limit: arguments.number("limit", 1..=u64::MAX)?,
                canary: arguments.boolean("canary", false)?,
            }),
        })
    }
}
