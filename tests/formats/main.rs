//! Directories written by earlier versions are opened by this one, with everything in them.
//!
//! `v1` was written by `write_v1` below and `v2` by `write_v2`; they are never changed again. A new format gets a
//! directory and a test of its own. Version 2 has ids of messages (`Record::Seen`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use verdict::broker::{
    Annotations, Batch, Cause, Death, DeathReason, EntryState, Failure, FailureOutcome, Fingerprint,
    Lifetime, Message, QueueDefinition, QueueId, QueuePolicy, Record, Restored, SeenId, Seq, Ticket,
};
use verdict::store::check::check;
use verdict::store::{JournalStore, Options, Recovered, Store};
use verdict::time::Millis;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/v{version}"))
}

fn options() -> Options {
    Options {
        segment_bytes: 16 * 1024,
        checkpoint_interval: Duration::from_secs(3600),
        reserve_bytes: 0,
        sled_cache_bytes: 1 << 20,
        ..Options::default()
    }
}

fn definition() -> QueueDefinition {
    let policy =
        QueuePolicy { max_attempts: 3, dead_letter_queue: Some("graves".into()), ..QueuePolicy::default() };
    QueueDefinition {
        id: QueueId(2),
        name: "orders".into(),
        policy,
        lifetime: Lifetime::Permanent,
        shard: 0,
        settings: String::new(),
    }
}

fn message(seq: u64) -> Message {
    Message {
        from: 0,
        bytes: Arc::from(format!("message {seq}").as_bytes()),
        format: 0,
        durable: true,
        priority: (seq % 10) as u8,
        first_acquirer: seq.is_multiple_of(2),
        delivery_count: seq as u32,
        expires: seq.is_multiple_of(3).then_some(Millis(4_000_000_000_000 + seq)),
    }
}

fn state() -> EntryState {
    let annotations = Annotations(vec![(Box::from(&b"\xa3\x01k"[..]), Box::from(&b"\x41"[..]))]);
    let cause = Cause {
        condition: "amqp:decode-error".into(),
        description: Some("no such field".into()),
        info: Some(Box::from([0xc1, 1, 0])),
    };
    EntryState {
        delivery_count: 3,
        acquired_count: 4,
        not_before: Some(Millis(5)),
        annotations: annotations.clone(),
        excluded: vec!["container/link".into()],
        failures: vec![Failure {
            time: Millis(6),
            consumer: "container link user".into(),
            outcome: FailureOutcome::Rejected,
            cause: Some(cause.clone()),
            annotations,
            delay_ms: 100,
            rule: "default".into(),
        }],
        failures_dropped: 1,
        death: Some(Box::new(Death {
            reason: DeathReason::Rejected,
            cause: Some(cause),
            time: Millis(7),
            attempts: 3,
            queue: "orders".into(),
            address: "orders".into(),
            first: ("orders".into(), DeathReason::Rejected),
        })),
        replays: Vec::new(),
    }
}

fn commit(store: &JournalStore, records: Vec<Record>) {
    let (done, answer) = std::sync::mpsc::channel();
    let batch = Batch { ticket: Ticket(1), records, patient: false };
    store.submit(batch, Box::new(move |result| drop(done.send(result))));
    answer.recv().unwrap().unwrap();
}

fn open(dir: &Path) -> JournalStore {
    JournalStore::open(dir, options(), Box::new(|_| {})).unwrap()
}

fn id(number: u64) -> SeenId {
    SeenId { number, key: Fingerprint([number as u8; 16]), at: Millis(1_700_000_000_000 + number) }
}

fn seen(numbers: std::ops::RangeInclusive<u64>, oldest: u64) -> Record {
    Record::Seen { queue: QueueId(2), ids: numbers.map(id).collect(), oldest }
}

fn write(dir: &Path, version: u32) {
    let queue = QueueId(2);
    let store = open(dir);
    commit(&store, vec![Record::Define(Arc::new(definition()))]);
    let put = |seq| Record::Put { queue, seq: Seq(seq), message: Arc::new(message(seq)) };
    commit(&store, (1..=8).map(put).collect());
    commit(&store, vec![Record::Settle { queue, seq: Seq(1) }]);
    commit(&store, vec![Record::Count { queue, seq: Seq(2), delivery_count: 7, acquired_count: 8 }]);
    let to = (queue.dead_letter(), Seq(1));
    commit(&store, vec![Record::Move { from: (queue, Seq(3)), to, state: Arc::new(state()) }]);
    if version >= 2 {
        commit(&store, vec![seen(1..=600, 1)]);
    }
    drop(store);
    // Part of it is in the index and part in the journal only, as after a crash.
    let store = open(dir);
    commit(&store, vec![Record::State { queue, seq: Seq(4), state: Arc::new(state()) }, put(9)]);
    commit(
        &store,
        vec![Record::Define(Arc::new(QueueDefinition { id: QueueId(4), name: "x".into(), ..definition() }))],
    );
    commit(&store, vec![Record::Delete(QueueId(4)), Record::Settle { queue, seq: Seq(5) }]);
    if version >= 2 {
        commit(&store, vec![seen(601..=601, 500)]);
    }
    copy(dir, &dir.with_extension("crashed"));
}

