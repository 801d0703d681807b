//! Going through the log or a stream, one envelope after the other.
//!
//! Between two steps user code runs, for as long as it likes; so a cursor is not pinned. It holds the one segment that
//! its current envelope lies in, and nothing else: a cursor that stops keeps one segment of memory. To get to the next
//! segment it pins, finds it from the tail or from its neighbour if that is still linked, takes hold of it, and unpins.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::backing::Stopped;
use super::core::Core;
use super::directory::Entry;
use super::envelope::Envelope;
use super::handle::Log;
use super::lists::{self, List, ListWalk, Merge};
use super::reclaim::Guard;
use super::record::Record;
use super::segment::{Segment, Slot};
use crate::model::Query;
use crate::sync::Ordering;

/// Indexes of slots, or revisions of a stream: `end` is exclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Range {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };

    pub(crate) fn first(self, count: u64) -> Self {
        Self { start: self.start, end: self.end.min(self.start.saturating_add(count)) }
    }

    pub(crate) fn within(self, start: u64, end: u64) -> Self {
        Self { start: self.start.max(start), end: self.end.min(end) }
    }

    pub(crate) fn last(self, count: u64) -> Self {
        Self { start: self.start.max(self.end.saturating_sub(count)), end: self.end }
    }
}

/// A read in progress. Lends one envelope at a time: what `next` returns is valid until the next call; clone it to keep
/// it. The read of a stream or of the log that nobody truncates meets every envelope of its view.
///
/// ```
/// use annals::{Log, Message};
///
/// let log = Log::new();
/// log.append("a", Message::event("E", "payload")?)?;
/// let mut cursor = log.read().cursor();
/// let mut bytes = 0;
/// while let Some(envelope) = cursor.next() {
///     bytes += envelope.payload().len();
/// }
/// assert_eq!(bytes, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cursor {
    /// Indexes in the held segment that are next without further questions: all are wanted, less those removed meanwhile.
    run: Range,
    walk: Walk,
    backwards: bool,
    /// How many may follow, those of the run not included.
    left: u64,
    query: Option<Query>,
    lent: Option<ManuallyDrop<Envelope>>,
    held: Held,
    /// Whether memory may not have everything.
    backed: bool,
    /// What is next, read from what the log rests on.
    recalled: Recalled,
}

#[allow(clippy::large_enum_variant, reason = "one a cursor, and a box would be an allocation a read")]
enum Walk {
    Log(LogWalk),
    Stream(Listed<ListWalk>),
    Lists(Listed<Merge>),
}

impl Cursor {
    pub(crate) fn new(
        log: Log,
        stream: Option<NonNull<Entry>>,
        range: Range,
        backwards: bool,
        count: u64,
        query: Option<Query>,
    ) -> Self {
        let walk = match stream {
            None => Self::walk_of(log.core(), range, backwards, query.as_ref()),
            Some(entry) => Walk::Stream(Listed(ListWalk::new(List::Stream(entry), range, backwards))),
        };
        let backed = log.core().backing().is_some();
        Self {
            run: Range::EMPTY,
            walk,
            backwards,
            left: count,
            query,
            lent: None,
            held: Held::new(log),
            backed,
            recalled: Recalled::default(),
        }
    }

    fn walk_of(core: &Core, range: Range, backwards: bool, query: Option<&Query>) -> Walk {
        // With a backing, lists may lose what they name while they are walked.
        if let Some(query) = query.filter(|_| core.backing().is_none()) {
            let guard = core.pin();
            if let Some(lists) = lists::plan(core, query, range, &guard) {
                return Walk::Lists(Listed(Merge::new(core, &lists, range, backwards, &guard)));
            }
        }
        Walk::Log(LogWalk { rest: range, run: Range::EMPTY, backwards })
    }

    /// The next envelope; none at the end, and from then on.
    #[allow(clippy::should_implement_trait, reason = "it lends, which an iterator cannot")]
    #[inline]
    pub fn next(&mut self) -> Option<&Envelope> {
        let index = self.run.start;
        if index < self.run.end {
            self.run.start += 1;
            if let Some(record) = self.held.record(index) {
                // SAFETY: as in `search`.
                let lent = unsafe { Envelope::lend(record) };
                return Some(self.lent.insert(lent));
            }
            // Removed since the run began: it does not count.
            self.left += 1;
        }
        self.search()
    }

