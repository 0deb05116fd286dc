//! What the catalogue knows, against going through all letters one by one.

use proptest::prelude::*;

use super::*;
use crate::broker::{Cause as Said, Death, Failure, FailureOutcome};

fn state(reason: DeathReason, condition: &str, description: &str, time: u64, attempts: u32) -> EntryState {
    let cause = Said { condition: condition.into(), description: Some(description.into()), info: None };
    let failure = Failure {
        time: Millis(time),
        consumer: format!("c{}/l (u)", attempts % 3).into(),
        outcome: FailureOutcome::Rejected,
        cause: Some(cause.clone()),
        annotations: Default::default(),
        delay_ms: 0,
        rule: "default".into(),
    };
    let death = Death {
        reason,
        cause: Some(cause),
        time: Millis(time),
        attempts,
        queue: "orders".into(),
        address: "orders".into(),
        first: ("orders".into(), reason),
    };
    EntryState { failures: vec![failure], death: Some(Box::new(death)), ..EntryState::default() }
}

fn any_state() -> impl Strategy<Value = EntryState> {
    let reason = prop_oneof![Just(DeathReason::Rejected), Just(DeathReason::MaxAttempts)];
    (reason, "[ab]", "[xy] [0-9]", 0u64..20, 1u32..5).prop_map(
        |(reason, condition, description, time, attempts)| {
            state(reason, &condition, &description, time, attempts)
        },
    )
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let reason = prop_oneof![Just(None), Just(Some(DeathReason::Rejected))];
    let times = (proptest::option::of(0u64..20), proptest::option::of(0u64..20));
    let attempts = (proptest::option::of(0u32..5), proptest::option::of(0u32..5));
    let words = (
        proptest::option::of("[ab*]"),
        proptest::option::of("[xy] [#0-9]"),
        proptest::option::of("c[012]\\*"),
    );
    (reason, times, attempts, words).prop_map(|(reason, times, attempts, words)| Filter {
        reason,
        since: times.0.map(Millis),
        until: times.1.map(Millis),
        min_attempts: attempts.0,
        max_attempts: attempts.1,
        condition: words.0,
        description: words.1,
        consumer: words.2,
        ..Filter::default()
    })
}

proptest! {
    #[test]
    fn what_it_says_of_a_letter_is_what_the_state_says(
        states in proptest::collection::vec((0u64..2000, any_state()), 0..60),
        gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        filter in any_filter(),
    ) {
        let mut catalogue = Catalogue::default();
        let mut model = BTreeMap::new();
        for (seq, state) in states {
            catalogue.came(seq, &state);
            model.insert(seq, state);
        }
        for index in gone.into_iter().filter(|_| !model.is_empty()).collect::<Vec<_>>() {
            if model.is_empty() { break; }
            let seq = *model.keys().nth(index.index(model.len())).unwrap();
            model.remove(&seq);
            catalogue.went(seq);
            catalogue.went(seq);
        }
        let wanted: Vec<u64> =
            model.iter().filter(|(seq, state)| filter.fits_state(**seq, state, b"")).map(|(seq, _)| *seq).collect();
        let (found, next) = catalogue.find(0, &filter, usize::MAX, usize::MAX);
        prop_assert_eq!(next, None);
        let sure = found.iter().filter(|(seq, judged)| *judged == Judged::Yes || filter.fits_state(*seq, &model[seq], b""));
        prop_assert_eq!(sure.map(|(seq, _)| *seq).collect::<Vec<_>>(), wanted);
        // In pages it is the same.
        let (mut paged, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let (more, next) = catalogue.find(at, &filter, 300, 7);
            paged.extend(more);
            from = next;
        }
        prop_assert_eq!(paged, found.clone());
        let (yes, maybe) = catalogue.count(&filter);
        prop_assert_eq!((yes + maybe) as usize, found.len());
        let causes = catalogue.causes(&filter);
        prop_assert_eq!(causes.iter().map(|cause| cause.count).sum::<u64>() as usize, found.len());
        prop_assert!(catalogue.causes.index.len() <= model.len() && catalogue.is_empty() == model.is_empty());
    }
}

#[test]
fn letters_are_grouped_by_what_they_died_of() {
    let mut catalogue = Catalogue::default();
    for (seq, description, time) in [(3, "no order 17", 50), (4, "no order 18", 40), (9, "no such user", 60)]
    {
        catalogue.came(seq, &state(DeathReason::Rejected, "app:missing", description, time, 1));
    }
    let causes = catalogue.causes(&Filter::default());
    let seen: Vec<_> = causes.iter().map(|c| (c.count, &*c.description, c.times, c.example)).collect();
    let times = |a, b| (Millis(a), Millis(b));
    assert_eq!(seen, [(2, "no order #", times(40, 50), Seq(3)), (1, "no such user", times(60, 60), Seq(9))]);
    assert_eq!(catalogue.get(4).map(|letter| letter.cause), Some(causes[0].id));
    assert_eq!(catalogue.get(5), None);
}

#[test]
fn more_causes_than_are_told_apart_are_counted_together_and_still_found() {
    let mut catalogue = Catalogue::default();
    // Words that are no numbers: letters only.
    let word = |n: u64| {
        format!("q{}", n.to_string().bytes().map(|b| char::from(b'g' + (b - b'0'))).collect::<String>())
    };
    let states: Vec<_> =
        (0..NAMES as u64 + 50).map(|n| state(DeathReason::Rejected, &word(n), "", n, 1)).collect();
    states.iter().zip(0..).for_each(|(state, seq)| catalogue.came(seq, state));
    let causes = catalogue.causes(&Filter::default());
    assert_eq!((causes.len(), causes[0].count, causes[0].various), (NAMES + 1, 50, true));
    let last = NAMES as u64 + 49;
    let filter = Filter { condition: Some(word(last)), ..Filter::default() };
    let (found, _) = catalogue.find(0, &filter, usize::MAX, usize::MAX);
    assert_eq!(found.len(), 50, "all that are not told apart may be meant");
    let sure: Vec<u64> = found
        .iter()
        .map(|f| f.0)
        .filter(|seq| filter.fits_state(*seq, &states[*seq as usize], b""))
        .collect();
    assert_eq!(sure, [last]);
    let together = Filter { cause: Some(causes[0].id), ..Filter::default() };
    assert_eq!(catalogue.count(&together), (50, 0));
}

#[test]
fn a_million_letters_take_24_bytes_each() {
    assert_eq!(size_of::<Small>(), 24);
}
