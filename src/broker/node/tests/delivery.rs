//! Who gets what, in which order, within which credit.

use super::rig::*;
use crate::broker::*;

#[test]
fn messages_are_delivered_in_order_of_arrival() {
    let mut rig = Rig::new();
    rig.publish_n(1000);
    rig.subscribe(wish(1), 600);
    assert_eq!(rig.seqs(), (1..=600).collect::<Vec<_>>());
    rig.flow(1, 600, 600, false);
    assert_eq!(rig.seqs(), (601..=1000).collect::<Vec<_>>());
}

#[test]
fn higher_priorities_go_first_and_each_in_order() {
    let mut rig = Rig::new();
    let priorities = [4, 9, 0, 4, 200, 0];
    rig.publish(priorities.map(|priority| Message { priority, ..message() }).into());
    rig.consumer(1);
    assert_eq!(rig.seqs(), [2, 5, 1, 4, 3, 6]);
}

#[test]
fn credit_is_never_exceeded_and_a_flow_that_crossed_is_understood() {
    let mut rig = Rig::new();
    rig.publish_n(100);
    rig.subscribe(wish(1), 10);
    assert_eq!(rig.seqs().len(), 10);
    // The peer had seen 4 when it wrote this: 4 + 10 - 10 = 4 more.
    rig.flow(1, 4, 10, false);
    assert_eq!(rig.seqs().len(), 4);
    rig.flow(1, 14, 0, false);
    assert_eq!(rig.seqs().len(), 0);
}

#[test]
fn credit_wraps_around_with_the_serial_numbers() {
    let mut rig = Rig::new();
    rig.publish_n(20);
    rig.subscribe(Subscribe { delivery_count: u32::MAX - 2, ..wish(1) }, 8);
    assert_eq!(rig.seqs().len(), 8);
    rig.flow(1, 5, 6, true);
    assert_eq!(rig.seqs().len(), 6);
    rig.flow(1, 11, 10, true);
    assert_eq!(rig.seqs().len(), 6);
    assert_eq!(rig.flows.last(), Some(&(c(1), 21, 0, 0, true)));
}

#[test]
fn room_bounds_what_is_on_its_way_to_a_connection() {
    let mut rig = Rig::new();
    rig.publish_n(20);
    rig.subscribe(Subscribe { room_messages: 3, ..wish(1) }, 100);
    rig.subscribe(Subscribe { room_bytes: 150, ..wish(2) }, 100);
    let got = rig.got();
    assert_eq!(got.iter().filter(|g| g.0 == 1).count(), 3);
    assert_eq!(got.iter().filter(|g| g.0 == 2).count(), 2, "one may exceed the bytes");
    rig.run(Command::Room { consumer: c(1), messages: 1, bytes: 100 });
    rig.run(Command::Room { consumer: c(2), messages: 1, bytes: 50 });
    assert_eq!(rig.got(), [(1, 6)]);
    rig.run(Command::Room { consumer: c(2), messages: 0, bytes: 1 });
    assert_eq!(rig.got(), [(2, 7)]);
}

#[test]
fn consumers_take_turns_in_small_bursts() {
    let mut rig = Rig::new();
    for n in 1..=4 {
        rig.consumer(n);
    }
    rig.publish_n(400);
    let got = rig.got();
    for n in 1..=4 {
        let mine = got.iter().filter(|g| g.0 == n).count();
        assert!((64..=136).contains(&mine), "consumer {n} got {mine}");
    }
    // A few messages go to different consumers.
    rig.publish_n(4);
    let mut few: Vec<u64> = rig.got().into_iter().map(|g| g.0).collect();
    few.sort_unstable();
    assert_eq!(few, [1, 2, 3, 4]);
}

#[test]
fn drain_delivers_what_there_is_and_uses_up_the_credit() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    rig.run(Command::Subscribe(Box::new(wish(1))));
    rig.flow(1, 0, 10, true);
    assert_eq!(rig.seqs(), [1, 2, 3]);
    assert_eq!(rig.flows, [(c(1), 10, 0, 0, true)]);
    rig.publish_n(1);
    assert_eq!(rig.seqs(), Vec::<u64>::new());
    rig.flow(1, 10, 1, true);
    assert_eq!(rig.seqs(), [4]);
    assert_eq!(rig.flows.last(), Some(&(c(1), 11, 0, 0, true)));
}

#[test]
fn drain_waits_for_room_while_there_are_messages() {
    let mut rig = Rig::new();
    rig.publish_n(3);
    rig.run(Command::Subscribe(Box::new(Subscribe { room_messages: 1, ..wish(1) })));
    rig.flow(1, 0, 10, true);
    assert_eq!(rig.flows, []);
    rig.run(Command::Room { consumer: c(1), messages: 2, bytes: 200 });
    assert_eq!((rig.seqs().len(), rig.flows.len()), (3, 1));
}

#[test]
fn drain_is_answered_when_what_waits_is_not_for_this_consumer() {
    let mut rig = Rig::new();
    rig.publish_n(1);
    rig.subscribe(wish(1), 1);
    let excluded = Modified { undeliverable_here: true, ..Modified::default() };
    rig.settle(1, 1, Outcome::Modified(Box::new(excluded)));
    rig.flow(1, 1, 5, true);
    assert_eq!(rig.flows, [(c(1), 6, 0, 1, true)]);
}

#[test]
fn echo_is_answered_with_the_credit_that_is_left() {
    let mut rig = Rig::new();
    rig.publish_n(2);
    rig.run(Command::Subscribe(Box::new(wish(1))));
    rig.run(Command::Flow { consumer: c(1), delivery_count: 0, credit: 5, drain: false, echo: true });
    assert_eq!(rig.flows, [(c(1), 2, 3, 0, false)]);
}

