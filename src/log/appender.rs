//! Appending one message.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::append::{Placed, Refusal, Terms};
use super::backing::{Waits, acknowledge, cause, unreadable};
use super::batch::{self, Batch, BatchAppended};
use super::clock::Time;
use super::core::{Core, Local, REFUSED};
use super::directory::Entry;
use super::envelope::Envelope;
use super::error::{AppendError, ConditionFailed, Conflict, Rejected};
use super::handle::{Log, Stream};
use super::keys::KeyTable;
use super::once;
use super::options::AppendOptions;
use super::reclaim::Guard;
use super::record::INLINE_MAX;
use super::view::View;
use super::watch;
use crate::model::{Condition, Expected, Failures, Message, Position, Revision, Timestamp};

/// Where a message went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Appended {
    /// Its place in the log.
    pub position: Position,
    /// Its place in its stream.
    pub revision: Revision,
    /// Deliveries of it that failed before the append returned. The append stands.
    pub failures: Failures,
    /// It was there already, and nothing was appended: see [`AppendOptions::once`]. Failed deliveries were told to the first.
    pub repeated: bool,
}

impl Appended {
    /// For a backend to report.
    pub fn new(position: Position, revision: Revision) -> Self {
        Self { position, revision, failures: Failures::NONE, repeated: false }
    }
}

/// A state of one's own for appending: memory for records, where the log ended last, how contended it is.
///
/// [`Log::append`] and [`Stream::append`] borrow such a state from a pool at every call; an appender keeps one, for one
/// thread's hot path.
///
/// ```
/// use annals::{Log, Message, Name};
///
/// const TICK: Name = Name::from_static("Tick");
///
/// let log = Log::builder().no_clock().build()?;
/// let ticks = log.stream("ticks")?;
/// let mut appender = log.appender();
/// for n in 0..1000u32 {
///     appender.append(&ticks, Message::event(TICK, &n.to_le_bytes())?)?;
/// }
/// assert_eq!(log.end(), 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Appender {
    log: Log,
    local: Local,
}

// SAFETY: the raw pointers in the arena are to an open chunk that nobody else writes to.
unsafe impl Send for Appender {}

impl Appender {
    pub(crate) fn new(log: Log) -> Self {
        let local = log.core().local();
        Self { log, local }
    }

    /// Appends a message to a stream of the same log. Lock-free.
    ///
    /// # Errors
    /// [`Rejected`] with the message, when it is larger than the log allows or the stream is another log's.
    #[inline]
    pub fn append(&mut self, stream: &Stream, message: Message<'_>) -> Result<Appended, Rejected<Message<'static>>> {
        self.record(stream, &mut ManuallyDrop::new(message))
    }

    #[inline(never)]
    fn record(&mut self, stream: &Stream, message: &mut Given<'_>) -> AppendResult {
        record(&self.log, &mut self.local, |_| own(&self.log, stream), message, AppendOptions::new())
    }

    #[inline(never)]
    fn record_with(&mut self, stream: &Stream, message: &mut Given<'_>, options: AppendOptions<'_>) -> AppendResult {
        record(&self.log, &mut self.local, |_| own(&self.log, stream), message, options)
    }

    /// Appends a message to a stream of the same log on terms. Lock-free; as [`Log::append_with`].
    ///
    /// # Errors
    /// [`Rejected`] with the message.
    #[inline]
    pub fn append_with<'c>(
        &mut self,
        stream: &Stream,
        message: Message<'_>,
        options: impl Into<AppendOptions<'c>>,
    ) -> Result<Appended, Rejected<Message<'static>>> {
        let options = options.into();
        if options.once {
            let log = self.log.clone();
            return once::append(&log, message, options, |message, options| {
                self.record_with(stream, &mut ManuallyDrop::new(message), options)
            });
        }
        self.record_with(stream, &mut ManuallyDrop::new(message), options)
    }

    /// Appends a batch. Lock-free; as [`Log::append_batch`].
    ///
    /// # Errors
    /// [`Rejected`] with the batch.
    pub fn append_batch(&mut self, batch: Batch<'_>) -> Result<BatchAppended, Rejected<Batch<'static>>> {
        if batch.once {
            let log = self.log.clone();
            return once::append_batch(&log, batch, |batch| self.append_batch(batch));
        }
        let (waits, mut watched) = (batch.waits(), Vec::new());
        let result = batch::append(&self.log, &mut self.local, batch, &mut watched);
        batch::announce(&self.log, result, &watched, waits)
    }

    /// The log that it appends to.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender").field("log", &self.log).finish_non_exhaustive()
    }
}

/// The entry of a stream of `log`.
#[inline]
fn own(log: &Log, stream: &Stream) -> Result<NonNull<Entry>, AppendError> {
    if log.is(stream.log()) { Ok(stream.entry()) } else { Err(foreign(stream)) }
}

#[cold]
fn foreign(stream: &Stream) -> AppendError {
    AppendError::ForeignStream { stream: stream.id().into() }
}

