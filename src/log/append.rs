//! The append protocol, as the head of `log` tells it: decide, swap, finish, help.

use std::num::NonZeroU64;
use std::ptr::NonNull;

use smallvec::SmallVec;

use super::core::{Core, HELPED, HINT_LAG, LOST, Local, Spot};
use super::counts::Sums;
use super::directory::Entry;
use super::keyed::Besides;
use super::keys::{KEYED_LIMIT, KeyPlan};
use super::reclaim::Guard;
use super::record::{Draft, Header, Record};
use super::segment::{Seen, Segment, done, more};
use crate::model::{Condition, Expected, Revision, Timestamp};
use crate::sync::{Ordering, decide, probe, stop};

/// No slot at or after this index is ever taken: sums of indexes and lengths cannot wrap.
pub(crate) const LIMIT: u64 = 1 << 63;

/// Why nothing was appended. Everything in it was true when the log had `end` envelopes, at an instant of the call.
#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    /// The expectation of a stream: which one of the plan, and its last revision.
    Conflict { stream: usize, actual: Option<Revision>, end: u64 },
    /// An envelope matches a part of the condition: its index.
    Match { index: u64, part: usize, end: u64 },
    /// There are no positions left.
    Full,
    /// The log was closed.
    Closed,
    /// What the log rests on could not be read.
    Unreadable,
}

/// What an append asks for, ready to be decided.
#[derive(Clone)]
pub(crate) struct Terms<'c> {
    pub(crate) condition: Option<&'c Condition>,
    /// Indexes before this one were checked against the condition.
    pub(crate) checked: u64,
    /// The time of the append; the record before it may raise it.
    pub(crate) now: Timestamp,
}

/// One stream of an append.
pub(crate) struct StreamPlan<'e> {
    pub(crate) entry: &'e Entry,
    pub(crate) expected: Expected,
    /// How many of the drafts are for it.
    pub(crate) count: u64,
    /// The stream's next revision, as of the last look.
    pub(crate) next: u64,
}

/// What is to be appended at once.
#[derive(Default)]
pub(crate) struct BatchPlan<'e> {
    pub(crate) streams: SmallVec<[StreamPlan<'e>; 2]>,
    /// Each with its stream's place in `streams`; linked, in order.
    pub(crate) drafts: SmallVec<[(usize, Draft); 8]>,
    /// What the drafts need in the log's indexes by key.
    pub(crate) keys: KeyPlan,
}

/// Where a record went.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    /// Not zero, so that `Option<Placed>` is returned in two registers.
    pub(crate) position: NonZeroU64,
    pub(crate) revision: u64,
}

/// How one try of an append ended.
enum Try<'g> {
    Won(Placed),
    Refused(Refusal),
    /// Not at this spot: its slot has this, or lies after the spot's segment when it seems empty.
    Not(Spot<'g>, Seen),
}

impl Core {
    /// Tries once to append one record without a condition: most appends end here. If not, [`compete`](Self::compete).
    ///
    /// Not inlined: the fewer values a function juggles, the fewer it spills.
    #[inline(never)]
    pub(crate) fn try_first(
        &self,
        local: &mut Local,
        entry: &Entry,
        draft: Draft,
        now: Timestamp,
        admits: impl FnOnce(Option<Revision>) -> bool,
        guard: &Guard,
    ) -> Option<Placed> {
        let spot = self.spot_from(local.next, guard);
        match self.try_one((), spot, local, entry, draft, now, admits, |_| Ok(()), guard) {
            Try::Won(placed) => Some(placed),
            Try::Refused(_) | Try::Not(..) => None,
        }
    }

