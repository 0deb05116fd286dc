//! Operations on single messages: looking into queues, explaining, dead letters.
//!
//! Invariant: looking changes nothing, and costs a queue's task no more than a page at a time. What matches a filter is
//! what `walk` finds; replays run on by themselves (`replay`). The arguments come validated.

mod explain;
mod parcel;
mod shown;
mod walk;

use std::sync::Arc;

pub use explain::explain;
pub use walk::{Found, Walk, Want};

use super::{House, Replays, deadline, no_queue, unanswered};
use crate::{
    broker::{Filter, Seq},
    management::{self, DeadLetter, ImportedLetter, Page, Reply, Tree, Which},
    server::{ask, queue::ToQueue, registry::Named},
};

/// Letters removed or taken in at a time.
const STEP: usize = 1000;
/// Bytes of messages in one page of an export.
const EXPORT_BYTES: usize = 4 * 1024 * 1024;

/// A queue to be asked, with its name.
#[derive(Clone)]
pub struct Asked {
    pub name: String,
    pub queue: Named,
}

impl Asked {
    /// # Errors
    /// 404.
    pub fn find(house: &House, name: &str) -> Result<Self, Reply> {
        let queue = house.registry.named(name).ok_or_else(|| no_queue(name))?;
        Ok(Self { name: name.to_owned(), queue })
    }

    /// Puts a question to it.
    ///
    /// # Errors
    /// 503 when there is no answer in time.
    pub async fn ask<T>(
        &self,
        question: impl FnOnce(tokio::sync::oneshot::Sender<T>) -> ToQueue,
    ) -> Result<T, Reply> {
        let deadline = deadline();
        let refused = |why| unanswered(&self.name, why);
        let asked = ask::put(&self.queue.sender, question, deadline).await.map_err(refused)?;
        ask::answer(asked, deadline).await.map_err(refused)
    }
}

/// A filter as the broker core has it.
pub fn filter(asked: management::Filter) -> Result<Filter, Reply> {
    let management::Filter {
        reason,
        condition,
        description,
        since,
        until,
        min_attempts,
        max_attempts,
        consumer,
        text,
        cause,
        sequences,
        origin,
    } = asked;
    let cause = cause.map(|id| {
        u64::from_str_radix(&id, 16).map_err(|_| {
            Reply::bad(format!("filter.cause = {id:?}: expected the id of a cause, as CAUSES gave it"))
        })
    });
    Ok(Filter {
        reason,
        condition,
        description,
        origin,
        consumer,
        since,
        until,
        min_attempts,
        max_attempts,
        cause: cause.transpose()?,
        sequences: sequences.map(|seqs| seqs.into_iter().map(|seq| seq.0).collect()),
        text: text.map(|text| text.into_bytes().into()),
        not_replayed_as: None,
    })
}

/// `verdict.queue` `MESSAGES`.
pub async fn messages(house: &House, name: &str, page: Page) -> Result<Reply, Reply> {
    let asked = Asked::find(house, name)?;
    let (messages, next) = list(house, &asked, false, page).await?;
    Ok(Reply::ok(Tree::map([("messages", messages), ("next", next)])))
}

async fn list(house: &House, asked: &Asked, dead_letter: bool, page: Page) -> Result<(Tree, Tree), Reply> {
    let Page { from, count, filter: wanted, bodies } = page;
    let mut walk = Walk::new(asked.clone(), dead_letter, filter(wanted)?, from);
    let found = walk.page(house, count, Want { state: true, body: true }).await?;
    let shown = found.iter().map(|one| shown::summary(&asked.name, one, bodies));
    Ok((Tree::List(shown.collect()), walk.next().map(|seq| seq.0).into()))
}

/// `verdict.dead-letter`, all operations.
pub async fn execute(house: &Arc<House>, name: &str, what: DeadLetter) -> Result<Reply, Reply> {
    let asked = Asked::find(house, name)?;
    match what {
        DeadLetter::List(page) => {
            let wanted = Arc::new(filter(page.filter.clone())?);
            let question = |reply| ToQueue::Causes(wanted.clone(), false, reply);
            let ((yes, maybe), _) = asked.ask(question).await?;
            let (letters, next) = list(house, &asked, true, page).await?;
            let total = (maybe == 0).then_some(yes);
            Ok(Reply::ok(Tree::map([("letters", letters), ("next", next), ("total", total.into())])))
        }
        DeadLetter::Show(which) => show(house, &asked, which).await,
        DeadLetter::Causes(wanted) => causes(house, &asked, filter(wanted)?).await,
        DeadLetter::Purge(wanted) => purge(house, &asked, filter(wanted)?).await,
        DeadLetter::Export(page) => export(house, &asked, page).await,
        DeadLetter::Import(letters) => import(house, &asked, letters).await,
        DeadLetter::Replay(replay) => Replays::begin(house, asked, replay).await,
    }
}

