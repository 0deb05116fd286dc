//! `verdict.consumer`: who consumes from which queue.

use rustc_hash::FxHashMap;

use super::{House, deadline};
use crate::{
    broker::{ConsumerView, Pattern},
    container::Peer,
    management::Tree,
    server::{ask, queue::ToQueue},
};

/// Consumers of queues that match, by queue and consumer, as rows of these attributes: those from `offset` on, at most
/// `count`; and how many there are.
pub async fn rows(
    house: &House,
    attributes: &[&'static str],
    queue: Option<&Pattern>,
    offset: usize,
    count: usize,
) -> (Vec<Tree>, u64) {
    let (mut queues, _) = house.registry.watched();
    queues.retain(|one| queue.is_none_or(|pattern| pattern.matches(&one.name)));
    queues.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let wanted = offset.saturating_add(count);
    let answered = ask::all(queues, |reply| ToQueue::Consumers(wanted, reply), deadline()).await;
    let (mut passed, mut rows) = (0_usize, Vec::new());
    let mut peers = FxHashMap::default();
    for (queue, answer) in answered {
        let Some((there, views)) = answer else { continue };
        for view in views.iter().skip(offset.saturating_sub(passed)).take(count.saturating_sub(rows.len())) {
            let connection = view.id.connection();
            let peer = peers.entry(connection).or_insert_with(|| {
                house.connections.find(connection).and_then(|known| known.peer.get().cloned())
            });
            let cell = |name: &&'static str| attribute(name, view, &queue.name, peer.as_ref());
            rows.push(Tree::List(attributes.iter().map(cell).collect()));
        }
        passed += there;
    }
    (rows, passed as u64)
}

fn attribute(name: &str, view: &ConsumerView, queue: &str, peer: Option<&Peer>) -> Tree {
    match name {
        "connection" => view.id.connection().0.into(),
        "link" => link_of(&view.identity, peer).into(),
        "queue" => queue.into(),
        "dead-letter" => view.dead_letter.into(),
        "container-id" => peer.map(|peer| peer.container_id.clone()).into(),
        "user" => peer.map(|peer| peer.user.clone()).into(),
        "credit" => view.credit.into(),
        "unsettled" => view.unsettled.into(),
        "browse" => view.browse.into(),
        "delivered" => view.delivered.into(),
        "suspect-alone" => view.suspect_alone.into(),
        "filter" => view.filter.clone().into(),
        _ => Tree::Null,
    }
}

/// The link's name out of `container-id/link (user)`.
fn link_of<'i>(identity: &'i str, peer: Option<&Peer>) -> &'i str {
    let (container_id, user) = peer.map_or(("", ""), |peer| (&*peer.container_id, &*peer.user));
    let link = identity.strip_suffix(&format!(" ({user})")).unwrap_or(identity);
    link.strip_prefix(container_id).and_then(|rest| rest.strip_prefix('/')).unwrap_or(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_what_is_neither_container_nor_user() {
        let peer = Peer { container_id: "a/b".into(), user: "ann".into(), ..Peer::default() };
        assert_eq!(link_of("a/b/my/link (ann)", Some(&peer)), "my/link");
        assert_eq!(link_of("x/y (z)", None), "x/y (z)");
    }
}
