//! Indexes of streams whose beginning is not in memory.

use std::ptr;

use super::super::pages::Page;
use super::{Block, Index, block_of, paged};
use crate::sync::{AtomicPtr, Ordering};

impl Index {
    /// An index whose first revision is `revision`: what came before is not in memory. Cells before it have a position that
    /// comes before all that are looked for, and count as freed.
    pub(crate) fn starting_at(revision: u64) -> Self {
        if revision == 0 {
            return Self::new();
        }
        let number = block_of(revision);
        let page = paged(number).map_or(ptr::null_mut(), Page::of);
        let block = Block::make(number, ptr::null_mut(), page);
        if let Some(paged) = paged(number) {
            // SAFETY: just made, and ours.
            unsafe { Page::enter(page, paged, block.as_ptr()) };
        }
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
