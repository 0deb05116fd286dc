//! Queues as management sees them: by name, with settings of their own.
//!
//! Invariant: settings and configuration change one at a time (`changes`), so that no queue is left with rules made of
//! an older one of either. Whether settings are right was checked before they come here.

use tokio::sync::{Mutex, MutexGuard, mpsc};

use super::{DYNAMIC_PREFIX, Registry};
use crate::{
    broker::{
        Lifetime, QueueId,
        address::{Address, Kind},
    },
    container::NoPlace,
    server::queue::ToQueue,
};

/// Held by whoever changes settings of queues, or the configuration.
pub(super) type Changes = Mutex<()>;

/// A queue found by name.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its id.
    pub id: QueueId,
    /// Its task.
    pub sender: mpsc::Sender<ToQueue>,
    /// Its own settings.
    pub settings: String,
}

/// Why a queue is not made.
pub enum NotMade {
    /// It is there.
    Exists,
    /// It cannot be; why.
    Refused(NoPlace),
}

impl Registry {
    /// Keeps others from changing settings or the configuration meanwhile.
    pub async fn changes(&self) -> MutexGuard<'_, ()> {
        self.0.changes.lock().await
    }

    /// The queue of this name.
    pub fn named(&self, name: &str) -> Option<Named> {
        let nodes = self.nodes();
        let id = *nodes.by_name.get(name)?;
        let handle = nodes.by_id.get(&id)?;
        Some(Named { id, sender: handle.sender.clone(), settings: handle.settings.clone() })
    }

    /// Makes a queue of this name, whatever the configuration lets others create.
    ///
    /// # Errors
    /// When it exists, or cannot; says why.
    pub fn create_named(&self, name: &str, settings: String) -> Result<mpsc::Sender<ToQueue>, NotMade> {
        let invalid = |why: String| NotMade::Refused(NoPlace::Invalid(why));
        match Address::parse(name) {
            Ok(Address::Node { name: plain, kind: Kind::Any }) if plain == name => {}
            Ok(_) => return Err(invalid(format!("{name:?}: expected the plain name of a queue"))),
            Err(why) => return Err(invalid(why.to_string())),
        }
        if name.starts_with(DYNAMIC_PREFIX) {
            return Err(invalid(format!("{name:?}: names of dynamic queues are the broker's to give")));
        }
        let mut nodes = self.nodes();
        if nodes.by_name.contains_key(name) {
            return Err(NotMade::Exists);
        }
        let made = self.create(&mut nodes, name.to_owned(), Lifetime::Permanent, settings);
        made.map(|(_, sender)| sender).map_err(NotMade::Refused)
    }

    /// Takes note of settings a queue was given.
    pub fn note_settings(&self, id: QueueId, settings: String) {
        if let Some(handle) = self.nodes().by_id.get_mut(&id) {
            handle.settings = settings;
        }
    }

    /// The dead-letter queue in force for the queue of this name, if it has one.
    pub fn dead_letter_queue(&self, name: &str) -> Option<String> {
        let settings = self.named(name).map(|queue| queue.settings).unwrap_or_default();
        self.0.live.now().config.overlaid(name, &settings).0.dead_letter_queue
    }
}