    /// Appends one record after a first try that did not, or when there is a condition, or keys.
    ///
    /// Lock-free: every try but the last means that another append took effect.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments, reason = "as `try_one`")]
    pub(crate) fn compete(
        &self,
        besides: impl Besides,
        local: &mut Local,
        entry: &Entry,
        draft: Draft,
        expected: Expected,
        mut terms: Terms<'_>,
        guard: &Guard,
    ) -> Result<Placed, Refusal> {
        let mut spot = self.spot_from(local.next, guard);
        let mut seen = spot.segment.get(spot.index).map_or(Seen::Empty, |slot| Seen::of(probe(slot)));
        let mut lost = false;
        loop {
            if seen == Seen::Closed {
                return Err(Refusal::Closed);
            }
            if seen != Seen::Empty {
                self.pass(&mut spot, seen, guard);
                if stop::here(stop::HELPING) {
                    return Err(Refusal::Full);
                }
                self.catch_up(&mut spot, local, guard);
                if std::mem::take(&mut local.lost_swap) {
                    lost = true;
                    self.tally.add(LOST, 1);
                    local.backoff.lost();
                }
            }
            if !spot.segment.holds(spot.index) {
                spot = self.next_segment(spot, guard)?;
            }
            let now = terms.now;
            let admits = |actual| expected.admits(actual);
            let check = |end| self.check(&mut terms, end, guard);
            match self.try_one(besides, spot, local, entry, draft, now, admits, check, guard) {
                Try::Won(placed) => {
                    if lost {
                        local.backoff.won_after_loss();
                    }
                    return Ok(placed);
                }
                Try::Refused(refusal) => return Err(refusal),
                Try::Not(there, what) => (spot, seen) = (there, what),
            }
        }
    }

