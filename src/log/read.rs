//! What to read, and in which order.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::backing::Stopped;
use super::cursor::{Cursor, Range};
use super::directory::Entry;
use super::envelope::Envelope;
use super::handle::Log;
use super::view::View;
use crate::model::{Position, Query, Revision, Timestamp};

/// A read of the whole log.
#[derive(Debug)]
pub enum WholeLog {}

/// A read of one stream.
#[derive(Debug)]
pub enum OneStream {}

/// What is read.
#[derive(Clone, Copy)]
enum Of {
    Log,
    Stream(NonNull<Entry>),
    /// A stream that was never written.
    Nothing,
}

impl Of {
    fn stream(self) -> Option<NonNull<Entry>> {
        match self {
            Of::Stream(entry) => Some(entry),
            Of::Log | Of::Nothing => None,
        }
    }
}

/// A read that has not begun: a part of a view, in one direction.
///
/// Everything is included until a setter leaves it out. Bounds are inclusive unless they say `after`; bounds that lie
/// outside of what is there select what is inside. What retention removes, before or during the read, is left out: the
/// positions show it.
///
/// ```
/// use annals::{Log, Message, Query};
///
/// let log = Log::new();
/// for n in 0..10u8 {
///     let name = if n % 2 == 0 { "Even" } else { "Odd" };
///     log.append("numbers", Message::event(name, &[n])?)?;
/// }
/// let numbers = |read: annals::Read<_>| read.iter().map(|e| e.payload()[0]).collect::<Vec<_>>();
/// assert_eq!(numbers(log.read().from(4).to(6)), [3, 4, 5]);
/// assert_eq!(numbers(log.read().matching(Query::name("Odd")?).last(2)), [7, 9]);
/// assert_eq!(numbers(log.read().backwards().first(3)), [9, 8, 7]);
/// assert_eq!(log.read_stream("numbers").from_revision(8).iter().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a read does nothing until it is iterated"]
pub struct Read<S> {
    log: Log,
    of: Of,
    /// Positions, first and last.
    from: u64,
    to: u64,
    /// Revisions, first and last.
    from_revision: u64,
    to_revision: u64,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    backwards: bool,
    first: Option<u64>,
    last: Option<u64>,
    query: Option<Query>,
    /// What was to be read could not be found out.
    unreadable: Option<Stopped>,
    scope: PhantomData<S>,
}

// SAFETY: the pointer is to an entry of the log's directory, which is shared by atomics alone and lives as long as `log`.
unsafe impl<S> Send for Read<S> {}
// SAFETY: as above.
unsafe impl<S> Sync for Read<S> {}

impl Read<WholeLog> {
    pub(crate) fn log(view: &View) -> Self {
        Self::new(view, Of::Log)
    }
}

impl Read<OneStream> {
    pub(crate) fn stream(view: &View, entry: Result<Option<NonNull<Entry>>, Stopped>) -> Self {
        match entry {
            Ok(entry) => Self::new(view, entry.map_or(Of::Nothing, Of::Stream)),
            Err(stopped) => Self { unreadable: Some(stopped), ..Self::new(view, Of::Nothing) },
        }
    }

    /// Not before this revision.
    pub fn from_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.from_revision = revision.into().get();
        self
    }

    /// Not after this revision.
    pub fn to_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.to_revision = revision.into().get();
        self
    }
}

impl<S> Read<S> {
    fn new(view: &View, of: Of) -> Self {
        Self {
            log: view.log().clone(),
            of,
            from: 1,
            to: view.end().get(),
            from_revision: 0,
            to_revision: u64::MAX,
            since: None,
            until: None,
            backwards: false,
            first: None,
            last: None,
            query: None,
            unreadable: None,
            scope: PhantomData,
        }
    }

