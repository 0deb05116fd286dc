//! Who browses sees what: every message once, in order of arrival, and takes none.
//!
//! Invariant: the cursor of one who browses only grows, "a source MUST NOT resend a message which has previously been
//! successfully transferred" (part 3.3.2); with a filter it passes over what is not wanted, within the turn's judging.

use super::{
    Memory, Queue,
    consumer::Consumer,
    dispatch::{Dispatched, delivery},
    entries::Entries,
    entry::{LOADING, UNREADABLE},
    paging::LOAD_MESSAGES,
    sieve::wants,
};
use crate::{broker::Effect, time::Millis};

/// Bodies read at a time for somebody who browses.
const BROWSE_AHEAD: usize = 64;

impl Queue {
    /// Shows those who browse what they have not seen.
    pub(super) fn browse(
        &mut self,
        now: Millis,
        memory: &mut Memory,
        effects: &mut Vec<Effect>,
        done: &mut Dispatched,
    ) {
        for i in 0..self.browsers.len() {
            let Some(&slot) = self.browsers.get(i) else { break };
            while let Some(consumer) = self.consumers.get_mut(slot as usize).and_then(Option::as_mut) {
                if !consumer.willing() {
                    break;
                }
                let Seen::Message(seq) = next_to_see(&self.entries, consumer, now, done) else { break };
                let Some(entry) = self.entries.get(seq) else { break };
                let Some(message) = entry.message.clone() else { break };
                consumer.cursor = seq + 1;
                consumer.sent(entry.size);
                consumer.outbox.push(delivery(seq, message, entry, now));
                self.spill(seq, memory);
            }
            let Some(consumer) = self.consumer(slot) else { continue };
            if !consumer.outbox.is_empty() {
                let deliveries = std::mem::take(&mut consumer.outbox);
                effects.push(Effect::Deliver { consumer: consumer.id, deliveries });
            }
        }
        // Where one filter took all the turn's judging, the next turn begins with another.
        if done.judging.unfinished && self.browsers.len() > 1 {
            self.browsers.rotate_left(1);
        }
    }
}

/// Whether there is nothing (more) to see now.
pub(super) fn seen_all(
    entries: &Entries,
    consumer: &mut Consumer,
    now: Millis,
    done: &mut Dispatched,
) -> bool {
    matches!(next_to_see(entries, consumer, now, done), Seen::Nothing)
}

/// What somebody who browses sees next.
enum Seen {
    /// This one, ready to go.
    Message(u64),
    /// A body must be read first, or the turn's judging is done.
    Later,
    /// Nothing more.
    Nothing,
}

/// The next message for somebody who browses: in order of arrival, waiting (also for a retry), not expired, wanted.
fn next_to_see(entries: &Entries, consumer: &mut Consumer, now: Millis, done: &mut Dispatched) -> Seen {
    while let Some((seq, entry)) = entries.next_from(consumer.cursor) {
        consumer.cursor = seq;
        let visible = entry.at_rest() && !entry.expired(now);
        if visible && entry.at_hand() {
            let Some(sieve) = &consumer.sieve else { return Seen::Message(seq) };
            if !done.judging.go() {
                return Seen::Later;
            }
            done.judging.judged(entry);
            if wants(sieve.filter.as_ref(), entry) {
                return Seen::Message(seq);
            }
        } else if visible && !entry.has(UNREADABLE) {
            match consumer.sieve {
                None => want_ahead(entries, seq, BROWSE_AHEAD, &mut done.wanted),
                Some(_) if entry.has(LOADING) || !done.judging.has_room() => {}
                Some(_) => want_ahead(entries, seq, LOAD_MESSAGES, &mut done.judging.bodies),
            }
            return Seen::Later;
        }
        consumer.cursor = seq + 1;
        if consumer.sieve.is_some() {
            done.judging.step();
            if !done.judging.go() {
                return Seen::Later;
            }
        }
    }
    Seen::Nothing
}

/// Wants the bodies of so many messages from this one on.
fn want_ahead(entries: &Entries, from: u64, count: usize, wanted: &mut Vec<u64>) {
    let mut seq = from;
    for _ in 0..count {
        let Some((found, entry)) = entries.next_from(seq) else { break };
        if !entry.at_hand() && entry.at_rest() {
            wanted.push(found);
        }
        seq = found + 1;
    }
}
