//! The ids queues remember, compared like the messages: as the index has them, and as the journal alone gives them.
//!
//! Invariant: says nothing about how far ids are forgotten: a journal whose oldest segments have gone may know less
//! of that, and need not know more.

use std::collections::BTreeMap;

use super::{Report, add_limited};
use crate::broker::QueueId;
use crate::store::seen::SeenIds;

/// By queue.
pub(super) type Ids = BTreeMap<QueueId, SeenIds>;

/// Tells every id that only one of the two has, or has at another place.
pub(super) fn compare(index: &Ids, journal: &Ids, advice: &str, report: &mut Report) {
    let none = SeenIds::default();
    let queues = index.keys().chain(journal.keys().filter(|queue| !index.contains_key(queue)));
    let mut differences = Vec::new();
    for queue in queues {
        let (in_index, in_journal) =
            (&index.get(queue).unwrap_or(&none).ids, &journal.get(queue).unwrap_or(&none).ids);
        let missing = in_journal.keys().filter(|number| !in_index.contains_key(number));
        for number in in_index.keys().chain(missing) {
            let words = match (in_index.get(number), in_journal.get(number)) {
                (Some(a), Some(b)) if a == b => continue,
                (Some(_), Some(_)) => "the index and the journal have another key, time or segment for it",
                (Some(_), None) => "in the index, but not in the journal",
                (None, _) => "in the journal, but not in the index",
            };
            differences.push(format!("queue {} id {number} of duplicate detection: {words}", queue.0));
        }
    }
    add_limited(report, differences, advice);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Fingerprint, SeenId};
    use crate::time::Millis;

    fn ids(numbers: &[u64], oldest: u64, segment: u32) -> Ids {
        let one = |number: &u64| SeenId { number: *number, key: Fingerprint([1; 16]), at: Millis(5) };
        let mut seen = SeenIds::default();
        seen.note(&numbers.iter().map(one).collect::<Vec<_>>(), oldest, segment);
        Ids::from([(QueueId(2), seen)])
    }

    fn found(index: &Ids, journal: &Ids) -> Vec<String> {
        let mut report = Report::default();
        compare(index, journal, "advice", &mut report);
        report.findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn ids_only_one_of_the_two_has_are_told() {
        assert!(found(&ids(&[7, 8], 7, 3), &ids(&[7, 8], 1, 3)).is_empty());
        let texts = found(&ids(&[7, 8], 1, 3), &ids(&[8, 9], 1, 3));
        let of = |number: u32| format!("queue 2 id {number} of duplicate detection: in the ");
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with(&(of(7) + "index, but not")), "{texts:?}");
        assert!(texts[1].starts_with(&(of(9) + "journal, but not")), "{texts:?}");
        assert_eq!(found(&ids(&[7], 1, 3), &ids(&[7], 1, 4)).len(), 1);
        assert_eq!(found(&Ids::new(), &ids(&[7], 1, 4)).len(), 1);
    }
}
