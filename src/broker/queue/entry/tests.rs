//! Tests of the chunked storage.

use super::*;

fn entry() -> Entry {
    Entry { status: Status::Available, ..Entry::VACANT }
}

#[test]
fn an_entry_is_at_most_64_bytes() {
    assert!(size_of::<Entry>() <= 64, "{}", size_of::<Entry>());
}

#[test]
fn one_stuck_message_keeps_one_chunk_only() {
    let mut entries = Entries::default();
    for seq in 1..=100_000 {
        entries.insert(seq, entry());
    }
    for seq in 2..=100_000 {
        assert!(entries.remove(seq).is_some());
    }
    assert_eq!((entries.chunks(), entries.len()), (1, 1));
    assert_eq!(entries.next_from(0).map(|(seq, _)| seq), Some(1));
    assert!(entries.get(2).is_none() && entries.remove(2).is_none());
}

#[test]
fn lookups_after_chunks_went_and_came_find_the_right_entry() {
    let mut entries = Entries::default();
    for round in 0..4u64 {
        for i in 0..40 {
            let seq = round * 1_000_000 + i * CHUNK;
            entries.insert(seq, Entry { size: seq as u32, ..entry() });
        }
        for i in 0..40 {
            let seq = round * 1_000_000 + i * CHUNK;
            assert_eq!(entries.get(seq).map(|e| e.size), Some(seq as u32));
            if i % 2 == 0 {
                entries.remove(seq);
            }
        }
    }
    assert_eq!(entries.len(), 80);
    assert_eq!(entries.last_before(u64::MAX).map(|(s, _)| s), Some(3_000_000 + 39 * CHUNK));
    assert_eq!(entries.last_before(CHUNK + 1).map(|(s, _)| s), Some(CHUNK));
}

#[test]
fn entries_in_old_segments_are_found_in_portions() {
    let mut entries = Entries::default();
    for seq in 1..=1000u64 {
        entries.insert(seq, entry());
        entries.set_location(seq, Location { segment: (seq / 300) as u32, offset: 0, len: 1 });
    }
    let (first, next) = entries.in_segments(0, 1, 400);
    assert_eq!((first.len(), next), (400, Some(401)));
    let (rest, next) = entries.in_segments(401, 1, 400);
    assert_eq!((rest.len(), next), (199, None));
}
