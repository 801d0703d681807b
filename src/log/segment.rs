//! A segment: as many slots as the log was built with, a power of two.
//!
//! A slot is a pointer to a record with two tag bits. Its life:
//!
//! ```text
//! single append     empty ──swap──▶ record ──finish──▶ record│DONE
//! batch, last       empty ─────────────────finish──▶ record│DONE
//! batch, others     empty ──swap (first) or fill──▶ record│MORE
//! end of the log    empty ──swap──▶ CLOSED
//! ```
//!
//! Only the swap competes; finish and fill store the one value that can follow, so anybody may do them, any number of
//! times. Everything up to a slot marked `DONE` is visible.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

use super::canary::Canary;
use super::counts::Sums;
use super::index::as_index;
use super::pages::{Ended, Page};
use super::prefetch::{PREFETCHES, prefetch};
use super::record::{Header, Record};
use crate::model::Timestamp;
use crate::sync::{AtomicPtr, AtomicU32, Ordering, acquire, probe};

/// The record is finished, and so is everything before it.
const DONE: usize = 1;
/// The next slot belongs to the same batch.
const MORE: usize = 2;
const TAGS: usize = DONE | MORE;

pub(crate) type Slot = AtomicPtr<Header>;

/// What a slot held when it was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Empty,
    /// Decided, not finished.
    Open(NonNull<Header>),
    Done(NonNull<Header>),
    More(NonNull<Header>),
    /// Empty for ever: the log was closed.
    Closed,
}

impl Seen {
    #[inline]
    pub(crate) fn of(value: *mut Header) -> Self {
        let Some(record) = NonNull::new(value.map_addr(|at| at & !TAGS)) else {
            return if value.is_null() { Seen::Empty } else { Seen::Closed };
        };
        match value.addr() & TAGS {
            0 => Seen::Open(record),
            DONE => Seen::Done(record),
            _ => Seen::More(record),
        }
    }
}

/// The mark after the last record of a log that was closed. Never followed.
pub(crate) fn closed() -> *mut Header {
    ptr::without_provenance_mut(TAGS)
}

pub(crate) fn done(record: *mut Header) -> *mut Header {
    record.map_addr(|at| at | DONE)
}

pub(crate) fn more(record: *mut Header) -> *mut Header {
    record.map_addr(|at| at | MORE)
}

pub(crate) struct Segment {
    /// Its place in the chain: 0, 1, 2, …
    number: u64,
    /// Index of the first slot. (Index = position − 1.)
    first: u64,
    pub(crate) next: AtomicPtr<Segment>,
    /// Where it is entered.
    page: *mut Page,
    /// The log while the segment is linked, and cursors.
    holders: AtomicU32,
    /// Time of the last record before this segment.
    time_before: Timestamp,
    /// Sums of all records before this segment.
    sums_before: Sums,
    slots: Box<[Slot]>,
    /// Next in the list of garbage. Relaxed throughout: the list's own head publishes it.
    pub(crate) garbage: AtomicPtr<Segment>,
    /// How many records have been freed; used by whoever sweeps.
    swept: Cell<usize>,
    canary: Canary,
}

impl Segment {
    /// The first segment of a log. `start` is the index of its first slot; `before` is what is known of the record before.
    pub(crate) fn first(start: u64, len: usize, before: (Timestamp, Sums)) -> *mut Self {
        let made = Self::make(0, start, len, Page::first(), before);
        // SAFETY: just made.
        unsafe { Self::enter(made) };
        made
    }

    fn make(number: u64, first: u64, len: usize, page: *mut Page, before: (Timestamp, Sums)) -> *mut Self {
        Box::into_raw(Box::new(Self {
            number,
            first,
            next: AtomicPtr::new(ptr::null_mut()),
            page,
            holders: AtomicU32::new(1),
            time_before: before.0,
            sums_before: before.1,
            slots: empty_slots(len),
            garbage: AtomicPtr::new(ptr::null_mut()),
            swept: Cell::new(0),
            canary: Canary::new(),
        }))
    }

