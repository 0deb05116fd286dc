//! Tests of the configuration: the example file, every key, every kind of wrong value.

mod order;
mod overlay;
mod rules;

use std::collections::BTreeMap;

use super::{
    Config, LogFormat, Otlp, Pattern, check_listen, duration_text, otlp_endpoint, parse_duration_ms,
    parse_size, sections, size_text,
};
use crate::broker::policy::{BreakerPolicy, ExpiredTo, LetterLimits, QueuePolicy, RetryDelay, WhenFull};

const EXAMPLE: &str = include_str!("../../config.example.toml");

fn errors(text: &str) -> Vec<(usize, String)> {
    let error = Config::parse(text).expect_err("expected problems");
    error.list().iter().map(|problem| (problem.line, problem.text.clone())).collect()
}

#[test]
fn nothing_configured_is_the_default() {
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn example_file_is_the_default() {
    assert_eq!(Config::parse(EXAMPLE).unwrap(), Config::default());
}

#[test]
fn example_file_mentions_every_key() {
    let (_, keys) = sections::parse("");
    assert!(keys.len() > 40, "only {} keys", keys.len());
    for path in keys {
        let key = path.rsplit('.').next().unwrap();
        let mentioned = EXAMPLE.lines().any(|line| {
            let line = line.trim_start_matches('#').trim();
            let assigned = |text: &str| text.contains(&format!("{key} = "));
            assigned(line) || line.starts_with('[') && line.trim_matches(['[', ']']).ends_with(key)
        });
        assert!(mentioned, "config.example.toml does not mention {path}");
    }
}

#[test]
fn example_files_commented_settings_are_valid() {
    // `# key = value`, `# [table]`: uncomment what is a setting and not an explanation.
    let setting = |line: &str| {
        let (key, rest) = line.split_once(" = ").unwrap_or((line, ""));
        line.starts_with("[[") || !rest.is_empty() && !key.contains(' ')
    };
    let text: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| setting(rest)).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.container_id, "verdict-myhost");
    assert_eq!(config.auth.users.get("alice").map(String::as_str), Some("a long password"));
    assert_eq!(config.declared_queues().collect::<Vec<_>>(), ["orders"]);
    assert_eq!(config.policy_for("jobs.nightly").dead_letter_queue.as_deref(), Some("jobs-failed"));
}