#[test]
fn browsing_shows_each_message_once_in_order_and_takes_none() {
    let mut rig = Rig::new();
    rig.publish(vec![message(), Message { priority: 9, ..message() }]);
    rig.subscribe(Subscribe { browse: true, ..wish(1) }, 100);
    assert_eq!(rig.got(), [(1, 1), (1, 2)]);
    rig.publish_n(1);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.got(), [(1, 3)]);
    rig.flow(1, 3, 100, true);
    assert_eq!(rig.flows.last(), Some(&(c(1), 103, 0, 3, true)));
    assert_eq!(rig.node.counts().0.available, 3);
    rig.settle_as(1, 1, Some(Outcome::Accepted), true);
    assert_eq!(rig.settled.len(), 1, "ignored, but a second-mode link must not hang");
    rig.consumer(2);
    assert_eq!(rig.seqs().len(), 3);
}

#[test]
fn sent_settled_is_accepted() {
    let mut rig = Rig::new();
    rig.publish_n(2);
    rig.subscribe(Subscribe { presettled: true, ..wish(1) }, 1);
    assert_eq!(rig.seqs(), [1]);
    assert!(rig.stored(1).is_none() && rig.stored(2).is_some());
    assert_eq!(rig.node.counts().0, Counts { available: 1, bytes: 100, consumers: 1, ..Counts::default() });
    rig.leave(1, DetachCause::Lost);
    assert_eq!(rig.stored(2).map(|s| s.delivery_count), Some(0));
}

#[test]
fn deliveries_to_one_consumer_come_as_one_effect() {
    let mut rig = Rig::new();
    rig.auto_commit = false;
    rig.consumer(1);
    rig.consumer(2);
    let messages = (0..200).map(|token| Publish { token, message: message().into(), answer: true }).collect();
    let mut effects = Vec::new();
    rig.node.apply(rig.now, Command::Publish { producer: P, messages }, &mut effects);
    rig.node.flush(rig.now, &mut effects);
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Deliver { .. })).count(), 2);
}

#[test]
fn a_consumer_that_left_gets_nothing_and_its_place_is_used_again() {
    let mut rig = Rig::new();
    rig.consumer(1);
    rig.leave(1, DetachCause::Clean);
    rig.publish_n(1);
    assert_eq!(rig.seqs(), Vec::<u64>::new());
    rig.consumer(2);
    assert_eq!(rig.got(), [(2, 1)]);
    rig.settle(1, 1, Outcome::Accepted);
    assert_eq!(rig.node.counts().0.acquired, 1);
}

#[test]
fn unsettled_out_of_order_does_not_pile_up() {
    let mut rig = Rig::new();
    rig.consumer(1);
    rig.publish_n(1);
    for round in 0..50u64 {
        rig.publish_n(100);
        let from = 2 + round * 100;
        let settlements = (from..from + 100)
            .map(|seq| Settlement { seq: Seq(seq), outcome: Some(Outcome::Accepted), confirm: false })
            .collect();
        rig.run(Command::Settle { consumer: c(1), settlements });
        rig.flow(1, (from + 99) as u32, 1000, false);
    }
    assert_eq!(rig.node.counts().0.acquired, 1);
    rig.leave(1, DetachCause::Lost);
    assert_eq!(rig.stored(1).map(|s| s.delivery_count), Some(1));
}

#[test]
fn consumers_that_end_and_begin_in_one_turn_are_neither_served_after_their_end_nor_twice() {
    let mut rig = Rig::new();
    rig.subscribe(wish(1), 10);
    rig.subscribe(Subscribe { browse: true, ..wish(2) }, 10);
    let now = rig.now;
    let mut effects = Vec::new();
    for id in [1, 2] {
        let cause = DetachCause::Clean;
        rig.node.apply(now, Command::Unsubscribe { consumer: c(id), cause }, &mut effects);
    }
    rig.node.apply(now, Command::Subscribe(Box::new(wish(3))), &mut effects);
    let flow = Command::Flow { consumer: c(3), delivery_count: 0, credit: 10, drain: true, echo: false };
    rig.node.apply(now, flow, &mut effects);
    rig.publish_n(4);
    let got: Vec<_> = rig.got().iter().map(|got| got.0).collect();
    assert_eq!(got, [3; 4]);
    // The slots of those that ended are used again, not two more for each that comes and goes.
    for id in 10..1000 {
        rig.subscribe(wish(id), 10);
        rig.run(Command::Unsubscribe { consumer: c(id), cause: DetachCause::Clean });
    }
    assert!(rig.node.main.slots() <= 4, "{} slots", rig.node.main.slots());
}

#[test]
fn consumers_that_took_their_credit_back_do_not_keep_a_message_from_one_that_has_some() {
    let mut rig = Rig::new();
    (1..=20).for_each(|id| rig.subscribe(wish(id), 10));
    (1..=19).for_each(|id| rig.flow(id, 0, 0, false));
    rig.publish_n(1);
    assert_eq!(rig.got().iter().map(|got| got.0).collect::<Vec<_>>(), [20]);
}

#[test]
fn consumers_that_ended_do_not_keep_a_message_from_one_that_is_there() {
    let mut rig = Rig::new();
    (1..=20).for_each(|id| rig.subscribe(wish(id), 10));
    (1..=3).for_each(|id| rig.run(Command::Unsubscribe { consumer: c(id), cause: DetachCause::Clean }));
    (4..=18).for_each(|id| rig.flow(id, 0, 0, false));
    rig.publish_n(2);
    let mut got: Vec<_> = rig.got().iter().map(|got| got.0).collect();
    got.sort_unstable();
    assert_eq!(got, [19, 20]);
}
