//! Operations on single messages: looking into queues, explaining, dead letters and their replays.
//!
//! Invariant: none yet; each is answered 501. The arguments come validated.

use super::House;
use crate::management::{DeadLetter, Page, Reply, Tree, Which};

fn not_yet() -> Reply {
    Reply::not_implemented("not available yet")
}

/// `verdict.queue` `MESSAGES`.
pub async fn messages(_house: &House, _queue: &str, _page: Page) -> Result<Reply, Reply> {
    Err(not_yet())
}

/// `verdict.queue` `EXPLAIN`: in this queue, or in all.
pub async fn explain(_house: &House, _queue: Option<&str>, _which: Which) -> Result<Reply, Reply> {
    Err(not_yet())
}

/// `verdict.dead-letter`, all operations.
pub async fn execute(_house: &House, _queue: &str, _what: DeadLetter) -> Result<Reply, Reply> {
    Err(not_yet())
}

/// `verdict.replay` `READ`.
pub async fn read_replay(_house: &House, _id: &str) -> Result<Reply, Reply> {
    Err(not_yet())
}

/// `verdict.replay` `DELETE`.
pub async fn stop_replay(_house: &House, _id: &str) -> Result<Reply, Reply> {
    Err(not_yet())
}

/// `QUERY` of `verdict.replay`: these attributes of all replays, in a stable order.
pub fn replays(_house: &House, _attributes: &[&'static str]) -> Result<Vec<Tree>, Reply> {
    Err(not_yet())
}
