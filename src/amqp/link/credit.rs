//! Link credit (part 2.6.7), as arithmetic alone.
//!
//! Invariant: delivery-count belongs to the sender, link-credit to the receiver; each side computes the
//! other's from what it was told, in serial arithmetic. Knows nothing of frames.

use crate::amqp::serial::Serial;

/// Credit of a link we send on.
#[derive(Debug, Default)]
pub(crate) struct SenderCredit {
    delivery_count: Serial,
    left: u32,
    drain: bool,
}

impl SenderCredit {
    /// The receiver's flow: link-credit(snd) = delivery-count(rcv) + link-credit(rcv) - delivery-count(snd).
    /// Without a delivery-count it had not seen our attach: then it counts from our first.
    pub fn flow(&mut self, delivery_count: Option<u32>, link_credit: u32, drain: bool) {
        let under_way = self.delivery_count.saturating_since(Serial(delivery_count.unwrap_or(0)));
        self.left = link_credit.saturating_sub(under_way);
        self.drain = drain;
    }

    /// What may still be sent.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// A delivery begins.
    pub fn used(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.delivery_count = self.delivery_count.next();
    }

    /// Nothing more to send under this credit: "advance the delivery-count as much as possible,
    /// consuming all link-credit" (2.6.7).
    pub fn drained(&mut self) {
        self.delivery_count = self.delivery_count.plus(self.left);
        self.left = 0;
    }

    /// delivery-count for our flows.
    pub fn delivery_count(&self) -> u32 {
        self.delivery_count.0
    }

    /// The receiver's wish, as last heard.
    pub fn drain(&self) -> bool {
        self.drain
    }
}

/// More deliveries came than credit was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded;

/// Credit of a link we receive on.
#[derive(Debug, Default)]
pub(crate) struct ReceiverCredit {
    delivery_count: Serial,
    left: u32,
    /// Credit that was taken back, which the sender may have used before it learned of that.
    taken_back: u32,
    drain: bool,
}

impl ReceiverCredit {
    /// The sender's attach told its initial delivery-count.
    pub fn begin(&mut self, initial_delivery_count: u32) {
        self.delivery_count = Serial(initial_delivery_count);
    }

    /// Gives this much from now on.
    pub fn set(&mut self, credit: u32, drain: bool) {
        let allowed = self.left.saturating_add(self.taken_back);
        self.left = credit;
        self.taken_back = allowed.saturating_sub(credit);
        self.drain = drain;
    }

    /// A delivery begins.
    pub fn used(&mut self) -> Result<(), Exceeded> {
        if self.left > 0 {
            self.left -= 1;
        } else {
            self.taken_back = self.taken_back.checked_sub(1).ok_or(Exceeded)?;
        }
        self.delivery_count = self.delivery_count.next();
        Ok(())
    }

    /// The sender's flow; returns whether it used up all credit, which is how it answers a drain.
    pub fn sender_flow(&mut self, delivery_count: Option<u32>) -> bool {
        if let Some(told) = delivery_count {
            let skipped = Serial(told).saturating_since(self.delivery_count);
            let beyond = skipped.saturating_sub(self.left);
            self.left = self.left.saturating_sub(skipped);
            self.taken_back = self.taken_back.saturating_sub(beyond);
            self.delivery_count = self.delivery_count.plus(skipped);
        }
        let drained = self.drain && self.left == 0;
        if drained {
            self.drain = false;
        }
        drained
    }

    /// link-credit for our flows.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// delivery-count for our flows.
    pub fn delivery_count(&self) -> u32 {
        self.delivery_count.0
    }

    /// drain for our flows.
    pub fn drain(&self) -> bool {
        self.drain
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credit_that_crossed_deliveries_counts_them() {
        let mut sender = SenderCredit::default();
        sender.flow(Some(0), 10, false);
        (0..3).for_each(|_| sender.used());
        sender.flow(Some(1), 10, false);
        assert_eq!(sender.left(), 8);
        sender.flow(None, 5, false);
        assert_eq!(sender.left(), 2, "the receiver had not seen our attach: it counts from 0");
        sender.flow(Some(3), 0, false);
        assert_eq!(sender.left(), 0);
    }

    #[test]
    fn drained_uses_all_credit_up() {
        let mut sender = SenderCredit::default();
        sender.flow(Some(0), 10, true);
        sender.used();
        sender.drained();
        assert_eq!((sender.delivery_count(), sender.left()), (10, 0));
    }

    #[test]
    fn credit_taken_back_may_still_have_been_used() {
        let mut receiver = ReceiverCredit::default();
        receiver.set(5, false);
        receiver.set(0, false);
        (0..5).for_each(|_| assert_eq!(receiver.used(), Ok(())));
        assert_eq!(receiver.used(), Err(Exceeded));
        receiver.set(1, false);
        assert_eq!(receiver.used(), Ok(()));
        assert_eq!(receiver.used(), Err(Exceeded));
    }

    #[test]
    fn a_sender_that_skips_answers_a_drain_and_one_that_goes_back_is_ignored() {
        let mut receiver = ReceiverCredit::default();
        receiver.begin(u32::MAX);
        receiver.set(10, true);
        assert!(!receiver.sender_flow(Some(u32::MAX)));
        assert!(!receiver.sender_flow(Some(u32::MAX - 5)));
        assert_eq!(receiver.left(), 10);
        assert!(receiver.sender_flow(Some(9)));
        assert_eq!((receiver.left(), receiver.delivery_count()), (0, 9));
        assert_eq!(receiver.used(), Err(Exceeded));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u32),
        Send(u32),
        Deliver(u32),
        Drained,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u32..30).prop_map(Step::Set),
            (0u32..20).prop_map(Step::Send),
            (0u32..20).prop_map(Step::Deliver),
            Just(Step::Drained),
        ]
    }

    proptest! {
        /// Both ends with pipes between them: a sender that obeys is never found to exceed its credit, and once
        /// the pipes are empty both agree on what is left.
        #[test]
        fn a_sender_that_obeys_never_exceeds(steps in prop::collection::vec(step(), 0..200)) {
            let (mut sender, mut receiver) = (SenderCredit::default(), ReceiverCredit::default());
            let (mut deliveries, mut flows) = (0u32, std::collections::VecDeque::new());
            for step in steps {
                match step {
                    Step::Set(n) => {
                        receiver.set(n, false);
                        flows.push_back((receiver.delivery_count(), n));
                    }
                    Step::Send(n) => {
                        if let Some((count, credit)) = flows.pop_front() {
                            sender.flow(Some(count), credit, false);
                        }
                        for _ in 0..n.min(sender.left()) {
                            sender.used();
                            deliveries += 1;
                        }
                    }
                    Step::Deliver(n) => for _ in 0..n.min(deliveries) {
                        prop_assert_eq!(receiver.used(), Ok(()));
                        deliveries -= 1;
                    },
                    Step::Drained => {
                        // The flow arrives behind all deliveries.
                        for _ in 0..deliveries {
                            prop_assert_eq!(receiver.used(), Ok(()));
                        }
                        deliveries = 0;
                        sender.drained();
                        receiver.sender_flow(Some(sender.delivery_count()));
                    }
                }
            }
            for _ in 0..deliveries {
                prop_assert_eq!(receiver.used(), Ok(()));
            }
            for (count, credit) in flows {
                sender.flow(Some(count), credit, false);
            }
            prop_assert_eq!(sender.delivery_count(), receiver.delivery_count());
        }
    }
}
