//! `verdict.broker`: the broker as a whole.

use super::{House, deadline};
use crate::{
    management::{Reply, Tree},
    server::{ask, queue::ToQueue, reload},
};

/// `READ`.
pub async fn read(house: &House) -> Reply {
    let (queues, _) = house.registry.watched();
    let count = queues.len();
    let (mut messages, mut letters) = (0, 0);
    for (_, numbers) in ask::all(queues, ToQueue::Stats, deadline()).await {
        let Some(numbers) = numbers else { continue };
        messages += numbers.main.messages();
        letters += numbers.dead.messages();
    }
    let settings = house.live.now();
    let unready = house.watch.unready();
    let uptime_ms = house.clock.uptime_ms();
    Reply::ok(Tree::map([
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("container-id", settings.config.container_id.clone().into()),
        ("uptime-ms", uptime_ms.into()),
        ("queues", count.into()),
        ("connections", house.connections.count().into()),
        ("messages", messages.into()),
        ("dead-letters", letters.into()),
        ("disk-bytes", house.store.stats().journal_bytes.into()),
        ("ready", unready.is_none().into()),
        ("unready-reason", unready.into()),
        ("log-level", settings.config.log.level.clone().into()),
    ]))
}

/// `RELOAD`.
pub async fn reload(house: &House) -> Reply {
    let done = reload::reload(&house.source, &house.live, &house.registry).await;
    house.watch.reloaded(done.is_ok());
    match done {
        Ok(()) => Reply::ok(Tree::map([])),
        Err(problems) => Reply::bad(format!("reload refused, nothing was changed: {}", problems.join("; "))),
    }
}