#[test]
fn every_setting_is_read() {
    let text = r#"
        listen = "0.0.0.0:5673"
        http = "127.0.0.1:8672"
        data = "/var/lib/verdict"
        container-id = "here"
        threads = 3
        memory = "1GiB"
        create = ["a", "b.*"]
        log = { level = "debug", format = "json" }
        telemetry = { otlp = "http://collector:4318/base/", sample = 0.25 }
        [limits]
        max-frame-size = 512
        max-message-size = "1MB"
        max-connections = 7
        max-sessions = 8
        max-links = 9
        idle-timeout = "none"
        handshake-timeout = "5s"
        [store]
        segment-size = "8MiB"
        checkpoint-interval = "250ms"
        checkpoint-bytes = "1MiB"
        disk-reserve = 0
        [auth]
        anonymous = false
        users = { bob = "secret" }
        [queue-defaults]
        max-attempts = 3
        retry-delay = { first = "1s", initial = "2s", multiplier = 3, max = "1m", jitter = 0 }
        dead-letter-queue = "dlq"
        max-messages = 10
        max-bytes = "20KiB"
        when-full = "reject"
        max-ttl = "1h"
        expired = "discard"
        stranded-after = "0s"
        crash-suspects = 0
        breaker = { enabled = false, share = 1, at-least = 7, window = "1m", pause = "2s", max-pause = "3s" }
        dead-letters = { max-messages = 5, max-bytes = "1MiB", max-age = "7d" }
    "#;
    let config = Config::parse(text).unwrap();
    assert_eq!(config.listen, ["0.0.0.0:5673"]);
    assert_eq!(config.http.as_deref(), Some("127.0.0.1:8672"));
    let otlp = Otlp { authority: "collector:4318".into(), path: "/base/v1/traces".into() };
    assert_eq!((config.telemetry.otlp, config.telemetry.sample), (Some(otlp), 0.25));
    assert_eq!(config.data.to_str(), Some("/var/lib/verdict"));
    assert_eq!(config.container_id, "here");
    assert_eq!(config.threads.map(std::num::NonZero::get), Some(3));
    assert_eq!(config.memory_bytes, 1 << 30);
    assert_eq!(config.create, [Pattern::new("a").unwrap(), Pattern::new("b.*").unwrap()]);
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
    assert_eq!(config.limits.max_frame_size_bytes, 512);
    assert_eq!(config.limits.max_message_size_bytes, 1_000_000);
    assert_eq!(config.limits.max_connections, 7);
    assert_eq!((config.limits.max_sessions, config.limits.max_links), (8, 9));
    assert_eq!((config.limits.idle_timeout_ms, config.limits.handshake_timeout_ms), (None, 5000));
    assert_eq!(config.store.segment_size_bytes, 8 << 20);
    assert_eq!((config.store.checkpoint_interval_ms, config.store.checkpoint_bytes), (250, 1 << 20));
    assert_eq!(config.store.disk_reserve_bytes, 0);
    assert_eq!(config.auth.mechanisms(), ["PLAIN"]);
    let retry_delay =
        RetryDelay { first_ms: 1000, initial_ms: 2000, multiplier: 3.0, max_ms: 60_000, jitter: 0.0 };
    let breaker = BreakerPolicy {
        enabled: false,
        share: 1.0,
        at_least: 7,
        window_ms: 60_000,
        pause_ms: 2000,
        max_pause_ms: 3000,
    };
    let expected = QueuePolicy {
        max_attempts: 3,
        retry_delay,
        dead_letter_queue: Some("dlq".to_owned()),
        max_messages: Some(10),
        max_bytes: Some(20 << 10),
        when_full: WhenFull::Reject,
        max_ttl_ms: Some(3_600_000),
        expired: ExpiredTo::Discard,
        stranded_after_ms: 0,
        crash_suspects: 0,
        rules: Vec::new(),
        delays: BTreeMap::new(),
        breaker,
        dead_letters: LetterLimits {
            max_messages: Some(5),
            max_bytes: Some(1 << 20),
            max_age_ms: Some(7 * 86_400_000),
        },
        ..QueuePolicy::default()
    };
    assert_eq!(config.queue_defaults, expected);
}

