//! `retry-order = "group"`: "a failed message holds back only its own group-id".

use super::rig::*;
use crate::broker::policy::{ExpiredTo, RetryDelay, RetryOrder};
use crate::broker::*;
use crate::limits::GROUP_HELD;

const A: u8 = 1;
const B: u8 = 2;

fn grouped() -> QueuePolicy {
    let retry_delay = RetryDelay { first_ms: 100, initial_ms: 100, jitter: 0.0, ..RetryDelay::default() };
    QueuePolicy { retry_order: RetryOrder::Group, retry_delay, max_attempts: 3, ..QueuePolicy::default() }
}

fn of(groups: &[u8]) -> Vec<Message> {
    groups.iter().map(|group| marked(0, *group)).collect()
}

/// Publishes these and gives the consumer 1 the first, which fails.
fn failing(policy: QueuePolicy, groups: &[u8]) -> Rig {
    let mut rig = Rig::with(policy);
    rig.publish(of(groups));
    rig.subscribe(wish(1), 1);
    rig.settle(1, 1, failed());
    rig.clear();
    rig
}

/// All credit there is.
fn open(rig: &mut Rig) {
    rig.flow(1, 1, 10_000, false);
}

#[test]
fn a_delayed_message_holds_back_its_group_and_no_other() {
    let mut rig = failing(grouped(), &[A, A, B, A, B, 0]);
    open(&mut rig);
    assert_eq!(rig.seqs(), [3, 5, 6]);
    assert_eq!((rig.node.counts().0.held, rig.node.counts().0.delayed), (2, 1));
    rig.pass(100);
    assert_eq!(rig.seqs(), [1], "the others wait while it is tried again, too");
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [2, 4]);
    assert_eq!(rig.node.counts().0.held, 0);
}

#[test]
fn without_the_option_nobody_waits() {
    let mut rig = failing(QueuePolicy { retry_order: RetryOrder::Message, ..grouped() }, &[A, A, B]);
    open(&mut rig);
    assert_eq!(rig.seqs(), [2, 3]);
}

#[test]
fn new_messages_of_the_group_wait_behind_it() {
    let mut rig = failing(grouped(), &[A]);
    open(&mut rig);
    rig.publish(of(&[A, B]));
    assert_eq!(rig.seqs(), [3]);
    rig.pass(100);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [1, 2]);
}

#[test]
fn the_group_goes_on_when_the_message_is_dead_lettered() {
    for outcome in [Outcome::Rejected(None), failed()] {
        let mut rig = failing(QueuePolicy { max_attempts: 2, ..grouped() }, &[A, A]);
        open(&mut rig);
        rig.pass(100);
        assert_eq!(rig.seqs(), [1]);
        rig.settle(1, 1, outcome);
        assert_eq!((rig.seqs().as_slice(), rig.node.counts().1.available), (&[2][..], 1));
    }
}

#[test]
fn the_group_goes_on_when_the_message_goes_to_another_queue() {
    let elsewhere = Some("graveyard".to_owned());
    let mut rig = failing(QueuePolicy { dead_letter_queue: elsewhere, ..grouped() }, &[A, A]);
    open(&mut rig);
    rig.pass(100);
    rig.settle(1, 1, Outcome::Rejected(None));
    assert_eq!((rig.seqs().as_slice(), rig.node.counts().0.moving), (&[1, 2][..], 1));
}

#[test]
fn the_group_goes_on_when_the_message_expires() {
    for expired in [ExpiredTo::Discard, ExpiredTo::DeadLetter] {
        let mut rig = Rig::with(QueuePolicy { expired, ..grouped() });
        let expires = Some(rig.now.plus_ms(50));
        rig.publish(vec![Message { expires, ..marked(0, A) }, marked(0, A)]);
        rig.subscribe(wish(1), 1);
        rig.settle(1, 1, failed());
        open(&mut rig);
        assert_eq!(rig.seqs(), [1]);
        rig.pass(70);
        assert_eq!(rig.seqs(), [2]);
    }
}

#[test]
fn a_held_message_expires_in_its_time() {
    let mut rig = Rig::with(QueuePolicy { expired: ExpiredTo::Discard, ..grouped() });
    let expires = Some(rig.now.plus_ms(50));
    rig.publish(vec![marked(0, A), Message { expires, ..marked(0, A) }, marked(0, A)]);
    rig.subscribe(wish(1), 1);
    rig.settle(1, 1, failed());
    open(&mut rig);
    assert_eq!(rig.node.counts().0.held, 2);
    rig.pass(70);
    assert_eq!(rig.node.counts().0.held, 1);
    rig.pass(30);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [1, 1, 3]);
}

