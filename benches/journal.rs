//! The journal's commit against its bound: the same bytes appended to a file and synced.
//!
//! Run with `TMPDIR` on the disk that is meant.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::channel;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use verdict::broker::{Batch, Committed, Message, QueueId, Record, Seq, Ticket};
use verdict::store::{JournalStore, Options, Store};

fn message(size: usize) -> Arc<Message> {
    Arc::new(Message {
        from: 0,
        bytes: vec![7; size].into(),
        format: 0,
        durable: true,
        priority: 4,
        first_acquirer: true,
        delivery_count: 0,
        expires: None,
    })
}

struct Bench {
    store: JournalStore,
    seq: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(sync: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = Options { sync, ..Options::default() };
        let store = JournalStore::open(dir.path(), options, Box::new(|_| {})).expect("a store");
        Self { store, seq: 0, _dir: dir }
    }

    fn commit(&self, records: Vec<Record>) -> Committed {
        let (done, answer) = channel();
        let batch = Batch { ticket: Ticket(1), records, patient: false };
        self.store.submit(batch, Box::new(move |result| drop(done.send(result))));
        answer.recv().expect("an answer").expect("a commit")
    }

    /// Puts a batch; settles it in the next, so that nothing piles up.
    fn put_and_settle(&mut self, message: &Arc<Message>, count: u64) {
        let first = self.seq + 1;
        self.seq += count;
        let queue = QueueId(2);
        let put = |seq| Record::Put { queue, seq: Seq(seq), message: Arc::clone(message) };
        black_box(self.commit((first..=self.seq).map(put).collect()));
        self.commit((first..=self.seq).map(|seq| Record::Settle { queue, seq: Seq(seq) }).collect());
    }
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("put commit, settle commit");
    group.sample_size(50);
    for (name, size, count) in
        [("10 B x 1000", 10, 1000), ("1 KiB x 100", 1024, 100), ("16 KiB x 10", 16384, 10)]
    {
        let message = message(size);
        group.throughput(Throughput::Elements(count));
        let mut bench = Bench::new(true);
        group.bench_function(format!("{name}, journal"), |bencher| {
            bencher.iter(|| bench.put_and_settle(&message, count));
        });
        let mut bench = Bench::new(false);
        group.bench_function(format!("{name}, journal without sync"), |bencher| {
            bencher.iter(|| bench.put_and_settle(&message, count));
        });
        let mut file = tempfile::tempfile().expect("a temporary file");
        let (put, settle) = (vec![7u8; (size + 40) * count as usize], vec![7u8; 13 * count as usize]);
        group.bench_function(format!("{name}, bare append and fdatasync, twice"), |bencher| {
            bencher.iter(|| {
                for bytes in [&put, &settle] {
                    file.write_all(bytes).and_then(|()| file.sync_data()).expect("written");
                }
            });
        });
    }
    group.finish();
}

fn single(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one message at a time");
    group.sample_size(50);
    for size in [10, 1024, 16384] {
        let message = message(size);
        let mut bench = Bench::new(true);
        group.bench_function(format!("{size} B, journal"), |bencher| {
            bencher.iter(|| {
                bench.seq += 1;
                let (queue, seq) = (QueueId(2), Seq(bench.seq));
                bench.commit(vec![Record::Put { queue, seq, message: Arc::clone(&message) }])
            });
        });
        let mut file = tempfile::tempfile().expect("a temporary file");
        let bytes = vec![7u8; size + 72];
        group.bench_function(format!("{size} B, bare append and fdatasync"), |bencher| {
            bencher.iter(|| file.write_all(&bytes).and_then(|()| file.sync_data()).expect("written"));
        });
    }
    group.finish();
}

criterion_group!(benches, commits, single);
criterion_main!(benches);
