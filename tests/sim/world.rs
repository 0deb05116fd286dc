//! A whole run: time, who is next, and what goes wrong.
//!
//! Invariant: everything that happens is a step of one of the actors, chosen by the seed; time passes
//! only between steps. After the faults stop, a run must come to its end within `MOST_STEPS` (rule 9).

use std::collections::BTreeMap;

use fe2o3_amqp_types::definitions::ConnectionError;
use verdict::{
    broker::{ConnectionId, Effect, QueueId},
    time::Millis,
};

use crate::{
    body,
    house::{House, connection_of},
    model::{Model, Place},
    note,
    plan::Plan,
    rng::Rng,
    scene::Scene,
    seat::{Report, Seat},
    wire::Wire,
};

/// Steps with faults at most.
const FAULTY_STEPS: u64 = 4000;
/// Steps in which a run without faults must come to its end.
const MOST_STEPS: u64 = 60_000;

/// A run.
pub struct World {
    now: Millis,
    rng: Rng,
    plan: Plan,
    house: House,
    model: Model,
    seats: Vec<Seat>,
    next_connection: u32,
    next_key: u64,
    calm: bool,
    stopping: bool,
    report: Report,
}

macro_rules! scene {
    ($world:ident) => {
        Scene {
            now: $world.now,
            rng: &mut $world.rng,
            model: &mut $world.model,
            disk: &$world.house.disk,
            queues: &$world.plan.queues,
            next_key: &mut $world.next_key,
            calm: $world.calm,
            stopping: $world.stopping,
        }
    };
}

impl World {
    /// The run of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let policies = plan.queues.iter().map(|queue| (queue.name.clone(), queue.policy.clone()));
        let policies: BTreeMap<_, _> = policies.collect();
        let house = House::new(policies, plan.memory_bytes, Rng::new(seed ^ 1));
        let paging = plan.memory_bytes.is_some();
        Self {
            now: Millis(1_000_000),
            rng,
            house,
            model: Model::new(plan.queues.clone(), paging),
            seats: plan.clients.iter().cloned().map(Seat::new).collect(),
            next_connection: 0,
            next_key: 0,
            calm: false,
            stopping: false,
            report: Report::default(),
            plan,
        }
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Report {
        note!(self.now, "{:#?}", self.plan);
        while self.report.steps < FAULTY_STEPS && self.seats.iter().any(|seat| seat.left() > 0) {
            self.faults();
            self.step();
        }
        note!(self.now, "the faults are over");
        self.calm = true;
        self.model.crowded = true;
        self.house.set_full(false);
        let guests = self.seats.len();
        for queue in 0..self.plan.queues.len() {
            let plan = Plan::sweeper(queue, &mut self.rng);
            self.seats.push(Seat::new(plan));
        }
        self.until("everything is sent, answered and confirmed", |world| {
            if world.house.is_evacuating() && world.report.steps % 64 == 0 {
                world.house.evacuate(&mut world.rng);
            }
            let settled = |seat: &Seat| seat.wire.as_ref().is_some_and(|wire| wire.client.is_satisfied());
            world.seats.iter().all(settled) && !world.house.is_evacuating()
        });
        for at in 0..guests {
            if self.rng.one_in(2) {
                self.close(at)
            } else {
                self.cut(at)
            }
            self.seats[at].again_at = Millis(u64::MAX);
        }
        self.until("the queues are empty", |world| {
            let empty = |id: &QueueId| {
                let counts = world.house.node(*id).map(|node| node.counts()).unwrap_or_default();
                [counts.0, counts.1]
                    .iter()
                    .all(|c| (c.available, c.acquired, c.delayed, c.moving) == (0, 0, 0, 0))
            };
            // What a guest sent settled may still be on its way.
            world.seats[..guests].iter().all(|seat| seat.wire.is_none())
                && world.house.ids().iter().all(empty)
                && world.house.disk.stored.is_empty()
                && world.house.is_idle()
        });
        self.finish()
    }