#[test]
fn what_was_out_stays_out_and_waits_in_order_when_it_comes_back() {
    let mut rig = Rig::with(grouped());
    rig.publish(of(&[A, A, A, A]));
    rig.subscribe(wish(1), 3);
    rig.settle(1, 2, failed());
    rig.settle(1, 3, Outcome::Released);
    rig.settle(1, 1, Outcome::Released);
    rig.clear();
    open(&mut rig);
    assert_eq!(rig.seqs(), [1], "it is earlier than the one that failed");
    rig.pass(100);
    assert_eq!(rig.seqs(), [2]);
    rig.settle(1, 2, Outcome::Accepted);
    assert_eq!(rig.seqs(), [3, 4]);
}

#[test]
fn of_two_that_failed_the_later_waits_for_the_earlier() {
    let mut rig = Rig::with(grouped());
    rig.publish(of(&[A, A, A]));
    rig.subscribe(wish(1), 2);
    rig.settle(1, 2, failed());
    rig.pass(50);
    rig.settle(1, 1, failed());
    rig.clear();
    open(&mut rig);
    rig.pass(50);
    assert!(rig.seqs().is_empty(), "2 is due and held by 1");
    assert_eq!(rig.node.group_holder(Seq(2)), Some(Seq(1)));
    rig.pass(50);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [1, 2], "3 waits for 2");
    assert_eq!(rig.node.group_holder(Seq(3)), Some(Seq(2)));
    rig.settle(1, 2, Outcome::Accepted);
    assert_eq!(rig.seqs(), [3]);
}

#[test]
fn a_release_after_a_failure_holds_the_group_still() {
    let mut rig = failing(grouped(), &[A, A]);
    open(&mut rig);
    rig.pass(100);
    rig.settle(1, 1, Outcome::Released);
    assert_eq!(rig.seqs(), [1, 1]);
}

#[test]
fn a_lost_connection_is_a_failure_of_the_suspect() {
    let mut rig = Rig::with(QueuePolicy { retry_delay: RetryDelay::default(), ..grouped() });
    rig.publish(of(&[A, A, B]));
    rig.consumer(1);
    rig.leave(1, DetachCause::Lost);
    rig.clear();
    rig.consumer(2);
    assert_eq!(rig.seqs(), [1], "a suspect alone");
    rig.consumer(3);
    assert_eq!(rig.got(), [(3, 3)], "2 waits for 1, wherever");
    rig.settle(2, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [2]);
}

#[test]
fn a_suspect_somebody_waits_for_may_come_to_be_held() {
    let mut rig = Rig::with(QueuePolicy { retry_delay: RetryDelay::default(), ..grouped() });
    rig.publish(of(&[A, A, B]));
    rig.subscribe(wish(1), 1);
    rig.subscribe(wish(2), 1);
    rig.leave(2, DetachCause::Lost);
    assert_eq!(rig.got(), [(1, 1), (2, 2)]);
    rig.subscribe(wish(3), 0);
    // 1 waits for the suspect 2 until it has settled what it holds, which fails.
    rig.flow(1, 1, 1, false);
    assert!(rig.got().is_empty());
    rig.settle(1, 1, failed());
    assert_eq!(rig.got(), [(1, 1)]);
    rig.flow(3, 0, 5, false);
    assert_eq!(rig.got(), [(3, 3)]);
    rig.settle(1, 1, Outcome::Accepted);
    rig.settle(3, 3, Outcome::Accepted);
    assert_eq!(rig.got(), [(3, 2)]);
}

#[test]
fn what_is_freed_while_dispatching_goes_out_in_the_same_turn() {
    let mut rig = failing(grouped(), &[A, A, A]);
    rig.leave(1, DetachCause::Clean);
    rig.pass(50);
    rig.subscribe(Subscribe { presettled: true, ..wish(2) }, 10);
    assert!(rig.seqs().is_empty());
    // Sent settled, the first is accepted at once.
    rig.pass(50);
    assert_eq!(rig.seqs(), [1, 2, 3]);
}

