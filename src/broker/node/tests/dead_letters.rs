//! The dead-letter tree and another queue in its place.

use super::rig::*;
use crate::broker::*;

fn to_graveyard() -> QueuePolicy {
    QueuePolicy { dead_letter_queue: Some("graveyard".into()), ..QueuePolicy::default() }
}

fn graveyard() -> Rig {
    let definition =
        QueueDefinition { id: QueueId(6), name: "graveyard".into(), ..definition(QueuePolicy::default()) };
    Rig::of(Node::new(definition, 3))
}

#[test]
fn moving_in_is_one_record() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.auto_commit = false;
    rig.settle(1, 1, Outcome::Rejected(None));
    let records: Vec<_> = rig.batches.iter().flat_map(|b| &b.records).collect();
    let (from, to) = ((QueueId(4), Seq(1)), (QueueId(5), Seq(1)));
    assert!(matches!(records.as_slice(), [Record::Move { from: f, to: t, .. }] if (*f, *t) == (from, to)));
}

#[test]
fn a_dead_letter_can_be_accepted_and_released() {
    let mut rig = Rig::new();
    rig.publish_n(2);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    rig.settle(1, 2, Outcome::Rejected(None));
    rig.got();
    rig.subscribe(Subscribe { dead_letter: true, ..wish(2) }, 2);
    assert_eq!(rig.got(), [(2, 1), (2, 2)]);
    rig.settle(2, 1, Outcome::Released);
    rig.settle(2, 2, Outcome::Accepted);
    assert_eq!(rig.stored_dead(1).map(|s| (s.delivery_count, s.acquired_count)), Some((1, 2)));
    assert!(rig.stored_dead(2).is_none());
}

#[test]
fn a_dead_letter_that_fails_or_is_rejected_stays_and_counts() {
    let mut rig = Rig::with(QueuePolicy { max_attempts: 1, ..QueuePolicy::default() });
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, failed());
    rig.subscribe(Subscribe { dead_letter: true, ..wish(2) }, 3);
    rig.settle(2, 1, failed());
    rig.pass(1000);
    rig.settle(2, 1, Outcome::Rejected(None));
    rig.pass(1000);
    rig.leave(2, DetachCause::Lost);
    assert_eq!(rig.stored_dead(1).map(|s| (s.delivery_count, s.acquired_count)), Some((4, 4)));
    let state = rig.stored_dead(1).and_then(|s| s.state.clone()).unwrap_or_default();
    assert_eq!(state.failures.len(), 4);
    assert_eq!(state.death.as_ref().map(|d| (d.reason, d.attempts)), Some((DeathReason::MaxAttempts, 1)));
    rig.pass(1000);
    assert_eq!(rig.node.counts().1.available, 1);
}

#[test]
fn dead_letters_can_be_browsed_and_looking_changes_nothing() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    rig.consumer(1);
    for seq in 1..=3 {
        rig.settle(1, seq, Outcome::Rejected(None));
    }
    let before = format!("{:?}", rig.journal.messages);
    rig.got();
    rig.subscribe(Subscribe { dead_letter: true, browse: true, ..wish(2) }, 10);
    assert_eq!(rig.seqs(), [1, 2, 3]);
    rig.leave(2, DetachCause::Lost);
    assert_eq!((rig.node.counts().1.available, format!("{:?}", rig.journal.messages)), (3, before));
}

#[test]
fn dead_letters_survive_a_restart_with_their_history() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    let before = rig.stored_dead(1).and_then(|s| s.state.clone());
    rig.restart();
    rig.dead_consumer(2);
    assert_eq!(rig.deliveries.last().map(|(_, d)| d.state.clone()), Some(before));
}

