//! Who waits to get a crash suspect alone.
//!
//! "A suspect is redelivered alone on its link, so the message that kills consumers is found and the prefetched
//! innocents are not punished." A consumer that holds nothing takes a suspect when it comes up. One that holds
//! something takes nothing more until it has settled that, if the suspect is its to wait for; the others go on.
//!
//! What this bounds: the first guess is the oldest unsettled message, so of those that were ahead of the killer and
//! unsettled when the consumer died each may be guessed once. Alone, it is settled before anything can kill its
//! consumer, so no innocent is counted twice for one killer on its link (a consumer with several links that dies
//! as a whole has a suspect on each). One that settles as it goes leaves none ahead: nobody innocent is counted.
//!
//! Invariant: at most one consumer waits for a suspect, and not for ever: one that does not settle what it has
//! within `WAIT_MS` goes on as usual, and for as long again leaves it to others. Does not decide who is a
//! suspect (`Entry::suspect`) nor hand it out (`dispatch`).

use std::collections::BTreeMap;

use crate::time::Millis;

/// How long a consumer gets nothing more while it settles what it has.
const WAIT_MS: u64 = 10_000;

#[derive(Debug)]
struct Turn {
    slot: u32,
    until: Millis,
    /// It did not settle in time.
    missed: bool,
}

/// The suspects somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Vetting(BTreeMap<u64, Turn>);

impl Vetting {
    /// Whether this consumer may wait for a suspect.
    pub(crate) fn open_to(&self, seq: u64, slot: u32) -> bool {
        self.0.get(&seq).is_none_or(|turn| (turn.slot == slot) != turn.missed)
    }

    /// A consumer waits for it from now on.
    pub(crate) fn wait(&mut self, seq: u64, slot: u32, now: Millis) {
        self.0.insert(seq, Turn { slot, until: now.plus_ms(WAIT_MS), missed: false });
    }

    /// Whether this consumer (still) does.
    pub(crate) fn waits(&self, seq: u64, slot: u32) -> bool {
        self.0.get(&seq).is_some_and(|turn| turn.slot == slot && !turn.missed)
    }

    /// Somebody got it.
    pub(crate) fn taken(&mut self, seq: u64) {
        self.0.remove(&seq);
    }

    /// A consumer left.
    pub(crate) fn left(&mut self, slot: u32) {
        self.0.retain(|_, turn| turn.slot != slot);
    }

    /// Forgets those that no longer wait, and ends what took too long.
    pub(crate) fn tidy(&mut self, now: Millis, waits: impl Fn(u64) -> bool) {
        if self.0.is_empty() {
            return;
        }
        self.0.retain(|&seq, turn| {
            let over = turn.until <= now;
            let keep = waits(seq) && !(over && turn.missed);
            if over {
                (turn.until, turn.missed) = (now.plus_ms(WAIT_MS), true);
            }
            keep
        });
    }

    /// When `tidy` is next due.
    pub(crate) fn next_wake(&self) -> Option<Millis> {
        self.0.values().map(|turn| turn.until).min()
    }
}