/// The time of an append.
///
/// # Errors
/// [`AppendError::MissingTime`].
#[inline]
pub(crate) fn time_of(time: &Time, given: Option<Timestamp>) -> Result<Timestamp, AppendError> {
    match given {
        Some(given) => Ok(given),
        None if matches!(time, Time::Given) => Err(AppendError::MissingTime),
        None => Ok(time.now()),
    }
}

/// Where a message went, or why it did not, with the message.
pub(crate) type AppendResult = Result<Appended, Rejected<Message<'static>>>;

/// A message that [`record`] drops. Not by value: a value would be moved to where it can be dropped, and moving costs
/// more than the swap.
pub(crate) type Given<'m> = ManuallyDrop<Message<'m>>;

/// Drops what is given, at the end or when a clock of the user's panics.
struct Consumed<'g, 'm>(&'g mut Given<'m>);

impl<'m> Deref for Consumed<'_, 'm> {
    type Target = Message<'m>;

    fn deref(&self) -> &Message<'m> {
        self.0
    }
}

impl DerefMut for Consumed<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0
    }
}

impl Drop for Consumed<'_, '_> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: given to be dropped, and not used after this.
        unsafe { ManuallyDrop::drop(self.0) };
    }
}

impl Consumed<'_, '_> {
    /// The payload is the record's.
    #[inline]
    fn recorded(mut self, core: &Core, placed: Placed, now: Timestamp) -> Appended {
        Message::recorded(&mut self);
        if !self.owns_anything() {
            // Nothing is left to be dropped: mostly so, and then dropping costs more than asking.
            std::mem::forget(self);
        }
        core.after_append(1, placed.position.get(), now);
        Appended {
            position: Position::new(placed.position.get()),
            revision: Revision::new(placed.revision),
            failures: Failures::NONE,
            repeated: false,
        }
    }
}

/// Records a message in a stream, whose entry `resolve` finds: last of all that can be refused before. Afterwards the
/// payload is the record's, or the whole message the refusal's; the rest of it is dropped.
///
/// Everything that can fail or call out is done before the slot is competed for: limits, clock, allocation, copying. Those
/// who watch are told after it, when nothing is pinned any more.
///
/// Inlined into functions that are not, each a way to append with the terms that
/// it never asks for left out: so an append is the same machine code wherever it is called from.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as said above; measured: ARCHITECTURE.md")]
pub(crate) fn record(
    log: &Log,
    local: &mut Local,
    resolve: impl FnOnce(&Guard) -> Result<NonNull<Entry>, AppendError>,
    message: &mut Given<'_>,
    options: AppendOptions<'_>,
) -> AppendResult {
    let core = log.core();
    if let Some(table) = &core.keys {
        return record_keyed(log, local, table, resolve, message, options);
    }
    let mut message = Consumed(message);
    if !message.is_within(&core.config.limits) {
        return too_large(core, &mut message);
    }
    let now = match time_of(&core.config.time, options.time) {
        Ok(now) => now,
        Err(error) => return rejected(error, &mut message),
    };
    let checked = match core.check_past(options.condition) {
        Ok(checked) => checked,
        Err(refusal) => return refused(log, None, refusal, options.expected, options.condition, &mut message),
    };
    message.share_payload(INLINE_MAX);
    let guard = local.participant.pin();
    let entry = match resolve(&guard) {
        Ok(entry) => entry,
        Err(error) => return rejected(error, &mut message),
    };
    let draft = local.arena.draft(&message, core.config.shape, false, entry);
    // SAFETY: the caller's handle keeps the log, and the log its entries.
    let stream = unsafe { entry.as_ref() };
    if options.condition.is_none() {
        let placed = match options.expected {
            Expected::Any => core.try_first(local, stream, draft, now, |_| true, &guard),
            expected => core.try_first(local, stream, draft, now, |actual| expected.admits(actual), &guard),
        };
        if let Some(placed) = placed {
            if core.is_watched(stream) || options.ack.is_some() {
                let envelope = Envelope::of(draft.record());
                drop(guard);
                return told(log, message.recorded(core, placed, now), &envelope, options.waits());
            }
            drop(guard);
            return Ok(message.recorded(core, placed, now));
        }
    }
    let terms = Terms { condition: options.condition, checked, now };
    let result = core.compete((), local, stream, draft, options.expected, terms, &guard);
    let envelope =
        (result.is_ok() && (core.is_watched(stream) || options.ack.is_some())).then(|| Envelope::of(draft.record()));
    drop(guard);
    match result {
        Ok(placed) if let Some(envelope) = envelope => {
            told(log, message.recorded(core, placed, now), &envelope, options.waits())
        }
        Ok(placed) => Ok(message.recorded(core, placed, now)),
        Err(refusal) => {
            local.arena.discard(draft);
            refused(log, Some(entry), refusal, options.expected, options.condition, &mut message)
        }
    }
}

