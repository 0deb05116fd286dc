//! `org.amqp.management`: what there is, and what can be asked of it.
//!
//! Invariant: rows come in a stable order (by name or number), so that pages of a set that does not change fit together.

use super::{House, connection, consumer, queue};
use crate::{
    broker::address::MANAGEMENT,
    management::{Entities, Query, Reply, Tree, catalogue},
};

/// `GET-TYPES`.
pub fn types(only: Option<&str>) -> Reply {
    Reply::ok(catalogue::types(only))
}

/// `GET-ATTRIBUTES`.
pub fn attributes(only: Option<&str>) -> Reply {
    Reply::ok(catalogue::attributes(only))
}

/// `GET-OPERATIONS`.
pub fn operations(only: Option<&str>) -> Reply {
    Reply::ok(catalogue::operations(only))
}

/// `GET-MGMT-NODES`.
pub fn nodes() -> Reply {
    Reply::ok(Tree::list([MANAGEMENT]))
}

/// `QUERY`.
pub async fn query(house: &House, query: Query) -> Result<Reply, Reply> {
    let Query { entities, attributes, queue: pattern, offset, count } = query;
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let (rows, total) = match entities {
        Entities::Queues => queue::rows(house, &attributes, pattern.as_ref(), offset, count).await,
        Entities::Consumers => consumer::rows(house, &attributes, pattern.as_ref(), offset, count).await,
        Entities::Connections => page(connection::rows(house, &attributes), offset, count),
        Entities::Replays => page(house.replays.rows(&attributes), offset, count),
    };
    let shown = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let body = Tree::map([("attributeNames", Tree::list(attributes)), ("results", Tree::List(rows))]);
    Ok(Reply { rows: Some((shown, total)), ..Reply::ok(body) })
}

fn page(rows: Vec<Tree>, offset: usize, count: usize) -> (Vec<Tree>, u64) {
    let total = rows.len() as u64;
    (rows.into_iter().skip(offset).take(count).collect(), total)
}
