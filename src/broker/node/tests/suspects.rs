//! Tests of crash suspects: "a suspect is redelivered alone on its link".

use std::collections::{BTreeMap, BTreeSet};

use super::rig::*;
use crate::{
    broker::{DeathReason, DetachCause, Outcome, QueuePolicy, Subscribe, policy::RetryDelay},
    time::Millis,
};

fn at_once(policy: QueuePolicy) -> QueuePolicy {
    let retry_delay = RetryDelay { initial_ms: 0, max_ms: 0, ..RetryDelay::default() };
    QueuePolicy { retry_delay, ..policy }
}

/// A queue of `n` whose first message is a suspect.
fn with_suspect(n: u64) -> Rig {
    let mut rig = Rig::with(at_once(QueuePolicy::default()));
    rig.publish_n(n);
    rig.consumer(99);
    rig.leave(99, DetachCause::Lost);
    rig.clear();
    rig
}

#[test]
fn a_suspect_is_redelivered_alone_on_its_link() {
    let mut rig = with_suspect(5);
    rig.consumer(1);
    assert_eq!(rig.got(), [(1, 1)], "nothing else while it is out");
    rig.publish_n(1);
    rig.flow(1, 0, 10_000, false);
    assert_eq!(rig.got(), []);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [2, 3, 4, 5, 6]);
}

#[test]
fn other_consumers_go_on_as_usual_beside_a_suspect() {
    let mut rig = with_suspect(3);
    rig.consumer(1);
    rig.consumer(2);
    assert_eq!(rig.got(), [(1, 1), (2, 2), (2, 3)]);
}

#[test]
fn a_suspect_is_not_sent_to_a_link_that_holds_something_and_that_link_waits_for_it() {
    let mut rig = Rig::with(at_once(QueuePolicy::default()));
    rig.publish_n(1);
    rig.subscribe(wish(9), 1);
    rig.publish_n(2);
    rig.subscribe(wish(1), 2);
    assert_eq!(rig.got(), [(9, 1), (1, 2), (1, 3)]);
    rig.publish_n(2);
    rig.leave(9, DetachCause::Lost);
    rig.flow(1, 2, 10, false);
    assert_eq!(rig.got(), [], "the suspect is next, and two others are outstanding");
    rig.settle(1, 2, Outcome::Accepted);
    assert_eq!(rig.got(), []);
    rig.settle(1, 3, failed());
    assert_eq!(rig.got(), [(1, 1)]);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [3, 4, 5]);
}

#[test]
fn only_one_link_waits_for_a_suspect() {
    let mut rig = Rig::with(at_once(QueuePolicy::default()));
    rig.publish_n(3);
    rig.subscribe(wish(9), 1);
    rig.subscribe(wish(1), 1);
    rig.subscribe(wish(2), 1);
    rig.clear();
    rig.leave(9, DetachCause::Lost);
    rig.publish_n(3);
    rig.flow(1, 1, 10, false);
    rig.flow(2, 1, 2, false);
    assert_eq!(rig.got(), [(2, 4), (2, 5)], "the first waits, the second goes on");
    // One that holds nothing need not wait for the other.
    rig.consumer(3);
    assert_eq!(rig.got(), [(3, 1), (1, 6)]);
}

#[test]
fn a_link_that_does_not_settle_what_it_has_does_not_wait_for_ever() {
    let mut rig = Rig::with(at_once(QueuePolicy::default()));
    rig.publish_n(3);
    rig.subscribe(wish(9), 1);
    rig.subscribe(wish(1), 1);
    rig.subscribe(wish(2), 1);
    rig.clear();
    rig.leave(9, DetachCause::Lost);
    rig.flow(1, 1, 10, false);
    rig.publish_n(2);
    assert_eq!(rig.got(), []);
    let wake = rig.node.next_wake().map(|at| at.since_ms(rig.now));
    assert_eq!(wake, Some(10_000));
    rig.pass(10_000);
    assert_eq!(rig.got(), [(1, 4), (1, 5)], "it goes on, and leaves the suspect to others");
    rig.flow(2, 1, 10, false);
    rig.publish_n(1);
    assert_eq!(rig.got(), [(1, 6)], "now the second waits");
    rig.settle(2, 3, Outcome::Accepted);
    assert_eq!(rig.got(), [(2, 1)]);
}

#[test]
fn a_suspect_is_still_one_after_a_restart_and_keeps_its_place() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Released);
    rig.leave(1, DetachCause::Lost);
    rig.restart();
    rig.consumer(2);
    rig.pass(1);
    // 2 was the oldest unsettled (1 was handed out again after it).
    assert_eq!(rig.seqs(), [1]);
    rig.settle(2, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [2]);
    rig.settle(2, 2, Outcome::Accepted);
    assert_eq!(rig.seqs(), [3]);
}

#[test]
fn a_suspect_that_was_failed_in_words_is_none_any_more() {
    let mut rig = with_suspect(3);
    rig.consumer(1);
    rig.settle(1, 1, failed());
    assert_eq!(rig.seqs(), [1, 1, 2, 3]);
}

#[test]
fn released_a_suspect_is_still_one() {
    let mut rig = with_suspect(3);
    rig.consumer(1);
    rig.settle(1, 1, Outcome::Released);
    assert_eq!(rig.seqs(), [1, 1]);
}

#[test]
fn sent_settled_a_suspect_holds_up_nothing() {
    let mut rig = with_suspect(3);
    rig.subscribe(Subscribe { presettled: true, ..wish(1) }, 10);
    assert_eq!(rig.seqs(), [1, 2, 3]);
}