#[test]
fn another_queue_takes_the_dead_letters_durably_and_only_then_they_are_gone_here() {
    let (mut rig, mut other) = (Rig::with(to_graveyard()), graveyard());
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle_as(1, 1, Some(Outcome::Rejected(None)), true);
    assert_eq!(rig.node.counts().0.moving, 1);
    let (name, message) = rig.moves_out.pop().unwrap_or_else(|| unreachable!("nothing was offered"));
    assert_eq!(name, "graveyard");
    assert!(rig.stored(1).is_some() && rig.settled.is_empty());
    other.auto_commit = false;
    other.run(Command::MoveIn(Box::new(message)));
    assert_eq!(other.moved_in, []);
    let moved = other.batches.front().map(|b| b.records.clone()).unwrap_or_default();
    let (from, to) = ((QueueId(4), Seq(1)), (QueueId(6), Seq(1)));
    assert!(matches!(moved.as_slice(), [Record::Move { from: f, to: t, .. }] if (*f, *t) == (from, to)));
    other.commit();
    assert_eq!(other.moved_in, [(from, true)]);
    rig.auto_commit = false;
    rig.run(Command::MovedOut { seq: Seq(1), taken: true });
    assert!(rig.batches.is_empty(), "the move has removed it here already");
    assert_eq!(rig.node.counts().0, Counts { consumers: 1, ..Counts::default() });
    assert_eq!(rig.settled, [(c(1), Seq(1), Outcome::Rejected(None))]);
    other.consumer(5);
    let death = other.deliveries.last().and_then(|(_, d)| d.state.as_ref()?.death.clone());
    assert_eq!(death.map(|d| (d.queue, d.reason)), Some(("orders".to_owned(), DeathReason::Rejected)));
}

#[test]
fn what_the_other_queue_does_not_take_goes_to_the_own_tree() {
    let mut rig = Rig::with(to_graveyard());
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle_as(1, 1, Some(Outcome::Rejected(None)), true);
    rig.run(Command::MovedOut { seq: Seq(1), taken: false });
    assert!(rig.stored(1).is_none() && rig.stored_dead(1).is_some());
    assert_eq!((rig.settled.len(), rig.node.counts().1.available), (1, 1));
}

#[test]
fn a_full_queue_that_rejects_takes_no_dead_letters_of_others() {
    let mut rig = Rig::with(to_graveyard());
    let mut other = graveyard();
    let policy =
        QueuePolicy { max_messages: Some(0), when_full: policy::WhenFull::Reject, ..QueuePolicy::default() };
    other.run(Command::Policy(Box::new(policy)));
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    if let Some((_, message)) = rig.moves_out.pop() {
        other.run(Command::MoveIn(Box::new(message)));
    }
    assert_eq!(other.moved_in, [((QueueId(4), Seq(1)), false)]);
}

