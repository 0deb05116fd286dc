//! Records about a message the store does not know, as a refused one leaves behind: nothing comes of them,
//! not in the index, nor in a replay, nor when the index is made again from the journal.
//!
//! A `Keep` is not among them: where the oldest segments have gone it is what says that a message exists,
//! so nobody may make one of a message that was never committed (`broker::ledger`).

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use verdict::broker::{QueueId, Record, Seq};
use verdict::store::Options;
use verdict::store::check::check;

use crate::common::*;

const Q: QueueId = QueueId(2);
const DEAD: QueueId = QueueId(3);

/// Commits these beside a known message, and looks at what is there in every way there is.
fn nothing_comes_of(records: impl Fn() -> Vec<Record>) {
    // Checkpoints at the end, between any two records, and never.
    for interval in [Duration::from_secs(3600), Duration::ZERO] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), Options { checkpoint_interval: interval, ..journal_only() });
        store.commit(vec![Record::Define(Arc::new(definition(2)))]).unwrap();
        store.commit(vec![put(2, 1, b"known"), put(3, 1, b"dead")]).unwrap();
        for record in records() {
            store.commit(vec![record]).unwrap();
        }
        store.commit(records()).unwrap();
        let expected = [(2, 1, 0, 0, None, b"known".to_vec()), (3, 1, 0, 0, None, b"dead".to_vec())];
        let crashed = crashed_copy(dir.path());
        drop(store);
        for dir in [crashed.path(), dir.path()] {
            assert!(check(dir).unwrap().is_ok(), "{}", check(dir).unwrap());
            assert_eq!(open(dir, journal_only()).summary(), expected);
            assert_eq!(open(dir, journal_only()).summary(), expected, "after the replay was checkpointed");
            fs::remove_dir_all(dir.join("index")).unwrap();
            let made_again = open(dir, journal_only());
            assert_eq!((made_again.report.rebuilt, made_again.summary()), (true, expected.to_vec()));
            drop(made_again);
            assert!(check(dir).unwrap().is_ok(), "{}", check(dir).unwrap());
        }
    }
}

fn count(queue: QueueId, seq: u64) -> Record {
    Record::Count { queue, seq: Seq(seq), delivery_count: 3, acquired_count: 4 }
}

fn moved(from: u64, to: u64) -> Record {
    Record::Move { from: (Q, Seq(from)), to: (DEAD, Seq(to)), state: state(5) }
}

#[test]
fn a_settlement_of_an_unknown_message_is_nothing() {
    nothing_comes_of(|| vec![settle(2, 2), settle(2, 1000)]);
}

#[test]
fn counters_of_an_unknown_message_are_nothing() {
    nothing_comes_of(|| vec![count(Q, 2), count(Q, 1000)]);
}

#[test]
fn a_state_of_an_unknown_message_is_nothing() {
    nothing_comes_of(|| {
        [2, 1000].map(|seq| Record::State { queue: Q, seq: Seq(seq), state: state(2) }).to_vec()
    });
}

#[test]
fn a_move_of_an_unknown_message_is_nothing() {
    nothing_comes_of(|| vec![moved(2, 2), moved(1000, 1001)]);
}

#[test]
fn a_whole_life_of_an_unknown_message_is_nothing() {
    nothing_comes_of(|| {
        let state = Record::State { queue: DEAD, seq: Seq(2), state: state(6) };
        vec![count(Q, 2), moved(2, 2), state, count(DEAD, 2), moved(3, 3), settle(3, 3)]
    });
}

#[test]
fn the_number_of_an_unknown_message_that_moved_is_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), journal_only());
    store.commit(vec![Record::Define(Arc::new(definition(2))), put(2, 1, b"known")]).unwrap();
    store.commit(vec![moved(7, 1)]).unwrap();
    let crashed = crashed_copy(dir.path());
    drop(store);
    for dir in [crashed.path(), dir.path()] {
        let store = open(dir, journal_only());
        assert_eq!((store.next_seqs[&2], store.next_seqs[&3]), (8, 2));
    }
}
