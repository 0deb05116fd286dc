//! `verdict.queue`: making, looking at, changing and ending queues.
//!
//! Invariant: what was made or changed is answered when its record is committed. Everything about a queue is decided
//! in its own task; settings change one at a time (`Registry::changes`).

use tokio::sync::{mpsc, oneshot};

use super::{House, deadline, no_queue, settings, unanswered};
use crate::{
    broker::{BreakerState, Command, Lifetime, Pattern, Tally},
    config::Config,
    container::NoPlace,
    management::{Key, Queue, Reply, Tree, catalogue},
    server::{
        ask,
        queue::{Description, ToQueue},
        registry::{Named, NotMade},
    },
};

/// Any operation but those on single messages.
pub async fn execute(house: &House, name: &str, what: Queue) -> Result<Reply, Reply> {
    if let Queue::Create(changes) = what {
        return create(house, name, changes).await;
    }
    let queue = house.registry.named(name).ok_or_else(|| no_queue(name))?;
    match what {
        Queue::Update(changes) => update(house, name, changes).await,
        Queue::Delete { if_empty, if_unused } => {
            let question = |reply| ToQueue::DeleteIf { if_empty, if_unused, reply };
            match ask(name, &queue.sender, question).await? {
                Ok(()) => Ok(Reply::done()),
                Err(why) => Err(Reply::conflict(format!("queue {name:?} is not deleted: {why}"))),
            }
        }
        Queue::Purge => purge(name, &queue).await,
        Queue::CloseBreaker => breaker(house, name, &queue, None).await,
        Queue::OpenBreaker(for_ms) => {
            let described = ask(name, &queue.sender, ToQueue::Describe).await?;
            let ms = for_ms.unwrap_or(described.definition.policy.breaker.max_pause_ms);
            breaker(house, name, &queue, Some(ms)).await
        }
        Queue::Create(_) | Queue::Read | Queue::Messages(_) => read(house, name, &queue.sender).await,
    }
}

async fn ask<T>(
    name: &str,
    sender: &mpsc::Sender<ToQueue>,
    question: impl FnOnce(oneshot::Sender<T>) -> ToQueue,
) -> Result<T, Reply> {
    let deadline = deadline();
    let asked = ask::put(sender, question, deadline).await.map_err(|why| unanswered(name, why))?;
    ask::answer(asked, deadline).await.map_err(|why| unanswered(name, why))
}

async fn read(house: &House, name: &str, sender: &mpsc::Sender<ToQueue>) -> Result<Reply, Reply> {
    let described = ask(name, sender, ToQueue::Describe).await?;
    let live = house.live.now();
    let names = catalogue::find(catalogue::QUEUE).map_or(&[][..], |kind| kind.attributes);
    let pairs = names.iter().map(|name| (Key::Borrowed(*name), attribute(&described, &live.config, name)));
    Ok(Reply::ok(Tree::Map(pairs.collect())))
}

async fn create(house: &House, name: &str, changes: Vec<(Key, Tree)>) -> Result<Reply, Reply> {
    let exists = || Reply::conflict(format!("queue {name:?} exists already; UPDATE changes its settings"));
    let alone = house.registry.changes().await;
    if house.registry.named(name).is_some() {
        return Err(exists());
    }
    let kept = settings::merged("", changes)?;
    settings::checked(house, name, &kept)?;
    let sender = house.registry.create_named(name, kept).map_err(|why| match why {
        NotMade::Exists => exists(),
        NotMade::Refused(why @ NoPlace::Invalid(_)) => Reply::bad(why.to_string()),
        NotMade::Refused(why) => Reply::unavailable(why.to_string()),
    })?;
    drop(alone);
    ask(name, &sender, |reply| ToQueue::Confirmed(None, reply)).await?;
    let created = read(house, name, &sender).await?;
    Ok(Reply::created(created.body))
}

async fn update(house: &House, name: &str, changes: Vec<(Key, Tree)>) -> Result<Reply, Reply> {
    let alone = house.registry.changes().await;
    // Found again: its settings may have changed while we waited.
    let Named { id, sender, settings: kept } = house.registry.named(name).ok_or_else(|| no_queue(name))?;
    let kept = settings::merged(&kept, changes)?;
    let policy = Box::new(settings::checked(house, name, &kept)?);
    let define = Command::Define { settings: kept.clone(), policy };
    let deadline = deadline();
    let question = |reply| ToQueue::Confirmed(Some(define), reply);
    let asked = ask::put(&sender, question, deadline).await.map_err(|why| unanswered(name, why))?;
    house.registry.note_settings(id, kept);
    drop(alone);
    ask::answer(asked, deadline).await.map_err(|why| unanswered(name, why))?;
    read(house, name, &sender).await
}

