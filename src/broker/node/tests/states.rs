//! States that leave the memory and come back: who dies is small, and all of it is there when it is looked at.

use super::rig::*;
use crate::broker::*;

fn reject(rig: &mut Rig, consumer: u64, seq: u64) {
    let cause = Cause { condition: "app:bad".to_owned(), ..Cause::default() };
    rig.settle(consumer, seq, Outcome::Rejected(Some(Box::new(cause))));
}

/// A node without memory for bodies or states, and this many dead letters.
fn dead(n: u64) -> Rig {
    let mut rig = Rig::new();
    rig.run(Command::MemoryBudget { bytes: 0 });
    rig.publish_n(n);
    rig.consumer(1);
    (1..=n).for_each(|seq| reject(&mut rig, 1, seq));
    rig
}

fn held(rig: &Rig, dead_letter: bool) -> usize {
    let queue = if dead_letter { &rig.node.dead } else { &rig.node.main };
    let all = queue.with_status(&[crate::broker::queue::entry::Status::Available]);
    all.into_iter().filter(|seq| queue.entries.get(*seq).is_some_and(|e| e.state.is_some())).count()
}

#[test]
fn states_of_dead_letters_leave_the_memory_when_they_are_safe() {
    let mut rig = dead(3);
    assert_eq!((held(&rig, true), rig.node.counts().1.available), (0, 3));
    rig.auto_commit = false;
    rig.publish_n(1);
    rig.commit_all();
    reject(&mut rig, 1, 4);
    assert_eq!(held(&rig, true), 1, "not before the move is committed");
    rig.commit_all();
    assert_eq!(held(&rig, true), 0);
}

#[test]
fn as_many_states_as_the_budget_allows_stay() {
    let mut rig = Rig::new();
    rig.run(Command::MemoryBudget { bytes: 2 * 16 * 1024 });
    rig.publish_n(5);
    rig.consumer(1);
    (1..=5).for_each(|seq| reject(&mut rig, 1, seq));
    assert_eq!(held(&rig, true), 2);
}

#[test]
fn a_dead_letter_is_delivered_with_the_state_read_back() {
    let mut rig = dead(2);
    let tree = Subscribe { dead_letter: true, ..wish(2) };
    rig.subscribe(tree, 1);
    let delivery = rig.deliveries.last().expect("a delivery").1.clone();
    let state = delivery.state.expect("its state");
    assert_eq!(state.death.as_ref().map(|d| d.reason), Some(DeathReason::Rejected));
    assert_eq!(state.failures.len(), 1);
    assert_eq!(state.failures[0].cause.as_ref().map(|c| &*c.condition), Some("app:bad"));
}

#[test]
fn a_state_whose_counters_changed_since_comes_back_with_the_new_ones() {
    let mut rig = dead(1);
    rig.subscribe(Subscribe { dead_letter: true, ..wish(2) }, 1);
    rig.settle(2, 1, Outcome::Released);
    assert_eq!(held(&rig, true), 0);
    rig.flow(2, 1, 1, false);
    let state = rig.deliveries.last().and_then(|(_, d)| d.state.clone()).expect("its state");
    assert_eq!((state.delivery_count, state.acquired_count), (1, 2));
}

#[test]
fn restored_dead_letters_take_no_memory_for_their_states() {
    let mut rig = dead(3);
    rig.restart();
    assert_eq!((held(&rig, true), rig.node.counts().1.available), (0, 3));
    rig.subscribe(Subscribe { dead_letter: true, ..wish(2) }, 1);
    assert!(rig.deliveries.last().is_some_and(|(_, d)| d.state.as_ref().is_some_and(|s| s.death.is_some())));
}

#[test]
fn what_expires_is_excluded_or_is_suspect_keeps_its_state() {
    let mut rig = Rig::new();
    rig.run(Command::MemoryBudget { bytes: 0 });
    rig.publish_n(1);
    rig.consumer(1);
    let modified = Modified { undeliverable_here: true, ..Modified::default() };
    rig.settle(1, 1, Outcome::Modified(Box::new(modified)));
    assert_eq!(held(&rig, false), 1);
}

#[test]
fn an_evacuation_reads_states_back_and_writes_them_again() {
    let mut rig = dead(3);
    rig.journal.segment = 2;
    rig.run(Command::Evacuate { segment: 1, limit: 100 });
    assert_eq!(rig.evacuated, [1]);
    let states = rig.journal.messages.values().map(|s| (s.location.segment, s.state.is_some()));
    assert_eq!(states.collect::<Vec<_>>(), [(2, true); 3]);
    assert_eq!(rig.journal.kept_states, 3);
    assert_eq!(held(&rig, true), 0);
}

#[test]
fn an_evacuation_of_a_state_that_cannot_be_read_is_not_answered() {
    let mut rig = dead(1);
    rig.auto_load = false;
    rig.journal.segment = 2;
    rig.run(Command::Evacuate { segment: 1, limit: 100 });
    assert_eq!(rig.loads.len(), 1);
    let loaded = vec![Loaded { seq: Seq(1), body: None, state: None }];
    rig.run(Command::Loaded { dead_letter: true, loaded });
    assert!(rig.evacuated.is_empty());
    rig.loads.clear();
    rig.auto_load = true;
    rig.run(Command::Evacuate { segment: 1, limit: 100 });
    assert_eq!(rig.evacuated, [1]);
}

#[test]
fn an_evacuation_does_not_wait_for_what_was_purged_meanwhile() {
    let mut rig = dead(1);
    rig.auto_load = false;
    rig.journal.segment = 2;
    rig.run(Command::Evacuate { segment: 1, limit: 100 });
    rig.node.purge(true, 0..u64::MAX, 100);
    rig.flush(Vec::new());
    assert_eq!(rig.evacuated, [1]);
}
