//! The index of one stream: the position of each of its revisions.
//!
//! A chain of blocks of write-once cells; cell r holds the position of revision r, or 0. Blocks double from 8 cells to
//! 4,096. Those that no longer double are found through [`super::pages`]; from there back, the few others are linked.
//! Cells hold positions, not pointers: so the index owns nothing, and whether an envelope is still there is decided in one
//! place, the log.
//!
//! Rules:
//! 1. A cell is stored by whoever finishes the record at its position; all store the same number.
//! 2. The block of a revision is linked before the record that has it is swapped into its slot. So finishing does not
//!    allocate, and a helper finds the block from `tail`.
//! 3. `tail` only moves forward along `next`, from one block to the one after. `used` of a block is a hint: it may be too
//!    low, never higher than the cells stored so far. The truth about the next revision is the first empty cell.
//! 4. A block leaves the chain at `head`, never the last one, when every record it points to has been freed. Who holds
//!    a segment or is pinned may therefore still store the cells of its records.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::ptr::{self, NonNull};

use super::canary::Canary;
use super::pages::{Ended, Page};
use super::prefetch::{PREFETCHES, prefetch};
use super::reclaim::{Guard, dealloc};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, probe, probe_relaxed};

/// Cells of the first block; the next ones double up to `LAST`.
#[cfg(not(any(loom, annals_shuttle)))]
const FIRST: u64 = 8;
#[cfg(any(loom, annals_shuttle))]
const FIRST: u64 = 2;
/// Blocks 0 to `DOUBLING - 1` double, from then on all have `LAST` cells.
#[cfg(not(any(loom, annals_shuttle)))]
const DOUBLING: u32 = 9;
#[cfg(any(loom, annals_shuttle))]
const DOUBLING: u32 = 1;
const LAST: u64 = FIRST << DOUBLING;
/// The first revision of block `DOUBLING`.
const UNIFORM: u64 = FIRST * ((1 << DOUBLING) - 1);

/// A number that is smaller than the length of some slice.
#[allow(clippy::cast_possible_truncation, reason = "the length of a slice fits")]
pub(crate) fn as_index(number: u64) -> usize {
    number as usize
}

/// The number of the block that holds `revision`.
fn block_of(revision: u64) -> u64 {
    if revision < UNIFORM {
        (revision / FIRST + 1).ilog2().into()
    } else {
        u64::from(DOUBLING) + (revision - UNIFORM) / LAST
    }
}

/// Which of those in pages block `number` is, when it is one of them.
fn paged(number: u64) -> Option<u64> {
    number.checked_sub(DOUBLING.into())
}

/// First revision and number of cells of block `number`.
fn extent_of(number: u64) -> (u64, u64) {
    let doubling = u64::from(DOUBLING);
    if number < doubling {
        (FIRST * ((1 << number) - 1), FIRST << number)
    } else {
        (UNIFORM + (number - doubling) * LAST, LAST)
    }
}

/// What every append needs comes last, beside the cells.
#[repr(C)]
pub(crate) struct Block {
    /// The block before; dangling when that one is gone.
    prev: *mut Block,
    /// Where the block is entered, unless it is one of those that double.
    page: *mut Page,
    /// Cells whose records have been freed.
    dead: AtomicU32,
    canary: Canary,
    number: u64,
    /// Revision of the first cell.
    first: u64,
    next: AtomicPtr<Block>,
    /// Hint: cells before this one are stored.
    used: AtomicU32,
    len: u32,
    /// `len` cells follow.
    cells: [AtomicU64; 0],
}

impl Block {
    fn layout(len: u32) -> Layout {
        let cells = Layout::array::<AtomicU64>(len as usize).expect("at most 4,096 cells");
        Layout::new::<Self>().extend(cells).expect("at most 4,096 cells").0.pad_to_align()
    }

    fn make(number: u64, prev: *mut Block, page: *mut Page) -> NonNull<Self> {
        let (first, len) = extent_of(number);
        let len = u32::try_from(len).expect("at most 4,096 cells");
        let layout = Self::layout(len);
        // SAFETY: the layout is not empty.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let at = at.cast::<Self>();
        // SAFETY: fresh memory of that layout; the cells follow the fixed part.
        unsafe {
            at.write(Self {
                number,
                first,
                next: AtomicPtr::new(ptr::null_mut()),
                prev,
                page,
                used: AtomicU32::new(0),
                dead: AtomicU32::new(0),
                len,
                canary: Canary::new(),
                cells: [],
            });
            let cells = at.byte_add(std::mem::offset_of!(Self, cells)).cast::<AtomicU64>();
            for cell in 0..len as usize {
                cells.add(cell).write(AtomicU64::new(0));
            }
        }
        at
    }

