//! Following at one's own pace. The log is the queue: a follower is a place in it, and takes the same memory however far
//! behind it is.
//!
//! Who has read everything waits. It registers, sets the mark in the word that appenders look at, settles where the log ends,
//! and looks again: either it sees the next append, or that append sees the mark (see `sync::decide`, and `waiting`).

use std::borrow::BorrowMut;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::deliver::Delivery;
use super::keyed::Topic;
use super::member::Member;
use super::selection::Selection;
use super::waiting::{LOOKS, Waiter, Waiters, YIELDS};
use crate::log::{Ack, Cursor, Envelope, Interest, Log, Step, Stopped, Stream, Tail, View};
use crate::model::Position;
use crate::sync::{Arc, Ordering, pause, wait};

/// How far behind a follower that had caught up must be to be told so, unless set otherwise.
const FAR: u64 = 1024;

/// How many envelopes that are not selected are passed in one look for the next item.
const STRIDE: u32 = 1024;

/// A cursor that goes on as the log grows: an iterator that waits, or a `Stream` for any runtime.
///
/// It yields [`Followed`] items: the envelopes of its [`Feed`](super::Feed), in order, and word of where it stands. It needs
/// no queue and holds nobody up; one that lags reads what is still there, and is told what was removed. It ends when the log
/// was closed and everything has been read.
///
/// ```
/// use annals::{Followed, Log, Message};
///
/// let log = Log::new();
/// let follower = log.feed().from_beginning().follow();
/// log.append("a", Message::event("First", "")?)?;
/// log.close();
/// let names: Vec<_> = follower.into_iter().filter_map(Followed::into_envelope).map(|e| e.name().to_owned()).collect();
/// assert_eq!(names, ["First"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Follower {
    source: Source,
    selection: Option<Box<Selection>>,
    waiter: Option<Arc<Waiter>>,
    /// It was told that it had caught up, and not since that it fell behind.
    live: bool,
    far: u64,
    /// How safe what it meets has to be.
    ack: Ack,
}

enum Source {
    Log(Tail),
    Stream(Box<StreamTail>),
}

/// A place in a stream.
struct StreamTail {
    stream: Stream,
    topic: Arc<Topic<Arc<Member>>>,
    /// Only what is after this position.
    start: u64,
    /// The next revision.
    revision: u64,
    /// The revision after the last one that is there, as of the last look.
    count: u64,
    /// Position of the last envelope that was met, or of the end of the log when everything had been.
    position: u64,
    /// How safe what is met has to be.
    ack: Ack,
    /// The end that `cursor` reads up to.
    end: u64,
    cursor: Option<Cursor>,
}

/// What a follower meets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Followed {
    /// The next envelope.
    Envelope(Envelope),
    /// It has read everything up to this position, and waits.
    CaughtUp(Position),
    /// It had caught up, and is now so many envelopes behind the end of the log.
    FellBehind {
        /// How many.
        by: u64,
    },
    /// Envelopes were removed before it got to them.
    Truncated {
        /// How many: of the log or the stream, selected or not.
        missed: u64,
    },
    /// What comes next could not be read from what the log is kept on. It is tried again with the next call.
    Unreadable(Stopped),
}

/// What one step came to.
enum Advance {
    To(Followed),
    /// Nothing that is selected so far, and more to look at.
    Skipped,
    End,
    Closed,
}

/// Why there is no next item now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NothingYet {
    /// Everything has been read.
    #[error("everything has been read")]
    Empty,
    /// Everything has been read, and the log is closed: nothing will follow.
    #[error("the log is closed and everything has been read")]
    Closed,
}

impl Followed {
    /// The envelope, when it is one.
    pub fn into_envelope(self) -> Option<Envelope> {
        match self {
            Self::Envelope(envelope) => Some(envelope),
            _ => None,
        }
    }
}

impl Follower {
    pub(crate) fn new(log: Log, stream: Option<Stream>, selection: Selection, next: u64, ack: Ack) -> Self {
        if ack != Ack::Memory {
            // Relaxed: the fence of whoever begins to wait comes after it.
            Delivery::of(&log).careful.fetch_add(1, Ordering::Relaxed);
        }
        let source = match stream {
            None => Source::Log(Tail::new(log, next, ack)),
            Some(stream) => Source::Stream(Box::new(StreamTail::new(stream, next, ack))),
        };
        let selection = (!selection.is_everything()).then(|| Box::new(selection));
        Self { source, selection, waiter: None, live: false, far: FAR, ack }
    }

    /// From how many envelopes behind on it is told that it fell behind. Without this: 1,024.
    #[must_use]
    pub fn fell_behind_at(mut self, envelopes: u64) -> Self {
        self.far = envelopes;
        self
    }

