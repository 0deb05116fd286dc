//! The consumers of a queue: who is attached, in which slot, and who waits for something.
//!
//! Invariant: a slot is used again only when no list names it any more (`ended`). Who gets what is the business of
//! `dispatch`.

use super::{Queue, consumer::Consumer};
use crate::broker::Subscribe;

impl Queue {
    /// Adds a consumer; its slot.
    pub(crate) fn subscribe(&mut self, wish: Subscribe) -> u32 {
        let consumer = Consumer::new(wish);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.consumers.push(None);
            (self.consumers.len() - 1) as u32
        });
        if consumer.browse {
            self.browsers.push(slot);
        }
        self.filtered += u32::from(consumer.filters());
        if let Some(place) = self.consumers.get_mut(slot as usize) {
            *place = Some(consumer);
        }
        self.tally.consumers += 1;
        self.stranded_stale = true;
        slot
    }

    /// Removes a consumer; what it holds must have been given back.
    pub(crate) fn unsubscribe(&mut self, slot: u32) {
        if let Some(consumer) = self.consumers.get_mut(slot as usize).and_then(Option::take) {
            self.filtered -= u32::from(consumer.filters());
            self.ended.push(slot);
            self.vetting.left(slot);
            self.tally.consumers -= 1;
            self.stranded_stale = true;
        }
    }

    /// All consumers.
    pub(crate) fn attached(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().flatten()
    }

    /// Slots for consumers, in use or not.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.consumers.len()
    }

    /// Takes those that ended off all lists, many together: a connection may end with hundreds of thousands. Until
    /// then who comes upon one on a list passes it over.
    pub(super) fn sweep_ended(&mut self) {
        if self.ended.is_empty() || self.ended.len() * 4 < self.tally.consumers as usize {
            return;
        }
        let Self { consumers, ring, browsers, asking, .. } = self;
        let there = |slot: &u32| consumers.get(*slot as usize).is_some_and(Option::is_some);
        ring.retain(there);
        browsers.retain(there);
        asking.retain(there);
        self.free.append(&mut self.ended);
    }

    /// The consumer in a slot.
    #[inline]
    pub(crate) fn consumer(&mut self, slot: u32) -> Option<&mut Consumer> {
        self.consumers.get_mut(slot as usize)?.as_mut()
    }

    /// What a consumer holds, oldest first.
    pub(crate) fn holding(&self, slot: u32) -> Vec<u64> {
        let consumer = self.consumers.get(slot as usize).and_then(Option::as_ref);
        consumer.map_or_else(Vec::new, |c| c.holding(slot, &self.entries))
    }

    /// The consumer in a slot, to look at.
    pub(crate) fn consumer_at(&self, slot: u32) -> Option<&Consumer> {
        self.consumers.get(slot as usize)?.as_ref()
    }

    /// Consumers that take messages (and do not only look).
    pub(crate) fn takers(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().flatten().filter(|consumer| !consumer.browse)
    }

    /// A consumer's credit or room changed.
    pub(crate) fn reconsider(&mut self, slot: u32) {
        let Some(consumer) = self.consumers.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if !consumer.browse && !consumer.ringed && consumer.willing() {
            consumer.ringed = true;
            self.ring.push_back(slot);
        }
        if !consumer.asking && (consumer.drain || consumer.echo) {
            consumer.asking = true;
            self.asking.push(slot);
        }
    }
}