#[test]
fn a_message_is_offered_only_when_its_place_is_known() {
    let mut rig = Rig::with(to_graveyard());
    rig.auto_commit = false;
    rig.consumer(1);
    rig.publish_n(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    assert!(rig.moves_out.is_empty());
    rig.commit();
    assert_eq!(rig.moves_out.len(), 1);
    assert!(rig.moves_out.iter().all(|(_, m)| m.location.is_some()));
}

#[test]
fn at_most_256_are_offered_at_a_time() {
    let mut rig = Rig::with(to_graveyard());
    rig.publish_n(300);
    rig.consumer(1);
    for seq in 1..=300 {
        rig.settle(1, seq, Outcome::Rejected(None));
    }
    assert_eq!(rig.moves_out.len(), 256);
    for seq in 1..=10 {
        rig.run(Command::MovedOut { seq: Seq(seq), taken: true });
    }
    assert_eq!(rig.moves_out.len(), 266);
    assert_eq!(rig.node.counts().0.moving, 290);
    rig.run(Command::Policy(Box::default()));
    assert_eq!((rig.node.counts().0.moving, rig.node.counts().1.available), (256, 34));
}

#[test]
fn non_durable_dead_letters_go_over_without_a_record() {
    let (mut rig, mut other) = (Rig::with(to_graveyard()), graveyard());
    rig.publish(vec![Message { durable: false, ..message() }]);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    if let Some((_, message)) = rig.moves_out.pop() {
        other.auto_commit = false;
        other.run(Command::MoveIn(Box::new(message)));
    }
    assert_eq!((other.batches.len(), other.moved_in.len()), (0, 1));
    other.consumer(1);
    assert_eq!(other.seqs(), [1]);
}

#[test]
fn the_first_death_is_remembered_through_later_ones() {
    let (mut rig, mut other) = (Rig::with(to_graveyard()), graveyard());
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    if let Some((_, message)) = rig.moves_out.pop() {
        other.run(Command::MoveIn(Box::new(message)));
    }
    other.run(Command::Policy(Box::new(QueuePolicy { max_attempts: 1, ..QueuePolicy::default() })));
    other.consumer(1);
    other.settle(1, 1, failed());
    other.got();
    other.dead_consumer(2);
    let death = other.deliveries.last().and_then(|(_, d)| d.state.as_ref()?.death.clone());
    let death = death.map(|d| (d.queue, d.reason, d.first, d.address));
    let first = ("orders".to_owned(), DeathReason::Rejected);
    assert_eq!(death, Some(("graveyard".to_owned(), DeathReason::MaxAttempts, first, "orders".to_owned())));
}

#[test]
fn a_dead_letter_does_not_arrive_where_a_segment_was_just_evacuated() {
    let (mut rig, mut other) = (Rig::with(to_graveyard()), graveyard());
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    // The queue it leaves does not answer while the other may have it; that one keeps it at once.
    rig.run(Command::Evacuate { segment: 1, limit: 10 });
    other.run(Command::Evacuate { segment: 1, limit: 10 });
    assert_eq!((rig.evacuated.len(), other.evacuated.len()), (0, 1));
    other.auto_commit = false;
    if let Some((_, message)) = rig.moves_out.pop() {
        other.run(Command::MoveIn(Box::new(message)));
    }
    let kinds: Vec<_> = other.batches.iter().flat_map(|b| &b.records).collect();
    assert!(matches!(kinds.as_slice(), [Record::Move { .. }, Record::Keep { .. }]));
    rig.run(Command::MovedOut { seq: Seq(1), taken: true });
    assert_eq!(rig.evacuated, [1]);
}

/// Found by the simulator: the message arrived behind the look of an evacuation that waits for a commit.
#[test]
fn a_dead_letter_that_arrives_during_an_evacuation_is_kept_too() {
    let (mut rig, mut other) = (Rig::with(to_graveyard()), graveyard());
    other.publish_n(1);
    rig.publish_n(1);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    other.auto_commit = false;
    other.run(Command::Evacuate { segment: 1, limit: 10 });
    if let Some((_, message)) = rig.moves_out.pop() {
        other.run(Command::MoveIn(Box::new(message)));
    }
    let kinds: Vec<_> = other.batches.iter().flat_map(|b| &b.records).collect();
    assert!(
        matches!(kinds.as_slice(), [Record::Keep { .. }, Record::Move { .. }, Record::Keep { .. }]),
        "{kinds:?}"
    );
    assert!(other.evacuated.is_empty());
}

/// A queue whose dead letters have limits, and this many of them, a second apart.
fn limited(limits: policy::LetterLimits, n: u64) -> Rig {
    let mut rig = Rig::with(QueuePolicy { dead_letters: limits, ..QueuePolicy::default() });
    rig.publish_n(n);
    rig.consumer(1);
    for seq in 1..=n {
        rig.settle(1, seq, Outcome::Rejected(None));
        rig.pass(1000);
    }
    rig
}

fn left(rig: &Rig) -> Vec<u64> {
    rig.journal.messages.keys().filter(|(queue, _)| queue.is_dead_letter()).map(|(_, seq)| seq.0).collect()
}

#[test]
fn without_a_limit_no_dead_letter_ever_goes() {
    let mut rig = limited(policy::LetterLimits::default(), 3);
    rig.pass(10 * 365 * 86_400_000);
    assert_eq!(left(&rig), [1, 2, 3]);
}

#[test]
fn dead_letters_beyond_the_limit_go_oldest_first_and_are_counted() {
    let rig = limited(policy::LetterLimits { max_messages: Some(2), ..Default::default() }, 5);
    assert_eq!((left(&rig), rig.node.tally().dropped), (vec![4, 5], 3));
    let rig = limited(policy::LetterLimits { max_bytes: Some(250), ..Default::default() }, 5);
    assert_eq!(left(&rig), [4, 5]);
}

#[test]
fn dead_letters_go_when_they_are_too_old_but_for_those_somebody_has() {
    let mut rig = limited(policy::LetterLimits { max_age_ms: Some(10_000), ..Default::default() }, 3);
    let due = rig.node.next_wake().expect("the oldest grows old");
    assert_eq!(due.since_ms(rig.now), 7000);
    rig.pass(7000);
    assert_eq!(left(&rig), [2, 3]);
    rig.subscribe(Subscribe { dead_letter: true, ..wish(2) }, 1);
    rig.pass(60_000);
    assert_eq!(left(&rig), [2]);
    rig.settle(2, 2, Outcome::Released);
    assert_eq!(left(&rig), [0; 0]);
}