    /// The checkpoint: position of the last envelope that it has met, selected or not. A feed [after](super::Feed::after) it
    /// goes on where this one is.
    pub fn position(&self) -> Position {
        Position::new(match &self.source {
            Source::Log(tail) => tail.index(),
            Source::Stream(tail) => tail.position,
        })
    }

    /// The log.
    pub fn log(&self) -> &Log {
        match &self.source {
            Source::Log(tail) => tail.log(),
            Source::Stream(tail) => tail.stream.log(),
        }
    }

    /// The next item, if there is one now. Lock-free. Of a follower with a query or a filter: looks at 1,024 envelopes at
    /// most, and if none of them is selected says that there is nothing yet.
    ///
    /// # Errors
    /// [`NothingYet`].
    pub fn try_next(&mut self) -> Result<Followed, NothingYet> {
        match self.advance() {
            Advance::To(item) => Ok(item),
            Advance::Skipped | Advance::End => Err(NothingYet::Empty),
            Advance::Closed => Err(NothingYet::Closed),
        }
    }

    /// Waits for the next item; none when the log is closed and everything has been read. Blocks: looks for some
    /// microseconds, then parks the thread.
    ///
    /// Inside a handler, this holds up those who wait for that handler, and no others.
    pub fn wait(&mut self) -> Option<Followed> {
        self.wait_until(None).ok()
    }

    /// Waits for the next item, for `timeout` at most. As [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`NothingYet`]: `Empty` when the time is over.
    pub fn wait_within(&mut self, timeout: Duration) -> Result<Followed, NothingYet> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Waits for items, and ends when the log is closed and everything has been read.
    pub fn items(&mut self) -> Items<&mut Self> {
        Items(self)
    }

    fn wait_until(&mut self, until: Option<Instant>) -> Result<Followed, NothingYet> {
        for look in 0..LOOKS + YIELDS {
            match self.advance() {
                Advance::To(item) => return Ok(item),
                Advance::Closed => return Err(NothingYet::Closed),
                Advance::Skipped => {}
                Advance::End if look < LOOKS => pause(),
                Advance::End => wait::yield_now(),
            }
            if look >= LOOKS && wait::is_over(until) {
                return Err(NothingYet::Empty);
            }
        }
        let waker = wait::thread_waker();
        loop {
            match self.advance_or_register(&waker) {
                Advance::To(item) => return Ok(item),
                Advance::Closed => return Err(NothingYet::Closed),
                Advance::Skipped => {}
                Advance::End if wait::is_over(until) => {
                    self.disarm();
                    return Err(NothingYet::Empty);
                }
                Advance::End => wait::park(until),
            }
        }
    }

    /// One step; when there is nothing, `waker` is woken after the next append, from before the look on.
    fn advance_or_register(&mut self, waker: &Waker) -> Advance {
        let mut waiter = self.waiter.take();
        self.waiters().register(&mut waiter, waker, || self.interest().add(Interest::WAITING));
        self.waiter = waiter;
        let log = self.log();
        // Finishes what is decided and not visible yet, so that no wake-up is left to a thread that is stopped.
        log.core().settle(&log.core().pin());
        let found = self.advance();
        if !matches!(found, Advance::End) {
            self.disarm();
        }
        found
    }

    /// It does not wait any more: appends need not look for it.
    fn disarm(&self) {
        if self.waiter.as_ref().is_some_and(|waiter| Waiters::disarm(waiter)) {
            self.interest().remove(Interest::WAITING);
        }
    }

    /// Where it says that it waits.
    fn interest(&self) -> &Interest {
        match &self.source {
            Source::Log(tail) => &tail.log().core().interest,
            Source::Stream(tail) => tail.stream.interest(),
        }
    }

    fn waiters(&self) -> &Waiters {
        match &self.source {
            Source::Log(tail) => &Delivery::of(tail.log()).waiters,
            Source::Stream(tail) => &tail.topic.waiters,
        }
    }

    fn advance(&mut self) -> Advance {
        if self.live {
            let by = self.lag();
            if by > self.far {
                self.live = false;
                return Advance::To(Followed::FellBehind { by });
            }
        }
        for _ in 0..STRIDE {
            let step = match &mut self.source {
                Source::Log(tail) => tail.next(),
                Source::Stream(tail) => tail.next(),
            };
            match step {
                Step::Envelope(envelope) => {
                    if self.selection.as_ref().is_none_or(|selection| selection.selects(&envelope)) {
                        return Advance::To(Followed::Envelope(envelope));
                    }
                }
                Step::Removed(missed) => return Advance::To(Followed::Truncated { missed }),
                Step::Unreadable(failure) => return Advance::To(Followed::Unreadable(failure)),
                Step::End | Step::Closed if !self.live => {
                    self.live = true;
                    return Advance::To(Followed::CaughtUp(self.position()));
                }
                Step::End => return Advance::End,
                Step::Closed => return Advance::Closed,
            }
        }
        Advance::Skipped
    }

