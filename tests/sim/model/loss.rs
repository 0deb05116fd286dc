//! What must hold when a connection or the broker is lost, and at the end.
//!
//! Invariant: after a crash what the disk has is all there is, and is exact.

use std::collections::BTreeSet;

use verdict::{
    broker::{ConnectionId, QueueId},
    time::Millis,
};

use super::{Answer, Model, Place};
use crate::disk::Disk;

impl Model {
    /// The broker lost a connection (or never got to know of its end).
    pub fn cut(&mut self, connection: ConnectionId) {
        self.returned.clear();
        let held =
            self.messages.iter().enumerate().filter(|(_, message)| message.handed_to == Some(connection));
        let held: Vec<u64> = held.map(|(id, _)| id as u64).collect();
        held.into_iter().for_each(|id| self.cut_one(id));
    }

    /// A message was handed to a connection that is lost.
    pub fn cut_one(&mut self, id: u64) {
        let Some(message) = self.messages.get_mut(id as usize) else { return };
        let suspects = self.queues[message.place.queue].policy.crash_suspects > 0;
        let counted = matches!(message.pending.take(), Some(Answer::Fail | Answer::Reject));
        message.high += u32::from(suspects && !counted);
        message.holder = None;
        message.handed_to = None;
    }

    /// The broker died, and the disk has what will come back. `kept`: it stopped in good order.
    pub fn crashed(&mut self, disk: &Disk, kept: bool, now: Millis, place_of: impl Fn(QueueId) -> Place) {
        self.returned.clear();
        self.crashes += u64::from(!kept);
        for id in 0..self.messages.len() {
            let replaced = self.replaced(id as u64, disk, now);
            let discarded = self.may_be_discarded(&self.messages[id], now);
            let found =
                disk.by_id.get(&(id as u64)).and_then(|at| disk.stored.get(at).map(|stored| (at, stored)));
            let message = &mut self.messages[id];
            (message.pending, message.holder, message.handed_to) = (None, None, None);
            let Some((at, stored)) = found else {
                let kept = message.wanted.durable || (kept && !message.vanished);
                let lost = message.answer == Some(true)
                    && kept
                    && !message.accepted
                    && !discarded
                    && !replaced
                    && !message.vanished;
                must!(!lost, 1, "message {id} was accepted and is not on the disk");
                message.vanished = true;
                continue;
            };
            must!(!message.finished, 2, "message {id} is on the disk though its acceptance was confirmed");
            must!(message.answer != Some(false), 8, "message {id} is on the disk though it was refused");
            // (14) What it remembers is what happened; a replay that is not on the disk leaves it as it was before.
            let remembered = stored.state.iter().flat_map(|state| &state.replays);
            let remembered: BTreeSet<&str> = remembered.map(|replay| replay.id.as_str()).collect();
            let undone = message.replays.iter().any(|name| !remembered.contains(name));
            must!(
                undone || (message.low_safe..=message.high).contains(&stored.delivery_count),
                3,
                "message {id} has delivery-count {} on the disk, expected {} to {}",
                stored.delivery_count,
                message.low_safe,
                message.high
            );
            let place = place_of(at.0);
            let alive = place == Place { queue: message.queue, dead: false };
            must!(
                !alive || !message.dead_safe,
                4,
                "message {id} was confirmed to be dead and is in its queue"
            );
            let count = stored.delivery_count;
            (message.low, message.high, message.low_safe) = (count, count, count);
            (message.place, message.must_be_dead, message.accepted) = (place, false, false);
            message.replays.retain(|name| remembered.contains(name));
        }
    }

    /// Everything was taken out: what was taken must have been given.
    pub fn swept(&self, disk: &Disk, now: Millis) {
        for (id, message) in self.messages.iter().enumerate() {
            must!(message.answer.is_some() || message.unasked, 8, "message {id} was never answered");
            let unknown = message.answer.is_none() && !disk.refused_ids.contains(&(id as u64));
            let there = message.answer == Some(true) || (message.ever_handed && unknown);
            let lost =
                there && !message.vanished && !message.accepted && !self.may_be_discarded(message, now);
            let lost = lost && !self.replaced(id as u64, disk, now);
            must!(!lost, 1, "message {id} is nowhere: {message:?}");
        }
    }
}
