//! STUB of the agreed interface; the core's author replaces the bodies, not the signatures.
#![allow(unused_variables)]

use super::{Batch, Command, Effect, QueueDefinition, Restored};
use crate::time::Millis;

/// A queue and its dead-letter tree: one state machine, so that a move between them is one step.
#[derive(Debug)]
pub struct Node {}

/// A node in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages waiting, deliverable now.
    pub available: u64,
    /// Messages handed out and unsettled.
    pub acquired: u64,
    /// Messages waiting for their retry time.
    pub delayed: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// Consumers attached.
    pub consumers: u32,
}

impl Node {
    /// An empty node. `seed` feeds the retry jitter.
    #[must_use]
    pub fn new(definition: QueueDefinition, seed: u64) -> Self {
        todo!()
    }
    /// Recovery: sequence numbers continue from here.
    pub fn restore_next_seq(&mut self, dead_letter: bool, next: u64) {
        todo!()
    }
    /// Recovery: a message that survived; before any command, in order of `Seq`.
    pub fn restore(&mut self, entry: Restored) {
        todo!()
    }
    /// Does one command.
    pub fn apply(&mut self, now: Millis, command: Command, effects: &mut Vec<Effect>) {
        todo!()
    }
    /// After some commands: expires, wakes, dispatches, pages; effects come in here and from `apply`.
    pub fn flush(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        todo!()
    }
    /// The records since the last call, if any.
    pub fn take_batch(&mut self) -> Option<Batch> {
        todo!()
    }
    /// When `flush` is next due without a command.
    #[must_use]
    pub fn next_wake(&self) -> Option<Millis> {
        todo!()
    }
    /// A clean stop: makes records of the non-durable messages too, so that they are kept.
    pub fn prepare_stop(&mut self) {
        todo!()
    }
    /// Main queue's and dead-letter tree's numbers.
    #[must_use]
    pub fn counts(&self) -> (Counts, Counts) {
        todo!()
    }
    /// The definition as it is now.
    #[must_use]
    pub fn definition(&self) -> &QueueDefinition {
        todo!()
    }
}
