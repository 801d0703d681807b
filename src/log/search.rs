//! How many revisions of a stream, or cells of another index, have positions up to a place in the log.
//!
//! Positions grow with revisions, so this is a search. Each look is O(1), and mostly few are needed: searches begin where the
//! answer is likely to be, and go away from there in steps that double.

use super::index::Index;
use super::reclaim::Guard;
use crate::sync::{AtomicU64, Ordering};

impl Index {
    /// How many revisions have positions up to `end`. The caller has seen everything up to `end` finished.
    ///
    /// O(log k) looks for the k revisions after `end`; one when there are none.
    pub(crate) fn count(&self, end: u64, guard: &Guard) -> u64 {
        self.count_down(|position| position <= end, guard)
    }

    /// How many satisfy `before`, looked for from the last one back.
    pub(super) fn count_down(&self, before: impl Fn(u64) -> bool, guard: &Guard) -> u64 {
        let low = self.first_revision(guard);
        let (mut high, mut step) = (self.place(guard).revision(), 1);
        while high > low {
            let look = high.saturating_sub(step).max(low);
            if self.holds(look, &before, guard) {
                return self.between(look + 1, high, before, guard);
            }
            (high, step) = (look, step * 2);
        }
        low
    }

    /// How many satisfy `before`, of which `known` are known to: looked for from there on.
    pub(super) fn count_up(&self, known: u64, before: impl Fn(u64) -> bool, guard: &Guard) -> u64 {
        let high = self.place(guard).revision();
        let (mut low, mut step) = (known.max(self.first_revision(guard)), 1);
        while low < high {
            let look = low.saturating_add(step).min(high) - 1;
            if !self.holds(look, &before, guard) {
                return self.between(low, look, before, guard);
            }
            (low, step) = (look + 1, step * 2);
        }
        low
    }

    /// The first revision whose position does not satisfy `before`, which holds of a prefix: mostly of all or of none.
    pub(crate) fn partition(&self, before: impl Fn(u64) -> bool, guard: &Guard) -> u64 {
        let high = self.place(guard).revision();
        let low = self.first_revision(guard);
        if high > low && self.holds(high - 1, &before, guard) {
            return high;
        }
        if high > low && !self.holds(low, &before, guard) {
            return low;
        }
        self.between(low, high, before, guard)
    }

    /// The first revision from `low` to `high` whose position does not satisfy `before`.
    fn between(&self, mut low: u64, mut high: u64, before: impl Fn(u64) -> bool, guard: &Guard) -> u64 {
        while low < high {
            let middle = low + (high - low) / 2;
            if self.holds(middle, &before, guard) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether `before` holds of a revision's position. What is gone was before everything that is there.
    fn holds(&self, revision: u64, before: impl Fn(u64) -> bool, guard: &Guard) -> bool {
        self.position(revision, guard).is_none_or(|position| position != 0 && before(position))
    }
}

/// How many revisions of an index have been removed from the log, as far as somebody has looked. Only goes up.
pub(crate) struct Removed(AtomicU64);

impl Removed {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// So many at least lie before the floor, if the caller reads it after this.
    pub(crate) fn known(&self) -> u64 {
        // Acquire: pairs with the Release in `count`, before which a floor was read that is not higher.
        self.0.load(Ordering::Acquire)
    }

    /// How many lie before `floor`, which the caller has read, pinned, after it saw `known`: whoever asks next begins here.
    ///
    /// O(log k) looks for the k revisions that were not known, less those that are gone; one when there are none. (What is
    /// gone, or goes meanwhile, was unlinked before the caller was pinned, and so lies before its floor.)
    pub(crate) fn count(&self, index: &Index, floor: u64, known: u64, guard: &Guard) -> u64 {
        let removed = index.count_up(known, |position| position <= floor, guard);
        if removed > known {
            // Release: pairs with the Acquire in `known`.
            self.0.fetch_max(removed, Ordering::Release);
        }
        removed
    }
}