#[test]
#[ignore = "writes a new fixture: only for a new format"]
fn write_v1() {
    write_fixture(1);
}

#[test]
#[ignore = "writes a new fixture: only for a new format"]
fn write_v2() {
    write_fixture(2);
}

fn write_fixture(version: u32) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("data");
    write(&dir, version);
    let crashed = dir.with_extension("crashed");
    std::fs::remove_file(crashed.join("lock")).unwrap();
    // Zeros at the end are left out: the journal's are only room, and sled's are put back by `unpack`.
    let newest = if version == 1 { "0000000002.seg" } else { "0000000003.seg" };
    trim(&crashed.join("journal").join(newest), 64);
    trim(&crashed.join("index/db"), 0);
    copy(&crashed, &fixture(version));
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

fn trim(path: &Path, keep: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used + keep);
    std::fs::write(path, bytes).unwrap();
}

/// The fixture, as it was before it was trimmed.
fn unpack(dir: &Path, version: u32) {
    copy(&fixture(version), dir);
    let db = std::fs::OpenOptions::new().write(true).open(dir.join("index/db")).unwrap();
    db.set_len(524_287).unwrap();
}

fn expect_everything(dir: &Path, version: u32) {
    let store = open(dir);
    let (mut queues, mut entries, mut ids) = (Vec::new(), Vec::<Restored>::new(), Vec::new());
    let mut sink = |found| match found {
        Recovered::Queue(definition) => queues.push((*definition).clone()),
        Recovered::Entry(entry) => entries.push(entry),
        Recovered::Seen { queue, oldest, ids: found } => {
            assert_eq!((queue, oldest), (QueueId(2), 500));
            ids.extend(found.into_iter().map(|(id, _)| id));
        }
        Recovered::NextSeq(queue, next) => assert_eq!(next, if queue == QueueId(2) { 10 } else { 2 }),
    };
    store.recover(&mut sink).unwrap();
    assert_eq!(queues, [definition()]);
    let numbers = if version >= 2 { 500..602 } else { 0..0 };
    assert_eq!(ids, numbers.map(id).collect::<Vec<_>>());
    let keys: Vec<_> = entries.iter().map(|entry| (entry.queue.0, entry.seq.0)).collect();
    assert_eq!(keys, [(2, 2), (2, 4), (2, 6), (2, 7), (2, 8), (2, 9), (3, 1)]);
    let locations: Vec<_> = entries.iter().map(|entry| entry.location).collect();
    for (entry, read) in entries.iter().zip(store.read(&locations)) {
        let seq = if entry.queue == QueueId(3) { 3 } else { entry.seq.0 };
        let expected = message(seq);
        assert_eq!(*read.unwrap(), expected);
        let (counts, expected_state) = match keys.iter().position(|key| *key == (entry.queue.0, entry.seq.0))
        {
            Some(0) => ((7, 8), None),
            Some(1 | 6) => ((3, 4), Some(state())),
            _ => ((expected.delivery_count, 0), None),
        };
        assert_eq!((entry.delivery_count, entry.acquired_count), counts);
        assert_eq!(entry.state.as_deref().cloned(), expected_state);
        assert_eq!((entry.priority, entry.first_acquirer), (expected.priority, expected.first_acquirer));
        assert_eq!((entry.expires, entry.size as usize), (expected.expires, expected.bytes.len()));
    }
}

#[test]
fn every_version_is_opened_with_everything_in_it() {
    for version in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path(), version);
        let report = check(dir.path()).unwrap();
        assert!(report.is_ok(), "{report}");
        expect_everything(dir.path(), version);
        // And again, once it is of this version.
        expect_everything(dir.path(), version);
    }
}

#[test]
fn every_version_is_opened_from_its_journal_alone() {
    for version in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture(version).join("journal"), &dir.path().join("journal"));
        expect_everything(dir.path(), version);
    }
}

#[test]
fn a_later_format_is_refused_with_both_versions_named() {
    let dir = tempfile::tempdir().unwrap();
    unpack(dir.path(), 2);
    let path = dir.path().join("journal/0000000002.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 3;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = JournalStore::open(dir.path(), options(), Box::new(|_| {})).expect_err("refused");
    assert!(error.to_string().contains("format version 3, this verdict knows 2"), "{error}");
}
