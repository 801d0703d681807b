//! What can go wrong between events and state.

use thiserror::Error;

use crate::model::{Position, Revision};
use crate::store::{AppendFailure, BackendError, ReadFailure};

/// An event that cannot be recorded.
#[derive(Debug, Error)]
#[error("event {name:?} cannot be recorded: {source}")]
#[non_exhaustive]
pub struct InvalidEvent {
    /// What it is called.
    pub name: Box<str>,
    /// Why.
    pub source: BackendError,
}

/// An envelope that is not the event that its name says.
#[derive(Debug, Error)]
#[error("the event {name:?} at position {position} in stream {stream:?} cannot be decoded: {source}")]
#[non_exhaustive]
pub struct DecodeFailure {
    /// Where the envelope is.
    pub position: Position,
    /// The stream that it is in.
    pub stream: Box<str>,
    /// What it is called.
    pub name: Box<str>,
    /// What is wrong with it.
    pub source: BackendError,
}

/// An aggregate that could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadFailure),
    /// An event could not be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeFailure),
    /// Events that the state is made of were removed from the store.
    #[error("stream {stream:?} goes on at revision {found}, revision {expected} was removed")]
    #[non_exhaustive]
    Removed {
        /// The stream.
        stream: Box<str>,
        /// The revision that comes next.
        expected: Revision,
        /// The first one that is there.
        found: Revision,
    },
}

/// A decision that led to nothing. Nothing was appended, unless the backend says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecideError<R> {
    /// The decision was no.
    #[error("refused: {0}")]
    Refused(R),
    /// The state to decide on could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An event that was decided cannot be recorded.
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    /// The store refused, for another reason than a conflict.
    #[error(transparent)]
    Append(AppendFailure),
    /// Others were faster each time.
    #[error("others were faster {attempts} times: {conflict}")]
    #[non_exhaustive]
    Contended {
        /// How often it was tried.
        attempts: u32,
        /// The last conflict.
        conflict: AppendFailure,
    },
}