#[test]
fn wrong_values_name_key_value_and_expectation() {
    let table = [
        (
            "listen = 5672",
            "listen = 5672: expected \"HOST:PORT\" or a list of them, such as \"127.0.0.1:5672\"",
        ),
        ("listen = []", "listen = []: expected \"HOST:PORT\""),
        ("listen = [\"a:70000\"]", "listen = [\"a:70000\"]: expected \"HOST:PORT\""),
        ("data = \"\"", "data = \"\": expected the path of a directory"),
        ("container-id = \"\"", "container-id = \"\": expected a name of 1 to 1024 bytes"),
        ("threads = 0", "threads = 0: expected a whole number from 1 to 1024"),
        ("memory = \"64QB\"", "memory = \"64QB\": expected a size of at least 1MiB, such as \"64MiB\""),
        ("memory = -1", "memory = -1: expected a size"),
        ("create = [\"\"]", "create = [\"\"]: expected a list of names or patterns"),
        ("log = 1", "log = 1: expected a table, [log]"),
        (
            "log.level = \"loud\"",
            "log.level = \"loud\": expected \"error\", \"warn\", \"info\", \"debug\" or",
        ),
        ("log.format = \"xml\"", "log.format = \"xml\": expected \"text\" or \"json\""),
        ("limits.max-frame-size = 511", "limits.max-frame-size = 511: expected a size from 512B to 16MiB"),
        (
            "limits.max-links = \"many\"",
            "limits.max-links = \"many\": expected a whole number from 1 to 1048576",
        ),
        ("limits.idle-timeout = 60", "limits.idle-timeout = 60: expected a duration from 1s to 1d, such as"),
        ("limits.idle-timeout = \"1ms\"", "limits.idle-timeout = \"1ms\": expected a duration from 1s to 1d"),
        ("store.segment-size = \"4GiB\"", "store.segment-size = \"4GiB\": expected a size from 1MiB to 2GiB"),
        ("auth.anonymous = \"no\"", "auth.anonymous = \"no\": expected true or false"),
        (
            "auth.anonymous = false",
            "auth.anonymous = false: expected at least one user, else nobody can connect",
        ),
        ("queue = 1", "queue = 1: expected tables, each begun with [[queue]]"),
        ("[[queue]]", "queue.name: missing; expected a queue's name"),
        ("[[queue]]\nname = 1", "queue.name = 1: expected a queue's name or a pattern"),
        (
            "queue-defaults.max-attempts = 0",
            "queue-defaults.max-attempts = 0: expected a whole number from 1 to",
        ),
        (
            "queue-defaults.max-messages = 0",
            "queue-defaults.max-messages = 0: expected a whole number, at least",
        ),
        ("queue-defaults.when-full = \"drop\"", "queue-defaults.when-full = \"drop\": expected \"block\" or"),
        (
            "queue-defaults.retry-delay.multiplier = 0.5",
            "queue-defaults.retry-delay.multiplier = 0.5: expected a",
        ),
        (
            "queue-defaults.retry-delay.jitter = nan",
            "queue-defaults.retry-delay.jitter = nan: expected a number",
        ),
        (
            "queue-defaults.retry-delay.max = \"1 week\"",
            "queue-defaults.retry-delay.max = \"1 week\": expected a",
        ),
    ];
    for (text, expected) in table {
        let got = errors(text);
        let [(_, got)] = got.as_slice() else { panic!("{text}: {got:?}") };
        assert!(got.starts_with(expected), "{text}\n   got: {got}\nexpect: {expected}");
    }
}

#[test]
fn all_problems_are_told_at_once_with_their_lines() {
    let text =
        "listne = \"a:1\"\n[limits]\nmax-links = 0\nmax_sessions = 1\n[[queue]]\nname = \"a\"\nttl = 1\n";
    let lines: Vec<usize> = errors(text).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 3, 4, 7]);
}

#[test]
fn unknown_key_gets_a_hint() {
    let error = Config::parse("[limits]\nmax_frame-sise = 1").unwrap_err();
    let problem = &error.list()[0];
    assert_eq!(problem.text, "limits.max_frame-sise: unknown key");
    assert_eq!(problem.hint.as_deref(), Some("did you mean \"max-frame-size\"?"));
    let error = Config::parse("log.colour = 1").unwrap_err();
    assert_eq!(error.list()[0].hint.as_deref(), Some("known here: level, format"));
}

#[test]
fn what_is_not_toml_names_the_line() {
    let got = errors("data = \"x\"\n\nmemory = = 1\n");
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].0, 3);
    assert!(got[0].1.starts_with("not TOML: "), "{got:?}");
}

