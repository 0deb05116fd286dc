//! Duplicate detection: "a duplicate is accepted and not queued, survives restart; the broker's own retries and
//! replays are exempt".

use super::rig::*;
use crate::broker::policy::{Detect, DuplicatePolicy, ExpiredTo, WhenFull};
use crate::broker::*;

fn detecting(window_ms: u64, count: usize) -> QueuePolicy {
    let duplicates = DuplicatePolicy { detect: Detect::MessageId, window_ms, count };
    QueuePolicy { duplicates, ..QueuePolicy::default() }
}

fn rig() -> Rig {
    Rig::with(detecting(60_000, 1000))
}

/// With batches that wait for `commit` or `refuse`.
fn slow_rig() -> Rig {
    Rig { auto_commit: false, ..rig() }
}

fn key(key: u8) -> Message {
    marked(key, 0)
}

fn waiting(rig: &Rig) -> u64 {
    rig.node.counts().0.available
}

#[test]
fn a_duplicate_is_accepted_and_not_queued() {
    let mut rig = rig();
    rig.publish(vec![key(1), key(2), key(1)]);
    rig.publish(vec![key(2)]);
    rig.answers.sort_unstable_by_key(|(token, _)| *token);
    assert_eq!(rig.answers, [(1, None), (2, None), (3, None), (4, None)]);
    assert_eq!(waiting(&rig), 2);
    assert_eq!((rig.node.tally().published, rig.node.tally().duplicates), (2, 2));
}

#[test]
fn messages_without_the_key_are_never_duplicates() {
    let mut rig = rig();
    rig.publish(vec![key(0), key(0), message(), message()]);
    assert_eq!((waiting(&rig), rig.node.tally().duplicates), (4, 0));
}

#[test]
fn without_detection_nothing_is_a_duplicate_nor_recorded() {
    let mut rig = Rig { auto_commit: false, ..Rig::new() };
    rig.publish(vec![key(1), key(1)]);
    assert_eq!(waiting(&rig), 2);
    assert!(rig.batches.iter().flat_map(|b| &b.records).all(|r| matches!(r, Record::Put { .. })));
}

#[test]
fn a_duplicate_is_accepted_only_when_the_first_is_safe() {
    let mut rig = slow_rig();
    rig.publish(vec![key(1)]);
    rig.publish(vec![key(1)]);
    assert!(rig.answers.is_empty());
    rig.commit();
    assert_eq!(rig.answers, [(1, None), (2, None)].map(|a| a).iter().rev().copied().collect::<Vec<_>>());
}

#[test]
fn a_duplicate_is_refused_with_the_first_and_the_id_is_forgotten() {
    let mut rig = slow_rig();
    rig.publish(vec![key(1)]);
    rig.publish(vec![key(1)]);
    rig.refuse();
    rig.answers.sort_unstable_by_key(|(token, _)| *token);
    assert_eq!(rig.answers, [(1, Some(Refusal::StorageFull)), (2, Some(Refusal::StorageFull))]);
    rig.clear();
    rig.publish(vec![key(1)]);
    assert_eq!(waiting(&rig), 1, "a retry is taken");
    rig.commit();
    assert_eq!((rig.answers.as_slice(), rig.journal.ids.len()), (&[(3, None)][..], 1));
}

#[test]
fn a_refused_message_leaves_no_id_behind() {
    let policy = QueuePolicy { max_messages: Some(1), when_full: WhenFull::Reject, ..detecting(60_000, 10) };
    let mut rig = Rig::with(policy);
    rig.publish(vec![key(1), key(2)]);
    assert_eq!(rig.answers, [(2, Some(Refusal::QueueFull)), (1, None)]);
    rig.clear();
    // What was taken once is not refused for want of room.
    rig.publish(vec![key(1), key(2)]);
    assert_eq!(rig.answers, [(3, None), (4, Some(Refusal::QueueFull))]);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    rig.clear();
    rig.publish(vec![key(2)]);
    assert_eq!(rig.answers, [(5, None)]);
    assert_eq!(rig.node.tally().published, 2);
}

#[test]
fn what_became_of_the_first_does_not_matter() {
    let mut rig = Rig::with(QueuePolicy { expired: ExpiredTo::Discard, ..detecting(60_000, 1000) });
    let mortal = Message { expires: Some(rig.now.plus_ms(10)), ..key(3) };
    rig.publish(vec![key(1), key(2), mortal]);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    rig.settle(1, 2, Outcome::Rejected(None));
    rig.settle(1, 3, Outcome::Released);
    rig.leave(1, DetachCause::Clean);
    rig.pass(1000);
    assert_eq!((rig.node.counts().0.available, rig.node.counts().1.available), (0, 1));
    rig.publish(vec![key(1), key(2), key(3)]);
    assert_eq!((waiting(&rig), rig.node.tally().duplicates), (0, 3));
}

