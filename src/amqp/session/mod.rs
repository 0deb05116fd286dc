//! A session (part 2.5): its channels, windows, handles and deliveries.
//!
//! Invariant: a link sits at its local handle; `remote_handles` maps the peer's handles to ours. Beginning and
//! ending is the connection's business, since channels belong to it.

mod dispose;
mod frames;
pub(crate) mod window;

pub(crate) use frames::credit_event;

use super::{
    LinkId, SessionId,
    codec::{Disposition, Flow, encode_disposition, encode_flow},
    connection::out::Out,
    delivery::Unsettled,
    error::ProtocolError,
    link::{End, Link, LinkState, incoming::Receiver},
    serial::Serial,
};
use crate::limits::SESSION_WINDOW;
use window::Windows;

/// A remote handle that is not attached.
const NO_HANDLE: u32 = u32::MAX;

/// Where a session stands (part 2.5.5).
///
/// ```text
///            begin()                      begin received: answered
///   (none) ───────────► BeginSent    (none) ───────────┐
///                           │ begin received           ▼
///                           └───────────────────────► Mapped
///                 end received: answered               │ end(), an error: end sent
///   (none) ◄──────────────────────────────────────────┤
///   (none) ◄── end received ── EndSent (discarding) ◄──┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionState {
    /// We began, the peer has not answered.
    BeginSent,
    /// Both began.
    Mapped,
    /// We ended; what comes is discarded up to the peer's end. `told`: `Ended` was told already.
    EndSent { told: bool },
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub id: SessionId,
    /// Our channel.
    pub channel: u16,
    /// The peer's.
    pub remote_channel: Option<u16>,
    pub state: SessionState,
    pub windows: Windows,
    /// By local handle.
    pub links: Vec<Option<Box<Link>>>,
    /// By the peer's handle: ours, or `NO_HANDLE`.
    remote_handles: Vec<u32>,
    /// Highest handle the peer takes.
    pub remote_handle_max: u32,
    pub unsettled: Unsettled,
    pub next_delivery_id: Serial,
    last_delivery_id: Option<Serial>,
    /// Answers to deliveries that came in, not sent yet: as receiver.
    received: Option<Disposition>,
    /// Settlement of deliveries that went out, not sent yet: as sender.
    sent: Option<Disposition>,
    wants_flow: bool,
    /// Links (local handles) that want a flow sent.
    flows: Vec<u32>,
    /// Links (local handles) with something to send that wait for the peer's window.
    pub blocked: Vec<u32>,
    /// It is in the connection's list of sessions with something to flush.
    pub dirty: bool,
}

impl Session {
    /// A session on our `channel`; transfers and deliveries are counted from `first_id` on.
    pub fn new(id: SessionId, channel: u16, state: SessionState, first_id: Serial) -> Self {
        Self {
            id,
            channel,
            remote_channel: None,
            state,
            windows: Windows::new(first_id, SESSION_WINDOW),
            links: Vec::new(),
            remote_handles: Vec::new(),
            remote_handle_max: u32::MAX,
            unsettled: Unsettled::default(),
            next_delivery_id: first_id,
            last_delivery_id: None,
            received: None,
            sent: None,
            wants_flow: false,
            flows: Vec::new(),
            blocked: Vec::new(),
            dirty: false,
        }
    }

    /// The link at our handle.
    pub fn link(&self, handle: u32) -> Option<&Link> {
        self.links.get(handle as usize)?.as_deref()
    }

    /// The link at our handle.
    pub fn link_mut(&mut self, handle: u32) -> Option<&mut Link> {
        self.links.get_mut(handle as usize)?.as_deref_mut()
    }

    /// Our handle for the peer's.
    pub fn local_handle(&self, remote: u32) -> Option<u32> {
        self.remote_handles.get(remote as usize).copied().filter(|&handle| handle != NO_HANDLE)
    }

    /// Maps the peer's handle to ours. The caller has checked it against handle-max.
    pub fn map_handle(&mut self, remote: u32, local: u32) {
        let at = remote as usize;
        if self.remote_handles.len() <= at {
            self.remote_handles.resize(at + 1, NO_HANDLE);
        }
        if let Some(place) = self.remote_handles.get_mut(at) {
            *place = local;
        }
    }

    /// The lowest handle of ours that is free.
    pub fn free_handle(&self) -> u32 {
        let free = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        u32::try_from(free).unwrap_or(NO_HANDLE)
    }

    /// Puts a link at its handle, which is free.
    pub fn insert(&mut self, link: Link) {
        let at = link.handle as usize;
        if self.links.len() <= at {
            self.links.resize_with(at + 1, || None);
        }
        if let Some(place) = self.links.get_mut(at) {
            *place = Some(Box::new(link));
        }
    }

    /// Removes the link at our handle and the peer's handle with it.
    pub fn remove(&mut self, handle: u32) -> Option<Box<Link>> {
        let link = self.links.get_mut(handle as usize)?.take()?;
        if let Some(place) = link.remote_handle.and_then(|at| self.remote_handles.get_mut(at as usize)) {
            *place = NO_HANDLE;
        }
        Some(link)
    }

