//! Which dead letters are meant.
//!
//! Invariant: a filter without any condition means all. What can be decided from the catalogue is decided there;
//! `fits_state` decides all of it, and needs the message only for `text`.

use std::collections::BTreeSet;

use super::cause::Cause;
use crate::{
    broker::{DeathReason, EntryState, rules::glob},
    time::Millis,
};

/// Conditions on dead letters; all that are there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Why it died.
    pub reason: Option<DeathReason>,
    /// The error condition: a pattern with `*` and `?`, letter case ignored.
    pub condition: Option<String>,
    /// A pattern found anywhere in the description.
    pub description: Option<String>,
    /// The queue it died in: a pattern.
    pub origin: Option<String>,
    /// Who failed last: a pattern on `container-id/link (user)`.
    pub consumer: Option<String>,
    /// Died then or later.
    pub since: Option<Millis>,
    /// Died before.
    pub until: Option<Millis>,
    /// Fewest attempts.
    pub min_attempts: Option<u32>,
    /// Most attempts.
    pub max_attempts: Option<u32>,
    /// What it died of, by `CauseCount::id`.
    pub cause: Option<u64>,
    /// Only these messages.
    pub sequences: Option<BTreeSet<u64>>,
    /// Found anywhere in the message or the description.
    pub text: Option<Box<[u8]>>,
    /// Leaves out what a replay of this name has put back before.
    pub not_replayed_as: Option<String>,
}

/// What a filter thinks of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It is meant.
    Yes,
    /// The state (and for `text` the message) must be looked at.
    Maybe,
    /// It is not meant.
    No,
}

impl Judged {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Maybe, _) | (_, Self::Maybe) => Self::Maybe,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }

    fn from(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

impl Filter {
    /// Whether it means all there are.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is about how messages died, so that none that lives fits.
    #[must_use]
    pub fn is_about_death(&self) -> bool {
        let others = Self { sequences: None, text: None, ..self.clone() };
        !others.is_all()
    }

    pub(super) fn fits_numbers(&self, seq: u64, time: Millis, attempts: u32) -> bool {
        self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && self.min_attempts.is_none_or(|min| attempts >= min)
            && self.max_attempts.is_none_or(|max| attempts <= max)
            && self.sequences.as_ref().is_none_or(|wanted| wanted.contains(&seq))
    }

    pub(super) fn judge_cause(&self, cause: &Cause) -> Judged {
        if self.reason.is_some_and(|reason| reason != cause.reason) {
            return Judged::No;
        }
        let asks = self.condition.is_some() || self.origin.is_some();
        if cause.various {
            return if asks || self.cause.is_some_and(|id| id != cause.id()) {
                Judged::Maybe
            } else {
                Judged::Yes
            };
        }
        let fits = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|p| glob(p, text));
        Judged::from(
            fits(&self.condition, &cause.condition)
                && fits(&self.origin, &cause.origin)
                && self.cause.is_none_or(|id| id == cause.id()),
        )
    }

    /// `None`: one of those that are not told apart.
    pub(super) fn judge_consumer(&self, consumer: Option<&str>) -> Judged {
        match (&self.consumer, consumer) {
            (None, _) => Judged::Yes,
            (Some(_), None) => Judged::Maybe,
            (Some(pattern), Some(name)) => Judged::from(glob(pattern, name)),
        }
    }

    /// What is to be decided from the state in any case.
    pub(super) fn needs_state(&self) -> Judged {
        let asks = self.description.is_some() || self.text.is_some() || self.not_replayed_as.is_some();
        if asks { Judged::Maybe } else { Judged::Yes }
    }

    /// Whether a message is meant, by its state and bytes.
    #[must_use]
    pub fn fits_state(&self, seq: u64, state: &EntryState, bytes: &[u8]) -> bool {
        let Some(death) = &state.death else { return !self.is_about_death() && self.fits_text("", bytes) };
        let description = death.cause.as_ref().and_then(|cause| cause.description.as_deref());
        let description = description.unwrap_or_default();
        let consumer = state.failures.last().map_or("", |failure| &failure.consumer);
        let replayed = |id: &String| state.replays.iter().any(|replay| replay.id == *id);
        let cause = Cause::of(death);
        self.fits_numbers(seq, death.time, death.attempts)
            // One of those that are not told apart has the id they have together.
            && (self.judge_cause(&cause) == Judged::Yes || self.fits_as_various(&cause))
            && self.judge_consumer(Some(consumer)) == Judged::Yes
            && self.description.as_ref().is_none_or(|pattern| glob(&format!("*{pattern}*"), description))
            && !self.not_replayed_as.as_ref().is_some_and(replayed)
            && self.fits_text(description, bytes)
    }

    fn fits_as_various(&self, cause: &Cause) -> bool {
        let together = Cause::various(cause.reason).id();
        let others = Self { cause: None, ..self.clone() };
        self.cause == Some(together) && others.judge_cause(cause) == Judged::Yes
    }

    fn fits_text(&self, description: &str, bytes: &[u8]) -> bool {
        self.text.as_ref().is_none_or(|text| contains(description.as_bytes(), text) || contains(bytes, text))
    }
}

/// Whether `needle` is somewhere in `bytes`.
fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(needle) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}