    /// # Safety
    /// Nobody can reach the block any more.
    unsafe fn free(this: *mut Block) {
        // SAFETY: allocated by `make` with this layout; by the contract, ours alone.
        unsafe {
            (*this).canary.die();
            dealloc(this.cast(), Self::layout((*this).len));
        }
    }

    /// # Safety
    /// `this` is allocated for `'b`.
    unsafe fn at<'b>(this: *mut Block) -> BlockRef<'b> {
        // SAFETY: by the contract.
        unsafe { (*this).canary.touch() };
        BlockRef(this, std::marker::PhantomData)
    }
}

/// A block that is allocated for `'b`. A pointer with the provenance of the whole allocation, cells included.
#[derive(Clone, Copy)]
pub(crate) struct BlockRef<'b>(*mut Block, std::marker::PhantomData<&'b Block>);

impl std::ops::Deref for BlockRef<'_> {
    type Target = Block;

    fn deref(&self) -> &Block {
        // SAFETY: allocated for 'b.
        unsafe { &*self.0 }
    }
}

impl<'b> BlockRef<'b> {
    /// The cell of `revision`, which lies in this block.
    #[inline]
    fn cell(self, revision: u64) -> &'b AtomicU64 {
        self.cell_at(self.place_of(revision))
    }

    /// Which cell of the block is that of `revision`, which lies in it.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "a block has at most 4,096 cells; `cell_at` checks")]
    fn place_of(self, revision: u64) -> u32 {
        debug_assert!(revision >= self.first && revision < self.end(), "the revision lies in this block");
        (revision - self.first) as u32
    }

    #[inline]
    fn cell_at(self, place: u32) -> &'b AtomicU64 {
        self.get(place).expect("the cell lies in this block")
    }

    /// Cell number `place`, when the block has so many.
    #[inline]
    fn get(self, place: u32) -> Option<&'b AtomicU64> {
        // SAFETY: checked against the number of cells that follow.
        (place < self.len).then(|| unsafe {
            let cells = self.0.byte_add(std::mem::offset_of!(Block, cells)).cast::<AtomicU64>();
            &*cells.add(place as usize)
        })
    }

    #[inline]
    fn enter(self, revision: u64, position: u64) {
        let place = self.place_of(revision);
        Cell { block: self, place, position: self.cell_at(place) }.enter(position);
    }

    #[inline]
    fn end(self) -> u64 {
        self.first + u64::from(self.len)
    }

    fn first_cell(self) -> Cell<'b> {
        Cell { block: self, place: 0, position: self.cell_at(0) }
    }

    /// The first cell without a position, when this block has one.
    #[inline]
    fn first_empty(self) -> Option<Cell<'b>> {
        // Acquire, here and below: pairs with the Release stores in `enter`. Who sees the trace of a record here also
        // sees its slot taken, and so never mistakes a revision that is not decided for one that is (conflicts).
        let mut place = self.used.load(Ordering::Acquire);
        while let Some(cell) = self.get(place) {
            if cell.load(Ordering::Acquire) == 0 {
                return Some(Cell { block: self, place, position: cell });
            }
            place += 1;
        }
        None
    }

    /// The next block, made when there is none.
    fn next_or_make(self) -> BlockRef<'b> {
        // Acquire: pairs with the Release of the swap below; publishes the block.
        let next = probe(&self.next);
        if !next.is_null() {
            // SAFETY: blocks after an allocated one leave the chain later than it.
            return unsafe { Block::at(next) };
        }
        let paged = paged(self.number + 1);
        let page = match paged {
            None => ptr::null_mut(),
            Some(0) => Page::first(),
            // SAFETY: if this block is unlinked meanwhile, its pages stay while the caller is pinned.
            Some(paged) => unsafe { Page::next(self.page, paged) },
        };
        let made = Block::make(self.number + 1, self.0, page).as_ptr();
        // Release: publishes the block. Acquire: another's block is used.
        match self.next.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {
            // SAFETY: linked now, after a block that is allocated.
            Ok(_) => unsafe { Block::at(made) },
            // SAFETY: never linked and ours; the other one is linked.
            Err(other) => unsafe {
                if let Some(paged) = paged {
                    Page::unmake(page, paged);
                }
                Block::free(made);
                Block::at(other)
            },
        }
    }

    /// Block `number`, which is this one or comes before, and not before the head. The caller has found this one as the tail
    /// of the index or after it, with all between them entered.
    fn earlier(self, number: u64) -> BlockRef<'b> {
        let mut block = self;
        if let Some(from) = paged(block.number) {
            // Before those in pages comes the one that the first of them links to.
            let target = paged(number).unwrap_or(0);
            // SAFETY: from the head on, blocks are allocated for 'b, in which the caller is pinned.
            block = unsafe { Block::at(Page::find(block.page, from, target)) };
        }
        while block.number > number {
            // SAFETY: as above: not before `number`.
            block = unsafe { Block::at(block.prev) };
        }
        block
    }

    /// The pages that no block after this one is in.
    fn ended(self) -> Ended {
        paged(self.number).map_or(Ended::all(ptr::null_mut()), |paged| Ended::with(self.page, paged))
    }
}

