//! Counters that threads seldom share: each adds to one of a few places, who reads sums them up.

use crossbeam_utils::CachePadded;

use super::{AtomicU64, Ordering, thread_number};

const PLACES: usize = if cfg!(any(loom, annals_shuttle)) { 1 } else { 8 };

/// So many counters. A sum is of no single instant: what is counted while it is read may be missing.
pub(crate) struct Tally<const COUNTERS: usize>([CachePadded<[AtomicU64; COUNTERS]>; PLACES]);

impl<const COUNTERS: usize> Tally<COUNTERS> {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0)))))
    }

    #[inline]
    pub(crate) fn add(&self, counter: usize, count: u64) {
        if count > 0 {
            // Relaxed: nothing is published by a counter.
            self.0[thread_number() % PLACES][counter].fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn sum(&self, counter: usize) -> u64 {
        // Relaxed: as above.
        self.0.iter().map(|place| place[counter].load(Ordering::Relaxed)).sum()
    }
}