#[test]
fn a_drain_is_answered_though_messages_are_held() {
    let mut rig = failing(grouped(), &[A, A]);
    rig.flow(1, 1, 5, true);
    assert_eq!(rig.flows.iter().map(|flow| (flow.3, flow.4)).collect::<Vec<_>>(), [(1, true)]);
    rig.flow(1, 6, 5, true);
    assert_eq!(rig.flows.last().map(|flow| (flow.3, flow.4)), Some((0, true)));
}

#[test]
fn one_who_browses_sees_what_is_held() {
    let mut rig = failing(grouped(), &[A, A]);
    open(&mut rig);
    rig.subscribe(Subscribe { browse: true, ..wish(2) }, 10);
    assert_eq!(rig.got(), [(2, 1), (2, 2)]);
}

#[test]
fn a_purge_takes_what_is_held() {
    let mut rig = failing(grouped(), &[A, A, A]);
    open(&mut rig);
    rig.purge(false);
    assert_eq!(rig.node.counts().0, Counts { consumers: 1, ..Counts::default() });
    assert!(rig.journal.messages.is_empty());
}

#[test]
fn a_group_is_held_after_a_crash_as_before() {
    let mut rig = failing(grouped(), &[A, A, B, A]);
    rig.restart();
    rig.subscribe(wish(1), 10);
    assert_eq!(rig.seqs(), [3], "bodies were read to know the groups");
    rig.pass(100);
    assert_eq!(rig.seqs(), [1]);
    rig.restart();
    rig.subscribe(wish(1), 10);
    assert_eq!(rig.seqs(), [1, 3], "3 was not settled, 1 is out and holds the others");
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [2, 4]);
}

#[test]
fn nothing_of_any_group_passes_a_failed_message_whose_group_is_not_known_yet() {
    let mut rig = failing(grouped(), &[A, A, 0]);
    rig.restart();
    rig.auto_load = false;
    rig.subscribe(wish(1), 10);
    while let Some((dead_letter, wanted)) = rig.loads.pop_front() {
        // All bodies but that of the failed one.
        let known = wanted.iter().filter(|wanted| wanted.seq.0 != 1);
        let read = |wanted: &Wanted| {
            let (seq, body) = (wanted.seq, rig.journal.read(wanted.location));
            Loaded { seq, body, state: None }
        };
        let loaded = known.map(read).collect();
        rig.run(Command::Loaded { dead_letter, loaded });
    }
    assert!(rig.seqs().is_empty());
    let loaded = vec![Loaded { seq: Seq(1), body: None, state: None }];
    rig.run(Command::Loaded { dead_letter: false, loaded });
    assert_eq!(rig.seqs(), [2, 3], "one that cannot be read holds nobody");
}

/// A replayed message has failures, but a fresh start.
#[test]
fn a_replayed_message_holds_nobody() {
    let mut rig = failing(QueuePolicy { max_attempts: 1, ..grouped() }, &[A, A]);
    assert_eq!(rig.node.counts().1.available, 1);
    rig.now = rig.now.plus_ms(1);
    let letters = vec![ReplayLetter { seq: Seq(1), acquired_count: 1, state: None }];
    let replayed =
        rig.node.replay(rig.now, ReplayLetters { id: "r".into(), own: true, letters, watch: false });
    assert_eq!(replayed.moved, 1);
    rig.flush(Vec::new());
    rig.publish(of(&[A]));
    open(&mut rig);
    assert_eq!(rig.seqs(), [2, 3, 4]);
}

#[test]
fn groups_are_known_though_bodies_are_paged_out() {
    let mut rig = Rig::with(grouped());
    rig.run(Command::MemoryBudget { bytes: 0 });
    rig.publish(of(&[A, B, A, A, B]));
    rig.subscribe(wish(1), 1);
    rig.settle(1, 1, failed());
    rig.clear();
    open(&mut rig);
    assert_eq!(rig.seqs(), [2, 5]);
    rig.pass(100);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [1, 3, 4]);
    assert!(rig.node.memory.resident <= 300, "{}", rig.node.memory.resident);
}

#[test]
fn switched_on_it_holds_for_what_has_failed_before() {
    let mut rig = failing(QueuePolicy { retry_order: RetryOrder::Message, ..grouped() }, &[A, A, B]);
    rig.run(Command::Policy(Box::new(grouped())));
    open(&mut rig);
    assert_eq!(rig.seqs(), [3]);
}