/// Where the next revision of a stream goes.
pub(crate) enum Place<'g> {
    /// An empty cell.
    There(Cell<'g>),
    /// The first cell of the block after this one, which may have to be made.
    After(BlockRef<'g>),
    /// The very first cell.
    First,
}

impl<'g> Place<'g> {
    #[inline]
    pub(crate) fn revision(&self) -> u64 {
        match self {
            Place::There(cell) => cell.revision(),
            Place::After(block) => block.end(),
            Place::First => 0,
        }
    }

    /// Makes sure that the cell exists (rule 2).
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a match, in the one short function of an append")]
    pub(crate) fn reserve(self, index: &Index, guard: &'g Guard) -> Cell<'g> {
        match self {
            Place::There(cell) => cell,
            Place::After(block) => block.next_or_make().first_cell(),
            Place::First => index.first_block(guard).first_cell(),
        }
    }
}

/// The cell of a revision.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'g> {
    block: BlockRef<'g>,
    place: u32,
    position: &'g AtomicU64,
}

impl Cell<'_> {
    #[inline]
    pub(crate) fn revision(self) -> u64 {
        self.block.first + u64::from(self.place)
    }

    /// As [`Index::enter`].
    #[inline]
    pub(crate) fn enter(self, position: u64) {
        // Release, both: pairs with the Acquire in `first_empty`. (Readers of the log need neither: the mark on the slot
        // that follows publishes the cell to them.)
        self.position.store(position, Ordering::Release);
        // A hint (rule 3): a late store makes it too low, never too high.
        self.block.used.store(self.place + 1, Ordering::Release);
    }
}

