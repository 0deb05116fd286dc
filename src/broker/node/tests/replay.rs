//! Replay: back to the queue, once for each name, with a fresh budget and the history kept.

use super::rig::*;
use crate::broker::{policy::WhenFull, *};

fn reject(rig: &mut Rig, consumer: u64, seq: u64) {
    let cause = Cause { condition: "app:bad".to_owned(), ..Cause::default() };
    rig.settle(consumer, seq, Outcome::Rejected(Some(Box::new(cause))));
}

/// This many dead letters, and nobody attached.
fn dead(n: u64, memory_bytes: u64) -> Rig {
    let mut rig = Rig::new();
    rig.run(Command::MemoryBudget { bytes: memory_bytes });
    rig.publish_n(n);
    rig.consumer(1);
    (1..=n).for_each(|seq| reject(&mut rig, 1, seq));
    rig.leave(1, DetachCause::Clean);
    rig.clear();
    rig
}

/// Looks at all dead letters and reads what is not in memory, as the server does.
fn letters(rig: &Rig) -> Vec<ReplayLetter> {
    let filter = Filter::default();
    let look = Look { dead_letter: true, from: Seq(0), scan: usize::MAX, limit: usize::MAX, filter: &filter };
    let stored = |seq: Seq| rig.stored_dead(seq.0).and_then(|stored| stored.state.clone());
    let seen = rig.node.look(look).seen.into_iter();
    seen.map(|seen| {
        let state = if seen.state_paged { stored(seen.seq) } else { None };
        ReplayLetter { seq: seen.seq, acquired_count: seen.acquired_count, state }
    })
    .collect()
}

fn replay(rig: &mut Rig, id: &str, letters: Vec<ReplayLetter>) -> Replayed {
    let replayed = rig.node.replay(rig.now, ReplayLetters { id: id.into(), own: true, letters, watch: true });
    rig.flush(Vec::new());
    replayed
}

fn replay_all(rig: &mut Rig, id: &str) -> Replayed {
    let letters = letters(rig);
    replay(rig, id, letters)
}

#[test]
fn replay_puts_messages_back_with_a_fresh_budget_and_their_history() {
    for memory_bytes in [0, 1 << 20] {
        let mut rig = dead(2, memory_bytes);
        assert_eq!(replay_all(&mut rig, "r").moved, 2);
        let (main, tree) = rig.node.counts();
        assert_eq!((main.available, tree.available), (2, 0));
        rig.consumer(2);
        let state = rig.deliveries[0].1.state.clone().expect("a history");
        assert_eq!((rig.deliveries[0].1.delivery_count, state.failures.len()), (0, 1));
        assert_eq!(state.replays.iter().map(|r| &*r.id).collect::<Vec<_>>(), ["r"]);
        assert!(state.death.is_some());
    }
}

#[test]
fn a_replayed_message_survives_a_crash_in_its_queue_and_nowhere_else() {
    let mut rig = dead(2, 0);
    replay_all(&mut rig, "r");
    rig.restart();
    let (main, tree) = rig.node.counts();
    assert_eq!((main.available, tree.available), (2, 0));
}

#[test]
fn a_replay_that_was_not_committed_has_not_happened_after_a_crash() {
    let mut rig = dead(1, 0);
    rig.auto_commit = false;
    assert_eq!(replay_all(&mut rig, "r").moved, 1);
    rig.restart();
    let (main, tree) = rig.node.counts();
    assert_eq!((main.available, tree.available), (0, 1));
}

#[test]
fn a_replay_that_is_run_twice_does_not_duplicate_and_leaves_what_died_again() {
    let mut rig = dead(2, 0);
    replay_all(&mut rig, "r");
    rig.consumer(2);
    let seqs = rig.seqs();
    reject(&mut rig, 2, seqs[0]);
    rig.settle(2, seqs[1], Outcome::Accepted);
    assert_eq!(replay_all(&mut rig, "r"), Replayed { done_before: 1, ..Replayed::default() });
    assert_eq!(rig.node.counts().1.available, 1);
    assert_eq!(replay_all(&mut rig, "another").moved, 1);
    let state =
        rig.journal.messages.values().next().and_then(|stored| stored.state.clone()).expect("a history");
    assert_eq!(state.replays.iter().map(|r| &*r.id).collect::<Vec<_>>(), ["r", "another"]);
}

