//! Flow and transfer as they come in (part 2.5.6, 2.6.7, 2.6.14).
//!
//! Invariant: a transfer counts on the session's window before anything else is looked at, so that windows stay
//! right whatever becomes of its link. Frames for a link that we detached are discarded (2.6.5).

use std::collections::VecDeque;

use super::Session;
use crate::amqp::{
    Event, LinkId,
    codec::{Flow, Transfer},
    error::ProtocolError,
    link::{EarlyFlow, End, LinkState},
};

/// What a flow calls for.
pub(crate) struct FlowEffect {
    /// The window opened: links that waited for it.
    pub unblocked: Vec<u32>,
    /// A link got credit and has something to send.
    pub ready: Option<u32>,
    /// Something is to be flushed.
    pub dirty: bool,
}

impl Session {
    /// A flow came in.
    pub fn on_flow(&mut self, flow: Flow, events: &mut VecDeque<Event>) -> Result<FlowEffect, ProtocolError> {
        self.windows.flow(flow.next_incoming_id, flow.incoming_window, flow.next_outgoing_id);
        let mut effect = FlowEffect { unblocked: Vec::new(), ready: None, dirty: false };
        if self.windows.sendable() > 0 {
            effect.unblocked = std::mem::take(&mut self.blocked);
        }
        let Some(remote) = flow.handle else {
            if flow.echo {
                self.want_flow();
                effect.dirty = true;
            }
            return Ok(effect);
        };
        let handle = self
            .local_handle(remote)
            .ok_or(ProtocolError::UnattachedHandle { frame: "flow", handle: remote })?;
        let Some(link) = self.link_mut(handle) else { return Ok(effect) };
        let early = matches!(link.state, LinkState::AttachReceived { .. });
        match &mut link.end {
            _ if matches!(link.state, LinkState::DetachSent) => {}
            End::Sender(sender) => {
                let credit = flow.link_credit.unwrap_or(0);
                sender.credit.flow(flow.delivery_count, credit, flow.drain);
                effect.ready = sender.can_send().then_some(handle);
                let told = EarlyFlow {
                    delivery_count: flow.delivery_count,
                    credit,
                    drain: flow.drain,
                    echo: flow.echo,
                };
                if early {
                    // Told once the application has accepted the link.
                    link.state = LinkState::AttachReceived { early: Some(told) };
                } else {
                    events.push_back(credit_event(link.id, told));
                }
            }
            End::Receiver(receiver) => {
                let drained = receiver.credit.sender_flow(flow.delivery_count);
                let (link, available, echo) = (link.id, flow.available.unwrap_or(0), flow.echo);
                if !early {
                    let properties = flow.properties;
                    events.push_back(Event::SenderFlow { link, available, drained, echo, properties });
                }
                if echo {
                    self.want_link_flow(handle);
                    effect.dirty = true;
                }
            }
        }
        Ok(effect)
    }

    /// A transfer came in.
    pub fn on_transfer(
        &mut self,
        transfer: Transfer<'_>,
        payload: &[u8],
        events: &mut VecDeque<Event>,
    ) -> Result<(), ProtocolError> {
        self.windows.received().map_err(|_| ProtocolError::WindowViolation)?;
        let remote = transfer.handle;
        let unattached = ProtocolError::UnattachedHandle { frame: "transfer", handle: remote };
        let Some(handle) = self.local_handle(remote) else { return Err(unattached) };
        // Not `link_mut`: the session's last delivery-id is needed beside the link.
        let Some(link) = self.links.get_mut(handle as usize).and_then(Option::as_deref_mut) else {
            return Err(unattached);
        };
        if !link.is_live() {
            return Ok(());
        }
        let End::Receiver(receiver) = &mut link.end else {
            return Err(ProtocolError::ErrantTransfer { handle });
        };
        let aborted = transfer.aborted;
        let message = receiver.transfer(link.id, handle, &mut self.last_delivery_id, transfer, payload)?;
        events.extend(message.map(Event::Message));
        if aborted {
            events.push_back(Event::Aborted { link: link.id });
        }
        Ok(())
    }
}

/// Credit as the receiver gave it; without a delivery-count it had not seen our attach, and counts from 0.
pub(crate) fn credit_event(link: LinkId, flow: EarlyFlow) -> Event {
    let EarlyFlow { delivery_count, credit, drain, echo } = flow;
    Event::Credit { link, delivery_count: delivery_count.unwrap_or(0), credit, drain, echo }
}
