//! A new configuration for a running broker: what of it is taken at once, and what needs a restart.
//!
//! Invariant: a configuration is taken whole or refused whole, and the log says which; what needs a restart
//! keeps its running value, so that the next reload says so again. Passwords never reach the log.
//! Deliberately does not read files: `Source` does, since flags of the command line go before the file.

use std::{fmt::Display, sync::Arc};

use tracing::{error, info, warn};

use super::{live::Live, registry::Registry};
use crate::config::{Config, Limits};

/// Reads and checks a configuration; all that is wrong with it, a line each.
pub type Load = Box<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>;
/// Sets the log level; else why not.
pub type SetLogLevel = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Where a configuration comes from, and what the program around the broker changes with it.
pub struct Source {
    /// Reads it anew.
    pub load: Load,
    /// Changes what is logged.
    pub set_log_level: SetLogLevel,
}

impl Source {
    /// For a broker whose configuration does not come from anywhere.
    #[must_use]
    pub fn none() -> Self {
        Self {
            load: Box::new(|| Err(vec!["there is no configuration file (serve --config FILE)".to_owned()])),
            set_log_level: Box::new(|_| Ok(())),
        }
    }
}

/// What a new configuration comes to.
pub(super) struct Plan {
    /// The running values where a restart is needed, else the new ones.
    pub config: Config,
    /// What is different from now on, in words.
    pub changes: Vec<String>,
    /// What would be different after a restart.
    pub restart: Vec<&'static str>,
}

/// Reads the configuration again and acts on it.
///
/// # Errors
/// All that is wrong with it, a line each; then nothing was changed.
pub(super) async fn reload(
    source: &Arc<Source>,
    live: &Live,
    registry: &Registry,
) -> Result<(), Vec<String>> {
    let _alone = registry.changes().await;
    let reader = source.clone();
    let loaded = match tokio::task::spawn_blocking(move || (reader.load)()).await {
        Ok(loaded) => loaded,
        Err(_) => Err(vec!["reading the configuration died".to_owned()]),
    };
    let loaded = loaded.and_then(|config| match registry.has_room_for(&config) {
        Ok(()) => Ok(config),
        Err(why) => Err(vec![why]),
    });
    let plan = match loaded {
        Ok(config) => plan(&live.now().config, config),
        Err(problems) => {
            for problem in &problems {
                error!("reload: {problem}");
            }
            error!("reload refused, nothing was changed");
            return Err(problems);
        }
    };
    let before = live.now();
    let level = plan.config.log.level.clone();
    live.replace(plan.config);
    registry.reconfigured(&before.config).await;
    // What changed is told at the level that lets more of it be seen.
    let more = verbosity(&level) > verbosity(&before.config.log.level);
    if more {
        set_log_level(source, &level);
    }
    for change in &plan.changes {
        info!("reload: {change}");
    }
    for key in &plan.restart {
        warn!("reload: {key} is different, which needs a restart");
    }
    info!("reload done: {} changes, {} need a restart", plan.changes.len(), plan.restart.len());
    if !more && level != before.config.log.level {
        set_log_level(source, &level);
    }
    Ok(())
}

fn set_log_level(source: &Source, level: &str) {
    if let Err(why) = (source.set_log_level)(level) {
        warn!("reload: log.level is not changed: {why}");
    }
}

fn verbosity(level: &str) -> usize {
    ["error", "warn", "info", "debug", "trace"].iter().position(|one| *one == level).unwrap_or(0)
}

/// Compares; decides what is taken.
pub(super) fn plan(old: &Config, mut new: Config) -> Plan {
    let mut restart = Vec::new();
    keep(&mut restart, "listen", &old.listen, &mut new.listen);
    keep(&mut restart, "http", &old.http, &mut new.http);
    keep(&mut restart, "data", &old.data, &mut new.data);
    keep(&mut restart, "threads", &old.threads, &mut new.threads);
    keep(&mut restart, "log.format", &old.log.format, &mut new.log.format);
    keep(&mut restart, "telemetry", &old.telemetry, &mut new.telemetry);
    keep(&mut restart, "store", &old.store, &mut new.store);
    let mut changes = Vec::new();
    differ(&mut changes, "container-id (new connections)", &old.container_id, &new.container_id);
    differ(&mut changes, "memory", &old.memory_bytes, &new.memory_bytes);
    differ(&mut changes, "log.level", &old.log.level, &new.log.level);
    limits(&mut changes, &old.limits, &new.limits);
    users(&mut changes, old, &new);
    let names = |config: &Config| config.create.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    differ(&mut changes, "create", &names(old), &names(&new));
    queues(&mut changes, old, &new);
    Plan { config: new, changes, restart }
}

fn keep<T: PartialEq + Clone>(restart: &mut Vec<&'static str>, key: &'static str, old: &T, new: &mut T) {
    if old != new {
        restart.push(key);
        new.clone_from(old);
    }
}

fn differ<T: PartialEq + Display>(changes: &mut Vec<String>, key: &str, old: &T, new: &T) {
    if old != new {
        changes.push(format!("{key}: {new}, was {old}"));
    }
}

