//! What users hold: the log, and its streams.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::appender::{AppendResult, Appended, Appender, Given, record};
use super::backing::Stopped;
use super::batch::{Batch, BatchAppended, Target};
use super::builder::Builder;
use super::core::Core;
use super::directory::Entry;
use super::envelope::Envelope;
use super::error::{AppendError, Conflict, NotThereYet, Rejected, StreamError};
use super::once;
use super::options::AppendOptions;
use super::read::{OneStream, Read, WholeLog};
use super::reclaim::Guard;
use super::view::View;
use super::watch::{self, Interest};
use crate::model::{Expected, Limit, LimitExceeded, Limits, Message, Position, Revision, check_name};
use crate::sync::Arc;

/// An append-only log of envelopes, in order, in streams. Cloning it makes another handle to the same log.
///
/// Everything takes `&self` and may be called from any number of threads. Appends are lock-free, reads wait-free but for
/// the iteration itself: nobody ever waits for a stopped thread. (Allocating memory is as lock-free as the allocator.)
#[derive(Clone)]
pub struct Log(Arc<Core>);

impl Log {
    /// A log with the settings of [`Builder`]'s defaults.
    pub fn new() -> Self {
        match Builder::new().build() {
            Ok(log) => log,
            Err(_) => unreachable!("the defaults are in range"),
        }
    }

