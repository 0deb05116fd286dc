//! The page against Prometheus' rules, and its numbers against what they were made of.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn broker(name: &str) -> Broker {
    let main = Counts { available: 3, acquired: 2, delayed: 1, held: 6, moving: 4, bytes: 77, consumers: 5 };
    let dead = Counts { available: 1, acquired: 1, ..Counts::default() };
    let tally =
        Tally { published: 10, duplicates: 3, refused: 1, accepted: 6, failed: 2, ..Tally::default() };
    let snapshot = Snapshot { main, dead, tally, oldest_age_ms: 1500 };
    let mut store =
        StoreStats { commit_micros: 2_500_000, batches: 9, journal_bytes: 4096, ..StoreStats::default() };
    (store.commits[0], store.commits[5], store.commits[14]) = (4, 3, 1);
    let rows = vec![(name.to_owned(), snapshot), ("b".to_owned(), Snapshot::default())];
    Broker {
        queues: Some(Queues { rows, count: (2, 0), unanswered: 0 }),
        connections: Some((2, 8)),
        store: Some(store),
        process: Process { resident_bytes: Some(1), cpu_seconds: Some(0.5), open_fds: Some(3) },
        ready: true,
        ..Broker::default()
    }
}

/// What promtool's `check metrics` looks at, and that each family is in one piece.
fn lint(page: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            if !helped.insert(name.to_owned()) || help.trim().is_empty() {
                problems.push(format!("HELP of {name} comes twice or is empty"));
            }
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            current = name.to_owned();
            if kinds.insert(name.to_owned(), kind.to_owned()).is_some() || !helped.contains(name) {
                problems.push(format!("TYPE of {name} comes twice or before its HELP"));
            }
            if name.ends_with("_total") != (kind == "counter") {
                problems.push(format!("{name} is a {kind}"));
            }
            let scaled = ["millis", "micros", "nanos", "minutes", "kilobytes", "mebibytes", "_ms"];
            if scaled.iter().any(|unit| name.contains(unit)) {
                problems.push(format!("{name} is not in a base unit"));
            }
            if !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()) {
                problems.push(format!("{name} is not a plain name"));
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or((line, ""));
        let name = series.split('{').next().unwrap_or_default();
        let histogram = kinds.get(&current).is_some_and(|kind| kind == "histogram");
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
        let family = base.filter(|_| histogram).unwrap_or(name);
        if family != current {
            problems.push(format!("{series} stands among the samples of {current}"));
        }
        if !seen.insert(series.to_owned()) {
            problems.push(format!("{series} comes twice"));
        }
        if value.parse::<f64>().is_err() {
            problems.push(format!("{series}: {value} is no number"));
        }
    }
    problems
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
    let wrong = "# HELP a x\n# TYPE a counter\na 1\na 1\nb 2\n# HELP c_ms_total \n# TYPE c_ms_total gauge\n";
    assert_eq!(lint(wrong).len(), 6, "{:?}", lint(wrong));
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
        ("verdict_queue_messages_duplicate_total{queue=\"a\"}", 3.0),
        ("verdict_queue_settlements_total{queue=\"a\",outcome=\"failed\"}", 2.0),
        ("verdict_queue_messages_dead_lettered_total{queue=\"b\",reason=\"max-attempts\"}", 0.0),
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
