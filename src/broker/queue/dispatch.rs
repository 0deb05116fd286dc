//! Who gets which message next.
//!
//! Invariant: within a priority messages are handed out in the order of their numbers to those who may
//! have them, never an expired one, never beyond a consumer's credit or room; consumers take turns in
//! small bursts. A message whose body is not in memory holds up its own priority only.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    Memory, Queue, browse,
    consumer::Consumer,
    entries::Entries,
    entry::{Entry, Status},
    groups::{Groups, Turn},
    ready::{LEVELS, Level, Ready},
    sieve::{Found, Judging},
    vetting::Vetting,
};
use crate::{
    broker::{Delivery, Effect, Seq},
    time::Millis,
};

/// Messages a consumer gets in a turn when others wait.
const BURST: u64 = 32;

/// What a dispatch leaves to the node.
#[derive(Debug)]
pub(crate) struct Dispatched {
    /// Came up expired; taken off the lists, to be expired by the node.
    pub expired: Vec<u64>,
    /// Sent settled: sent is accepted.
    pub presettled: Vec<u64>,
    /// Somebody waits for these bodies.
    pub wanted: Vec<u64>,
    /// What filters looked at, and which bodies they wait for.
    pub judging: Judging,
    /// Held back by their groups; taken off the lists.
    pub held: Vec<u64>,
    /// Handed out, browsing not counted.
    pub delivered: u64,
    /// Those of them that had been handed out before.
    pub redelivered: u64,
}

impl Dispatched {
    fn new(next_seq: u64) -> Self {
        Self {
            expired: Vec::new(),
            presettled: Vec::new(),
            wanted: Vec::new(),
            held: Vec::new(),
            judging: Judging::new(next_seq),
            delivered: 0,
            redelivered: 0,
        }
    }
}

enum Next {
    /// This one, ready to go.
    Message(u64),
    /// There is one, but its body is not in memory; or not all has been judged.
    Blocked,
    /// Nothing for this consumer.
    Nothing,
}

impl Queue {
    /// Hands out what can be handed out and answers drains.
    pub(crate) fn dispatch(
        &mut self,
        now: Millis,
        memory: &mut Memory,
        effects: &mut Vec<Effect>,
    ) -> Dispatched {
        let mut done = Dispatched::new(self.next_seq);
        self.sweep_ended();
        self.begin_turn(now);
        self.learn_groups(memory, &mut done.wanted);
        self.browse(now, memory, effects, &mut done);
        done.judging.refill();
        let mut touched: VecDeque<u32> = VecDeque::new();
        let mut idle = 0;
        while self.tally.available > 0 && idle <= self.ring.len() && self.breaker.room() > 0 {
            let Some(slot) = self.ring.pop_front() else { break };
            let waiting = self.ring.len() as u64;
            let quota = match waiting {
                0 => u64::MAX,
                n => (self.tally.available / (n + 1)).clamp(1, BURST),
            };
            let quota = quota.min(self.breaker.room());
            let before = self.outbox_len(slot);
            let served = self.serve(slot, quota, now, memory, &mut done);
            if before == 0 && served > 0 {
                touched.push_back(slot);
            }
            // Who leaves the ring was no idle turn of it: the rest is still to be asked, each once.
            let stays = self.back_in_ring(slot);
            idle = if served > 0 { 0 } else { idle + usize::from(stays) };
        }
        for slot in touched {
            let Some(consumer) = self.consumer(slot) else { continue };
            let deliveries = std::mem::take(&mut consumer.outbox);
            effects.push(Effect::Deliver { consumer: consumer.id, deliveries });
        }
        self.answer(now, effects, &mut done);
        self.return_lent(memory);
        self.unfinished = done.judging.unfinished;
        self.set_held(std::mem::take(&mut done.held), memory);
        done
    }

    /// Does what time has brought to those who are held back.
    fn begin_turn(&mut self, now: Millis) {
        let entries = &self.entries;
        self.vetting.tidy(now, |seq| entries.get(seq).is_some_and(|e| e.status == Status::Available));
        if let Some((failed, until)) = self.breaker.advance(now) {
            let waits = |s: &u64| self.entries.get(*s).is_some_and(|e| e.status == Status::Available);
            let benched: Vec<u64> = failed.into_iter().filter(waits).collect();
            // Alone here, they are what there is to be tried.
            if self.tally.available > benched.len() as u64 {
                benched.into_iter().for_each(|seq| self.delay(seq, until));
            }
        }
    }

    fn outbox_len(&mut self, slot: u32) -> usize {
        self.consumer(slot).map_or(0, |c| c.outbox.len())
    }