/// Removes what waits now, in steps: what comes meanwhile stays, and is delivered between them.
async fn purge(name: &str, queue: &Named) -> Result<Reply, Reply> {
    let until = ask(name, &queue.sender, ToQueue::Describe).await?.next_seq.0;
    let (mut from, mut removed) = (0, 0);
    loop {
        let step = ask(name, &queue.sender, |reply| ToQueue::Purge(from..until, reply)).await?;
        removed += step.removed;
        match step.next {
            Some(next) => from = next,
            None => return Ok(Reply::ok(Tree::map([("removed", removed.into())]))),
        }
    }
}

async fn breaker(house: &House, name: &str, queue: &Named, open_ms: Option<u64>) -> Result<Reply, Reply> {
    let open_until = open_ms.map(|ms| house.clock.now().plus_ms(ms));
    let set = Command::SetBreaker { open_until };
    ask(name, &queue.sender, |reply| ToQueue::Confirmed(Some(set), reply)).await?;
    let described = ask(name, &queue.sender, ToQueue::Describe).await?;
    let live = house.live.now();
    let pair = |name: &'static str| (Key::Borrowed(name), attribute(&described, &live.config, name));
    Ok(Reply::ok(Tree::Map(vec![pair("breaker"), pair("breaker-until")])))
}

/// Queues that match, by name, as rows of these attributes: those from `offset` on, at most `count`; and how many
/// there are. One that ends meanwhile, or has no time, is a row with nothing but its name.
pub async fn rows(
    house: &House,
    attributes: &[&'static str],
    pattern: Option<&Pattern>,
    offset: usize,
    count: usize,
) -> (Vec<Tree>, u64) {
    let (mut queues, _) = house.registry.watched();
    queues.retain(|one| pattern.is_none_or(|pattern| pattern.matches(&one.name)));
    queues.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let total = queues.len() as u64;
    let page = queues.into_iter().skip(offset).take(count).collect();
    let live = house.live.now();
    let row = |(queue, described): (crate::server::registry::Watched, Option<Description>)| {
        let cell = |name: &&'static str| match &described {
            Some(described) => attribute(described, &live.config, name),
            None if *name == "name" => queue.name.clone().into(),
            None => Tree::Null,
        };
        Tree::List(attributes.iter().map(cell).collect())
    };
    let answered = ask::all(page, ToQueue::Describe, deadline()).await;
    (answered.into_iter().map(row).collect(), total)
}

fn attribute(described: &Description, config: &Config, name: &str) -> Tree {
    let Description { numbers, publishers, breaker, definition, .. } = described;
    let (main, dead, tally) = (&numbers.main, &numbers.dead, &numbers.tally);
    match name {
        "name" => definition.name.clone().into(),
        "dynamic" => (definition.lifetime != Lifetime::Permanent).into(),
        "ready" => main.available.into(),
        "acquired" => main.acquired.into(),
        "delayed" => main.delayed.into(),
        "held" => main.held.into(),
        "moving" => main.moving.into(),
        "bytes" => main.bytes.into(),
        "dead" => dead.messages().into(),
        "dead-bytes" => dead.bytes.into(),
        "consumers" => main.consumers.saturating_add(dead.consumers).into(),
        "publishers" => (*publishers).into(),
        "oldest-age-ms" => numbers.oldest_age_ms.into(),
        "breaker" => breaker.as_str().into(),
        "breaker-until" => match breaker {
            BreakerState::Open { until } => (*until).into(),
            _ => Tree::Null,
        },
        "settings" => settings::tree(&definition.policy),
        "configured" => config.names(&definition.name).into(),
        total => total_of(tally, total),
    }
}

fn total_of(tally: &Tally, name: &str) -> Tree {
    match name {
        "published" => tally.published.into(),
        "refused" => tally.refused.into(),
        "delivered" => tally.delivered.into(),
        "redelivered" => tally.redelivered.into(),
        "accepted" => tally.accepted.into(),
        "failed" => tally.failed.into(),
        "rejected" => tally.rejected.into(),
        "released" => tally.released.into(),
        "modified" => tally.modified.into(),
        "expired" => tally.expired.into(),
        "dead-lettered" => tally.dead_lettered.iter().sum::<u64>().into(),
        "duplicates" => tally.duplicates.into(),
        _ => Tree::Null,
    }
}
