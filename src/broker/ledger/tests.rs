//! Which records go in which batch, and what waits for which.

use super::*;

#[test]
fn answers_are_grouped_and_keep_their_order() {
    let mut ledger = Ledger::new();
    for token in 0..6 {
        ledger.answer(ProducerId(token % 2), token, None);
    }
    let mut effects = Vec::new();
    ledger.flush(&mut effects);
    let tokens: Vec<(u64, Vec<u64>)> = effects
        .iter()
        .map(|e| match e {
            Effect::Published { producer, answers } => (producer.0, answers.iter().map(|a| a.0).collect()),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(tokens, [(0, vec![0, 2, 4]), (1, vec![1, 3, 5])]);
}

fn ledger_with_both() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.gone(QueueId(0), 1);
    ledger.put(QueueId(0), 2, message(), Some((ProducerId(1), 7)), None);
    ledger.count(QueueId(0), 2, 1, 1);
    ledger
}

fn message() -> Arc<Message> {
    Arc::new(Message {
        from: 0,
        bytes: Arc::from(&b"x"[..]),
        format: 0,
        durable: true,
        priority: 4,
        first_acquirer: true,
        delivery_count: 0,
        expires: None,
    })
}

fn effects_of(ledger: &mut Ledger) -> usize {
    let mut effects = Vec::new();
    ledger.flush(&mut effects);
    effects.len()
}

#[test]
fn new_messages_come_first_and_alone() {
    let mut ledger = ledger_with_both();
    let batches: Vec<Batch> = std::iter::from_fn(|| ledger.take_batch()).collect();
    assert!(matches!(
        batches.as_slice(),
        [fresh, rest] if matches!(fresh.records.as_slice(), [Record::Put { .. }])
            && matches!(rest.records.as_slice(), [Record::Settle { .. }, Record::Count { .. }])
            && fresh.ticket < rest.ticket && !fresh.patient && !rest.patient
    ));
}

#[test]
fn what_is_recorded_between_two_batches_of_a_turn_comes_after_both() {
    let mut ledger = ledger_with_both();
    let mut tickets = vec![ledger.take_batch().map(|b| b.ticket)];
    let pending = ledger.put(QueueId(0), 3, message(), Some((ProducerId(1), 8)), None);
    ledger.gone(QueueId(0), 3);
    tickets.extend((0..3).map(|_| ledger.take_batch().map(|b| b.ticket)));
    assert!(tickets.is_sorted() && tickets.iter().all(Option::is_some), "{tickets:?}");
    assert_eq!(tickets.get(2).copied().flatten(), Some(Ticket(pending.0)));
    assert_eq!(ledger.pending_put(pending).map(|put| put.seq), Some(3));
}

#[test]
fn a_definition_comes_before_the_first_message_and_is_never_refused() {
    let mut ledger = Ledger::new();
    ledger.define(&QueueDefinition {
        id: QueueId(2),
        name: String::new(),
        policy: Default::default(),
        lifetime: crate::broker::Lifetime::Permanent,
        shard: 0,
        settings: String::new(),
    });
    ledger.put(QueueId(2), 1, message(), None, None);
    let records: Vec<_> = std::iter::from_fn(|| ledger.take_batch()).map(|batch| batch.records).collect();
    assert!(matches!(records.as_slice(), [define, put]
        if matches!(define.as_slice(), [Record::Define(_)]) && matches!(put.as_slice(), [Record::Put { .. }])));
}

#[test]
fn only_settlements_nobody_waits_for_are_patient() {
    let mut ledger = Ledger::new();
    ledger.put(QueueId(0), 1, message(), None, None);
    ledger.gone(QueueId(0), 1);
    let patient: Vec<bool> = std::iter::from_fn(|| ledger.take_batch()).map(|b| b.patient).collect();
    assert_eq!(patient, [false, true]);
    ledger.gone(QueueId(0), 2);
    ledger.notify_when_safe(Notice::Settled(ConsumerId(1), Seq(2), Outcome::Accepted));
    assert_eq!(ledger.take_batch().map(|b| b.patient), Some(false));
}

#[test]
fn a_notice_waits_for_the_newest_batch_under_way() {
    let mut ledger = Ledger::new();
    ledger.gone(QueueId(0), 1);
    let first = ledger.take_batch().map(|b| b.ticket).unwrap_or_default();
    ledger.notify_when_safe(Notice::Settled(ConsumerId(1), Seq(1), Outcome::Accepted));
    assert_eq!(effects_of(&mut ledger), 0);
    assert_eq!(ledger.take_pending(first).map(|p| p.notices.len()), Some(1));
}

#[test]
fn a_notice_never_waits_for_new_messages() {
    let mut ledger = Ledger::new();
    ledger.put(QueueId(0), 1, message(), None, None);
    assert!(ledger.take_batch().is_some());
    ledger.put(QueueId(0), 2, message(), None, None);
    ledger.notify_when_safe(Notice::Settled(ConsumerId(1), Seq(1), Outcome::Accepted));
    assert_eq!(effects_of(&mut ledger), 1);
}
