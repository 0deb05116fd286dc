//! Open, commit, read, stop, start.

use verdict::broker::{QueueId, Record, Seq};
use verdict::store::{Store, StoreError};

use crate::common::*;
use std::sync::Arc;

#[test]
fn what_was_committed_is_there_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), small());
    assert_eq!(first.report.messages, 0);
    first.commit(vec![Record::Define(Arc::new(definition(2)))]).unwrap();
    let locations = first.locations(vec![put(2, 1, b"one"), put(2, 2, b"two"), put(3, 1, b"dead")]);
    let read = first.store.read(&locations.into_iter().flatten().collect::<Vec<_>>());
    let read: Vec<_> = read.into_iter().map(|message| message.unwrap().bytes.to_vec()).collect();
    assert_eq!(read, [&b"one"[..], b"two", b"dead"]);
    first.commit(vec![settle(2, 1)]).unwrap();
    drop(first);

    let second = open(dir.path(), small());
    assert!(second.report.clean && !second.report.rebuilt);
    assert_eq!((second.report.queues, second.report.messages, second.report.replayed_bytes), (1, 2, 0));
    assert_eq!(second.queues, [definition(2)]);
    assert_eq!(second.contents(), [(2, 2, b"two".to_vec()), (3, 1, b"dead".to_vec())]);
    assert_eq!((second.next_seqs[&2], second.next_seqs[&3]), (3, 2));
    assert_eq!(second.entries[0].size, 3);
}

#[test]
fn what_was_committed_is_there_after_a_crash_without_any_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), journal_only());
    first
        .commit(vec![Record::Define(Arc::new(definition(2))), put(2, 1, b"one"), put(2, 2, b"two")])
        .unwrap();
    first.commit(vec![settle(2, 1), put(2, 3, &[7; 100_000])]).unwrap();
    first
        .commit(vec![
            Record::Count { queue: QueueId(2), seq: Seq(2), delivery_count: 4, acquired_count: 5 },
            Record::Move { from: (QueueId(2), Seq(3)), to: (QueueId(3), Seq(1)), state: state(9) },
        ])
        .unwrap();
    let copy = crashed_copy(dir.path());
    let second = open(copy.path(), small());
    assert!(!second.report.clean && second.report.replayed_bytes > 100_000);
    let expected =
        [(2, 2, 4, 5, None, b"two".to_vec()), (3, 1, 9, 10, Some((*state(9)).clone()), vec![7; 100_000])];
    assert_eq!(second.summary(), expected);
}

#[test]
fn a_second_broker_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), small());
    let error = try_open(dir.path(), small()).err().expect("refused");
    assert!(matches!(error, StoreError::Locked(_)));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn the_epoch_grows_with_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let epochs: Vec<u64> = (0..3).map(|_| open(dir.path(), small()).store.epoch()).collect();
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
}

#[test]
fn a_message_settled_before_it_was_written_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let locations = store.locations(vec![put(2, 1, b"one"), put(2, 2, b"two"), settle(2, 1)]);
    assert!(locations[0].is_none() && locations[1].is_some());
    let locations = store.locations(vec![put(2, 3, b"three"), settle(2, 3)]);
    assert_eq!(locations, [None]);
    drop(store);
    assert_eq!(open(dir.path(), small()).contents(), [(2, 2, b"two".to_vec())]);
}

#[test]
fn a_deleted_queue_takes_its_messages_and_dead_letters_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let define = |id| Record::Define(Arc::new(definition(id)));
    store.commit(vec![define(2), define(4), put(2, 1, b"a"), put(3, 1, b"b"), put(4, 1, b"c")]).unwrap();
    store.commit(vec![Record::Delete(QueueId(2))]).unwrap();
    let copy = crashed_copy(dir.path());
    drop(store);
    for dir in [dir.path(), copy.path()] {
        let store = open(dir, small());
        assert_eq!(store.queues, [definition(4)]);
        assert_eq!(store.contents(), [(4, 1, b"c".to_vec())]);
        assert!(!store.next_seqs.contains_key(&2));
    }
}
