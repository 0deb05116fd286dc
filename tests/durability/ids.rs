//! Ids of messages that came (duplicate detection): safe with their messages or not at all, and for longer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use verdict::broker::{Fingerprint, QueueId, Record, SeenId};
use verdict::store::check::check;
use verdict::store::{Options, Store, StoreEvent};
use verdict::time::Millis;

use crate::common::*;

pub fn id(number: u64) -> SeenId {
    let mut key = [7; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    SeenId { number, key: Fingerprint(key), at: Millis(1000 + number) }
}

pub fn seen(numbers: impl IntoIterator<Item = u64>, oldest: u64) -> Record {
    Record::Seen { queue: QueueId(2), ids: numbers.into_iter().map(id).collect(), oldest }
}

/// What the queue remembers: the number below which all is forgotten, and the ids.
fn remembered(dir: &Path) -> (u64, Vec<SeenId>) {
    let store = open(dir, journal_only());
    let (oldest, ids) = store.seen.get(&2).cloned().unwrap_or_default();
    (oldest, ids.into_iter().map(|(id, _)| id).collect())
}

/// Looks at it as it is, and made again from the journal alone.
fn expect(dir: &Path, oldest: u64, numbers: impl IntoIterator<Item = u64>) {
    let expected = (oldest, numbers.into_iter().map(id).collect::<Vec<_>>());
    assert!(check(dir).unwrap().is_ok(), "{}", check(dir).unwrap());
    assert_eq!(remembered(dir), expected);
    assert_eq!(remembered(dir), expected, "after the replay was checkpointed");
    fs::remove_dir_all(dir.join("index")).unwrap();
    assert_eq!(remembered(dir), expected, "from the journal alone");
    assert!(check(dir).unwrap().is_ok(), "{}", check(dir).unwrap());
}

#[test]
fn ids_outlive_their_messages_a_crash_and_the_index() {
    // Checkpoints between any two records, and never.
    for interval in [Duration::ZERO, Duration::from_secs(3600)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), Options { checkpoint_interval: interval, ..journal_only() });
        store.commit(vec![Record::Define(Arc::new(definition(2)))]).unwrap();
        let done = store.commit(vec![put(2, 1, b"a"), seen([1, 2], 1), put(2, 2, b"b")]).unwrap();
        assert_eq!(done.seen, done.locations[0].map(|location| location.segment));
        assert_eq!(store.commit(vec![settle(2, 1)]).unwrap().seen, None);
        store.commit(vec![seen(3..=900, 1)]).unwrap();
        store.commit(vec![put(2, 3, b"c"), seen([901], 700)]).unwrap();
        let crashed = crashed_copy(dir.path());
        drop(store);
        for dir in [crashed.path(), dir.path()] {
            expect(dir, 700, 700..=901);
            assert_eq!(open(dir, journal_only()).contents().len(), 2);
        }
    }
}

#[test]
fn an_id_is_written_though_its_message_need_not_be() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), journal_only());
    // Some of these are gathered with their settlements, which then are not written.
    let waiting: Vec<_> = (1..=200)
        .flat_map(|seq| {
            let put = store.submit(vec![put(2, seq, &[1; 1000]), seen([seq], 1)]);
            [put, store.submit(vec![settle(2, seq)])]
        })
        .collect();
    let left_out = waiting.into_iter().filter(|answer| answer.recv().unwrap().unwrap().locations == [None]);
    assert!(left_out.count() > 0);
    let crashed = crashed_copy(dir.path());
    drop(store);
    assert!(open(crashed.path(), journal_only()).entries.is_empty());
    expect(crashed.path(), 1, 1..=200);
}

#[test]
fn a_torn_frame_has_neither_the_message_nor_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), journal_only());
    store.commit(vec![put(2, 1, b"a"), seen([1], 1)]).unwrap();
    let begin = store.locations(vec![put(2, 2, b"b"), seen([2], 1)])[0].unwrap().offset as usize;
    let crashed = crashed_copy(dir.path());
    let file = segments(crashed.path()).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    for at in begin..begin + 80 {
        let copy = crashed_copy(crashed.path());
        let mut torn = whole.clone();
        torn[at..].fill(0);
        fs::write(copy.path().join("journal").join(file.file_name().unwrap()), &torn).unwrap();
        let store = open(copy.path(), journal_only());
        let ids: Vec<u64> =
            store.seen.get(&2).map(|(_, ids)| ids.iter().map(|(id, _)| id.number).collect()).unwrap();
        assert_eq!((store.entries.len(), ids), (1, vec![1]), "torn at {at}");
    }
}

#[test]
fn a_deleted_queue_remembers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    store.commit(vec![Record::Define(Arc::new(definition(2))), seen(1..=600, 1)]).unwrap();
    store.commit(vec![Record::Delete(QueueId(2))]).unwrap();
    drop(store);
    expect(dir.path(), 0, []);
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen in 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn segments_go_when_their_ids_are_written_again_or_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    store.commit(vec![Record::Define(Arc::new(definition(2)))]).unwrap();
    let mut places: BTreeMap<u64, u32> = BTreeMap::new();
    for seq in 1..=60u64 {
        let done = store.commit(vec![put(2, seq, &[1; 40_000]), seen([seq], 1)]).unwrap();
        places.insert(seq, done.seen.unwrap());
    }
    store.commit((1..=60).map(|seq| settle(2, seq)).collect()).unwrap();
    let first = segments(dir.path())[0].clone();
    let (mut seq, mut kept) = (60, false);
    wait_for(|| {
        seq += 1;
        store.commit(vec![put(2, seq, b"x")]).unwrap();
        store.commit(vec![settle(2, seq)]).unwrap();
        while let Ok(event) = store.events.try_recv() {
            let StoreEvent::Evacuate { segment } = event else { continue };
            kept |= first.exists();
            let old: Vec<u64> = places.iter().filter(|(_, at)| **at <= segment).map(|(n, _)| *n).collect();
            if !old.is_empty() {
                // As its node would: of the first ten nothing is to be remembered any more.
                let done = store.commit(vec![seen(old.iter().copied().filter(|n| *n > 10), 11)]).unwrap();
                old.iter().for_each(|number| _ = places.insert(*number, done.seen.unwrap()));
            }
            store.store.evacuated(QueueId(2), segment);
        }
        segments(dir.path()).len() <= 4
    });
    assert!(kept, "there was something to be written again");
    drop(store);
    expect(dir.path(), 11, 11..=60);
}
