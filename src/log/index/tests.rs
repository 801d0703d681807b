//! How long the ways through an index are; that they lead to the right place is for every other test to show.

use std::cell::Cell as StdCell;

use super::super::reclaim::Domain;
use super::*;

/// An index of its own, of a stream whose revision r has position r + 1.
struct Alone {
    index: Index,
    guard: Guard,
}

impl Alone {
    fn new(count: u64) -> Self {
        let alone = Self { index: Index::new(), guard: Domain::new().pin() };
        (0..count).for_each(|_| alone.append());
        alone
    }

    fn append(&self) {
        let cell = self.index.place(&self.guard).reserve(&self.index, &self.guard);
        cell.enter(cell.revision() + 1);
    }

    fn last(&self) -> BlockRef<'_> {
        self.index.last_block(&self.guard).expect("there is a block")
    }

    fn blocks(&self) -> Vec<BlockRef<'_>> {
        let mut at = self.index.head.load(Ordering::Acquire);
        let mut blocks = Vec::new();
        while !at.is_null() {
            // SAFETY: in the chain, of which nothing is freed while `guard` is pinned.
            blocks.push(unsafe { Block::at(at) });
            at = blocks[blocks.len() - 1].next.load(Ordering::Acquire);
        }
        blocks
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // SAFETY: nobody else knows the index.
        unsafe { self.index.clear() };
    }
}

/// Blocks tile the revisions, and every revision is found in its block.
#[test]
fn blocks_tile_the_revisions() {
    let mut next = 0;
    for number in 0..40 {
        let (first, len) = extent_of(number);
        assert_eq!(first, next);
        for revision in [first, first + len / 2, first + len - 1] {
            assert_eq!(block_of(revision), number);
        }
        next = first + len;
    }
}

/// Each block jumps to where its number says, so that finding one takes few steps.
#[test]
fn blocks_are_linked_as_the_spine_asks() {
    let alone = Alone::new(0);
    alone.index.reserve(0, UNIFORM + 20 * LAST, &alone.guard);
    let blocks = alone.blocks();
    assert_eq!(blocks.len(), 29);
    for (block, number) in blocks.iter().zip(0..) {
        assert_eq!((block.number(), block.jump_number()), (number, spine::jump_of(number)));
        if number > 0 {
            // SAFETY: nothing left the chain.
            assert_eq!(unsafe { &*block.jump() }.number(), block.jump_number());
        }
    }
}

/// The block of the next revision is found at once, not from the first one on; its first empty cell, too.
#[test]
fn hints_follow_the_appends() {
    let alone = Alone::new(0);
    for count in 1..2000 {
        alone.append();
        let place = alone.index.place(&alone.guard);
        assert_eq!(place.revision(), count);
        assert_eq!(alone.last().number(), block_of(count - 1));
        assert_eq!(u64::from(alone.last().used.load(Ordering::Relaxed)), count - alone.last().first);
    }
}

/// When blocks leave at the front, the way to the last one stays as short as it was; and no hint leads to what is gone.
#[test]
fn hints_stay_when_blocks_leave() {
    let alone = Alone::new(600);
    let last = alone.last().number();
    (0..24).for_each(|revision| alone.index.record_freed(revision, &alone.guard));
    assert_eq!((alone.blocks()[0].number(), alone.last().number()), (2, last));

    let alone = Alone::new(9);
    assert!(alone.index.tail.load(Ordering::Acquire).is_null(), "the hint was not needed yet");
    (0..8).for_each(|revision| alone.index.record_freed(revision, &alone.guard));
    assert_eq!((alone.blocks()[0].number(), alone.last().number()), (1, 1));
}

/// A batch that ends with a block makes no block after it.
#[test]
fn no_more_blocks_are_made_than_needed() {
    for (count, blocks) in [(1, 1), (8, 1), (9, 2), (24, 2), (25, 3)] {
        let alone = Alone::new(0);
        alone.index.reserve(0, count, &alone.guard);
        assert_eq!(alone.blocks().len(), blocks, "{count} revisions");
    }
}

/// Where a stream ends is known by one look when nothing came after, else by as many as a binary search takes.
#[test]
fn counting_takes_few_looks() {
    let alone = Alone::new(1000);
    for (end, most) in [(1000, 1), (2000, 1), (999, 12), (500, 12), (0, 12)] {
        let looks = StdCell::new(0);
        let before = |position| {
            looks.set(looks.get() + 1);
            position <= end
        };
        assert_eq!(alone.index.partition(before, &alone.guard), end.min(1000));
        assert!(looks.get() <= most, "{} looks for {end}", looks.get());
    }
}
