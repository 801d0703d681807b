//! How much there is: of a view, without going through it, and in memory.
//!
//! A log that counts keeps in each record the sums over all records before. So what lies between two of them is one
//! subtraction, in every view of the past and whatever was removed.

use std::ops::{Add, AddAssign};

use super::core::Core;
use super::handle::Log;
use super::reclaim::Guard;
use super::record::Record;
use super::segment::Segment;
use super::view::View;
use crate::model::{Kind, Recorded, Timestamp};
use crate::sync::Ordering;

/// Sums over all records before one, or over one. Lies in records as it is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Sums {
    pub(crate) bytes: u64,
    pub(crate) commands: u64,
}

impl Sums {
    pub(crate) fn of(record: Record<'_>) -> Self {
        Self { bytes: record.weight(), commands: u64::from(record.kind() == Kind::Command) }
    }

    /// Sums up to `record` and over it, when its log keeps them.
    pub(crate) fn up_to(record: Record<'_>) -> Self {
        record.sum().map_or(Self::default(), |before| before + Self::of(record))
    }
}

impl Add for Sums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, commands: self.commands + other.commands }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// How many envelopes a view has, those left out that were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All of them.
    pub messages: u64,
    /// Those that are commands; none when the log does not count, see [`Builder::counted`](crate::Builder::counted).
    pub commands: Option<u64>,
    /// Those that are events; none when the log does not count.
    pub events: Option<u64>,
    /// What their records take in memory, payloads included; none when the log does not count. Of a log on disk: since it was
    /// opened.
    pub bytes: Option<u64>,
}

impl Counts {
    fn new(messages: u64, sums: Option<Sums>) -> Self {
        Self {
            messages,
            commands: sums.map(|sums| sums.commands),
            events: sums.map(|sums| messages - sums.commands),
            bytes: sums.map(|sums| sums.bytes),
        }
    }
}

impl View {
    /// How many envelopes there are, exactly: of the view, less what retention has removed.
    ///
    /// O(1), in a log that counts, too. Nothing is allocated. Lock-free: begins again only when envelopes were removed
    /// meanwhile.
    pub fn counts(&self) -> Counts {
        let core = self.log().core();
        let guard = core.pin();
        let end = self.end().get();
        loop {
            let first = core.first();
            let Some(messages) = end.checked_sub(first).filter(|messages| *messages > 0) else {
                return Counts::new(0, core.config.shape.sum().then(Sums::default));
            };
            if !core.config.shape.sum() {
                return Counts::new(messages, None);
            }
            if core.backing().is_some() {
                return Counts::new(messages, core.sums_between(first, end, &guard));
            }
            // Where a segment is gone, the floor is higher now.
            let record = |index| core.segment_of(index, &guard).map(|segment: &Segment| segment.record(index));
            if let (Some(first), Some(last)) = (record(first), record(end - 1)) {
                let (before, all) = (first.sum().unwrap_or_default(), Sums::up_to(last));
                let between = Sums { bytes: all.bytes - before.bytes, commands: all.commands - before.commands };
                return Counts::new(messages, Some(between));
            }
        }
    }

    /// When the first envelope that has not been removed was recorded; none when there is none, or the log has no clock.
    /// O(1); lock-free, as [`counts`](Self::counts).
    pub fn oldest(&self) -> Option<Timestamp> {
        let core = self.log().core();
        let guard = core.pin();
        loop {
            let first = core.first();
            if first >= self.end().get() {
                return None;
            }
            if core.backing().is_some() {
                return self.get(first + 1)?.time();
            }
            if let Some(segment) = core.segment_of(first, &guard) {
                return segment.record(first).time();
            }
        }
    }

    /// When the last envelope was recorded; none when there is none, when it has been removed, or the log has no clock.
    /// O(1). Wait-free.
    pub fn newest(&self) -> Option<Timestamp> {
        self.get(self.end())?.time()
    }
}

impl Log {
    /// Bytes of memory that the log's segments and records are in, as a statistic: of no single instant. O(1), wait-free.
    ///
    /// Records are in chunks; a chunk counts as a whole, from when an appender begins it until the last record in it is
    /// gone: so envelopes of it that are held count. A segment counts until its memory has been returned. Not counted are
    /// payloads that are not copied into records (see [`Payload`](crate::Payload)), streams' names, and their indexes: 8
    /// bytes for each envelope.
    pub fn memory(&self) -> u64 {
        let core = self.core();
        core.directory.chunks.get() + core.segments(&core.pin()) * Segment::size(core.config.segment_bits)
    }
}

impl Core {
    /// What the records between two indexes add up to, in a log with a backing; bytes only of those that are in memory.
    #[cold]
    fn sums_between(&self, first: u64, end: u64, guard: &Guard) -> Option<Sums> {
        let before = |index: u64| match index.checked_sub(1).and_then(|last| self.segment_of(last, guard)) {
            Some(segment) => Some(Sums::up_to(segment.record(index - 1))),
            None => Some(Sums { bytes: 0, commands: self.backing()?.commands_before(index).ok()? }),
        };
        let (before, all) = (before(first)?, before(end)?);
        Some(Sums { bytes: all.bytes.saturating_sub(before.bytes), commands: all.commands - before.commands })
    }

    /// How many segments have not been freed.
    fn segments(&self, guard: &Guard) -> u64 {
        // Before the last one, so that it is not later.
        let first = self.head(guard).number();
        let mut last = self.tail(guard);
        loop {
            // Acquire: pairs with the Release in `make_next`.
            let next = last.next.load(Ordering::Acquire);
            if next.is_null() {
                return last.number() + 1 - first + self.garbage.pending();
            }
            // SAFETY: after a segment that is allocated while pinned.
            last = unsafe { Segment::at(next) };
        }
    }
}

#[cfg(all(test, not(any(loom, annals_shuttle))))]
mod tests {
    use crate::log::Log;
    use crate::model::Message;

    /// Segments are counted from the first one to the last, and those that somebody keeps from being freed.
    #[test]
    fn segments_are_counted_until_they_are_freed() {
        let log = Log::builder().segment_slots(2).build().unwrap();
        let segments = || log.core().segments(&log.core().pin());
        assert_eq!(segments(), 1);
        for _ in 0..5 {
            log.append("s", Message::event("E", "").unwrap()).unwrap();
        }
        assert_eq!(segments(), 3);
        let mut cursor = log.read().cursor();
        cursor.next().unwrap();
        log.truncate_before(5);
        // The second may be freed at any time, the first is held by the cursor.
        loop {
            let (before, counted, after) = (log.unreturned_segments(), segments(), log.unreturned_segments());
            if before == after {
                assert!(before > 0 && counted == 1 + before, "{counted} segments, {before} of them unlinked");
                break;
            }
        }
        drop(cursor);
        while log.unreturned_segments() > 0 {
            log.maintain();
        }
        assert_eq!(segments(), 1);
    }
}