    /// # Safety
    /// `this` is allocated for `'g`.
    #[inline]
    pub(crate) unsafe fn at<'g>(this: *mut Self) -> &'g Self {
        // SAFETY: by the contract.
        let segment = unsafe { &*this };
        segment.canary.touch();
        segment
    }

    /// Bytes of a segment of 2^`bits` slots.
    pub(crate) fn size(bits: u32) -> u64 {
        (size_of::<Self>() + (size_of::<Slot>() << bits)) as u64
    }

    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    #[inline]
    pub(crate) fn first_index(&self) -> u64 {
        self.first
    }

    /// Index after the last slot.
    #[inline]
    pub(crate) fn end_index(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    #[inline]
    pub(crate) fn holds(&self, index: u64) -> bool {
        index.wrapping_sub(self.first) < self.slots.len() as u64
    }

    /// The slot of `index`, when it lies in this segment.
    #[inline]
    pub(crate) fn get(&self, index: u64) -> Option<&Slot> {
        if self.holds(index) { self.slots.get(as_index(index.wrapping_sub(self.first))) } else { None }
    }

    /// The slot of `index`, which lies in this segment.
    #[inline]
    pub(crate) fn slot(&self, index: u64) -> &Slot {
        self.get(index).expect("the slot lies in this segment")
    }

    /// The record at `index`, which lies in this segment and was seen finished by the caller.
    #[inline]
    pub(crate) fn record(&self, index: u64) -> Record<'_> {
        Self::finished(self.slot(index))
    }

    /// As [`record`](Self::record), with whether its batch goes on.
    #[cfg(feature = "durable")]
    pub(crate) fn record_of_batch(&self, index: u64) -> (Record<'_>, bool) {
        // Relaxed: as in `finished`.
        let more = matches!(Seen::of(self.slot(index).load(Ordering::Relaxed)), Seen::More(_));
        (self.record(index), more)
    }

