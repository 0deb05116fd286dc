//! Which metrics there are: names, units and meaning, after Prometheus' conventions.
//!
//! Invariant: base units (seconds, bytes), `_total` on counters and on nothing else, every family with its
//! HELP, no label whose values peers can multiply without bound (`gather`). Only writes down what it is given.

use super::{
    gather::Queues,
    process::Process,
    text::{Kind, Page},
};
use crate::{
    broker::{Counts, DeathReason, Tally},
    server::{queue::Snapshot, telemetry::SpanCounts},
    store::{COMMIT_BOUNDS_MICROS, StoreStats},
};

/// All that is told.
#[derive(Debug, Default)]
pub(super) struct Broker {
    /// None while it recovers.
    pub queues: Option<Queues>,
    /// Connections now, and since the start.
    pub connections: Option<(usize, u64)>,
    /// The disk.
    pub store: Option<StoreStats>,
    /// Spans, where telemetry is on.
    pub spans: Option<SpanCounts>,
    /// As `/readyz` has it.
    pub ready: bool,
    /// Configurations applied and refused.
    pub reloads: (u64, u64),
    /// The last one was refused.
    pub reload_refused: bool,
    /// This process.
    pub process: Process,
    /// When it was started, in seconds since 1970.
    pub start_seconds: f64,
}

/// The page.
pub(super) fn render(broker: &Broker) -> String {
    let mut page = Page::default();
    let version = env!("CARGO_PKG_VERSION");
    page.family("verdict_build_info", Kind::Gauge, "Which broker this is; always 1.")
        .sample(&[("version", version)], 1);
    let help = "Whether the broker has recovered and takes new messages.";
    page.single("verdict_ready", Kind::Gauge, help, u8::from(broker.ready));
    if let Some((now, opened)) = broker.connections {
        page.single("verdict_connections", Kind::Gauge, "AMQP connections.", now);
        page.single("verdict_connections_opened_total", Kind::Counter, "AMQP connections accepted.", opened);
    }
    let mut reloads =
        page.family("verdict_config_reloads_total", Kind::Counter, "Configurations read again, by result.");
    reloads.sample(&[("result", "applied")], broker.reloads.0);
    reloads.sample(&[("result", "refused")], broker.reloads.1);
    let help = "Whether the last configuration read again was taken; 1 before the first.";
    let taken = u8::from(!broker.reload_refused);
    page.single("verdict_config_last_reload_successful", Kind::Gauge, help, taken);
    if let Some(store) = &broker.store {
        render_store(&mut page, store);
    }
    if let Some(queues) = &broker.queues {
        let mut family = page.family("verdict_queues", Kind::Gauge, "Queues there are, by lifetime.");
        family.sample(&[("lifetime", "permanent")], queues.count.0);
        family.sample(&[("lifetime", "dynamic")], queues.count.1);
        let help = "Queues that did not tell their numbers in time, and are missing here.";
        page.single("verdict_queues_unanswered", Kind::Gauge, help, queues.unanswered);
        render_gauges(&mut page, &queues.rows);
        render_counters(&mut page, &queues.rows);
    }
    if let Some(spans) = &broker.spans {
        let name = "verdict_telemetry_spans_exported_total";
        page.single(name, Kind::Counter, "Spans the collector has taken.", spans.exported);
        let help = "Spans that were dropped: too many open in a queue, too many waiting, or not taken by the collector.";
        let mut family = page.family("verdict_telemetry_spans_dropped_total", Kind::Counter, help);
        for (reason, count) in
            [("open", spans.beyond_open), ("waiting", spans.beyond_waiting), ("not-taken", spans.not_taken)]
        {
            family.sample(&[("reason", reason)], count);
        }
    }
    render_process(&mut page, broker);
    page.finish()
}

