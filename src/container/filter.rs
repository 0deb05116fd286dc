//! The filters of an attach (parts 3.5.3, 3.5.8): which are in force, and what they want of the queue.
//!
//! Invariant: "the sending endpoint sets the filter actually in place": what is left in the source is in force, as it was
//! written, and all the rest is gone from it. A message must pass all of them.

use std::sync::Arc;

use fe2o3_amqp_types::{
    definitions::{AmqpError, Error},
    messaging::Source,
};
use serde_amqp::{Value, descriptor::Descriptor};

use super::{outcome, view::Lookup};
use crate::{
    broker::{self, EntryState, Message},
    limits,
    selector::Selector,
};

/// The one filter there is, by its symbolic descriptor (registered by the Apache Software Foundation).
const SELECTOR: &str = "apache.org:selector-filter:string";
/// The same by its number.
const SELECTOR_CODE: u64 = 0x0000_468c_0000_0004;

/// A selector and where its names lead.
#[derive(Debug)]
struct Selection {
    text: Box<str>,
    selector: Selector,
    lookup: Lookup,
}

impl broker::Chooser for Selection {
    fn wants(
        &self,
        message: &Message,
        delivery_count: u32,
        acquired_count: u32,
        state: Option<&EntryState>,
    ) -> bool {
        self.selector.matches(&self.lookup.of(message, delivery_count, acquired_count, state))
    }

    fn words(&self) -> String {
        self.text.clone().into()
    }
}

/// All of several.
#[derive(Debug)]
struct All(Vec<Selection>);

impl broker::Chooser for All {
    fn wants(&self, message: &Message, delivered: u32, acquired: u32, state: Option<&EntryState>) -> bool {
        self.0.iter().all(|selection| selection.wants(message, delivered, acquired, state))
    }

    fn words(&self) -> String {
        let each = self.0.iter().map(|selection| format!("({})", selection.text));
        each.collect::<Vec<_>>().join(" AND ")
    }
}

/// What the filters of a source want, and leaves in it those in force.
///
/// # Errors
/// A selector that is none: applying no filter instead would hand out what was not asked for.
pub(super) fn in_force(source: &mut Source) -> Result<Option<Arc<dyn broker::Chooser>>, Error> {
    let mut selections = Vec::new();
    if let Some(filters) = source.filter.take() {
        let mut kept = fe2o3_amqp_types::definitions::Fields::new();
        let mut room = limits::SELECTOR_BYTES;
        for (key, value) in filters {
            let Some(selector) = selector_of(&value) else { continue };
            let selection = match selector {
                Value::String(text) => select(text, &mut room),
                other => Err(format!("got {}, expected a string", kind(other))),
            };
            let refused = |why: String| {
                let key = outcome::cut(key.as_str().to_owned(), limits::IDENTITY_BYTES);
                Error::new(AmqpError::InvalidField, Some(format!("source.filter {key:?}: {why}")), None)
            };
            selections.push(selection.map_err(refused)?);
            kept.insert(key, value);
        }
        // An empty map says no more than none.
        source.filter = Some(kept).filter(|kept| !kept.is_empty());
    }
    Ok(match selections.len() {
        0 => None,
        1 => selections.pop().map(|one| Arc::new(one) as Arc<dyn broker::Chooser>),
        _ => Some(Arc::new(All(selections))),
    })
}

/// The value of a selector filter, whatever its key; none of any other filter.
fn selector_of(filter: &Value) -> Option<&Value> {
    let Value::Described(described) = filter else { return None };
    let is_selector = match &described.descriptor {
        Descriptor::Code(code) => *code == SELECTOR_CODE,
        Descriptor::Name(name) => name.as_str() == SELECTOR,
    };
    is_selector.then_some(&described.value)
}

/// Reads a selector; all of a source's together have the room of one.
fn select(text: &str, room: &mut usize) -> Result<Selection, String> {
    let selector = Selector::parse(text).map_err(|error| format!("not a selector: {error}"))?;
    let left = room.checked_sub(text.len());
    *room =
        left.ok_or_else(|| format!("selectors of more than {} bytes together", limits::SELECTOR_BYTES))?;
    let lookup = Lookup::new(selector.identifiers());
    Ok(Selection { text: text.into(), selector, lookup })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Symbol(_) => "a symbol",
        Value::Described(_) => "a described value",
        _ => "a value of another type",
    }
}
