//! The page against Prometheus' rules, and its numbers against what they were made of.

use super::{lint::lint, *};

fn broker(name: &str) -> Broker {
    let main = Counts { available: 3, acquired: 2, delayed: 1, held: 6, moving: 4, bytes: 77, consumers: 5 };
    let dead = Counts { available: 1, acquired: 1, ..Counts::default() };
    let tally = Tally {
        published: 10,
        duplicates: 3,
        refused: 1,
        accepted: 6,
        failed: 2,
        breaker_openings: 7,
        annotations_skipped: 8,
        ..Tally::default()
    };
    let snapshot = Snapshot { main, dead, tally, oldest_age_ms: 1500, breakers: [0, 1, 0] };
    let mut store =
        StoreStats { commit_micros: 2_500_000, batches: 9, journal_bytes: 4096, ..StoreStats::default() };
    (store.commits[0], store.commits[5], store.commits[14]) = (4, 3, 1);
    let rows = vec![(name.to_owned(), snapshot), ("b".to_owned(), Snapshot::default())];
    Broker {
        queues: Some(Queues { rows, count: (2, 0), unanswered: 0 }),
        connections: Some((2, 8)),
        store: Some(store),
        process: Process { resident_bytes: Some(1), cpu_seconds: Some(0.5), open_fds: Some(3) },
        spans: Some(SpanCounts { exported: 6, beyond_open: 1, beyond_waiting: 2, not_taken: 3 }),
        ready: true,
        ..Broker::default()
    }
}

fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {series} in\n{page}"))
}

#[test]
fn the_page_keeps_prometheus_rules() {
    assert_eq!(lint(&render(&broker("a"))), Vec::<String>::new());
    assert_eq!(lint(&render(&Broker::default())), Vec::<String>::new());
}

#[test]
fn the_lint_sees_what_is_wrong() {
    let histogram = |samples: &str| format!("# HELP h x\n# TYPE h histogram\n{samples}");
    let good = histogram("h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n");
    assert_eq!(lint(&good), Vec::<String>::new());
    for (wrong, problems) in [
        ("# HELP a x\n# TYPE a counter\na 1\na 1\nb 2\n# HELP c_ms_total \n# TYPE c_ms_total gauge\n", 6),
        ("# HELP a x\n# TYPE a gauge\na 1", 1),
        ("# TYPE a gauge\n# HELP a x\na 1\n", 1),
        ("# HELP a x\n# TYPE a gauge\na{q=\"\\x\"} 1\n", 1),
        ("# HELP a x\n# TYPE a gauge\na{q=\"b\",q=\"b\"} 1\n", 1),
        ("# HELP a x\n# TYPE a gauge\na{le=\"b\"} x\n", 1),
        ("# HELP a_gauge x\n# TYPE a_gauge gauge\na_gauge 1\n", 1),
        ("# HELP a_count x\n# TYPE a_count gauge\na_count 1\n", 1),
        (&histogram("h_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n"), 1),
        (&histogram("h_bucket{le=\"1\"} 1\nh_sum 3\nh_count 1\n"), 1),
        (&histogram("h_bucket{le=\"+Inf\"} 2\nh_count 1\n"), 1),
    ] {
        assert_eq!(lint(wrong).len(), problems, "{wrong}{:?}", lint(wrong));
    }
}

#[test]
fn numbers_are_told_as_they_are_and_in_base_units() {
    let page = render(&broker("a"));
    for (series, expected) in [
        ("verdict_queue_messages{queue=\"a\",state=\"ready\"}", 3.0),
        ("verdict_queue_messages{queue=\"a\",state=\"acquired\"}", 2.0),
        ("verdict_queue_messages{queue=\"a\",state=\"delayed\"}", 1.0),
        ("verdict_queue_messages{queue=\"a\",state=\"held\"}", 6.0),
        ("verdict_queue_messages{queue=\"a\",state=\"dead\"}", 2.0),
        ("verdict_queue_bytes{queue=\"a\"}", 77.0),
        ("verdict_queue_consumers{queue=\"a\"}", 5.0),
        ("verdict_queue_oldest_message_age_seconds{queue=\"a\"}", 1.5),
        ("verdict_queue_messages_published_total{queue=\"a\"}", 10.0),
        ("verdict_queue_breaker_state{queue=\"a\",state=\"open\"}", 1.0),
        ("verdict_queue_breaker_state{queue=\"a\",state=\"closed\"}", 0.0),
        ("verdict_queue_breaker_openings_total{queue=\"a\"}", 7.0),
        ("verdict_queue_annotations_skipped_total{queue=\"a\"}", 8.0),
        ("verdict_queue_messages_duplicate_total{queue=\"a\"}", 3.0),
        ("verdict_queue_settlements_total{queue=\"a\",outcome=\"failed\"}", 2.0),
        ("verdict_queue_messages_dead_lettered_total{queue=\"b\",reason=\"max-attempts\"}", 0.0),
        ("verdict_telemetry_spans_exported_total", 6.0),
        ("verdict_telemetry_spans_dropped_total{reason=\"open\"}", 1.0),
        ("verdict_telemetry_spans_dropped_total{reason=\"waiting\"}", 2.0),
        ("verdict_telemetry_spans_dropped_total{reason=\"not-taken\"}", 3.0),
        ("verdict_connections", 2.0),
        ("verdict_journal_bytes", 4096.0),
        ("verdict_ready", 1.0),
    ] {
        assert_eq!(value(&page, series), expected, "{series}");
    }
}

#[test]
fn the_histogram_is_cumulative_and_adds_up() {
    let page = render(&broker("a"));
    let bucket = |le: &str| value(&page, &format!("verdict_commit_duration_seconds_bucket{{le=\"{le}\"}}"));
    assert_eq!((bucket("0.00005"), bucket("0.001"), bucket("0.0025"), bucket("1")), (4.0, 4.0, 7.0, 7.0));
    assert_eq!(bucket("+Inf"), 8.0);
    assert_eq!(value(&page, "verdict_commit_duration_seconds_count"), 8.0);
    assert_eq!(value(&page, "verdict_commit_duration_seconds_sum"), 2.5);
    assert_eq!(value(&page, "verdict_commits_total"), 8.0);
}

#[test]
fn a_queues_name_cannot_break_the_page() {
    let page = render(&broker("a\"} 1\n# TYPE x\\"));
    assert_eq!(lint(&page), Vec::<String>::new());
    assert_eq!(value(&page, "verdict_queue_bytes{queue=\"a\\\"} 1\\n# TYPE x\\\\\"}"), 77.0);
}
