//! What all handles to a log share, and how to find one's way in it.

use std::sync::Arc as StdArc;

use crossbeam_utils::CachePadded;
use once_cell::race::OnceBox;

use super::arena::Arena;
use super::backing::{Backing, Stopped};
use super::clock::Time;
use super::counts::Sums;
use super::cursor::Range;
use super::directory::Directory;
use super::envelope::Envelope;
use super::garbage::Garbage;
use super::keys::{Indexes, KeyTable, Keys};
use super::pool::Pool;
use super::reclaim::{Domain, Guard, Participant};
use super::record::Shape;
use super::segment::{Seen, Segment};
use super::watch::{Interest, Watcher};
use crate::model::{Limits, Position, Retention, Timestamp};
use crate::sync::{Arc, AtomicPtr, AtomicU64, Backoff, Ordering, Tally};

/// How far appends may run ahead of the end hint: what a reader walks at most, one batch apart.
pub(crate) const HINT_LAG: u64 = 16;

/// How many local states the log keeps for them.
const POOL: usize = if cfg!(any(loom, annals_shuttle)) { 1 } else { 32 };

pub(crate) struct Config {
    /// log2 of the slots of a segment.
    pub(crate) segment_bits: u32,
    pub(crate) limits: Limits,
    pub(crate) time: Time,
    pub(crate) retention: Retention,
    /// Whether there is any: asked after every append.
    pub(crate) retains: bool,
    pub(crate) shape: Shape,
    pub(crate) indexes: Indexes,
    /// How far back a repeat is looked for.
    pub(crate) once_within: u64,
}

/// One log. Indexes are positions less one.
pub(crate) struct Core {
    pub(crate) config: Config,
    /// Index of the first slot that the log ever had.
    pub(crate) start: u64,
    pub(crate) domain: Domain,
    pub(crate) directory: Arc<Directory>,
    /// Indexes by key, when the log has any.
    pub(crate) keys: Option<StdArc<KeyTable>>,
    pub(crate) garbage: StdArc<Garbage>,
    /// Indexes before this one are removed: no reader sees them.
    pub(crate) floor: AtomicU64,
    /// Indexes before this one are not in memory: only of a log with a backing, which has them.
    pub(crate) resident: AtomicU64,
    /// The first linked segment.
    pub(crate) head: AtomicPtr<Segment>,
    /// A late segment: everything before it is finished.
    pub(crate) tail: CachePadded<AtomicPtr<Segment>>,
    /// A late index: everything before it is finished, and no batch lies across it. No slot is taken more than
    /// `HINT_LAG` and one batch after it. It lies in the tail's segment, or before, or is the first index after it.
    pub(crate) hint: CachePadded<AtomicU64>,
    /// States for appends without an appender of their own.
    pool: Pool<Local, POOL>,
    /// Who watches.
    pub(crate) interest: Interest,
    pub(crate) watcher: OnceBox<Box<dyn Watcher>>,
    /// What happened to appends, see below.
    pub(crate) tally: Tally<3>,
    /// What the log rests on besides its memory, if it does. Set before anybody uses the log.
    pub(crate) backing: OnceBox<Box<dyn Backing>>,
}

/// Appends refused because of an expectation or a condition.
pub(crate) const REFUSED: usize = 0;
/// Appends finished for another thread.
pub(crate) const HELPED: usize = 1;
/// Swaps lost to another append.
pub(crate) const LOST: usize = 2;

// SAFETY: the raw pointers are to segments, shared by the protocol of `log`, and to locals, owned by whoever swaps them
// out. Records hold `Bytes` and plain data, which are `Send` and `Sync`.
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