    fn finish(mut self) -> Report {
        for seat in 0..self.seats.len() {
            if let Some(wire) = &mut self.seats[seat].wire {
                wire.client.drain_all(&mut scene!(self));
            }
        }
        self.until("every drain is answered", |world| {
            world.seats.iter().all(|seat| seat.wire.as_ref().is_none_or(|wire| wire.client.is_satisfied()))
        });
        for at in 0..self.seats.len() {
            self.close(at);
            self.seats[at].again_at = Millis(u64::MAX);
        }
        self.until("every connection is closed", |world| {
            world.seats.iter().all(|seat| seat.wire.is_none()) && world.house.is_idle()
        });
        for id in self.house.ids() {
            let counts = self.house.node(id).map(|node| node.counts()).unwrap_or_default();
            assert_eq!(counts, Default::default(), "rule 1 broken: {id:?} is not empty and alone");
        }
        self.model.swept(&self.house.disk, self.now);
        let Self { report, now, model, house, .. } = self;
        Report {
            end_ms: now.0,
            messages: model.next_id(),
            deliveries: model.deliveries,
            refused: house.disk.refused,
            left_out: house.disk.left_out,
            evacuations: house.evacuations,
            duplicates: model.duplicates(),
            held: house.held,
            ..report
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let limit = self.report.steps + MOST_STEPS;
        while !done(self) {
            if self.report.steps >= limit {
                self.stalled(what);
            }
            self.step();
        }
    }

    fn stalled(&self, what: &str) -> ! {
        let mut lines =
            vec![format!("rule 9 broken: after {MOST_STEPS} steps without faults not yet: {what}")];
        for id in self.house.ids() {
            lines.push(format!("{id:?} {:?}", self.house.node(id).map(|node| node.counts())));
        }
        let seats = self.seats.iter().filter_map(|seat| seat.wire.as_ref());
        lines.extend(seats.map(|wire| wire.client.describe()));
        lines.push(format!("on disk {:?}, idle {}", self.house.disk.by_id, self.house.is_idle()));
        panic!("{}", lines.join("\n"));
    }

    /// One actor's step; where none has anything to do, time goes on.
    fn step(&mut self) {
        self.report.steps += 1;
        if self.rng.one_in(16) {
            self.now = self.now.plus_ms(self.rng.range(1, 3));
        }
        let nodes = self.house.ids();
        let of_seats = self.seats.len() * 7;
        let actors = of_seats + nodes.len() + 2;
        let first = self.rng.below(actors as u64) as usize;
        for offset in 0..actors {
            let actor = (first + offset) % actors;
            let did = match actor {
                actor if actor < of_seats => self.seat_step(actor / 7, actor % 7),
                actor if actor < of_seats + nodes.len() => self.node_step(nodes[actor - of_seats]),
                actor if actor + 1 == actors => self.house.finish_loads(self.now),
                _ => self.house.step_disk(self.now, self.plan.disk_ms, &mut self.rng),
            };
            if did {
                return;
            }
        }
        self.wait();
    }

    fn wait(&mut self) {
        let seat = |seat: &Seat| match &seat.wire {
            Some(wire) => wire.next_due(),
            None => (!self.stopping).then_some(seat.again_at),
        };
        let due = self.seats.iter().filter_map(seat).chain(self.house.next_due()).min();
        let next = due.filter(|at| *at > self.now && at.0 < u64::MAX).unwrap_or(self.now.plus_ms(1));
        self.now = next;
    }

    fn node_step(&mut self, id: QueueId) -> bool {
        let Some(effects) = self.house.turn(id, self.now, &mut self.rng) else { return false };
        self.model.turn(&self.house.disk);
        for effect in effects {
            let to = connection_of(&effect);
            let wire = self.seats.iter_mut().filter_map(|seat| seat.wire.as_mut()).find(|wire| wire.id == to);
            if let Effect::Deliver { consumer, deliveries } = &effect {
                let Some(link) = self.house.subscription(*consumer) else {
                    panic!("{consumer:?} never subscribed")
                };
                let place = Place { queue: self.house.queue_of(id), dead: link.dead_letter };
                for delivery in deliveries.iter().filter(|_| !link.browse) {
                    let message = body::id_of(delivery.message.payload());
                    self.model.only_once(message, &self.house.disk);
                    self.model.handed(message, delivery, *consumer, place, link.presettled, self.now);
                    if wire.is_none() {
                        self.model.cut_one(message);
                    }
                }
                note!(self.now, "{id:?} hands {:?} to {:x}", ids(deliveries), consumer.0);
            }
            if let Some(wire) = wire {
                wire.mail.push_back(effect);
            }
        }
        true
    }

    fn seat_step(&mut self, at: usize, what: usize) -> bool {
        let seat = &mut self.seats[at];
        let Some(wire) = &mut seat.wire else {
            if what != 0 || self.stopping || seat.again_at > self.now {
                return false;
            }
            let id = ConnectionId(self.next_connection);
            self.next_connection += 1;
            note!(self.now, "client {} connects", id.0);
            seat.wire = Some(Wire::new(id, &seat.plan, &seat.left, &mut scene!(self)));
            return true;
        };
        match what {
            0 => wire.client.act(&mut scene!(self)),
            1 => wire.client_writes(self.now, self.plan.pipe_ms, &mut self.rng),
            2 => wire.client_reads(self.now, &mut self.rng),
            3 => wire.server_writes(self.now, self.plan.pipe_ms, &mut self.house, &mut self.rng),
            4 => wire.server_reads(self.now, &mut self.house, &mut self.rng),
            5 => wire.server_mail(&mut self.house, &mut self.rng),
            _ if wire.is_finished() => {
                wire.leave(self.now, &mut self.house);
                self.vacate(at);
                true
            }
            _ if wire.is_abandoned() && self.stopping => {
                self.cut(at);
                true
            }
            _ => wire.timers(self.now, &mut self.house),
        }
    }

    /// The connection of a seat is over; its client comes back some time.
    fn vacate(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        if let Some(wire) = seat.wire.take() {
            note!(self.now, "client {} is gone", wire.id.0);
            seat.left = wire.client.left();
            if seat.again_at.0 < u64::MAX {
                seat.again_at = self.now.plus_ms(self.rng.range(0, 50));
            }
        }
    }

    fn close(&mut self, at: usize) {
        if let Some(wire) = &mut self.seats[at].wire {
            wire.client.close(&mut scene!(self));
        }
    }

    fn cut(&mut self, at: usize) {
        let Some(wire) = &mut self.seats[at].wire else { return };
        note!(self.now, "client {} is cut off", wire.id.0);
        wire.client.lost(&mut scene!(self));
        self.model.cut(wire.id);
        wire.leave(self.now, &mut self.house);
        self.report.cuts += 1;
        self.vacate(at);
    }

    fn faults(&mut self) {
        let plan = &self.plan;
        let mut happens = |one_in: u64| one_in > 0 && self.rng.one_in(one_in);
        let (cut, crash, restart) =
            (happens(plan.cut_one_in), happens(plan.crash_one_in), happens(plan.restart_one_in));
        let replay = happens(plan.replay_one_in);
        if happens(plan.evacuate_one_in) {
            self.house.evacuate(&mut self.rng);
        }
        if plan.full_one_in > 0 && self.rng.one_in(plan.full_one_in) {
            let full = !self.house.disk.full;
            note!(self.now, "the disk is full: {full}");
            self.house.set_full(full);
        }
        if replay {
            self.replay();
        }
        if cut {
            let at = self.rng.below(self.seats.len() as u64) as usize;
            self.cut(at);
        }
        if crash {
            self.crash();
        } else if restart {
            self.restart();
        }
    }

    /// Somebody looks at the dead letters of a queue and has some put back.
    fn replay(&mut self) {
        let nodes = self.house.ids();
        if nodes.is_empty() {
            return;
        }
        let id = nodes[self.rng.below(nodes.len() as u64) as usize];
        let name = self.rng.pick(&["r0", "r1", "r2"]);
        let moved = self.house.replay(id, name, self.now, &mut self.rng);
        note!(self.now, "{id:?} replay {name} of messages {moved:?}");
        self.report.replayed += moved.len() as u64;
        for message in moved {
            self.model.replayed(message, name, Place { queue: self.house.queue_of(id), dead: false });
        }
    }

    fn crash(&mut self) {
        note!(self.now, "the broker crashes");
        self.report.crashes += 1;
        for at in 0..self.seats.len() {
            if let Some(wire) = &mut self.seats[at].wire {
                wire.client.lost(&mut scene!(self));
            }
            self.vacate(at);
        }
        let written = self.rng.one_in(2);
        self.house.disk.crash(written, &mut self.rng);
        self.come_back(false);
    }

    fn come_back(&mut self, kept: bool) {
        self.house.recover();
        let house = &self.house;
        let place =
            |queue: QueueId| Place { queue: house.queue_of(queue.main()), dead: queue.is_dead_letter() };
        self.model.crashed(&house.disk, kept, self.now, place);
    }

    /// SIGTERM: connections are closed, what is not durable is kept, and the broker starts again.
    fn restart(&mut self) {
        note!(self.now, "the broker stops");
        self.report.restarts += 1;
        self.house.set_full(false);
        (self.stopping, self.model.stopping) = (true, true);
        for wire in self.seats.iter_mut().filter_map(|seat| seat.wire.as_mut()) {
            wire.server.close(ConnectionError::ConnectionForced, "the broker stops");
        }
        let limit = self.report.steps + 500;
        while self.report.steps < limit && self.seats.iter().any(|seat| seat.wire.is_some()) {
            self.step();
        }
        for at in 0..self.seats.len() {
            self.cut(at);
        }
        self.until("what was sent before the stop is done", |world| world.house.is_idle());
        self.house.prepare_stop();
        self.until("everything is on the disk", |world| world.house.is_idle());
        self.house.disk.crash(false, &mut self.rng);
        self.come_back(true);
        (self.stopping, self.model.stopping) = (false, false);
    }
}

fn ids(deliveries: &[verdict::broker::Delivery]) -> Vec<(u64, u64, u32)> {
    let brief = |d: &verdict::broker::Delivery| (body::id_of(d.message.payload()), d.seq.0, d.delivery_count);
    deliveries.iter().map(brief).collect()
}
