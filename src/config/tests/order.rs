//! Tests of `duplicates` and `retry-order`.

use super::{Config, errors};
use crate::broker::policy::{Detect, DuplicatePolicy, QueuePolicy, RetryOrder};

fn policy(text: &str) -> QueuePolicy {
    Config::parse(&format!("[[queue]]\nname = \"q\"\n{text}")).unwrap().policy_for("q")
}

#[test]
fn duplicates_and_retry_order_are_read() {
    let got = policy(
        "retry-order = \"group\"\nduplicates = { detect = \"message-id\", window = \"1h\", count = 7 }",
    );
    assert_eq!(got.retry_order, RetryOrder::Group);
    let expected = DuplicatePolicy { detect: Detect::MessageId, window_ms: 3_600_000, count: 7 };
    assert_eq!(got.duplicates, expected);
    for key in ["x-opt-my-id", "_AMQ_DUPL_ID", "dedupe"] {
        let got = policy(&format!("duplicates = {{ detect = \"{key}\" }}")).duplicates;
        assert_eq!(got, DuplicatePolicy { detect: Detect::Named(key.into()), ..DuplicatePolicy::default() });
    }
}

#[test]
fn a_queue_inherits_them_key_by_key() {
    let text = "[queue-defaults]\nretry-order = \"group\"\nduplicates = { detect = \"message-id\", count = 5 }\n\
        [[queue]]\nname = \"q\"\nretry-order = \"message\"\nduplicates = { window = \"2s\" }";
    let got = Config::parse(text).unwrap().policy_for("q");
    assert_eq!(got.retry_order, RetryOrder::Message);
    assert_eq!(got.duplicates, DuplicatePolicy { detect: Detect::MessageId, window_ms: 2000, count: 5 });
}

#[test]
fn wrong_values_are_told_with_their_key() {
    let table = [
        ("retry-order = \"none\"", "queue.retry-order = \"none\": expected \"message\" or \"group\""),
        ("duplicates = true", "queue.duplicates = true: expected a table, [queue.duplicates]"),
        (
            "duplicates = { detect = \"\" }",
            "queue.duplicates.detect = \"\": expected \"message-id\", \"off\"",
        ),
        ("duplicates = { detect = \"message_id\" }", "queue.duplicates.detect = \"message_id\": expected"),
        (
            "duplicates = { detect = \"correlation-id\" }",
            "queue.duplicates.detect = \"correlation-id\": expected",
        ),
        ("duplicates = { detect = true }", "queue.duplicates.detect = true: expected"),
        ("duplicates = { window = \"0s\" }", "queue.duplicates.window = \"0s\": expected"),
        ("duplicates = { window = \"31d\" }", "queue.duplicates.window = \"31d\": expected"),
        (
            "duplicates = { count = 0 }",
            "queue.duplicates.count = 0: expected a whole number from 1 to 1000000",
        ),
        ("duplicates = { count = 1000001 }", "queue.duplicates.count = 1000001: expected"),
        ("duplicates = { cuont = 1 }", "queue.duplicates.cuont"),
    ];
    for (line, expected) in table {
        let found = errors(&format!("[[queue]]\nname = \"q\"\n{line}"));
        let [(3, text)] = found.as_slice() else { panic!("{line}: {found:?}") };
        assert!(text.starts_with(expected), "{text}");
    }
}
