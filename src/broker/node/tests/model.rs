//! Random commands against a model: order, counts, credit, one place for each message.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::rig::*;
use crate::broker::policy::RetryDelay;
use crate::broker::queue::entry::Status;
use crate::broker::*;

#[derive(Debug, Clone)]
enum Step {
    Publish { n: u8, priority: u8, durable: bool, ttl: Option<u16> },
    Credit { consumer: u64, more: u8, drain: bool },
    Settle { consumer: u64, nth: u8, outcome: u8, confirm: bool },
    Leave { consumer: u64, lost: bool },
    Join { consumer: u64 },
    Commit,
    FailBatch,
    Pass(u16),
    Budget(bool),
    Evacuate,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..20u8, 3..6u8, any::<bool>(), prop::option::weighted(0.1, 1..5000u16))
            .prop_map(|(n, priority, durable, ttl)| Step::Publish { n, priority, durable, ttl }),
        4 => (1..5u64, 0..20u8, any::<bool>())
            .prop_map(|(consumer, more, drain)| Step::Credit { consumer, more, drain }),
        8 => (1..5u64, any::<u8>(), 0..6u8, any::<bool>())
            .prop_map(|(consumer, nth, outcome, confirm)| Step::Settle { consumer, nth, outcome, confirm }),
        1 => (1..5u64, any::<bool>()).prop_map(|(consumer, lost)| Step::Leave { consumer, lost }),
        2 => (1..5u64).prop_map(|consumer| Step::Join { consumer }),
        4 => Just(Step::Commit),
        1 => Just(Step::FailBatch),
        2 => (0..3000u16).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Budget),
        1 => Just(Step::Evacuate),
        1 => Just(Step::Restart),
    ]
}

/// Wants what was handed out an even number of times, of even priorities; else the others.
#[derive(Debug)]
struct Even;

impl Chooser for Even {
    fn wants(&self, message: &Message, _: u32, acquired_count: u32, _: Option<&EntryState>) -> bool {
        (u32::from(message.priority) + acquired_count).is_multiple_of(2)
    }

    fn words(&self) -> String {
        String::new()
    }
}

/// A consumer as its client sees it.
#[derive(Debug, Default)]
struct Client {
    filtered: bool,
    limit: u32,
    delivered: u32,
    /// Held, with the tree it came from.
    holds: Vec<u64>,
    dead: bool,
}

#[derive(Default)]
struct Model {
    clients: BTreeMap<u64, Client>,
    next_id: u64,
    ids: BTreeMap<u64, u64>,
    confirms: usize,
    published: usize,
    /// Acceptances the node confirmed to the consumer: they must never return.
    final_ones: BTreeSet<(bool, u64)>,
    waiting_final: BTreeMap<(u64, u64), bool>,
    /// Which consumers have a filter.
    filtered: BTreeSet<u64>,
}

impl Model {
    fn take_deliveries(&mut self, rig: &mut Rig) {
        let held: BTreeSet<(bool, u64)> =
            self.clients.values().flat_map(|c| c.holds.iter().map(move |s| (c.dead, *s))).collect();
        let mut handed = BTreeSet::new();
        for (consumer, delivery) in rig.deliveries.drain(..) {
            let seq = delivery.seq.0;
            let client = self.clients.get_mut(&consumer.0).unwrap_or_else(|| panic!("{consumer:?} is gone"));
            assert!(!held.contains(&(client.dead, seq)), "{seq} is held by somebody");
            assert!(handed.insert((client.dead, seq)), "{seq} was handed out twice");
            assert!(!self.final_ones.contains(&(client.dead, seq)), "{seq} was settled for good");
            let wanted = Even.wants(&delivery.message, 0, delivery.acquired_count, None);
            assert!(wanted || !client.filtered, "{seq} is not what its consumer asked for");
            client.delivered = client.delivered.wrapping_add(1);
            assert!(client.limit.wrapping_sub(client.delivered) < 1000, "credit exceeded");
            client.holds.push(seq);
        }
        for (consumer, delivery_count, _, _, drained) in rig.flows.drain(..) {
            let client = self.clients.get_mut(&consumer.0).unwrap_or_else(|| panic!("{consumer:?} is gone"));
            if drained {
                assert_eq!(delivery_count, client.limit, "drained to another place than the credit's end");
                client.delivered = delivery_count;
            }
            assert_eq!(delivery_count, client.delivered);
        }
        for (consumer, seq, outcome) in rig.settled.drain(..) {
            self.confirms -= 1;
            if let Some(dead) = self.waiting_final.remove(&(consumer.0, seq.0)) {
                assert_eq!(outcome, Outcome::Accepted);
                self.final_ones.insert((dead, seq.0));
            }
        }
    }

