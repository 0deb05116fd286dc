//! A block of the index: what is known of up to 256 neighbouring messages of a queue, packed.
//!
//! Invariant: a block's value stays below 16 KiB whatever is in it, and a damaged one is noticed.
//! Deliberately pure: sled keeps these as values, `index` is where it does.

use super::record::PUT_OVERHEAD_BYTES;
use crate::broker::Location;
use crate::time::Millis;

/// Messages a block covers: sequence numbers `n * 256 .. (n + 1) * 256`.
pub(crate) const BLOCK_SEQS: u64 = 256;

const PRIORITY_MASK: u8 = 0x0F;
const FIRST_ACQUIRER: u8 = 0x10;
const EXPIRES: u8 = 0x20;
const COUNTS: u8 = 0x40;
const STATE: u8 = 0x80;

/// What the index knows of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// Where its bytes are.
    pub location: Location,
    /// Newest delivery-count.
    pub delivery_count: u32,
    /// Newest acquired-count.
    pub acquired_count: u32,
    /// When it expires.
    pub expires: Option<Millis>,
    /// header.priority.
    pub priority: u8,
    /// header.first-acquirer.
    pub first_acquirer: bool,
    /// Whether the tree of states has one for it.
    pub has_state: bool,
}

impl IndexEntry {
    /// Bytes of the message itself.
    pub fn size(&self) -> u32 {
        self.location.len.saturating_sub(PUT_OVERHEAD_BYTES)
    }
}

/// Packs entries, given by their offset in the block in ascending order.
pub(crate) fn encode(entries: &[(u8, IndexEntry)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + entries.len() * 8);
    out.extend_from_slice(&[0; 4]);
    let mut segment = 0;
    let mut expected = 0;
    for (offset, entry) in entries {
        let at = entry.location;
        let mut flags = entry.priority.min(PRIORITY_MASK);
        flags |= if entry.first_acquirer { FIRST_ACQUIRER } else { 0 };
        flags |= if entry.expires.is_some() { EXPIRES } else { 0 };
        let counts = entry.delivery_count != 0 || entry.acquired_count != 0;
        flags |= if counts { COUNTS } else { 0 };
        flags |= if entry.has_state { STATE } else { 0 };
        out.extend_from_slice(&[*offset, flags]);
        // Neighbours mostly lie side by side in one segment: differences are small.
        put_signed(&mut out, i64::from(at.segment) - segment);
        put_signed(&mut out, i64::from(at.offset) - expected);
        put_varint(&mut out, u64::from(at.len));
        if let Some(at) = entry.expires {
            put_varint(&mut out, at.0);
        }
        if counts {
            put_varint(&mut out, u64::from(entry.delivery_count));
            put_varint(&mut out, u64::from(entry.acquired_count));
        }
        segment = i64::from(at.segment);
        expected = i64::from(at.offset) + i64::from(at.len);
    }
    let crc = crc32fast::hash(out.get(4..).unwrap_or_default());
    if let Some(head) = out.first_chunk_mut::<4>() {
        *head = crc.to_le_bytes();
    }
    out
}

/// Unpacks a block; `None` if it is damaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(u8, IndexEntry)>> {
    let (crc, mut rest) = bytes.split_first_chunk::<4>()?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut entries: Vec<(u8, IndexEntry)> = Vec::with_capacity(rest.len() / 5);
    let mut segment = 0;
    let mut expected = 0;
    while let Some(([offset, flags], tail)) = rest.split_first_chunk::<2>() {
        rest = tail;
        segment += get_signed(&mut rest)?;
        expected += get_signed(&mut rest)?;
        let location = Location {
            segment: u32::try_from(segment).ok()?,
            offset: u32::try_from(expected).ok()?,
            len: u32::try_from(get_varint(&mut rest)?).ok()?,
        };
        expected += i64::from(location.len);
        let expires = if flags & EXPIRES != 0 { Some(Millis(get_varint(&mut rest)?)) } else { None };
        let (delivery_count, acquired_count) = if flags & COUNTS != 0 {
            (u32::try_from(get_varint(&mut rest)?).ok()?, u32::try_from(get_varint(&mut rest)?).ok()?)
        } else {
            (0, 0)
        };
        if entries.last().is_some_and(|(last, _)| last >= offset) {
            return None;
        }
        let entry = IndexEntry {
            location,
            delivery_count,
            acquired_count,
            expires,
            priority: flags & PRIORITY_MASK,
            first_acquirer: flags & FIRST_ACQUIRER != 0,
            has_state: flags & STATE != 0,
        };
        entries.push((*offset, entry));
    }
    rest.is_empty().then_some(entries)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn get_varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn get_signed(input: &mut &[u8]) -> Option<i64> {
    let value = get_varint(input)?;
    let value = (value >> 1) as i64 ^ -((value & 1) as i64);
    // Both numbers it is added to are below 2^33; anything larger is damage, and must not overflow.
    (value.unsigned_abs() < 1 << 34).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn entry()(
            segment in any::<u32>(), offset in any::<u32>(), len in any::<u32>(), delivery_count in any::<u32>(),
            acquired_count in any::<u32>(), expires in proptest::option::of(any::<u64>()), priority in 0u8..16,
            first_acquirer in any::<bool>(), has_state in any::<bool>(),
        ) -> IndexEntry {
            IndexEntry {
                location: Location { segment, offset, len }, delivery_count, acquired_count,
                expires: expires.map(Millis), priority, first_acquirer, has_state,
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(map in proptest::collection::btree_map(any::<u8>(), entry(), 0..256)) {
            let entries: Vec<_> = map.into_iter().collect();
            let bytes = encode(&entries);
            prop_assert!(bytes.len() < 16 * 1024);
            prop_assert_eq!(decode(&bytes), Some(entries));
        }

        #[test]
        fn a_flipped_bit_is_noticed(entry in entry(), bit in any::<prop::sample::Index>()) {
            let mut bytes = encode(&[(7, entry)]);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&bytes), None);
        }

        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 4..200)) {
            let crc = crc32fast::hash(&bytes[4..]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn neighbours_take_few_bytes() {
        let entries: Vec<_> = (0..=255u8)
            .map(|n| {
                let location = Location { segment: 900, offset: 5_000_000 + 140 * u32::from(n), len: 140 };
                let entry = IndexEntry {
                    location,
                    delivery_count: 0,
                    acquired_count: 0,
                    expires: None,
                    priority: 4,
                    first_acquirer: false,
                    has_state: false,
                };
                (n, entry)
            })
            .collect();
        assert!(encode(&entries).len() <= 256 * 6 + 16);
    }
}