#[test]
fn a_replayed_message_has_all_its_attempts_again() {
    let mut rig = Rig::with(QueuePolicy { max_attempts: 2, ..QueuePolicy::default() });
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, failed());
    rig.settle(1, 1, failed());
    assert_eq!(rig.node.counts().1.available, 1);
    rig.clear();
    replay_all(&mut rig, "r");
    let again = rig.seqs();
    rig.settle(1, again[0], failed());
    assert_eq!((rig.node.counts().1.available, rig.seqs().len()), (0, 1));
    rig.settle(1, again[0], failed());
    assert_eq!(rig.node.counts().1.available, 1);
}

#[test]
fn what_a_consumer_of_the_dead_letters_has_or_changed_is_not_replayed() {
    let mut rig = dead(2, 0);
    let before = letters(&rig);
    rig.subscribe(Subscribe { dead_letter: true, ..wish(2) }, 1);
    let held = letters(&rig);
    assert_eq!(replay(&mut rig, "r", held), Replayed { moved: 1, busy: 1, ..Replayed::default() });
    rig.settle(2, 1, Outcome::Released);
    assert_eq!(replay(&mut rig, "r", before).busy, 1, "what was known of its state is old");
    assert_eq!(replay_all(&mut rig, "r").moved, 1);
}

#[test]
fn a_full_queue_takes_no_more() {
    let mut rig = dead(3, 0);
    let full = QueuePolicy { max_messages: Some(2), when_full: WhenFull::Reject, ..QueuePolicy::default() };
    rig.run(Command::Policy(Box::new(full)));
    assert_eq!(replay_all(&mut rig, "r"), Replayed { moved: 2, full: true, ..Replayed::default() });
    assert_eq!(rig.node.counts().1.available, 1);
}

#[test]
fn what_becomes_of_watched_messages_is_told() {
    let mut rig = dead(4, 0);
    replay_all(&mut rig, "r");
    assert_eq!(rig.node.fates("r", false), Fates { open: 4, ..Fates::default() });
    rig.consumer(2);
    let seqs = rig.seqs();
    rig.settle(2, seqs[0], Outcome::Accepted);
    rig.settle(2, seqs[1], failed());
    rig.settle(2, seqs[2], Outcome::Released);
    assert_eq!(rig.node.fates("r", false), Fates { good: 1, bad: 1, open: 2 });
    reject(&mut rig, 2, seqs[3]);
    assert_eq!(rig.node.fates("r", true), Fates { good: 1, bad: 2, open: 1 });
    assert_eq!(rig.node.fates("r", false), Fates::default());
}

#[test]
fn a_replayed_message_does_not_expire_by_its_old_time() {
    let mut rig = Rig::new();
    rig.publish(vec![Message { expires: Some(rig.now.plus_ms(10)), ..message() }]);
    rig.pass(100);
    assert_eq!(rig.node.counts().1.available, 1);
    replay_all(&mut rig, "r");
    rig.pass(1000);
    assert_eq!(rig.node.counts().0.available, 1);
    rig.restart();
    rig.pass(1000);
    assert_eq!(rig.node.counts().0.available, 1);
}

#[test]
fn a_compaction_finds_what_was_replayed_behind_its_back() {
    let mut rig = dead(2, 0);
    rig.auto_load = false;
    rig.journal.segment = 2;
    rig.run(Command::Evacuate { segment: 1, limit: 100 });
    assert!(rig.evacuated.is_empty());
    let replayed = replay_all(&mut rig, "r");
    assert_eq!(replayed.moved, 2);
    rig.auto_load = true;
    rig.pass(1);
    assert_eq!(rig.evacuated, [1]);
    assert!(rig.journal.messages.values().all(|stored| stored.location.segment == 2));
}

