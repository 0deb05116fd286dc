//! Bytes out: what gathered since last time, then deliveries, link by link in turns.
//!
//! Invariant: deliveries are encoded only up to the high-water mark, and no link takes more than a turn's worth
//! while others wait. Costs the links that have something to send, not all there are.

use super::{Connection, handshake::Phase, index::Place, out::MAX_UNREAD_BYTES};
use crate::{
    amqp::{
        error::ProtocolError,
        link::{
            End,
            outgoing::{Pumped, Wire},
        },
        session::SessionState,
    },
    limits::{MAX_FRAME_SIZE, OUTPUT_HIGH_WATER},
};

/// Bytes a link encodes before the next has its turn.
const TURN_BYTES: usize = 16 * 1024;

impl Connection {
    /// Encoded bytes to be written. Encodes as much of what is pending as windows and the high-water mark allow.
    pub fn output(&mut self) -> &[u8] {
        if matches!(self.phase, Phase::Running) {
            self.flush();
            self.pump();
            self.flush();
            self.check_unread();
        }
        self.out.pending()
    }

    /// A peer that reads nothing of what it makes us say is not waited for.
    pub(super) fn check_unread(&mut self) {
        if self.out.is_unread() {
            self.fail(&ProtocolError::Unread { max: MAX_UNREAD_BYTES });
        }
    }

    /// Notes that a session has something to flush.
    pub(super) fn mark_dirty(&mut self, channel: u16) {
        let Some(session) = self.session_mut(channel) else { return };
        if !session.dirty {
            session.dirty = true;
            self.dirty.push(channel);
        }
    }

    /// Notes that a link may have something to send.
    pub(super) fn mark_ready(&mut self, place: Place) {
        let Some(link) = self.link_at(place) else { return };
        if !Self::is_attached(&link.state) {
            return;
        }
        let End::Sender(sender) = &mut link.end else { return };
        if !sender.ready && sender.can_send() {
            sender.ready = true;
            self.ready.push_back(place);
        }
    }

    /// The window opened for links that waited for it.
    pub(super) fn unblock(&mut self, channel: u16, handles: Vec<u32>) {
        self.ready.extend(handles.into_iter().map(|handle| Place { channel, handle }));
    }

    /// Writes dispositions and flows that have gathered.
    fn flush(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        let mut waiting = Vec::new();
        let mut dirty = std::mem::take(&mut self.dirty);
        for channel in dirty.drain(..) {
            let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_deref_mut)
            else {
                continue;
            };
            session.dirty = false;
            if matches!(session.state, SessionState::EndSent { .. }) {
                continue;
            }
            if let Err(error) = session.flush(&mut self.out) {
                self.fail(&error);
                return;
            }
            if session.has_flows() {
                session.dirty = true;
                waiting.push(channel);
            }
        }
        // Keeps its room: every batch comes through here.
        dirty.extend(waiting);
        self.dirty = dirty;
    }

    /// Encodes deliveries up to the high-water mark.
    fn pump(&mut self) {
        while let Some(place) = self.ready.pop_front() {
            if !self.turn(place, OUTPUT_HIGH_WATER, TURN_BYTES) {
                break;
            }
        }
        if self.ready.is_empty() && self.ready.capacity() > 64 {
            self.ready.shrink_to(64);
        }
    }

    /// One link's deliveries, without limit, before it is detached.
    pub(super) fn pump_link(&mut self, place: Place) {
        if matches!(self.phase, Phase::Running) {
            if let Some(End::Sender(sender)) = self.link_at(place).map(|link| &mut link.end) {
                sender.ready = true;
            }
            self.turn(place, usize::MAX, usize::MAX);
        }
    }

    /// Encodes deliveries of one link; false where the output holds enough.
    fn turn(&mut self, place: Place, high_water: usize, turn_bytes: usize) -> bool {
        let max_frame = self.out.max_frame.min(MAX_FRAME_SIZE) as usize;
        let Some((out, until)) = self.out.transfers(high_water) else {
            self.ready.push_front(place);
            return false;
        };
        let session = self.sessions.get_mut(usize::from(place.channel)).and_then(Option::as_deref_mut);
        let Some(session) = session.filter(|it| !matches!(it.state, SessionState::EndSent { .. })) else {
            return true;
        };
        // Not `link_mut`: windows and deliveries are needed beside the link.
        let Some(link) = session.links.get_mut(place.handle as usize).and_then(Option::as_deref_mut) else {
            return true;
        };
        let attached = Self::is_attached(&link.state);
        let End::Sender(sender) = &mut link.end else { return true };
        if !attached || !sender.ready {
            sender.ready = false;
            return true;
        }
        let turn_until = until.min(out.len().saturating_add(turn_bytes));
        let mut wire = Wire {
            out,
            channel: place.channel,
            max_frame,
            windows: &mut session.windows,
            unsettled: &mut session.unsettled,
            next_delivery_id: &mut session.next_delivery_id,
        };
        match sender.pump(link.id, place.handle, &mut wire, turn_until) {
            Pumped::Empty | Pumped::NoCredit => sender.ready = false,
            // Stays marked as ready: it is in that list.
            Pumped::NoWindow => session.blocked.push(place.handle),
            Pumped::Full => {
                let full = out.len() >= until;
                if full {
                    self.ready.push_front(place);
                } else {
                    self.ready.push_back(place);
                }
                return !full;
            }
        }
        true
    }
}