    /// A log with settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn from_core(core: Core) -> Self {
        Self(Arc::new(core))
    }

    /// What the log rests on from now on. Nobody else has used it yet.
    #[cfg(feature = "durable")]
    pub(crate) fn rest_on(&self, backing: impl super::backing::Backing, lease: &super::lease::Lease<Core>) {
        let set = self.0.backing.set(Box::new(Box::new(backing)));
        debug_assert!(set.is_ok(), "a log rests on one thing");
        // SAFETY: the core stays where it is, behind its `Arc`; its drop tells the backing, which revokes the lease.
        unsafe { lease.grant(&self.0) };
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core {
        &self.0
    }

    /// The end of the log: the position of the last envelope, [`Position::NONE`] when there has been none. Wait-free.
    pub fn end(&self) -> Position {
        Position::new(self.0.end(&self.0.pin()))
    }

    /// The first position that retention has not removed, whether an envelope is there yet or not. Wait-free.
    ///
    /// This is the one visibility rule of all readers: an envelope is seen while its position is not before `first`.
    pub fn first(&self) -> Position {
        Position::new(self.0.first() + 1)
    }

    /// A handle to a stream, whether it has been written or not. Resolves the name once: appending through the handle
    /// looks nothing up. Lock-free.
    ///
    /// # Errors
    /// [`StreamError`] when the id is not a [`Name`](crate::Name), is longer than the log's limit, or is one stream too
    /// many: a handle takes a place in the log's directory even if nothing is ever appended through it.
    pub fn stream(&self, id: &str) -> Result<Stream, StreamError> {
        let entry = self.resolve(id, &self.0.pin())?;
        Ok(Stream { log: self.clone(), entry })
    }

    /// A known id has been checked.
    #[inline]
    fn resolve(&self, id: &str, guard: &Guard) -> Result<NonNull<Entry>, StreamError> {
        match self.0.directory.get(id, guard) {
            Some(entry) => Ok(entry),
            None => self.add(id, guard),
        }
    }

    #[cold]
    fn add(&self, id: &str, guard: &Guard) -> Result<NonNull<Entry>, StreamError> {
        check_name(id)?;
        LimitExceeded::check(Limit::NameBytes, id.len(), self.0.config.limits.name_bytes)?;
        let known = match self.0.backing() {
            Some(backing) => backing.stream(id).map_err(StreamError::Unreadable)?,
            None => None,
        };
        Ok(self.0.directory.get_or_add(id, known, guard)?)
    }

    /// The entry of a stream that has been written, or has a handle.
    ///
    /// # Errors
    /// Of a log on disk, when whether it has been written could not be read.
    pub(crate) fn known(&self, id: &str) -> Result<Option<NonNull<Entry>>, Stopped> {
        let guard = self.0.pin();
        match self.0.directory.get(id, &guard) {
            Some(entry) => Ok(Some(entry)),
            None => self.recall(id, &guard),
        }
    }

    /// The entry of a stream that was written before the log was opened.
    #[cold]
    fn recall(&self, id: &str, guard: &Guard) -> Result<Option<NonNull<Entry>>, Stopped> {
        let Some(backing) = self.0.backing() else { return Ok(None) };
        let Some(known) = backing.stream(id)? else { return Ok(None) };
        // Known streams are let in, however many there are.
        Ok(self.0.directory.get_or_add(id, Some(known), guard).ok())
    }

    /// Makes known all streams that were written before the log was opened.
    pub(crate) fn recall_streams(&self) {
        let Some(backing) = self.0.backing() else { return };
        let guard = self.0.pin();
        for id in backing.streams().unwrap_or_default() {
            if self.0.directory.get(&id, &guard).is_none() {
                // Who reads it is told if it cannot be.
                let _ = self.recall(&id, &guard);
            }
        }
    }

    /// What the log accepts.
    pub fn limits(&self) -> &Limits {
        &self.0.config.limits
    }

    /// How many streams the log knows, handles to streams never written included.
    pub fn stream_count(&self) -> u64 {
        self.0.directory.len()
    }

    /// Appends a message to a stream. Lock-free.
    ///
    /// When this returns, everybody who starts to read sees the envelope.
    ///
    /// # Errors
    /// [`Rejected`] with the message, when a limit or the stream id is in the way.
    pub fn append(&self, stream: &str, message: Message<'_>) -> Result<Appended, Rejected<Message<'static>>> {
        self.record(stream, &mut ManuallyDrop::new(message))
    }

    #[inline(never)]
    fn record(&self, stream: &str, message: &mut Given<'_>) -> AppendResult {
        let resolve = |guard: &Guard| self.resolve(stream, guard).map_err(AppendError::from);
        self.0.with_local(|local| record(self, local, resolve, message, AppendOptions::new()))
    }

    /// Appends a message to a stream on terms: an [`Expected`], a `&Condition`, or [`AppendOptions`]. Lock-free; an
    /// append condition is checked once against every envelope after its position.
    ///
    /// # Errors
    /// [`Rejected`] with the message, when the terms are not met at the instant of the append, or as [`append`](Self::append).
    pub fn append_with<'c>(
        &self,
        stream: &str,
        message: Message<'_>,
        options: impl Into<AppendOptions<'c>>,
    ) -> Result<Appended, Rejected<Message<'static>>> {
        let options = options.into();
        if options.once {
            return once::append(self, message, options, |message, options| {
                self.record_with(stream, &mut ManuallyDrop::new(message), options)
            });
        }
        self.record_with(stream, &mut ManuallyDrop::new(message), options)
    }

    #[inline(never)]
    fn record_with(&self, stream: &str, message: &mut Given<'_>, options: AppendOptions<'_>) -> AppendResult {
        let resolve = |guard: &Guard| self.entry_for(stream, options.expected, guard);
        self.0.with_local(|local| record(self, local, resolve, message, options))
    }

    /// The entry of a stream to append to. A stream that must exist, and does not, is not made known by asking.
    pub(crate) fn entry_for(
        &self,
        stream: &str,
        expected: Expected,
        guard: &Guard,
    ) -> Result<NonNull<Entry>, AppendError> {
        if matches!(expected, Expected::Exists | Expected::Exactly(_)) {
            if let Some(entry) = self.0.directory.get(stream, guard) {
                return Ok(entry);
            }
            check_name(stream)?;
            if let Some(entry) = self.recall(stream, guard).map_err(AppendError::Stopped)? {
                return Ok(entry);
            }
            // The view first: a stream that is not known then has no envelope in it.
            let view = self.view();
            let known = self.0.directory.get(stream, guard);
            return known.ok_or_else(|| Conflict::absent(stream, expected, &view).into());
        }
        self.resolve(stream, guard).map_err(AppendError::from)
    }

    /// Appends a batch: all of it becomes visible at one instant, at consecutive positions, or nothing. Lock-free.
    ///
    /// An empty batch changes nothing and returns the end of the log; its expectations and its condition are decided all
    /// the same.
    ///
    /// # Errors
    /// [`Rejected`] with the batch.
    pub fn append_batch(&self, batch: Batch<'_>) -> Result<BatchAppended, Rejected<Batch<'static>>> {
        if batch.once {
            return once::append_batch(self, batch, |batch| self.append_batch(batch));
        }
        let (waits, mut watched) = (batch.waits(), Vec::new());
        let result = self.0.with_local(|local| super::batch::append(self, local, batch, &mut watched));
        super::batch::announce(self, result, &watched, waits)
    }

    /// Closes the log: from now on every append is refused with [`AppendError::Closed`], and whoever waits is told.
    /// Everything appended before stays readable. Returns the last position. Lock-free, idempotent.
    ///
    /// An append that runs at the same time either took effect before, and is delivered to its subscribers, or is refused.
    pub fn close(&self) -> Position {
        let end = self.0.close(&self.0.pin());
        watch::tell_closed(self);
        Position::new(end)
    }

    /// Whether the log was closed. Lock-free.
    pub fn is_closed(&self) -> bool {
        self.0.settle(&self.0.pin()).closed
    }

    /// A state of one's own for appending, for hot paths.
    pub fn appender(&self) -> Appender {
        Appender::new(self.clone())
    }

    /// The log as it is now: several reads of one view see the same envelopes, whatever is appended meanwhile. Wait-free.
    pub fn view(&self) -> View {
        View::new(self.clone(), self.end())
    }

    /// The log as it was when it ended at `position`. A batch that lies across the position is not in the view. Wait-free
    /// but for walking back over that batch.
    ///
    /// # Errors
    /// [`NotThereYet`] when the log has not got that far.
    pub fn view_at(&self, position: impl Into<Position>) -> Result<View, NotThereYet> {
        View::at(self.clone(), position.into())
    }

    /// Reads the log, as of now.
    ///
    /// ```
    /// use annals::{Log, Message};
    ///
    /// let log = Log::new();
    /// log.append("a", Message::event("First", "")?)?;
    /// log.append("b", Message::event("Second", "")?)?;
    /// let names: Vec<_> = log.read().iter().map(|envelope| envelope.name().to_owned()).collect();
    /// assert_eq!(names, ["First", "Second"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&self) -> Read<WholeLog> {
        self.view().read()
    }

    /// Reads a stream, by id or by handle, as of now. A stream that has never been written reads as empty.
    pub fn read_stream<'s>(&self, stream: impl Into<Target<'s>>) -> Read<OneStream> {
        self.view().read_stream(stream)
    }

    /// The envelope at a position; none when it is not there yet or has been removed. O(1), wait-free.
    pub fn get(&self, position: impl Into<Position>) -> Option<Envelope> {
        let core = self.core();
        let guard = core.pin();
        core.envelope(position.into(), core.end(&guard), &guard)
    }

    /// Removes every envelope before `position`; a position after the end removes all. Returns the first position that is
    /// left. Lock-free; on disk it blocks until the disk has it.
    ///
    /// From now on no reader sees what is before it; envelopes that are held stay as they are. Memory returns by whole
    /// segments, when nobody reads in them any more: here, and at [`maintain`](Self::maintain). On disk the same holds after the
    /// log was closed, unless the disk failed (`Journal::removal_failure`); room there returns by whole files, never the last.
    pub fn truncate_before(&self, position: impl Into<Position>) -> Position {
        let floor = position.into().get().saturating_sub(1);
        let floor = self.0.truncate(floor);
        self.0.collect();
        Position::new(floor + 1)
    }

    /// Does now what [`Retention`](crate::Retention) asks for, and returns memory that nobody uses. Lock-free; takes as
    /// long as there is to free. On disk it blocks while files are removed.
    pub fn maintain(&self) {
        self.0.maintain();
    }

    /// Segments that were truncated and whose memory is still in use: by a cursor, by a thread that stopped in the middle
    /// of a call, or because nobody has swept them yet.
    ///
    /// A cursor that stops keeps one segment, an envelope none (it keeps its chunk of memory). While a thread is stopped in
    /// the middle of a call, nothing that is removed after that is returned, in any log of the process: this number grows
    /// by every segment removed. Once the thread goes on, [`maintain`](Self::maintain) returns them, some dozens a call.
    pub fn unreturned_segments(&self) -> u64 {
        self.0.garbage.pending()
    }

    #[inline]
    pub(crate) fn is(&self, other: &Log) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("first", &self.first())
            .field("end", &self.end())
            .field("streams", &self.stream_count())
            .finish()
    }
}