#[test]
fn error_text_is_for_people() {
    let error = Config::parse("threads = 0\nthread = 1").unwrap_err();
    let expected = "configuration has 2 problems\
        \n  line 1: threads = 0: expected a whole number from 1 to 1024\
        \n  line 2: thread: unknown key\n    hint: did you mean \"threads\"?";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn passwords_are_never_shown() {
    let error = Config::parse("auth.users = { bob = [\"hunter2\"] }").unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let config = Config::parse("auth.users = { bob = \"hunter2\" }").unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("bob") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn mechanisms_follow_users_and_anonymous() {
    let mechanisms = |text| Config::parse(text).unwrap().auth.mechanisms();
    assert_eq!(mechanisms(""), ["ANONYMOUS"]);
    assert_eq!(mechanisms("auth.users.a = \"b\""), ["PLAIN", "ANONYMOUS"]);
    assert_eq!(mechanisms("auth.users.a = \"b\"\nauth.anonymous = false"), ["PLAIN"]);
}

#[test]
fn queue_rules_come_from_the_name_then_the_pattern_then_the_defaults() {
    let text = r#"
        [[queue]]
        name = "jobs.*"
        max-attempts = 2
        [[queue]]
        name = "*.mail"
        max-attempts = 4
        [[queue]]
        name = "jobs.mail"
        max-ttl = "none"
        [queue-defaults]
        max-attempts = 7
        max-ttl = "1s"
    "#;
    let config = Config::parse(text).unwrap();
    let attempts = |name| config.policy_for(name).max_attempts;
    assert_eq!(attempts("jobs.mail"), 7);
    assert_eq!(attempts("jobs.x"), 2);
    assert_eq!(attempts("x.mail"), 4);
    assert_eq!(attempts("other"), 7);
    assert_eq!(config.policy_for("jobs.mail").max_ttl_ms, None);
    assert_eq!(config.policy_for("jobs.x").max_ttl_ms, Some(1000));
    assert_eq!(config.declared_queues().collect::<Vec<_>>(), ["jobs.mail"]);
}

#[test]
fn common_dead_letter_queue_keeps_its_own_tree() {
    let config = Config::parse("queue-defaults.dead-letter-queue = \"dlq\"").unwrap();
    assert_eq!(config.policy_for("orders").dead_letter_queue.as_deref(), Some("dlq"));
    assert_eq!(config.policy_for("dlq").dead_letter_queue, None);
}

#[test]
fn dead_letters_in_a_circle_are_refused() {
    let text = "[[queue]]\nname = \"a\"\ndead-letter-queue = \"b\"\n[[queue]]\nname = \"b\"\ndead-letter-queue = \"a\"";
    let got = errors(text);
    assert_eq!(got[0].1, "queue.dead-letter-queue of \"a\": dead letters go in a circle: a -> b -> a");
    // A queue that only leads into a circle of others is not itself part of one.
    let text = format!("{text}\n[[queue]]\nname = \"c\"\ndead-letter-queue = \"a\"");
    assert_eq!(errors(&text).len(), 2);
}

#[test]
fn dead_letter_queue_that_cannot_exist_is_refused() {
    let text = "create = []\n[[queue]]\nname = \"a\"\ndead-letter-queue = \"b\"";
    let got = errors(text);
    assert_eq!(
        got,
        [(2, "queue.dead-letter-queue of \"a\": no queue \"b\", and none may be created".to_owned())]
    );
    Config::parse(&format!("{text}\n[[queue]]\nname = \"b\"")).unwrap();
    Config::parse(&text.replace("[]", "[\"b*\"]")).unwrap();
}

#[test]
fn names_of_the_brokers_own_are_refused() {
    for text in
        ["name = \"a/$deadletter\"", "name = \"$x\"", "name = \"a\"\ndead-letter-queue = \"a/$deadletter\""]
    {
        let got = errors(&format!("[[queue]]\n{text}"));
        assert!(got[0].1.contains("begun with `$`"), "{got:?}");
    }
}

#[test]
fn value_without_quotes_is_told() {
    for (text, told) in [("listen = 127.0.0.1:5672", true), ("memory = 64MiB", true), ("a = \"x", false)] {
        let error = Config::parse(text).unwrap_err();
        assert_eq!(error.list()[0].hint.is_some(), told, "{text}: {error}");
    }
}

#[test]
fn queue_named_twice_is_refused() {
    let got = errors("[[queue]]\nname = \"a\"\n[[queue]]\nname = \"a\"");
    assert_eq!(got, [(3, "queue.name = \"a\": expected each name once".to_owned())]);
}

#[test]
fn names_of_the_broker_are_never_created() {
    let config = Config::default();
    assert!(config.may_create("orders"));
    assert!(config.may_create("a/b$c"));
    for name in ["", "$management", "orders/$deadletter"] {
        assert!(!config.may_create(name), "{name}");
    }
    assert!(!config.may_create(&"x".repeat(1025)));
    assert!(!Config::parse("create = []").unwrap().may_create("orders"));
}

#[test]
fn patterns_match() {
    let table = [
        ("*", "anything/at.all", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "a", true),
        ("a*", "ba", false),
        ("*a", "ba", true),
        ("*a", "ab", false),
        ("a*c", "abc", true),
        ("a*a", "a", false),
        ("*b*", "abc", true),
        ("*aab", "aaab", true),
        ("a*b*c", "axbxc", true),
        ("a*b*c", "axcxb", false),
        ("a*bb*b", "abb", false),
    ];
    for (pattern, name, expected) in table {
        assert_eq!(Pattern::new(pattern).unwrap().matches(name), expected, "{pattern} {name}");
    }
}

#[test]
fn sizes() {
    let table = [
        ("0", Some(0)),
        ("512", Some(512)),
        ("512B", Some(512)),
        ("64MiB", Some(64 << 20)),
        ("64 mib", Some(64 << 20)),
        ("1.5GiB", Some(3 << 29)),
        ("10kB", Some(10_000)),
        ("16777216TiB", None),
        ("1.3B", None),
        ("1.", None),
        ("1.KiB", None),
        (".5KiB", None),
        ("-1", None),
        ("", None),
        ("MiB", None),
        ("1.0000000000000000000000KiB", None),
    ];
    for (text, expected) in table {
        assert_eq!(parse_size(text), expected, "{text}");
    }
    for bytes in [0, 1, 1023, 1024, 1536, 64 << 20, 1 << 40, u64::MAX] {
        assert_eq!(parse_size(&size_text(bytes)), Some(bytes));
    }
}

#[test]
fn durations() {
    let table = [
        ("100ms", Some(100)),
        ("60s", Some(60_000)),
        ("1.5h", Some(5_400_000)),
        ("1d", Some(86_400_000)),
        ("0s", Some(0)),
        ("60", None),
        ("1M", None),
        ("1 week", None),
        ("", None),
        ("99999999999999999999s", None),
    ];
    for (text, expected) in table {
        assert_eq!(parse_duration_ms(text), expected, "{text}");
    }
    for ms in [0, 1, 999, 1000, 61_000, 3_600_000, u64::MAX] {
        assert_eq!(parse_duration_ms(&duration_text(ms)), Some(ms));
    }
}

#[test]
fn collectors_are_plain_http_and_have_their_usual_port_and_path() {
    for (text, authority, path) in [
        ("http://127.0.0.1:4318", "127.0.0.1:4318", "/v1/traces"),
        ("http://localhost", "localhost:4318", "/v1/traces"),
        ("http://[::1]/", "[::1]:4318", "/v1/traces"),
        ("http://h:1/a/b", "h:1", "/a/b/v1/traces"),
    ] {
        let otlp = Otlp { authority: authority.to_owned(), path: path.to_owned() };
        assert_eq!(otlp_endpoint(text), Some(Some(otlp)), "{text}");
    }
    assert_eq!(otlp_endpoint("off"), Some(None));
    for text in
        ["", "127.0.0.1:4318", "https://h:1", "http://", "http://h:0", "http://u@h:1", "http://h:1/a b"]
    {
        assert_eq!(otlp_endpoint(text), None, "{text}");
    }
}

#[test]
fn listen_addresses() {
    for text in ["127.0.0.1:5672", "[::1]:5672", "localhost:0", "[::]:1"] {
        assert!(check_listen(text).is_ok(), "{text}");
    }
    for text in ["", "5672", "host", "host:", ":5672", "::1", "::1:5672", "host:65536", "host:http"] {
        assert!(check_listen(text).is_err(), "{text}");
    }
}
