//! Going through the messages of a queue that match a filter, a page at a time.
//!
//! Invariant: what is found matches, as far as it could be read; each message is found at most once, in order. Reads
//! states and bodies from the store only where the filter or the asker needs them, away from the runtime's threads.

use std::sync::Arc;

use tracing::warn;

use super::{super::House, Asked};
use crate::{
    amqp::codec::section::{self, PropertyField},
    broker::{EntryState, Filter, Judged, Message, Seen, Seq},
    management::Reply,
    server::queue::{LookAt, ToQueue},
    store::Store,
};

/// Messages judged at a time when their states have to be read.
const JUDGED: usize = 1024;

/// A message that matches.
pub struct Found {
    /// As it is now.
    pub seen: Seen,
    /// Its state, where there is one and it was wanted and read.
    pub state: Option<Arc<EntryState>>,
    /// The message, where it was wanted and could be read.
    pub message: Option<Arc<Message>>,
}

/// What is to be read of those that match.
#[derive(Debug, Clone, Copy, Default)]
pub struct Want {
    pub state: bool,
    pub body: bool,
}

/// Where we are.
pub struct Walk {
    asked: Asked,
    dead_letter: bool,
    filter: Arc<Filter>,
    next: Option<Seq>,
}

impl Walk {
    pub fn new(asked: Asked, dead_letter: bool, filter: Filter, from: Seq) -> Self {
        Self { asked, dead_letter, filter: Arc::new(filter), next: Some(from) }
    }

    /// Where the next page begins; `None`: that was all.
    pub fn next(&self) -> Option<Seq> {
        self.next
    }

    /// The next messages that match, `limit` at the most.
    ///
    /// # Errors
    /// 503 when the queue does not answer.
    pub async fn page(&mut self, house: &House, limit: usize, want: Want) -> Result<Vec<Found>, Reply> {
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(from) = self.next
        {
            let limit = (limit - found.len()).min(JUDGED);
            let look = LookAt { dead_letter: self.dead_letter, from, limit, filter: self.filter.clone() };
            let page = self.asked.ask(|reply| ToQueue::Look(look, reply)).await?;
            self.next = page.next;
            found.extend(self.read(house, page.seen, want).await?);
        }
        Ok(found)
    }

    async fn read(&self, house: &House, seen: Vec<Seen>, want: Want) -> Result<Vec<Found>, Reply> {
        let id = self.asked.queue.id.main();
        let queue = if self.dead_letter { id.dead_letter() } else { id };
        let (store, filter) = (house.store.clone(), self.filter.clone());
        let name = self.asked.name.clone();
        let read = tokio::task::spawn_blocking(move || {
            let judge = |seen: &Seen| seen.judged == Judged::Maybe;
            let needs_text = filter.text.is_some();
            let states = read_states(&*store, queue, &seen, |one| want.state || judge(one));
            let bodies = read_bodies(&*store, &seen, |one| want.body || (needs_text && judge(one)));
            let all = seen.into_iter().zip(states).zip(bodies);
            all.filter_map(|((seen, state), message)| {
                let (state, message) = (told(&name, &seen, state), told(&name, &seen, message));
                if seen.judged == Judged::Maybe {
                    let bytes = message.as_ref().map_or(&[][..], |message| message.payload());
                    let nothing = EntryState::default();
                    if !filter.fits_state(seen.seq.0, state.as_deref().unwrap_or(&nothing), bytes) {
                        return None;
                    }
                }
                Some(Found { seen, state, message })
            })
            .collect()
        });
        read.await.map_err(|_| Reply::unavailable("reading died; the broker's log says more"))
    }
}

type ReadResult<T> = Result<Option<Arc<T>>, crate::store::StoreError>;

/// What was read; that it could not be is told in the log.
fn told<T>(name: &str, seen: &Seen, read: ReadResult<T>) -> Option<Arc<T>> {
    read.unwrap_or_else(|why| {
        warn!("queue {name:?}: message {} cannot be read for a look at it: {why}", seen.seq.0);
        None
    })
}

fn read_states(
    store: &dyn Store,
    queue: crate::broker::QueueId,
    seen: &[Seen],
    wanted: impl Fn(&Seen) -> bool,
) -> Vec<ReadResult<EntryState>> {
    let asked = |one: &&Seen| one.state_paged && wanted(one);
    let seqs: Vec<Seq> = seen.iter().filter(asked).map(|one| one.seq).collect();
    let mut read = if seqs.is_empty() { Vec::new() } else { store.read_states(queue, &seqs) }.into_iter();
    let state = |one: &Seen| {
        if !asked(&one) {
            return Ok(one.state.clone());
        }
        let mut state = read.next().unwrap_or(Ok(None))?;
        if let Some(state) = &mut state {
            let state = Arc::make_mut(state);
            (state.delivery_count, state.acquired_count) = (one.delivery_count, one.acquired_count);
        }
        Ok(state)
    };
    seen.iter().map(state).collect()
}

fn read_bodies(store: &dyn Store, seen: &[Seen], wanted: impl Fn(&Seen) -> bool) -> Vec<ReadResult<Message>> {
    let location = |one: &Seen| one.location.filter(|_| one.message.is_none() && wanted(one));
    let locations: Vec<_> = seen.iter().filter_map(location).collect();
    let mut read = if locations.is_empty() { Vec::new() } else { store.read(&locations) }.into_iter();
    let body = |one: &Seen| match location(one) {
        Some(_) => read.next().map_or(Ok(None), |read| read.map(Some)),
        None => Ok(one.message.clone()),
    };
    seen.iter().map(body).collect()
}

/// One message, whole.
///
/// # Errors
/// 503 when the queue does not answer.
pub async fn one(house: &House, asked: &Asked, dead_letter: bool, seq: Seq) -> Result<Option<Found>, Reply> {
    let only = Filter { sequences: Some([seq.0].into()), ..Filter::default() };
    let mut walk = Walk::new(asked.clone(), dead_letter, only, seq);
    let seen = asked.ask(|reply| ToQueue::Explain(dead_letter, seq, reply)).await?;
    let Some((seen, _)) = seen else { return Ok(None) };
    walk.next = None;
    Ok(walk.read(house, vec![seen], Want { state: true, body: true }).await?.into_iter().next())
}

/// The messages with this message-id, whatever its type. All messages have to be read for it.
///
/// # Errors
/// 503 when the queue does not answer.
pub async fn by_message_id(
    house: &House,
    asked: &Asked,
    dead_letter: bool,
    id: &str,
) -> Result<Vec<Found>, Reply> {
    let mut walk = Walk::new(asked.clone(), dead_letter, Filter::default(), Seq(0));
    let mut found = Vec::new();
    while walk.next().is_some() {
        let page = walk.page(house, JUDGED, Want { state: false, body: true }).await?;
        found.extend(page.into_iter().filter(|one| message_id(one).is_some_and(|its| its == id)));
    }
    let mut whole = Vec::with_capacity(found.len());
    for one in found {
        whole.extend(self::one(house, asked, dead_letter, one.seen.seq).await?);
    }
    Ok(whole)
}

/// A message's message-id, in words.
pub fn message_id(found: &Found) -> Option<String> {
    let payload = found.message.as_ref()?.payload();
    let properties = section::walk(payload).ok()?.properties?;
    section::property_display(payload.get(properties)?, PropertyField::MessageId)
}
