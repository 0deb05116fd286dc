//! Torn and damaged journals: what was never confirmed is cut off, what was is never cut off silently.

use std::fs;
use std::path::{Path, PathBuf};

use verdict::store::check::{Severity, check};
use verdict::store::{Store, StoreError};

use crate::common::*;

/// A crashed directory with `count` commits of one message each; the file with them, its used length
/// after each commit.
fn crashed(count: u64) -> (tempfile::TempDir, PathBuf, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), journal_only());
    let ends = (1..=count).map(|seq| {
        let location = store.locations(vec![put(2, seq, format!("message {seq}").as_bytes())])[0].unwrap();
        u64::from(location.offset + location.len).next_multiple_of(8)
    });
    let ends = ends.collect();
    let copy = crashed_copy(dir.path());
    let file = segments(copy.path()).pop().unwrap();
    (copy, file, ends)
}

fn seqs(dir: &Path) -> Vec<u64> {
    open(dir, journal_only()).entries.iter().map(|entry| entry.seq.0).collect()
}

#[test]
fn a_frame_torn_at_any_byte_is_cut_off_and_the_rest_is_there() {
    let (dir, file, ends) = crashed(3);
    let whole = fs::read(&file).unwrap();
    let (start, end) = (ends[1] as usize, ends[2] as usize);
    for at in start..end - 8 {
        let copy = crashed_copy(dir.path());
        let file = copy.path().join("journal").join(file.file_name().unwrap());
        // Odd: the file ends there. Even: the room is there, and zeros.
        let mut torn = whole.clone();
        torn[at..].fill(0);
        if at % 2 == 1 {
            torn.truncate(at);
        }
        fs::write(&file, &torn).unwrap();
        let store = open(copy.path(), journal_only());
        assert_eq!(store.entries.len(), 2, "torn at {at}");
        assert!(store.report.cut_bytes <= (end - start) as u64);
        // It goes on, and the cut segment is not taken for damage later.
        store.commit(vec![put(2, 3, b"again")]).unwrap();
        drop(store);
        assert_eq!(seqs(copy.path()), [1, 2, 3]);
    }
}

#[test]
fn a_frame_whose_first_part_did_not_reach_the_disk_is_cut_off() {
    let (dir, file, ends) = crashed(3);
    let mut bytes = fs::read(&file).unwrap();
    bytes[ends[1] as usize..ends[1] as usize + 40].fill(0);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(seqs(dir.path()), [1, 2]);
}

#[test]
fn flipped_bits_in_the_last_frame_never_give_a_wrong_message() {
    let (dir, file, ends) = crashed(3);
    let whole = fs::read(&file).unwrap();
    for at in (ends[1] as usize..ends[2] as usize - 8).step_by(7) {
        let copy = crashed_copy(dir.path());
        let file = copy.path().join("journal").join(file.file_name().unwrap());
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&file, &bytes).unwrap();
        assert_eq!(seqs(copy.path()), [1, 2], "flipped at {at}");
    }
}

#[test]
fn flipped_bits_before_the_last_frame_are_reported_and_nothing_is_cut_off() {
    let (dir, file, ends) = crashed(3);
    let whole = fs::read(&file).unwrap();
    for at in (0..ends[1] as usize - 8).step_by(5) {
        let copy = crashed_copy(dir.path());
        let file = copy.path().join("journal").join(file.file_name().unwrap());
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, &bytes).unwrap();
        let error = try_open(copy.path(), journal_only()).err();
        let error = error.unwrap_or_else(|| panic!("flipped at {at}, and not refused"));
        assert!(matches!(error, StoreError::Corrupt(_)), "{at}: {error}");
        let text = error.to_string();
        assert!(text.contains(".seg") && text.contains("verdict check"), "{text}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "left as it was");
        let report = check(copy.path()).unwrap();
        assert!(!report.is_ok(), "flipped at {at}: {report}");
    }
}

#[test]
fn a_message_that_looks_like_a_frame_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), journal_only());
    let first = store.locations(vec![put(2, 1, b"first")])[0].unwrap();
    let end = (first.offset + first.len).next_multiple_of(8) as usize;
    let file = segments(dir.path()).pop().unwrap();
    let journal = fs::read(&file).unwrap();
    // A real frame of this very journal as a message's content: its number is one that has been.
    let start =
        (64..end).step_by(8).rfind(|at| journal[*at..].starts_with(&[0xF5, b'V', b'C', b'F'])).unwrap();
    let mut content = vec![0; 4];
    for _ in 0..8 {
        content.extend_from_slice(&journal[start..end]);
    }
    store.commit(vec![put(2, 2, &content)]).unwrap();
    let copy = crashed_copy(dir.path());
    let file = copy.path().join("journal").join(file.file_name().unwrap());
    let mut bytes = fs::read(&file).unwrap();
    bytes[end + 10] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(seqs(copy.path()), [1]);
}

#[test]
fn a_missing_segment_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), journal_only());
    for seq in 1..=8 {
        store.commit(vec![put(2, seq, &[1; 100_000])]).unwrap();
    }
    let copy = crashed_copy(dir.path());
    let files = segments(copy.path());
    fs::remove_file(&files[1]).unwrap();
    let error = try_open(copy.path(), journal_only()).err().expect("refused");
    assert!(error.to_string().contains("number 2, is missing"), "{error}");
    let report = check(copy.path()).unwrap();
    assert!(report.to_string().contains("segments 2 to 2"), "{report}");
}

#[test]
fn a_prepared_segment_that_was_never_used_is_no_damage() {
    let (dir, file, _) = crashed(2);
    fs::write(file.with_file_name("0000000002.seg"), vec![0; 100_000]).unwrap();
    assert!(check(dir.path()).unwrap().is_ok());
    assert_eq!(seqs(dir.path()), [1, 2]);
}

#[test]
fn check_says_ok_and_calls_a_torn_tail_a_note() {
    let (dir, file, ends) = crashed(3);
    let before = check(dir.path()).unwrap();
    assert!(before.is_ok() && before.messages == 3 && before.findings.is_empty(), "{before}");
    let mut bytes = fs::read(&file).unwrap();
    bytes[ends[2] as usize - 12] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let after = check(dir.path()).unwrap();
    assert!(after.is_ok() && after.messages == 2, "{after}");
    assert_eq!(after.findings[0].severity, Severity::Note);
    assert!(after.findings[0].text.contains(&format!("offset {}", ends[1])), "{after}");
}

#[test]
fn check_finds_a_journal_that_was_removed_from_under_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    store.locations(vec![put(2, 1, b"one")]);
    store.store.close().unwrap();
    drop(store);
    assert!(check(dir.path()).unwrap().is_ok());
    for segment in segments(dir.path()) {
        fs::remove_file(segment).unwrap();
    }
    let report = check(dir.path()).unwrap();
    assert!(!report.is_ok(), "{report}");
    assert!(report.findings[0].text.contains("is missing"), "{report}");
}

#[test]
fn a_wrong_location_is_an_error_for_that_message_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let good = store.locations(vec![put(2, 1, b"one"), put(2, 2, b"two")]);
    let (one, two) = (good[0].unwrap(), good[1].unwrap());
    let mut wrong = one;
    wrong.offset += 1;
    let mut gone = one;
    gone.segment = 77;
    let read = store.store.read(&[one, wrong, gone, two]);
    assert!(read[0].is_ok() && read[3].is_ok());
    assert!(matches!(read[1], Err(StoreError::Corrupt(_))) && matches!(read[2], Err(StoreError::Corrupt(_))));
}
