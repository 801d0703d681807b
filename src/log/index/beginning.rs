//! Indexes of streams whose beginning is not in memory.

use std::ptr;

use super::{Block, Index, block_of};
use crate::sync::{AtomicPtr, Ordering};

impl Index {
    /// An index whose first revision is `revision`: what came before is not in memory. Cells before it have a position that
    /// comes before all that are looked for, and count as freed.
    pub(crate) fn starting_at(revision: u64) -> Self {
        if revision == 0 {
            return Self::new();
        }
        let block = Block::make(block_of(revision), ptr::null_mut(), ptr::null_mut());
        // SAFETY: just made, and ours.
        let this = unsafe { Block::at(block.as_ptr()) };
        let before = this.place_of(revision);
        // Relaxed, all: whoever shares the index publishes them.
        (0..before).for_each(|place| this.cell_at(place).store(1, Ordering::Relaxed));
        this.used.store(before, Ordering::Relaxed);
        this.dead.store(before, Ordering::Relaxed);
        Self { head: AtomicPtr::new(block.as_ptr()), tail: AtomicPtr::new(block.as_ptr()) }
    }
}
