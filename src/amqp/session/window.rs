//! The transfer windows of a session (part 2.5.6), as arithmetic alone.
//!
//! Invariant: never more transfers go out than the peer's incoming-window allows, never more come in than
//! ours allowed. Knows nothing of frames; counts transfers, not messages.

use crate::amqp::serial::Serial;

/// The peer sent a transfer when our incoming-window was 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation;

/// Both windows of one session.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Size our incoming-window is refreshed to.
    size: u32,
    next_incoming: Serial,
    /// What is left of the window we announced last.
    incoming: u32,
    initial_outgoing: Serial,
    next_outgoing: Serial,
    /// remote-incoming-window: transfers we may still send.
    remote_incoming: u32,
}

impl Windows {
    /// A session whose first transfer will have the id `first_outgoing`.
    pub fn new(first_outgoing: Serial, size: u32) -> Self {
        Self {
            size,
            next_incoming: Serial(0),
            incoming: size,
            initial_outgoing: first_outgoing,
            next_outgoing: first_outgoing,
            remote_incoming: 0,
        }
    }

    /// The peer's begin.
    pub fn begun(&mut self, next_outgoing_id: u32, incoming_window: u32) {
        self.next_incoming = Serial(next_outgoing_id);
        self.remote_incoming = incoming_window;
    }

    /// A transfer came in.
    pub fn received(&mut self) -> Result<(), Violation> {
        self.incoming = self.incoming.checked_sub(1).ok_or(Violation)?;
        self.next_incoming = self.next_incoming.next();
        Ok(())
    }

    /// Half of the announced window is used: time for a flow. Not per transfer, that would double the frames.
    pub fn wants_refresh(&self) -> bool {
        self.incoming <= self.size / 2
    }

    /// A flow is about to announce the whole window again.
    pub fn refresh(&mut self) {
        self.incoming = self.size;
    }

    /// How many transfers may go out now.
    pub fn sendable(&self) -> u32 {
        self.remote_incoming
    }

    /// A transfer goes out; the caller asked `sendable` before.
    pub fn sent(&mut self) {
        self.next_outgoing = self.next_outgoing.next();
        self.remote_incoming = self.remote_incoming.saturating_sub(1);
    }

    /// The session part of a flow from the peer (part 2.5.6): remote-incoming-window =
    /// next-incoming-id + incoming-window - next-outgoing-id, and where the peer had not seen our begin,
    /// its next-incoming-id is our initial one.
    pub fn flow(&mut self, next_incoming_id: Option<u32>, incoming_window: u32, next_outgoing_id: u32) {
        let seen = next_incoming_id.map_or(self.initial_outgoing, Serial);
        // Ids are less than 2^31 apart: a peer that claims to have seen what was not sent yet counts as up to date.
        let in_flight = self.next_outgoing.saturating_since(seen);
        self.remote_incoming = incoming_window.saturating_sub(in_flight);
        self.next_incoming = Serial(next_outgoing_id);
    }

    /// next-incoming-id for our flows.
    pub fn next_incoming(&self) -> u32 {
        self.next_incoming.0
    }

    /// incoming-window for our flows.
    pub fn incoming(&self) -> u32 {
        self.incoming
    }

    /// next-outgoing-id for our flows.
    pub fn next_outgoing(&self) -> u32 {
        self.next_outgoing.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_transfer_beyond_the_announced_window_is_a_violation() {
        let mut windows = Windows::new(Serial(0), 2);
        windows.begun(7, 0);
        assert_eq!(windows.received(), Ok(()));
        assert_eq!(windows.received(), Ok(()));
        assert_eq!(windows.received(), Err(Violation));
        windows.refresh();
        assert_eq!(windows.received(), Ok(()));
        assert_eq!(windows.next_incoming(), 10);
    }

    #[test]
    fn a_flow_that_crossed_our_transfers_counts_them() {
        let mut windows = Windows::new(Serial(u32::MAX), 8);
        windows.begun(0, 10);
        (0..4).for_each(|_| windows.sent());
        assert_eq!(windows.next_outgoing(), 3);
        windows.flow(Some(0), 10, 0);
        assert_eq!(windows.sendable(), 7, "ids 0, 1, 2 are still under way");
        windows.flow(None, 10, 0);
        assert_eq!(windows.sendable(), 6, "the peer had not seen our begin: 4 under way");
    }

    #[test]
    fn a_shrunken_window_never_goes_below_nothing() {
        let mut windows = Windows::new(Serial(0), 8);
        windows.begun(0, u32::MAX);
        (0..4).for_each(|_| windows.sent());
        windows.flow(Some(0), 2, 0);
        assert_eq!(windows.sendable(), 0);
        windows.flow(Some(1_000), 2, 0);
        assert_eq!(windows.sendable(), 2, "a claim to have seen the future gains nothing");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Send(u32),
        Deliver(u32),
        Flow,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(0u32..20).prop_map(Step::Send), (0u32..20).prop_map(Step::Deliver), Just(Step::Flow)]
    }

    proptest! {
        /// Two session ends and a pipe between them: however sends, deliveries and flows interleave, the sender
        /// never violates the receiver's window; ids start near the wrap.
        #[test]
        fn a_sender_never_violates_its_peers_window(back in 0u32..40, steps in prop::collection::vec(step(), 0..200)) {
            let first = Serial(u32::MAX - back);
            let (mut a, mut b) = (Windows::new(first, 16), Windows::new(Serial(5), 16));
            b.begun(first.0, 0);
            a.begun(5, 16);
            let mut under_way = 0u32;
            for step in steps {
                match step {
                    Step::Send(n) => for _ in 0..n.min(a.sendable()) {
                        a.sent();
                        under_way += 1;
                    },
                    Step::Deliver(n) => for _ in 0..n.min(under_way) {
                        prop_assert_eq!(b.received(), Ok(()));
                        under_way -= 1;
                    },
                    Step::Flow => {
                        b.refresh();
                        a.flow(Some(b.next_incoming()), b.incoming(), b.next_outgoing());
                        prop_assert_eq!(a.sendable(), 16 - under_way);
                    }
                }
            }
        }
    }
}
