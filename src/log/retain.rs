//! Removing the beginning of the log.
//!
//! First the floor is raised, and nobody sees what is below it. Then segments wholly below the floor are unlinked, from
//! the head on, never the one that the tail points to. What was unlinked becomes garbage (see there) when nobody who was
//! pinned then is pinned any more, and no cursor holds it. Each step may stop anywhere: the next caller goes on.

use std::sync::Arc as StdArc;

use super::backing::Backing;
use super::core::Core;
use super::counts::Sums;
use super::garbage::Garbage;
use super::reclaim::Guard;
use super::segment::Segment;
use crate::model::Timestamp;
use crate::sync::{Ordering, probe};

/// What one append removes at least, when so much is due.
const STEP: u64 = 64;

impl Core {
    /// Removes indexes before `floor`, as far as they are visible. Returns the new floor.
    pub(crate) fn truncate(&self, floor: u64) -> u64 {
        let floor = floor.min(self.end(&self.pin()));
        // Relaxed: see `first`.
        let floor = self.floor.fetch_max(floor, Ordering::Relaxed).max(floor);
        if let Some(backing) = self.backing() {
            // Not pinned: it may wait for a disk.
            backing.truncate(self, floor);
            // What is not written yet is kept until it is. Relaxed: see `resident`.
            self.resident.fetch_max(floor.min(backing.end()), Ordering::Relaxed);
        }
        self.unlink(&self.pin());
        floor
    }

    /// Unlinks segments wholly below the floor.
    fn unlink(&self, guard: &Guard) {
        loop {
            // Acquire: pairs with the Release below; publishes the segment.
            let first = probe(&self.head);
            // SAFETY: linked when loaded, so allocated while pinned.
            let segment = unsafe { Segment::at(first) };
            if segment.end_index() > self.resident() || segment.number() >= self.tail(guard).number() {
                return;
            }
            // Relaxed: the tail, which is beyond, was acquired, and this link with it; so it is not null.
            let next = segment.next.load(Ordering::Relaxed);
            // Release: pairs with the Acquire of whoever starts from the head. Only the winner defers. (What it replaces was
            // acquired above.)
            if self.head.compare_exchange(first, next, Ordering::Release, Ordering::Relaxed).is_ok() {
                self.garbage.announce();
                let (unlinked, pages) = (Unlinked { segment: first, garbage: self.garbage.clone() }, segment.ended());
                // SAFETY: whoever could find the segment is pinned now, or holds it.
                unsafe { guard.defer(move || unlinked.let_go()) };
                if pages.any() {
                    // SAFETY: whoever could look for a segment in them is pinned now. Cursors that still hold one do not.
                    unsafe { guard.defer(move || pages.free()) };
                }
                // A segment is too large to wait for company in the thread's bag.
                guard.flush();
            }
        }
    }

    /// After an append of `appended` records: keeps to the retention, a bounded step at a time.
    #[inline]
    pub(crate) fn after_append(&self, appended: u64, end: u64, now: Timestamp) {
        if self.config.retains {
            self.retain_step(appended, end, now);
        }
    }

    #[inline(never)]
    fn retain_step(&self, appended: u64, end: u64, now: Timestamp) {
        self.retain(appended.saturating_mul(2).max(STEP), end, now, &self.pin());
        let budget = usize::try_from(appended.saturating_mul(2)).unwrap_or(usize::MAX).saturating_add(8);
        self.garbage.sweep(budget, &self.domain);
    }

    /// Raises the floor by up to `step` as far as retention asks for it.
    #[cold]
    fn retain(&self, step: u64, end: u64, now: Timestamp, guard: &Guard) {
        let before = self.resident();
        let mut floor = before;
        // A log with a backing gives up what that has, and removes nothing.
        let last = end.min(before.saturating_add(step)).min(self.backing().map_or(u64::MAX, Backing::end));
        let total = self.total_bytes(end, guard);
        while floor < last && self.is_due(floor, end, total, now, guard) {
            floor += 1;
        }
        if floor > before {
            let bound = if self.backing().is_none() { &self.floor } else { &self.resident };
            // Relaxed: see `first` and `resident`.
            bound.fetch_max(floor, Ordering::Relaxed);
            self.unlink(guard);
        }
    }

    fn is_due(&self, index: u64, end: u64, total: u64, now: Timestamp, guard: &Guard) -> bool {
        let retention = &self.config.retention;
        if retention.records.is_some_and(|records| end - index > records) {
            return true;
        }
        if retention.bytes.is_none() && retention.age.is_none() {
            return false;
        }
        // Unlinked by another, who removed more: what is gone was due.
        let Some(segment) = self.segment_of(index, guard) else { return true };
        let record = segment.record(index);
        let too_large = |bytes| index + 1 < end && total - record.sum().unwrap_or_default().bytes > bytes;
        let too_old = |age| record.time().is_some_and(|time| time < now.before(age));
        retention.bytes.is_some_and(too_large) || retention.age.is_some_and(too_old)
    }

    /// Bytes of all records ever, up to `end`.
    fn total_bytes(&self, end: u64, guard: &Guard) -> u64 {
        if !self.config.shape.sum() || end == 0 {
            return 0;
        }
        self.segment_of(end - 1, guard).map_or(0, |segment| Sums::up_to(segment.record(end - 1)).bytes)
    }

    /// Removes all that retention asks for, and returns memory as far as nobody uses it.
    pub(crate) fn maintain(&self) {
        if let Some(backing) = self.backing() {
            backing.maintain(self);
        }
        if self.config.retains {
            let now = self.config.time.now();
            let guard = self.pin();
            let end = self.end(&guard);
            self.retain(u64::MAX, end, now, &guard);
        }
        self.collect();
    }

    /// Returns memory as far as nobody uses it.
    pub(crate) fn collect(&self) {
        // An epoch ends when everybody pinned in it has unpinned; garbage waits for two.
        for _ in 0..4 {
            self.pin().flush();
        }
        self.garbage.sweep(usize::MAX, &self.domain);
        // Index blocks unlinked by the sweep.
        for _ in 0..4 {
            self.pin().flush();
        }
    }
}

struct Unlinked {
    segment: *mut Segment,
    garbage: StdArc<Garbage>,
}

impl Unlinked {
    /// The log lets go of the segment.
    fn let_go(self) {
        // SAFETY: the log's hold keeps it allocated until here, and is given up once.
        unsafe {
            if Segment::at(self.segment).release() {
                self.garbage.push(self.segment);
            }
        }
    }
}
