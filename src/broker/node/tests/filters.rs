//! Consumers that want only some messages, beside others.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::rig::*;
use crate::{broker::*, time::Millis};

const RED: u8 = 1;
const BLUE: u8 = 2;

/// Wants one colour (the first byte of a message), or what was annotated.
#[derive(Debug)]
struct Colour {
    wanted: u8,
    annotated: bool,
    /// How often it was asked.
    asked: AtomicU64,
}

impl Chooser for Colour {
    fn wants(&self, message: &Message, _: u32, _: u32, state: Option<&EntryState>) -> bool {
        self.asked.fetch_add(1, Relaxed);
        message.bytes.first() == Some(&self.wanted)
            || self.annotated && state.is_some_and(|state| !state.annotations.is_empty())
    }

    fn words(&self) -> String {
        format!("colour {}", self.wanted)
    }
}

impl Colour {
    fn new(wanted: u8, annotated: bool) -> Arc<Self> {
        Arc::new(Self { wanted, annotated, asked: AtomicU64::new(0) })
    }

    /// How often it was asked since this was last asked.
    fn asked(&self) -> u64 {
        self.asked.swap(0, Relaxed)
    }
}

fn coloured(colour: u8) -> Message {
    Message { bytes: vec![colour; 100].into(), ..message() }
}

fn filtering(n: u64, filter: &Arc<Colour>) -> Subscribe {
    Subscribe { filter: Some(Arc::clone(filter) as Arc<dyn Chooser>), ..wish(n) }
}

/// A consumer that wants red, with plenty of credit.
fn reds(rig: &mut Rig, n: u64) -> Arc<Colour> {
    let filter = Colour::new(RED, false);
    rig.subscribe(filtering(n, &filter), 10_000);
    filter
}

fn annotated() -> Outcome {
    let annotations = Annotations(vec![(Box::from(*b"k"), Box::from(*b"v"))]);
    Outcome::Modified(Box::new(Modified { annotations, ..Modified::default() }))
}

/// So many blue ones, paged out, with a red one behind.
fn paged(blue: usize) -> Rig {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE); blue]);
    rig.publish(vec![coloured(RED)]);
    rig.run(Command::MemoryBudget { bytes: 0 });
    rig
}

/// Answers a read, but for bodies that cannot be read.
fn read(rig: &mut Rig, dead_letter: bool, wanted: Vec<Wanted>, readable: fn(u64) -> bool) {
    let body = |wanted: &Wanted| rig.journal.read(wanted.location).filter(|_| readable(wanted.seq.0));
    let loaded = wanted.iter().map(|w| Loaded { seq: w.seq, body: body(w), state: None }).collect();
    rig.run(Command::Loaded { dead_letter, loaded });
}

#[test]
fn a_filter_takes_what_it_wants_in_order_and_leaves_the_rest_waiting() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE), coloured(RED), coloured(BLUE), coloured(RED)]);
    reds(&mut rig, 1);
    assert_eq!(rig.seqs(), [2, 4]);
    rig.publish(vec![coloured(BLUE), coloured(RED)]);
    assert_eq!(rig.seqs(), [6]);
    assert_eq!(rig.node.counts().0.available, 3);
    rig.consumer(2);
    assert_eq!(rig.got(), [(2, 1), (2, 3), (2, 5)]);
}

#[test]
fn each_message_is_judged_once_however_often_it_is_passed() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE); 100]);
    let filter = reds(&mut rig, 1);
    assert_eq!(filter.asked(), 100);
    for round in 0..10 {
        rig.publish(vec![coloured(BLUE)]);
        rig.flow(1, 0, 10_000 + round, false);
        rig.pass(10);
        assert_eq!(filter.asked(), 1);
    }
    rig.flow(1, 0, 10, true);
    assert_eq!((filter.asked(), rig.flows.len()), (0, 1));
}