    /// The record in a slot of a segment that the caller has seen finished.
    #[inline]
    fn finished(slot: &Slot) -> Record<'_> {
        // Relaxed: the caller's Acquire of the mark on this slot or a later one has published the record.
        let value = slot.load(Ordering::Relaxed);
        debug_assert!(matches!(Seen::of(value), Seen::Done(_) | Seen::More(_)), "a finished slot stays finished");
        let Some(record) = NonNull::new(value.map_addr(|at| at & !TAGS)) else {
            unreachable!("finished, so not empty")
        };
        // SAFETY: a linked or held segment keeps its records.
        unsafe { Record::new(record) }
    }

    /// The first index from `from` to `to`, or backwards the last, whose record is wanted. Both lie in this segment, and all
    /// records between them were seen finished by the caller.
    #[inline]
    pub(crate) fn find(&self, from: u64, to: u64, backwards: bool, wanted: impl Fn(Record<'_>) -> bool) -> Option<u64> {
        let slots = &self.slots[as_index(from - self.first)..as_index(to - self.first)];
        for step in 0..slots.len() {
            let at = if backwards { slots.len() - 1 - step } else { step };
            // Before the first there is none: what wraps is no index.
            let ahead = if backwards { at.wrapping_sub(AHEAD) } else { at + AHEAD };
            if PREFETCHES && let Some(slot) = slots.get(ahead) {
                // Relaxed: nothing is read through it.
                prefetch(slot.load(Ordering::Relaxed));
            }
            if wanted(Self::finished(&slots[at])) {
                return Some(from + at as u64);
            }
        }
        None
    }

    /// The time as of `index`: that of the record before.
    #[inline]
    pub(crate) fn time_before(&self, index: u64) -> Timestamp {
        if index == self.first {
            return self.time_before;
        }
        let Some(record) = self.filled(index - 1) else { unreachable!("slots are taken in order") };
        record.time().unwrap_or(Timestamp::MIN)
    }

    /// The sums as of `index`: those of the record before, and over it. Apart from appends to logs that keep none.
    #[inline(never)]
    pub(crate) fn sums_before(&self, index: u64) -> Sums {
        if index == self.first {
            return self.sums_before;
        }
        let Some(record) = self.filled(index - 1) else { unreachable!("slots are taken in order") };
        Sums::up_to(record)
    }

    /// The record in a slot that the caller has seen taken, finished or not.
    fn filled(&self, index: u64) -> Option<Record<'_>> {
        // Relaxed: an appender has acquired, or stored, everything before its spot; who sweeps is alone with the segment,
        // and whoever unlinked it had acquired it as finished.
        match Seen::of(self.slot(index).load(Ordering::Relaxed)) {
            Seen::Empty | Seen::Closed => None,
            // SAFETY: a linked or held segment keeps its records.
            Seen::Open(record) | Seen::Done(record) | Seen::More(record) => Some(unsafe { Record::new(record) }),
        }
    }

    /// The next segment, made when there is none. All slots of this one are taken.
    ///
    /// # Safety
    /// The caller is pinned, and has found `this` from the tail.
    pub(crate) unsafe fn next_or_make(this: *mut Self) -> *mut Self {
        // SAFETY: by the contract.
        let segment = unsafe { Self::at(this) };
        // Acquire: pairs with the Release of the swap below; publishes the segment.
        let next = probe(&segment.next);
        if !next.is_null() {
            return next;
        }
        // SAFETY: by the contract.
        unsafe { Self::make_next(this) }
    }

    #[cold]
    unsafe fn make_next(this: *mut Self) -> *mut Self {
        // SAFETY: by the contract of `next_or_make`.
        let segment = unsafe { Self::at(this) };
        let number = segment.number + 1;
        // SAFETY: if this segment is unlinked meanwhile, its pages stay while the caller is pinned.
        let page = unsafe { Page::next(segment.page, number) };
        let end = segment.end_index();
        let before = (segment.time_before(end), segment.sums_before(end));
        let made = Self::make(number, end, segment.slots.len(), page, before);
        // Release: publishes the segment. Acquire: another's is used.
        match segment.next.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {
            Ok(_) => made,
            Err(other) => {
                // SAFETY: never published, and without records.
                unsafe {
                    Page::unmake(page, number);
                    Self::free_shell(made);
                }
                other
            }
        }
    }

    /// Enters the segment in its page: before the tail is moved to it.
    ///
    /// # Safety
    /// The caller is pinned, and has found `this` from the tail.
    pub(crate) unsafe fn enter(this: *mut Self) {
        // SAFETY: by the contract.
        let segment = unsafe { Self::at(this) };
        // SAFETY: found from the tail, so its pages have not been freed.
        unsafe { Page::enter(segment.page, segment.number, this) };
    }

    /// Segment `number`, which is this one or comes before.
    ///
    /// # Safety
    /// The caller is pinned, and since then has found this one as the tail or after it, all between them entered, and has seen
    /// that `number` is not before the head.
    pub(crate) unsafe fn earlier(&self, number: u64) -> *mut Self {
        // SAFETY: by the contract.
        unsafe { Page::find(self.page, self.number, number) }
    }

    /// The pages that have no segment after this one.
    pub(crate) fn ended(&self) -> Ended {
        Ended::with(self.page, self.number)
    }

    /// The pages that are left when this is the last segment.
    pub(crate) fn all_pages(&self) -> Ended {
        Ended::all(self.page)
    }

    /// One more holder.
    pub(crate) fn hold(&self) {
        // Relaxed: the caller is pinned and found the segment linked, so the log holds it; nothing is published by it.
        let before = self.holders.fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "fewer than two thousand million cursors hold a segment");
    }

    /// One holder less; true when that was the last one, who must see to it that the segment is freed.
    #[must_use]
    pub(crate) fn release(&self) -> bool {
        // Release: pairs with the `acquire` below.
        if self.holders.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        // Acquire: pairs with the Release above, of every other holder: all uses come before the end.
        acquire(&self.holders);
        true
    }

    /// Frees up to `budget` of the records, telling `freed` of each before. How many are left.
    ///
    /// # Safety
    /// The segment has no holder, and the caller is its only user. Its records have been finished, up to the first empty
    /// slot.
    pub(crate) unsafe fn sweep(this: *mut Self, budget: usize, mut freed: impl FnMut(Record<'_>)) -> usize {
        // SAFETY: the caller is the only user.
        let segment = unsafe { &*this };
        segment.canary.change();
        let from = segment.swept.get();
        let to = segment.slots.len().min(from.saturating_add(budget));
        for index in from..to {
            let Some(record) = segment.filled(segment.first + index as u64) else { return 0 };
            freed(record);
            segment.swept.set(index + 1);
            // SAFETY: the slot's hold, given up once: `swept` went past it.
            // A payload may have an owner whose drop panics: that concerns neither the log nor who happens to sweep.
            let _ = catch_unwind(AssertUnwindSafe(|| unsafe { record.release() }));
        }
        segment.slots.len() - to
    }

    /// Frees the segment without its records.
    ///
    /// # Safety
    /// Nobody uses it any more, and its records were swept, or never there.
    pub(crate) unsafe fn free_shell(this: *mut Self) {
        // SAFETY: made by `make`; by the contract, ours alone.
        let segment = unsafe { Box::from_raw(this) };
        segment.canary.die();
    }
}

