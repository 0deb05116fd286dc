//! Settings laid over the configuration's, and policies written as settings.

use super::super::{Config, settings_of};
use crate::broker::QueuePolicy;

fn config(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|why| panic!("{why}"))
}

const RULED: &str = r#"
[[queue]]
name = "orders"
max-attempts = 3
retry-delay = { first = "1s", initial = "10s", max = "10m" }
dead-letter-queue = "graves"
max-messages = 10
max-bytes = "10GiB"
when-full = "reject"
max-ttl = "90s"
expired = "discard"
stranded-after = "1500ms"
crash-suspects = 0
breaker = { enabled = false, share = 0.25, at-least = 7, window = "2s", pause = "3s", max-pause = "4s" }
dead-letters = { max-messages = 9, max-bytes = "1MiB", max-age = "7d" }
delays = { slow = "10s", odd = { first = "1s", initial = "2s", multiplier = 3.5, max = "1h", jitter = 0.5 } }
rules = [
  { name = "a", outcome = "failed", condition = "*timeout*", attempt = "1-3", action = "retry", delay = "slow" },
  { name = "b", outcome = "rejected", annotation = "x-final=true", attempt = "4-", class = "poison" },
  { name = "c", outcome = "lost", annotation = "x", attempt = 2, action = "release" },
]
"#;

#[test]
fn what_settings_of_writes_is_read_back_as_the_same_policy() {
    for policy in [QueuePolicy::default(), config(RULED).policy_for("orders")] {
        let text = toml::to_string(&settings_of(&policy)).unwrap();
        assert_eq!(Config::default().overlaid("q", &text), (policy, Vec::new()), "{text}");
    }
}

#[test]
fn settings_of_has_every_key_a_queue_can_have() {
    let (_, keys) = super::super::sections::parse("");
    let settings = settings_of(&QueuePolicy::default());
    let ours = keys.iter().filter_map(|key| key.strip_prefix("queue."));
    for key in ours.filter(|key| !key.contains(['.', ' ']) && *key != "name") {
        assert!(settings.contains_key(key), "{key}");
    }
}

#[test]
fn what_is_given_goes_before_the_configuration_and_the_rest_is_as_there() {
    let (policy, problems) =
        config(RULED).overlaid("orders", "max-attempts = 9\nretry-delay = { max = \"1m\" }");
    let mut expected = config(RULED).policy_for("orders");
    expected.max_attempts = 9;
    expected.retry_delay.max_ms = 60_000;
    assert_eq!((policy, problems), (expected, Vec::new()));
}

#[test]
fn what_is_wrong_is_told_as_in_a_file_and_the_configuration_holds_for_it() {
    let text = "max-attempts = 0\nmax-mesages = 3\nmax-bytes = 5";
    let (policy, problems) = Config::default().overlaid("q", text);
    assert_eq!(policy, QueuePolicy { max_bytes: Some(5), ..QueuePolicy::default() });
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("settings.max-attempts = 0: expected a whole number from 1 to"));
    assert!(problems[1].contains("settings.max-mesages: unknown key (did you mean \"max-messages\"?)"));
    assert!(Config::default().overlaid("q", "= 3").1[0].contains("not TOML"));
}

#[test]
fn a_queue_is_named_by_its_entry_or_by_a_pattern() {
    let config = config("[[queue]]\nname = \"orders\"\n[[queue]]\nname = \"jobs.*\"");
    assert!(config.names("orders") && config.names("jobs.a"));
    assert!(!config.names("other"));
}

#[test]
fn managers_are_everybody_unless_said_otherwise() {
    let managers =
        |text: &str| config(text).auth.managers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(managers(""), ["*"]);
    assert_eq!(managers("[auth]\nmanagers = [\"alice\", \"ops-*\"]"), ["alice", "ops-*"]);
    assert!(managers("[auth]\nmanagers = []").is_empty());
    let wrong = Config::parse("[auth]\nmanagers = 3").unwrap_err().to_string();
    assert!(wrong.contains("auth.managers = 3: expected a list of user names or patterns"), "{wrong}");
}
