//! Tests of a queue's `rules` and `delays`.

use super::{Config, errors};
use crate::broker::policy::{
    Action, AttemptRange, Class, QueuePolicy, RetryDelay, Rule, RuleAnnotation, RuleOutcome,
};

fn policy(text: &str) -> QueuePolicy {
    Config::parse(text).unwrap().policy_for("q")
}

/// The rules of a queue with these lines in it.
fn rules(text: &str) -> Vec<Rule> {
    policy(&format!("[[queue]]\nname = \"q\"\n{text}")).rules
}

#[test]
fn every_key_of_a_rule_is_read() {
    let got = policy(
        r#"
        [[queue]]
        name = "q"
        rules = [
          { name = "a", outcome = "failed", condition = "*timeout*", attempt = "1-3", annotation = "x-kind=s*",
            class = "transient", action = "retry", delay = "slow" },
          { name = "b", outcome = "rejected", action = "dead-letter", annotation = "x-kind" },
          { name = "c", outcome = "lost", class = "poison" },
        ]
        [queue.delays]
        slow = { first = "1s", initial = "10s" }
        fixed = "7s"
        "#,
    );
    let none = Rule {
        name: "a".into(),
        outcome: Some(RuleOutcome::Failed),
        condition: None,
        annotation: None,
        attempt: None,
        class: Class::Permanent,
        action: Action::DeadLetter,
        delay: None,
    };
    let kind = RuleAnnotation { name: "x-kind".into(), value: None };
    let expected = [
        Rule {
            condition: Some("*timeout*".into()),
            annotation: Some(RuleAnnotation { value: Some("s*".into()), ..kind.clone() }),
            attempt: Some(AttemptRange { from: 1, to: 3 }),
            class: Class::Transient,
            action: Action::Retry,
            delay: Some("slow".into()),
            ..none.clone()
        },
        Rule {
            name: "b".into(),
            outcome: Some(RuleOutcome::Rejected),
            annotation: Some(kind),
            ..none.clone()
        },
        Rule { name: "c".into(), outcome: Some(RuleOutcome::Lost), class: Class::Poison, ..none },
    ];
    assert_eq!(got.rules, expected);
    let slow = RetryDelay { first_ms: 1000, initial_ms: 10_000, ..RetryDelay::default() };
    let fixed = RetryDelay {
        first_ms: 7000,
        initial_ms: 7000,
        multiplier: 1.0,
        max_ms: 7000,
        ..RetryDelay::default()
    };
    assert_eq!(got.delays, [("slow".to_owned(), slow), ("fixed".to_owned(), fixed)].into());
}

#[test]
fn class_and_action_say_each_other() {
    let table = [
        ("class = \"transient\"", Class::Transient, Action::Retry),
        ("class = \"permanent\"", Class::Permanent, Action::DeadLetter),
        ("class = \"poison\"", Class::Poison, Action::DeadLetter),
        ("action = \"retry\"", Class::Transient, Action::Retry),
        ("action = \"release\"", Class::Transient, Action::Release),
        ("action = \"dead-letter\"", Class::Permanent, Action::DeadLetter),
        ("class = \"transient\", action = \"dead-letter\"", Class::Transient, Action::DeadLetter),
    ];
    for (text, class, action) in table {
        let got = rules(&format!("rules = [{{ name = \"r\", {text} }}]"));
        assert_eq!(got.first().map(|rule| (rule.class, rule.action)), Some((class, action)), "{text}");
    }
}

#[test]
fn attempts_are_a_number_or_a_range() {
    let table =
        [("3", 3, 3), ("\"3\"", 3, 3), ("\"1-3\"", 1, 3), ("\"2 - 4\"", 2, 4), ("\"4-\"", 4, u32::MAX)];
    for (text, from, to) in table {
        let got = rules(&format!("rules = [{{ name = \"r\", class = \"poison\", attempt = {text} }}]"));
        assert_eq!(got.first().and_then(|rule| rule.attempt), Some(AttemptRange { from, to }), "{text}");
    }
}

