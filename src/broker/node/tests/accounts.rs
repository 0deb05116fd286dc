//! Answers and records: what is said to whom when what is safe.

use super::rig::*;
use crate::broker::{policy::RetryDelay, *};

#[test]
fn a_durable_message_is_accepted_when_its_batch_is_committed() {
    let mut rig = Rig::new();
    rig.auto_commit = false;
    rig.publish_n(2);
    assert_eq!(rig.answers, []);
    rig.commit();
    assert_eq!(rig.answers, [(1, None), (2, None)]);
    assert_eq!(rig.published_effects, 1);
}

#[test]
fn a_non_durable_message_is_accepted_at_once_and_makes_no_record() {
    let mut rig = Rig::new();
    rig.auto_commit = false;
    rig.publish(vec![Message { durable: false, ..message() }]);
    assert_eq!(rig.answers, [(1, None)]);
    rig.consumer(1);
    rig.settle_as(1, 1, Some(failed()), true);
    rig.settle_as(1, 1, Some(Outcome::Accepted), true);
    assert_eq!((rig.batches.len(), rig.settled.len()), (0, 2));
}

#[test]
fn a_message_settled_before_its_commit_is_accepted_then_and_once() {
    let mut rig = Rig::new();
    rig.auto_commit = false;
    rig.consumer(1);
    rig.publish_n(2);
    assert_eq!(rig.seqs(), [1, 2], "delivery does not wait for the disk");
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.answers, [(1, None)]);
    rig.commit();
    rig.commit();
    assert_eq!(rig.answers, [(1, None), (2, None)]);
    assert!(rig.stored(1).is_none() && rig.stored(2).is_some());
}

#[test]
fn no_answer_is_given_where_none_is_wanted() {
    let mut rig = Rig::new();
    let publish =
        |durable| Publish { token: 1, message: Message { durable, ..message() }.into(), answer: false };
    rig.run(Command::Publish { producer: P, messages: vec![publish(true), publish(false)] });
    rig.run(Command::StorageFull(true));
    rig.run(Command::Publish { producer: P, messages: vec![publish(true)] });
    assert_eq!((rig.answers.len(), rig.node.counts().0.available), (0, 2));
}

#[test]
fn several_batches_may_be_in_flight() {
    let mut rig = Rig::new();
    rig.auto_commit = false;
    for _ in 0..3 {
        rig.publish_n(1);
    }
    let tickets: Vec<u64> = rig.batches.iter().map(|b| b.ticket.0).collect();
    assert!(tickets.len() == 3 && tickets.is_sorted(), "{tickets:?}");
    for n in 1..=3 {
        rig.commit();
        assert_eq!(rig.answers.len(), n);
    }
    assert!(rig.node.take_batch().is_none());
}

#[test]
fn a_message_moved_before_its_commit_gets_its_location_where_it_is() {
    let mut rig = Rig::new();
    rig.auto_commit = false;
    rig.consumer(1);
    rig.publish_n(1);
    rig.settle(1, 1, Outcome::Rejected(None));
    assert_eq!(rig.answers, []);
    rig.commit();
    assert_eq!(rig.answers, [(1, None)]);
    rig.commit();
    assert!(rig.stored(1).is_none() && rig.stored_dead(1).is_some());
    let place = rig.node.dead.entries.get(1).and_then(|e| e.location());
    assert_eq!(place, rig.stored_dead(1).map(|s| s.location));
    rig.auto_commit = true;
    rig.run(Command::MemoryBudget { bytes: 0 });
    rig.dead_consumer(2);
    assert_eq!(rig.got(), [(1, 1), (2, 1)]);
}

#[test]
fn release_is_confirmed_with_the_batch_of_its_count() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.subscribe(wish(1), 1);
    rig.auto_commit = false;
    rig.settle_as(1, 1, Some(Outcome::Released), true);
    assert_eq!(rig.settled, []);
    rig.commit();
    assert_eq!(rig.settled, [(c(1), Seq(1), Outcome::Released)]);
}

