//! Why a store refused. One type an operation; each says the same whatever the backend.

use std::error::Error as StdError;

use thiserror::Error;

use super::capabilities::Capability;
use super::select::Select;
use crate::log::{self, AppendError};
use crate::model::{Condition, Expected, InvalidName, LimitExceeded, Position, Revision};

/// What a backend says of a failure of its own.
pub type BackendError = Box<dyn StdError + Send + Sync>;

/// An append that was refused. Nothing of it was stored, unless [`Backend`](Self::Backend) says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppendFailure {
    /// A stream is not as expected.
    #[error(transparent)]
    Conflict(#[from] StreamConflict),
    /// An envelope matches the append condition.
    #[error(transparent)]
    ConditionFailed(#[from] ConditionMatched),
    /// Something is larger, or there is more of it, than the store allows.
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
    /// A stream handle was made by another log.
    #[error("the handle to stream {stream:?} belongs to another log")]
    #[non_exhaustive]
    ForeignStream {
        /// Which.
        stream: Box<str>,
    },
    /// The store takes its time from each append, and this one brought none.
    #[error("the store takes its time from each append, and none was given")]
    MissingTime,
    /// An append that is to happen once has a message without an id.
    #[error("a message that is to be appended once has no message id")]
    MissingMessageId,
    /// A batch that is to happen once has some ids that are in the store, but the store does not have the batch.
    #[error("a part of the batch was appended before, at position {position}")]
    #[non_exhaustive]
    PartlyRepeated {
        /// The first envelope with one of the ids.
        position: Position,
    },
    /// All positions are used.
    #[error("the store has no positions left")]
    Full,
    /// The store was closed or disposed of.
    #[error("the store is closed")]
    Closed,
    /// The session was ended.
    #[error("session {id:?} was ended")]
    #[non_exhaustive]
    SessionEnded {
        /// Which.
        id: Box<str>,
    },
    /// The store does not do this, as its [capabilities](super::Capabilities) say.
    #[error("the store has no {0}")]
    Unsupported(Capability),
    /// The backend failed. Whether the append was stored is for the backend to say.
    #[error("the backend failed: {0}")]
    Backend(#[source] BackendError),
}

/// A stream was not as expected at the instant of the append.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.sentence())]
#[non_exhaustive]
pub struct StreamConflict {
    /// Which stream.
    pub stream: Box<str>,
    /// What was expected of it.
    pub expected: Expected,
    /// Its last revision; none when it has never been written.
    pub actual: Option<Revision>,
    /// The end of the store when the append was decided.
    pub end: Position,
}

impl StreamConflict {
    /// A conflict, for a backend to report.
    pub fn new(stream: &str, expected: Expected, actual: Option<Revision>, end: Position) -> Self {
        Self { stream: stream.into(), expected, actual, end }
    }

    /// The envelopes of the stream that the caller had not seen, for [`read`](super::EventStore::read): those after
    /// [`Expected::Exactly`]'s revision, or all, as of the decision.
    pub fn missed(&self) -> Select {
        Select::stream(self.stream.clone()).from_revision(self.expected.first_unseen()).to(self.end)
    }

    fn sentence(&self) -> String {
        let actual = match self.actual {
            None => "does not exist".into(),
            Some(revision) => format!("is at revision {revision}"),
        };
        let expected = match self.expected {
            Expected::Any => String::new(),
            Expected::NoStream => ", expected not to exist".into(),
            Expected::Exists => ", expected to exist".into(),
            Expected::Exactly(revision) => format!(", expected at revision {revision}"),
        };
        format!("stream {:?} {actual}{expected}", self.stream)
    }
}

/// An envelope matched the append condition.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the envelope at position {position} matches the append condition")]
#[non_exhaustive]
pub struct ConditionMatched {
    /// The condition, from the part on that it matches.
    pub condition: Condition,
    /// The first envelope that matches it.
    pub position: Position,
    /// The end of the store when the append was decided.
    pub end: Position,
}

impl ConditionMatched {
    /// A condition that failed, for a backend to report.
    pub fn new(condition: Condition, position: Position, end: Position) -> Self {
        Self { condition, position, end }
    }

    /// The envelopes that match that part, as of the decision, for [`read`](super::EventStore::read).
    pub fn missed(&self) -> Select {
        Select::all().matching(self.condition.query().clone()).from(self.position).to(self.end)
    }
}

impl AppendFailure {
    /// The conflict, when it is one.
    pub fn conflict(&self) -> Option<&StreamConflict> {
        match self {
            Self::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }

    /// A batch of which a part is there, for a backend to report.
    pub fn partly_repeated(position: Position) -> Self {
        Self::PartlyRepeated { position }
    }

    /// One batch with two expectations of one stream, for a backend to report.
    pub fn ambiguous(stream: &str) -> Self {
        Self::AmbiguousExpectation { stream: stream.into() }
    }
}

impl From<&log::Conflict> for StreamConflict {
    fn from(conflict: &log::Conflict) -> Self {
        Self::new(conflict.stream(), conflict.expected(), conflict.actual(), conflict.end())
    }
}

impl From<&log::ConditionFailed> for ConditionMatched {
    fn from(failed: &log::ConditionFailed) -> Self {
        Self::new(failed.part().clone(), failed.position(), failed.end())
    }
}

impl From<AppendError> for AppendFailure {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict(conflict) => Self::Conflict((&conflict).into()),
            AppendError::ConditionFailed(failed) => Self::ConditionFailed((&failed).into()),
            AppendError::Limit(limit) => Self::Limit(limit),
            AppendError::InvalidStream(name) => Self::InvalidStream(name),
            AppendError::AmbiguousExpectation { stream } => Self::AmbiguousExpectation { stream },
            AppendError::ForeignStream { stream } => Self::ForeignStream { stream },
            AppendError::MissingTime => Self::MissingTime,
            AppendError::MissingMessageId => Self::MissingMessageId,
            AppendError::PartlyRepeated { position } => Self::PartlyRepeated { position },
            AppendError::Full => Self::Full,
            AppendError::Closed => Self::Closed,
            AppendError::Stopped(stopped) => Self::Backend(Box::new(stopped)),
            error @ AppendError::Unacknowledged { .. } => Self::Backend(Box::new(error)),
        }
    }
}

/// A read that failed: of envelopes, or of what is known about them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadFailure {
    /// The stream to follow cannot be had.
    #[error(transparent)]
    Stream(#[from] log::StreamError),
    /// The store was disposed of.
    #[error("the store is closed")]
    Closed,
    /// The store does not do this, as its [capabilities](super::Capabilities) say.
    #[error("the store has no {0}")]
    Unsupported(Capability),
    /// The backend failed.
    #[error("the backend failed: {0}")]
    Backend(#[source] BackendError),
}

/// A truncation that failed. Nothing was removed, unless [`Backend`](Self::Backend) says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TruncateFailure {
    /// The store was disposed of.
    #[error("the store is closed")]
    Closed,
    /// The store keeps everything, as its [capabilities](super::Capabilities) say.
    #[error("the store has no {0}")]
    Unsupported(Capability),
    /// The backend failed.
    #[error("the backend failed: {0}")]
    Backend(#[source] BackendError),
}
