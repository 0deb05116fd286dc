//! Dead letters on their way out of a broker and into another: LETTER of docs/management.md.
//!
//! Invariant: what `pack` made, `unpack` understands, and nothing of message or history is lost. A letter has one id
//! wherever it goes, so that a file imported twice does not duplicate. Not how it is written into a file (`cli`).

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::House,
    Asked, Found,
    walk::{Walk, Want},
};
use crate::{
    amqp::codec::{self, section, write},
    broker::{Death, DeathReason, EntryState, Filter, Message, Seq},
    management::{ImportedLetter, Reply, Tree},
    store::record,
};

/// The annotation an imported letter keeps its id in.
const ID: &str = "x-opt-letter-id";
/// Letters looked at for one that is there already, at a time.
const STEP: usize = 1000;

/// A letter that came in.
pub struct Parcel {
    /// One wherever the letter goes.
    pub id: String,
    pub message: Message,
    pub state: EntryState,
}

/// A letter's id: the one it came with, else that of the place and time it died at.
fn id_of(queue: &str, seq: Seq, state: &EntryState) -> String {
    let key = id_key();
    let given = state.annotations.0.iter().find(|(name, _)| *name == key).and_then(|(_, value)| {
        match Tree::from_value(codec::decode_value(value).ok()?).ok()? {
            Tree::Text(id) => Some(id),
            _ => None,
        }
    });
    let time = state.death.as_ref().map_or(0, |death| death.time.0);
    given.unwrap_or_else(|| format!("{queue}:{}:{time}", seq.0))
}

fn id_key() -> Box<[u8]> {
    let mut key = Vec::new();
    write::symbol(&mut key, ID);
    key.into()
}

/// LETTER; `None` if it could not be read.
pub fn pack(queue: &str, found: &Found) -> Option<Tree> {
    let (message, state) = (found.message.as_ref()?, found.state.as_ref()?);
    Some(Tree::map([
        ("id", id_of(queue, found.seen.seq, state).into()),
        ("message", Tree::Binary(message.payload().into())),
        ("format", message.format.into()),
        ("durable", message.durable.into()),
        ("priority", message.priority.into()),
        ("first-acquirer", message.first_acquirer.into()),
        ("expires", message.expires.into()),
        ("state", Tree::Binary(record::state_to_bytes(state).into())),
    ]))
}

/// A letter that comes in. One without a state died elsewhere, nobody knows of what.
///
/// # Errors
/// 400 when it is none.
pub fn unpack(letter: ImportedLetter) -> Result<Parcel, Reply> {
    let ImportedLetter { id, message, format, durable, priority, first_acquirer, expires, state } = letter;
    let wrong = |why: String| Reply::bad(format!("letter {id:?}: {why}"));
    if format >> 8 == 0 {
        section::walk(&message).map_err(|error| wrong(format!("its message is none: {error}")))?;
    }
    let state = state.map(|bytes| record::state_from_bytes(&bytes)).transpose();
    let mut state = state.map_err(|error| wrong(error.to_string()))?.unwrap_or_default();
    if state.death.is_none() {
        let origin = id.split(':').next().unwrap_or_default().to_owned();
        state.death = Some(Box::new(Death {
            reason: DeathReason::Policy,
            cause: None,
            time: crate::time::Millis(0),
            attempts: state.delivery_count,
            queue: origin.clone(),
            address: origin.clone(),
            first: (origin, DeathReason::Policy),
        }));
    }
    state.not_before = None;
    state.excluded.clear();
    let mut value = Vec::new();
    write::string(&mut value, &id);
    state.annotations.merge(crate::broker::Annotations(vec![(id_key(), value.into())]));
    let message = Message {
        bytes: message,
        from: 0,
        format,
        durable,
        priority,
        first_acquirer,
        delivery_count: 0,
        expires,
    };
    Ok(Parcel { id, message, state })
}

/// Which of these are in the queue's dead letters already.
///
/// # Errors
/// 503 when the queue does not answer.
pub async fn there_already(
    house: &House,
    asked: &Asked,
    parcels: &[Parcel],
) -> Result<BTreeSet<String>, Reply> {
    let time = |parcel: &Parcel| parcel.state.death.as_ref().map(|death| death.time);
    let times: BTreeSet<_> = parcels.iter().filter_map(time).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Ok(BTreeSet::new()) };
    let filter = Filter { since: Some(*first), until: Some(last.plus_ms(1)), ..Filter::default() };
    let mut walk = Walk::new(asked.clone(), true, filter, Seq(0));
    let mut there = BTreeSet::new();
    while walk.next().is_some() {
        // Died at the same moment: only those may be the same.
        let page = walk.page(house, STEP, Want::default()).await?;
        let alike =
            page.iter().filter(|one| one.seen.letter.as_ref().is_some_and(|l| times.contains(&l.time)));
        let seqs: BTreeSet<u64> = alike.map(|one| one.seen.seq.0).collect();
        let Some(from) = seqs.first().copied() else { continue };
        let only = Filter { sequences: Some(seqs), ..Filter::default() };
        let mut alike = Walk::new(asked.clone(), true, only, Seq(from));
        let read = alike.page(house, STEP, Want { state: true, body: false }).await?;
        let read = read.iter().filter_map(|one| {
            one.state.as_ref().map(|state: &Arc<EntryState>| id_of(&asked.name, one.seen.seq, state))
        });
        there.extend(read);
    }
    Ok(there)
}