    /// The next envelope when it is not simply the next in the run. Apart, so that `next` is small enough to be inlined.
    #[inline(never)]
    fn search(&mut self) -> Option<&Envelope> {
        loop {
            // What is left of a run has been removed, up to where the floor is.
            while self.run.start < self.run.end {
                self.run.start += 1;
                if let Some(record) = self.held.record(self.run.start - 1) {
                    // SAFETY: as below.
                    let lent = unsafe { Envelope::lend(record) };
                    return Some(self.lent.insert(lent));
                }
                self.left += 1;
            }
            if self.left == 0 {
                return None;
            }
            if self.backed {
                match self.recall() {
                    Recall::Next => {
                        self.left -= 1;
                        return self.recalled.at_hand.as_ref();
                    }
                    Recall::End => return None,
                    Recall::InMemory => {}
                }
            }
            if self.query.is_none() && !self.backwards {
                let run = match &mut self.walk {
                    Walk::Log(log) => log.next_run(&mut self.held, self.left),
                    Walk::Stream(stream) => stream.next_run(&mut self.held, self.left),
                    Walk::Lists(_) => unreachable!("lists answer queries"),
                };
                match run {
                    Some(run) => {
                        self.run = run;
                        self.left -= self.run.end - self.run.start;
                    }
                    None if self.is_over() => return None,
                    None => {}
                }
                continue;
            }
            let index = match &mut self.walk {
                Walk::Log(log) if let Some(query) = &self.query => log.next_match(&mut self.held, query),
                // Without a query, and so backwards.
                Walk::Log(log) => log.next_back(&mut self.held),
                Walk::Stream(stream) => stream.next_index(&mut self.held),
                Walk::Lists(lists) => lists.next_index(&mut self.held),
            };
            let Some(index) = index else {
                if self.is_over() {
                    return None;
                }
                continue;
            };
            let Some(record) = self.held.record(index) else {
                self.miss(index);
                continue;
            };
            let found = matches!(self.walk, Walk::Log(_));
            if found || self.query.as_ref().is_none_or(|query| selects(query, record)) {
                self.left -= 1;
                // SAFETY: the held segment keeps the record; it is let go of only by a later call or by the drop of the
                // cursor, which end the loan.
                let lent = unsafe { Envelope::lend(record) };
                return Some(self.lent.insert(lent));
            }
        }
    }
}

impl Cursor {
    /// Why the read ended early: what the log rests on could not be read. Only of a log on disk.
    pub fn failure(&self) -> Option<&Stopped> {
        self.recalled.failure.as_ref()
    }

    /// The same read, which failed before it began, if it did.
    pub(crate) fn with_failure(mut self, failure: Option<Stopped>) -> Self {
        self.recalled.failure = failure;
        self
    }

    /// Whether nothing follows. What memory gave up to the backing meanwhile does.
    #[cold]
    fn is_over(&self) -> bool {
        let rest = match &self.walk {
            Walk::Log(log) => log.rest,
            Walk::Stream(Listed(walk)) => walk.rest(),
            Walk::Lists(_) => Range::EMPTY,
        };
        !self.backed || rest.start >= rest.end
    }

    /// Goes on where memory does not have what is next.
    #[cold]
    fn recall(&mut self) -> Recall {
        loop {
            let core = self.held.log.core();
            for envelope in self.recalled.rest.by_ref() {
                let is_there = envelope.position().get() > core.first();
                if is_there && self.query.as_ref().is_none_or(|query| envelope.matches(query)) {
                    self.recalled.at_hand = Some(envelope);
                    return Recall::Next;
                }
            }
            let Some(backing) = core.backing() else { return Recall::InMemory };
            let read = match &mut self.walk {
                Walk::Log(log) => {
                    if log.is_in_memory(core) {
                        return Recall::InMemory;
                    }
                    backing.read(&mut log.rest, self.backwards, self.query.as_ref())
                }
                Walk::Stream(Listed(walk)) => {
                    if walk.is_in_memory(core) {
                        return Recall::InMemory;
                    }
                    walk.read(core, backing)
                }
                Walk::Lists(_) => return Recall::InMemory,
            };
            match read {
                Ok(envelopes) => self.recalled.rest = envelopes.into_iter(),
                Err(failure) => {
                    self.recalled.failure = Some(failure);
                    return Recall::End;
                }
            }
        }
    }

    /// Comes back to an envelope that a list named and memory did not have any more.
    #[cold]
    fn miss(&mut self, index: u64) {
        if let Some(envelope) = self.held.log.core().recall(index) {
            self.recalled.rest = vec![envelope].into_iter();
        }
    }
}

/// Envelopes read from what the log rests on.
#[derive(Default)]
struct Recalled {
    rest: std::vec::IntoIter<Envelope>,
    at_hand: Option<Envelope>,
    failure: Option<Stopped>,
}

