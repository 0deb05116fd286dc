//! The journal alone is enough, and compaction keeps it so.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use verdict::broker::{QueueId, Record, Restored, Seq};
use verdict::store::check::check;
use verdict::store::{Store, StoreEvent};

use crate::common::*;

fn fill(store: &Opened) {
    store.commit(vec![Record::Define(Arc::new(definition(2)))]).unwrap();
    for seq in 1..=40u64 {
        store.commit(vec![put(2, seq, &[seq as u8; 20_000])]).unwrap();
    }
    store.commit((1..=30).filter(|seq| seq % 3 != 0).map(|seq| settle(2, seq)).collect()).unwrap();
    store
        .commit(vec![
            Record::Count { queue: QueueId(2), seq: Seq(3), delivery_count: 1, acquired_count: 2 },
            Record::State { queue: QueueId(2), seq: Seq(6), state: state(5) },
            Record::Move { from: (QueueId(2), Seq(9)), to: (QueueId(3), Seq(1)), state: state(7) },
        ])
        .unwrap();
}

#[test]
fn a_lost_index_is_made_again_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    fill(&store);
    drop(store);
    let expected = open(dir.path(), small()).summary();
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    assert!(check(dir.path()).unwrap().is_ok());
    let store = open(dir.path(), small());
    assert!(store.report.rebuilt);
    assert_eq!((store.summary(), store.queues.len(), store.next_seqs[&2]), (expected, 1, 41));
}

#[test]
fn a_damaged_index_is_set_aside_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    fill(&store);
    drop(store);
    let expected = open(dir.path(), small()).summary();
    for damage in [0x00u8, 0x5A] {
        let db = dir.path().join("index").join("db");
        let mut bytes = fs::read(&db).unwrap();
        let half = bytes.len() / 2;
        bytes[..half].fill(damage);
        fs::write(&db, bytes).unwrap();
        assert_eq!(open(dir.path(), small()).summary(), expected);
    }
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen in 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn segments_without_live_messages_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    for seq in 1..=60u64 {
        store.commit(vec![put(2, seq, &[1; 40_000])]).unwrap();
    }
    assert!(segments(dir.path()).len() > 8);
    store.commit((1..=60).map(|seq| settle(2, seq)).collect()).unwrap();
    // Though nothing more happens.
    wait_for(|| segments(dir.path()).len() <= 2);
}

/// Answers `Evacuate` as the nodes would.
fn evacuate(store: &Opened, live: &mut [Restored], segment: u32) {
    let (moving, records): (Vec<usize>, Vec<Record>) = live
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.location.segment <= segment)
        .map(|(at, entry)| {
            let Restored { queue, seq, location, ref state, .. } = *entry;
            (at, Record::Keep { queue, seq, location, state: state.clone() })
        })
        .unzip();
    for (at, location) in moving.into_iter().zip(store.locations(records)) {
        live[at].location = location.unwrap();
    }
    store.store.evacuated(QueueId(2), segment);
}

fn live_after_compaction(dir: &Path) -> Vec<Summary> {
    let store = open(dir, small());
    store.commit(vec![Record::Define(Arc::new(definition(2)))]).unwrap();
    for seq in 1..=60u64 {
        store.commit(vec![put(2, seq, &[seq as u8; 40_000])]).unwrap();
    }
    store.commit(vec![Record::State { queue: QueueId(2), seq: Seq(1), state: state(4) }]).unwrap();
    store
        .commit(vec![Record::Move { from: (QueueId(2), Seq(2)), to: (QueueId(3), Seq(1)), state: state(8) }])
        .unwrap();
    store.commit((4..=60).map(|seq| settle(2, seq)).collect()).unwrap();
    drop(store);
    let store = open(dir, small());
    let expected = store.summary();
    let mut live = store.entries.clone();
    let mut seq = 60;
    wait_for(|| {
        seq += 1;
        store.commit(vec![put(2, seq, b"x")]).unwrap();
        store.commit(vec![settle(2, seq)]).unwrap();
        while let Ok(event) = store.events.try_recv() {
            if let StoreEvent::Evacuate { segment } = event {
                evacuate(&store, &mut live, segment);
            }
        }
        segments(dir).len() <= 4
    });
    for (entry, message) in
        live.iter().zip(store.store.read(&live.iter().map(|e| e.location).collect::<Vec<_>>()))
    {
        assert_eq!(message.unwrap().bytes.len() as u32, entry.size);
    }
    expected
}

#[test]
fn compaction_keeps_every_live_message_with_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let expected = live_after_compaction(dir.path());
    assert_eq!(expected.len(), 3);
    assert!(check(dir.path()).unwrap().is_ok());
    assert_eq!(open(dir.path(), small()).summary(), expected);
}

#[test]
fn after_compaction_the_journal_alone_is_still_enough() {
    let dir = tempfile::tempdir().unwrap();
    let expected = live_after_compaction(dir.path());
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let store = open(dir.path(), small());
    assert!(store.report.rebuilt);
    assert_eq!(store.summary(), expected);
    assert_eq!(store.queues, [definition(2)]);
    assert!(store.next_seqs[&2] > 60, "sequence numbers are never used again");
}
