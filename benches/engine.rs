//! What the protocol engine costs per 10-byte message, each direction, in batches of 500 as a socket brings them.
//!
//! Only the server's side is timed: `receive` is bytes to events, answers and credit; `send` is messages to bytes
//! and the consumer's answers to events. The budget is 0.3 µs each.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fe2o3_amqp_types::{
    definitions::{ReceiverSettleMode, Role, SenderSettleMode},
    performatives::Attach,
};
use verdict::{
    amqp::{AttachReply, ClientSasl, Config, Connection, Event, LinkId, Outgoing, codec::DeliveryState},
    time::Millis,
};

const BATCH: u64 = 500;
const NOW: Millis = Millis(0);

fn pass(from: &mut Connection, to: &mut Connection) {
    let bytes = from.output().to_vec();
    from.consume_output(bytes.len(), NOW);
    assert_eq!(to.handle_input(&bytes, NOW), bytes.len());
}

/// A client and a server with one link in the client's `role`: (client, its link, server, its link).
fn pair(role: Role) -> (Connection, LinkId, Connection, LinkId) {
    let mut client = Connection::client(Config::default(), ClientSasl::Bare, NOW);
    let mut server = Connection::server(Config::default(), NOW);
    let session = client.begin();
    let ours = client.attach(
        session,
        Attach {
            name: "l".to_owned(),
            handle: 0.into(),
            role,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: None,
            target: None,
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: None,
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        },
    );
    let mut theirs = None;
    for _ in 0..4 {
        pass(&mut client, &mut server);
        while let Some(event) = server.poll_event() {
            match event {
                Event::Opened(_) => server.open(),
                Event::Attach { link, .. } => {
                    theirs = Some(link);
                    server.accept_attach(link, AttachReply::default());
                }
                _ => {}
            }
        }
        pass(&mut server, &mut client);
        while client.poll_event().is_some() {}
    }
    (client, ours, server, theirs.expect("attached"))
}

fn message(token: u64, body: &Arc<[u8]>) -> Outgoing {
    Outgoing {
        token,
        format: 0,
        settled: false,
        prefix: vec![0, 0x53, 0x70, 0x45],
        body: Arc::clone(body),
        body_from: 0,
    }
}

fn body() -> Arc<[u8]> {
    Arc::from(&b"\x00\x53\x75\xa0\x0a0123456789"[..])
}

fn receive(rounds: u64) -> Duration {
    let (mut client, ours, mut server, theirs) = pair(Role::Sender);
    let body = body();
    let mut spent = Duration::ZERO;
    for round in 0..rounds {
        server.set_credit(theirs, 1_000);
        pass(&mut server, &mut client);
        (0..BATCH).for_each(|i| client.send(ours, message(round * BATCH + i, &body)));
        let bytes = client.output().to_vec();
        client.consume_output(bytes.len(), NOW);
        let start = Instant::now();
        assert_eq!(server.handle_input(&bytes, NOW), bytes.len());
        let mut count = 0;
        while let Some(event) = server.poll_event() {
            if let Event::Message(message) = event {
                count += 1;
                let id = message.delivery_id;
                server.dispose(theirs, id, id, true, DeliveryState::Accepted);
            }
        }
        let len = server.output().len();
        spent += start.elapsed();
        assert!(count == BATCH && len > 0);
        pass(&mut server, &mut client);
        while client.poll_event().is_some() {}
    }
    spent
}

fn send(rounds: u64) -> Duration {
    let (mut client, ours, mut server, theirs) = pair(Role::Receiver);
    let body = body();
    let mut spent = Duration::ZERO;
    for round in 0..rounds {
        client.set_credit(ours, 1_000);
        pass(&mut client, &mut server);
        let start = Instant::now();
        (0..BATCH).for_each(|i| server.send(theirs, message(round * BATCH + i, &body)));
        let bytes = server.output().to_vec();
        server.consume_output(bytes.len(), NOW);
        spent += start.elapsed();
        assert_eq!(client.handle_input(&bytes, NOW), bytes.len());
        let mut ids = Vec::new();
        while let Some(event) = client.poll_event() {
            if let Event::Message(message) = event {
                ids.push(message.delivery_id);
            }
        }
        assert_eq!(ids.len() as u64, BATCH);
        client.dispose(ours, ids[0], ids[ids.len() - 1], true, DeliveryState::Accepted);
        let answer = client.output().to_vec();
        client.consume_output(answer.len(), NOW);
        let start = Instant::now();
        server.handle_input(&answer, NOW);
        while server.poll_event().is_some() {}
        spent += start.elapsed();
    }
    spent
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine 500 x 10 B");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("receive", |bencher| bencher.iter_custom(receive));
    group.bench_function("send", |bencher| bencher.iter_custom(send));
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
