//! Messages that come twice: "a duplicate is accepted and not queued".
//!
//! A publisher that had no answer sends again; its queue then remembers the id for a while, bounded by count and by
//! time. Invariant: a duplicate is accepted no sooner than the first one is safe, and refused if that is refused,
//! whose id is then forgotten; a durable message is a duplicate only of what is, or will be, on the disk; and the
//! id of a durable one is safe before its publisher hears, even where the message itself need not be written any
//! more. Only publishers' messages come through here: retries, dead letters and replays are exempt. What a
//! duplicate is told by is the `Reader`'s business.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{Fingerprint, Message, ProducerId, Refusal, SeenId, ledger::Ledger, node::Node, policy::Detect};
use crate::time::Millis;

/// How safe an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Safety {
    /// As its message: in memory, until the broker stops in good order.
    Volatile,
    /// In a batch that is not committed.
    Pending,
    /// On the disk, in this segment.
    Safe(u32),
    /// It was refused.
    Void,
}

#[derive(Debug)]
struct Known {
    id: SeenId,
    safety: Safety,
}

/// The window: about 90 bytes for each id.
#[derive(Debug)]
pub(super) struct Window {
    numbers: FxHashMap<Fingerprint, u64>,
    /// Growing by number.
    known: VecDeque<Known>,
    next: u64,
    pending: usize,
    /// Some id in here has another with the same key after it.
    given_way: bool,
    /// Publishers of duplicates whose first is not safe yet.
    waiting: FxHashMap<u64, Vec<(ProducerId, u64)>>,
}

/// What there is to say to a publisher.
enum Verdict {
    New,
    Accepted,
    /// As the one with this number.
    LikeThe(u64),
}

impl Default for Window {
    fn default() -> Self {
        Self {
            numbers: FxHashMap::default(),
            known: VecDeque::new(),
            next: 1,
            pending: 0,
            given_way: false,
            waiting: FxHashMap::default(),
        }
    }
}

impl Window {
    fn position(&self, number: u64) -> Option<usize> {
        let first = self.known.front()?.id.number;
        // Numbers are mostly without gaps.
        let guess = usize::try_from(number.checked_sub(first)?).unwrap_or(usize::MAX);
        if self.known.get(guess).is_some_and(|known| known.id.number == number) {
            return Some(guess);
        }
        self.known.binary_search_by_key(&number, |known| known.id.number).ok()
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Known> {
        let at = self.position(number)?;
        self.known.get_mut(at)
    }

    fn judge(&self, key: &Fingerprint, durable: bool) -> Verdict {
        let number = self.numbers.get(key).copied();
        let Some((number, at)) = number.and_then(|number| Some((number, self.position(number)?))) else {
            return Verdict::New;
        };
        match self.known.get(at).map(|known| known.safety) {
            Some(Safety::Safe(_)) => Verdict::Accepted,
            Some(Safety::Volatile) if !durable => Verdict::Accepted,
            Some(Safety::Pending) => Verdict::LikeThe(number),
            _ => Verdict::New,
        }
    }

    fn add(&mut self, key: Fingerprint, at: Millis, durable: bool) -> SeenId {
        let id = SeenId { number: self.next, key, at };
        self.next += 1;
        // Only that of a message that is not durable gives way, and only to that of one that is.
        self.given_way |= self.numbers.insert(key, id.number).is_some();
        self.pending += usize::from(durable);
        let safety = if durable { Safety::Pending } else { Safety::Volatile };
        self.known.push_back(Known { id, safety });
        id
    }

    /// Its batch was committed; who waited.
    fn committed(&mut self, number: u64, segment: u32) -> Vec<(ProducerId, u64)> {
        if let Some(known) = self.get_mut(number) {
            let was = std::mem::replace(&mut known.safety, Safety::Safe(segment));
            self.pending -= usize::from(was == Safety::Pending);
        }
        self.waiting.remove(&number).unwrap_or_default()
    }

    /// Its message was refused; who waited.
    fn forget(&mut self, number: u64) -> Vec<(ProducerId, u64)> {
        if let Some(known) = self.get_mut(number).filter(|known| known.safety == Safety::Pending) {
            known.safety = Safety::Void;
            let key = known.id.key;
            self.pending -= 1;
            self.numbers.remove(&key);
            // What had given way to it is what is left.
            let volatile = |known: &&Known| known.id.key == key && known.safety == Safety::Volatile;
            if let Some(known) = self.known.iter().rev().filter(|_| self.given_way).find(volatile) {
                self.numbers.insert(key, known.id.number);
            }
        }
        self.waiting.remove(&number).unwrap_or_default()
    }

    /// Forgets what is older than the window or too many; what is left begins at this number. One that is not safe
    /// is not forgotten, nor what came after it.
    fn trim(&mut self, now: Millis, window_ms: u64, count: usize) -> u64 {
        while let Some(Known { id, safety }) = self.known.front() {
            let over = id.at.plus_ms(window_ms) <= now || self.known.len() - self.pending > count;
            if *safety == Safety::Pending || !(over || *safety == Safety::Void) {
                return id.number;
            }
            if self.numbers.get(&id.key) == Some(&id.number) {
                self.numbers.remove(&id.key);
            }
            self.known.pop_front();
        }
        self.given_way = false;
        self.next
    }

    /// Has those that lie in segments up to this one written again.
    pub(super) fn evacuate(&self, segment: u32, mut write: impl FnMut(SeenId)) {
        let there = |known: &&Known| matches!(known.safety, Safety::Safe(at) if at <= segment);
        self.known.iter().filter(there).for_each(|known| write(known.id));
    }
}

fn answer_all(ledger: &mut Ledger, to: Vec<(ProducerId, u64)>, refusal: Option<Refusal>) {
    to.into_iter().for_each(|(producer, token)| ledger.answer(producer, token, refusal));
}

impl Node {
    /// The key of a message, if its queue asks for one.
    #[inline]
    pub(super) fn duplicate_key(&self, message: &Message) -> Option<Fingerprint> {
        let detect = &self.definition.policy.duplicates.detect;
        if *detect == Detect::Off { None } else { (self.reader.duplicate_key)(message, detect) }
    }

