//! How long the ways through an index are; that they lead to the right place is for every other test to show.

use std::cell::Cell as StdCell;

use super::super::reclaim::Domain;
use super::super::search::Removed;
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

/// Each block is found by its revisions, from the first one that is left on; those that are gone are not, nor is what is
/// not there yet.
#[test]
fn blocks_are_found_by_their_revisions() {
    let alone = Alone::new(UNIFORM + 70 * LAST);
    let blocks = alone.blocks();
    assert_eq!((blocks.len(), alone.last().number), (79, 78));
    let mut next = 0;
    for first in [0, 3, 9, 10, 73, 78] {
        while block_of(next) < first {
            alone.index.record_freed(next, &alone.guard);
            next += 1;
        }
        for (block, number) in blocks.iter().zip(0..) {
            let (revision, len) = extent_of(number);
            for revision in [revision, revision + len - 1] {
                let found = alone.index.find(revision, &alone.guard).map(|found| found.0);
                assert_eq!(found, (number >= first).then_some(block.0), "block {number}");
            }
        }
    }
    assert!(alone.index.find(UNIFORM + 70 * LAST, &alone.guard).is_none());
}

/// The block of the next revision is found at once, not from the first one on; its first empty cell, too.
#[test]
fn hints_follow_the_appends() {
    let alone = Alone::new(0);
    for count in 1..2000 {
        alone.append();
        let place = alone.index.place(&alone.guard);
        assert_eq!(place.revision(), count);
        assert_eq!(alone.last().number, block_of(count - 1));
        assert_eq!(u64::from(alone.last().used.load(Ordering::Relaxed)), count - alone.last().first);
    }
}

/// When blocks leave at the front, the way to the last one stays as short as it was; and no hint leads to what is gone.
#[test]
fn hints_stay_when_blocks_leave() {
    let alone = Alone::new(600);
    let last = alone.last().number;
    (0..24).for_each(|revision| alone.index.record_freed(revision, &alone.guard));
    assert_eq!((alone.blocks()[0].number, alone.last().number), (2, last));

    let alone = Alone::new(9);
    assert!(alone.index.tail.load(Ordering::Acquire).is_null(), "the hint was not needed yet");
    (0..8).for_each(|revision| alone.index.record_freed(revision, &alone.guard));
    assert_eq!((alone.blocks()[0].number, alone.last().number), (1, 1));
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

/// Where a list ends is known by one look when nothing came after, else by as many as a binary search takes.
#[test]
fn searching_takes_few_looks() {
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

/// How many come before an end takes as many looks as few come after it, and how many before a floor as few are new, however
/// many there are: 2 · log₂ k + 3 for k of them, and one for none.
#[test]
fn counting_takes_few_looks() {
    let alone = Alone::new(10_000);
    let looks = StdCell::new(0);
    let most = |new: u64| if new == 0 { 1 } else { 2 * new.ilog2() + 3 };
    for new in [0, 1, 2, 3, 10, 64, 100, 9_999, 10_000] {
        let up_to = |bound: u64| {
            let looks = &looks;
            looks.set(0);
            move |position| {
                looks.set(looks.get() + 1);
                position <= bound
            }
        };
        assert_eq!(alone.index.count_down(up_to(10_000 - new), &alone.guard), 10_000 - new);
        assert!(looks.get() <= most(new), "{} looks back over {new}", looks.get());
        for known in [0, 1, 10_000 - new] {
            let floor = (known + new).min(10_000);
            assert_eq!(alone.index.count_up(known, up_to(floor), &alone.guard), floor);
            assert!(looks.get() <= most(floor - known), "{} looks for {new} from {known}", looks.get());
        }
    }
}

/// What has been looked for once is known, and what is gone needs no look.
#[test]
fn what_is_removed_is_looked_for_once() {
    let (alone, removed) = (Alone::new(10_000), Removed::new());
    for floor in [0, 1, 7, 4_000, 9_999, 10_000] {
        assert_eq!(removed.count(&alone.index, floor, removed.known(), &alone.guard), floor);
        assert_eq!(removed.known(), floor);
    }
    let (alone, removed) = (Alone::new(10_000), Removed::new());
    (0..9_000).for_each(|revision| alone.index.record_freed(revision, &alone.guard));
    let looks = StdCell::new(0);
    let before = |position| {
        looks.set(looks.get() + 1);
        position <= 9_000
    };
    assert_eq!(alone.index.count_up(removed.known(), before, &alone.guard), 9_000);
    assert!(looks.get() < 25, "{} looks in one block", looks.get());
}