    /// Whether it stays in the ring.
    fn back_in_ring(&mut self, slot: u32) -> bool {
        let Some(consumer) = self.consumers.get_mut(slot as usize).and_then(Option::as_mut) else {
            return false;
        };
        consumer.ringed = consumer.willing();
        if consumer.ringed {
            self.ring.push_back(slot);
        }
        consumer.ringed
    }

    /// One consumer's turn; how many it got.
    fn serve(
        &mut self,
        slot: u32,
        quota: u64,
        now: Millis,
        memory: &mut Memory,
        done: &mut Dispatched,
    ) -> u64 {
        let mut served = 0;
        while served < quota {
            let Some(consumer) = self.consumers.get_mut(slot as usize).and_then(Option::as_mut) else {
                break;
            };
            if !consumer.willing() {
                break;
            }
            let taker = (&mut *consumer, slot);
            let holds = (&mut self.vetting, &mut self.groups);
            let found = next(&mut self.ready, &self.entries, holds, taker, now, done);
            let Next::Message(seq) = found else { break };
            let Some(entry) = self.entries.get_mut(seq) else { break };
            let Some(message) = (if memory.over() && entry.location().is_some() {
                memory.resident -= u64::from(entry.size);
                entry.message.take()
            } else {
                entry.message.clone()
            }) else {
                break;
            };
            entry.status = Status::Acquired;
            entry.holder = slot;
            let level = self.ready.level(entry.priority);
            level.take(seq);
            level.waiting -= 1;
            self.tally.available -= 1;
            self.tally.acquired += 1;
            consumer.sent(entry.size);
            consumer.outbox.push(delivery(seq, message, entry, now));
            if entry.suspect() {
                self.vetting.taken(seq);
                consumer.waits_for = None;
                // Sent settled, it is settled.
                consumer.alone = !consumer.presettled;
            }
            self.breaker.handed(now, seq);
            if consumer.presettled {
                self.breaker.settled(now, seq, false);
                done.presettled.push(seq);
            } else {
                consumer.hold(seq);
            }
            done.redelivered += u64::from(entry.acquired_count > 0);
            served += 1;
        }
        done.delivered += served;
        served
    }

    /// Answers drains that have got all there is, and echoes.
    fn answer(&mut self, now: Millis, effects: &mut Vec<Effect>, done: &mut Dispatched) {
        if self.asking.is_empty() {
            return;
        }
        let available = u32::try_from(self.tally.available).unwrap_or(u32::MAX);
        for slot in std::mem::take(&mut self.asking) {
            let paused = self.breaker.room() == 0;
            let Self { ready, entries, consumers, vetting, groups, .. } = self;
            let Some(consumer) = consumers.get_mut(slot as usize).and_then(Option::as_mut) else { continue };
            // "If the sender has insufficient messages to consume the available credit": paused, it has none now.
            let none = consumer.credit == 0 || paused && !consumer.browse;
            let drained = consumer.drain
                && (none || exhausted(ready, entries, (vetting, groups), (consumer, slot), now, done));
            if drained {
                consumer.use_up_credit();
                consumer.asking = false;
            } else if consumer.drain {
                self.asking.push(slot);
                continue;
            } else {
                consumer.asking = false;
                if !std::mem::take(&mut consumer.echo) {
                    continue;
                }
            }
            let Consumer { id, delivery_count, credit, .. } = *consumer;
            // What waits is not what waits for this one, where it has a filter: drained, that is none.
            let available = if drained && consumer.sieve.is_some() { 0 } else { available };
            effects.push(Effect::Flow { consumer: id, delivery_count, credit, available, drained });
        }
    }
}

