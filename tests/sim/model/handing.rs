//! What must hold when a message is handed out, and when it arrives.
//!
//! Invariant: after a message was handed out its delivery-count is known exactly.

use verdict::{
    broker::{ConnectionId, ConsumerId, Delivery, Seq, policy::RetryOrder},
    time::Millis,
};

use super::{Answer, Model, Place};
use crate::body::Got;

impl Model {
    /// A node hands a message to a consumer that takes it.
    pub fn handed(
        &mut self,
        id: u64,
        d: &Delivery,
        to: ConsumerId,
        place: Place,
        presettled: bool,
        now: Millis,
    ) {
        self.deliveries += 1;
        let stage = |place: Place, from: usize| u8::from(place.dead) + u8::from(place.queue != from);
        let (paging, stopping, queues) = (self.paging, self.stopping, self.queues.clone());
        let message = self.at(id);
        must!(!message.finished, 2, "message {id} came back though its acceptance was confirmed");
        must!(message.answer != Some(false), 8, "message {id} was handed out though it was refused");
        must!(
            !message.vanished,
            2,
            "message {id} came from nowhere: it was in memory only when the broker died"
        );
        if stopping {
            // What its last holder said may not have been heard: the disk will tell.
            (message.holder, message.pending, message.handed_to) = (None, None, Some(to.connection()));
            message.ever_handed = true;
            message.accepted |= presettled;
            return;
        }
        must!(
            message.holder.is_none(),
            4,
            "message {id} was handed out while link {:?} has it",
            message.holder
        );
        match message.pending.take() {
            Some(Answer::Accept) => panic!("rule 2 broken: message {id} came back after it was accepted"),
            Some(Answer::Fail) => message.low += 1,
            Some(Answer::Reject) => {
                message.low += 1;
                message.must_be_dead |= !message.place.dead;
            }
            Some(Answer::Release | Answer::NotHere) => {}
            None => must!(
                !message.accepted || message.handed_to.is_none(),
                2,
                "message {id} was sent settled and came back"
            ),
        }
        message.accepted = presettled;
        let (was, is) = (stage(message.place, message.queue), stage(place, message.queue));
        must!(
            place == message.place || (is > was && !message.place.dead),
            4,
            "message {id} was in {:?} and is in {place:?}",
            message.place
        );
        must!(is > 0 || !message.must_be_dead, 4, "message {id} was rejected but is still in its queue");
        message.place = place;
        message.seq = d.seq;
        must!(
            (message.low..=message.high).contains(&d.delivery_count),
            3,
            "message {id} has delivery-count {}, expected {} to {}",
            d.delivery_count,
            message.low,
            message.high
        );
        (message.low, message.high) = (d.delivery_count, d.delivery_count);
        let most = queues[message.queue].policy.max_attempts;
        must!(
            is > 0 || d.delivery_count < most,
            7,
            "message {id} is tried again after {} of {most}",
            d.delivery_count
        );
        if !place.dead && is == 0 {
            let fresh = d.message.expires.is_none_or(|at| at > now) || !message.replays.is_empty();
            must!(fresh, 1, "message {id} was handed out though it expired at {:?}", d.message.expires);
        }
        let first = !message.ever_handed && message.replays.is_empty();
        message.ever_handed = true;
        message.handed_to = Some(to.connection());
        let (producer, priority, queue) = (message.producer, message.wanted.priority, message.queue);
        if first && is == 0 && !paging {
            let grouped = queues[queue].policy.retry_order == RetryOrder::Group;
            let group = if grouped { self.messages[id as usize].wanted.group } else { 0 };
            self.in_order(id, queue, (producer, priority, group), to);
        }
        if is == 0 && queues[queue].strict && !self.crowded {
            self.comes_back_first(id, d.seq, priority);
        }
    }

    /// (5) First deliveries of one producer's messages of one priority (and group, where groups are held) are in order: to each consumer,
    /// and over all of them from turn to turn.
    fn in_order(&mut self, id: u64, queue: usize, line: (u64, u8, u8), to: ConsumerId) {
        let (producer, priority, group) = line;
        let last = self.order_at.entry((to, producer, priority, group)).or_insert(0);
        must!(id >= *last, 5, "message {id} came to a consumer after {last} of the same producer");
        *last = id;
        if self.queues[queue].filtered {
            return;
        }
        let order = self.order.entry((queue, producer, priority, group)).or_default();
        if order.turn != self.turn {
            order.before = order.before.max(order.now);
            order.turn = self.turn;
        }
        must!(
            id >= order.before,
            5,
            "message {id} was first handed out after {}, which is younger",
            order.before
        );
        order.now = order.now.max(id);
    }

    /// (5) On a queue with one consumer at a time and no delays, what came back goes out before anything younger.
    fn comes_back_first(&mut self, id: u64, seq: Seq, priority: u8) {
        self.returned.remove(&id);
        let queue = self.messages[id as usize].queue;
        for other in &self.returned {
            let message = &self.messages[*other as usize];
            let earlier = message.queue == queue && message.wanted.priority == priority && message.seq < seq;
            must!(!earlier, 5, "message {id} was handed out before {other}, which is older and came back");
        }
    }

    /// A consumer got a message.
    pub fn received(
        &mut self,
        got: &Got,
        link: u64,
        connection: ConnectionId,
        browse: bool,
        presettled: bool,
        now: Millis,
    ) {
        let (reason, stopping) = (got.dead_reason.clone(), self.stopping);
        let expired = self.may_have_expired(&self.messages[got.id as usize], now);
        let most = self.queues[self.messages[got.id as usize].queue].policy.max_attempts;
        let message = self.at(got.id);
        let id = got.id;
        let wanted = &message.wanted;
        must!(
            (got.durable, got.priority) == (wanted.durable, wanted.priority),
            8,
            "header of {id} changed: {got:?}"
        );
        must!(got.ttl_ms <= wanted.ttl_ms.or(got.ttl_ms), 8, "time to live of {id} grew: {got:?}");
        if browse {
            return;
        }
        if stopping {
            message.holder = Some(link).filter(|_| !presettled);
            return;
        }
        must!(message.handed_to == Some(connection), 4, "message {id} arrived from nowhere");
        must!(message.holder.is_none(), 4, "message {id} is on two links");
        must!(
            got.delivery_count == message.low,
            3,
            "message {id} arrived with another delivery-count: {got:?}"
        );
        must!(
            !message.not_here.contains(&link),
            8,
            "message {id} came again to link {link}, which excluded it"
        );
        let own_tree = message.place == Place { queue: message.queue, dead: true };
        match reason.as_deref() {
            None => must!(!message.place.dead, 4, "message {id} is dead without a reason"),
            Some("rejected") => {
                must!(message.rejected_once, 7, "message {id} is said to be rejected, but nobody did")
            }
            Some("expired") => must!(expired, 7, "message {id} is said to have expired, but cannot have"),
            Some("max-attempts") if own_tree => {
                must!(
                    got.dead_attempts == Some(most),
                    7,
                    "message {id} died after {got:?}, expected {most} attempts"
                );
            }
            Some(_) => {}
        }
        if !presettled {
            message.holder = Some(link);
        }
    }
}
