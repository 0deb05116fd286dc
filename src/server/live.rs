//! The settings as they are now: read by many, replaced as a whole by a reload.
//!
//! Invariant: whoever takes them sees one valid configuration and the users that belong to it, never a mixture.

use std::sync::{Arc, PoisonError, RwLock};

use crate::{auth::Authenticator, config::Config};

/// A configuration and what was made of it.
pub struct Settings {
    /// As it was read.
    pub config: Config,
    /// Who may come in.
    pub auth: Arc<Authenticator>,
}

/// Cloneable; all clones are the same settings.
#[derive(Clone)]
pub struct Live(Arc<RwLock<Arc<Settings>>>);

impl Live {
    /// The settings the broker starts with.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings(config)))))
    }

    /// As they are now.
    pub fn now(&self) -> Arc<Settings> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Others from now on.
    pub fn replace(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings(config));
    }
}

impl Settings {
    /// Whether this user may manage the broker.
    pub fn may_manage(&self, user: &str) -> bool {
        self.config.auth.managers.iter().any(|pattern| pattern.matches(user))
    }
}

fn settings(config: Config) -> Settings {
    let auth = Arc::new(Authenticator::new(config.auth.anonymous, config.auth.users.clone()));
    Settings { config, auth }
}
