//! Commands, records and events in few words, for the trace.

use verdict::{
    amqp::Event,
    broker::{Command, Record},
};

/// A command in few words, for the trace.
pub fn command(command: &Command) -> String {
    match command {
        Command::Publish { producer, messages } => {
            let ids: Vec<u64> = messages.iter().map(|m| crate::body::id_of(m.message.payload())).collect();
            format!("Publish {:x} {ids:?}", producer.0)
        }
        Command::Settle { consumer, settlements } => {
            let all: Vec<_> = settlements.iter().map(|s| (s.seq.0, &s.outcome, s.confirm)).collect();
            format!("Settle {:x} {all:?}", consumer.0)
        }
        Command::Committed(committed) => format!("Committed {:?}", committed.ticket),
        Command::Loaded { dead_letter, loaded } => {
            let all: Vec<_> = loaded.iter().map(|l| (l.seq.0, l.body.is_some(), l.state.is_some())).collect();
            format!("Loaded dead {dead_letter} {all:?}")
        }
        Command::Subscribe(wish) => format!("Subscribe {:x} dead {}", wish.consumer.0, wish.dead_letter),
        Command::MoveIn(message) => format!("MoveIn {:?} {:?}", message.from, message.location),
        other => format!("{other:?}"),
    }
}

/// A record in few words, for the trace.
pub fn record(record: &Record) -> String {
    match record {
        Record::Put { queue, seq, message } => {
            format!("Put {}:{} (message {})", queue.0, seq.0, crate::body::id_of(message.payload()))
        }
        Record::Settle { queue, seq } => format!("Settle {}:{}", queue.0, seq.0),
        Record::Count { queue, seq, delivery_count, .. } => {
            format!("Count {}:{} {delivery_count}", queue.0, seq.0)
        }
        Record::State { queue, seq, state } => {
            format!("State {}:{} {}", queue.0, seq.0, state.delivery_count)
        }
        Record::Move { from, to, .. } => format!("Move {}:{} -> {}:{}", from.0.0, from.1.0, to.0.0, to.1.0),
        Record::Keep { queue, seq, .. } => format!("Keep {}:{}", queue.0, seq.0),
        Record::Seen { queue, ids, oldest } => {
            let numbers: Vec<u64> = ids.iter().map(|id| id.number).collect();
            format!("Seen {} {numbers:?}, none below {oldest}", queue.0)
        }
        Record::Define(definition) => format!("Define {}", definition.name),
        Record::Delete(queue) => format!("Delete {}", queue.0),
    }
}

/// An event in few words.
pub fn event(event: &Event) -> String {
    match event {
        Event::Message(message) => {
            let id = crate::body::read(&message.payload).map(|got| got.id);
            format!("got message {id:?} as delivery {} on {:?}", message.delivery_id, message.link)
        }
        Event::Opened(_) => "opened".to_owned(),
        Event::Begun { session, .. } => format!("begun {session:?}"),
        Event::Attached { link, .. } => format!("attached {link:?}"),
        other => format!("{other:?}"),
    }
}
