//! What the codec costs per message: `cargo bench --bench codec`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fe2o3_amqp_types::definitions::Role;
use verdict::amqp::codec::{
    DeliveryState, Disposition, Flow, Transfer, code::descriptor, decode, encode_disposition, encode_flow,
    encode_transfer, section, validate, write,
};

fn performatives(c: &mut Criterion) {
    let mut out = Vec::with_capacity(4096);
    let transfer = Transfer {
        handle: 0,
        delivery_id: Some(1_000_000),
        delivery_tag: Some(&[1, 2, 3, 4]),
        message_format: Some(0),
        settled: Some(false),
        ..Transfer::default()
    };
    let disposition = Disposition {
        role: Role::Receiver,
        first: 1_000_000,
        last: Some(1_000_100),
        settled: true,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    };
    let flow = Flow {
        next_incoming_id: Some(1_000_000),
        incoming_window: 8192,
        next_outgoing_id: 7,
        outgoing_window: 8192,
        handle: Some(0),
        delivery_count: Some(1_000_000),
        link_credit: Some(1000),
        ..Flow::default()
    };
    let mut pair = |name: &str, encode: &dyn Fn(&mut Vec<u8>)| {
        c.bench_function(&format!("encode {name}"), |b| {
            b.iter(|| {
                out.clear();
                encode(black_box(&mut out));
            });
        });
        out.clear();
        encode(&mut out);
        c.bench_function(&format!("decode {name}"), |b| b.iter(|| decode(black_box(&out)).is_ok()));
    };
    pair("transfer", &|out| encode_transfer(black_box(&transfer), out));
    pair("disposition", &|out| encode_disposition(black_box(&disposition), out));
    pair("flow", &|out| encode_flow(black_box(&flow), out));
}

fn messages(c: &mut Criterion) {
    let mut small = Vec::new();
    section::encode_header(&section::Header { durable: true, ..section::Header::default() }, &mut small);
    small.extend_from_slice(&[0, 0x53, descriptor::DATA]);
    write::binary(&mut small, b"0123456789");
    c.bench_function("walk header and data", |b| b.iter(|| section::walk(black_box(&small)).is_ok()));

    let mut pairs = Vec::new();
    for number in 0..40 {
        let mut key = Vec::new();
        write::symbol(&mut key, &format!("x-opt-key-{number}"));
        let mut value = Vec::new();
        write::string(&mut value, "value of this");
        pairs.push((key, value));
    }
    let mut map = Vec::new();
    section::encode_map(pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())), &mut map);
    let mut group = c.benchmark_group("map of 1 KiB");
    group.throughput(Throughput::Bytes(map.len() as u64));
    group.bench_function("validate", |b| b.iter(|| validate(black_box(&map)).is_ok()));
    group.bench_function("pairs", |b| b.iter(|| section::map_pairs(black_box(&map)).map(Iterator::count)));
    group.finish();
}

criterion_group!(benches, performatives, messages);
criterion_main!(benches);