#[test]
fn retries_and_moves_are_exempt() {
    let mut rig = rig();
    rig.publish(vec![key(1)]);
    rig.consumer(1);
    for _ in 0..3 {
        rig.settle(1, 1, failed());
        rig.pass(1000);
    }
    assert_eq!(rig.seqs(), [1, 1, 1, 1]);
    let state = std::sync::Arc::new(EntryState::default());
    let message = Some(std::sync::Arc::new(key(1)));
    let (from, location) = ((QueueId(8), Seq(1)), None);
    let offered = MoveIn {
        from,
        location,
        message,
        state,
        size: 100,
        priority: 4,
        first_acquirer: true,
        durable: false,
    };
    rig.run(Command::MoveIn(Box::new(offered)));
    assert_eq!(rig.seqs(), [2]);
}

#[test]
fn the_window_is_bounded_by_time_from_the_first_message_on() {
    let mut rig = Rig::with(detecting(100, 1000));
    rig.publish(vec![key(1)]);
    rig.pass(60);
    rig.publish(vec![key(1)]);
    rig.pass(39);
    rig.publish(vec![key(1)]);
    assert_eq!(waiting(&rig), 1);
    rig.pass(1);
    rig.publish(vec![key(1)]);
    assert_eq!(waiting(&rig), 2);
}

#[test]
fn the_window_is_bounded_by_count() {
    let mut rig = Rig::with(detecting(60_000, 3));
    rig.publish((1..=4).map(key).collect());
    rig.publish(vec![key(2), key(3), key(4)]);
    assert_eq!(waiting(&rig), 4);
    rig.publish(vec![key(1)]);
    assert_eq!(waiting(&rig), 5);
    assert_eq!(rig.journal.ids.len(), 4, "told with the next");
    rig.publish(vec![key(9)]);
    assert_eq!(rig.journal.ids.len(), 4);
}

#[test]
fn ids_survive_a_crash_with_their_messages_or_without() {
    let mut rig = rig();
    rig.publish(vec![key(1), key(2)]);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    rig.restart();
    rig.publish(vec![key(1), key(2), key(3)]);
    assert_eq!((waiting(&rig), rig.node.tally().duplicates), (2, 2));
    rig.restart();
    rig.publish(vec![key(3)]);
    assert_eq!((waiting(&rig), rig.node.tally().duplicates), (2, 1));
}

#[test]
fn a_window_goes_on_after_a_restart() {
    let mut rig = Rig::with(detecting(100, 2));
    rig.publish(vec![key(1), key(2), key(3)]);
    rig.restart();
    rig.publish(vec![key(2), key(3)]);
    assert_eq!(rig.node.tally().duplicates, 2);
    rig.publish(vec![key(1)]);
    assert_eq!(rig.node.tally().duplicates, 2);
    rig.restart();
    rig.pass(100);
    rig.publish(vec![key(1), key(2), key(3)]);
    assert_eq!(rig.node.tally().duplicates, 0);
}

#[test]
fn nobody_hears_before_the_id_is_safe_even_if_the_message_is_gone() {
    let mut rig = slow_rig();
    rig.consumer(1);
    rig.publish(vec![key(1)]);
    rig.settle(1, 1, Outcome::Accepted);
    assert!(rig.answers.is_empty(), "a crash now would forget the id");
    rig.commit();
    assert_eq!((rig.answers.as_slice(), rig.journal.ids.len()), (&[(1, None)][..], 1));
}

#[test]
fn a_message_that_was_consumed_and_then_refused_is_a_duplicate_all_the_same() {
    let mut rig = slow_rig();
    rig.consumer(1);
    rig.publish(vec![key(1)]);
    rig.publish(vec![key(1)]);
    rig.settle(1, 1, Outcome::Accepted);
    rig.refuse();
    assert!(rig.answers.is_empty());
    while !rig.batches.is_empty() {
        rig.commit();
    }
    rig.answers.sort_unstable_by_key(|(token, _)| *token);
    assert_eq!((rig.answers.as_slice(), rig.journal.ids.len()), (&[(1, None), (2, None)][..], 1));
    rig.restart();
    rig.publish(vec![key(1)]);
    assert_eq!((waiting(&rig), rig.node.tally().duplicates), (0, 1));
}

#[test]
fn a_durable_message_is_no_duplicate_of_what_a_crash_forgets() {
    let mut rig = rig();
    let volatile = |n| Message { durable: false, ..key(n) };
    rig.publish(vec![volatile(1), volatile(1)]);
    assert_eq!((waiting(&rig), rig.journal.ids.len()), (1, 0));
    rig.publish(vec![key(1), key(1), volatile(1)]);
    assert_eq!((waiting(&rig), rig.journal.ids.len()), (2, 1));
}