/// The first message this consumer may have.
#[inline]
fn next(
    ready: &mut Ready,
    entries: &Entries,
    (vetting, groups): (&mut Vetting, &mut Groups),
    (consumer, slot): (&mut Consumer, u32),
    now: Millis,
    done: &mut Dispatched,
) -> Next {
    if consumer.alone {
        return Next::Nothing;
    }
    if let Some(seq) = consumer.waits_for {
        match entries.get(seq).filter(|e| vetting.waits(seq, slot) && !e.expired(now)) {
            None => consumer.waits_for = None,
            Some(_) if !consumer.idle() => return Next::Nothing,
            Some(entry) if entry.at_hand() => {
                if groups.judge(seq, entry) == Turn::Free {
                    return Next::Message(seq);
                }
                // Looked at again below, as one among others.
                consumer.waits_for = None;
            }
            Some(_) => {
                done.wanted.push(seq);
                return Next::Blocked;
            }
        }
    }
    let mut blocked = false;
    for number in (0..LEVELS).rev() {
        let Some(level) = ready.levels.get_mut(number).filter(|l| l.waiting > 0) else { continue };
        loop {
            let head = match &mut consumer.sieve {
                None => first(level, number, entries, consumer),
                Some(sieve) => {
                    let endpoint = &consumer.endpoint;
                    match sieve.look((level, number), entries, endpoint, now, &mut done.judging) {
                        Found::Head(seq) => Some(seq),
                        Found::Nothing => None,
                        Found::Later => {
                            blocked = true;
                            None
                        }
                    }
                }
            };
            let suspects = consumer.sieve.as_ref().and_then(|sieve| sieve.suspects(number));
            let suspects = suspects.unwrap_or(level.suspects());
            let suspect = first_suspect(suspects, entries, head, consumer, |seq| vetting.open_to(seq, slot));
            let Some(seq) = suspect.or(head) else { break };
            let Some(entry) = entries.get(seq) else { break };
            if entry.expired(now) {
                // Off its list and still counted as waiting, until the node expires it after this dispatch.
                level.take(seq);
                done.expired.push(seq);
                continue;
            }
            match if entry.message.is_some() { groups.judge(seq, entry) } else { Turn::Free } {
                Turn::Free => {}
                Turn::Held => {
                    level.take(seq);
                    if let Some(sieve) = &mut consumer.sieve {
                        sieve.pass(number, seq);
                    }
                    done.held.push(seq);
                    continue;
                }
                turn => {
                    blocked |= turn == Turn::Unknown;
                    break;
                }
            }
            if suspect.is_some() && !consumer.idle() {
                vetting.wait(seq, slot, now);
                consumer.waits_for = Some(seq);
                return Next::Nothing;
            }
            if entry.at_hand() {
                return Next::Message(seq);
            }
            done.wanted.push(seq);
            blocked = true;
            break;
        }
    }
    if blocked { Next::Blocked } else { Next::Nothing }
}

/// The first message on a level for everybody, or for all but some of whom this consumer is none.
#[inline]
fn first(level: &mut Level, number: usize, entries: &Entries, consumer: &mut Consumer) -> Option<u64> {
    let head = level.head(entries, number);
    if !level.has_picky() {
        return head;
    }
    let from = consumer.picky_from.get(number).copied().unwrap_or(0);
    let picky = level.picky_head(entries, from, &consumer.endpoint);
    if let Some(place) = consumer.picky_from.get_mut(number) {
        *place = picky.unwrap_or(u64::MAX);
    }
    head.into_iter().chain(picky).min()
}

/// A crash suspect before `head` that this consumer may have, or wait for (`open`) if it holds something.
#[inline]
fn first_suspect(
    suspects: &BTreeSet<u64>,
    entries: &Entries,
    head: Option<u64>,
    consumer: &Consumer,
    open: impl Fn(u64) -> bool,
) -> Option<u64> {
    if suspects.is_empty() {
        return None;
    }
    let fits = |e: &Entry| e.status == Status::Available && !e.excludes(&consumer.endpoint);
    let before = suspects.iter().copied().take_while(|seq| head.is_none_or(|head| *seq < head));
    before.filter(|&seq| entries.get(seq).is_some_and(fits)).find(|&seq| consumer.idle() || open(seq))
}

/// Whether there is nothing now for a consumer that could take something.
fn exhausted(
    ready: &mut Ready,
    entries: &Entries,
    holds: (&mut Vetting, &mut Groups),
    (consumer, slot): (&mut Consumer, u32),
    now: Millis,
    done: &mut Dispatched,
) -> bool {
    if consumer.browse {
        return browse::seen_all(entries, consumer, now, done);
    }
    matches!(next(ready, entries, holds, (consumer, slot), now, done), Next::Nothing)
}

#[inline]
pub(super) fn delivery(
    seq: u64,
    message: Arc<crate::broker::Message>,
    entry: &Entry,
    now: Millis,
) -> Delivery {
    Delivery {
        seq: Seq(seq),
        message,
        delivery_count: entry.delivery_count,
        acquired_count: entry.acquired_count,
        // "the time a message is considered live … reduced by the time it spent here" (part 3.2.1, ttl)
        ttl_ms: (entry.expires != 0)
            .then(|| u32::try_from(Millis(entry.expires).since_ms(now)).unwrap_or(u32::MAX)),
        state: entry.state.clone(),
    }
}