#[test]
fn what_comes_back_before_the_place_is_judged_alone() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(RED)]);
    rig.publish(vec![coloured(BLUE); 100]);
    rig.subscribe(wish(2), 1);
    let filter = reds(&mut rig, 1);
    assert_eq!((rig.got(), filter.asked()), (vec![(2, 1)], 100));
    rig.settle(2, 1, Outcome::Released);
    assert_eq!((rig.got(), filter.asked()), (vec![(1, 1)], 1));
}

#[test]
fn after_more_returns_than_are_remembered_one_by_one_it_looks_from_the_first_on() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE); 3000]);
    rig.subscribe(wish(2), 2000);
    let filter = Colour::new(RED, true);
    rig.subscribe(filtering(1, &filter), 10_000);
    assert_eq!((rig.seqs().len(), filter.asked()), (2000, 1000));
    let back = |seq: u64| if seq.is_multiple_of(3) { annotated() } else { Outcome::Released };
    let settlements = (1..=2000).map(|s| Settlement { seq: Seq(s), outcome: Some(back(s)), confirm: false });
    let settlements = settlements.collect();
    rig.run(Command::Settle { consumer: c(2), settlements });
    let expected: Vec<u64> = (1..=2000u64).filter(|s| s.is_multiple_of(3)).collect();
    assert_eq!(rig.seqs(), expected);
    rig.publish(vec![coloured(RED)]);
    assert_eq!(rig.seqs(), [3001]);
}

#[test]
fn a_message_whose_annotations_changed_is_judged_anew() {
    let mut rig = Rig::new();
    let filter = Colour::new(RED, true);
    rig.publish(vec![coloured(BLUE), coloured(BLUE)]);
    rig.subscribe(filtering(1, &filter), 10);
    rig.subscribe(wish(2), 1);
    assert_eq!(rig.got(), [(2, 1)]);
    rig.settle(2, 1, annotated());
    assert_eq!(rig.got(), [(1, 1)]);
    assert_eq!(filter.asked(), 3);
}

#[test]
fn priorities_go_before_for_filters_too() {
    let mut rig = Rig::new();
    for priority in [2, 9, 4, 9, 2] {
        rig.publish(vec![Message { priority, ..coloured(RED) }, Message { priority, ..coloured(BLUE) }]);
    }
    reds(&mut rig, 1);
    assert_eq!(rig.seqs(), [3, 7, 5, 1, 9]);
}

#[test]
fn filters_share_a_queue_and_each_message_goes_to_one() {
    let mut rig = Rig::new();
    reds(&mut rig, 1);
    reds(&mut rig, 2);
    let blues = Colour::new(BLUE, false);
    rig.subscribe(filtering(3, &blues), 10_000);
    rig.publish((0..300).map(|i| coloured(if i % 3 == 0 { BLUE } else { RED })).collect());
    let got = rig.got();
    let of = |n| got.iter().filter(|(consumer, _)| *consumer == n).count();
    assert_eq!((of(1) + of(2), of(3)), (200, 100));
    assert!(of(1) >= 64 && of(2) >= 64, "they take turns: {} and {}", of(1), of(2));
}

#[test]
fn a_drain_is_answered_when_all_was_judged() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE), coloured(RED)]);
    let filter = Colour::new(RED, false);
    rig.run(Command::Subscribe(Box::new(filtering(1, &filter))));
    rig.flow(1, 0, 10, true);
    assert_eq!(rig.seqs(), [2]);
    let flow = rig.flows.pop();
    assert_eq!(flow, Some((c(1), 10, 0, 0, true)), "credit used up, and none waits for it");
}

