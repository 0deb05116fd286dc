//! Ids of messages in the journal: 28 bytes for each, since there may be one for each message.
//!
//! Invariant: as for all records. `tag queue u32 oldest u64 count u32 | number - oldest u32, time u64, key 16 bytes`…

use super::{DecodeError, TAG_SEEN, Written, take};
use crate::broker::{Fingerprint, QueueId, SeenId};
use crate::time::Millis;

/// Bytes of one id.
pub const SEEN_ID_BYTES: usize = 4 + 8 + 16;

/// Appends ids. Those below `oldest` are left out, as are any 2^32 above it (there are far fewer at a time).
pub fn encode_seen(out: &mut Vec<u8>, queue: QueueId, ids: &[SeenId], oldest: u64) {
    let distance = |id: &SeenId| id.number.checked_sub(oldest).and_then(|above| u32::try_from(above).ok());
    let ids: Vec<_> = ids.iter().filter_map(|id| Some((distance(id)?, id))).collect();
    out.reserve(17 + ids.len() * SEEN_ID_BYTES);
    out.push(TAG_SEEN);
    out.extend_from_slice(&queue.0.to_le_bytes());
    out.extend_from_slice(&oldest.to_le_bytes());
    out.extend_from_slice(&(ids.len() as u32).to_le_bytes());
    for (above, id) in ids {
        out.extend_from_slice(&above.to_le_bytes());
        out.extend_from_slice(&id.at.0.to_le_bytes());
        out.extend_from_slice(&id.key.0);
    }
}

/// What follows the tag.
pub(super) fn decode_seen<'a>(input: &mut &'a [u8]) -> Result<Written<'a>, DecodeError> {
    let queue = QueueId(u32::from_le_bytes(take(input)?));
    let oldest = u64::from_le_bytes(take(input)?);
    let count = u32::from_le_bytes(take(input)?) as usize;
    let needed = count.saturating_mul(SEEN_ID_BYTES);
    if needed > input.len() {
        return Err(DecodeError::Short { needed, left: input.len() });
    }
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        let number = oldest.saturating_add(u64::from(u32::from_le_bytes(take(input)?)));
        let at = Millis(u64::from_le_bytes(take(input)?));
        ids.push(SeenId { number, key: Fingerprint(take(input)?), at });
    }
    Ok(Written::Seen { queue, ids, oldest })
}
