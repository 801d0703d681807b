//! How to get to any link of a chain, however long it is, in a number of steps that does not grow with it.
//!
//! Segments of the log, and the long blocks of a stream's index, are chains that grow at one end and are cut at the other.
//! Beside the chain there is a tree of *pages* of `FAN` cells: page n of the lowest level has the links from n · `FAN` on, a
//! page of a higher level the pages below it in the same way. A link knows its page, and a page the one above it. So the way
//! from a later link to an earlier one goes up to the first page that has both below it, and down: 2 steps for each level,
//! at most 2 · 64 / 6 in a chain of 2^64 links; 3 in a log of 10 million records and the usual segments.
//!
//! Whoever makes a link makes the pages that begin with it, and the tree's next level when there is no room in the last
//! one. The swap that puts the link into the chain decides about them, too: so nobody competes for pages, there is never
//! a second one for the same place, and nothing is ever copied.
//!
//! Rules:
//! 1. A cell is null, or has the one thing that belongs there. Whoever stores it stores the same.
//! 2. A link is *entered* before the tail of its chain is moved to it, and all before it have been. The swap that moves the
//!    tail publishes that, and each such swap goes on from the one before: who has acquired a tail finds every link up to it.
//! 3. A page is freed, through `reclaim`, when its last link has been unlinked. What its cells, or those above it, point to
//!    may be gone before. It is not followed: a search has a target that is still there, and so are all pages on the way.

use std::alloc::Layout;
use std::ptr;

use super::canary::Canary;
use super::index::as_index;
use super::reclaim::dealloc;
use crate::sync::{AtomicPtr, Ordering};

/// log2 of the cells of a page.
const BITS: u32 = if cfg!(any(loom, annals_shuttle)) { 1 } else { 6 };
const FAN: usize = 1 << BITS;

pub(crate) struct Page {
    /// None above the first page of the last level, as of when this one was made.
    above: *mut Page,
    canary: Canary,
    /// Links on the lowest level, pages on all others.
    cells: [AtomicPtr<()>; FAN],
}

/// How many pages begin with link `number`, from the lowest level on. As many end with the link before.
fn begun(number: u64) -> u32 {
    if number == 0 { 1 } else { number.trailing_zeros() / BITS }
}

/// Whether `number` is the first link for which the tree needs one level more.
fn grows(number: u64) -> bool {
    number > 1 && number.is_power_of_two() && number.trailing_zeros().is_multiple_of(BITS)
}

impl Page {
    fn make(above: *mut Page) -> *mut Self {
        let cells = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        Box::into_raw(Box::new(Self { above, canary: Canary::new(), cells }))
    }

    /// The page of link 0.
    pub(crate) fn first() -> *mut Self {
        Self::make(ptr::null_mut())
    }

    /// The page of link `number`, when that is the first of its chain: with those above it.
    pub(crate) fn of(number: u64) -> *mut Self {
        let levels = 1 + number.checked_ilog2().map_or(0, |bit| bit / BITS);
        (1..levels).rev().fold(Self::first(), |above, level| {
            let page = Self::make(above);
            // Relaxed: published with the link.
            // SAFETY: just made.
            unsafe { Self::at(above) }.cell(number >> (BITS * level)).store(page.cast(), Ordering::Relaxed);
            page
        })
    }

    /// The page of link `number`, which is not the first one. `before` is the page of the link before it.
    ///
    /// # Safety
    /// `before` is allocated, and so is what is above it.
    pub(crate) unsafe fn next(before: *mut Page, number: u64) -> *mut Self {
        let (mut below, mut page) = (ptr::null_mut(), before);
        for _ in 0..begun(number) {
            below = page;
            // SAFETY: by the contract. Only the last one has none above it: the tree has a level for each that begins.
            page = unsafe { Self::at(page) }.above;
        }
        if page.is_null() {
            page = Self::make(ptr::null_mut());
            // Relaxed: published with the link.
            // SAFETY: made above.
            unsafe { Self::at(page) }.cell(0).store(below.cast(), Ordering::Relaxed);
        }
        (0..begun(number)).fold(page, |above, _| Self::make(above))
    }

