//! What happened last, kept only while a failing seed is run again.
//!
//! Invariant: tracing changes nothing of a run. `SIM_TRACE=1` prints every event as it happens.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

/// Events kept for the report of a failure.
const KEPT: usize = 60;

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Off) };
    static RING: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// What is done with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Off,
    /// The last ones are kept.
    Keep,
    /// They are kept, and printed at once.
    Print,
}

/// Sets the mode and forgets what was kept.
pub fn start(mode: Mode) {
    MODE.set(mode);
    RING.with_borrow_mut(VecDeque::clear);
}

/// Whether events are wanted.
pub fn on() -> bool {
    MODE.get() != Mode::Off
}

/// Notes an event.
pub fn push(line: String) {
    if MODE.get() == Mode::Print {
        println!("{line}");
    }
    RING.with_borrow_mut(|ring| {
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(line);
    });
}

/// What was kept, oldest first.
pub fn take() -> Vec<String> {
    RING.with_borrow_mut(|ring| ring.drain(..).collect())
}

/// Notes an event at a time; formats only if somebody wants it.
#[macro_export]
macro_rules! note {
    ($now:expr, $($format:tt)*) => {
        if $crate::trace::on() {
            $crate::trace::push(format!("{:>8} ms  {}", $now.0, format!($($format)*)));
        }
    };
}
