//! A disk that fails, and one that is full.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use verdict::broker::{Batch, Committed, Record, Ticket};
use verdict::store::{Fault, Options, Store, StoreError, StoreEvent};

use crate::common::*;
use crate::ids::seen;

fn poisoned_by(fault: &str) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Options { fault: Fault::parse(fault), ..small() });
    store.commit(vec![put(2, 1, b"before")]).unwrap();
    let error = store.commit(vec![put(2, 2, b"failing")]).unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)), "{error}");
    assert!(matches!(store.events.recv().unwrap(), StoreEvent::Poisoned(_)));
    // The disk would be fine again, but what an earlier fsync lost is unknown: never retried.
    for _ in 0..3 {
        assert!(matches!(store.commit(vec![settle(2, 1)]), Err(StoreError::Failed(_))));
    }
    assert!(store.store.close().is_err());
    drop(store);
    let store = open(dir.path(), small());
    let contents = store.contents();
    assert_eq!(contents[0], (2, 1, b"before".to_vec()));
    assert!(!store.report.clean);
}

#[test]
fn a_failed_fsync_poisons_the_store() {
    // The first is the segment's, the second the first commit's.
    poisoned_by("fsync:3");
}

#[test]
fn a_failed_write_poisons_the_store() {
    poisoned_by("write:3");
}

/// A file system of 48 MiB, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            println!("SKIPPED: mounting a small file system is not permitted here");
            return None;
        }
        Some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Fills a disk to the last byte; room comes back when the file is removed.
fn fill_up(path: &std::path::Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let block = vec![1; 1 << 16];
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&block[..size]).is_ok() {}
    }
}

#[test]
fn refused_and_committed_batches_complete_in_the_order_of_submission() {
    let Some(disk) = SmallDisk::new() else { return };
    let store = open(&disk.0.path().join("data"), journal_only());
    store.commit(vec![Record::Define(Arc::new(definition(2)))]).unwrap();
    fill_up(&disk.0.path().join("filler"));
    let (sender, answers) = channel();
    let submit = |ticket: u64, records| {
        let (sender, batch) = (sender.clone(), Batch { ticket: Ticket(ticket), records, patient: false });
        let done = move |result: Result<_, _>| sender.send((ticket, result.is_ok())).unwrap();
        store.store.submit(batch, Box::new(done));
    };
    const LAST: u64 = 400;
    for ticket in (2..=LAST).step_by(2) {
        submit(ticket, vec![put(2, ticket, &[1; 100_000])]);
        submit(ticket + 1, vec![settle(2, ticket)]);
    }
    let got: Vec<(u64, bool)> = (2..=LAST + 1).map(|_| answers.recv().unwrap()).collect();
    assert!(got.iter().map(|(ticket, _)| *ticket).eq(2..=LAST + 1), "{got:?}");
    assert!(got.iter().all(|(ticket, ok)| *ok || ticket % 2 == 0), "only new messages are refused");
}

/// Fills a disk, and writes settlements until there is no room for them either: the one that waits.
fn stuck(disk: &SmallDisk) -> (Opened, Receiver<Result<Committed, StoreError>>) {
    let store = open(&disk.0.path().join("data"), journal_only());
    store.commit(vec![put(2, 1, b"one")]).unwrap();
    fill_up(&disk.0.path().join("filler"));
    loop {
        let answer = store.submit((0..5000).map(|seq| settle(4, seq)).collect());
        loop {
            match answer.recv_timeout(Duration::from_millis(5)) {
                Ok(result) => break drop(result.expect("settlements are not refused")),
                Err(_) if store.events.try_recv().is_ok() => return (store, answer),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn settlements_a_full_disk_has_no_room_for_wait_until_it_has() {
    let Some(disk) = SmallDisk::new() else { return };
    let (store, answer) = stuck(&disk);
    let behind = store.submit(vec![settle(2, 1)]);
    std::fs::remove_file(disk.0.path().join("filler")).unwrap();
    answer.recv().unwrap().unwrap();
    behind.recv().unwrap().unwrap();
    drop(store);
    assert_eq!(open(&disk.0.path().join("data"), journal_only()).contents(), []);
}

#[test]
fn settlements_that_still_wait_for_room_when_the_store_is_closed_are_not_confirmed() {
    let Some(disk) = SmallDisk::new() else { return };
    let (store, answer) = stuck(&disk);
    assert!(matches!(store.store.close(), Err(StoreError::Failed(_))));
    assert!(matches!(answer.recv().unwrap(), Err(StoreError::Failed(_))));
}

#[test]
fn a_full_disk_refuses_new_messages_takes_settlements_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::new() else { return };
    let dir = disk.0.path().join("data");
    let options = || Options { checkpoint_interval: Duration::from_millis(20), ..Options::default() };
    let store = open(&dir, options());
    store.commit(vec![Record::Define(Arc::new(definition(2)))]).unwrap();
    let mut taken = 0u64;
    let error = loop {
        match store.commit(vec![put(2, taken + 1, &[3; 100_000])]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10_000, "48 MiB are never full");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(matches!(store.events.recv().unwrap(), StoreEvent::Full(true)));
    assert!(taken > 200, "only {taken} messages of 100 kB on 48 MiB");
    // All the way through the backlog, one settlement at a time.
    for seq in 1..=taken {
        store.commit(vec![settle(2, seq)]).unwrap();
    }
    let deadline = Duration::from_secs(20);
    assert!(matches!(store.events.recv_timeout(deadline).unwrap(), StoreEvent::Full(false)));
    store.commit(vec![put(2, taken + 1, b"room again")]).unwrap();
    drop(store);
    assert_eq!(open(&dir, options()).contents(), [(2, taken + 1, b"room again".to_vec())]);
}

#[test]
fn a_full_disk_refuses_a_message_with_its_id_but_no_id_alone() {
    let Some(disk) = SmallDisk::new() else { return };
    let dir = disk.0.path().join("data");
    // With a reserve: the index is to be opened again.
    let options = || Options { checkpoint_interval: Duration::from_secs(3600), ..Options::default() };
    let store = open(&dir, options());
    let mut taken = 0u64;
    let refused = loop {
        match store.commit(vec![put(2, taken + 1, &[3; 100_000]), seen([taken + 1], 1)]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10_000, "48 MiB are never full");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    store.commit(vec![seen([taken + 7], 1)]).unwrap();
    drop(store);
    let (_, ids) = open(&dir, options()).seen.remove(&2).unwrap();
    let expected: Vec<u64> = (1..=taken).chain([taken + 7]).collect();
    assert_eq!(ids.iter().map(|(id, _)| id.number).collect::<Vec<_>>(), expected);
}
