//! Values inside records that have structure of their own: states and definitions.
//!
//! Invariant: each begins with a byte that names its layout, so that a later one can be told apart.

use std::sync::Arc;

use super::DecodeError;
use crate::broker::{
    EntryState, Lifetime, QueueDefinition, QueueId, QueuePolicy,
    policy::{ExpiredTo, RetryDelay, WhenFull},
};

/// First byte of an encoded `EntryState`; another value is another layout.
const STATE_VERSION: u8 = 2;
/// First byte of an encoded definition: TOML, which survives new fields.
const DEFINITION_TOML: u8 = 1;
/// In postcard, for values TOML cannot hold (integers above `i64::MAX`); of policies without rules.
const DEFINITION_POSTCARD_V1: u8 = 2;
/// The same, of policies with rules and definitions without settings.
const DEFINITION_POSTCARD_V2: u8 = 3;
/// The same, with settings. Postcard knows no missing fields: more of them need another layout.
const DEFINITION_POSTCARD: u8 = 4;

/// A state as its bytes, a quarter of what it takes otherwise: how it waits for the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    bytes: Arc<[u8]>,
    /// `EntryState::delivery_count`.
    pub delivery_count: u32,
    /// `EntryState::acquired_count`.
    pub acquired_count: u32,
}

impl Packed {
    /// Packs a state.
    #[must_use]
    pub fn of(state: &EntryState) -> Self {
        let EntryState { delivery_count, acquired_count, .. } = *state;
        Self { bytes: state_to_bytes(state).into(), delivery_count, acquired_count }
    }

    /// The same, shared.
    #[must_use]
    pub fn shared(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// What `state_to_bytes` made.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A state as bytes, with the version of its layout in front.
#[must_use]
pub fn state_to_bytes(state: &EntryState) -> Vec<u8> {
    // Serialising plain owned data into memory cannot fail; an empty tail would be refused on reading.
    postcard::to_extend(state, vec![STATE_VERSION]).unwrap_or_default()
}

/// The reverse.
///
/// # Errors
/// When the bytes are not a state of a known layout.
pub fn state_from_bytes(bytes: &[u8]) -> Result<EntryState, DecodeError> {
    let inner = |why: String| DecodeError::Inner { what: "state", why };
    match bytes.split_first() {
        Some((&STATE_VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| inner(error.to_string())),
        // Layout 1 ends before the list of replays: an empty one makes it layout 2.
        Some((1, rest)) => {
            postcard::from_bytes(&[rest, &[0]].concat()).map_err(|error| inner(error.to_string()))
        }
        Some((version, _)) => Err(inner(format!("layout {version}, expected at most {STATE_VERSION}"))),
        None => Err(inner("no bytes".into())),
    }
}

/// A definition as bytes. TOML, because definitions gain fields from version to version.
#[must_use]
pub fn definition_to_bytes(definition: &QueueDefinition) -> Vec<u8> {
    if let Ok(text) = toml::to_string(definition) {
        let mut bytes = vec![DEFINITION_TOML];
        bytes.extend_from_slice(text.as_bytes());
        return bytes;
    }
    postcard::to_extend(definition, vec![DEFINITION_POSTCARD]).unwrap_or_default()
}

/// The reverse.
///
/// # Errors
/// When the bytes are not a definition.
pub fn definition_from_bytes(bytes: &[u8]) -> Result<QueueDefinition, DecodeError> {
    let inner = |why: String| DecodeError::Inner { what: "definition", why };
    match bytes.split_first() {
        Some((&DEFINITION_TOML, rest)) => {
            let text = std::str::from_utf8(rest).map_err(|error| inner(error.to_string()))?;
            toml::from_str(text).map_err(|error| inner(error.to_string()))
        }
        Some((&DEFINITION_POSTCARD_V1, rest)) => {
            postcard::from_bytes(rest).map(definition_v1).map_err(|error| inner(error.to_string()))
        }
        Some((&DEFINITION_POSTCARD_V2, rest)) => postcard::from_bytes(rest)
            .map(|(id, name, policy, lifetime, shard)| QueueDefinition {
                id,
                name,
                policy,
                lifetime,
                shard,
                settings: String::new(),
            })
            .map_err(|error| inner(error.to_string())),
        Some((&DEFINITION_POSTCARD, rest)) => {
            postcard::from_bytes(rest).map_err(|error| inner(error.to_string()))
        }
        Some((layout, _)) => Err(inner(format!("unknown layout {layout}"))),
        None => Err(inner("no bytes".into())),
    }
}

/// A policy's fields in `DEFINITION_POSTCARD_V1`, in their order.
type PolicyV1 =
    (u32, RetryDelay, Option<String>, Option<u64>, Option<u64>, WhenFull, Option<u64>, ExpiredTo, u64, u32);

fn definition_v1(
    (id, name, policy, lifetime, shard): (QueueId, String, PolicyV1, Lifetime, u32),
) -> QueueDefinition {
    let (max_attempts, retry_delay, dead_letter_queue, max_messages, max_bytes, when_full, ..) = policy;
    let (.., max_ttl_ms, expired, stranded_after_ms, crash_suspects) = policy;
    let policy = QueuePolicy {
        max_attempts,
        retry_delay,
        dead_letter_queue,
        max_messages,
        max_bytes,
        when_full,
        max_ttl_ms,
        expired,
        stranded_after_ms,
        crash_suspects,
        ..QueuePolicy::default()
    };
    QueueDefinition { id, name, policy, lifetime, shard, settings: String::new() }
}
