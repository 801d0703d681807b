//! Why an append was refused. Errors here hand over what the caller had not seen.

use std::fmt;

use thiserror::Error;

use super::backing::Stopped;
use super::handle::{Log, Stream};
use super::read::{OneStream, Read, WholeLog};
use super::view::View;
use crate::model::{Condition, Expected, InvalidName, LimitExceeded, Position, Revision};

/// An append that was refused. The log is as it was.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A stream is not as expected.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// An envelope matches the append condition.
    #[error(transparent)]
    ConditionFailed(#[from] ConditionFailed),
    /// Something is larger than the log allows.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The stream id is not a name.
    #[error("the stream id is not valid: {0}")]
    InvalidStream(#[from] InvalidName),
    /// One batch has two different expectations of one stream.
    #[error("the batch expects two different things of stream {stream:?}")]
    #[non_exhaustive]
    AmbiguousExpectation {
        /// Which.
        stream: Box<str>,
    },
    /// The stream handle was made by another log.
    #[error("the handle to stream {stream:?} belongs to another log")]
    #[non_exhaustive]
    ForeignStream {
        /// Which.
        stream: Box<str>,
    },
    /// The log takes its time from each append, and this one brought none.
    #[error("the log takes its time from each append, and none was given")]
    MissingTime,
    /// An append that is to happen once has a message without an id.
    #[error("a message that is to be appended once has no message id")]
    MissingMessageId,
    /// A batch that is to happen once has some ids that are in the log, but the log does not have the batch.
    #[error("a part of the batch was appended before, at position {position}")]
    #[non_exhaustive]
    PartlyRepeated {
        /// The first envelope with one of the ids.
        position: Position,
    },
    /// All positions are used: 2^63, or in a log with indexes 2^48.
    #[error("the log has no positions left")]
    Full,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// What the log is kept on has failed, or could not be read: nothing was appended.
    #[error(transparent)]
    Stopped(Stopped),
    /// What the log is kept on failed while the append waited for it. What was appended is in memory at `position`, and may
    /// or may not be there when the log is opened again.
    #[error("what was appended at position {position} may be lost: {stopped}")]
    #[non_exhaustive]
    Unacknowledged {
        /// Of the last envelope.
        position: Position,
        /// Why.
        stopped: Stopped,
    },
}

/// A stream was not as expected at the instant of the append.
#[derive(Clone)]
pub struct Conflict(Box<ConflictFacts>);

/// Boxed, so that the results of appends stay small.
#[derive(Clone)]
struct ConflictFacts {
    stream: Name,
    expected: Expected,
    actual: Option<Revision>,
    end: Position,
}

/// A stream by handle; or by name, when there is none. With the log: one count of a log is enough, threads that compete
/// for a stream share it.
#[derive(Clone)]
enum Name {
    Known(Stream),
    Unknown(Log, Box<str>),
}

impl Conflict {
    pub(crate) fn new(stream: Stream, expected: Expected, actual: Option<Revision>, end: Position) -> Self {
        Self(Box::new(ConflictFacts { stream: Name::Known(stream), expected, actual, end }))
    }

    /// The stream does not exist, and should.
    pub(crate) fn absent(stream: &str, expected: Expected, view: &View) -> Self {
        let name = Name::Unknown(view.log().clone(), stream.into());
        Self(Box::new(ConflictFacts { stream: name, expected, actual: None, end: view.end() }))
    }

    /// Which stream.
    pub fn stream(&self) -> &str {
        match &self.0.stream {
            Name::Known(stream) => stream.id(),
            Name::Unknown(_, stream) => stream,
        }
    }

    /// What was expected of it.
    pub fn expected(&self) -> Expected {
        self.0.expected
    }

    /// Its last revision; none when it has never been written.
    pub fn actual(&self) -> Option<Revision> {
        self.0.actual
    }

    /// The end of the log when the append was decided.
    pub fn end(&self) -> Position {
        self.0.end
    }

    /// The envelopes of the stream that the caller had not seen: those after [`Expected::Exactly`]'s revision, or all.
    /// As of the decision, less what retention has removed since.
    pub fn missed(&self) -> Read<OneStream> {
        let view = |log: &Log| View::new(log.clone(), self.0.end);
        let read = match &self.0.stream {
            Name::Known(stream) => view(stream.log()).read_stream(stream),
            Name::Unknown(log, stream) => view(log).read_stream(&**stream),
        };
        read.from_revision(self.0.expected.first_unseen())
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {:?} ", self.stream())?;
        match self.0.actual {
            None => write!(f, "does not exist")?,
            Some(revision) => write!(f, "is at revision {revision}")?,
        }
        match self.0.expected {
            Expected::Any => Ok(()),
            Expected::NoStream => write!(f, ", expected not to exist"),
            Expected::Exists => write!(f, ", expected to exist"),
            Expected::Exactly(revision) => write!(f, ", expected at revision {revision}"),
        }
    }
}

impl fmt::Debug for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conflict")
            .field("stream", &self.stream())
            .field("expected", &self.0.expected)
            .field("actual", &self.0.actual)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Conflict {}

/// An envelope matched the append condition.
#[derive(Clone)]
pub struct ConditionFailed(Box<ConditionFacts>);

#[derive(Clone)]
struct ConditionFacts {
    condition: Condition,
    /// Which of its parts.
    part: usize,
    position: Position,
    view: View,
}

impl ConditionFailed {
    pub(crate) fn new(condition: Condition, part: usize, position: Position, view: View) -> Self {
        Self(Box::new(ConditionFacts { condition, part, position, view }))
    }

    /// The same refusal of a condition with the same parts, less those added at its end.
    pub(crate) fn of(mut self, condition: Condition) -> Self {
        self.0.condition = condition;
        self
    }

    /// The condition.
    pub fn condition(&self) -> &Condition {
        &self.0.condition
    }

    /// The first envelope that matches it.
    pub fn position(&self) -> Position {
        self.0.position
    }

    /// The end of the log when the append was decided.
    pub fn end(&self) -> Position {
        self.0.view.end()
    }

    /// The part of the condition that the envelope matched: mostly all of it, see [`Condition::and`].
    pub fn part(&self) -> &Condition {
        self.0.condition.parts().nth(self.0.part).unwrap_or(&self.0.condition)
    }

    /// The envelopes that match that part, as of the decision, less what retention has removed since.
    pub fn missed(&self) -> Read<WholeLog> {
        self.0.view.read().from(self.0.position).matching(self.part().query().clone())
    }
}

impl fmt::Display for ConditionFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the envelope at position {} matches the append condition", self.0.position)
    }
}