/// Positions by revision. Every method needs a pinned caller: that is the `Guard`.
pub(crate) struct Index {
    /// First block, null before the first append.
    head: AtomicPtr<Block>,
    /// Hint: a block at or before the one with the first empty cell.
    tail: AtomicPtr<Block>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), tail: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The block to start from, when there is any.
    #[inline]
    fn last_block<'g>(&self, _: &'g Guard) -> Option<BlockRef<'g>> {
        // Acquire: pairs with the Release in `advance_tail`.
        let mut at = self.tail.load(Ordering::Acquire);
        if at.is_null() {
            // Acquire: pairs with the Release in `first_block`.
            at = probe(&self.head);
        }
        // SAFETY: the tail's block and all later ones are in the chain when loaded (rule 4), so they are allocated while
        // the caller is pinned.
        (!at.is_null()).then(|| unsafe { Block::at(at) })
    }

    /// Has what [`place`](Self::place) will look at fetched into the cache.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if PREFETCHES {
            // Relaxed, both: nothing is read through them.
            let tail = self.tail.load(Ordering::Relaxed);
            let block = if tail.is_null() { self.head.load(Ordering::Relaxed) } else { tail };
            prefetch(block.wrapping_byte_add(std::mem::offset_of!(Block, used)));
            prefetch(block.wrapping_byte_add(std::mem::offset_of!(Block, cells)));
        }
    }

    /// The place of the next revision, as of what the caller has seen finished.
    #[inline]
    pub(crate) fn place<'g>(&self, guard: &'g Guard) -> Place<'g> {
        let Some(mut block) = self.last_block(guard) else { return Place::First };
        loop {
            if let Some(cell) = block.first_empty() {
                return Place::There(cell);
            }
            // Acquire: pairs with the Release in `next_or_make`.
            let next = block.next.load(Ordering::Acquire);
            if next.is_null() {
                return Place::After(block);
            }
            self.advance_tail(block, next);
            // SAFETY: as in `last_block`.
            block = unsafe { Block::at(next) };
        }
    }

    /// Makes sure that the cells of `count` revisions from `revision` on exist, so that finishing finds them (rule 2).
    /// `revision` is that of a `place`.
    #[inline]
    pub(crate) fn reserve(&self, revision: u64, count: u64, guard: &Guard) {
        let mut block = match self.last_block(guard) {
            Some(block) => block,
            None => self.first_block(guard),
        };
        while block.end() < revision + count {
            block = block.next_or_make();
        }
    }

    #[cold]
    fn first_block<'g>(&self, _: &'g Guard) -> BlockRef<'g> {
        let made = Block::make(0, ptr::null_mut(), ptr::null_mut()).as_ptr();
        // Release: publishes the block. Acquire: another's block is used.
        match self.head.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {
            // SAFETY: in the chain now.
            Ok(_) => unsafe { Block::at(made) },
            // SAFETY: never published and ours; the other one is in the chain.
            Err(other) => unsafe {
                Block::free(made);
                Block::at(other)
            },
        }
    }

    fn advance_tail(&self, from: BlockRef<'_>, to: *mut Block) {
        // Relaxed: compared with a block that the caller has acquired, not followed.
        let tail = probe_relaxed(&self.tail);
        // When it is null, the first block is meant.
        if tail == from.0 || (tail.is_null() && from.number == 0) {
            // SAFETY: the caller has acquired it, pinned, after a block that is allocated.
            let next = unsafe { Block::at(to) };
            if let Some(paged) = paged(next.number) {
                // SAFETY: linked when it was found, so its pages have not been freed.
                unsafe { Page::enter(next.page, paged, to) };
            }
            // Release: publishes `to`, which the caller has acquired; pairs with the Acquire in `last_block`. A
            // compare-and-swap, so that a thread that stopped here cannot move it back.
            let _ = self.tail.compare_exchange(tail, to, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// Stores the position of a revision whose block was reserved. Idempotent; does nothing when others went on long ago.
    #[inline]
    pub(crate) fn enter(&self, revision: u64, position: u64, guard: &Guard) {
        let mut block = self.last_block(guard).expect("the block was reserved before the swap");
        while revision >= block.end() {
            // Relaxed: the block of `revision` was linked before the swap, and the caller has acquired what was swapped in.
            let next = block.next.load(Ordering::Relaxed);
            // SAFETY: as in `last_block`; not null, because the block was reserved before the swap.
            block = unsafe { Block::at(next) };
        }
        if revision < block.first {
            // A later block is the last one: this revision, and all of its block, were entered by others.
            return;
        }
        block.enter(revision, position);
    }

    /// The positions of up to `to.len()` revisions from `revision` on, as far as they are there; how many.
    pub(crate) fn copy(&self, revision: u64, to: &mut [u64], guard: &Guard) -> usize {
        let Some(mut block) = self.find(revision, guard) else { return 0 };
        let mut copied = 0;
        while copied < to.len() {
            let revision = revision + copied as u64;
            if revision == block.end() {
                // Relaxed: the caller has seen (Acquire) the mark on every slot whose positions it will use, so it has
                // acquired the blocks that they are in.
                let next = block.next.load(Ordering::Relaxed);
                if next.is_null() {
                    break;
                }
                // SAFETY: as in `last_block`.
                block = unsafe { Block::at(next) };
            }
            // Relaxed: the caller has seen (Acquire) the mark on every slot whose positions it will use.
            let position = block.cell(revision).load(Ordering::Relaxed);
            if position == 0 {
                break;
            }
            to[copied] = position;
            copied += 1;
        }
        copied
    }

    /// The position of `revision`; 0 when it is not there yet, none when its block is gone.
    pub(crate) fn position(&self, revision: u64, guard: &Guard) -> Option<u64> {
        let block = self.find(revision, guard)?;
        // Relaxed: as in `copy`.
        Some(block.cell(revision).load(Ordering::Relaxed))
    }

    /// The first revision whose block is still there.
    pub(crate) fn first_revision(&self, _: &Guard) -> u64 {
        // Acquire: pairs with the Release in `first_block` and `retire`.
        let head = self.head.load(Ordering::Acquire);
        // SAFETY: in the chain when loaded, so allocated while the caller is pinned.
        if head.is_null() { 0 } else { unsafe { Block::at(head) }.first }
    }

    /// The block of `revision`: none when it is gone or not there yet. However many blocks there are, a few steps: from the
    /// tail on, those of a batch; or up and down some levels of pages, and back over those that double.
    fn find<'g>(&self, revision: u64, guard: &'g Guard) -> Option<BlockRef<'g>> {
        let mut block = self.last_block(guard)?;
        while revision >= block.end() {
            // Relaxed: callers ask for a revision of a record that they have acquired, or for one before what `place` has
            // just walked to.
            let next = block.next.load(Ordering::Relaxed);
            if next.is_null() {
                return None;
            }
            // SAFETY: as in `last_block`.
            block = unsafe { Block::at(next) };
        }
        let number = block_of(revision);
        if number == block.number {
            return Some(block);
        }
        // Acquire: pairs with the Release in `retire`. SAFETY: the chain is allocated while the caller is pinned.
        let head = unsafe { Block::at(self.head.load(Ordering::Acquire)) };
        (number >= head.number).then(|| block.earlier(number))
    }

    /// The record of `revision` has been freed. Called once for each.
    pub(crate) fn record_freed(&self, revision: u64, guard: &Guard) {
        let block = self.find(revision, guard).expect("a block stays until all its records are freed");
        // Relaxed: a count. Who uses the block is pinned, and it is freed through `reclaim`.
        let dead = block.dead.fetch_add(1, Ordering::Relaxed) + 1;
        debug_assert!(dead <= block.len, "each cell dies once");
        if dead == block.len {
            self.retire(guard);
        }
    }

    /// Unlinks dead blocks from the head of the chain; the last block stays.
    #[cold]
    fn retire(&self, guard: &Guard) {
        loop {
            // Acquire: pairs with the Release below and in `first_block`.
            let head = probe(&self.head);
            // SAFETY: in the chain when loaded, so allocated while the caller is pinned.
            let block = unsafe { Block::at(head) };
            // Relaxed: see `record_freed`. Acquire: pairs with the Release in `next_or_make`.
            let (dead, next) = (block.dead.load(Ordering::Relaxed), block.next.load(Ordering::Acquire));
            if dead < block.len || next.is_null() {
                return;
            }
            // Nobody may find an unlinked block through the tail.
            self.advance_tail(block, next);
            // Release: pairs with the Acquire of whoever starts from the head. Only the winner frees. (What it replaces was
            // acquired above.)
            if self.head.compare_exchange(head, next, Ordering::Release, Ordering::Relaxed).is_ok() {
                let unlinked = Unlinked(head, block.ended());
                // SAFETY: unlinked; whoever could still see it is pinned now.
                unsafe { guard.defer(move || unlinked.free()) };
                guard.flush();
            }
        }
    }

    /// Frees all blocks.
    ///
    /// # Safety
    /// Nobody uses the index now or later, but to call this again.
    pub(crate) unsafe fn clear(&self) {
        // Relaxed: the caller is alone.
        let mut at = self.head.swap(ptr::null_mut(), Ordering::Relaxed);
        self.tail.store(ptr::null_mut(), Ordering::Relaxed);
        while !at.is_null() {
            // SAFETY: the caller is alone, and the chain from the head on is allocated.
            unsafe {
                let next = (*at).next.load(Ordering::Relaxed);
                if next.is_null() { Ended::all((*at).page) } else { Block::at(at).ended() }.free();
                Block::free(at);
                at = next;
            }
        }
    }
}

struct Unlinked(*mut Block, Ended);

impl Unlinked {
    fn free(self) {
        // SAFETY: runs after everybody who was pinned at the unlinking has unpinned.
        unsafe {
            self.1.free();
            Block::free(self.0);
        }
    }
}

mod beginning;
#[cfg(test)]
mod tests;