    /// Not before this position.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.from = position.into().get().max(1);
        self
    }

    /// Only after this position.
    pub fn after(self, position: impl Into<Position>) -> Self {
        self.from(position.into().next())
    }

    /// Not after this position.
    pub fn to(mut self, position: impl Into<Position>) -> Self {
        self.to = self.to.min(position.into().get());
        self
    }

    /// Not recorded before this time. Found by binary search. A log without a clock has no times: nothing is selected.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Not recorded after this time. As [`since`](Self::since).
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// Only envelopes that match. Every envelope in the range is looked at, without allocation.
    pub fn matching(mut self, query: Query) -> Self {
        self.query = Some(query);
        self
    }

    /// The last one first.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// No more than the first `count`, in the direction of the read.
    pub fn first(mut self, count: u64) -> Self {
        self.first = Some(count);
        self
    }

    /// Of all that is selected, only the `count` nearest to the end of the log; the direction stays.
    pub fn last(mut self, count: u64) -> Self {
        self.last = Some(count);
        self
    }

    /// Begins to read: envelopes are lent, one at a time, without counting or allocating.
    pub fn cursor(self) -> Cursor {
        let count = self.first.unwrap_or(u64::MAX);
        let range = self.range();
        let range = match self.last {
            Some(last) if self.query.is_some() => self.narrow(range, last),
            Some(last) => range.last(last),
            None => range,
        };
        Cursor::new(self.log, self.of.stream(), range, self.backwards, count, self.query).with_failure(self.unreadable)
    }

    /// Begins to read: envelopes are handed over, each a holder of its record.
    pub fn iter(self) -> Envelopes {
        Envelopes(self.cursor())
    }

    /// The bounds as indexes of slots or as revisions.
    fn range(&self) -> Range {
        let core = self.log.core();
        if (self.since.is_some() || self.until.is_some()) && !core.config.shape.time() {
            return Range::EMPTY;
        }
        let guard = core.pin();
        let (mut from, mut to) = (core.first().max(self.from.saturating_sub(1)), self.to);
        if let Some(since) = self.since {
            from = core.index_at(since, from, to, &guard);
        }
        if let Some(after) = self.until.map(|until| until.as_nanos().checked_add(1)) {
            to = after.map_or(to, |after| core.index_at(Timestamp::from_nanos(after), from, to, &guard));
        }
        if from >= to {
            return Range::EMPTY;
        }
        match self.of {
            Of::Log => Range { start: from, end: to },
            Of::Nothing => Range::EMPTY,
            Of::Stream(entry) => {
                // SAFETY: entries live as long as the log.
                let entry = unsafe { entry.as_ref() };
                let start = core.count_of(entry, from, &guard).max(self.from_revision);
                let end = core.count_of(entry, to, &guard).min(self.to_revision.saturating_add(1));
                Range { start, end: end.max(start) }
            }
        }
    }

    /// The range from the `count`-th last match on.
    fn narrow(&self, range: Range, count: u64) -> Range {
        if count == 0 {
            return Range::EMPTY;
        }
        let mut backwards = Cursor::new(self.log.clone(), self.of.stream(), range, true, count, self.query.clone());
        let mut start = range.end;
        while let Some(envelope) = backwards.next() {
            start = match self.of {
                Of::Stream(_) => envelope.revision().get(),
                Of::Log | Of::Nothing => envelope.position().get() - 1,
            };
        }
        Range { start, end: range.end }
    }
}

impl<S> Clone for Read<S> {
    fn clone(&self) -> Self {
        Self {
            log: self.log.clone(),
            query: self.query.clone(),
            unreadable: self.unreadable.clone(),
            scope: PhantomData,
            ..*self
        }
    }
}

impl<S> IntoIterator for Read<S> {
    type Item = Envelope;
    type IntoIter = Envelopes;

    fn into_iter(self) -> Envelopes {
        self.iter()
    }
}

impl<S> fmt::Debug for Read<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("backwards", &self.backwards)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

/// The envelopes of a read, handed over.
#[derive(Debug)]
pub struct Envelopes(Cursor);

impl Envelopes {
    /// Why the read ended early: as [`Cursor::failure`].
    pub fn failure(&self) -> Option<&Stopped> {
        self.0.failure()
    }
}

impl Iterator for Envelopes {
    type Item = Envelope;

    #[inline]
    fn next(&mut self) -> Option<Envelope> {
        self.0.next().cloned()
    }
}

impl std::iter::FusedIterator for Envelopes {}