/// A handle to one stream of a log. Cloning it makes another handle to the same stream.
#[derive(Clone)]
pub struct Stream {
    log: Log,
    /// Entries live as long as the log.
    entry: NonNull<Entry>,
}

// SAFETY: the pointer is to an entry of the log's directory, which is shared by atomics alone and lives as long as `log`.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// # Safety
    /// `entry` is an entry of the log's directory.
    pub(crate) unsafe fn new(log: Log, entry: NonNull<Entry>) -> Self {
        Self { log, entry }
    }

    pub(crate) fn entry(&self) -> NonNull<Entry> {
        self.entry
    }

    fn index(&self) -> &super::index::Index {
        // SAFETY: entries live as long as the log.
        unsafe { &self.entry.as_ref().index }
    }

    /// Who watches it.
    pub(crate) fn interest(&self) -> &Interest {
        // SAFETY: entries live as long as the log.
        unsafe { &self.entry.as_ref().interest }
    }

    /// How many envelopes it has up to `end`, those removed included; and the revision of the first that is left.
    pub(crate) fn extent(&self, end: Position) -> (u64, u64) {
        let (core, guard) = (self.log.core(), self.log.core().pin());
        // SAFETY: entries live as long as the log.
        (self.index().first_revision(&guard), core.count_of(unsafe { self.entry.as_ref() }, end.get(), &guard))
    }

    /// Its id.
    pub fn id(&self) -> &str {
        // SAFETY: entries live as long as the log.
        unsafe { self.entry.as_ref().name() }
    }

    /// The log that it belongs to.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The revision of its last envelope; none when it has never been written. Wait-free.
    pub fn revision(&self) -> Option<Revision> {
        let guard = self.log.core().pin();
        let end = self.log.core().end(&guard);
        self.index().count(end, &guard).checked_sub(1).map(Revision::new)
    }

    /// Appends a message. Lock-free; as [`Log::append`] without looking the stream up.
    ///
    /// # Errors
    /// [`Rejected`] with the message, when it is larger than the log allows.
    pub fn append(&self, message: Message<'_>) -> Result<Appended, Rejected<Message<'static>>> {
        self.record(&mut ManuallyDrop::new(message))
    }

    #[inline(never)]
    fn record(&self, message: &mut Given<'_>) -> AppendResult {
        self.log.core().with_local(|local| record(&self.log, local, |_| Ok(self.entry), message, AppendOptions::new()))
    }

    /// Appends a message on terms. Lock-free; as [`Log::append_with`] without looking the stream up.
    ///
    /// # Errors
    /// [`Rejected`] with the message.
    pub fn append_with<'c>(
        &self,
        message: Message<'_>,
        options: impl Into<AppendOptions<'c>>,
    ) -> Result<Appended, Rejected<Message<'static>>> {
        let options = options.into();
        if options.once {
            return once::append(&self.log, message, options, |message, options| {
                self.record_with(&mut ManuallyDrop::new(message), options)
            });
        }
        self.record_with(&mut ManuallyDrop::new(message), options)
    }

    #[inline(never)]
    fn record_with(&self, message: &mut Given<'_>, options: AppendOptions<'_>) -> AppendResult {
        self.log.core().with_local(|local| record(&self.log, local, |_| Ok(self.entry), message, options))
    }

    /// Reads the stream, as of now.
    pub fn read(&self) -> Read<OneStream> {
        self.log.view().read_stream(self)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id()).field("revision", &self.revision()).finish()
    }
}
