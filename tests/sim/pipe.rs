//! One direction of a connection: bytes that take their time and come in pieces.
//!
//! Invariant: bytes arrive in the order they were written, each at most once; a cut loses a suffix.

use std::collections::VecDeque;

use verdict::time::Millis;

use crate::rng::Rng;

/// Bytes on their way before the writer has to wait, as in a socket's buffers.
const CAPACITY: usize = 32 * 1024;

/// Bytes between two ends.
#[derive(Debug, Default)]
pub struct Pipe {
    flight: VecDeque<(Millis, Vec<u8>)>,
    in_flight: usize,
    /// What arrived and made no whole frame yet.
    pub leftover: Vec<u8>,
    last_due: Millis,
    /// The writer closed its end.
    pub closed: bool,
}

impl Pipe {
    /// How much of `output` the writer gets rid of now.
    pub fn write(&mut self, output: &[u8], now: Millis, slow_ms: u64, rng: &mut Rng) -> usize {
        let room = CAPACITY.saturating_sub(self.in_flight).min(output.len());
        if room == 0 {
            return 0;
        }
        let len = if rng.one_in(3) { rng.range(1, room as u64) as usize } else { room };
        let delay = if rng.one_in(2) { 0 } else { rng.range(0, slow_ms) };
        self.last_due = self.last_due.max(now.plus_ms(delay));
        self.flight.push_back((self.last_due, output[..len].to_vec()));
        self.in_flight += len;
        len
    }

    /// What arrives now, at the end of what was left over. `false`: nothing.
    pub fn read(&mut self, now: Millis, rng: &mut Rng) -> bool {
        let Some((due, bytes)) = self.flight.front_mut() else { return false };
        if *due > now {
            return false;
        }
        let len = if rng.one_in(3) { rng.range(1, bytes.len() as u64) as usize } else { bytes.len() };
        self.leftover.extend(bytes.drain(..len));
        self.in_flight -= len;
        if bytes.is_empty() {
            self.flight.pop_front();
        }
        true
    }

    /// So much of what arrived was understood.
    pub fn used(&mut self, len: usize) {
        self.leftover.drain(..len);
    }

    /// When something arrives next.
    pub fn next_due(&self) -> Option<Millis> {
        self.flight.front().map(|(due, _)| *due)
    }

    /// Everything written has arrived, and no more will come.
    pub fn at_end(&self) -> bool {
        self.closed && self.flight.is_empty()
    }

    /// Nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.flight.is_empty()
    }
}
