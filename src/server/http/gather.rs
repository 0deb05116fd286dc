//! Asks every queue's task for its numbers, and sums those that must not have a label of their own.
//!
//! Invariant: takes no longer than `PATIENCE` and gives at most `LABELLED` queues by name, whatever peers
//! create: dynamic queues are one row, permanent ones beyond the limit another. The dynamic row's counters
//! never shrink: queues that ended stay in its sum. Does not know how it is written down.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{
    ask,
    queue::{Snapshot, ToQueue},
    registry::Registry,
};
use crate::broker::Tally;

/// How long the queues have to answer, all together.
const PATIENCE: Duration = Duration::from_secs(2);
/// Queues with a name of their own in the output, the oldest first.
pub(super) const LABELLED: usize = 2000;
/// The label of all dynamic queues together.
pub(super) const DYNAMIC: &str = "(dynamic)";
/// The label of all permanent queues beyond the first `LABELLED`, and of any that has such a name itself:
/// a series that came twice would make the whole page worthless.
pub(super) const OTHERS: &str = "(others)";

/// What the queues say.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// By label.
    pub rows: Vec<(String, Snapshot)>,
    /// Queues there are, permanent and dynamic.
    pub count: (usize, usize),
    /// Queues that did not answer in time, and are in no row.
    pub unanswered: usize,
}

/// Asks all queues. `dynamic` is what was last told of the dynamic ones.
pub(super) async fn queues(registry: &Registry, dynamic: &mut Tally) -> Queues {
    let deadline = Instant::now() + PATIENCE;
    let (handles, ended) = registry.watched();
    let answered = ask::all(handles, ToQueue::Stats, deadline).await;
    let answered =
        answered.into_iter().map(|(queue, snapshot)| (queue.name, queue.dynamic, snapshot)).collect();
    sum(answered, &ended, dynamic)
}

fn sum(answered: Vec<(String, bool, Option<Snapshot>)>, ended: &Tally, dynamic: &mut Tally) -> Queues {
    let mut queues = Queues::default();
    let mut temporary = Snapshot { tally: *ended, ..Snapshot::default() };
    let mut others: Option<Snapshot> = None;
    for (name, is_dynamic, snapshot) in answered {
        *(if is_dynamic { &mut queues.count.1 } else { &mut queues.count.0 }) += 1;
        match snapshot {
            None => queues.unanswered += 1,
            Some(snapshot) if is_dynamic => temporary.add(&snapshot),
            Some(snapshot) if queues.rows.len() < LABELLED && ![DYNAMIC, OTHERS].contains(&&*name) => {
                queues.rows.push((name, snapshot));
            }
            Some(snapshot) => others.get_or_insert_default().add(&snapshot),
        }
    }
    // A queue between its last answer and its end is in neither sum for a moment.
    temporary.tally.at_least(dynamic);
    *dynamic = temporary.tally;
    if queues.count.1 > 0 || temporary.tally != Tally::default() {
        queues.rows.push((DYNAMIC.to_owned(), temporary));
    }
    queues.rows.extend(others.map(|others| (OTHERS.to_owned(), others)));
    queues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Counts;

    fn snapshot(published: u64) -> Snapshot {
        Snapshot {
            main: Counts { available: published, ..Counts::default() },
            tally: Tally { published, ..Tally::default() },
            oldest_age_ms: published * 10,
            ..Snapshot::default()
        }
    }

    #[test]
    fn dynamic_queues_are_one_row_and_its_counters_never_shrink() {
        let mut dynamic = Tally::default();
        let queue = |n| ("x".to_owned(), true, Some(snapshot(n)));
        let first = sum(vec![queue(1), queue(2)], &Tally::default(), &mut dynamic);
        assert_eq!(first.rows.len(), 1);
        let (label, row) = &first.rows[0];
        assert_eq!(
            (&**label, row.main.available, row.tally.published, row.oldest_age_ms),
            (DYNAMIC, 3, 3, 20)
        );
        // One has left the registry and has not told its numbers yet; then it has.
        let second = sum(vec![queue(1)], &Tally::default(), &mut dynamic);
        assert_eq!((second.rows[0].1.main.available, second.rows[0].1.tally.published), (1, 3));
        let third = sum(vec![queue(1)], &Tally { published: 3, ..Tally::default() }, &mut dynamic);
        assert_eq!(third.rows[0].1.tally.published, 4);
        let last = sum(vec![], &Tally { published: 4, ..Tally::default() }, &mut dynamic);
        assert_eq!(last.rows[0].1.tally.published, 4);
    }

    #[test]
    fn queues_beyond_the_limit_are_one_row() {
        let many = (0..LABELLED + 5).map(|i| (format!("q{i}"), false, Some(snapshot(1)))).collect();
        let queues = sum(many, &Tally::default(), &mut Tally::default());
        assert_eq!(queues.rows.len(), LABELLED + 1);
        let (label, row) = queues.rows.last().unwrap();
        assert_eq!((&**label, row.main.available), (OTHERS, 5));
        assert_eq!(queues.count, (LABELLED + 5, 0));
    }

    #[test]
    fn a_queue_named_like_a_sum_does_not_come_twice() {
        let taken = |name: &str| (name.to_owned(), false, Some(snapshot(1)));
        let answered = vec![taken(DYNAMIC), taken(OTHERS), ("x".to_owned(), true, Some(snapshot(5)))];
        let queues = sum(answered, &Tally::default(), &mut Tally::default());
        let labels: Vec<_> = queues.rows.iter().map(|(name, row)| (&**name, row.tally.published)).collect();
        assert_eq!(labels, [(DYNAMIC, 5), (OTHERS, 2)]);
    }

    #[test]
    fn a_queue_that_does_not_answer_is_counted_and_in_no_row() {
        let queues = sum(vec![("q".to_owned(), false, None)], &Tally::default(), &mut Tally::default());
        assert_eq!((queues.rows.len(), queues.unanswered, queues.count), (0, 1, (1, 0)));
    }
}
