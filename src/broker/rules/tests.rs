//! Matching of rules, each criterion by itself, and of patterns.

use super::*;
use crate::broker::policy::AttemptRange;

/// A rule on anything.
fn rule(name: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        outcome: None,
        condition: None,
        annotation: None,
        attempt: None,
        class: Class::Transient,
        action: Action::Retry,
        delay: None,
    }
}

const FAILED: Nack<'_> =
    Nack { outcome: FailureOutcome::Failed, condition: "app:busy", annotations: &[], attempt: 1 };

fn policy(rules: Vec<Rule>) -> QueuePolicy {
    QueuePolicy { rules, ..QueuePolicy::default() }
}

/// The name of the rule that decides.
fn decider(rules: &[Rule], nack: &Nack<'_>) -> Option<String> {
    decide(&policy(rules.to_vec()), nack).map(|ruling| ruling.rule)
}

fn hits(rule: &Rule, nack: &Nack<'_>) -> bool {
    decider(std::slice::from_ref(rule), nack).as_deref() == Some(rule.name.as_str())
}

#[test]
fn the_first_rule_that_matches_decides() {
    let busy = Rule { condition: Some("app:busy".into()), ..rule("busy") };
    let app = Rule { condition: Some("app:*".into()), ..rule("app") };
    let any = rule("any");
    let rules = [busy.clone(), app.clone(), any.clone()];
    assert_eq!(decider(&rules, &FAILED).as_deref(), Some("busy"));
    assert_eq!(decider(&rules, &Nack { condition: "app:gone", ..FAILED }).as_deref(), Some("app"));
    assert_eq!(decider(&rules, &Nack { condition: "", ..FAILED }).as_deref(), Some("any"));
    assert_eq!(decider(&[any, app, busy], &FAILED).as_deref(), Some("any"));
    assert_eq!(decider(&[], &FAILED), None);
}

#[test]
fn shipped_rules_come_after_the_queues_own() {
    let nack = Nack { condition: "amqp:decode-error", ..FAILED };
    let ruling = decide(&policy(vec![]), &nack).unwrap();
    assert_eq!(ruling.rule, "shipped:decode-error");
    assert_eq!((ruling.class, ruling.action), (Class::Permanent, Action::DeadLetter));
    assert_eq!(decider(&[rule("mine")], &nack).as_deref(), Some("mine"));
}

#[test]
fn parse_and_validation_errors_are_what_the_shipped_rules_are_about() {
    let table = [
        ("amqp:decode-error", Some("shipped:decode-error")),
        ("amqp:invalid-field", Some("shipped:invalid-field")),
        ("app:parse-error", Some("shipped:parse")),
        ("com.example.JsonParseException", Some("shipped:parse")),
        ("ValidationError", Some("shipped:validation")),
        ("app:timeout", None),
        ("amqp:internal-error", None),
        ("", None),
    ];
    for (condition, expected) in table {
        assert_eq!(decider(&[], &Nack { condition, ..FAILED }).as_deref(), expected, "{condition}");
    }
    assert!(
        SHIPPED
            .iter()
            .all(|(name, pattern)| name.starts_with(SHIPPED_PREFIX) && pattern.len() <= PATTERN_MAX)
    );
}

#[test]
fn a_rejection_needs_no_shipped_rule() {
    let nack = Nack { outcome: FailureOutcome::Rejected, condition: "amqp:decode-error", ..FAILED };
    assert_eq!(decider(&[], &nack), None);
}

#[test]
fn a_rule_may_ask_for_the_outcome() {
    let outcomes = [FailureOutcome::Failed, FailureOutcome::Rejected, FailureOutcome::Lost];
    let asked = [RuleOutcome::Failed, RuleOutcome::Rejected, RuleOutcome::Lost];
    for (i, wanted) in asked.into_iter().enumerate() {
        for (j, outcome) in outcomes.into_iter().enumerate() {
            let rule = Rule { outcome: Some(wanted), ..rule("r") };
            assert_eq!(hits(&rule, &Nack { outcome, ..FAILED }), i == j, "{wanted:?} {outcome:?}");
        }
    }
    let expired = Nack { outcome: FailureOutcome::Expired, ..FAILED };
    assert!(!hits(&Rule { action: Action::DeadLetter, ..rule("r") }, &expired));
}

