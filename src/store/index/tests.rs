//! Tests of the index against real sled directories.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::broker::{EntryState, Fingerprint, Lifetime, Location, Message, QueuePolicy, Record, SeenId};
use crate::store::delta::Change;
use crate::store::journal::layout::Position;
use crate::store::memory::State;
use crate::store::record::Packed;
use crate::time::Millis;

thread_local! {
    /// Block writes left before a simulated crash.
    static FUSE: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// A crash in the middle of a checkpoint.
pub(super) fn burn_fuse() -> Result<(), StoreError> {
    FUSE.with(|fuse| {
        let left = fuse.get();
        fuse.set(left.saturating_sub(1));
        if left == 0 { Err(StoreError::Failed("crashed".into())) } else { Ok(()) }
    })
}

/// What a random history is made of; made valid (no id of a queue or message is used twice, a message is
/// put before anything else happens to it) by `records`.
#[derive(Debug, Clone)]
enum Step {
    Put(u32),
    Settle(usize),
    Count(usize, u32),
    State(usize, u32),
    Move(usize, u32),
    Keep(usize),
    Define(u32),
    Delete(u32),
    /// So many new ids, some old ones again, and so many forgotten.
    See(u32, u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let queue = || (1u32..4).prop_map(|n| n * 2);
    prop_oneof![
        6 => queue().prop_map(Step::Put),
        3 => any::<usize>().prop_map(Step::Settle),
        2 => (any::<usize>(), 1..9u32).prop_map(|(n, count)| Step::Count(n, count)),
        2 => (any::<usize>(), 1..9u32).prop_map(|(n, count)| Step::State(n, count)),
        4 => (any::<usize>(), 1u32..8).prop_map(|(n, to)| Step::Move(n, to)),
        2 => any::<usize>().prop_map(Step::Keep),
        1 => queue().prop_map(Step::Define),
        1 => queue().prop_map(Step::Delete),
        3 => (queue(), 0u64..300, 0u64..400).prop_map(|(queue, new, less)| Step::See(queue, new, less)),
    ]
}

fn state(count: u32) -> Arc<EntryState> {
    Arc::new(EntryState { delivery_count: count, acquired_count: count * 2, ..EntryState::default() })
}

fn definition(id: u32) -> Arc<QueueDefinition> {
    let (policy, lifetime) = (QueuePolicy::default(), Lifetime::Permanent);
    Arc::new(QueueDefinition {
        id: QueueId(id),
        name: format!("q{id}"),
        policy,
        lifetime,
        shard: 0,
        settings: String::new(),
    })
}

/// A valid history, with the seqs spread so that a queue has several blocks.
fn records(steps: &[Step]) -> Vec<Record> {
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    let mut alive: Vec<(QueueId, Seq)> = Vec::new();
    let mut records = Vec::new();
    // A deleted queue's number is never used again: the next of its name has a higher one.
    let mut generation: BTreeMap<u32, u32> = BTreeMap::new();
    let mut windows: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for step in steps {
        let id = |queue: u32| queue + 100 * generation.get(&(queue & !1)).copied().unwrap_or(0);
        let mut fresh = |queue: u32| {
            let seq = next.entry(id(queue)).or_insert(1);
            *seq += 101;
            (QueueId(id(queue)), Seq(*seq))
        };
        let pick = |n: &usize| (!alive.is_empty()).then(|| n % alive.len());
        let record = match step {
            Step::Put(queue) => {
                let (queue, seq) = fresh(*queue);
                alive.push((queue, seq));
                Some(Record::Put { queue, seq, message: message() })
            }
            Step::Settle(n) => pick(n).map(|at| {
                let (queue, seq) = alive.remove(at);
                Record::Settle { queue, seq }
            }),
            Step::Count(n, count) => pick(n).map(|at| {
                let (queue, seq) = alive[at];
                Record::Count { queue, seq, delivery_count: *count, acquired_count: *count }
            }),
            Step::State(n, count) => pick(n).map(|at| {
                let (queue, seq) = alive[at];
                Record::State { queue, seq, state: state(*count) }
            }),
            Step::Move(n, to) => pick(n).map(|at| {
                let to = fresh(*to);
                let from = std::mem::replace(&mut alive[at], to);
                Record::Move { from, to, state: state(*n as u32 % 7) }
            }),
            Step::Keep(n) => pick(n).map(|at| {
                let (queue, seq) = alive[at];
                let location = Location { segment: 1, offset: 0, len: 0 };
                Record::Keep { queue, seq, location, state: None }
            }),
            Step::See(queue, new, forget) => {
                let (oldest, next) = windows.entry(id(*queue)).or_insert((1, 1));
                let from = *next;
                *next += new;
                *oldest = (*oldest + forget).min(*next);
                let numbers = (*oldest..from).step_by(37).chain(from.max(*oldest)..*next);
                let one =
                    |number: u64| SeenId { number, key: Fingerprint([number as u8; 16]), at: Millis(number) };
                Some(Record::Seen {
                    queue: QueueId(id(*queue)),
                    ids: numbers.map(one).collect(),
                    oldest: *oldest,
                })
            }
            Step::Define(queue) => Some(Record::Define(definition(id(*queue)))),
            Step::Delete(queue) => {
                let deleted = id(*queue);
                alive.retain(|(id, _)| id.main().0 != deleted);
                *generation.entry(*queue).or_default() += 1;
                Some(Record::Delete(QueueId(deleted)))
            }
        };
        records.extend(record);
    }
    records
}

fn message() -> Arc<Message> {
    Arc::new(Message {
        from: 0,
        bytes: Arc::from(&b"x"[..]),
        format: 0,
        durable: true,
        priority: 4,
        first_acquirer: false,
        delivery_count: 0,
        expires: None,
    })
}

/// The changes the journal would hold; each put and keep at a place of its own.
fn changes(records: &[Record]) -> Vec<Change> {
    let change = |(number, record): (usize, &Record)| {
        let entry = IndexEntry {
            location: Location { segment: number as u32 / 10 + 1, offset: number as u32, len: 50 },
            delivery_count: 0,
            acquired_count: 0,
            expires: None,
            priority: 4,
            first_acquirer: false,
            has_state: false,
        };
        match record.clone() {
            Record::Put { queue, seq, .. } => Change::Put { queue, seq, entry },
            Record::Keep { queue, seq, .. } => Change::Keep { queue, seq, entry },
            Record::Settle { queue, seq } => Change::Settle { queue, seq },
            Record::Count { queue, seq, delivery_count, acquired_count } => {
                Change::Count { queue, seq, delivery_count, acquired_count }
            }
            Record::State { queue, seq, state } => Change::State { queue, seq, state: Packed::of(&state) },
            Record::Move { from, to, state } => Change::Move { from, to, state: Packed::of(&state) },
            Record::Seen { queue, ids, oldest } => {
                Change::Seen { queue, ids, oldest, segment: entry.location.segment }
            }
            Record::Define(definition) => Change::Define(definition),
            Record::Delete(queue) => Change::Delete(queue),
        }
    };
    records.iter().enumerate().map(change).collect()
}

fn apply(index: &Index, live: &mut LiveBytes, changes: &[Change], replay: bool) -> Result<(), StoreError> {
    let checkpoint = Checkpoint { position: Position::default(), epoch: 1, clean: false };
    let mut delta = Delta::new(replay);
    for change in changes {
        if delta.conflicts(change) {
            index.apply(std::mem::replace(&mut delta, Delta::new(replay)), live, checkpoint)?;
        }
        delta.merge(change.clone());
    }
    index.apply(delta, live, checkpoint)
}

type Summary = (
    Vec<u32>,
    BTreeMap<u32, u64>,
    Vec<(u32, u64, u32, u32, Option<EntryState>)>,
    BTreeMap<u32, (u64, Vec<SeenId>)>,
);

fn summary_of(index: &Index) -> Summary {
    let mut entries = Vec::new();
    index
        .for_each(|queue, seq, entry| {
            let state = if entry.has_state { index.state(queue, seq)? } else { None };
            let state = state.map(|state| EntryState {
                delivery_count: entry.delivery_count,
                acquired_count: entry.acquired_count,
                ..state
            });
            entries.push((queue.0, seq.0, entry.delivery_count, entry.acquired_count, state));
            Ok(())
        })
        .unwrap();
    let definitions = index.definitions().unwrap().into_iter().map(|definition| definition.id.0).collect();
    let next_seqs = index.next_seqs().unwrap().into_iter().map(|(id, next)| (id.0, next)).collect();
    let seen = index.seen_ids().unwrap().into_iter();
    let seen =
        seen.map(|(id, seen)| (id.0, (seen.oldest, seen.restored().iter().map(|(id, _)| *id).collect())));
    (definitions, next_seqs, entries, seen.collect())
}

fn summary_of_model(records: &[Record]) -> Summary {
    let mut model = State::default();
    for record in records {
        model.apply_ignoring_bytes(record);
    }
    let (mut definitions, mut next, mut entries) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut seen = BTreeMap::new();
    model.recover(&mut |found| match found {
        crate::store::Recovered::Queue(definition) => definitions.push(definition.id.0),
        crate::store::Recovered::NextSeq(queue, seq) => drop(next.insert(queue.0, seq)),
        crate::store::Recovered::Seen { queue, oldest, ids } => {
            seen.insert(queue.0, (oldest, ids.iter().map(|(id, _)| *id).collect()));
        }
        crate::store::Recovered::Entry(entry) => {
            let state = entry.state.as_deref().cloned();
            entries.push((entry.queue.0, entry.seq.0, entry.delivery_count, entry.acquired_count, state));
        }
    });
    (definitions, next, entries, seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// A checkpoint, a later one that a crash interrupted anywhere, and a replay from the first: the
    /// state is that of the whole history, whatever the index knew already.
    #[test]
    fn replay_over_an_interrupted_checkpoint_gives_the_whole_history(
        steps in proptest::collection::vec(step(), 0..60),
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
        fuse in prop_oneof![0u32..12, Just(u32::MAX)],
    ) {
        let records = records(&steps);
        let changes = changes(&records);
        let first = first.index(changes.len() + 1);
        let second = first + second.index(changes.len() - first + 1);
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), 1 << 20).unwrap();
        let mut live = LiveBytes::new();
        apply(&index, &mut live, &changes[..first], false).unwrap();
        FUSE.with(|left| left.set(fuse));
        let _ = apply(&index, &mut live, &changes[first..second], false);
        FUSE.with(|left| left.set(u32::MAX));
        let mut live = index.verify().unwrap();
        apply(&index, &mut live, &changes[first..], true).unwrap();
        prop_assert_eq!(summary_of(&index), summary_of_model(&records));
        prop_assert_eq!(live, index.verify().unwrap());
    }
}

#[test]
fn a_large_state_is_kept_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), 1 << 20).unwrap();
    let large = EntryState { excluded: vec!["x".repeat(1000); 300], ..EntryState::default() };
    index.put_state(QueueId(2), Seq(7), &Packed::of(&large), true).unwrap();
    assert_eq!(index.state(QueueId(2), Seq(7)).unwrap(), Some(large));
    assert!(index.states.iter().values().all(|value| value.unwrap().len() <= 64 * 1024));
    let small = EntryState::default();
    index.put_state(QueueId(2), Seq(7), &Packed::of(&small), true).unwrap();
    assert_eq!(index.state(QueueId(2), Seq(7)).unwrap(), Some(small));
    index.remove_state(QueueId(2), Seq(7)).unwrap();
    assert!(index.states.is_empty());
}

#[test]
fn what_came_and_went_between_checkpoints_is_not_kept() {
    let mut delta = Delta::new(false);
    let records: Vec<_> = (1..=10_000u64)
        .flat_map(|seq| {
            let (queue, seq) = (QueueId(2), Seq(seq));
            [Record::Put { queue, seq, message: message() }, Record::Settle { queue, seq }]
        })
        .collect();
    for change in changes(&records) {
        delta.merge(change);
    }
    assert!(delta.queues[&QueueId(2)].blocks.is_empty());
}