async fn show(house: &House, asked: &Asked, which: Which) -> Result<Reply, Reply> {
    let found = match which {
        Which::Sequence(seq) => walk::one(house, asked, true, seq).await?,
        Which::MessageId(id) => walk::by_message_id(house, asked, true, &id).await?.into_iter().next(),
    };
    let Some(found) = found else {
        return Err(Reply::not_found(format!("no such dead letter in queue {:?}", asked.name)));
    };
    let why = asked.ask(|reply| ToQueue::Explain(true, found.seen.seq, reply)).await?;
    let why = why.map(|(_, why)| why).unwrap_or_default();
    let mut all = explain::explanation(&asked.name, true, &found, &why);
    all.extend(shown::content(&found));
    Ok(Reply::ok(Tree::Map(all)))
}

async fn causes(house: &House, asked: &Asked, wanted: Filter) -> Result<Reply, Reply> {
    let wanted = Arc::new(wanted);
    let ((_, maybe), mut causes) = asked.ask(|reply| ToQueue::Causes(wanted.clone(), true, reply)).await?;
    if maybe > 0 {
        // The catalogue alone cannot tell: count those that do match.
        let mut walk = Walk::new(asked.clone(), true, (*wanted).clone(), Seq(0));
        causes.iter_mut().for_each(|cause| cause.count = 0);
        while walk.next().is_some() {
            for found in walk.page(house, STEP, Want::default()).await? {
                let Some(letter) = &found.seen.letter else { continue };
                let Some(cause) = causes.iter_mut().find(|cause| cause.id == letter.cause) else { continue };
                if cause.count == 0 {
                    (cause.times, cause.example) = ((letter.time, letter.time), found.seen.seq);
                }
                cause.count += 1;
                cause.times = (cause.times.0.min(letter.time), cause.times.1.max(letter.time));
            }
        }
        causes.retain(|cause| cause.count > 0);
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
    }
    Ok(Reply::ok(Tree::map([("causes", Tree::List(causes.iter().map(shown::cause).collect()))])))
}

async fn purge(house: &House, asked: &Asked, wanted: Filter) -> Result<Reply, Reply> {
    let mut walk = Walk::new(asked.clone(), true, wanted, Seq(0));
    let mut removed = 0;
    while walk.next().is_some() {
        let found = walk.page(house, STEP, Want::default()).await?;
        let letters = found.iter().map(|one| (one.seen.seq, one.seen.acquired_count)).collect();
        removed += asked.ask(|reply| ToQueue::RemoveLetters(letters, reply)).await?;
    }
    Ok(Reply::ok(Tree::map([("removed", removed.into())])))
}

async fn export(house: &House, asked: &Asked, page: Page) -> Result<Reply, Reply> {
    let Page { from, count, filter: wanted, .. } = page;
    let mut walk = Walk::new(asked.clone(), true, filter(wanted)?, from);
    let found = walk.page(house, count, Want { state: true, body: true }).await?;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    let mut next = walk.next();
    for one in &found {
        bytes += one.seen.size as usize;
        if bytes > EXPORT_BYTES && !letters.is_empty() {
            next = Some(one.seen.seq);
            break;
        }
        let unreadable = || {
            Reply::unavailable(format!(
                "dead letter {} of queue {:?} cannot be read now; the broker's log says why",
                one.seen.seq.0, asked.name
            ))
        };
        letters.push(parcel::pack(&asked.name, one).ok_or_else(unreadable)?);
    }
    Ok(Reply::ok(Tree::map([("letters", Tree::List(letters)), ("next", next.map(|seq| seq.0).into())])))
}

async fn import(house: &House, asked: &Asked, letters: Vec<ImportedLetter>) -> Result<Reply, Reply> {
    let asked_for = letters.len() as u64;
    let mut parcels = letters.into_iter().map(parcel::unpack).collect::<Result<Vec<_>, _>>()?;
    let there = parcel::there_already(house, asked, &parcels).await?;
    parcels.retain(|parcel| !there.contains(&parcel.id));
    let skipped = asked_for - parcels.len() as u64;
    let wanted = parcels.len() as u64;
    let letters = parcels.into_iter().map(|parcel| (Arc::new(parcel.message), Arc::new(parcel.state)));
    let letters: Vec<_> = letters.collect();
    let imported = asked.ask(|reply| ToQueue::Import(letters, reply)).await?;
    if imported < wanted {
        return Err(Reply::unavailable(format!(
            "the disk is full: {imported} of {wanted} letters were taken; import the file again when there is room, \
             those that are there are skipped"
        )));
    }
    Ok(Reply::ok(Tree::map([("imported", imported.into()), ("skipped", skipped.into())])))
}