#[test]
fn only_counters_make_a_count_record_and_more_a_state() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.subscribe(wish(1), 2);
    rig.auto_commit = false;
    rig.settle(1, 1, Outcome::Released);
    rig.settle(1, 1, failed());
    let records: Vec<_> = rig.batches.iter().flat_map(|b| &b.records).collect();
    assert!(matches!(
        records.as_slice(),
        [Record::Count { delivery_count: 0, acquired_count: 1, .. }, Record::State { state, .. }]
            if state.delivery_count == 1 && state.acquired_count == 2
    ));
}

#[test]
fn a_clean_stop_keeps_non_durable_messages_with_their_counts() {
    let mut rig = Rig::new();
    let light = || Message { durable: false, ..message() };
    rig.publish(vec![light(), light(), light(), message()]);
    rig.subscribe(wish(1), 3);
    rig.settle(1, 1, Outcome::Released);
    rig.settle(1, 2, Outcome::Rejected(None));
    rig.leave(1, DetachCause::Clean);
    rig.node.prepare_stop();
    rig.flush(Vec::new());
    assert_eq!(rig.journal.messages.len(), 4);
    rig.restart();
    rig.consumer(1);
    let got: Vec<_> =
        rig.deliveries.iter().map(|(_, d)| (d.seq.0, d.acquired_count, d.message.durable)).collect();
    assert_eq!(got, [(1, 1, false), (3, 1, false), (4, 0, true)]);
    assert_eq!(rig.stored_dead(1).map(|s| s.delivery_count), Some(1));
    // They have a place on disk now: what becomes of them must be recorded.
    rig.settle(1, 1, Outcome::Accepted);
    assert!(rig.stored(1).is_none());
}

/// A message whose `Put` waits for the disk, already handed to consumer 1.
fn handed_before_its_commit(policy: QueuePolicy) -> Rig {
    let mut rig = Rig::with(policy);
    rig.consumer(1);
    rig.auto_commit = false;
    rig.publish_n(1);
    assert_eq!(rig.seqs(), [1]);
    rig
}

/// The store refuses the oldest batch and commits all others.
fn refuse_first(rig: &mut Rig) {
    let refused = rig.batches.pop_front().map(|b| b.ticket).unwrap_or_default();
    rig.run(Command::CommitFailed { ticket: refused });
    while !rig.batches.is_empty() {
        rig.commit();
    }
    rig.auto_commit = true;
    rig.pass(60_000);
    let none = Counts { consumers: 1, ..Counts::default() };
    assert_eq!(rig.node.counts().0, none, "nothing is left of it");
    assert_eq!(Counts { consumers: 0, ..rig.node.counts().1 }, Counts::default());
    assert!(rig.journal.messages.is_empty());
    // Nothing else was held up: the next message lives a whole life.
    rig.got();
    rig.publish_n(1);
    let (consumer, seq) = rig.got().pop().unwrap_or_default();
    rig.settle_as(consumer, seq, Some(Outcome::Accepted), true);
    assert_eq!(rig.settled.last(), Some(&(c(consumer), Seq(seq), Outcome::Accepted)));
    assert!(rig.journal.messages.is_empty());
}

const REFUSED: (u64, Option<Refusal>) = (1, Some(Refusal::StorageFull));

#[test]
fn a_refused_message_is_taken_back_while_it_waits() {
    let mut rig = Rig::new();
    rig.subscribe(wish(1), 0);
    rig.auto_commit = false;
    rig.publish_n(1);
    let refused = rig.batches.pop_front().map(|b| b.ticket).unwrap_or_default();
    rig.run(Command::CommitFailed { ticket: refused });
    assert_eq!((rig.answers.clone(), rig.node.counts().0.available), (vec![REFUSED], 0));
}

#[test]
fn a_refused_message_is_taken_back_from_the_consumer_that_has_it_and_its_answer_still_answered() {
    let mut rig = handed_before_its_commit(QueuePolicy::default());
    refuse_first(&mut rig);
    assert_eq!(rig.answers.first(), Some(&REFUSED));
    rig.settled.clear();
    rig.settle_as(1, 1, Some(failed()), true);
    assert_eq!(rig.settled, [(c(1), Seq(1), failed())]);
    assert!(rig.journal.messages.is_empty());
}