/// How far ahead of a search records are fetched into the cache: about as many as are looked at while one comes from memory.
const AHEAD: usize = 12;

#[cfg(not(any(loom, annals_shuttle)))]
fn empty_slots(len: usize) -> Box<[Slot]> {
    // SAFETY: an `AtomicPtr` of zeros is null. (Zeroed memory comes untouched from the kernel when it is fresh.)
    unsafe { Box::new_zeroed_slice(len).assume_init() }
}

#[cfg(any(loom, annals_shuttle))]
fn empty_slots(len: usize) -> Box<[Slot]> {
    (0..len).map(|_| Slot::new(ptr::null_mut())).collect()
}

#[cfg(all(test, not(any(loom, annals_shuttle))))]
mod tests {
    use super::*;
    use crate::log::Builder;
    use crate::model::Message;

    /// Tags tell what a slot holds, and marking twice is marking once: anybody may finish.
    #[test]
    fn tags_tell_what_a_slot_holds() {
        let at = ptr::without_provenance_mut::<Header>(64);
        let record = NonNull::new(at).unwrap();
        assert!(Seen::of(ptr::null_mut()) == Seen::Empty);
        assert!(Seen::of(at) == Seen::Open(record));
        assert!(Seen::of(done(at)) == Seen::Done(record) && done(done(at)) == done(at));
        assert!(Seen::of(more(at)) == Seen::More(record) && more(more(at)) == more(at));
    }

    /// Each segment is found by its indexes, and has its own place: from the first one left on, and from wherever a log begins.
    #[test]
    fn segments_are_found_by_their_indexes() {
        for start in [0, 1 << 40, (1 << 40) + 14] {
            let log = Builder::new().segment_slots(2).no_clock().build_at(start).unwrap();
            for _ in 0..1000 {
                log.append("s", Message::event("E", "").unwrap()).unwrap();
            }
            for first in [0, 1, 64, 130, 499] {
                log.truncate_before(start + 2 * first + 1);
                let guard = log.core().pin();
                let segment_of = |number| log.core().segment_of(start + 2 * number + number % 2, &guard);
                for number in first..500 {
                    let segment = segment_of(number).unwrap();
                    assert_eq!((segment.number(), segment.first_index()), (number, start + 2 * number));
                }
                assert!((0..first).chain(500..510).all(|number| segment_of(number).is_none()));
            }
            assert!(start == 0 || log.core().segment_of(start - 1, &log.core().pin()).is_none());
        }
    }
}
