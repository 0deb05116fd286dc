//! What a consumer with a filter has looked at: so that it judges each message once, and never the whole queue again.
//!
//! On each level it has a place. All that waits before it was judged and is not wanted; what comes back before it is
//! noted by itself (`again`) and judged anew, since something about it may have changed. A crash suspect that is
//! wanted is noted too, since only a consumer that holds nothing may have it.
//!
//! Invariant: judging stops where the turn's work (`Judging`) is done and goes on there in the next; a message whose
//! body is not in memory is asked for and waited for. Expired messages are passed over: others find them. Hands out
//! nothing: that is `dispatch`.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    entries::Entries,
    entry::{Entry, LOADING, Status},
    paging::LOAD_MESSAGES,
    ready::{Along, LEVELS, Level},
};
use crate::{broker::Chooser, time::Millis};

/// Work of one turn of those who browse, and of one of the others: some 4000 small messages judged, or 64 Ki places passed over. A millisecond or a few, after which
/// commands are taken again.
const TURN: u32 = 64 * 1024;
/// Work of judging one message, besides its size.
const JUDGE: u32 = 16;
/// Bytes of a message that cost one more.
const JUDGE_BYTES: u32 = 64;
/// Places passed over while looking for bodies to read.
const AHEAD_STEPS: u32 = 4096;
/// Messages that came back and are remembered one by one; with more, it looks from the first of them on.
const AGAIN_KEPT: usize = 1024;

/// The judging of one turn, of all consumers together.
#[derive(Debug)]
pub(crate) struct Judging {
    left: u32,
    /// Numbers from here on are not given yet.
    pub end: u64,
    /// There is more to judge than one turn does.
    pub unfinished: bool,
    /// Bodies to read, to be judged.
    pub bodies: Vec<u64>,
}

impl Judging {
    pub(crate) fn new(end: u64) -> Self {
        Self { left: TURN, end, unfinished: false, bodies: Vec::new() }
    }

    /// Work for others that have the same turn.
    pub(crate) fn refill(&mut self) {
        self.left = TURN;
    }

    /// Whether there is work left; notes that some was to be done if not.
    pub(crate) fn go(&mut self) -> bool {
        self.unfinished |= self.left == 0;
        self.left > 0
    }

    /// One place was passed over.
    pub(crate) fn step(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Accounts for a message that is judged.
    pub(crate) fn judged(&mut self, entry: &Entry) {
        self.left = self.left.saturating_sub(JUDGE.saturating_add(entry.size / JUDGE_BYTES));
    }

    /// Whether more bodies may be asked for.
    pub(crate) fn has_room(&self) -> bool {
        self.bodies.len() < LOAD_MESSAGES
    }
}

/// What was found on a level.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The first that is wanted, but for suspects.
    Head(u64),
    /// None.
    Nothing,
    /// Not known yet: a body must be read, or the turn's work is done.
    Later,
}

#[derive(Debug, Default)]
struct Looked {
    place: u64,
    again: BTreeSet<u64>,
    /// The last one that was found; it may not have been taken.
    found: Option<u64>,
    /// Suspects before the place that are wanted; may name some that are gone.
    suspects: BTreeSet<u64>,
}

impl Looked {
    fn head(&mut self, seq: u64) -> Found {
        self.found = Some(seq);
        Found::Head(seq)
    }
}

/// A consumer's filter and how far it has looked.
#[derive(Debug)]
pub(crate) struct Sieve {
    pub filter: Arc<dyn Chooser>,
    levels: [Looked; LEVELS],
}

/// What one message is to this consumer.
enum Verdict {
    Wanted,
    WantedSuspect,
    Not,
    /// Its body must be read, or the turn's work is done.
    Unknown,
}

impl Sieve {
    pub(crate) fn new(filter: Arc<dyn Chooser>) -> Self {
        Self { filter, levels: Default::default() }
    }

    /// A message waits (again).
    pub(crate) fn came_back(&mut self, seq: u64, priority: u8) {
        let Some(looked) = self.levels.get_mut(usize::from(priority)) else { return };
        looked.suspects.remove(&seq);
        looked.found = looked.found.filter(|found| *found != seq);
        if seq >= looked.place {
            return;
        }
        looked.again.insert(seq);
        if looked.again.len() > AGAIN_KEPT {
            looked.place = looked.again.first().copied().unwrap_or(0);
            looked.again.clear();
        }
    }

    /// What was found is put aside, though it is counted as waiting until this dispatch is over.
    pub(crate) fn pass(&mut self, number: usize, seq: u64) {
        let Some(looked) = self.levels.get_mut(number) else { return };
        looked.found = None;
        looked.suspects.remove(&seq);
        if !looked.again.remove(&seq) && looked.place == seq {
            looked.place = seq + 1;
        }
    }