    fn check(&self, rig: &Rig) {
        let (main, dead) = rig.node.counts();
        for (counts, is_dead) in [(main, false), (dead, true)] {
            let held: usize =
                self.clients.values().filter(|c| c.dead == is_dead).map(|c| c.holds.len()).sum();
            assert_eq!(counts.acquired, held as u64, "acquired, dead letters: {is_dead}");
            assert_eq!(
                counts.bytes,
                100 * (counts.available + counts.acquired + counts.delayed + counts.moving)
            );
        }
    }

    /// Nothing that a consumer could have still waits.
    fn check_none_waits(&self, rig: &Rig) {
        if rig.node.breaker() != BreakerState::Closed {
            return;
        }
        for (consumer, id) in &self.ids {
            let Some(client) = self.clients.get(id) else { continue };
            // One with a crash suspect, or about to get one, gets nothing else.
            if client.limit == client.delivered || !client.holds.is_empty() {
                continue;
            }
            let queue = if client.dead { &rig.node.dead } else { &rig.node.main };
            for seq in queue.with_status(&[Status::Available]) {
                let Some(entry) = queue.entries.get(seq) else { continue };
                let Some(message) = &entry.message else { continue };
                let wanted = !client.filtered || Even.wants(message, 0, entry.acquired_count, None);
                let fits = wanted && !entry.suspect() && !entry.excludes(&format!("endpoint-{consumer}"));
                assert!(!fits, "{seq} waits, and {consumer} has credit for it");
            }
        }
    }

    fn forget_unsafe(&mut self) {
        self.clients.clear();
        self.ids.clear();
        self.confirms = 0;
        self.waiting_final.clear();
    }
}

fn outcome(n: u8) -> Outcome {
    let modified =
        |failed, here| Modified { delivery_failed: failed, undeliverable_here: here, ..Default::default() };
    match n {
        0 | 1 => Outcome::Accepted,
        2 => Outcome::Released,
        3 => Outcome::Rejected(None),
        4 => failed(),
        _ => Outcome::Modified(Box::new(modified(false, true))),
    }
}

fn act(rig: &mut Rig, model: &mut Model, step: Step) {
    match step {
        Step::Publish { n, priority, durable, ttl } => {
            let expires = ttl.map(|ms| rig.now.plus_ms(ms.into()));
            model.published += usize::from(n);
            rig.publish((0..n).map(|_| Message { priority, durable, expires, ..message() }).collect());
        }
        Step::Join { consumer } if !model.ids.contains_key(&consumer) => {
            model.next_id += 1;
            let id = model.next_id;
            // Starts just before the wrap, so that credit is counted across it.
            let start = u32::MAX - 20;
            let dead = consumer == 4;
            model.ids.insert(consumer, id);
            let filtered = model.filtered.contains(&consumer);
            let client = Client { limit: start, delivered: start, dead, filtered, ..Client::default() };
            model.clients.insert(id, client);
            let filter = filtered.then(|| Arc::new(Even) as Arc<dyn Chooser>);
            let endpoint = format!("endpoint-{consumer}");
            let start = Subscribe { delivery_count: start, ..wish(id) };
            rig.subscribe(Subscribe { endpoint, dead_letter: dead, filter, ..start }, 0);
        }
        Step::Credit { consumer, more, drain } => {
            let Some(&id) = model.ids.get(&consumer) else { return };
            let Some(client) = model.clients.get_mut(&id) else { return };
            client.limit = client.delivered.wrapping_add(more.into());
            rig.flow(id, client.delivered, more.into(), drain);
        }
        Step::Settle { consumer, nth, outcome: n, confirm } => {
            let Some(&id) = model.ids.get(&consumer) else { return };
            let Some(client) = model.clients.get_mut(&id) else { return };
            if client.holds.is_empty() {
                return;
            }
            let seq = client.holds.remove(usize::from(nth) % client.holds.len());
            model.confirms += usize::from(confirm);
            if confirm && n < 2 {
                model.waiting_final.insert((id, seq), client.dead);
            }
            rig.settle_as(id, seq, Some(outcome(n)), confirm);
        }
        Step::Leave { consumer, lost } => {
            let Some(id) = model.ids.remove(&consumer) else { return };
            rig.leave(id, if lost { DetachCause::Lost } else { DetachCause::Clean });
            model.clients.remove(&id);
        }
        Step::Commit => rig.commit(),
        Step::FailBatch => {
            let refusable = |batch: &Batch| matches!(batch.records.first(), Some(Record::Put { .. }));
            if !rig.batches.front().is_some_and(refusable) {
                return;
            }
            let Some(batch) = rig.batches.pop_front() else { return };
            rig.run(Command::CommitFailed { ticket: batch.ticket });
            // Its new messages are taken back from whoever holds them: they settle something unknown.
            for client in model.clients.values_mut() {
                let queue = if client.dead { &rig.node.dead } else { &rig.node.main };
                client.holds.retain(|seq| queue.entries.get(*seq).is_some());
            }
        }
        Step::Pass(ms) => rig.pass(ms.into()),
        Step::Budget(small) => rig.run(Command::MemoryBudget { bytes: if small { 300 } else { 1 << 20 } }),
        Step::Evacuate => {
            let segment = rig.journal.segment;
            rig.journal.segment += 1;
            rig.run(Command::Evacuate { segment, limit: 1000 });
        }
        Step::Restart => {
            model.forget_unsafe();
            rig.restart();
        }
        Step::Join { .. } => {}
    }
}

