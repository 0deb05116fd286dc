//! Where links are: from their ids, which are never reused, to their places.
//!
//! Invariant: sorted by id, as ids only grow. A command that names the same link as the one before costs a
//! comparison, any other a binary search. Removing leaves a gap, swept once gaps outnumber links, so that it costs
//! no move of all that come after: a peer may have hundreds of thousands of links and end them one by one.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::amqp::LinkId;

/// Where a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Our channel.
    pub channel: u16,
    /// Our handle.
    pub handle: u32,
}

/// Ids and places.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// `None`: removed.
    places: Vec<(LinkId, Option<Place>)>,
    removed: usize,
    /// Only a guess; atomic so that a connection can be shared.
    last: AtomicUsize,
}

impl Index {
    /// Adds a link with an id greater than all before.
    pub fn push(&mut self, id: LinkId, place: Place) {
        self.places.push((id, Some(place)));
    }

    pub fn remove(&mut self, id: LinkId) {
        let Ok(at) = self.places.binary_search_by_key(&id, |&(id, _)| id) else { return };
        if self.places.get_mut(at).is_some_and(|(_, place)| place.take().is_some()) {
            self.removed += 1;
        }
        if self.removed * 2 > self.places.len() {
            self.places.retain(|(_, place)| place.is_some());
            self.removed = 0;
        }
    }

    pub fn get(&self, id: LinkId) -> Option<Place> {
        if let Some(&(other, place)) = self.places.get(self.last.load(Relaxed))
            && other == id
        {
            return place;
        }
        let at = self.places.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        self.last.store(at, Relaxed);
        self.places.get(at).and_then(|&(_, place)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_that_was_removed() {
        let mut index = Index::default();
        for id in 0..10 {
            index.push(LinkId(id), Place { channel: 0, handle: id });
        }
        assert_eq!(index.get(LinkId(7)).map(|place| place.handle), Some(7));
        index.remove(LinkId(7));
        index.remove(LinkId(3));
        assert_eq!(index.get(LinkId(7)), None);
        assert_eq!(index.get(LinkId(8)).map(|place| place.handle), Some(8));
    }

    #[test]
    fn gaps_never_outnumber_links() {
        let mut index = Index::default();
        for id in 0..1000 {
            index.push(LinkId(id), Place { channel: 0, handle: 0 });
            index.remove(LinkId(id.saturating_sub(10)));
            index.remove(LinkId(id.saturating_sub(10)));
            assert!(index.places.len() <= 22, "{} places for 10 links", index.places.len());
        }
        assert_eq!(index.places.iter().filter(|(_, place)| place.is_some()).count(), 10);
        assert!((990..1000).all(|id| index.get(LinkId(id)).is_some()));
    }
}