    /// One try: decides, swaps, finishes (2 to 5 at the head of `log`). `admits` is the expectation; `check` decides what it
    /// does not, against everything before an index.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "into functions that are not inlined")]
    #[allow(clippy::too_many_arguments, reason = "as one value they would be written to memory and read back")]
    fn try_one<'g>(
        &self,
        besides: impl Besides,
        spot: Spot<'g>,
        local: &mut Local,
        entry: &Entry,
        draft: Draft,
        now: Timestamp,
        admits: impl FnOnce(Option<Revision>) -> bool,
        check: impl FnOnce(u64) -> Result<(), Refusal>,
        guard: &'g Guard,
    ) -> Try<'g> {
        let Some(slot) = spot.segment.get(spot.index) else { return Try::Not(spot, Seen::Empty) };
        self.keep_up(spot, local, guard);
        if besides.is_full(spot.index) {
            return Try::Refused(Refusal::Full);
        }
        let place = entry.index.place(guard);
        let revision = place.revision();
        let actual = revision.checked_sub(1).map(Revision::new);
        if !admits(actual) {
            // Exact only if nothing was appended since the spot was reached.
            return match Seen::of(probe(slot)) {
                Seen::Empty => {
                    local.next = spot.index;
                    Try::Refused(Refusal::Conflict { stream: 0, actual, end: spot.index })
                }
                seen => Try::Not(spot, seen),
            };
        }
        if let Err(refusal) = check(spot.index) {
            return Try::Refused(refusal);
        }
        let cell = place.reserve(&entry.index, guard);
        let position = NonZeroU64::MIN.saturating_add(spot.index);
        draft.place(position.get(), revision);
        besides.place(draft, guard);
        self.stamp(draft, spot, now);
        // Release, of `decide`: publishes the record; pairs with the Acquire of every load of the slot. (Who wins has read the
        // null that the slot was made with: there is nothing to acquire.) What more that is: see there.
        // Acquire: the winner's record is read to finish it.
        match slot.compare_exchange(std::ptr::null_mut(), draft.as_ptr(), decide(), Ordering::Acquire) {
            Ok(_) => {
                if stop::here(stop::SWAPPED) {
                    return Try::Won(Placed { position, revision });
                }
                cell.enter(position.get());
                self.begin(draft.record());
                besides.enter(draft.record(), guard);
                if stop::here(stop::ENTERED) {
                    return Try::Won(Placed { position, revision });
                }
                // Release: the instant at which the append takes effect; pairs with the Acquire of every reader.
                slot.store(done(draft.as_ptr()), Ordering::Release);
                local.next = position.get();
                Try::Won(Placed { position, revision })
            }
            Err(seen) => {
                local.lost_swap = true;
                Try::Not(spot, Seen::of(seen))
            }
        }
    }

    /// Appends a batch, or with no drafts only decides. Returns the index of its first record, or the end.
    ///
    /// Lock-free, as `append_one`.
    pub(crate) fn append_batch(
        &self,
        local: &mut Local,
        plan: &mut BatchPlan<'_>,
        mut terms: Terms<'_>,
    ) -> Result<u64, Refusal> {
        let guard = &local.participant.pin();
        let mut spot = self.spot_from(local.next, guard);
        'slot: loop {
            if !spot.segment.holds(spot.index) {
                spot = self.next_segment(spot, guard)?;
            }
            let slot = spot.segment.slot(spot.index);
            self.keep_up(spot, local, guard);
            if spot.index + plan.drafts.len() as u64 > self.limit() {
                return Err(Refusal::Full);
            }
            for at in 0..plan.streams.len() {
                let stream = &mut plan.streams[at];
                stream.next = stream.entry.index.place(guard).revision();
                let actual = stream.next.checked_sub(1).map(Revision::new);
                if !stream.expected.admits(actual) {
                    if !self.still_empty(&mut spot, guard)? {
                        continue 'slot;
                    }
                    local.next = spot.index;
                    return Err(Refusal::Conflict { stream: at, actual, end: spot.index });
                }
            }
            self.check(&mut terms, spot.index, guard)?;
            let Some(&(_, head)) = plan.drafts.first() else {
                // Nothing to write: what was read is exact if the slot is still empty.
                if !self.still_empty(&mut spot, guard)? {
                    continue;
                }
                return Ok(spot.index);
            };
            self.place_all(plan, spot, terms.now, guard);
            let last = plan.drafts.len() == 1;
            let value = if last { head.as_ptr() } else { more(head.as_ptr()) };
            // `decide` and Acquire: as in `try_one`.
            match slot.compare_exchange(std::ptr::null_mut(), value, decide(), Ordering::Acquire) {
                Ok(_) => {
                    let first = spot.index;
                    if stop::here(stop::SWAPPED) {
                        return Ok(first);
                    }
                    self.finish(&mut spot, Seen::of(value), guard);
                    local.next = spot.index;
                    return Ok(first);
                }
                Err(seen) if Seen::of(seen) == Seen::Closed => return Err(Refusal::Closed),
                Err(seen) => {
                    self.pass(&mut spot, Seen::of(seen), guard);
                    self.catch_up(&mut spot, local, guard);
                    self.tally.add(LOST, 1);
                    local.backoff.lost();
                }
            }
        }
    }

    /// Gives every draft of a plan its place, as if the batch began at `spot`.
    fn place_all(&self, plan: &mut BatchPlan<'_>, spot: Spot<'_>, now: Timestamp, guard: &Guard) {
        for stream in &plan.streams {
            stream.entry.index.reserve(stream.next, stream.count, guard);
        }
        if let Some(table) = &self.keys {
            plan.keys.reserve(table, guard);
        }
        let (shape, before) = (self.config.shape, spot.segment);
        let time = if shape.time() { now.max(before.time_before(spot.index)) } else { now };
        let mut sum = if shape.sum() { before.sums_before(spot.index) } else { Sums::default() };
        let mut position = spot.index;
        for &(stream, draft) in &plan.drafts {
            let stream = &mut plan.streams[stream];
            position += 1;
            draft.place(position, stream.next);
            stream.next += 1;
            if self.keys.is_some() {
                draft.place_keys(&mut plan.keys);
            }
            if shape.any() {
                draft.stamp(time, || sum);
                sum += Sums::of(draft.record());
            }
        }
    }

    /// No slot at or after this index is taken.
    fn limit(&self) -> u64 {
        if self.keys.is_some() { KEYED_LIMIT } else { LIMIT }
    }

    /// Sets time and sums, which follow from the record before (L7).
    #[inline]
    fn stamp(&self, draft: Draft, spot: Spot<'_>, now: Timestamp) {
        if self.config.shape.any() {
            let time = now.max(spot.segment.time_before(spot.index));
            draft.stamp(time, || spot.segment.sums_before(spot.index));
        }
    }

    /// The spot in the segment that has its index. Everything before the spot is finished, so the tail may follow.
    #[cold]
    #[inline(never)]
    pub(crate) fn next_segment<'g>(&self, mut spot: Spot<'g>, guard: &'g Guard) -> Result<Spot<'g>, Refusal> {
        if spot.index >= LIMIT {
            return Err(Refusal::Full);
        }
        while !spot.segment.holds(spot.index) {
            let here = std::ptr::from_ref(spot.segment).cast_mut();
            // SAFETY: pinned, and found from the tail: reachable. Its slots are all taken, everything before the spot is.
            let next = unsafe { Segment::next_or_make(here) };
            // SAFETY: after a segment that is allocated while pinned.
            spot.segment = unsafe { Segment::at(next) };
        }
        if stop::here(stop::MADE) {
            return Err(Refusal::Full);
        }
        self.move_tail(spot.segment, guard);
        if stop::here(stop::MOVED) {
            return Err(Refusal::Full);
        }
        Ok(spot)
    }

    /// Moves the tail forward to `segment`: everything before it is finished, as the caller has seen.
    fn move_tail(&self, segment: &Segment, guard: &Guard) {
        loop {
            let tail = self.tail(guard);
            if tail.number() >= segment.number() {
                return;
            }
            // Relaxed: the caller got to `segment`, which comes later, so it acquired this link, and it is not null.
            let next = tail.next.load(Ordering::Relaxed);
            // SAFETY: pinned, and found from the tail.
            unsafe { Segment::enter(next) };
            // Release: pairs with the Acquire in `tail`. A compare-and-swap, so that a thread that stopped here cannot
            // move the tail back.
            let here = std::ptr::from_ref(tail).cast_mut();
            let _ = self.tail.compare_exchange(here, next, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// Before taking a slot: the end hint may not lag behind it by more than `HINT_LAG`.
    #[inline]
    fn keep_up(&self, spot: Spot<'_>, local: &mut Local, guard: &Guard) {
        if spot.index >= local.hint_reach {
            self.move_hint(spot, local, guard);
        }
    }

    /// The tail first: who sees the hint finds it at most one segment after the tail.
    #[cold]
    fn move_hint(&self, spot: Spot<'_>, local: &mut Local, guard: &Guard) {
        let index = spot.index;
        self.move_tail(spot.segment, guard);
        // Relaxed: compared, nothing is read because of it.
        let mut hint = self.hint.load(Ordering::Relaxed);
        while index.saturating_sub(hint) >= HINT_LAG {
            // Release: pairs with the Acquire in `late_spot`: everything before `index` is finished, as the caller saw.
            match self.hint.compare_exchange(hint, index, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => hint = index,
                Err(other) => hint = other,
            }
        }
        local.hint_reach = hint.saturating_add(HINT_LAG);
    }

    /// After a loss: others may be far ahead.
    fn catch_up<'g>(&self, spot: &mut Spot<'g>, local: &mut Local, guard: &'g Guard) {
        let late = self.late_spot(guard);
        if late.index > spot.index {
            *spot = late;
        }
        local.next = spot.index;
    }

    /// Whether what was read of streams since the spot was reached is exact: then its slot is still empty. Else passes it.
    fn still_empty(&self, spot: &mut Spot<'_>, guard: &Guard) -> Result<bool, Refusal> {
        match Seen::of(probe(spot.segment.slot(spot.index))) {
            Seen::Empty => Ok(true),
            Seen::Closed => Err(Refusal::Closed),
            seen => {
                self.pass(spot, seen, guard);
                Ok(false)
            }
        }
    }

    /// Goes past what another append left at the spot, finishing it when it is not finished.
    pub(crate) fn pass(&self, spot: &mut Spot<'_>, seen: Seen, guard: &Guard) {
        if self.finish(spot, seen, guard) {
            self.tally.add(HELPED, 1);
        }
    }

    /// Goes past what was seen at the spot. Whether it had to be finished.
    fn finish(&self, spot: &mut Spot<'_>, seen: Seen, guard: &Guard) -> bool {
        match seen {
            Seen::Empty | Seen::Closed => false,
            Seen::Done(_) => {
                spot.index += 1;
                false
            }
            Seen::Open(record) => {
                self.finish_one(spot, record, guard);
                true
            }
            Seen::More(record) => {
                if let Some(after) = Self::after_batch(*spot) {
                    *spot = after;
                    return false;
                }
                self.finish_batch(spot, record, guard);
                true
            }
        }
    }

    /// Enters a record in its stream, and its keys in theirs.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "into the loop over a batch")]
    fn enter(&self, record: Record<'_>, guard: &Guard) {
        record.entry().index.enter(record.revision(), record.position(), guard);
        self.begin(record);
        if let Some(table) = &self.keys {
            record.enter_keys(table, guard);
        }
    }

    /// Notes where a stream begins, if `record` is its first one, before the mark on its slot.
    #[inline]
    fn begin(&self, record: Record<'_>) {
        if record.revision() == 0 {
            self.directory.note_beginning(record);
        }
    }

    /// Finishes the single append at the spot. Idempotent: what is stored follows from the record alone.
    #[cold]
    fn finish_one(&self, spot: &mut Spot<'_>, record: NonNull<Header>, guard: &Guard) {
        // SAFETY: in a slot of a segment that is allocated while pinned.
        let published = unsafe { Record::new(record) };
        self.enter(published, guard);
        if stop::here(stop::HELPING) {
            return;
        }
        // Release: as in `try_one`.
        spot.segment.slot(spot.index).store(done(record.as_ptr()), Ordering::Release);
        spot.index += 1;
    }

    /// Finishes the batch whose first record is at the spot: fills its slots, enters its revisions, marks the last slot.
    /// Idempotent, as `finish_one`; the mark is the instant at which all of it takes effect.
    fn finish_batch(&self, spot: &mut Spot<'_>, head: NonNull<Header>, guard: &Guard) {
        // SAFETY: in a slot of a segment that is allocated while pinned.
        let mut record = unsafe { Record::new(head) };
        loop {
            self.enter(record, guard);
            let slot = spot.segment.slot(spot.index);
            let Some(next) = record.next() else {
                // Release: as in `try_one`.
                slot.store(done(record.as_ptr().as_ptr()), Ordering::Release);
                spot.index += 1;
                return;
            };
            // Release: publishes the record to those who walk over it.
            slot.store(more(record.as_ptr().as_ptr()), Ordering::Release);
            spot.index += 1;
            if stop::here(stop::FILLED) {
                return;
            }
            if !spot.segment.holds(spot.index) {
                let here = std::ptr::from_ref(spot.segment).cast_mut();
                // SAFETY: pinned and reachable; its last slot was filled above. The tail stays: the batch is not finished.
                spot.segment = unsafe { Segment::at(Segment::next_or_make(here)) };
            }
            record = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Builder, Log};
    use crate::model::Message;

    fn log() -> Log {
        Builder::new().segment_slots(128).no_clock().build().unwrap()
    }

    fn draft(log: &Log, local: &mut Local, linked: bool, entry: &Entry) -> Draft {
        local.arena.draft(&Message::event("E", "").unwrap(), log.core().config.shape, linked, NonNull::from(entry))
    }

    /// Tests what is done to a log by a thread of which only these are known: its state, and the stream "s".
    fn with(log: &Log, test: impl FnOnce(&Core, &mut Local, &Entry, &Guard)) {
        let (core, stream) = (log.core(), log.stream("s").unwrap());
        // SAFETY: entries live as long as the log.
        test(core, &mut core.local(), unsafe { stream.entry().as_ref() }, &core.pin());
    }

    /// An append that competes with nobody is decided by its first try.
    #[test]
    fn an_append_alone_takes_one_try() {
        let log = log();
        with(&log, |core, local, entry, guard| {
            for n in 0..3 {
                let draft = draft(&log, local, false, entry);
                let placed = core.try_first(local, entry, draft, Timestamp::MIN, |_| true, guard);
                assert_eq!(placed.map(|placed| (placed.position.get(), placed.revision)), Some((n + 1, n)));
            }
        });
    }

    /// Who lost goes on from where the others are, not from where it was.
    #[test]
    fn a_loser_catches_up_at_once() {
        let log = log();
        with(&log, |core, local, _, guard| {
            let mut spot = core.late_spot(guard);
            (0..100).for_each(|_| _ = log.append("s", Message::event("E", "").unwrap()).unwrap());
            core.catch_up(&mut spot, local, guard);
            assert!(spot.index > 100 - HINT_LAG && local.next == spot.index, "at {} of 100", spot.index);
        });
    }

    /// Whoever comes by finishes an append whose thread stopped after its swap, and goes on behind it.
    #[test]
    fn who_finishes_for_another_goes_on_behind_it() {
        let log = log();
        with(&log, |core, local, entry, guard| {
            let mut spot = core.late_spot(guard);
            let swap_in = |spot: Spot<'_>, value: *mut Header| {
                let slot = spot.segment.slot(spot.index);
                assert!(
                    slot.compare_exchange(std::ptr::null_mut(), value, Ordering::Release, Ordering::Relaxed).is_ok()
                );
                Seen::of(value)
            };
            entry.index.reserve(0, 3, guard);
            let single = draft(&log, local, false, entry);
            single.place(1, 0);
            let seen = swap_in(spot, single.as_ptr());
            core.pass(&mut spot, seen, guard);
            assert_eq!((spot.index, core.end(guard)), (1, 1));

            let pair = [draft(&log, local, true, entry), draft(&log, local, false, entry)];
            pair[0].link(pair[1]);
            pair[0].place(2, 1);
            pair[1].place(3, 2);
            let seen = swap_in(spot, more(pair[0].as_ptr()));
            core.pass(&mut spot, seen, guard);
            assert_eq!((spot.index, core.end(guard)), (3, 3));
        });
        assert_eq!(log.read_stream("s").iter().count(), 3);
    }
}