#[test]
fn switched_on_it_holds_for_a_failure_that_is_out_of_memory() {
    let mut rig = failing(QueuePolicy { retry_order: RetryOrder::Message, ..grouped() }, &[A, A, B]);
    rig.run(Command::MemoryBudget { bytes: 0 });
    rig.pass(1);
    rig.run(Command::Policy(Box::new(grouped())));
    open(&mut rig);
    assert_eq!(rig.seqs(), [3]);
    assert_eq!(rig.node.why(rig.now, false, Seq(2)).first(), Some(&Why::GroupHeld { by: Seq(1) }));
}

#[test]
fn switched_off_nobody_is_held_any_more() {
    let mut rig = failing(grouped(), &[A, A, B, A]);
    open(&mut rig);
    assert_eq!(rig.seqs(), [3]);
    rig.run(Command::Policy(Box::new(QueuePolicy { retry_order: RetryOrder::Message, ..grouped() })));
    assert_eq!(rig.seqs(), [2, 4]);
    assert_eq!((rig.node.counts().0.held, rig.node.group_holder(Seq(2))), (0, None));
}

#[test]
fn a_refused_message_holds_nobody() {
    let mut rig = Rig { auto_commit: false, ..Rig::with(grouped()) };
    rig.publish(of(&[A]));
    rig.subscribe(wish(1), 1);
    rig.settle(1, 1, failed());
    open(&mut rig);
    rig.publish(of(&[A]));
    assert_eq!(rig.seqs(), [1]);
    rig.refuse();
    assert_eq!(rig.seqs(), [2]);
}

#[test]
fn a_failure_before_a_death_elsewhere_does_not_count() {
    let mut rig = Rig::with(grouped());
    let failure = Failure {
        time: rig.now,
        consumer: "".into(),
        outcome: FailureOutcome::Failed,
        cause: None,
        annotations: Annotations::default(),
        delay_ms: 0,
        rule: "default".into(),
    };
    let death = Death {
        reason: DeathReason::MaxAttempts,
        cause: None,
        time: rig.now,
        attempts: 1,
        queue: "q".into(),
        address: "q".into(),
        first: ("q".into(), DeathReason::MaxAttempts),
    };
    let state = EntryState { failures: vec![failure], death: Some(Box::new(death)), ..EntryState::default() };
    let (from, message) = ((QueueId(8), Seq(1)), Some(std::sync::Arc::new(marked(0, A))));
    let (location, state) = (None, std::sync::Arc::new(state));
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
    rig.publish(of(&[A]));
    rig.consumer(1);
    assert_eq!(rig.seqs(), [1, 2]);
}

#[test]
fn what_is_put_aside_is_bounded() {
    let mut rig = failing(grouped(), &[A]);
    rig.publish(of(&vec![A; GROUP_HELD + 10]));
    rig.publish(of(&[B]));
    rig.flow(1, 1, 1 << 20, false);
    assert!(rig.seqs().is_empty(), "other groups wait behind so many");
    assert_eq!(rig.node.counts().0.held, GROUP_HELD as u64);
    rig.pass(100);
    assert_eq!(rig.seqs(), [1]);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs().len(), GROUP_HELD + 11);
}

#[test]
fn of_a_higher_priority_the_message_waits_all_the_same() {
    let mut rig = failing(grouped(), &[A]);
    open(&mut rig);
    rig.publish(vec![Message { priority: 9, ..marked(0, A) }, marked(0, B)]);
    assert_eq!(rig.seqs(), [3]);
    rig.pass(100);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [1, 2]);
}

/// Wants every message: what matters is that it looks for itself.
#[derive(Debug)]
struct All;

impl Chooser for All {
    fn wants(&self, _: &Message, _: u32, _: u32, _: Option<&EntryState>) -> bool {
        true
    }

    fn words(&self) -> String {
        "all".to_owned()
    }
}

#[test]
fn a_consumer_with_a_filter_is_held_back_like_others() {
    let mut rig = failing(grouped(), &[A, A, B, A, B, 0]);
    rig.leave(1, DetachCause::Clean);
    rig.subscribe(Subscribe { filter: Some(std::sync::Arc::new(All)), ..wish(2) }, 10_000);
    assert_eq!(rig.seqs(), [3, 5, 6]);
    rig.pass(100);
    assert_eq!(rig.seqs(), [1]);
    rig.settle(2, 1, Outcome::Accepted);
    assert_eq!(rig.seqs(), [2, 4]);
}
