//! Where links are: from their ids, which are never reused, to their places.
//!
//! Invariant: sorted by id, as ids only grow. A command that names the same link as the one before costs a
//! comparison, any other a binary search.

use std::cell::Cell;

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
    places: Vec<(LinkId, Place)>,
    last: Cell<usize>,
}

impl Index {
    /// Adds a link with an id greater than all before.
    pub fn push(&mut self, id: LinkId, place: Place) {
        self.places.push((id, place));
    }

    pub fn remove(&mut self, id: LinkId) {
        if let Ok(at) = self.places.binary_search_by_key(&id, |&(id, _)| id) {
            self.places.remove(at);
        }
    }

    pub fn get(&self, id: LinkId) -> Option<Place> {
        if let Some(&(other, place)) = self.places.get(self.last.get())
            && other == id
        {
            return Some(place);
        }
        let at = self.places.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        self.last.set(at);
        self.places.get(at).map(|&(_, place)| place)
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
}