/// What one appender keeps between two appends.
pub(crate) struct Local {
    pub(crate) participant: Participant,
    pub(crate) arena: Arena,
    /// Room for the keys of a message.
    pub(crate) keys: Keys,
    /// Where the log ended when this appender last looked; everything before is finished.
    pub(crate) next: u64,
    /// How far the end hint, as this appender last saw it, lets it go: the first index that it may not take.
    pub(crate) hint_reach: u64,
    pub(crate) backoff: Backoff,
    /// The last try lost its swap: wait before the next one.
    pub(crate) lost_swap: bool,
}

/// A place in the log. Everything before it is finished.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'g> {
    pub(crate) segment: &'g Segment,
    pub(crate) index: u64,
}

impl Core {
    /// A log whose first slot has index `start`; `before` is the time of the record before, and the sums of all of them.
    pub(crate) fn new(config: Config, start: u64, before: (Timestamp, Sums)) -> Self {
        let directory = Arc::new(Directory::new(config.limits.streams));
        let first = Segment::first(start, 1 << config.segment_bits, before);
        let keys = config.indexes.any().then(|| StdArc::new(KeyTable::new(config.indexes)));
        Self {
            garbage: StdArc::new(Garbage::new(directory.clone(), keys.clone())),
            keys,
            directory,
            domain: Domain::new(),
            start,
            floor: AtomicU64::new(start),
            resident: AtomicU64::new(start),
            head: AtomicPtr::new(first),
            tail: CachePadded::new(AtomicPtr::new(first)),
            hint: CachePadded::new(AtomicU64::new(start)),
            pool: Pool::new(),
            interest: Interest::new(),
            watcher: OnceBox::new(),
            tally: Tally::new(),
            backing: OnceBox::new(),
            config,
        }
    }

    #[inline]
    pub(crate) fn backing(&self) -> Option<&dyn Backing> {
        self.backing.get().map(|backing| &**backing)
    }

    #[inline]
    pub(crate) fn pin(&self) -> Guard {
        self.domain.pin()
    }

    pub(crate) fn local(&self) -> Local {
        Local {
            participant: self.domain.participant(),
            arena: Arena::new(self.directory.clone()),
            keys: Keys::new(),
            // Acquire: pairs with the Release in `keep_up`: everything before the hint is published.
            next: self.hint.load(Ordering::Acquire),
            hint_reach: 0,
            backoff: Backoff::new(),
            lost_swap: false,
        }
    }

    /// Runs `work` with a local state from the pool, or with one for this call alone when those that were tried are in
    /// use.
    #[inline]
    pub(crate) fn with_local<R>(&self, work: impl FnOnce(&mut Local) -> R) -> R {
        match self.pool.lend(|| self.local()) {
            Some(mut local) => work(&mut local),
            None => work(&mut self.local()),
        }
    }

    /// The end of the visible prefix: how many indexes there are. Wait-free: walks at most `HINT_LAG` slots and a batch.
    #[inline]
    pub(crate) fn end(&self, guard: &Guard) -> u64 {
        self.last_spot(guard).index
    }

