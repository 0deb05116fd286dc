//! Dispositions in both directions (part 2.6.12, 2.7.6).
//!
//! Invariant: successive answers with equal state and adjoining ids become one frame; what the peer says
//! costs what is unsettled, whatever range it names. Does not judge outcomes.

use std::collections::VecDeque;

use fe2o3_amqp_types::definitions::{Error, Role};

use super::{Session, write_disposition};
use crate::amqp::{
    Event, LinkId,
    codec::{DeliveryState, Disposition},
    connection::out::Out,
    delivery::Heard,
    link::End,
    serial::Serial,
};

impl Session {
    /// The application answers `first..=last`, which came in on the link at `handle`.
    pub fn dispose(
        &mut self,
        handle: u32,
        first: u32,
        last: u32,
        settled: bool,
        state: DeliveryState,
        out: &mut Out,
    ) {
        let Some(End::Receiver(receiver)) = self.link_mut(handle).map(|link| &mut link.end) else { return };
        if !settled || !receiver.mixed() {
            let settled = settled && !receiver.second;
            self.queue(Role::Receiver, Serial(first), Serial(last), settled, Some(state), out);
            return;
        }
        let count = Serial(last).saturating_since(Serial(first));
        for id in (0..=count).map(|step| Serial(first).plus(step)) {
            let Some(End::Receiver(receiver)) = self.link_mut(handle).map(|link| &mut link.end) else {
                return;
            };
            let settled = receiver.settles_first(id);
            self.queue(Role::Receiver, id, id, settled, Some(state.clone()), out);
        }
    }

    /// The application settles deliveries it sent.
    pub fn settle_sent(&mut self, link: LinkId, tokens: &[u64], state: DeliveryState, out: &mut Out) {
        let mut ids = Vec::with_capacity(tokens.len());
        self.unsettled.settle_tokens(link, tokens, |id| ids.push(id));
        for id in ids {
            self.queue(Role::Sender, id, id, true, Some(state.clone()), out);
        }
    }

    /// Adds a disposition to the one gathering, or writes that one and begins anew.
    fn queue(
        &mut self,
        role: Role,
        first: Serial,
        last: Serial,
        settled: bool,
        state: Option<DeliveryState>,
        out: &mut Out,
    ) {
        let gathering = if role == Role::Receiver { &mut self.received } else { &mut self.sent };
        if let Some(other) = gathering
            && other.settled == settled
            && other.state == state
        {
            let other_last = other.last.unwrap_or(other.first);
            if Serial(other_last).next() == first {
                other.last = Some(last.0);
                return;
            }
            if last.next() == Serial(other.first) {
                other.first = first.0;
                other.last = Some(other_last);
                return;
            }
        }
        let last = (last != first).then_some(last.0);
        let next = Disposition { role, first: first.0, last, settled, state, batchable: false };
        if let Some(full) = gathering.replace(next) {
            write_disposition(self.channel, full, out);
        }
    }

    /// The peer's disposition.
    pub fn on_disposition(&mut self, disposition: Disposition, events: &mut VecDeque<Event>) {
        let first = Serial(disposition.first);
        let last = disposition.last.map_or(first, Serial);
        match disposition.role {
            Role::Receiver => self.on_answer(first, last, disposition.settled, disposition.state, events),
            Role::Sender if disposition.settled => self.on_sender_settled(first, last, events),
            // The sender tells a state of what it sent: nothing follows from it before it settles.
            Role::Sender => {}
        }
    }

    /// The peer answers deliveries we sent.
    fn on_answer(
        &mut self,
        first: Serial,
        last: Serial,
        settled: bool,
        state: Option<DeliveryState>,
        events: &mut VecDeque<Event>,
    ) {
        // One disposition frame per message is common: those that say the same become one event.
        let told = match events.back() {
            Some(Event::Disposition { settled: s, state: told, .. }) if *s == settled && *told == state => {
                events.len() - 1
            }
            _ => events.len(),
        };
        let expected = (last.saturating_since(first) as usize).saturating_add(1).min(self.unsettled.len());
        let each = |link: LinkId, token: u64| {
            let same = |event: &&mut Event| matches!(&**event, Event::Disposition { link: other, .. } if *other == link);
            // The link of the delivery before is the likely one.
            if let Some(Event::Disposition { tokens, .. }) = events.range_mut(told..).rev().find(same) {
                tokens.push(token);
                return;
            }
            let mut tokens = Vec::with_capacity(expected);
            tokens.push(token);
            let state = state.clone();
            events.push_back(Event::Disposition { link, tokens, settled, state });
        };
        if settled {
            self.unsettled.settle(first, last, each);
            return;
        }
        let (heard, repeat) = match &state {
            None => return,
            Some(DeliveryState::Received(..)) => (Heard::Progress, false),
            // A transaction may be rolled back and the delivery disposed of again.
            Some(DeliveryState::Transactional(_)) => (Heard::Outcome, true),
            Some(_) => (Heard::Outcome, false),
        };
        self.unsettled.hear(first, last, heard, repeat, each);
    }

    /// The peer settles deliveries it sent: news on second-mode links.
    fn on_sender_settled(&mut self, first: Serial, last: Serial, events: &mut VecDeque<Event>) {
        if last.is_before(first) {
            return;
        }
        for (link, receiver) in self.receivers() {
            let delivery_ids = receiver.settled_by_sender(first, last);
            if !delivery_ids.is_empty() {
                events.push_back(Event::SenderSettled { link, delivery_ids });
            }
        }
    }
}

/// The state with its error's or annotations' words left out, for a peer with small frames.
pub(super) fn brief(state: DeliveryState) -> DeliveryState {
    match state {
        DeliveryState::Rejected(Some(error)) => {
            DeliveryState::Rejected(Some(Box::new(Error::new(error.condition, None, None))))
        }
        DeliveryState::Modified(mut modified, skipped) => {
            modified.message_annotations = None;
            DeliveryState::Modified(modified, skipped)
        }
        other => other,
    }
}
