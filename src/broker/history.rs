//! What a message remembers of its consumers: failures, endpoints that excluded it, annotations they merged.
//!
//! Invariant: each list is bounded, since a peer could make it grow; of failures and endpoints the newest stay, of
//! annotations those that fit. What is remembered and when is decided in `settlement`.

use super::{Annotations, Failure, queue::entry::Entry};
use crate::limits::FAILURES_KEPT;

/// Link endpoints a message remembers as excluded; a peer could otherwise grow it without bound.
const EXCLUDED_KEPT: usize = 256;
/// Bytes of merged annotations a message keeps: a state must stay far below what the store takes as one value.
const ANNOTATIONS_BYTES: usize = 16 * 1024;

/// Adds to the failure record: the newest `FAILURES_KEPT`, and how many older ones there were.
pub(super) fn add_failure(entry: &mut Entry, failure: Failure) {
    let state = entry.state_mut();
    if state.failures.len() >= FAILURES_KEPT {
        state.failures.remove(0);
        state.failures_dropped = state.failures_dropped.saturating_add(1);
    }
    state.failures.push(failure);
}

/// Adds an endpoint; of too many, the newest stay.
pub(super) fn exclude(excluded: &mut Vec<String>, endpoint: Option<String>) {
    let Some(endpoint) = endpoint.filter(|e| !excluded.contains(e)) else { return };
    if excluded.len() >= EXCLUDED_KEPT {
        excluded.remove(0);
    }
    excluded.push(endpoint);
}

/// Merges annotations, new value wins; what does not fit is skipped: how many.
pub(super) fn merge(into: &mut Annotations, newer: Annotations) -> u32 {
    let size = |a: &Annotations| a.0.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    let mut used = size(into);
    let mut skipped = 0;
    for (key, value) in newer.0 {
        // "new value wins": it takes the room of the old one.
        let old = into.0.iter().find(|(known, _)| *known == key).map_or(0, |(k, v)| k.len() + v.len());
        let then = used - old + key.len() + value.len();
        if then <= ANNOTATIONS_BYTES {
            used = then;
            into.merge(Annotations(vec![(key, value)]));
        } else {
            skipped += 1;
        }
    }
    skipped
}
