//! What a seed means: queues and their rules, clients and their habits, faults and how often.
//!
//! Invariant: a plan is drawn whole from the seed before the run begins.

use verdict::broker::policy::{
    BreakerPolicy, Detect, DuplicatePolicy, ExpiredTo, QueuePolicy, RetryDelay, RetryOrder, WhenFull,
};

use crate::{rng::Rng, wants::Wants};

/// A whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The queues, named by their place.
    pub queues: Vec<QueuePlan>,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// Most time bytes are on their way.
    pub pipe_ms: u64,
    /// Most time a commit takes.
    pub disk_ms: u64,
    /// A connection is cut once in so many steps (0: never).
    pub cut_one_in: u64,
    /// The broker crashes once in so many steps.
    pub crash_one_in: u64,
    /// The broker stops in good order and starts again once in so many steps.
    pub restart_one_in: u64,
    /// The disk becomes full (or no longer) once in so many steps.
    pub full_one_in: u64,
    /// The store wants a segment emptied once in so many steps.
    pub evacuate_one_in: u64,
    /// Somebody replays dead letters of a queue once in so many steps.
    pub replay_one_in: u64,
    /// Memory for a node's bodies, where it is little.
    pub memory_bytes: Option<u64>,
}

/// A queue.
#[derive(Debug, Clone)]
pub struct QueuePlan {
    /// Its address.
    pub name: String,
    /// Its rules.
    pub policy: QueuePolicy,
    /// One consumer with a credit of 1 and no delays: what comes back must come back first.
    pub strict: bool,
    /// Some consumer wants only some messages: a younger one may go out before an older one.
    pub filtered: bool,
}

/// A client.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    /// max-frame-size both ways.
    pub frame_size: u32,
    /// Sessions its links are spread over.
    pub sessions: u64,
    /// It uses SASL ANONYMOUS.
    pub sasl: bool,
    /// Idle time-out both ways.
    pub idle_ms: Option<u32>,
    /// It closes its connection once in so many turns (0: never).
    pub close_one_in: u64,
    /// Its links.
    pub links: Vec<LinkPlan>,
}

/// A link.
#[derive(Debug, Clone)]
pub struct LinkPlan {
    /// Index of its queue.
    pub queue: usize,
    /// It detaches once in so many turns (0: never).
    pub detach_one_in: u64,
    /// rcv-settle-mode second.
    pub second: bool,
    /// What it does.
    pub habit: Habit,
}

/// What a link does.
#[derive(Debug, Clone)]
pub enum Habit {
    /// It publishes.
    Producer(ProducerPlan),
    /// It consumes.
    Consumer(ConsumerPlan),
}

/// A publisher's habits; shares are per mille.
#[derive(Debug, Clone)]
pub struct ProducerPlan {
    /// Messages in all.
    pub messages: u64,
    /// Of them durable.
    pub durable: u64,
    /// Sent settled.
    pub settled: u64,
    /// With a time to live.
    pub mortal: u64,
    /// Largest body.
    pub size: u64,
    /// With priorities of all kinds.
    pub priorities: bool,
    /// Sent with the message-id of one before.
    pub repeats: u64,
    /// Groups its messages are of (0: none).
    pub groups: u64,
    /// Longest pause.
    pub pause_ms: u64,
}

/// A consumer's habits.
#[derive(Debug, Clone)]
pub struct ConsumerPlan {
    /// From the dead-letter tree.
    pub dead_letter: bool,
    /// Most credit.
    pub credit: u32,
    /// Asks for settled deliveries.
    pub presettled: bool,
    /// distribution-mode copy.
    pub browse: bool,
    /// Has a selector.
    pub wants: Option<Wants>,
    /// How likely each of `consumer::ANSWERS` is.
    pub weights: [u64; 7],
    /// Longest time it holds a message.
    pub hold_ms: u64,
    /// It drains once in so many turns (0: never).
    pub drain_one_in: u64,
}