    fn last_spot<'g>(&self, guard: &'g Guard) -> Spot<'g> {
        let mut spot = self.late_spot(guard);
        // Whatever had returned before the hint was loaded began less than `HINT_LAG` after it (S4): past that, the walk
        // may stop, however fast others append.
        let far_enough = spot.index.saturating_add(HINT_LAG);
        while spot.index < far_enough {
            if !spot.segment.holds(spot.index) {
                // Acquire: pairs with the Release in `make_next`.
                let next = spot.segment.next.load(Ordering::Acquire);
                if next.is_null() {
                    return spot;
                }
                // SAFETY: after a segment that is allocated while pinned.
                spot.segment = unsafe { Segment::at(next) };
            }
            // Acquire: pairs with the Release of the mark: publishes the record, and everything before it.
            match Seen::of(spot.segment.slot(spot.index).load(Ordering::Acquire)) {
                Seen::Empty | Seen::Open(_) | Seen::Closed => return spot,
                Seen::Done(_) => spot.index += 1,
                Seen::More(_) => match Self::after_batch(spot) {
                    Some(after) => spot = after,
                    None => return spot,
                },
            }
        }
        spot
    }

    /// The latest place known without looking at slots.
    #[inline]
    pub(crate) fn late_spot<'g>(&self, guard: &'g Guard) -> Spot<'g> {
        // Acquire: pairs with the Release in `keep_up`: everything before the hint is published.
        self.spot_from(self.hint.load(Ordering::Acquire), guard)
    }

    /// A place not before `known`, which the caller has seen finished.
    #[inline]
    pub(crate) fn spot_from<'g>(&self, known: u64, guard: &'g Guard) -> Spot<'g> {
        let segment = self.tail(guard);
        Spot { segment, index: known.max(segment.first_index()) }
    }

    #[inline]
    pub(crate) fn tail<'g>(&self, _: &'g Guard) -> &'g Segment {
        // Acquire: pairs with the Release in `step`: everything before the tail's segment is published.
        // SAFETY: the tail's segment is linked when loaded, so allocated while pinned.
        unsafe { Segment::at(self.tail.load(Ordering::Acquire)) }
    }

    /// The place after the batch that begins at `spot`, when it is finished.
    pub(crate) fn after_batch(mut spot: Spot<'_>) -> Option<Spot<'_>> {
        loop {
            if !spot.segment.holds(spot.index) {
                // Acquire: pairs with the Release in `make_next`.
                let next = spot.segment.next.load(Ordering::Acquire);
                if next.is_null() {
                    return None;
                }
                // SAFETY: after a segment that is allocated while pinned.
                spot.segment = unsafe { Segment::at(next) };
            }
            // Acquire: pairs with the Release of fill and mark.
            let seen = Seen::of(spot.segment.slot(spot.index).load(Ordering::Acquire));
            spot.index += 1;
            match seen {
                Seen::More(_) => {}
                Seen::Done(_) => return Some(spot),
                Seen::Empty | Seen::Closed => return None,
                Seen::Open(_) => unreachable!("the last record of a batch is never open"),
            }
        }
    }

    /// The segment of `index`, unless it has been unlinked or is not there yet. However many there are, a few steps: up and
    /// down some levels of pages; or from the tail on, those of a batch.
    pub(crate) fn segment_of<'g>(&self, index: u64, guard: &'g Guard) -> Option<&'g Segment> {
        let number = index.checked_sub(self.start)? >> self.config.segment_bits;
        let mut last = self.tail(guard);
        while last.number() < number {
            // Relaxed: the caller has seen `index` finished, so it acquired every link on the way there.
            let next = last.next.load(Ordering::Relaxed);
            if next.is_null() {
                return None;
            }
            // SAFETY: after a segment that is allocated while pinned.
            last = unsafe { Segment::at(next) };
        }
        if last.number() == number {
            return Some(last);
        }
        if number < self.head(guard).number() {
            return None;
        }
        // SAFETY: before the tail, which was acquired; and from the head on, segments are allocated while pinned.
        Some(unsafe { Segment::at(last.earlier(number)) })
    }

    #[inline]
    pub(crate) fn head<'g>(&self, _: &'g Guard) -> &'g Segment {
        // Acquire: pairs with the Release in `unlink`.
        // SAFETY: linked when loaded, so allocated while pinned.
        unsafe { Segment::at(self.head.load(Ordering::Acquire)) }
    }

    /// Index of the first visible envelope, whether it is there yet or not.
    #[inline]
    pub(crate) fn first(&self) -> u64 {
        // Relaxed: who is told of a truncation is told by something that orders it; nothing is read because of the floor.
        self.floor.load(Ordering::Relaxed)
    }

    /// Index of the first envelope that memory may have.
    pub(crate) fn resident(&self) -> u64 {
        if self.backing().is_none() {
            return self.first();
        }
        // Relaxed: what is not found in memory is looked for elsewhere, so only the number matters.
        self.resident.load(Ordering::Relaxed)
    }

    /// The envelope at a position of the log up to `end`; none when it is after that, or was removed.
    pub(crate) fn envelope(&self, position: Position, end: u64, guard: &Guard) -> Option<Envelope> {
        let index = position.get().checked_sub(1)?;
        if index >= end || index < self.first() {
            return None;
        }
        match self.segment_of(index, guard) {
            Some(segment) => Some(Envelope::of(segment.record(index))),
            None => self.recall(index),
        }
    }

    /// An envelope that memory does not have any more.
    #[cold]
    pub(crate) fn recall(&self, index: u64) -> Option<Envelope> {
        self.recalled(index).ok()?
    }

    /// The same, for whom it matters whether it could not be read.
    #[cold]
    pub(crate) fn recalled(&self, index: u64) -> Result<Option<Envelope>, Stopped> {
        let Some(backing) = self.backing() else { return Ok(None) };
        let mut only = Range { start: index, end: index + 1 };
        Ok(backing.read(&mut only, false, None)?.pop())
    }

    /// The first index in `from..end` whose time is not before `time`; `end` when there is none.
    ///
    /// Binary search: over segments by the time before them, then inside one.
    pub(crate) fn index_at(&self, time: Timestamp, from: u64, end: u64, guard: &Guard) -> u64 {
        let (mut low, mut high) = (from, end);
        if let Some(backing) = self.backing().filter(|_| low < self.resident()) {
            let line = high.min(self.resident());
            match backing.index_at(time, low, line) {
                Ok(index) if index < line => return index,
                _ => low = line,
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(segment) = self.segment_of(middle, guard) else {
                // Removed meanwhile: what is left lies after it.
                low = middle + 1;
                continue;
            };
            if segment.record(middle).time().unwrap_or(Timestamp::MIN) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(backing) = self.backing() {
            backing.dropped(self);
        }
        // SAFETY: alone: no cursor, no handle. Segments from the head on are linked; those unlinked are the garbage's,
        // which knows nothing of indexes once it is told that the log is gone.
        unsafe {
            self.directory.clear_indexes(&self.pin());
            let mut at = self.head.load(Ordering::Relaxed);
            while !at.is_null() {
                let segment = Segment::at(at);
                let next = segment.next.load(Ordering::Relaxed);
                if next.is_null() { segment.all_pages() } else { segment.ended() }.free();
                Segment::sweep(at, usize::MAX, |_| {});
                Segment::free_shell(at);
                at = next;
            }
        }
        self.pin().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{AppendOptions, Builder};
    use crate::model::Message;

    fn event() -> Message<'static> {
        Message::event("E", "").unwrap()
    }

    /// A look at the end takes a bounded number of steps, however fast others append: here the hint is older than it can be.
    #[test]
    fn a_look_at_the_end_takes_few_steps() {
        let log = Builder::new().no_clock().build().unwrap();
        (0..100).for_each(|_| _ = log.append("s", event()).unwrap());
        let (core, guard) = (log.core(), log.core().pin());
        core.hint.store(10, Ordering::Relaxed);
        assert_eq!(core.end(&guard), 10 + HINT_LAG);
    }

    /// A search by time that began before a truncation finds what is left: what is gone came before.
    #[test]
    fn a_search_by_time_passes_what_is_removed_meanwhile() {
        let log = Builder::new().segment_slots(2).time_per_append().build().unwrap();
        for n in 0..40 {
            log.append_with("s", event(), AppendOptions::new().at(Timestamp::from_nanos(n))).unwrap();
        }
        log.truncate_before(21);
        let (core, guard) = (log.core(), log.core().pin());
        assert!(core.segment_of(19, &guard).is_none() && core.segment_of(20, &guard).is_some());
        for (time, index) in [(0, 20), (20, 20), (21, 21), (30, 30), (39, 39), (40, 40)] {
            assert_eq!(core.index_at(Timestamp::from_nanos(time), 0, 40, &guard), index, "time {time}");
        }
    }
}