#[test]
fn a_turn_judges_some_thousands_and_the_next_is_due_at_once() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE); 20_000]);
    rig.publish(vec![coloured(RED)]);
    let filter = Colour::new(RED, false);
    rig.run(Command::Subscribe(Box::new(filtering(1, &filter))));
    rig.flow(1, 0, 10, true);
    let mut turns = 0;
    while rig.node.next_wake() == Some(Millis(0)) {
        // As many again for the one that waits for the answer to its drain.
        assert!((1..=2 * 4096).contains(&filter.asked()));
        assert_eq!((rig.deliveries.len(), rig.flows.len()), (0, 0), "nothing is known yet");
        if turns == 0 {
            rig.subscribe(wish(2), 5);
            assert_eq!(rig.got(), [(2, 1), (2, 2), (2, 3), (2, 4), (2, 5)], "nobody else waits for it");
            filter.asked();
        }
        rig.pass(0);
        turns += 1;
    }
    assert!(turns >= 2, "{turns}");
    assert_eq!((rig.seqs(), rig.flows.len()), (vec![20_001], 1));
    assert_eq!(rig.node.next_wake(), None);
}

#[test]
fn paged_messages_are_read_back_to_be_judged_in_bounded_reads() {
    let mut rig = paged(2000);
    rig.auto_load = false;
    let filter = reds(&mut rig, 1);
    let mut reads = 0;
    while let Some((dead_letter, bodies)) = rig.loads.pop_front() {
        assert!(rig.loads.is_empty() && bodies.len() <= 256, "one read at a time");
        assert!(rig.node.memory.resident <= 256 * 100);
        read(&mut rig, dead_letter, bodies, |_| true);
        reads += 1;
    }
    assert_eq!((rig.seqs(), filter.asked(), reads), (vec![2001], 2001, 8));
    assert_eq!(rig.node.memory.resident, 0);
    rig.pass(10);
    assert!(rig.loads.is_empty(), "nothing is read twice");
}

#[test]
fn looking_through_paged_messages_takes_no_memory_from_others() {
    let mut rig = paged(5000);
    let budget = 100_000;
    rig.run(Command::MemoryBudget { bytes: budget });
    // These stay in memory, for whoever wants them.
    let hot = 600;
    rig.publish(vec![coloured(BLUE); hot]);
    let before = rig.node.memory.resident;
    assert_eq!(before, 100 * hot as u64);
    let filter = reds(&mut rig, 1);
    assert_eq!((rig.seqs(), filter.asked()), (vec![5001], 5001 + hot as u64));
    let after = rig.node.memory.resident;
    assert!(after >= before && after <= before + budget / 8, "{before} bytes before, {after} after");
}

#[test]
fn filters_that_look_together_share_what_is_read() {
    let mut rig = paged(3000);
    rig.run(Command::MemoryBudget { bytes: 1 << 20 });
    let flow = |n| Command::Flow { consumer: c(n), delivery_count: 0, credit: 9, drain: false, echo: false };
    let filter = Colour::new(7, false);
    for n in 1..=4 {
        rig.run(Command::Subscribe(Box::new(filtering(n, &filter))));
    }
    rig.auto_load = false;
    (1..=4).for_each(|n| rig.run(flow(n)));
    let mut bodies_read = 0;
    while let Some((dead_letter, bodies)) = rig.loads.pop_front() {
        bodies_read += bodies.len();
        read(&mut rig, dead_letter, bodies, |_| true);
    }
    assert_eq!((filter.asked(), bodies_read), (4 * 3001, 3001));
}

#[test]
fn a_filter_holds_up_no_consumer_that_wants_all() {
    let mut rig = paged(1000);
    rig.auto_load = false;
    reds(&mut rig, 1);
    assert_eq!(rig.loads.len(), 1);
    rig.consumer(2);
    assert_eq!(rig.loads.len(), 2, "its reads are its own");
    rig.auto_load = true;
    rig.pass(1);
    let got = rig.got();
    assert_eq!(got.len(), 1001);
    assert_eq!(got.iter().filter(|(_, seq)| *seq <= 1000).count(), 1000);
}

#[test]
fn a_read_that_fails_sets_the_message_aside_and_the_search_goes_on() {
    let mut rig = paged(10);
    rig.auto_load = false;
    reds(&mut rig, 1);
    let Some((dead_letter, bodies)) = rig.loads.pop_front() else { panic!("nothing is read") };
    read(&mut rig, dead_letter, bodies, |seq| seq != 3);
    assert_eq!((rig.seqs(), rig.node.counts().0.delayed), (vec![11], 1));
}