#[test]
fn a_bad_rule_is_named_with_key_value_and_expectation() {
    let table = [
        (
            "action = \"retry\", delay = \"slo\"",
            "delay = \"slo\": expected the name of one of `delays`: \"slow\"",
        ),
        (
            "action = \"release\", delay = \"slow\"",
            "delay = \"slow\": expected no delay: only action = \"retry\"",
        ),
        (
            "outcome = \"released\", action = \"retry\"",
            "outcome = \"released\": expected \"failed\", \"rejected\"",
        ),
        ("class = \"fatal\"", "class = \"fatal\": expected \"transient\", \"permanent\" or \"poison\""),
        ("action = \"drop\"", "action = \"drop\": expected \"retry\", \"dead-letter\" or \"release\""),
        (
            "class = \"permanent\", action = \"retry\"",
            "action = \"retry\": expected \"dead-letter\": a permanent",
        ),
        (
            "class = \"poison\", action = \"release\"",
            "action = \"release\": expected \"dead-letter\": a permanent",
        ),
        (
            "condition = \"x\"",
            "action: missing; expected \"retry\", \"dead-letter\" or \"release\", or a class",
        ),
        ("class = \"poison\", condition = \"\"", "condition = \"\": expected a condition of 1 to 128 bytes"),
        (
            "class = \"poison\", annotation = \"=x\"",
            "annotation = \"=x\": expected \"NAME\" or \"NAME=VALUE\"",
        ),
        (
            "class = \"poison\", annotation = \"x=\"",
            "annotation = \"x=\": expected \"NAME\" or \"NAME=VALUE\"",
        ),
        ("class = \"poison\", attempt = 0", "attempt = 0: expected an attempt such as 3, or a range"),
        ("class = \"poison\", attempt = \"3-1\"", "attempt = \"3-1\": expected an attempt such as 3"),
        ("class = \"poison\", attempt = \"-3\"", "attempt = \"-3\": expected an attempt such as 3"),
        ("class = \"poison\", conditon = \"x\"", "conditon: unknown key"),
    ];
    for (text, expected) in table {
        let file =
            format!("[queue-defaults]\ndelays.slow = \"1s\"\nrules = [\n{{ name = \"my rule\", {text} }}]");
        let got = errors(&file);
        let [(line, got)] = got.as_slice() else { panic!("{text}: {got:?}") };
        let expected = format!("queue-defaults.rules \"my rule\".{expected}");
        assert!(got.starts_with(&expected), "{text}\n   got: {got}\nexpect: {expected}");
        assert_eq!(*line, 4, "{text}");
    }
}

#[test]
fn a_rule_has_a_name_of_its_own() {
    let one = |text: &str| {
        let got = errors(&format!("queue-defaults.rules = [{text}]"));
        got.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    assert_eq!(
        one("{ class = \"poison\" }"),
        ["queue-defaults.rules number 1: name is missing; expected a name for the failure record"]
    );
    for name in ["", "default", "shipped:parse"] {
        let got = one(&format!("{{ name = \"{name}\", class = \"poison\" }}"));
        let expected = format!("queue-defaults.rules \"{name}\".name = \"{name}\": expected a name of 1 to");
        assert!(got.len() == 1 && got.iter().all(|text| text.starts_with(&expected)), "{got:?}");
    }
    assert_eq!(
        one("{ name = \"a\", class = \"poison\" }, { name = \"a\", class = \"poison\" }"),
        ["queue-defaults.rules \"a\": expected each rule's name once"]
    );
}

#[test]
fn rules_and_delays_that_are_none_are_refused() {
    let table = [
        ("rules = 1", "rules = 1: expected a list of at most 100 rules"),
        ("rules = [1]", "rules = [1]: expected a list of at most 100 rules"),
        ("delays = 1", "delays = 1: expected a table"),
        ("delays.slow = 1", "delays.slow = 1: expected a duration such as \"10s\", or { first ="),
        ("delays.slow = { firts = \"1s\" }", "delays.slow.firts: unknown key"),
        ("delays.slow = { first = 1 }", "delays.slow.first = 1: expected a duration"),
        (
            "rules = [{ name = \"r\", action = \"retry\", delay = \"slow\" }]",
            "rules \"r\".delay = \"slow\": expected the name of a delay, and there is no table of `delays`",
        ),
    ];
    for (text, expected) in table {
        let got = errors(&format!("[queue-defaults]\n{text}"));
        let [(_, got)] = got.as_slice() else { panic!("{text}: {got:?}") };
        assert!(got.starts_with(&format!("queue-defaults.{expected}")), "{text}\n   got: {got}");
    }
}

#[test]
fn a_queues_rules_replace_the_defaults_and_its_delays_are_added() {
    let text = r#"
        [queue-defaults]
        rules = [{ name = "default rule", action = "retry", delay = "slow" }]
        delays = { slow = "10s", other = "1s" }
        [[queue]]
        name = "q"
        rules = [{ name = "own", action = "retry", delay = "slow" }]
        delays = { slow = "20s" }
        [[queue]]
        name = "none"
        rules = []
    "#;
    let config = Config::parse(text).unwrap();
    let names = |queue| config.policy_for(queue).rules.into_iter().map(|rule| rule.name).collect::<Vec<_>>();
    assert_eq!(names("q"), ["own"]);
    assert_eq!(names("none"), Vec::<String>::new());
    assert_eq!(names("elsewhere"), ["default rule"]);
    let delays = config.policy_for("q").delays;
    let first: Vec<_> = delays.iter().map(|(name, delay)| (name.as_str(), delay.first_ms)).collect();
    assert_eq!(first, [("other", 1000), ("slow", 20_000)]);
}
