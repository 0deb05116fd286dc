//! Ids of messages that came (`Record::Seen`): what a queue remembers of them, or what changed, and how the index
//! packs them.
//!
//! Invariant: merging what was merged before changes nothing, and nothing below `oldest` is ever brought back, so
//! that replays over an index that knows more do no harm. Pure.

use std::collections::BTreeMap;

use crate::broker::{Fingerprint, SeenId};
use crate::time::Millis;

/// Ids in a block of the index: numbers `n * 256 .. (n + 1) * 256`.
#[cfg(feature = "server")]
pub(crate) const BLOCK_IDS: u64 = 256;
/// Offset, key, time and segment.
#[cfg(feature = "server")]
const PACKED_BYTES: usize = 1 + 16 + 8 + 4;
/// What an id adds to the live bytes of the segment it is in: it must not go while there is one.
#[cfg(feature = "server")]
pub(crate) const LIVE_BYTES: u64 = 28;

/// An id, and the segment it was written to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredId {
    /// The id.
    pub key: Fingerprint,
    /// When its message came.
    pub at: Millis,
    /// Where it is.
    pub segment: u32,
}

/// The ids of a queue by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SeenIds {
    /// All below this are forgotten.
    pub oldest: u64,
    /// Those known here.
    pub ids: BTreeMap<u64, StoredId>,
}

impl SeenIds {
    /// Merges a `Seen`.
    pub fn note(&mut self, ids: &[SeenId], oldest: u64, segment: u32) {
        if oldest > self.oldest {
            self.oldest = oldest;
            self.ids = self.ids.split_off(&oldest);
        }
        for &SeenId { number, key, at } in ids.iter().filter(|id| id.number >= self.oldest) {
            self.ids.insert(number, StoredId { key, at, segment });
        }
    }

    /// As recovery hands them out.
    pub fn restored(&self) -> Vec<(SeenId, u32)> {
        let one = |(&number, id): (&u64, &StoredId)| (SeenId { number, key: id.key, at: id.at }, id.segment);
        self.ids.iter().map(one).collect()
    }
}

/// Packs a block, given by offsets in ascending order: at most 7.5 KiB.
#[cfg(feature = "server")]
pub(crate) fn encode_block(ids: &BTreeMap<u8, StoredId>) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + ids.len() * PACKED_BYTES);
    out.extend_from_slice(&[0; 4]);
    for (offset, StoredId { key, at, segment }) in ids {
        out.push(*offset);
        out.extend_from_slice(&key.0);
        out.extend_from_slice(&at.0.to_le_bytes());
        out.extend_from_slice(&segment.to_le_bytes());
    }
    let crc = crc32fast::hash(out.get(4..).unwrap_or_default());
    if let Some(head) = out.first_chunk_mut::<4>() {
        *head = crc.to_le_bytes();
    }
    out
}

/// Unpacks a block; `None` if it is damaged.
#[cfg(feature = "server")]
pub(crate) fn decode_block(bytes: &[u8]) -> Option<BTreeMap<u8, StoredId>> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    let (packed, left) = rest.as_chunks::<PACKED_BYTES>();
    if crc32fast::hash(rest) != u32::from_le_bytes(*crc) || !left.is_empty() {
        return None;
    }
    let mut ids = BTreeMap::new();
    for one in packed {
        let (offset, rest) = one.split_first()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (at, rest) = rest.split_first_chunk()?;
        let at = Millis(u64::from_le_bytes(*at));
        let segment = u32::from_le_bytes(*rest.first_chunk()?);
        ids.insert(*offset, StoredId { key: Fingerprint(*key), at, segment });
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> SeenId {
        SeenId { number, key: Fingerprint([number as u8; 16]), at: Millis(number * 10) }
    }

    #[test]
    fn what_is_forgotten_does_not_come_back() {
        let mut seen = SeenIds::default();
        seen.note(&[id(1), id(2), id(3)], 1, 7);
        seen.note(&[id(3), id(4)], 3, 8);
        // A replay over what knows more.
        seen.note(&[id(1), id(2), id(3)], 1, 7);
        seen.note(&[id(3), id(4)], 3, 8);
        let numbers: Vec<_> = seen.restored().iter().map(|(id, segment)| (id.number, *segment)).collect();
        assert_eq!((seen.oldest, numbers), (3, vec![(3, 8), (4, 8)]));
    }

    #[test]
    fn a_block_comes_back_and_a_flipped_bit_is_noticed() {
        let one = |n: u8| StoredId { key: Fingerprint([n; 16]), at: Millis(u64::MAX - 1), segment: 9 };
        let ids: BTreeMap<u8, StoredId> = (0..=255).map(|n| (n, one(n))).collect();
        let mut bytes = encode_block(&ids);
        assert!(bytes.len() < 8 * 1024);
        assert_eq!(decode_block(&bytes), Some(ids));
        for bit in [0, 40, 8 * 100, bytes.len() * 8 - 1] {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_block(&bytes), None);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
