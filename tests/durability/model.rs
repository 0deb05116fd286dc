//! Random histories, crashes and clean stops against a plain model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use verdict::broker::{QueueId, Record, Seq};
use verdict::store::check::check;
use verdict::store::{JournalStore, Options};

use crate::common::*;

#[derive(Debug, Clone)]
enum Step {
    Put(u32, usize),
    Settle(usize),
    Count(usize),
    Move(usize),
    Commit,
    Crash,
    Stop,
    LoseIndex,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1u32..3, 0usize..60_000).prop_map(|(queue, size)| Step::Put(queue * 2, size)),
        8 => any::<usize>().prop_map(Step::Settle),
        3 => any::<usize>().prop_map(Step::Count),
        3 => any::<usize>().prop_map(Step::Move),
        8 => Just(Step::Commit),
        1 => Just(Step::Crash),
        1 => Just(Step::Stop),
        1 => Just(Step::LoseIndex),
    ]
}

type Model = BTreeMap<(u32, u64), (u32, Vec<u8>)>;

fn found(store: &Opened) -> Model {
    let entries = store.summary().into_iter();
    entries.map(|(queue, seq, count, _, _, content)| ((queue, seq), (count, content))).collect()
}

/// Those of the messages that were moved, and so have a state.
fn of(model: &Model, moved: &BTreeSet<(u32, u64)>) -> Vec<(u32, u64)> {
    model.keys().filter(|key| moved.contains(key)).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_is_what_is_found(
        steps in proptest::collection::vec(step(), 1..80), checkpoints in any::<bool>(),
    ) {
        let options = || -> Options { if checkpoints { small() } else { journal_only() } };
        let mut dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), options());
        let (mut committed, mut model): (Model, Model) = Default::default();
        let mut pending: Vec<Record> = Vec::new();
        let mut moved = BTreeSet::new();
        let mut next = [1u64; 8];
        let mut fresh = |queue: u32| {
            next[queue as usize] += 1;
            next[queue as usize]
        };
        for step in steps.into_iter().chain([Step::Commit, Step::Crash, Step::Stop]) {
            let pick = |n: usize| model.keys().nth(n % model.len().max(1)).copied();
            match step {
                Step::Put(queue, size) => {
                    let seq = fresh(queue);
                    let content = vec![seq as u8; size];
                    pending.push(put(queue, seq, &content));
                    model.insert((queue, seq), (0, content));
                }
                Step::Settle(n) => if let Some((queue, seq)) = pick(n) {
                    pending.push(settle(queue, seq));
                    model.remove(&(queue, seq));
                },
                Step::Count(n) => if let Some((queue, seq)) = pick(n) {
                    let delivery_count = n as u32 % 100;
                    let (id, place) = (QueueId(queue), Seq(seq));
                    pending.push(Record::Count { queue: id, seq: place, delivery_count, acquired_count: 1 });
                    model.get_mut(&(queue, seq)).unwrap().0 = delivery_count;
                },
                Step::Move(n) => if let Some((queue, seq)) = pick(n) {
                    let to = (queue ^ 1, fresh(queue ^ 1));
                    let (from, target) = ((QueueId(queue), Seq(seq)), (QueueId(to.0), Seq(to.1)));
                    pending.push(Record::Move { from, to: target, state: state(7) });
                    let (_, content) = model.remove(&(queue, seq)).unwrap();
                    model.insert(to, (7, content));
                    moved.insert(to);
                },
                Step::Commit => {
                    store.commit(std::mem::take(&mut pending)).unwrap();
                    committed = model.clone();
                    prop_assert_eq!(store.stateful(committed.keys()), of(&committed, &moved));
                }
                Step::Crash | Step::Stop | Step::LoseIndex => {
                    pending.clear();
                    model = committed.clone();
                    if matches!(step, Step::Crash) {
                        let copy = crashed_copy(dir.path());
                        drop(store);
                        dir = copy;
                    } else {
                        drop(store);
                    }
                    if matches!(step, Step::LoseIndex) {
                        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
                    }
                    let report = check(dir.path()).unwrap();
                    prop_assert!(report.is_ok(), "{}", report);
                    prop_assert_eq!(report.messages as usize, committed.len());
                    store = open(dir.path(), options());
                    prop_assert_eq!(found(&store), committed.clone());
                    prop_assert_eq!(store.stateful(committed.keys()), of(&committed, &moved));
                }
            }
        }
    }
}

/// The store is shared between threads.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<JournalStore>();
};
