//! States kept in memory, so that loading reads what came after.
//!
//! A table of so many cells, each with the last snapshot of some aggregate whose id has the cell's hash: two of them that share
//! a cell push each other out. So the table never grows, and looking into it is one load. A snapshot is replaced by a later
//! one of the same aggregate, or by another's, never by an earlier one.

use ahash::RandomState;

use super::aggregate::Loaded;
use crate::model::Revision;
use crate::sync::CopyOnWrite;

pub(super) struct Snapshots<A> {
    cells: Box<[CopyOnWrite<Kept<A>>]>,
    hasher: RandomState,
    /// So many events after the last snapshot, another one is kept.
    every: u64,
}

struct Kept<A> {
    id: Box<str>,
    loaded: Loaded<A>,
}

impl<A: Clone> Snapshots<A> {
    pub(super) fn new(every: u64, at_most: usize) -> Self {
        let cells = (0..at_most).map(|_| CopyOnWrite::new()).collect();
        Self { cells, hasher: RandomState::new(), every: every.max(1) }
    }

    fn cell(&self, id: &str) -> Option<&CopyOnWrite<Kept<A>>> {
        let cells = self.cells.len() as u64;
        let at = usize::try_from(self.hasher.hash_one(id).checked_rem(cells)?).ok()?;
        self.cells.get(at)
    }

    /// The snapshot of an aggregate, if there is one and it is not after `bound`.
    pub(super) fn find(&self, id: &str, bound: Revision) -> Option<Loaded<A>> {
        let kept = self.cell(id)?.load();
        let kept = kept.get().filter(|kept| *kept.id == *id && kept.loaded.revision <= Some(bound))?;
        Some(kept.loaded.clone())
    }

    /// Keeps a state, when it is time to.
    pub(super) fn keep(&self, id: &str, loaded: &Loaded<A>) {
        let (Some(cell), Some(revision)) = (self.cell(id), loaded.revision) else { return };
        cell.change(|kept| {
            let last = kept.filter(|kept| *kept.id == *id).and_then(|kept| kept.loaded.revision);
            let events = revision.get() + 1;
            let due = events.saturating_sub(last.map_or(0, |last| last.get() + 1)) >= self.every;
            due.then(|| Some(Kept { id: id.into(), loaded: loaded.clone() }))
        });
    }
}

#[cfg(all(test, not(any(loom, annals_shuttle))))]
mod tests {
    use super::*;

    fn at(revision: u64) -> Loaded<u64> {
        Loaded { state: revision, revision: Some(Revision::new(revision)) }
    }

    fn found(snapshots: &Snapshots<u64>, id: &str) -> Option<u64> {
        snapshots.find(id, Revision::MAX).map(|loaded| loaded.state)
    }

    /// A snapshot is replaced after so many events, never by an earlier one, and at once by another aggregate's.
    #[test]
    fn a_snapshot_is_kept_every_so_many_events() {
        let snapshots = Snapshots::new(3, 1);
        let kept = [1, 2, 4, 5, 3, 9].map(|revision| {
            snapshots.keep("a", &at(revision));
            found(&snapshots, "a")
        });
        assert_eq!(kept, [None, Some(2), Some(2), Some(5), Some(5), Some(9)]);
        snapshots.keep("b", &at(1));
        assert_eq!((found(&snapshots, "a"), found(&snapshots, "b")), (Some(9), None), "too short to be kept");
        snapshots.keep("b", &at(2));
        assert_eq!((found(&snapshots, "a"), found(&snapshots, "b")), (None, Some(2)), "they share the only cell");
        assert_eq!(snapshots.find("b", Revision::new(1)), None, "after the bound");
    }
}