#[test]
fn what_gave_way_to_a_durable_message_that_is_refused_is_remembered() {
    let mut rig = slow_rig();
    let volatile = |n| Message { durable: false, ..key(n) };
    rig.publish(vec![volatile(1), key(1)]);
    assert_eq!(waiting(&rig), 2);
    rig.refuse();
    assert_eq!(waiting(&rig), 1);
    rig.publish(vec![volatile(1)]);
    assert_eq!((waiting(&rig), rig.node.tally().duplicates), (1, 1));
}

#[test]
fn ids_of_messages_that_are_not_durable_are_kept_over_a_stop_in_good_order() {
    let mut rig = rig();
    rig.publish(vec![Message { durable: false, ..key(1) }]);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    rig.node.prepare_stop();
    rig.flush(Vec::new());
    rig.restart();
    rig.publish(vec![key(1)]);
    assert_eq!((waiting(&rig), rig.node.tally().duplicates), (0, 1));
}

#[test]
fn old_segments_are_emptied_of_ids() {
    let mut rig = rig();
    rig.publish(vec![key(1), key(2)]);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Accepted);
    rig.journal.segment = 2;
    rig.publish(vec![key(3)]);
    rig.run(Command::Evacuate { segment: 1, limit: 1 });
    while rig.evacuated.is_empty() {
        rig.run(Command::Evacuate { segment: 1, limit: 1 });
    }
    let segments: Vec<u32> = rig.journal.ids.values().map(|(_, segment)| *segment).collect();
    assert_eq!((rig.evacuated.as_slice(), segments), (&[1][..], vec![2, 2, 2]));
    rig.restart();
    rig.publish(vec![key(1), key(2), key(3)]);
    assert_eq!(rig.node.tally().duplicates, 3);
}

#[test]
fn ids_whose_batch_is_under_way_are_not_left_behind_in_an_old_segment() {
    let mut rig = slow_rig();
    rig.publish(vec![key(1)]);
    rig.run(Command::Evacuate { segment: 1, limit: 100 });
    assert!(rig.evacuated.is_empty());
    rig.commit();
    rig.journal.segment = 2;
    assert!(rig.evacuated.is_empty());
    while !rig.batches.is_empty() {
        rig.commit();
    }
    assert_eq!(rig.evacuated, [1]);
    assert!(rig.journal.ids.values().all(|(_, segment)| *segment == 2));
}

#[test]
fn forgotten_ids_are_not_written_again() {
    let mut rig = Rig::with(detecting(100, 1000));
    rig.publish(vec![key(1), key(2)]);
    rig.now = rig.now.plus_ms(100);
    rig.journal.segment = 2;
    rig.run(Command::Evacuate { segment: 1, limit: 100 });
    assert_eq!((rig.journal.ids.len(), rig.evacuated.as_slice()), (0, &[1][..]));
}

#[test]
fn switched_off_all_is_forgotten_and_the_store_told() {
    let mut rig = rig();
    rig.publish(vec![key(1)]);
    rig.run(Command::Policy(Box::default()));
    assert_eq!(rig.journal.ids.len(), 0);
    rig.publish(vec![key(1)]);
    rig.run(Command::Policy(Box::new(detecting(1000, 10))));
    rig.publish(vec![key(1)]);
    assert_eq!(waiting(&rig), 3, "what came meanwhile was not looked at");
    rig.publish(vec![key(1)]);
    assert_eq!(waiting(&rig), 3);
}

#[test]
fn a_smaller_window_holds_at_once() {
    let mut rig = rig();
    rig.publish((1..=5).map(key).collect());
    rig.run(Command::Policy(Box::new(detecting(60_000, 2))));
    rig.publish(vec![key(5), key(4)]);
    assert_eq!(rig.node.tally().duplicates, 2);
    rig.publish(vec![key(3)]);
    assert_eq!(rig.node.tally().duplicates, 2);
}

#[test]
fn a_dynamic_queue_detects_without_records() {
    let definition = QueueDefinition { lifetime: Lifetime::DeleteOnClose, ..definition(detecting(1000, 1)) };
    let mut rig = Rig::of(Node::create(definition, 1));
    rig.publish(vec![key(1), key(1), key(2), key(3)]);
    rig.run(Command::Evacuate { segment: 1, limit: 10 });
    rig.run(Command::Policy(Box::default()));
    assert_eq!((waiting(&rig), rig.journal.ids.len(), rig.journal.oldest_id), (3, 0, 0));
}