    /// Whether a message came before; its publisher is then answered, or will be.
    pub(super) fn is_duplicate(
        &mut self,
        now: Millis,
        key: &Fingerprint,
        durable: bool,
        answer: Option<(ProducerId, u64)>,
    ) -> bool {
        self.trim_ids(now);
        match self.seen.judge(key, durable && self.outlives_the_process()) {
            Verdict::New => return false,
            Verdict::Accepted => {
                answer.into_iter().for_each(|(producer, token)| self.ledger.answer(producer, token, None));
            }
            Verdict::LikeThe(number) => self.seen.waiting.entry(number).or_default().extend(answer),
        }
        self.tally.duplicates += 1;
        true
    }

    /// A new message has this key; the number of its id. To be asked before its put is recorded.
    pub(super) fn remember_id(&mut self, now: Millis, key: Fingerprint, durable: bool) -> u64 {
        let id = self.seen.add(key, now, durable);
        if durable {
            self.ledger.saw_fresh(self.main.id, id);
        }
        id.number
    }

    /// A batch with these ids was committed.
    pub(super) fn ids_committed(&mut self, numbers: &[u64], segment: Option<u32>) {
        // A store always says; one that does not has them written again when it asks.
        let segment = segment.unwrap_or(0);
        for &number in numbers {
            let waited = self.seen.committed(number, segment);
            answer_all(&mut self.ledger, waited, None);
        }
        if let Some(e) = self.evacuation.as_mut().filter(|e| segment <= e.segment && !numbers.is_empty()) {
            e.again = true;
        }
    }

    /// A message was refused that is still here: its id is none, so that its publisher may try again.
    pub(super) fn forget_id(&mut self, number: u64) {
        let waited = self.seen.forget(number);
        answer_all(&mut self.ledger, waited, Some(Refusal::StorageFull));
    }

    /// A message was refused that somebody has finally settled: it is not to come again, so its id alone is written,
    /// and its publisher hears when that is safe.
    pub(super) fn keep_id(&mut self, number: u64, answer: Option<(ProducerId, u64)>) {
        self.seen.waiting.entry(number).or_default().extend(answer);
        match self.seen.get_mut(number) {
            Some(known) => {
                let id = known.id;
                self.ledger.saw(self.main.id, id);
            }
            None => {
                let waited = self.seen.waiting.remove(&number).unwrap_or_default();
                answer_all(&mut self.ledger, waited, None);
            }
        }
    }

    fn trim_ids(&mut self, now: Millis) {
        let policy = &self.definition.policy.duplicates;
        // Switched off, what is remembered is of no use: it is forgotten at once.
        let count = if policy.detect == Detect::Off { 0 } else { policy.count };
        let oldest = self.seen.trim(now, policy.window_ms, count);
        self.ledger.forget_ids(oldest);
    }

    /// Brings the window up to date; where nothing will be recorded of itself, says what is forgotten.
    pub(super) fn tidy_ids(&mut self, now: Millis) {
        self.trim_ids(now);
        if self.definition.policy.duplicates.detect == Detect::Off && self.outlives_the_process() {
            self.ledger.tell_oldest(self.main.id);
        }
    }

    /// Has the ids in segments up to this one written again, or says that they are forgotten.
    pub(super) fn evacuate_ids(&mut self, segment: u32) {
        if !self.outlives_the_process() {
            return;
        }
        let Self { seen, ledger, main, .. } = self;
        seen.evacuate(segment, |id| ledger.saw(main.id, id));
        ledger.tell_oldest(main.id);
    }

    /// A clean stop: the ids of messages that are not durable are kept, as these are.
    pub(super) fn record_volatile_ids(&mut self) {
        let Self { seen, ledger, main, .. } = self;
        let volatile = seen.known.iter_mut().filter(|known| known.safety == Safety::Volatile);
        for known in volatile {
            known.safety = Safety::Pending;
            seen.pending += 1;
            ledger.saw_fresh(main.id, known.id);
        }
    }

    /// Recovery: the ids the queue remembers, each with the segment it is in, growing by number; all below `oldest`
    /// are forgotten.
    pub fn restore_seen(&mut self, oldest: u64, ids: impl IntoIterator<Item = (SeenId, u32)>) {
        self.ledger.ids_forgotten(oldest);
        let seen = &mut self.seen;
        seen.next = seen.next.max(oldest);
        for (id, segment) in ids.into_iter().filter(|(id, _)| id.number >= oldest) {
            seen.next = seen.next.max(id.number.saturating_add(1));
            seen.known.push_back(Known { id, safety: Safety::Safe(segment) });
            seen.numbers.insert(id.key, id.number);
        }
    }
}
