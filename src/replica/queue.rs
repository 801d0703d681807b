//! Where proposals are kept until their outcome is known.

use std::future::Future;

use thiserror::Error;

use super::operation::OperationId;
use crate::model::Position;
use crate::sourcing::{DecodeFailure, InvalidEvent};
use crate::store::{AppendFailure, BackendError, ReadFailure};

/// Keeps what was proposed, in order, until it is settled. As durable as it likes to be; [`StreamQueue`](super::StreamQueue) is
/// as durable as its store.
///
/// One at a time uses a queue: two that push and load at once see each other's proposals only when they load.
///
/// Futures do nothing until they are polled; of one that is dropped before it is ready nobody knows whether it took effect.
pub trait IntentQueue<I>: Send + Sync + 'static {
    /// What was pushed and not settled, in the order of the pushes.
    ///
    /// # Errors
    /// [`QueueFailure`].
    fn load(&self) -> impl Future<Output = Result<Vec<Queued<I>>, QueueFailure>> + Send;

    /// Keeps a proposal. Its place is higher than those of all that were pushed before. One whose id is there already,
    /// settled or not, is not kept again.
    ///
    /// # Errors
    /// [`QueueFailure`]. Then the proposal is not kept, or nobody knows, as the queue says.
    fn push(&self, id: &OperationId, intent: &I) -> impl Future<Output = Result<Pushed, QueueFailure>> + Send;

    /// The outcome of an operation is known: it is not loaded any more. Again it does nothing.
    ///
    /// # Errors
    /// [`QueueFailure`].
    fn settle(&self, id: &OperationId) -> impl Future<Output = Result<(), QueueFailure>> + Send;
}

/// A proposal as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued<I> {
    /// Its place in the order of proposals.
    pub place: u64,
    /// What it is known by.
    pub id: OperationId,
    /// What is wanted.
    pub intent: I,
}

/// Where a proposal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its place in the order of proposals.
    pub place: u64,
    /// It was there before, settled or not.
    pub is_repeated: bool,
}

/// What a queue could not do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QueueFailure {
    /// The store did not let itself be read.
    #[error(transparent)]
    Read(#[from] ReadFailure),
    /// The store refused to append.
    #[error(transparent)]
    Append(#[from] AppendFailure),
    /// The intent cannot be written.
    #[error(transparent)]
    Encode(#[from] InvalidEvent),
    /// What was written cannot be read as an intent.
    #[error(transparent)]
    Decode(#[from] DecodeFailure),
    /// There is something in the stream that is no intent of this type, and nothing that the queue has written.
    #[error("message {name:?} at position {position} is no intent of the queue's type")]
    #[non_exhaustive]
    Unknown {
        /// Where.
        position: Position,
        /// What it is called.
        name: Box<str>,
    },
    /// The queue failed.
    #[error("the queue failed: {0}")]
    Backend(#[source] BackendError),
}