#[test]
fn reads_of_messages_that_went_meanwhile_do_not_stop_the_search() {
    let mut rig = paged(300);
    rig.auto_load = false;
    reds(&mut rig, 1);
    rig.loads.clear();
    rig.purge(false);
    rig.publish(vec![coloured(BLUE), coloured(RED)]);
    rig.auto_load = true;
    rig.pass(1);
    assert_eq!(rig.seqs(), [303]);
}

#[test]
fn browsing_with_a_filter_shows_what_it_wants_and_takes_none() {
    for budget in [0, 1 << 20] {
        let mut rig = paged(1000);
        rig.run(Command::MemoryBudget { bytes: budget });
        rig.publish(vec![coloured(RED), coloured(BLUE)]);
        let filter = Colour::new(RED, false);
        let browse = Subscribe { browse: true, ..filtering(1, &filter) };
        rig.run(Command::Subscribe(Box::new(browse)));
        rig.flow(1, 0, 10, true);
        assert_eq!((rig.seqs(), filter.asked()), (vec![1001, 1002], 1003));
        assert_eq!(rig.flows.last().map(|flow| flow.4), Some(true));
        assert_eq!(rig.node.counts().0.available, 1003);
        rig.publish(vec![coloured(RED)]);
        rig.flow(1, 10, 10, false);
        assert_eq!(rig.seqs(), [1004]);
    }
}

#[test]
fn browsing_filters_take_turns() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE); 10_000]);
    let (first, second) = (Colour::new(RED, false), Colour::new(RED, false));
    for (n, filter) in [(1, &first), (2, &second)] {
        rig.run(Command::Subscribe(Box::new(Subscribe { browse: true, ..filtering(n, filter) })));
    }
    rig.flow(1, 0, 10, true);
    rig.flow(2, 0, 10, true);
    assert!(first.asked() > 0 && second.asked() > 0 && rig.flows.len() < 2);
    while rig.node.next_wake() == Some(Millis(0)) {
        rig.pass(0);
    }
    assert_eq!(rig.flows.len(), 2);
}

#[test]
fn dead_letters_are_chosen_by_what_is_known_of_their_death() {
    #[derive(Debug)]
    struct Failed;
    impl Chooser for Failed {
        fn wants(&self, _: &Message, _: u32, _: u32, state: Option<&EntryState>) -> bool {
            let death = state.and_then(|state| state.death.as_deref());
            death.is_some_and(|death| death.reason == DeathReason::MaxAttempts)
        }

        fn words(&self) -> String {
            String::new()
        }
    }
    let mut rig = Rig::with(QueuePolicy { max_attempts: 1, ..QueuePolicy::default() });
    rig.publish_n(3);
    rig.consumer(1);
    for (seq, outcome) in [(1, Outcome::Rejected(None)), (2, failed()), (3, Outcome::Rejected(None))] {
        rig.settle(1, seq, outcome);
    }
    rig.clear();
    let filter = Some(Arc::new(Failed) as Arc<dyn Chooser>);
    let dead = Subscribe { dead_letter: true, filter, ..wish(2) };
    rig.subscribe(Subscribe { browse: true, ..dead.clone() }, 10);
    assert_eq!(rig.seqs(), [2]);
    rig.subscribe(Subscribe { consumer: c(3), ..dead }, 10);
    assert_eq!(rig.seqs(), [2]);
    assert_eq!(rig.node.counts().1.available, 2);
}

#[test]
fn a_crash_suspect_goes_alone_to_a_filter_that_wants_it_and_to_no_other() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE), coloured(RED), coloured(RED)]);
    rig.subscribe(wish(2), 1);
    rig.leave(2, DetachCause::Lost);
    let filter = reds(&mut rig, 1);
    assert_eq!(rig.got(), [(2, 1), (1, 2), (1, 3)], "the blue suspect is not for it");
    rig.pass(1);
    assert_eq!(filter.asked(), 3);
    rig.leave(1, DetachCause::Lost);
    let filter = reds(&mut rig, 3);
    assert_eq!(rig.got(), [(3, 2)], "the red one is, alone");
    rig.settle(3, 2, Outcome::Accepted);
    assert_eq!(rig.got(), [(3, 3)]);
    assert_eq!(filter.asked(), 3);
}