impl fmt::Debug for ConditionFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConditionFailed")
            .field("condition", &self.0.condition)
            .field("position", &self.0.position)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for ConditionFailed {}

/// A refused append with what was not appended. What it had borrowed it now owns: constants and shared payloads are
/// given back as they were, other names and payloads are copied.
///
/// Converts into its [`AppendError`], so that `?` works in functions that return one.
#[derive(Clone, Debug)]
pub struct Rejected<T, E = AppendError> {
    /// Why.
    pub error: E,
    /// What: for the caller to use again.
    pub rejected: T,
}

impl<T> Rejected<T> {
    pub(crate) fn new(error: impl Into<AppendError>, rejected: T) -> Self {
        Self { error: error.into(), rejected }
    }

    /// The conflict, when it is one.
    pub fn conflict(&self) -> Option<&Conflict> {
        match &self.error {
            AppendError::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }
}

impl<T> From<Rejected<T>> for AppendError {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}

impl<T, E: fmt::Display> fmt::Display for Rejected<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T: fmt::Debug, E: std::error::Error> std::error::Error for Rejected<T, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// A position at which the log does not end, or has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("position {position} is not there yet, the log ends at {end}")]
#[non_exhaustive]
pub struct NotThereYet {
    /// What was asked for.
    pub position: Position,
    /// Where the log ends.
    pub end: Position,
}

/// A stream that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The id is not a name.
    #[error("the stream id is not valid: {0}")]
    InvalidId(#[from] InvalidName),
    /// It is too long, or one too many.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// Whether it is there could not be read.
    #[error(transparent)]
    Unreadable(Stopped),
}

impl From<StreamError> for AppendError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::InvalidId(name) => AppendError::InvalidStream(name),
            StreamError::Limit(limit) => AppendError::Limit(limit),
            StreamError::Unreadable(stopped) => AppendError::Stopped(stopped),
        }
    }
}

/// A log that cannot be built as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The segment size is not a power of two from 2 to 2^20.
    #[error("a segment of {slots} slots is not a power of two from 2 to 1048576")]
    #[non_exhaustive]
    SegmentSize {
        /// What was asked for.
        slots: usize,
    },
    /// A limit that no log can have.
    #[error("a limit of {bytes} bytes for names is more than 255")]
    #[non_exhaustive]
    NameLimit {
        /// What was asked for.
        bytes: usize,
    },
    /// More metadata than a record can have.
    #[error("a limit of {bytes} bytes for metadata is more than 16777216")]
    #[non_exhaustive]
    MetadataLimit {
        /// What was asked for.
        bytes: usize,
    },
    /// Longer batches than a log can take.
    #[error("a limit of {messages} messages for batches is more than 1048576")]
    #[non_exhaustive]
    BatchLimit {
        /// What was asked for.
        messages: usize,
    },
    /// The number of buckets of the indexes is not a power of two up to 2^24.
    #[error("{buckets} buckets for indexes are not a power of two up to 16777216")]
    #[non_exhaustive]
    Buckets {
        /// What was asked for.
        buckets: usize,
    },
    /// Retention by age needs times.
    #[error("retention by age needs a log with a clock")]
    AgeWithoutClock,
}
