//! The connections there are, and what is known of each from outside.
//!
//! Invariant: once the broker stops there are no new ones. What changes about a connection it writes down itself, in
//! atomics: nobody waits for it, and it waits for nobody.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use tokio::sync::mpsc;

use super::connection::ToConnection;
use crate::{broker::ConnectionId, container::Peer, time::Millis};

/// The connections there are. Cloneable; all clones are the same.
#[derive(Clone, Default)]
pub struct Connections(Arc<Shared>);

type There = BTreeMap<ConnectionId, (mpsc::UnboundedSender<ToConnection>, Arc<Known>)>;

#[derive(Default)]
struct Shared {
    next: AtomicU32,
    /// No more of them: changed and asked while `there` is locked, so that none slips through.
    stopped: AtomicBool,
    there: Mutex<There>,
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Known {
    /// Its number.
    pub id: ConnectionId,
    /// Where it comes from.
    pub address: SocketAddr,
    /// When it was accepted.
    pub opened: Millis,
    /// Who it is, from its open on.
    pub peer: OnceLock<Peer>,
    publishers: AtomicU32,
    consumers: AtomicU32,
}

impl Known {
    /// Links it sends on, and links it receives on.
    pub fn links(&self) -> (u32, u32) {
        (self.publishers.load(Relaxed), self.consumers.load(Relaxed))
    }

    /// It has so many now.
    pub fn note_links(&self, (publishers, consumers): (u32, u32)) {
        self.publishers.store(publishers, Relaxed);
        self.consumers.store(consumers, Relaxed);
    }
}

impl Connections {
    fn there(&self) -> MutexGuard<'_, There> {
        self.0.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.there().len()
    }

    /// How many were accepted since the start.
    pub fn opened(&self) -> u64 {
        self.0.next.load(Relaxed).into()
    }

    /// All, by number.
    pub fn list(&self) -> Vec<Arc<Known>> {
        self.there().values().map(|(_, known)| known.clone()).collect()
    }

    /// The one of this number.
    pub fn find(&self, id: ConnectionId) -> Option<Arc<Known>> {
        self.there().get(&id).map(|(_, known)| known.clone())
    }

    /// Tells a connection that it is to close, with these words for its peer. `false`: there is none.
    pub fn close(&self, id: ConnectionId, description: String) -> bool {
        let there = self.there();
        there.get(&id).is_some_and(|(sender, _)| sender.send(ToConnection::Close(description)).is_ok())
    }

    /// Tells every connection that, and why, it is to end; there are no new ones from now on.
    pub fn stop(&self, why: impl Fn() -> ToConnection) {
        let there = self.there();
        self.0.stopped.store(true, Relaxed);
        for (sender, _) in there.values() {
            let _ = sender.send(why());
        }
    }

    /// Takes a new one in, unless the broker stops.
    pub fn enter(
        &self,
        sender: mpsc::UnboundedSender<ToConnection>,
        address: SocketAddr,
        opened: Millis,
    ) -> Option<Arc<Known>> {
        let mut there = self.there();
        if self.0.stopped.load(Relaxed) {
            return None;
        }
        let id = ConnectionId(self.0.next.fetch_add(1, Relaxed));
        let known = Arc::new(Known {
            id,
            address,
            opened,
            peer: OnceLock::new(),
            publishers: AtomicU32::new(0),
            consumers: AtomicU32::new(0),
        });
        there.insert(id, (sender, known.clone()));
        Some(known)
    }

    /// It has ended.
    pub fn leave(&self, id: ConnectionId) {
        self.there().remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(connections: &Connections) -> (Option<Arc<Known>>, mpsc::UnboundedReceiver<ToConnection>) {
        let (sender, mailbox) = mpsc::unbounded_channel();
        (connections.enter(sender, SocketAddr::from(([127, 0, 0, 1], 1)), Millis(7)), mailbox)
    }

    #[test]
    fn a_stop_reaches_every_connection_and_lets_no_new_one_in() {
        let connections = Connections::default();
        let (first, mut mailbox) = enter(&connections);
        assert!(first.is_some());
        connections.stop(|| ToConnection::Stop);
        assert!(matches!(mailbox.try_recv(), Ok(ToConnection::Stop)));
        assert!(enter(&connections).0.is_none());
        assert_eq!(connections.count(), 1);
    }

    #[test]
    fn one_of_them_is_found_and_closed_by_its_number() {
        let connections = Connections::default();
        let (known, mut mailbox) = enter(&connections);
        let id = known.unwrap().id;
        assert_eq!(connections.find(id).map(|known| known.opened), Some(Millis(7)));
        assert!(connections.close(id, "enough".to_owned()));
        assert!(matches!(mailbox.try_recv(), Ok(ToConnection::Close(why)) if why == "enough"));
        connections.leave(id);
        assert!(!connections.close(id, String::new()) && connections.list().is_empty());
    }
}
