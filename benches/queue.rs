//! What a message costs in the broker core: publish, deliver, settle, commit, in batches of 100.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use verdict::{
    broker::{
        Command, Committed, ConsumerId, Effect, Lifetime, Location, Message, Node, Outcome, ProducerId,
        Publish, QueueDefinition, QueueId, QueuePolicy, Record, Seq, Settlement, Subscribe,
    },
    time::Millis,
};

const BATCH: u64 = 100;
const NOW: Millis = Millis(1_000_000);

struct Bench {
    node: Node,
    message: Arc<Message>,
    effects: Vec<Effect>,
    delivered: Vec<u32>,
}

impl Bench {
    fn new(durable: bool, consumers: u64) -> Self {
        let definition = QueueDefinition {
            id: QueueId(2),
            name: "orders".into(),
            policy: QueuePolicy::default(),
            lifetime: Lifetime::Permanent,
            shard: 0,
            settings: String::new(),
        };
        let message = Message {
            from: 0,
            bytes: Arc::from(vec![0u8; 100]),
            format: 0,
            durable,
            priority: 4,
            first_acquirer: true,
            delivery_count: 0,
            expires: None,
        };
        let mut bench = Self {
            node: Node::new(definition, 1),
            message: Arc::new(message),
            effects: Vec::new(),
            delivered: vec![0; consumers as usize],
        };
        for n in 0..consumers {
            let wish = Subscribe {
                consumer: ConsumerId(n),
                dead_letter: false,
                endpoint: format!("link-{n}"),
                identity: Arc::from("bench"),
                browse: false,
                filter: None,
                presettled: false,
                default_outcome: Outcome::Released,
                delivery_count: 0,
                room_messages: 1000,
                room_bytes: 1 << 40,
            };
            bench.apply(Command::Subscribe(Box::new(wish)));
            bench.flow(n);
        }
        bench
    }

    fn apply(&mut self, command: Command) {
        self.node.apply(NOW, command, &mut self.effects);
    }

    fn flow(&mut self, n: u64) {
        let delivery_count = self.delivered.get(n as usize).copied().unwrap_or(0);
        let consumer = ConsumerId(n);
        self.apply(Command::Flow { consumer, delivery_count, credit: 1000, drain: false, echo: false });
    }

    fn publish(&mut self) {
        let message = &self.message;
        let messages =
            (0..BATCH).map(|token| Publish { token, message: Arc::clone(message), answer: true }).collect();
        self.apply(Command::Publish { producer: ProducerId(1), messages });
    }

    fn commit(&mut self) {
        while let Some(batch) = self.node.take_batch() {
            let puts = batch.records.iter().filter(|r| matches!(r, Record::Put { .. })).count();
            let locations = vec![Some(Location { segment: 1, offset: 7, len: 120 }); puts];
            self.apply(Command::Committed(Committed { ticket: batch.ticket, locations, seen: None }));
            black_box(batch);
        }
    }

    /// One batch through the whole core; returns how many were settled.
    fn round(&mut self) -> usize {
        self.publish();
        self.node.flush(NOW, &mut self.effects);
        self.commit();
        let mut settled = 0;
        for effect in std::mem::take(&mut self.effects) {
            let Effect::Deliver { consumer, deliveries } = effect else { continue };
            settled += deliveries.len();
            if let Some(delivered) = self.delivered.get_mut(consumer.0 as usize) {
                *delivered = delivered.wrapping_add(deliveries.len() as u32);
            }
            let messages = deliveries.len() as u32;
            let settle = |seq: Seq| Settlement { seq, outcome: Some(Outcome::Accepted), confirm: false };
            let settlements = deliveries.iter().map(|d| settle(d.seq)).collect();
            self.apply(Command::Settle { consumer, settlements });
            self.apply(Command::Room { consumer, messages, bytes: u64::from(messages) * 100 });
            self.flow(consumer.0);
        }
        self.node.flush(NOW, &mut self.effects);
        self.commit();
        settled
    }
}

fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(BATCH));
    for (name, durable, consumers) in [
        ("durable, 1 consumer", true, 1),
        ("durable, 8 consumers", true, 8),
        ("non-durable, 1 consumer", false, 1),
    ] {
        let mut bench = Bench::new(durable, consumers);
        group.bench_function(name, |b| b.iter(|| assert_eq!(bench.round(), BATCH as usize)));
    }
    let mut bench = Bench::new(true, 1);
    for _ in 0..10_000 {
        bench.publish();
        bench.node.flush(NOW, &mut bench.effects);
        bench.commit();
        bench.effects.clear();
    }
    group.bench_function("publish onto a million", |b| {
        b.iter(|| {
            bench.publish();
            bench.node.flush(NOW, &mut bench.effects);
            bench.commit();
            bench.effects.clear();
        });
    });
    group.finish();
}

criterion_group!(benches, queue);
criterion_main!(benches);