    fn lag(&self) -> u64 {
        match &self.source {
            Source::Log(tail) => tail.lag(),
            Source::Stream(tail) => tail.count.saturating_sub(tail.revision),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.ack != Ack::Memory {
            // Relaxed: a count.
            Delivery::of(self.log()).careful.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(waiter) = self.waiter.take()
            && self.waiters().forget(&waiter)
        {
            self.interest().remove(Interest::WAITING);
        }
    }
}

impl StreamTail {
    fn new(stream: Stream, next: u64, ack: Ack) -> Self {
        let log = stream.log();
        let topic = Delivery::of(log).streams.join(stream.id(), |topic| topic.set.hold());
        // So that appends look at the word of the stream, where it says when it waits.
        log.core().interest.add(Interest::STREAM);
        // What it begins with is the first revision after `next`, removed or not.
        let revision = stream.extent(Position::new(next)).1;
        Self { stream, topic, start: next, revision, count: revision, position: next, end: next, cursor: None, ack }
    }

    fn next(&mut self) -> Step {
        loop {
            if let Some(cursor) = &mut self.cursor {
                if let Some(envelope) = cursor.next() {
                    let envelope = envelope.clone();
                    match self.meet(envelope) {
                        // Asked for what comes after an end that the log had not reached.
                        Step::Envelope(envelope) if envelope.position().get() <= self.start => continue,
                        step => return step,
                    }
                }
                if let Some(failure) = cursor.failure().cloned() {
                    // From the next revision on it is tried again.
                    self.cursor = None;
                    self.end = self.position;
                    return Step::Unreadable(failure);
                }
                self.cursor = None;
                self.position = self.end;
                if self.revision < self.count {
                    return self.skip_to(self.count);
                }
            }
            let log = self.stream.log();
            let end = log.end().min(Position::new(log.core().mark(self.ack)));
            if end.get() <= self.end {
                return if self.stream.log().is_closed() && self.stream.log().end() == end {
                    Step::Closed
                } else {
                    Step::End
                };
            }
            self.end = end.get();
            let (_, count) = self.stream.extent(end);
            if count <= self.revision {
                self.position = self.end;
                continue;
            }
            self.count = count;
            let view = View::new(self.stream.log().clone(), end);
            self.cursor = Some(view.read_stream(&self.stream).from_revision(self.revision).cursor());
        }
    }

    /// Comes to an envelope; what was removed before it is told first.
    fn meet(&mut self, envelope: Envelope) -> Step {
        let revision = envelope.revision().get();
        if revision > self.revision {
            // The envelope is met again by a new cursor.
            self.cursor = None;
            self.end = envelope.position().get() - 1;
            return self.skip_to(revision);
        }
        self.revision = revision + 1;
        self.position = envelope.position().get();
        Step::Envelope(envelope)
    }

    fn skip_to(&mut self, revision: u64) -> Step {
        let missed = revision - self.revision;
        self.revision = revision;
        Step::Removed(missed)
    }
}

impl Drop for StreamTail {
    fn drop(&mut self) {
        let log = self.stream.log();
        log.core().interest.remove(Interest::STREAM);
        if self.topic.set.let_go() {
            Delivery::of(log).streams.remove(&self.topic);
        }
    }
}

/// The items of a follower, waited for.
#[derive(Debug)]
pub struct Items<F>(F);

impl<F: BorrowMut<Follower>> Iterator for Items<F> {
    type Item = Followed;

    fn next(&mut self) -> Option<Followed> {
        self.0.borrow_mut().wait()
    }
}

impl<F: BorrowMut<Follower>> std::iter::FusedIterator for Items<F> {}

impl IntoIterator for Follower {
    type Item = Followed;
    type IntoIter = Items<Self>;

    fn into_iter(self) -> Items<Self> {
        Items(self)
    }
}

/// Items as they come, for any runtime: the task that polls is woken by whoever appends. Ends as the iterator does.
impl futures_core::Stream for Follower {
    type Item = Followed;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Followed>> {
        match self.advance() {
            Advance::To(item) => return Poll::Ready(Some(item)),
            Advance::Closed => return Poll::Ready(None),
            Advance::End | Advance::Skipped => {}
        }
        match self.advance_or_register(context.waker()) {
            Advance::To(item) => Poll::Ready(Some(item)),
            Advance::Closed => Poll::Ready(None),
            Advance::End => Poll::Pending,
            Advance::Skipped => {
                // There is more to look at; others have their turn first.
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("position", &self.position()).field("live", &self.live).finish_non_exhaustive()
    }
}