enum Recall {
    /// It is at hand.
    Next,
    InMemory,
    End,
}

/// Apart, so that reads without a query do not pay for its registers.
#[inline(never)]
fn selects(query: &Query, record: Record<'_>) -> bool {
    query.matches(&record)
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("left", &self.left).field("query", &self.query).finish_non_exhaustive()
    }
}

// SAFETY: a segment is shared by atomics alone; entries live as long as the log.
unsafe impl Send for Cursor {}
// SAFETY: nothing in a cursor changes through a shared reference.
unsafe impl Sync for Cursor {}

/// A segment that cannot be freed.
pub(crate) struct Held {
    pub(crate) log: Log,
    segment: Option<NonNull<Segment>>,
}

// SAFETY: a segment is shared by atomics alone, and held.
unsafe impl Send for Held {}
// SAFETY: nothing in it changes through a shared reference.
unsafe impl Sync for Held {}

impl Held {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, segment: None }
    }

    /// The slot of an index, when it lies in the held segment.
    #[inline]
    pub(crate) fn slot(&self, index: u64) -> Option<&Slot> {
        // SAFETY: held until the cursor moves on.
        self.segment.and_then(|segment| unsafe { segment.as_ref() }.get(index))
    }

    /// The record at an index of the view that lies in the held segment; none when it was removed.
    #[inline]
    pub(crate) fn record(&self, index: u64) -> Option<Record<'_>> {
        if index < self.log.core().first() {
            return None;
        }
        let segment = self.segment?;
        // SAFETY: held until the cursor moves on; finished, because it lies in the view.
        Some(unsafe { Segment::at(segment.as_ptr()) }.record(index))
    }

    /// Index of the first slot of the held segment.
    fn first_index(&self) -> u64 {
        // SAFETY: held.
        self.segment.map_or(0, |segment| unsafe { segment.as_ref() }.first_index())
    }

    #[inline]
    pub(crate) fn holds(&self, index: u64) -> bool {
        // SAFETY: held.
        self.segment.is_some_and(|segment| unsafe { segment.as_ref() }.holds(index))
    }

    /// Takes hold of the segment of `index`, unless it is held.
    #[inline]
    fn reach(&mut self, index: u64) {
        if !self.holds(index) {
            self.change(index);
        }
    }

    /// Takes hold of the segment of `index`; false when it has been removed.
    #[cold]
    pub(crate) fn change(&mut self, index: u64) -> bool {
        let guard = self.log.core().pin();
        let found = Self::find(self.log.core(), self.segment, index, &guard).map(|segment| {
            segment.hold();
            NonNull::from(segment)
        });
        drop(guard);
        self.let_go();
        self.segment = found;
        found.is_some()
    }

    fn find<'g>(core: &'g Core, held: Option<NonNull<Segment>>, index: u64, guard: &'g Guard) -> Option<&'g Segment> {
        // SAFETY: held.
        if let Some(here) = held.map(|segment| unsafe { segment.as_ref() })
            && here.end_index() == index
            && here.number() + 1 >= core.head(guard).number()
        {
            // Relaxed: a record of the view lies after this segment, so whoever made the view acquired this link, and it
            // is not null.
            let next = here.next.load(Ordering::Relaxed);
            // SAFETY: not before the first linked segment, so linked: allocated while pinned.
            return Some(unsafe { Segment::at(next) });
        }
        core.segment_of(index, guard)
    }

    fn let_go(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        // SAFETY: held until here. The last holder hands it to the garbage.
        unsafe {
            if Segment::at(segment.as_ptr()).release() {
                self.log.core().garbage.push(segment.as_ptr());
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
    }
}

struct LogWalk {
    /// Indexes still to come, those of the run not included.
    rest: Range,
    /// Those of them that lie in the held segment.
    run: Range,
    backwards: bool,
}

impl LogWalk {
    /// Whether memory has what is next, or nothing is.
    fn is_in_memory(&mut self, core: &Core) -> bool {
        if self.run.start < self.run.end {
            return true;
        }
        self.rest.start = self.rest.start.max(core.first());
        let next = if self.backwards { self.rest.end.saturating_sub(1) } else { self.rest.start };
        self.rest.start >= self.rest.end || next >= core.resident()
    }

    /// The next index of a walk backwards, which lies in the held segment.
    #[inline]
    fn next_back(&mut self, held: &mut Held) -> Option<u64> {
        if self.run.start >= self.run.end {
            self.run = self.next_run(held, u64::MAX)?;
        }
        self.run.end -= 1;
        Some(self.run.end)
    }

    /// The next index whose record a query selects, which lies in the held segment. What is removed meanwhile is looked at as
    /// long as the segment is held: whether an index that is found is still there, the caller asks.
    #[inline(never)]
    fn next_match(&mut self, held: &mut Held, query: &Query) -> Option<u64> {
        loop {
            let Range { start, end } = self.run;
            if start < end
                // SAFETY: held until the cursor moves on.
                && let Some(segment) = held.segment.map(|segment| unsafe { Segment::at(segment.as_ptr()) })
                && let Some(found) = segment.find(start, end, self.backwards, |record| query.matches(&record))
            {
                self.run = if self.backwards { Range { start, end: found } } else { Range { start: found + 1, end } };
                return Some(found);
            }
            self.run = Range::EMPTY;
            self.run = self.next_run(held, u64::MAX)?;
        }
    }

    /// Takes hold of the segment of the next index, and returns the indexes that are to be read in it, forwards `most` at
    /// most.
    #[cold]
    fn next_run(&mut self, held: &mut Held, most: u64) -> Option<Range> {
        loop {
            self.rest.start = self.rest.start.max(held.log.core().first());
            if self.rest.start >= self.rest.end {
                return None;
            }
            let index = if self.backwards { self.rest.end - 1 } else { self.rest.start };
            if !held.change(index) {
                if held.log.core().backing().is_some() {
                    return None;
                }
                // Removed since we looked at the floor: look again.
                continue;
            }
            let first = held.first_index();
            let run = self.rest.within(first, first + (1 << held.log.core().config.segment_bits));
            if self.backwards {
                self.rest.end = run.start;
            } else {
                let run = run.first(most);
                self.rest.start = run.end;
                return Some(run);
            }
            return Some(run);
        }
    }
}

/// A walk through the slots that lists name.
struct Listed<W>(W);

impl Listed<ListWalk> {
    /// The next index, which lies in the held segment unless it was removed.
    #[inline]
    fn next_index(&mut self, held: &mut Held) -> Option<u64> {
        let index = self.0.next_index(held.log.core())?;
        held.reach(index);
        Some(index)
    }

    /// The next indexes that follow one another in the held segment, `most` at most.
    fn next_run(&mut self, held: &mut Held, most: u64) -> Option<Range> {
        let start = self.next_index(held)?;
        let mut run = Range { start, end: start + 1 };
        while run.end - run.start < most && held.holds(run.end) && self.0.pass(run.end) {
            run.end += 1;
        }
        Some(run)
    }
}

impl Listed<Merge> {
    fn next_index(&mut self, held: &mut Held) -> Option<u64> {
        let index = self.0.next_index(held.log.core())?;
        held.reach(index);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::lists::NEAR;
    use crate::log::{Builder, OneStream, Read};
    use crate::model::Message;

    /// A log of a hundred envelopes of one stream, in one segment.
    fn log() -> Log {
        let log = Builder::new().segment_slots(128).no_clock().build().unwrap();
        (0..100).for_each(|_| _ = log.append("s", Message::event("E", "").unwrap()).unwrap());
        log
    }

    /// The run after the first envelope was lent: what `next` lends without a search.
    fn rest_of_run(mut cursor: Cursor) -> (u64, u64) {
        assert!(cursor.next().is_some());
        (cursor.run.start, cursor.run.end)
    }

    /// A read of the log goes from segment to segment, not from slot to slot.
    #[test]
    fn the_log_is_read_in_runs() {
        assert_eq!(rest_of_run(log().read().cursor()), (1, 100));
        assert_eq!(rest_of_run(log().read().from(51).first(20).cursor()), (51, 70));
    }

    /// So does a read of a stream that lies together, as far as its positions were copied.
    #[test]
    fn a_stream_that_lies_together_is_read_in_runs() {
        let read = |part: fn(Read<OneStream>) -> Read<OneStream>| rest_of_run(part(log().read_stream("s")).cursor());
        assert_eq!(read(|all| all), (1, NEAR as u64));
        assert_eq!(read(|all| all.from_revision(50).first(20)), (51, 70));
        assert_eq!(read(|all| all.from_revision(90)), (91, 100));
    }

    /// A read of a stream holds the segment that it reads, and finds it again only when it leaves it.
    #[test]
    fn a_segment_is_held_while_it_is_read() {
        let (log, other) = (log(), self::log());
        let mut cursor = log.read_stream("s").backwards().cursor();
        assert!(cursor.next().is_some());
        assert!(cursor.held.holds(0) && cursor.held.holds(127) && !cursor.held.holds(128));
        assert!(!Held { log: other, segment: None }.holds(0));
    }
}