    /// Frees what `first` or `next` has made for link `number`.
    ///
    /// # Safety
    /// `this` is what it returned, and nobody else knows it.
    pub(crate) unsafe fn unmake(this: *mut Page, number: u64) {
        let made = begun(number) + u32::from(grows(number));
        // SAFETY: by the contract.
        unsafe { Self::free(this, made) };
    }

    /// # Safety
    /// `this` is allocated for `'p`.
    unsafe fn at<'p>(this: *mut Page) -> &'p Self {
        // SAFETY: by the contract.
        let page = unsafe { &*this };
        page.canary.touch();
        page
    }

    /// The cell that `number` belongs into, counted in links or pages of this level.
    fn cell(&self, number: u64) -> &AtomicPtr<()> {
        &self.cells[as_index(number) % FAN]
    }

    /// Enters link `number`, whose page this is, and the pages that begin with it (rule 2). Idempotent.
    ///
    /// # Safety
    /// `this` is allocated, and so is what is above it.
    pub(crate) unsafe fn enter<L>(this: *mut Page, number: u64, link: *mut L) {
        let (mut at, mut number, mut entered) = (this, number, link.cast());
        loop {
            // SAFETY: by the contract.
            let page = unsafe { Self::at(at) };
            // Relaxed: published by the Release of the swap that moves the tail to the link.
            page.cell(number).store(entered, Ordering::Relaxed);
            // A page was entered with its first link.
            if page.above.is_null() || !number.is_multiple_of(FAN as u64) {
                return;
            }
            (at, number, entered) = (page.above, number >> BITS, at.cast());
        }
    }

    /// Link `target`, found from this, the page of link `from`, which comes later.
    ///
    /// # Safety
    /// The caller is pinned, and since then has acquired `from`, or one after it, as the tail of its chain, and has seen that
    /// `target` is not before the head. All links are of one type, `L`.
    pub(crate) unsafe fn find<L>(this: *mut Page, from: u64, target: u64) -> *mut L {
        debug_assert!(target <= from, "found from a later link");
        // The level on which both are below one page.
        let level = (from ^ target).checked_ilog2().map_or(0, |bit| bit / BITS);
        let mut at = this;
        for _ in 0..level {
            // SAFETY: the link `from` is below it, and not before the head (rule 3).
            at = unsafe { Self::at(at) }.above;
        }
        let below = |at, level| {
            // SAFETY: `target` is below it, and not before the head (rule 3).
            let page = unsafe { Self::at(at) };
            // Relaxed: the caller has acquired the tail, and with it all that was entered before (rule 2).
            let below = page.cell(target >> (BITS * level)).load(Ordering::Relaxed);
            assert!(!below.is_null(), "what is before the tail has been entered");
            below
        };
        for level in (1..=level).rev() {
            at = below(at, level).cast();
        }
        below(at, 0).cast()
    }

    /// Frees this page and those above it, `count` in all, or as many as there are.
    ///
    /// # Safety
    /// Nobody uses them any more.
    unsafe fn free(this: *mut Page, count: u32) {
        let mut at = this;
        for _ in 0..count {
            if at.is_null() {
                return;
            }
            // SAFETY: made by `make`; by the contract, ours alone.
            unsafe {
                let above = (*at).above;
                (*at).canary.die();
                dealloc(at.cast(), Layout::new::<Self>());
                at = above;
            }
        }
    }
}

/// The pages that end with a link: after it has been unlinked, nothing in them is there any more.
pub(crate) struct Ended {
    lowest: *mut Page,
    count: u32,
}

impl Ended {
    /// Those of link `number`, whose page is `page`.
    pub(crate) fn with(page: *mut Page, number: u64) -> Self {
        Self { lowest: page, count: begun(number + 1) }
    }

    /// All that are left, of the last link.
    pub(crate) fn all(page: *mut Page) -> Self {
        Self { lowest: page, count: u32::MAX }
    }

    pub(crate) fn any(&self) -> bool {
        self.count > 0
    }