fn render_store(page: &mut Page, store: &StoreStats) {
    let commits: u64 = store.commits.iter().sum();
    page.single("verdict_commits_total", Kind::Counter, "Writes to the journal, each synced once.", commits);
    let help = "Batches of queues made safe; several share a commit.";
    page.single("verdict_commit_batches_total", Kind::Counter, help, store.batches);
    let help = "Time of a write to the journal and its sync.";
    let mut family = page.family("verdict_commit_duration_seconds", Kind::Histogram, help);
    let mut so_far = 0;
    for (micros, count) in COMMIT_BOUNDS_MICROS.iter().zip(store.commits) {
        so_far += count;
        family.part("_bucket", &[("le", &seconds(*micros).to_string())], so_far);
    }
    family.part("_bucket", &[("le", "+Inf")], commits);
    family.part("_sum", &[], seconds(store.commit_micros));
    family.part("_count", &[], commits);
    page.single("verdict_journal_bytes", Kind::Gauge, "Bytes in the journal's files.", store.journal_bytes);
    let help = "Whether new messages are rejected for want of disk.";
    page.single("verdict_disk_full", Kind::Gauge, help, u8::from(store.full));
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn render_gauges(page: &mut Page, rows: &[(String, Snapshot)]) {
    let help =
        "Messages in the queue, by state; held: by an earlier one of their group; dead: its dead letters.";
    let mut family = page.family("verdict_queue_messages", Kind::Gauge, help);
    for (name, Snapshot { main, dead, .. }) in rows {
        let all_dead = dead.available + dead.acquired + dead.delayed + dead.moving;
        for (state, count) in [
            ("ready", main.available),
            ("acquired", main.acquired),
            ("delayed", main.delayed),
            ("held", main.held),
            ("moving", main.moving),
            ("dead", all_dead),
        ] {
            family.sample(&[("queue", name), ("state", state)], count);
        }
    }
    let help = "What the queue's retry-storm breaker does: 1 for its state, 0 for the others; of a row that is a sum, \
                how many breakers.";
    let mut family = page.family("verdict_queue_breaker_state", Kind::Gauge, help);
    for (name, snapshot) in rows {
        for (state, count) in ["closed", "open", "half-open"].into_iter().zip(snapshot.breakers) {
            family.sample(&[("queue", name), ("state", state)], count);
        }
    }
    let mut gauge = |metric: &str, help: &str, of: &dyn Fn(&Snapshot) -> f64| {
        let mut family = page.family(metric, Kind::Gauge, help);
        for (name, snapshot) in rows {
            family.sample(&[("queue", name)], of(snapshot));
        }
    };
    let bytes = |counts: &Counts| counts.bytes as f64;
    gauge("verdict_queue_bytes", "Bytes of the queue's messages.", &|s| bytes(&s.main));
    gauge("verdict_queue_dead_letter_bytes", "Bytes of the queue's dead letters.", &|s| bytes(&s.dead));
    gauge("verdict_queue_consumers", "Consumers of the queue.", &|s| f64::from(s.main.consumers));
    let help = "Consumers of the queue's dead letters.";
    gauge("verdict_queue_dead_letter_consumers", help, &|s| f64::from(s.dead.consumers));
    let help = "How long the oldest message has been in the queue; those found at the start count from then.";
    gauge("verdict_queue_oldest_message_age_seconds", help, &|s| s.oldest_age_ms as f64 / 1e3);
}

fn render_counters(page: &mut Page, rows: &[(String, Snapshot)]) {
    let mut counter = |metric: &str, help: &str, of: &dyn Fn(&Tally) -> u64| {
        let mut family = page.family(metric, Kind::Counter, help);
        for (name, snapshot) in rows {
            family.sample(&[("queue", name)], of(&snapshot.tally));
        }
    };
    let name = "verdict_queue_messages_published_total";
    counter(name, "Messages taken from publishers.", &|t| t.published);
    let name = "verdict_queue_messages_refused_total";
    counter(name, "Messages of publishers that were not taken.", &|t| t.refused);
    let name = "verdict_queue_messages_duplicate_total";
    counter(name, "Messages accepted and not queued, since they had come before.", &|t| t.duplicates);
    let name = "verdict_queue_messages_delivered_total";
    counter(name, "Messages handed to consumers, each time; browsing not counted.", &|t| t.delivered);
    let name = "verdict_queue_messages_redelivered_total";
    counter(name, "Of those delivered, messages that had been handed out before.", &|t| t.redelivered);
    let help = "Times the queue's retry-storm breaker opened, also again after probes that failed.";
    counter("verdict_queue_breaker_openings_total", help, &|t| t.breaker_openings);
    let help =
        "Message annotations of modified outcomes that were not taken: reserved, unreadable or too many.";
    counter("verdict_queue_annotations_skipped_total", help, &|t| t.annotations_skipped);
    let help = "How deliveries ended, by outcome; expired: messages whose time to live passed.";
    let mut family = page.family("verdict_queue_settlements_total", Kind::Counter, help);
    for (name, Snapshot { tally, .. }) in rows {
        for (outcome, count) in [
            ("accepted", tally.accepted),
            ("failed", tally.failed),
            ("rejected", tally.rejected),
            ("released", tally.released),
            ("modified", tally.modified),
            ("expired", tally.expired),
        ] {
            family.sample(&[("queue", name), ("outcome", outcome)], count);
        }
    }
    let help = "Messages that became dead letters, by reason.";
    let mut family = page.family("verdict_queue_messages_dead_lettered_total", Kind::Counter, help);
    for (name, snapshot) in rows {
        for reason in Tally::REASONS {
            let labels = [("queue", &**name), ("reason", reason_name(reason))];
            family.sample(&labels, snapshot.tally.dead_lettered(reason));
        }
    }
}

fn reason_name(reason: DeathReason) -> &'static str {
    match reason {
        DeathReason::Rejected => "rejected",
        DeathReason::MaxAttempts => "max-attempts",
        DeathReason::Expired => "expired",
        DeathReason::Undeliverable => "undeliverable",
        DeathReason::Overflow => "overflow",
        DeathReason::Policy => "policy",
    }
}

fn render_process(page: &mut Page, broker: &Broker) {
    let Process { resident_bytes, cpu_seconds, open_fds } = broker.process;
    if let Some(bytes) = resident_bytes {
        page.single("process_resident_memory_bytes", Kind::Gauge, "Memory in use.", bytes);
    }
    if let Some(cpu) = cpu_seconds {
        page.single("process_cpu_seconds_total", Kind::Counter, "Processor time used.", cpu);
    }
    if let Some(fds) = open_fds {
        page.single("process_open_fds", Kind::Gauge, "Files and sockets open.", fds);
    }
    let help = "When the process was started, in seconds since 1970.";
    page.single("process_start_time_seconds", Kind::Gauge, help, broker.start_seconds);
}

#[cfg(test)]
mod lint;
#[cfg(test)]
mod tests;