    /// Whether it wants a message, as far as can be said from what is in memory.
    pub(crate) fn may_want(&self, entry: &Entry) -> bool {
        !entry.at_hand() || wants(self.filter.as_ref(), entry)
    }

    /// The suspects it wants, of those it has come by.
    pub(crate) fn suspects(&self, number: usize) -> Option<&BTreeSet<u64>> {
        self.levels.get(number).map(|looked| &looked.suspects)
    }

    /// The first message on a level that is wanted.
    pub(crate) fn look(
        &mut self,
        (level, number): (&Level, usize),
        entries: &Entries,
        endpoint: &str,
        now: Millis,
        judging: &mut Judging,
    ) -> Found {
        let Self { filter, levels } = self;
        let Some(looked) = levels.get_mut(number) else { return Found::Nothing };
        let suspect = |e: &Entry| waits(e, number) && e.suspect() && !e.expired(now);
        looked.suspects.retain(|seq| entries.get(*seq).is_some_and(suspect));
        let found = looked.found;
        let judge = |seq: u64, judging: &mut Judging| {
            let fits = |e: &&Entry| waits(e, number) && !e.expired(now) && !e.excludes(endpoint);
            match entries.get(seq).filter(fits) {
                None => Verdict::Not,
                Some(_) if found == Some(seq) => Verdict::Wanted,
                Some(entry) if !entry.at_hand() || !judging.go() => Verdict::Unknown,
                Some(entry) => {
                    judging.judged(entry);
                    match (wants(filter.as_ref(), entry), entry.suspect()) {
                        (false, _) => Verdict::Not,
                        (true, true) => Verdict::WantedSuspect,
                        (true, false) => Verdict::Wanted,
                    }
                }
            }
        };
        while let Some(&seq) = looked.again.first() {
            match judge(seq, judging) {
                Verdict::Wanted => return looked.head(seq),
                Verdict::Unknown => {
                    ask_for(entries, looked.again.iter().copied(), judging);
                    return Found::Later;
                }
                Verdict::WantedSuspect => drop(looked.suspects.insert(seq)),
                Verdict::Not => {}
            }
            looked.again.pop_first();
        }
        loop {
            let seq = match level.along(entries, number, looked.place, &mut judging.left) {
                Along::Waits(seq) => seq,
                Along::End => {
                    looked.place = judging.end;
                    return Found::Nothing;
                }
                Along::Pause(seq) => {
                    looked.place = seq;
                    judging.unfinished = true;
                    return Found::Later;
                }
            };
            looked.place = seq;
            match judge(seq, judging) {
                Verdict::Wanted => return looked.head(seq),
                Verdict::Unknown => {
                    ask_for(entries, ahead(level, number, entries, seq), judging);
                    return Found::Later;
                }
                Verdict::WantedSuspect => drop(looked.suspects.insert(seq)),
                Verdict::Not => {}
            }
            looked.place = seq + 1;
        }
    }
}

/// Asks the filter. Only a message that is in memory can be wanted.
pub(crate) fn wants(filter: &dyn Chooser, entry: &Entry) -> bool {
    entry.message.as_deref().is_some_and(|message| {
        filter.wants(message, entry.delivery_count, entry.acquired_count, entry.state.as_deref())
    })
}

fn waits(entry: &Entry, number: usize) -> bool {
    entry.status == Status::Available && usize::from(entry.priority) == number
}

/// What waits on a level from this one on.
fn ahead(level: &Level, number: usize, entries: &Entries, from: u64) -> impl Iterator<Item = u64> {
    let (mut next, mut steps) = (from, AHEAD_STEPS);
    std::iter::from_fn(move || {
        let Along::Waits(seq) = level.along(entries, number, next, &mut steps) else { return None };
        next = seq + 1;
        Some(seq)
    })
    .take(LOAD_MESSAGES)
}

/// Asks for the bodies of those that are not in memory; unless the first is on its way already.
fn ask_for(entries: &Entries, seqs: impl Iterator<Item = u64>, judging: &mut Judging) {
    let mut seqs = seqs.peekable();
    if seqs.peek().and_then(|seq| entries.get(*seq)).is_some_and(|entry| entry.has(LOADING)) {
        return;
    }
    for seq in seqs {
        if !judging.has_room() {
            break;
        }
        if entries.get(seq).is_some_and(|entry| !entry.at_hand()) {
            judging.bodies.push(seq);
        }
    }
}