    /// # Safety
    /// Nobody looks for their links, nor will: all have been unlinked, and whoever was pinned then has unpinned.
    pub(crate) unsafe fn free(self) {
        // SAFETY: by the contract.
        unsafe { Page::free(self.lowest, self.count) };
    }
}

#[cfg(all(test, not(any(loom, annals_shuttle))))]
mod tests {
    use super::*;

    /// A chain of nothing: link n is an address that nobody looks at, and `pages[n]` its page.
    struct Chain {
        pages: Vec<*mut Page>,
        head: usize,
    }

    impl Chain {
        fn new(len: u64) -> Self {
            let mut chain = Self { pages: Vec::new(), head: 0 };
            (0..len).for_each(|_| chain.grow());
            chain
        }

        fn grow(&mut self) {
            let number = self.pages.len() as u64;
            // SAFETY: the page of the last link is not freed.
            let make = || self.pages.last().map_or_else(Page::first, |before| unsafe { Page::next(*before, number) });
            // Another was quicker: what was made is made again.
            if number > 0 && begun(number) > 0 {
                // SAFETY: made here.
                unsafe { Page::unmake(make(), number) };
            }
            let page = make();
            for _ in 0..2 {
                // SAFETY: made above, below pages that are not freed.
                unsafe { Page::enter(page, number, Self::link(number)) };
            }
            self.pages.push(page);
        }

        fn link(number: u64) -> *mut u64 {
            ptr::without_provenance_mut(8 * as_index(number + 1))
        }

        fn unlink(&mut self) {
            // SAFETY: from now on, nothing before the head is looked for.
            unsafe { Ended::with(self.pages[self.head], self.head as u64).free() };
            self.head += 1;
        }

        fn check(&self, from: u64, target: u64) {
            // SAFETY: not before the head.
            let found: *mut u64 = unsafe { Page::find(self.pages[as_index(from)], from, target) };
            assert_eq!(found, Self::link(target), "{target} from {from}");
        }
    }

    impl Drop for Chain {
        fn drop(&mut self) {
            while self.head + 1 < self.pages.len() {
                self.unlink();
            }
            // SAFETY: nothing is looked for any more.
            unsafe { Ended::all(self.pages[self.head]).free() };
        }
    }

    /// Any link is found from any later one, on each number of levels, while the chain grows.
    #[test]
    fn every_link_is_found() {
        let mut chain = Chain::new(1);
        for last in 0..70 * 64u64 {
            for target in [0, 1, last / 3, last / 64 * 64, last.saturating_sub(64), last.saturating_sub(1), last] {
                chain.check(last, target.min(last));
            }
            chain.grow();
        }
        for target in 0..70 * 64 {
            chain.check(70 * 64, target);
            chain.check(target + (70 * 64 - target) / 2, target);
        }
    }

    /// What is still there is found when what came before is gone, with its pages; and all of those are freed once (which
    /// leak checkers see), wherever the chain ends.
    #[test]
    fn what_is_left_is_found() {
        for len in [1, 2, 63, 64, 65, 128, 64 * 64 - 1, 64 * 64, 64 * 64 + 1, 65 * 64] {
            let mut chain = Chain::new(len);
            while (chain.head as u64) < len - 1 {
                let head = chain.head as u64;
                for target in [head, head + (len - head) / 2, len - 1] {
                    chain.check(len - 1, target);
                }
                chain.unlink();
            }
        }
    }

    /// A tree has as many levels as its links need, and no link makes more pages than begin with it.
    #[test]
    fn pages_are_made_when_they_begin() {
        for (number, pages, level) in [(1, 0, false), (63, 0, false), (64, 1, true), (65, 0, false), (128, 1, false)] {
            assert_eq!((begun(number), grows(number)), (pages, level), "link {number}");
        }
        assert_eq!((begun(64 * 64), grows(64 * 64), begun(2 * 64 * 64), grows(2 * 64 * 64)), (2, true, 2, false));
        assert_eq!((begun(1 << 60), grows(1 << 60), begun(1 << 63), grows(1 << 63)), (10, true, 10, false));
    }
}
