//! Start: opens the store and builds the nodes that survived.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::clock::Clock;
use crate::{
    broker::{Node, QueueId},
    config::Config,
    container::reader::READER,
    store::{Fault, JournalStore, Options, Recovered, Recovery, Store, StoreError, StoreEvent},
};

/// What `open` gives: the store, the nodes, and what the store will say.
pub type Opened = (Arc<JournalStore>, Vec<Node>, mpsc::UnboundedReceiver<StoreEvent>);

/// Opens the data directory and recovers every queue in it.
///
/// # Errors
/// When the directory cannot be used; says why and what to do.
pub async fn open(config: &Arc<Config>, clock: Clock) -> anyhow::Result<Opened> {
    // Recovery may take its time: say what it is that runs before it.
    info!("verdict {} starts on {}", env!("CARGO_PKG_VERSION"), config.data.display());
    let (notify, events) = mpsc::unbounded_channel();
    let config = config.clone();
    let recovered = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let notify = Box::new(move |event| {
            let _ = notify.send(event);
        });
        let data = &config.data;
        if data.exists() && !data.is_dir() {
            bail!("cannot open the data directory {}: it is not a directory", data.display());
        }
        let store = JournalStore::open(data, options(&config), notify).map_err(|why| match why {
            StoreError::Locked(_) => anyhow::Error::new(why), // names the directory itself
            _ => {
                anyhow::Error::new(why).context(format!("cannot open the data directory {}", data.display()))
            }
        })?;
        let mut nodes = FxHashMap::default();
        let recovery = store
            .recover(&mut |found| take(&mut nodes, found, &config, clock))
            .with_context(|| format!("cannot recover from {}: run `verdict check {0}`", data.display()))?;
        Ok((Arc::new(store), nodes, recovery, data.clone()))
    });
    let (store, nodes, recovery, data) = recovered.await.context("recovery died")??;
    log(&recovery, &data);
    Ok((store, nodes.into_values().collect(), events))
}

fn take(nodes: &mut FxHashMap<QueueId, Node>, found: Recovered, config: &Config, clock: Clock) {
    match found {
        Recovered::Queue(definition) => {
            let mut definition = (*definition).clone();
            // The configuration as it is now, and over it what was set for this queue alone.
            let (policy, problems) = config.overlaid(&definition.name, &definition.settings);
            for problem in problems {
                let name = &definition.name;
                warn!("queue {name:?}: what was set through management does not fit: {problem}");
            }
            definition.policy = policy;
            let seed = u64::from(definition.id.0) ^ clock.now().0;
            nodes.insert(definition.id, Node::new(definition, seed).with_reader(READER));
        }
        Recovered::NextSeq(queue, next) => {
            if let Some(node) = nodes.get_mut(&queue.main()) {
                node.restore_next_seq(queue.is_dead_letter(), next);
            }
        }
        Recovered::Seen { queue, oldest, ids } => {
            if let Some(node) = nodes.get_mut(&queue.main()) {
                node.restore_seen(oldest, ids);
            }
        }
        Recovered::Entry(entry) => match nodes.get_mut(&entry.queue.main()) {
            Some(node) => node.restore(entry),
            None => warn!(
                "message {} belongs to queue {} that is not defined: skipped",
                entry.seq.0, entry.queue.0
            ),
        },
    }
}

fn log(recovery: &Recovery, data: &std::path::Path) {
    info!(
        "{} holds {} message{} in {} queue{} ({})",
        data.display(),
        recovery.messages,
        if recovery.messages == 1 { "" } else { "s" },
        recovery.queues,
        if recovery.queues == 1 { "" } else { "s" },
        if recovery.clean {
            "stopped cleanly".to_owned()
        } else if recovery.replayed_bytes == 0 && recovery.queues == 0 {
            "new".to_owned()
        } else {
            format!("was not stopped cleanly: {} bytes of journal replayed", recovery.replayed_bytes)
        }
    );
    if recovery.rebuilt {
        warn!("the index was missing or damaged and has been rebuilt from the journal");
    }
}

fn options(config: &Config) -> Options {
    let settings = &config.store;
    Options {
        segment_bytes: u64::from(settings.segment_size_bytes),
        checkpoint_interval: Duration::from_millis(settings.checkpoint_interval_ms),
        checkpoint_bytes: settings.checkpoint_bytes,
        reserve_bytes: settings.disk_reserve_bytes,
        // For tests that need a disk to fail: see `store::Fault`.
        fault: std::env::var("VERDICT_FAULT").map(|text| Fault::parse(&text)).unwrap_or_default(),
        ..Options::default()
    }
}