impl Plan {
    /// Draws a run.
    pub fn draw(rng: &mut Rng) -> Self {
        let count = rng.range(1, 3) as usize;
        let mut queues: Vec<QueuePlan> = (0..count).map(|at| queue(at, rng)).collect();
        // Sometimes one queue takes another's dead letters.
        if count > 1 && rng.one_in(6) && !queues[0].strict && !queues[1].strict {
            queues[0].policy.dead_letter_queue = Some(queues[1].name.clone());
        }
        let mut links = Vec::new();
        for (at, queue) in queues.iter().enumerate() {
            for _ in 0..rng.range(1, 2) {
                links.push(producer(at, rng));
            }
            if queue.strict {
                links.push(strict_consumer(at, rng));
            } else {
                for _ in 0..rng.range(1, 3) {
                    links.push(consumer(at, false, rng));
                }
            }
            if rng.one_in(2) {
                links.push(consumer(at, true, rng));
            }
        }
        add_filters(&mut queues, &mut links, rng.clone());
        let mut clients: Vec<ClientPlan> = (0..rng.range(1, 4)).map(|_| client(rng)).collect();
        for link in links {
            let at = rng.below(clients.len() as u64) as usize;
            clients[at].links.push(link);
        }
        let mut rarely = |one_in: u64, low: u64, high: u64| {
            if rng.one_in(one_in) { rng.range(low, high) } else { 0 }
        };
        Self {
            queues,
            clients,
            cut_one_in: rarely(2, 150, 800),
            crash_one_in: rarely(2, 400, 1500),
            restart_one_in: rarely(4, 500, 1500),
            full_one_in: rarely(5, 100, 400),
            evacuate_one_in: rarely(2, 30, 200),
            replay_one_in: rarely(2, 20, 200),
            memory_bytes: if rng.one_in(4) { Some(rng.range(0, 4000)) } else { None },
            pipe_ms: rng.pick(&[0, 2, 20]),
            disk_ms: rng.pick(&[0, 3, 30]),
        }
    }

    /// The client that takes everything out of a queue and its dead letters at the end.
    pub fn sweeper(queue: usize, rng: &mut Rng) -> ClientPlan {
        let habit = |dead_letter| {
            Habit::Consumer(ConsumerPlan {
                dead_letter,
                credit: 20,
                presettled: false,
                browse: false,
                wants: None,
                weights: [1, 0, 0, 0, 0, 0, 0],
                hold_ms: 0,
                drain_one_in: 40,
            })
        };
        let links =
            [false, true].map(|dead| LinkPlan { queue, detach_one_in: 0, second: true, habit: habit(dead) });
        ClientPlan { close_one_in: 0, idle_ms: None, links: links.to_vec(), ..client(rng) }
    }
}

fn queue(at: usize, rng: &mut Rng) -> QueuePlan {
    let strict = rng.one_in(4);
    let retry_delay = if strict || rng.one_in(2) {
        RetryDelay { first_ms: 0, initial_ms: 0, ..RetryDelay::default() }
    } else {
        let first_ms = rng.pick(&[0, 10]);
        RetryDelay { first_ms, initial_ms: rng.range(1, 200), max_ms: 2000, ..RetryDelay::default() }
    };
    let limited = rng.one_in(5);
    let policy = QueuePolicy {
        max_attempts: rng.range(1, 4) as u32,
        retry_delay,
        max_messages: if limited { Some(rng.range(3, 30)) } else { None },
        max_bytes: if rng.one_in(12) { Some(rng.range(2000, 20_000)) } else { None },
        when_full: if rng.one_in(2) { WhenFull::Reject } else { WhenFull::Block },
        max_ttl_ms: if !strict && rng.one_in(10) { Some(rng.range(500, 5000)) } else { None },
        expired: if rng.one_in(2) { ExpiredTo::DeadLetter } else { ExpiredTo::Discard },
        stranded_after_ms: rng.range(50, 1000),
        crash_suspects: rng.below(3) as u32,
        breaker: breaker(strict, rng),
        duplicates: duplicates(rng),
        // On a strict queue what comes back comes back first, which is not so with what its group holds back.
        retry_order: if !strict && rng.one_in(2) { RetryOrder::Group } else { RetryOrder::Message },
        ..QueuePolicy::default()
    };
    QueuePlan { name: format!("q{at}"), policy, strict, filtered: false }
}