/// [`record`] in a log with indexes.
#[cold]
#[inline(never)]
fn record_keyed(
    log: &Log,
    local: &mut Local,
    table: &KeyTable,
    resolve: impl FnOnce(&Guard) -> Result<NonNull<Entry>, AppendError>,
    message: &mut Given<'_>,
    options: AppendOptions<'_>,
) -> AppendResult {
    let mut message = Consumed(message);
    let core = log.core();
    if !message.is_within(&core.config.limits) {
        return too_large(core, &mut message);
    }
    let now = match time_of(&core.config.time, options.time) {
        Ok(now) => now,
        Err(error) => return rejected(error, &mut message),
    };
    let checked = match core.check_past(options.condition) {
        Ok(checked) => checked,
        Err(refusal) => return refused(log, None, refusal, options.expected, options.condition, &mut message),
    };
    message.share_payload(INLINE_MAX);
    // Until the envelope is held, nothing of it is freed.
    let guard = local.participant.pin();
    let entry = match resolve(&guard) {
        Ok(entry) => entry,
        Err(error) => return rejected(error, &mut message),
    };
    // SAFETY: the caller's handle keeps the log, and the log its entries.
    let stream = unsafe { entry.as_ref() };
    table.keys_of(stream.name(), &message.parts(), &mut local.keys);
    let draft = local.arena.draft_keyed(&message, core.config.shape, false, entry, &local.keys);
    let terms = Terms { condition: options.condition, checked, now };
    let result = core.compete(table, local, stream, draft, options.expected, terms, &guard);
    let envelope =
        (result.is_ok() && (core.is_watched(stream) || options.ack.is_some())).then(|| Envelope::of(draft.record()));
    drop(guard);
    match result {
        Ok(placed) => {
            let appended = message.recorded(core, placed, now);
            match envelope {
                Some(envelope) => told(log, appended, &envelope, options.waits()),
                None => Ok(appended),
            }
        }
        Err(refusal) => {
            local.arena.discard(draft);
            refused(log, Some(entry), refusal, options.expected, options.condition, &mut message)
        }
    }
}

/// Tells those who watch of an append, and the caller of deliveries that failed.
#[cold]
#[inline(never)]
#[allow(clippy::unnecessary_wraps, reason = "written where the caller's result goes")]
fn told(log: &Log, mut appended: Appended, envelope: &Envelope, waits: Waits) -> AppendResult {
    if let Err(stopped) = acknowledge(log.core(), appended.position, waits.ack) {
        let position = appended.position;
        return Err(Rejected::new(AppendError::Unacknowledged { position, stopped }, envelope.to_message()));
    }
    appended.failures = watch::tell(log, std::slice::from_ref(envelope), waits.stored);
    Ok(appended)
}

#[cold]
#[inline(never)]
fn too_large(core: &Core, message: &mut Message<'_>) -> AppendResult {
    match message.check(&core.config.limits) {
        Err(limit) => rejected(limit.into(), message),
        Ok(()) => unreachable!("it is not within the limits"),
    }
}

#[cold]
#[inline(never)]
fn rejected(error: AppendError, message: &mut Message<'_>) -> AppendResult {
    Err(Rejected::new(error, message.take().into_owned()))
}

#[cold]
#[inline(never)]
fn refused(
    log: &Log,
    entry: Option<NonNull<Entry>>,
    refusal: Refusal,
    expected: Expected,
    condition: Option<&Condition>,
    message: &mut Message<'_>,
) -> AppendResult {
    let error = explain(log, refusal, condition, |_| {
        let entry = entry.expect("a stream is in conflict only after it was resolved");
        // SAFETY: the entry is one of this log's.
        (unsafe { Stream::new(log.clone(), entry) }, expected)
    });
    rejected(error, message)
}

/// Turns a refusal into an error that can hand over what was missed.
#[cold]
pub(crate) fn explain(
    log: &Log,
    refusal: Refusal,
    condition: Option<&Condition>,
    stream: impl FnOnce(usize) -> (Stream, Expected),
) -> AppendError {
    if matches!(refusal, Refusal::Conflict { .. } | Refusal::Match { .. }) {
        log.core().tally.add(REFUSED, 1);
    }
    match refusal {
        Refusal::Full => AppendError::Full,
        Refusal::Closed => cause(log.core()).map_or(AppendError::Closed, AppendError::Stopped),
        Refusal::Unreadable => unreadable(log.core()).map_or(AppendError::Closed, AppendError::Stopped),
        Refusal::Conflict { stream: which, actual, end } => {
            let (stream, expected) = stream(which);
            Conflict::new(stream, expected, actual, Position::new(end)).into()
        }
        Refusal::Match { index, part, end } => {
            let condition = condition.expect("only a condition is matched").clone();
            let view = View::new(log.clone(), Position::new(end));
            ConditionFailed::new(condition, part, Position::new(index + 1), view).into()
        }
    }
}