#[test]
fn a_refused_message_is_taken_back_while_its_retry_is_delayed() {
    let delay = RetryDelay { first_ms: 50, ..RetryDelay::default() };
    let mut rig = handed_before_its_commit(QueuePolicy { retry_delay: delay, ..QueuePolicy::default() });
    rig.settle_as(1, 1, Some(failed()), true);
    assert_eq!(rig.node.counts().0.delayed, 1);
    refuse_first(&mut rig);
    assert_eq!(rig.answers.first(), Some(&REFUSED));
    assert_eq!(rig.settled.first(), Some(&(c(1), Seq(1), failed())), "when its record was committed");
}

#[test]
fn a_refused_message_is_taken_back_from_the_dead_letters_too() {
    for held in [false, true] {
        let mut rig = handed_before_its_commit(QueuePolicy::default());
        if held {
            rig.dead_consumer(2);
        }
        rig.settle_as(1, 1, Some(Outcome::Rejected(None)), true);
        assert_eq!(rig.got().len(), usize::from(held));
        refuse_first(&mut rig);
        assert_eq!(rig.answers.first(), Some(&REFUSED));
        assert_eq!(rig.settled.len(), 2);
    }
}

#[test]
fn a_refused_message_is_taken_back_on_its_way_to_another_queue() {
    let policy = QueuePolicy { dead_letter_queue: Some("graveyard".into()), ..QueuePolicy::default() };
    let mut rig = handed_before_its_commit(policy);
    rig.settle_as(1, 1, Some(Outcome::Rejected(None)), true);
    assert_eq!((rig.node.counts().0.moving, rig.settled.len()), (1, 0));
    refuse_first(&mut rig);
    assert_eq!(rig.answers.first(), Some(&REFUSED));
    assert_eq!(rig.settled.first(), Some(&(c(1), Seq(1), Outcome::Rejected(None))));
    assert!(rig.moves_out.is_empty());
}

#[test]
fn a_message_settled_before_its_put_was_refused_stays_accepted() {
    let mut rig = handed_before_its_commit(QueuePolicy::default());
    rig.settle_as(1, 1, Some(Outcome::Accepted), true);
    refuse_first(&mut rig);
    assert_eq!(rig.answers.first(), Some(&(1, None)));
    assert!(!rig.answers.contains(&REFUSED));
}

#[test]
fn taking_back_a_dead_letter_answers_for_no_other_message() {
    let policy = QueuePolicy { dead_letter_queue: Some("graveyard".into()), ..QueuePolicy::default() };
    let mut rig = handed_before_its_commit(policy.clone());
    rig.auto_commit = true;
    rig.commit();
    rig.settle_as(1, 1, Some(Outcome::Rejected(None)), true);
    assert_eq!((rig.moves_out.len(), rig.settled.len()), (1, 0), "it waits for the other queue");
    // Another one goes to our own tree, to the place of the same number, and is refused.
    rig.run(Command::Policy(Box::new(QueuePolicy { dead_letter_queue: None, ..policy })));
    rig.auto_commit = false;
    rig.publish_n(1);
    rig.settle_as(1, 2, Some(Outcome::Rejected(None)), false);
    let refused = rig.batches.pop_front().map(|b| b.ticket).unwrap_or_default();
    rig.run(Command::CommitFailed { ticket: refused });
    assert_eq!(rig.settled, []);
    rig.run(Command::MovedOut { seq: Seq(1), taken: true });
    assert_eq!(rig.settled.len(), 1);
}

#[test]
fn a_message_is_not_written_again_before_its_put_is_safe() {
    let mut rig = handed_before_its_commit(QueuePolicy::default());
    rig.settle(1, 1, Outcome::Rejected(None));
    rig.run(Command::Evacuate { segment: 9, limit: 10 });
    let keeps = |rig: &Rig| {
        rig.batches.iter().flat_map(|b| &b.records).filter(|r| matches!(r, Record::Keep { .. })).count()
    };
    assert_eq!(keeps(&rig), 0, "the store would write a message it refused");
    refuse_first(&mut rig);
}