#[test]
fn a_dead_letter_that_fails_or_is_rejected_waits_longer_each_time_and_stays() {
    let mut rig = dead(1, 1 << 20);
    rig.dead_consumer(2);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let seq = rig.seqs()[0];
        rig.settle(2, seq, Outcome::Rejected(None));
        let due = rig.node.next_wake().expect("it waits");
        waits.push(due.since_ms(rig.now));
        rig.now = due;
        rig.pass(0);
    }
    assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
    assert_eq!(rig.node.counts().1.available + rig.node.counts().1.acquired, 1);
}

/// A queue with another's dead letter, from queue 8.
fn foreign() -> Rig {
    let mut rig = Rig::new();
    rig.publish_n(1);
    let death = Death {
        reason: DeathReason::Rejected,
        cause: None,
        time: rig.now,
        attempts: 3,
        queue: "elsewhere".into(),
        address: "elsewhere".into(),
        first: ("elsewhere".into(), DeathReason::Rejected),
    };
    let state = EntryState { delivery_count: 3, death: Some(Box::new(death)), ..EntryState::default() };
    let body = std::sync::Arc::new(message());
    rig.run(Command::MoveIn(Box::new(MoveIn {
        from: (QueueId(8), Seq(5)),
        location: None,
        message: Some(body),
        state: std::sync::Arc::new(state),
        size: 100,
        priority: 4,
        first_acquirer: true,
        durable: true,
    })));
    rig
}

fn replay_away(rig: &mut Rig, id: &str) -> Replayed {
    let letters = [1, 2].map(|seq| ReplayLetter { seq: Seq(seq), acquired_count: 0, state: None }).into();
    let replayed =
        rig.node.replay(rig.now, ReplayLetters { id: id.into(), own: false, letters, watch: false });
    rig.flush(Vec::new());
    replayed
}

#[test]
fn another_queues_dead_letter_goes_back_to_that_queue_and_nothing_else_does() {
    let mut rig = foreign();
    rig.pass(1);
    assert_eq!(replay_away(&mut rig, "r"), Replayed { moved: 1, done_before: 1, ..Replayed::default() });
    let (queue, moved) = rig.moves_out.pop().expect("it is offered");
    assert_eq!((&*queue, moved.from, moved.state.delivery_count), ("elsewhere", (QueueId(4), Seq(2)), 0));
    assert_eq!(moved.state.replays.iter().map(|r| &*r.id).collect::<Vec<_>>(), ["r"]);
    assert_eq!((rig.node.counts().0.available, rig.node.counts().0.moving), (1, 1));
    rig.run(Command::MovedOut { seq: Seq(2), taken: true });
    assert_eq!((rig.node.counts().0.available, rig.node.counts().0.moving), (1, 0));
}

#[test]
fn another_queues_dead_letter_that_is_not_taken_there_stays_as_it_was() {
    let mut rig = foreign();
    rig.pass(1);
    replay_away(&mut rig, "r");
    rig.run(Command::MovedOut { seq: Seq(2), taken: false });
    assert_eq!(rig.node.counts().0.available, 2);
    let state = rig.node.look_at(false, Seq(2)).and_then(|seen| seen.state).expect("its state");
    assert_eq!((state.delivery_count, state.replays.len()), (3, 0));
    assert_eq!(replay_away(&mut rig, "r").moved, 1, "and may be tried again");
}

#[test]
fn a_replayed_message_of_the_queue_itself_is_no_dead_letter_of_another() {
    let mut rig = dead(1, 1 << 20);
    replay_all(&mut rig, "r");
    let letters = vec![ReplayLetter { seq: Seq(2), acquired_count: 1, state: None }];
    let replayed =
        rig.node.replay(rig.now, ReplayLetters { id: "s".into(), own: false, letters, watch: false });
    assert_eq!(replayed, Replayed { done_before: 1, ..Replayed::default() });
}
