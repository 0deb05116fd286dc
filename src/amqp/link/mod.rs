//! One end of a link (part 2.6): its names and state; the two kinds of end are in `incoming` and `outgoing`.
//!
//! Invariant: a link has the local handle it sits at in its session, and at most one remote handle.
//! Deciding whether to accept it is the application's business.

pub(crate) mod credit;
pub(crate) mod incoming;
pub(crate) mod outgoing;

use std::sync::Arc;

use fe2o3_amqp_types::definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::performatives::Attach;

use self::{incoming::Receiver, outgoing::Sender};
use super::LinkId;

/// Where a link stands (part 2.6.3, 2.6.5).
///
/// ```text
///            attach()                      attach received
///   (none) ───────────► AttachSent    (none) ───────────► AttachReceived
///                           │ attach received                  │ accept_attach()
///                           └───────────► Attached ◄───────────┘
///                                            │ detach(), refuse_attach(), an error: detach sent
///                 detach received: answered  ▼
///   (none) ◄───────────────────────────── DetachSent ──► (none) when the peer's detach arrives
/// ```
#[derive(Debug)]
pub(crate) enum LinkState {
    /// We attached; the peer has not answered.
    AttachSent,
    /// The peer attached, the application has not answered. Holds the peer's latest flow, which
    /// may come right behind the attach and is told once the link is accepted.
    AttachReceived { early: Option<EarlyFlow> },
    /// Both attached.
    Attached,
    /// We detached: what comes for this link is discarded up to the peer's detach (2.6.5).
    DetachSent,
}

/// A flow that came before the link was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EarlyFlow {
    pub delivery_count: Option<u32>,
    pub credit: u32,
    pub drain: bool,
    pub echo: bool,
}

/// The two kinds of link end.
#[derive(Debug)]
pub(crate) enum End {
    Sender(Sender),
    Receiver(Receiver),
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct Link {
    pub id: LinkId,
    pub name: Arc<str>,
    /// Ours.
    pub handle: u32,
    /// The peer's, from its attach on.
    pub remote_handle: Option<u32>,
    pub state: LinkState,
    /// `Detached` was told: the application knows this link no more.
    pub told_detached: bool,
    pub snd_settle_mode: SenderSettleMode,
    pub rcv_settle_mode: ReceiverSettleMode,
    pub end: End,
}

impl Link {
    /// Our role on it.
    pub fn role(&self) -> Role {
        match self.end {
            End::Sender(_) => Role::Sender,
            End::Receiver(_) => Role::Receiver,
        }
    }

    /// The key under which no second link may be attached (2.6.1: a link is named by its name and the two
    /// containers, per direction).
    pub fn key(&self) -> (bool, Arc<str>) {
        (matches!(self.end, End::Sender(_)), Arc::clone(&self.name))
    }

    /// An attach with our name, handle, role and modes, and no terminus.
    pub fn attach(&self) -> Attach {
        Attach {
            name: self.name.to_string(),
            handle: Handle(self.handle),
            role: self.role(),
            snd_settle_mode: self.snd_settle_mode.clone(),
            rcv_settle_mode: self.rcv_settle_mode.clone(),
            source: None,
            target: None,
            unsettled: None,
            incomplete_unsettled: false,
            // 2.7.3: "MUST NOT be null if role is sender". Ours is always 0: rhea ignores any other.
            initial_delivery_count: matches!(self.end, End::Sender(_)).then_some(0),
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        }
    }

    /// Frames other than attach and detach have an effect.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, LinkState::DetachSent)
    }
}