fn limits(changes: &mut Vec<String>, old: &Limits, new: &Limits) {
    let idle = |limits: &Limits| limits.idle_timeout_ms.map_or("none".to_owned(), |ms| ms.to_string());
    let rows = [
        ("max-frame-size", old.max_frame_size_bytes.into(), new.max_frame_size_bytes.into()),
        ("max-message-size", old.max_message_size_bytes, new.max_message_size_bytes),
        ("max-connections", old.max_connections.into(), new.max_connections.into()),
        ("max-sessions", old.max_sessions.into(), new.max_sessions.into()),
        ("max-links", old.max_links.into(), new.max_links.into()),
        ("handshake-timeout", old.handshake_timeout_ms, new.handshake_timeout_ms),
    ];
    for (key, old, new) in rows {
        differ::<u64>(changes, &format!("limits.{key} (new connections)"), &old, &new);
    }
    differ(changes, "limits.idle-timeout (new connections)", &idle(old), &idle(new));
}

fn users(changes: &mut Vec<String>, old: &Config, new: &Config) {
    differ(changes, "auth.anonymous (new connections)", &old.auth.anonymous, &new.auth.anonymous);
    let names =
        |config: &Config| config.auth.managers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    differ(changes, "auth.managers", &names(old), &names(new));
    let (old, new) = (&old.auth.users, &new.auth.users);
    for (user, password) in new {
        match old.get(user) {
            None => changes.push(format!("user {user:?} may come in")),
            Some(was) if was != password => changes.push(format!("user {user:?} has another password")),
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|user| !new.contains_key(*user));
    changes.extend(
        gone.map(|user| format!("user {user:?} may not come in any more; connections there are stay")),
    );
}

fn queues(changes: &mut Vec<String>, old: &Config, new: &Config) {
    if old.queue_defaults != new.queue_defaults {
        changes.push("queue-defaults has other rules".to_owned());
    }
    for entry in &new.queues {
        match old.queues.iter().find(|was| was.name == entry.name) {
            None => changes.push(format!("queue {:?} has rules of its own", entry.name.as_str())),
            Some(was) if was.policy != entry.policy => {
                changes.push(format!("queue {:?} has other rules", entry.name.as_str()));
            }
            Some(_) => {}
        }
    }
    for was in old.queues.iter().filter(|was| new.queues.iter().all(|entry| entry.name != was.name)) {
        changes.push(format!("queue {:?} has no rules of its own any more; it stays", was.name.as_str()));
    }
    let order = |config: &Config| config.queues.iter().map(|e| e.name.to_string()).collect::<Vec<_>>();
    let (was, is) = (order(old), order(new));
    let both = |list: &[String], other: &[String]| {
        list.iter().filter(|name| other.contains(name)).cloned().collect::<Vec<_>>()
    };
    if both(&was, &is) != both(&is, &was) {
        changes.push("queue patterns come in another order".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        match Config::parse(text) {
            Ok(config) => config,
            Err(why) => panic!("{why}"),
        }
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let text = "create = [\"a*\"]\n[auth.users]\na = \"b\"\n[[queue]]\nname = \"q\"";
        let plan = plan(&config(text), config(text));
        assert!(plan.changes.is_empty() && plan.restart.is_empty());
        assert_eq!(plan.config, config(text));
    }

    #[test]
    fn what_needs_a_restart_keeps_its_running_value_and_is_said() {
        let new = "listen = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\ndata = \"d\"\nthreads = 7\n\
                   [log]\nformat = \"json\"\n[telemetry]\notlp = \"http://127.0.0.1\"\n[store]\nsegment-size = \"1MiB\"";
        let plan = plan(&Config::default(), config(new));
        assert_eq!(plan.restart, ["listen", "http", "data", "threads", "log.format", "telemetry", "store"]);
        assert_eq!(plan.config, Config::default());
    }

    #[test]
    fn each_change_that_is_taken_is_said_once() {
        let old =
            "[auth.users]\nann = \"1\"\nbob = \"secret\"\n[[queue]]\nname = \"q\"\n[[queue]]\nname = \"r\"";
        let new = "memory = \"1MiB\"\ncontainer-id = \"x\"\ncreate = [\"y*\"]\n[log]\nlevel = \"debug\"\n\
                   [limits]\nmax-connections = 3\nidle-timeout = \"none\"\n\
                   [auth]\nanonymous = false\n[auth.users]\nann = \"2\"\neve = \"3\"\n\
                   [queue-defaults]\nmax-attempts = 2\n[[queue]]\nname = \"q\"\nmax-attempts = 4\n\
                   [[queue]]\nname = \"s\"";
        let plan = plan(&config(old), config(new));
        assert!(plan.restart.is_empty());
        let all = plan.changes.join("\n");
        for part in [
            "memory: 1048576, was 67108864",
            "container-id (new connections): x",
            "create: y*, was *",
            "log.level: debug, was info",
            "limits.max-connections (new connections): 3, was 10000",
            "limits.idle-timeout (new connections): none, was 60000",
            "auth.anonymous (new connections): false, was true",
            "user \"ann\" has another password",
            "user \"eve\" may come in",
            "user \"bob\" may not come in any more",
            "queue-defaults has other rules",
            "queue \"q\" has other rules",
            "queue \"s\" has rules of its own",
            "queue \"r\" has no rules of its own any more",
        ] {
            assert_eq!(all.matches(part).count(), 1, "{part} in:\n{all}");
        }
        assert_eq!(plan.changes.len(), 14, "{all}");
        assert!(!all.contains("secret"));
    }
}
