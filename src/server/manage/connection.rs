//! `verdict.connection`: who is connected, and closing one.

use super::House;
use crate::{
    broker::ConnectionId,
    management::{Connection, Key, Reply, Tree, catalogue},
    server::connections::Known,
};

/// What the peer of a connection closed by hand is told, unless somebody chose other words.
const CLOSED: &str = "closed by the broker's management";

/// Any operation.
pub fn execute(house: &House, id: ConnectionId, what: Connection, asker: ConnectionId) -> Reply {
    let none = || Reply::not_found(format!("no connection {}", id.0));
    let Some(known) = house.connections.find(id) else { return none() };
    match what {
        Connection::Read => {
            let names = catalogue::find(catalogue::CONNECTION).map_or(&[][..], |kind| kind.attributes);
            let pairs = names.iter().map(|name| (Key::Borrowed(*name), attribute(&known, name)));
            Reply::ok(Tree::Map(pairs.collect()))
        }
        // Its answer could not be sent.
        Connection::Delete(_) if id == asker => {
            Reply::conflict(format!("connection {} is the one of this request; close it yourself", id.0))
        }
        Connection::Delete(description) => {
            if !house.connections.close(id, description.unwrap_or_else(|| CLOSED.to_owned())) {
                return none();
            }
            Reply::done()
        }
    }
}

/// All connections, by number, as rows of these attributes.
pub fn rows(house: &House, attributes: &[&'static str]) -> Vec<Tree> {
    let row = |known: &Known| attributes.iter().map(|name| attribute(known, name)).collect();
    house.connections.list().iter().map(|known| Tree::List(row(known))).collect()
}

fn attribute(known: &Known, name: &str) -> Tree {
    let peer = known.peer.get();
    match name {
        "id" => known.id.0.into(),
        "address" => known.address.to_string().into(),
        "container-id" => peer.map(|peer| peer.container_id.clone()).into(),
        "user" => peer.map(|peer| peer.user.clone()).into(),
        "product" => peer.map(|peer| peer.product.clone()).into(),
        "opened" => known.opened.into(),
        "publishers" => known.links().0.into(),
        "consumers" => known.links().1.into(),
        _ => Tree::Null,
    }
}
