//! Segments that nobody can reach any more, and whose records are still to be freed.
//!
//! A segment comes here when its last holder lets go: the log, once everybody who was pinned at its unlinking has
//! unpinned; or a cursor. Freeing a segment means dropping the payloads of all its records, which takes long: so it is
//! swept in small steps, by truncations, and by appends to a log with retention.
//!
//! The list is a stack that is only ever taken whole, so it has no ABA problem. A thread that stops while sweeping keeps
//! what it took; [`pending`](Garbage::pending) shows it.

use std::sync::Arc as StdArc;

use super::directory::Directory;
use super::keys::KeyTable;
use super::reclaim::Domain;
use super::segment::Segment;
use crate::sync::{Arc, AtomicPtr, AtomicU64, Ordering};

pub(crate) struct Garbage {
    list: AtomicPtr<Segment>,
    /// Segments unlinked and not yet freed.
    pending: AtomicU64,
    /// Records in the garbage know their streams: keeps those allocated.
    _directory: Arc<Directory>,
    keys: Option<StdArc<KeyTable>>,
}

// SAFETY: the list is shared by atomics alone; a segment taken from it has one user.
unsafe impl Send for Garbage {}
// SAFETY: as above.
unsafe impl Sync for Garbage {}

impl Garbage {
    pub(crate) fn new(directory: Arc<Directory>, keys: Option<StdArc<KeyTable>>) -> Self {
        Self { list: AtomicPtr::new(std::ptr::null_mut()), pending: AtomicU64::new(0), _directory: directory, keys }
    }

    /// A segment was unlinked: it will come here.
    pub(crate) fn announce(&self) {
        // Relaxed: a statistic.
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Segments unlinked whose memory has not been returned yet.
    pub(crate) fn pending(&self) -> u64 {
        // Relaxed: a statistic.
        self.pending.load(Ordering::Relaxed)
    }

    /// # Safety
    /// The segment has no holder, and the caller gives it up.
    pub(crate) unsafe fn push(&self, segment: *mut Segment) {
        // SAFETY: the caller is its only user.
        let garbage = unsafe { &(*segment).garbage };
        // Relaxed: only compared, and followed by whoever takes the list (Acquire).
        let mut first = self.list.load(Ordering::Relaxed);
        loop {
            garbage.store(first, Ordering::Relaxed);
            // Release: pairs with the Acquire in `sweep`; hands over the segment.
            match self.list.compare_exchange(first, segment, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => first = other,
            }
        }
    }

    /// Frees up to about `budget` records, each with its place in its stream's index.
    pub(crate) fn sweep(&self, budget: usize, domain: &Domain) {
        // Relaxed: when nothing is seen here, somebody else sweeps it later.
        if self.list.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Acquire: pairs with the Release in `push`.
        let mut at = self.list.swap(std::ptr::null_mut(), Ordering::Acquire);
        let mut left = budget;
        while !at.is_null() {
            // SAFETY: taken from the list, so ours alone.
            let next = unsafe { Segment::at(at) }.garbage.load(Ordering::Relaxed);
            // SAFETY: as above.
            left = unsafe { self.sweep_one(at, left, domain) };
            at = next;
        }
    }

    /// Returns the budget that is left.
    ///
    /// # Safety
    /// The caller is the only user of the segment.
    unsafe fn sweep_one(&self, segment: *mut Segment, budget: usize, domain: &Domain) -> usize {
        let mut freed = 0;
        // SAFETY: by the contract.
        let left = unsafe {
            Segment::sweep(segment, budget, |record| {
                // Pinned for this alone: dropping the payload may run user code.
                let guard = domain.pin();
                record.entry().index.record_freed(record.revision(), &guard);
                if let Some(table) = &self.keys {
                    record.keys().iter().for_each(|key| table.freed(*key, &guard));
                }
                freed += 1;
            })
        };
        if left == 0 {
            // SAFETY: by the contract; all records are swept.
            unsafe { self.free(segment) };
        } else {
            // SAFETY: by the contract.
            unsafe { self.push(segment) };
        }
        budget - freed
    }

    /// # Safety
    /// The caller is the only user of the segment, whose records are swept.
    unsafe fn free(&self, segment: *mut Segment) {
        // SAFETY: by the contract.
        unsafe { Segment::free_shell(segment) };
        // Relaxed: a statistic.
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Garbage {
    /// The log is gone, and its indexes with it: only records are left to free.
    fn drop(&mut self) {
        // Relaxed: dropped by the last owner, which is alone.
        let mut at = self.list.swap(std::ptr::null_mut(), Ordering::Relaxed);
        while !at.is_null() {
            // SAFETY: nobody else knows the list any more.
            unsafe {
                let next = Segment::at(at).garbage.load(Ordering::Relaxed);
                Segment::sweep(at, usize::MAX, |_| {});
                Segment::free_shell(at);
                at = next;
            }
        }
    }
}