    /// Tokens of a link's unsettled deliveries and of what it had queued, in delivery order;
    /// lets go of what the link holds.
    pub fn abandon(&mut self, handle: u32) -> Vec<u64> {
        let Some(link) = self.links.get_mut(handle as usize).and_then(Option::as_deref_mut) else {
            return Vec::new();
        };
        match &mut link.end {
            End::Receiver(receiver) => {
                receiver.abandon();
                Vec::new()
            }
            End::Sender(sender) => {
                let mut tokens = self.unsettled.take_link(link.id);
                tokens.append(&mut sender.abandon());
                tokens
            }
        }
    }

    /// The session is to send a flow.
    pub fn want_flow(&mut self) {
        self.wants_flow = true;
    }

    /// The link is to send a flow.
    pub fn want_link_flow(&mut self, handle: u32) {
        if !self.flows.contains(&handle) {
            self.flows.push(handle);
        }
    }

    /// A flow with the session's state (2.5.6).
    pub fn flow(&mut self) -> Flow {
        self.windows.refresh();
        self.wants_flow = false;
        Flow {
            next_incoming_id: (self.state != SessionState::BeginSent).then(|| self.windows.next_incoming()),
            incoming_window: self.windows.incoming(),
            next_outgoing_id: self.windows.next_outgoing(),
            outgoing_window: SESSION_WINDOW,
            ..Flow::default()
        }
    }

    /// Writes what has gathered: dispositions, then flows. Returns whether some have to wait.
    pub fn flush(&mut self, out: &mut Out) -> Result<(), ProtocolError> {
        self.flush_dispositions(out);
        if self.windows.wants_refresh() {
            self.wants_flow = true;
        }
        let handles = std::mem::take(&mut self.flows);
        let mut waiting = Vec::new();
        for &handle in &handles {
            if !self.flush_link_flow(handle, out)? {
                waiting.push(handle);
            }
        }
        self.flows = if waiting.is_empty() {
            // Keeps its room: credit is given all the time.
            let mut handles = handles;
            handles.clear();
            handles
        } else {
            waiting
        };
        if self.wants_flow && self.state == SessionState::Mapped {
            let flow = self.flow();
            out.frame(self.channel, "flow", |out| encode_flow(&flow, out))?;
        }
        Ok(())
    }

    /// Writes the flow a link owes; false where it has to wait for something.
    fn flush_link_flow(&mut self, handle: u32, out: &mut Out) -> Result<bool, ProtocolError> {
        let Some(link) = self.link_mut(handle) else { return Ok(true) };
        match link.state {
            LinkState::Attached => {}
            LinkState::DetachSent => return Ok(true),
            LinkState::AttachSent | LinkState::AttachReceived { .. } => return Ok(false),
        }
        let part = match &mut link.end {
            End::Receiver(receiver) => Flow {
                delivery_count: Some(receiver.credit.delivery_count()),
                link_credit: Some(receiver.credit.left()),
                drain: receiver.credit.drain(),
                ..Flow::default()
            },
            End::Sender(sender) => {
                let sendable = sender.can_send();
                let Some(answer) = sender.answer.take_if(|answer| !(answer.drained && sendable)) else {
                    // What is queued goes first: it was counted on the credit that is to be given up.
                    return Ok(sender.answer.is_none());
                };
                if answer.drained {
                    sender.credit.drained();
                }
                Flow {
                    delivery_count: Some(sender.credit.delivery_count()),
                    link_credit: Some(sender.credit.left()),
                    available: answer.available,
                    drain: sender.credit.drain(),
                    properties: answer.properties,
                    ..Flow::default()
                }
            }
        };
        let flow = Flow {
            handle: Some(handle),
            delivery_count: part.delivery_count,
            link_credit: part.link_credit,
            available: part.available,
            drain: part.drain,
            properties: part.properties,
            ..self.flow()
        };
        out.frame(self.channel, "flow", |out| encode_flow(&flow, out))?;
        Ok(true)
    }

    /// Whether something waits for `flush`.
    pub fn has_flows(&self) -> bool {
        !self.flows.is_empty()
    }

    /// Writes the dispositions that have gathered.
    pub fn flush_dispositions(&mut self, out: &mut Out) {
        for disposition in [self.received.take(), self.sent.take()].into_iter().flatten() {
            write_disposition(self.channel, disposition, out);
        }
    }

    /// The links we receive on that the application still knows.
    pub fn receivers(&mut self) -> impl Iterator<Item = (LinkId, &mut Receiver)> {
        self.links.iter_mut().flatten().filter(|link| !link.told_detached).filter_map(|link| match &mut link
            .end
        {
            End::Receiver(receiver) => Some((link.id, receiver)),
            End::Sender(_) => None,
        })
    }

    /// The link ids of the session, for its end.
    pub fn handles(&self) -> Vec<u32> {
        self.links.iter().flatten().map(|link| link.handle).collect()
    }

    /// The link has this id.
    pub fn is(&self, handle: u32, id: LinkId) -> bool {
        self.link(handle).is_some_and(|link| link.id == id)
    }

    /// Gives memory back while nothing happens.
    pub fn shrink(&mut self) {
        self.unsettled.shrink();
    }
}

/// Writes a disposition; where its state's error does not fit, with less of it.
fn write_disposition(channel: u16, disposition: Disposition, out: &mut Out) {
    let fits = out.frame(channel, "disposition", |out| encode_disposition(&disposition, out)).is_ok();
    if !fits {
        let state = disposition.state.map(dispose::brief);
        let brief = Disposition { state, ..disposition };
        // A state without words always fits 512 bytes, so this cannot fail.
        let _ = out.frame(channel, "disposition", |out| encode_disposition(&brief, out));
    }
}