#[test]
fn a_filter_waits_for_its_suspect_until_it_holds_nothing() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(RED), coloured(RED)]);
    rig.subscribe(wish(2), 1);
    assert_eq!(rig.got(), [(2, 1)]);
    let filter = reds(&mut rig, 1);
    assert_eq!(rig.got(), [(1, 2)]);
    rig.leave(2, DetachCause::Lost);
    rig.publish(vec![coloured(RED)]);
    assert_eq!(rig.got(), [], "it has one to settle first");
    rig.settle(1, 2, Outcome::Accepted);
    assert_eq!(rig.got(), [(1, 1)]);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!((rig.got(), filter.asked()), (vec![(1, 3)], 3));
}

#[test]
fn undeliverable_here_holds_for_a_filter_and_unwanted_is_not_undeliverable() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(RED), coloured(BLUE)]);
    reds(&mut rig, 1);
    let excluded = Modified { undeliverable_here: true, ..Modified::default() };
    rig.settle(1, 1, Outcome::Modified(Box::new(excluded)));
    assert_eq!(rig.got(), [(1, 1)]);
    rig.pass(100_000);
    let (main, dead) = rig.node.counts();
    assert_eq!((main.available, dead.available), (1, 1), "nobody declared the blue one undeliverable");
    rig.consumer(2);
    assert_eq!(rig.got(), [(2, 2)]);
}

#[test]
fn an_expired_message_is_passed_over() {
    let mut rig = Rig::new();
    let expires = Some(rig.now.plus_ms(1000));
    rig.publish(vec![Message { expires, ..coloured(RED) }, coloured(RED)]);
    rig.now = rig.now.plus_ms(1001);
    reds(&mut rig, 1);
    assert_eq!(rig.seqs(), [2]);
    rig.pass(100);
    assert_eq!((rig.node.counts().0.available, rig.node.counts().1.available), (0, 1));
}

#[test]
fn an_open_breaker_stops_filters_too() {
    let mut rig = Rig::with(QueuePolicy { max_attempts: 1000, ..QueuePolicy::default() });
    rig.publish(vec![coloured(RED); 100]);
    rig.subscribe(filtering(1, &Colour::new(RED, false)), 40);
    for seq in rig.seqs() {
        rig.settle(1, seq, Outcome::Released);
        rig.settle(1, seq, failed());
    }
    for _ in 0..3 {
        rig.flow(1, 0, 1000, false);
        for seq in rig.seqs() {
            rig.settle(1, seq, failed());
        }
    }
    assert_ne!(rig.node.breaker(), BreakerState::Closed);
    rig.publish(vec![coloured(RED)]);
    assert_eq!(rig.seqs(), Vec::<u64>::new());
}

#[test]
fn what_consumers_want_is_told_and_why_a_message_waits() {
    let mut rig = Rig::new();
    rig.publish(vec![coloured(BLUE), coloured(RED)]);
    let filter = Colour::new(RED, false);
    rig.subscribe(filtering(1, &filter), 0);
    let why = |rig: &Rig, seq| rig.node.why(rig.now, false, Seq(seq));
    assert_eq!(why(&rig, 1), [Why::NoCredit { consumers: 1 }]);
    rig.flow(1, 0, 10, false);
    assert_eq!(why(&rig, 1), [Why::Filtered]);
    let told: Vec<_> = rig.node.consumers(10).1.into_iter().map(|view| view.filter).collect();
    assert_eq!(told, [Some("colour 1".to_owned())]);
    rig.subscribe(wish(2), 0);
    assert_eq!(why(&rig, 1), [Why::Filtered]);
}