#[test]
fn only_a_rule_that_says_rejected_does_anything_with_it_but_dead_letter() {
    let rejected = Nack { outcome: FailureOutcome::Rejected, ..FAILED };
    for (action, unsaid) in [(Action::Retry, false), (Action::Release, false), (Action::DeadLetter, true)] {
        assert_eq!(hits(&Rule { action, ..rule("r") }, &rejected), unsaid, "{action:?}");
        assert!(hits(&Rule { action, outcome: Some(RuleOutcome::Rejected), ..rule("r") }, &rejected));
    }
}

#[test]
fn a_rule_may_ask_for_the_error_condition() {
    let timeouts = Rule { condition: Some("*timeout*".into()), ..rule("r") };
    assert!(hits(&timeouts, &Nack { condition: "db:Timeout", ..FAILED }));
    assert!(!hits(&timeouts, &Nack { condition: "db:locked", ..FAILED }));
    let any = Rule { condition: Some("*".into()), ..rule("r") };
    assert!(hits(&any, &FAILED));
    assert!(!hits(&any, &Nack { condition: "", ..FAILED }), "no condition is not an empty one");
}

#[test]
fn a_rule_may_ask_for_an_annotation_and_its_value() {
    let given = [("x-kind".to_owned(), "slow".to_owned()), ("x-retry".to_owned(), "true".to_owned())];
    let table = [
        ("x-kind", None, true),
        ("x-kind", Some("slow"), true),
        ("x-kind", Some("s*"), true),
        ("x-kind", Some("fast"), false),
        ("x-kind", Some("true"), false),
        ("X-kind", None, false),
        ("x-other", None, false),
    ];
    for (name, value, expected) in table {
        let annotation = RuleAnnotation { name: name.to_owned(), value: value.map(str::to_owned) };
        let rule = Rule { annotation: Some(annotation), ..rule("r") };
        assert_eq!(hits(&rule, &Nack { annotations: &given, ..FAILED }), expected, "{name} {value:?}");
        assert!(!hits(&rule, &FAILED));
    }
}

#[test]
fn a_rule_may_ask_for_the_attempt() {
    let rule = Rule { attempt: Some(AttemptRange { from: 2, to: 4 }), ..rule("r") };
    let hit: Vec<u32> =
        (1..=6).filter(|attempt| hits(&rule, &Nack { attempt: *attempt, ..FAILED })).collect();
    assert_eq!(hit, [2, 3, 4]);
}

#[test]
fn all_that_a_rule_asks_for_must_be_there() {
    let both =
        Rule { condition: Some("app:*".into()), attempt: Some(AttemptRange { from: 1, to: 1 }), ..rule("r") };
    assert!(hits(&both, &FAILED));
    assert!(!hits(&both, &Nack { attempt: 2, ..FAILED }));
    assert!(!hits(&both, &Nack { condition: "db:busy", ..FAILED }));
}

#[test]
fn a_ruling_has_the_delay_its_rule_names() {
    let slow = RetryDelay { first_ms: 9000, ..RetryDelay::default() };
    let mut policy = policy(vec![Rule { delay: Some("slow".into()), ..rule("r") }]);
    policy.delays.insert("slow".into(), slow.clone());
    assert_eq!(decide(&policy, &FAILED).and_then(|ruling| ruling.delay), Some(slow));
}

#[test]
fn patterns_match() {
    let table = [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("*", "anything", true),
        ("**", "x", true),
        ("?", "", false),
        ("?", "a", true),
        ("?", "ü", true),
        ("?", "ab", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("abc", "ABC", true),
        ("ABC", "abc", true),
        ("*parse*", "app:ParseError", true),
        ("*parse*", "app:pars", false),
        ("amqp:*", "amqp:decode-error", true),
        ("amqp:*", "x-amqp:decode-error", false),
        ("*error", "decode-error", true),
        ("*error", "error-decode", false),
        ("a*b*c", "axbxbxc", true),
        ("a*b*c", "axcxb", false),
        ("*aab", "aaab", true),
        ("a*bb*b", "abb", false),
        ("*?", "", false),
        ("*?", "ab", true),
        ("?*?", "a", false),
        ("?*?", "ab", true),
        ("*a?c*", "xxabxabc", true),
        ("[a]", "a", false),
        ("a\\*", "a*", false),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(glob(pattern, text), expected, "{pattern:?} {text:?}");
    }
}

#[test]
fn a_pattern_of_many_stars_costs_no_more_than_text_times_pattern() {
    // With backtracking into every star this would not end in a lifetime.
    let pattern = "*a".repeat(PATTERN_MAX / 2 - 1) + "*b";
    let text = "a".repeat(10_000);
    assert!(!glob(&pattern, &text));
    assert!(glob(&pattern, &(text + "b")));
}