/// A window that is large enough for a whole run, or a small one, of which less is known.
fn duplicates(rng: &mut Rng) -> DuplicatePolicy {
    let detect = if rng.one_in(2) { Detect::MessageId } else { Detect::Off };
    // Ten minutes, the default, are not: seed 9108 waits longer than that for a message.
    let large = DuplicatePolicy { detect, window_ms: 86_400_000, ..DuplicatePolicy::default() };
    if rng.one_in(4) {
        DuplicatePolicy { window_ms: rng.range(1, 2000), count: rng.range(1, 40) as usize, ..large }
    } else {
        large
    }
}

/// On a strict queue what comes back comes back first, which is not so with what failed a breaker's probe.
fn breaker(strict: bool, rng: &mut Rng) -> BreakerPolicy {
    let pause_ms = rng.range(1, 500);
    BreakerPolicy {
        enabled: !strict && rng.one_in(2),
        share: rng.pick(&[0.1, 0.5, 1.0]),
        at_least: rng.range(1, 8) as u32,
        window_ms: rng.range(10, 10_000),
        pause_ms,
        max_pause_ms: pause_ms * rng.range(1, 8),
    }
}

fn client(rng: &mut Rng) -> ClientPlan {
    ClientPlan {
        frame_size: rng.pick(&[512, 700, 1024, 4096]),
        sessions: rng.range(1, 2),
        sasl: rng.one_in(2),
        idle_ms: if rng.one_in(4) { Some(10_000) } else { None },
        close_one_in: if rng.one_in(3) { rng.range(150, 600) } else { 0 },
        links: Vec::new(),
    }
}

fn producer(queue: usize, rng: &mut Rng) -> LinkPlan {
    let habit = Habit::Producer(ProducerPlan {
        messages: rng.range(5, 60),
        durable: rng.pick(&[1000, 1000, 1000, 500, 0]),
        settled: rng.pick(&[0, 0, 0, 300]),
        mortal: rng.pick(&[0, 0, 0, 300]),
        size: rng.pick(&[8, 40, 300, 5000]),
        priorities: rng.one_in(4),
        repeats: rng.pick(&[0, 100, 500]),
        groups: rng.pick(&[0, 1, 2, 5]),
        pause_ms: rng.pick(&[0, 3, 50]),
    });
    LinkPlan { queue, detach_one_in: if rng.one_in(4) { 60 } else { 0 }, second: rng.one_in(6), habit }
}

fn consumer(queue: usize, dead_letter: bool, rng: &mut Rng) -> LinkPlan {
    let kind = rng.below(8);
    let weights = match rng.below(4) {
        0 => [1, 0, 0, 0, 0, 0, 0],
        1 => [4, 3, 1, 1, 1, 0, 0],
        2 => [2, 4, 0, 2, 1, 1, 1],
        _ => [6, 1, 1, 1, 1, 0, 1],
    };
    let habit = Habit::Consumer(ConsumerPlan {
        dead_letter,
        credit: rng.pick(&[1, 2, 5, 20, 50]),
        presettled: kind == 0,
        browse: kind == 1,
        wants: None,
        weights,
        hold_ms: rng.pick(&[0, 2, 40]),
        drain_one_in: if rng.one_in(4) { rng.range(10, 60) } else { 0 },
    });
    LinkPlan {
        queue,
        detach_one_in: if rng.one_in(3) { rng.range(20, 80) } else { 0 },
        second: rng.one_in(2),
        habit,
    }
}

/// Gives some consumers a selector. With dice of their own, so that all else of a seed is as it was without.
fn add_filters(queues: &mut [QueuePlan], links: &mut [LinkPlan], mut rng: Rng) {
    for link in links {
        let Habit::Consumer(plan) = &mut link.habit else { continue };
        let queue = &mut queues[link.queue];
        if rng.one_in(4) && (plan.dead_letter || !queue.strict) {
            plan.wants = Some(rng.pick(&Wants::ALL));
            queue.filtered |= !plan.dead_letter;
        }
    }
}

fn strict_consumer(queue: usize, rng: &mut Rng) -> LinkPlan {
    let mut link = consumer(queue, false, rng);
    if let Habit::Consumer(plan) = &mut link.habit {
        (plan.credit, plan.presettled, plan.browse) = (1, false, false);
        // Nothing that keeps it from coming back at once.
        plan.weights[5] = 0;
        // A drain gives credit while a message is held: then the next one may rightly come first.
        plan.drain_one_in = 0;
    }
    link
}