fn settle_down(rig: &mut Rig, model: &mut Model) {
    rig.auto_commit = true;
    rig.run(Command::MemoryBudget { bytes: 1 << 20 });
    rig.pass(200_000);
    model.take_deliveries(rig);
    model.check(rig);
    model.check_none_waits(rig);
    assert_eq!(model.confirms, 0, "every confirmation asked for was given");
    // What the journal has is what the node has, but for messages that were never recorded.
    let (main, dead) = rig.node.counts();
    rig.node.prepare_stop();
    rig.pass(0);
    let total = |c: Counts| c.available + c.acquired + c.delayed + c.moving;
    let in_journal =
        |dead| rig.journal.messages.keys().filter(|(q, _)| q.is_dead_letter() == dead).count() as u64;
    assert_eq!((total(main), total(dead)), (in_journal(false), in_journal(true)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_given_beyond_credit(steps in prop::collection::vec(step(), 1..120)) {
        let delay = RetryDelay { first_ms: 100, ..RetryDelay::default() };
        let mut rig = Rig::with(QueuePolicy { max_attempts: 3, retry_delay: delay, ..QueuePolicy::default() });
        let mut model = Model { filtered: [2, 4].into(), ..Model::default() };
        rig.auto_commit = false;
        for step in steps {
            act(&mut rig, &mut model, step);
            model.take_deliveries(&mut rig);
            model.check(&rig);
        }
        settle_down(&mut rig, &mut model);
    }

    #[test]
    fn one_consumer_that_accepts_sees_each_priority_in_order(
        publishes in prop::collection::vec((1..30u8, 0..12u8), 1..20),
        credits in prop::collection::vec(1..60u32, 1..30),
    ) {
        let mut rig = Rig::new();
        for &(n, priority) in &publishes {
            rig.publish((0..n).map(|_| Message { priority, ..message() }).collect());
        }
        rig.subscribe(wish(1), 0);
        let (mut got, mut delivered) = (Vec::new(), 0);
        for credit in credits {
            rig.flow(1, delivered, credit, false);
            for (_, d) in rig.deliveries.split_off(0) {
                delivered += 1;
                got.push((9 - d.message.priority.min(9), d.seq.0));
                rig.settle(1, d.seq.0, Outcome::Accepted);
            }
        }
        prop_assert!(got.is_sorted());
    }

    #[test]
    fn paging_changes_nothing_about_what_is_delivered(
        steps in prop::collection::vec(step(), 1..80),
        budget in 0..1000u64,
        filtered in any::<bool>(),
    ) {
        let run = |budget: u64| {
            let delay = RetryDelay { first_ms: 50, ..RetryDelay::default() };
            let mut rig = Rig::with(QueuePolicy { max_attempts: 3, retry_delay: delay, ..QueuePolicy::default() });
            rig.run(Command::MemoryBudget { bytes: budget });
            let mut model = Model::default();
            model.filtered.extend([1, 4].into_iter().filter(|_| filtered));
            let mut seen = Vec::new();
            for step in steps.clone() {
                // One priority, since a lower one may overtake while a higher one is read.
                let step = match step {
                    Step::Publish { n, durable, ttl, .. } => Step::Publish { n, priority: 4, durable, ttl },
                    Step::Budget(_) | Step::FailBatch | Step::Commit => continue,
                    // One consumer a tree: several may share a queue differently when bodies come late.
                    Step::Join { consumer: 2 | 3 } => Step::Join { consumer: 1 },
                    Step::Credit { consumer: 2 | 3, more, drain } => Step::Credit { consumer: 1, more, drain },
                    Step::Settle { consumer: 2 | 3, nth, outcome, confirm } => {
                        Step::Settle { consumer: 1, nth, outcome, confirm }
                    }
                    other => other,
                };
                act(&mut rig, &mut model, step);
                let mut now: Vec<_> =
                    rig.deliveries.iter().map(|(c, d)| (c.0, d.seq.0, d.delivery_count, d.acquired_count)).collect();
                // Main queue and dead letters are served in the same flush, in either order.
                now.sort_by_key(|d| d.0);
                seen.push(now);
                model.take_deliveries(&mut rig);
            }
            (seen, rig.node.counts())
        };
        prop_assert_eq!(run(budget), run(u64::MAX));
    }
}
