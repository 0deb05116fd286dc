//! A store in a temporary directory, and what is in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use verdict::broker::{
    Batch, Committed, EntryState, Lifetime, Location, Message, QueueDefinition, QueueId, QueuePolicy, Record,
    Restored, SeenId, Seq, Ticket,
};
use verdict::store::{JournalStore, Options, Recovered, Recovery, Store, StoreError, StoreEvent};

/// Small segments, so that little data makes many.
pub fn small() -> Options {
    Options {
        segment_bytes: 256 * 1024,
        reserve_bytes: 0,
        sled_cache_bytes: 1 << 20,
        checkpoint_interval: Duration::from_millis(20),
        ..Options::default()
    }
}

/// No checkpoint while running: everything is in the journal's tail.
pub fn journal_only() -> Options {
    Options { checkpoint_interval: Duration::from_secs(3600), checkpoint_bytes: u64::MAX, ..small() }
}

pub fn definition(id: u32) -> QueueDefinition {
    QueueDefinition {
        id: QueueId(id),
        name: format!("queue-{id}"),
        policy: QueuePolicy::default(),
        lifetime: Lifetime::Permanent,
        shard: 0,
        settings: String::new(),
    }
}

pub fn message(content: &[u8]) -> Arc<Message> {
    Arc::new(Message {
        from: 0,
        bytes: Arc::from(content),
        format: 0,
        durable: true,
        priority: 4,
        first_acquirer: true,
        delivery_count: 0,
        expires: None,
    })
}

pub fn put(queue: u32, seq: u64, content: &[u8]) -> Record {
    Record::Put { queue: QueueId(queue), seq: Seq(seq), message: message(content) }
}

pub fn settle(queue: u32, seq: u64) -> Record {
    Record::Settle { queue: QueueId(queue), seq: Seq(seq) }
}

pub fn state(attempts: u32) -> Arc<EntryState> {
    Arc::new(EntryState {
        delivery_count: attempts,
        acquired_count: attempts + 1,
        excluded: vec!["somebody".into()],
        ..EntryState::default()
    })
}

/// Queue, seq, delivery-count, acquired-count, state and content of a message.
pub type Summary = (u32, u64, u32, u32, Option<EntryState>, Vec<u8>);

/// A store, its events, and everything it recovered.
pub struct Opened {
    pub store: JournalStore,
    pub events: Receiver<StoreEvent>,
    pub report: Recovery,
    pub queues: Vec<QueueDefinition>,
    pub next_seqs: BTreeMap<u32, u64>,
    pub entries: Vec<Restored>,
    /// By queue: what is forgotten, and the ids with their segments.
    pub seen: BTreeMap<u32, (u64, Vec<(SeenId, u32)>)>,
}

pub fn open(dir: &Path, options: Options) -> Opened {
    try_open(dir, options).expect("the store opens")
}

pub fn try_open(dir: &Path, options: Options) -> Result<Opened, StoreError> {
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let notify = Box::new(move |event| {
        let _ = sender.lock().unwrap().send(event);
    });
    let store = JournalStore::open(dir, options, notify)?;
    let (mut queues, mut next_seqs, mut entries) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut seen = BTreeMap::new();
    let report = store.recover(&mut |found| match found {
        Recovered::Queue(definition) => {
            assert!(next_seqs.is_empty() && entries.is_empty(), "definitions come first");
            queues.push((*definition).clone());
        }
        Recovered::NextSeq(queue, next) => {
            next_seqs.insert(queue.0, next);
        }
        Recovered::Seen { queue, oldest, ids } => {
            assert!(ids.is_sorted_by_key(|(id, _)| id.number), "ids come in order");
            seen.insert(queue.0, (oldest, ids));
        }
        Recovered::Entry(entry) => {
            if let Some(last) = entries.last() {
                let last: &Restored = last;
                assert!((last.queue, last.seq) < (entry.queue, entry.seq), "entries come in order");
            }
            entries.push(entry);
        }
    })?;
    Ok(Opened { store, events, report, queues, next_seqs, entries, seen })
}

impl Opened {
    /// Submits and waits.
    pub fn commit(&self, records: Vec<Record>) -> Result<Committed, StoreError> {
        self.submit(records).recv().expect("an answer")
    }

    /// Submits without waiting.
    pub fn submit(&self, records: Vec<Record>) -> Receiver<Result<Committed, StoreError>> {
        let (done, answer): (Sender<_>, _) = channel();
        let batch = Batch { ticket: Ticket(1), records, patient: false };
        self.store.submit(batch, Box::new(move |result| drop(done.send(result))));
        answer
    }

    /// Commits and gives the locations.
    pub fn locations(&self, records: Vec<Record>) -> Vec<Option<Location>> {
        self.commit(records).expect("committed").locations
    }

    /// Queue, seq and content of all that was recovered.
    pub fn contents(&self) -> Vec<(u32, u64, Vec<u8>)> {
        let locations: Vec<_> = self.entries.iter().map(|entry| entry.location).collect();
        let messages = self.store.read(&locations);
        let entries = self.entries.iter().zip(messages);
        entries
            .map(|(entry, message)| (entry.queue.0, entry.seq.0, message.unwrap().bytes.to_vec()))
            .collect()
    }

    /// Those of these messages whose state the store can read back; each must be the one `state(7)` makes.
    pub fn stateful<'a>(&self, messages: impl Iterator<Item = &'a (u32, u64)>) -> Vec<(u32, u64)> {
        let read = |&(queue, seq): &(u32, u64)| {
            let read = self.store.read_states(QueueId(queue), &[Seq(seq)]).pop().expect("an answer");
            let found = read.expect("readable")?;
            assert_eq!(found.excluded, state(7).excluded);
            Some((queue, seq))
        };
        messages.filter_map(read).collect()
    }

    /// Everything about what was recovered but where it lies.
    pub fn summary(&self) -> Vec<Summary> {
        let entries = self.entries.iter().zip(self.contents());
        entries
            .map(|(entry, (queue, seq, content))| {
                let state = entry.state.as_deref().cloned();
                (queue, seq, entry.delivery_count, entry.acquired_count, state, content)
            })
            .collect()
    }
}

/// The segment files, oldest first.
pub fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A copy of a data directory as a crash would leave it: what is on the disk now.
pub fn crashed_copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