#[test]
fn those_who_browse_see_suspects_among_the_rest() {
    let mut rig = with_suspect(3);
    rig.subscribe(Subscribe { browse: true, ..wish(1) }, 10);
    assert_eq!(rig.seqs(), [1, 2, 3]);
}

#[test]
fn a_drain_is_answered_while_a_suspect_is_out_or_waited_for() {
    let mut rig = with_suspect(3);
    rig.subscribe(wish(1), 10);
    rig.flow(1, 1, 9, true);
    assert_eq!(rig.flows, [(c(1), 10, 0, 2, true)]);
}

#[test]
fn a_dead_letter_is_found_already_and_not_alone() {
    let mut rig = Rig::with(at_once(QueuePolicy { max_attempts: 1, ..QueuePolicy::default() }));
    rig.publish_n(3);
    for n in 1..=3 {
        rig.subscribe(wish(n), 1);
        rig.leave(n, DetachCause::Lost);
    }
    rig.clear();
    rig.dead_consumer(7);
    assert_eq!(rig.seqs(), [1, 2, 3]);
}

#[test]
fn an_excluded_suspect_that_nobody_may_have_is_stranded() {
    let mut rig = with_suspect(1);
    rig.consumer(1);
    rig.settle(1, 1, {
        let modified = crate::broker::Modified { undeliverable_here: true, ..Default::default() };
        Outcome::Modified(Box::new(modified))
    });
    rig.pass(60_000);
    assert_eq!(rig.node.counts().1.available, 1);
}

#[test]
fn a_suspect_that_expires_goes_where_expired_ones_go() {
    let mut rig = Rig::with(at_once(QueuePolicy::default()));
    rig.publish(vec![crate::broker::Message { expires: Some(Millis(1_000_050)), ..message() }, message()]);
    rig.consumer(1);
    rig.leave(1, DetachCause::Lost);
    rig.clear();
    rig.now = Millis(1_000_051);
    rig.consumer(2);
    assert_eq!((rig.seqs(), rig.node.counts().1.available), (vec![2], 1));
}

/// Nothing in a run of new ones is handed to an endpoint that excluded it, after a restart either.
#[test]
fn exclusions_among_other_messages_survive_a_restart() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    rig.consumer(1);
    let modified = crate::broker::Modified { undeliverable_here: true, ..Default::default() };
    rig.settle(1, 2, Outcome::Modified(Box::new(modified)));
    rig.restart();
    rig.consumer(1);
    assert_eq!(rig.seqs(), [1, 3]);
}

/// A consumer with a prefetch of 10 that dies whenever it comes to message 4. It works in order, and settles each
/// message at once, or (`late`) only after it has worked on all it has.
fn killer(late: bool) -> (Rig, BTreeMap<u64, u32>, BTreeSet<u64>) {
    let mut rig = Rig::with(at_once(QueuePolicy { max_attempts: 3, ..QueuePolicy::default() }));
    rig.publish_n(30);
    let (mut counts, mut done) = (BTreeMap::new(), BTreeSet::new());
    for n in 1..100 {
        rig.subscribe(wish(n), 10);
        loop {
            let batch: Vec<(u64, u32)> =
                rig.deliveries.drain(..).map(|(_, d)| (d.seq.0, d.delivery_count)).collect();
            if batch.is_empty() {
                return (rig, counts, done);
            }
            counts.extend(batch.iter().copied());
            let fine = batch.iter().take_while(|(seq, _)| *seq != 4);
            let (worked, dies) = (fine.clone().count(), fine.count() < batch.len());
            if dies && late {
                break;
            }
            for (seq, _) in batch.into_iter().take(worked) {
                done.insert(seq);
                rig.settle(n, seq, Outcome::Accepted);
            }
            if dies {
                break;
            }
            rig.flow(n, done.len() as u32, 10, false);
        }
        rig.clear();
        rig.leave(n, DetachCause::Lost);
    }
    panic!("the consumers never came to an end");
}

fn found(rig: &Rig, counts: &BTreeMap<u64, u32>, done: &BTreeSet<u64>) {
    assert_eq!(rig.node.counts().1.available, 1);
    let dead = rig.stored_dead(1).and_then(|s| s.state.clone()).unwrap_or_default();
    let death = dead.death.as_deref().map(|d| (d.reason, d.attempts));
    assert_eq!(death, Some((DeathReason::MaxAttempts, 3)));
    assert_eq!(counts.get(&4), Some(&2), "message 4 is the one that died, in its third attempt");
    assert_eq!(*done, (1..=30).filter(|seq| *seq != 4).collect());
    assert!(counts.iter().all(|(seq, count)| *seq == 4 || *count <= 1), "{counts:?}");
}

#[test]
fn the_message_that_kills_consumers_is_found_and_no_innocent_is_punished() {
    let (rig, counts, done) = killer(false);
    found(&rig, &counts, &done);
    assert!(counts.iter().all(|(seq, count)| *seq == 4 || *count == 0), "{counts:?}");
}

/// One that settles late leaves older messages unsettled: each of them is the first guess once, is then worked on
/// alone, and so is never guessed again. So at most as many innocents as were ahead of the killer, once each.
#[test]
fn an_innocent_that_was_guessed_is_cleared_at_its_next_attempt() {
    let (rig, counts, done) = killer(true);
    found(&rig, &counts, &done);
    let guessed: Vec<u64> = counts.iter().filter(|(_, n)| **n == 1).map(|(seq, _)| *seq).collect();
    assert_eq!(guessed, [1, 2, 3]);
}
