//! Appending one message.

use std::fmt;
use std::ptr::NonNull;

use super::append::{Refusal, Terms};
use super::batch::{self, Batch, BatchAppended};
use super::clock::Time;
use super::core::{Core, Local};
use super::directory::Entry;
use super::error::{AppendError, ConditionFailed, Conflict, Rejected};
use super::handle::{Log, Stream};
use super::options::AppendOptions;
use super::record::{INLINE_MAX, Plan};
use super::view::View;
use crate::model::{Condition, Expected, Message, Position, Revision, Timestamp};

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// Its place in the log.
    pub position: Position,
    /// Its place in its stream.
    pub revision: Revision,
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
        self.append_on(stream, message, Expected::Any, None, None)
    }

    /// Terms one by one: as one value they would be moved about, and read back before the processor has them.
    #[inline]
    fn append_on(
        &mut self,
        stream: &Stream,
        message: Message<'_>,
        expected: Expected,
        condition: Option<&Condition>,
        time: Option<Timestamp>,
    ) -> Result<Appended, Rejected<Message<'static>>> {
        if !self.log.is(stream.log()) {
            return Err(foreign(stream, message.into_owned()));
        }
        let options = AppendOptions { expected, condition, time };
        append(&self.log, &mut self.local, || Ok(stream.entry()), message, options)
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
        let AppendOptions { expected, condition, time } = options.into();
        self.append_on(stream, message, expected, condition, time)
    }

    /// Appends a batch. Lock-free; as [`Log::append_batch`].
    ///
    /// # Errors
    /// [`Rejected`] with the batch.
    pub fn append_batch(&mut self, batch: Batch<'_>) -> Result<BatchAppended, Rejected<Batch<'static>>> {
        batch::append(&self.log, &mut self.local, batch)
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

#[cold]
fn foreign<T>(stream: &Stream, rejected: T) -> Rejected<T> {
    Rejected::new(AppendError::ForeignStream { stream: stream.id().into() }, rejected)
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

/// Appends one message to a stream of `log`, whose entry `resolve` finds: last of all that can be refused before.
///
/// Everything that can fail or call out is done before the slot is competed for: limits, clock, allocation, copying.
#[inline]
pub(crate) fn append(
    log: &Log,
    local: &mut Local,
    resolve: impl FnOnce() -> Result<NonNull<Entry>, AppendError>,
    mut message: Message<'_>,
    options: AppendOptions<'_>,
) -> Result<Appended, Rejected<Message<'static>>> {
    // The message stays where it is until its fate is known: moving it about costs more than the swap.
    match record(log.core(), local, resolve, &mut message, &options) {
        Ok(appended) => Ok(appended),
        Err(stop) => Err(rejected(log, stop, &options, message)),
    }
}

/// Why a message was not recorded.
enum Stop {
    Error(AppendError),
    Refused(Option<NonNull<Entry>>, Refusal),
}

/// Records a message. When this returns `Ok`, its payload is the record's.
#[inline]
fn record(
    core: &Core,
    local: &mut Local,
    resolve: impl FnOnce() -> Result<NonNull<Entry>, AppendError>,
    message: &mut Message<'_>,
    options: &AppendOptions<'_>,
) -> Result<Appended, Stop> {
    message.check(&core.config.limits).map_err(|limit| Stop::Error(limit.into()))?;
    let now = time_of(&core.config.time, options.time).map_err(Stop::Error)?;
    let checked = core.check_past(options.condition).map_err(|refusal| Stop::Refused(None, refusal))?;
    let entry = resolve().map_err(Stop::Error)?;
    message.share_payload(INLINE_MAX);
    let parts = message.parts();
    let draft = local.arena.draft(Plan::new(&parts, core.config.shape, false), &parts, entry);
    // SAFETY: the caller's handle keeps the log, and the log its entries.
    let stream = unsafe { entry.as_ref() };
    let terms = Terms { condition: options.condition, checked, now };
    let guard = local.participant.pin();
    let result = core.append_one(local, stream, options.expected, draft, terms, &guard);
    drop(guard);
    match result {
        Ok((index, revision)) => {
            message.recorded();
            core.after_append(1, index + 1, now);
            Ok(Appended { position: Position::new(index + 1), revision: Revision::new(revision) })
        }
        Err(refusal) => {
            local.arena.discard(draft);
            Err(Stop::Refused(Some(entry), refusal))
        }
    }
}

#[cold]
fn rejected(log: &Log, stop: Stop, options: &AppendOptions<'_>, message: Message<'_>) -> Rejected<Message<'static>> {
    let error = match stop {
        Stop::Error(error) => error,
        Stop::Refused(entry, refusal) => explain(log, refusal, options.condition, |_| {
            let entry = entry.expect("a stream is in conflict only after it was resolved");
            // SAFETY: the entry is one of this log's.
            (unsafe { Stream::new(log.clone(), entry) }, options.expected)
        }),
    };
    Rejected::new(error, message.into_owned())
}

/// Turns a refusal into an error that can hand over what was missed.
#[cold]
pub(crate) fn explain(
    log: &Log,
    refusal: Refusal,
    condition: Option<&Condition>,
    stream: impl FnOnce(usize) -> (Stream, Expected),
) -> AppendError {
    match refusal {
        Refusal::Full => AppendError::Full,
        Refusal::Conflict { stream: which, actual, end } => {
            let (stream, expected) = stream(which);
            Conflict::new(stream, expected, actual, Position::new(end)).into()
        }
        Refusal::Match { index, end } => {
            let condition = condition.expect("only a condition is matched").clone();
            let view = View::new(log.clone(), Position::new(end));
            ConditionFailed::new(condition, Position::new(index + 1), view).into()
        }
    }
}
