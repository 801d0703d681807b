//! What can go wrong between events and state.

use thiserror::Error;

use crate::log::Appended;
use crate::model::{Failures, InvalidName, Position, Revision};
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

/// A service that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidService {
    /// Two handlers have one name, by which checkpoints are kept.
    #[error("there are two handlers named {name:?}")]
    #[non_exhaustive]
    HandlerTwice {
        /// The name.
        name: Box<str>,
    },
    /// No event can be called so.
    #[error("handler {handler:?} is for events named {event:?}: {source}")]
    #[non_exhaustive]
    EventName {
        /// Which handler.
        handler: Box<str>,
        /// The name of its event.
        event: Box<str>,
        /// What is wrong with it.
        source: InvalidName,
    },
}

/// A service that did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadFailure),
    /// A checkpoint could not be loaded.
    #[error("the checkpoint of handler {handler:?} could not be loaded: {source}")]
    #[non_exhaustive]
    Checkpoint {
        /// Which handler.
        handler: Box<str>,
        /// Why.
        source: BackendError,
    },
    /// There is no thread to be had for a handler.
    #[error("there is no thread to be had for a handler")]
    NotSpawned,
    /// The service was closed.
    #[error("the service is closed")]
    Closed,
}

/// There is no handler of this name, or none has begun yet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no handler named {name:?} is at work")]
#[non_exhaustive]
pub struct NoSuchHandler {
    /// The name.
    pub name: Box<str>,
}

/// An event that was not dispatched, or not handled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// The service did not start. Nothing was stored.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store refused. Nothing was stored, unless the backend says otherwise, and no handler is called.
    #[error(transparent)]
    Store(#[from] AppendFailure),
    /// The event is stored, and these handlers failed to handle it. What failed is parked.
    #[error("the event at position {} was not handled: {}", appended.position, told(failures))]
    #[non_exhaustive]
    Unhandled {
        /// Where the event is.
        appended: Appended,
        /// One for each handler that failed, with its name.
        failures: Failures,
    },
    /// Asked inside a handler, where nobody may wait for handlers. Nothing was stored.
    #[error("a handler may not wait for handlers")]
    InsideHandler,
    /// There is no such handler.
    #[error(transparent)]
    NoSuchHandler(#[from] NoSuchHandler),
}

fn told(failures: &Failures) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