#[test]
fn storage_full_refuses_publishers_and_closes_their_credit_until_there_is_room() {
    let mut rig = Rig::new();
    rig.run(Command::AttachProducer { producer: P });
    rig.publish_n(1);
    rig.run(Command::StorageFull(true));
    assert_eq!(rig.credit, [(P, false)]);
    rig.publish_n(1);
    assert_eq!(rig.answers.last(), Some(&(2, Some(Refusal::StorageFull))));
    rig.run(Command::AttachProducer { producer: ProducerId(10) });
    assert_eq!(rig.credit.last(), Some(&(ProducerId(10), false)));
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    assert!(rig.journal.messages.is_empty(), "consumers go on");
    rig.run(Command::StorageFull(false));
    assert_eq!(rig.credit.get(2..), Some(&[(P, true), (ProducerId(10), true)][..]));
    rig.publish_n(1);
    assert_eq!(rig.answers.last(), Some(&(3, None)));
}

#[test]
fn evacuation_writes_everything_in_old_segments_again_in_portions() {
    let mut rig = Rig::new();
    rig.publish_n(10);
    rig.subscribe(wish(1), 3);
    rig.settle(1, 1, Outcome::Rejected(None));
    rig.settle(1, 2, failed());
    rig.journal.segment = 2;
    rig.publish_n(1);
    rig.auto_commit = false;
    rig.run(Command::Evacuate { segment: 1, limit: 4 });
    let kept = |rig: &Rig| rig.batches.iter().map(|b| b.records.len()).sum::<usize>();
    assert_eq!(kept(&rig), 4);
    // Settled while its keep is on its way: fine.
    rig.consumer(2);
    rig.settle(1, 3, Outcome::Accepted);
    rig.run(Command::Evacuate { segment: 1, limit: 4 });
    rig.run(Command::Evacuate { segment: 1, limit: 4 });
    assert!(rig.evacuated.is_empty());
    while !rig.batches.is_empty() {
        rig.commit();
    }
    assert_eq!(rig.evacuated, [1]);
    rig.journal.delete_segments(1);
    assert!(rig.journal.messages.values().all(|s| rig.journal.read(s.location).is_some()));
    assert_eq!(rig.journal.messages.len(), 10);
    assert_eq!(rig.stored(2).map(|s| s.delivery_count), Some(1));
    rig.auto_commit = true;
    rig.restart();
    rig.consumer(1);
    assert_eq!(rig.seqs().len(), 9);
}

#[test]
fn evacuation_waits_for_messages_whose_place_is_not_known_yet() {
    let mut rig = Rig::new();
    rig.auto_commit = false;
    rig.publish_n(1);
    rig.run(Command::Evacuate { segment: 1, limit: 10 });
    assert!(rig.evacuated.is_empty());
    // It turns out to lie where it must not stay.
    rig.commit();
    assert_eq!((rig.evacuated.len(), rig.batches.len()), (0, 1));
    rig.journal.segment = 2;
    rig.commit();
    assert_eq!(rig.evacuated, [1]);
    assert_eq!(rig.stored(1).map(|s| s.location.segment), Some(2));
}

#[test]
fn a_message_moved_while_it_is_written_again_learns_its_new_place() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.consumer(1);
    rig.auto_commit = false;
    rig.journal.segment = 2;
    rig.run(Command::Evacuate { segment: 1, limit: 10 });
    rig.settle(1, 1, Outcome::Rejected(None));
    rig.auto_commit = true;
    rig.pass(0);
    assert_eq!(rig.evacuated, [1]);
    rig.journal.delete_segments(1);
    rig.run(Command::MemoryBudget { bytes: 0 });
    rig.got();
    rig.dead_consumer(2);
    assert_eq!(rig.got(), [(2, 1)]);
}
