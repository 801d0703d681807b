//! Where handlers go on after a restart.

use thiserror::Error;

use super::handler::Parked;
use super::reading::one;
use crate::log::{AppendOptions, Envelope};
use crate::model::{Failure, HandlerError, Message, Position};
use crate::store::{BackendError, EventStore, Select};
use crate::sync::StdArc;

/// The longest error that is kept of a parked event, in bytes; what is longer is cut.
const LONGEST: usize = 1024;

/// How far a handler was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Everything up to this position was handled, is not for it, or is parked.
    pub position: Position,
    /// What is parked.
    pub parked: Vec<Parked>,
}

impl Checkpoint {
    /// A checkpoint, for whoever keeps them.
    pub fn new(position: Position, parked: Vec<Parked>) -> Self {
        Self { position, parked }
    }
}

/// Keeps checkpoints of handlers, by the handlers' names.
///
/// A checkpoint that cannot be saved is not the handler's business: it goes on, and its [status](super::HandlerStatus) says so. After
/// a restart it handles again what came after the last one that was.
pub trait Checkpoints: Send + Sync + 'static {
    /// The last one that was saved; none when none was.
    ///
    /// # Errors
    /// When it cannot be read. Then the service does not start.
    fn load(&self, handler: &str) -> impl Future<Output = Result<Option<Checkpoint>, BackendError>> + Send;

    /// Keeps one, instead of the one before.
    ///
    /// # Errors
    /// When it may not have been kept.
    fn save(&self, handler: &str, checkpoint: &Checkpoint) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// None are kept: a handler begins anew with each service.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCheckpoints;

impl Checkpoints for NoCheckpoints {
    async fn load(&self, _: &str) -> Result<Option<Checkpoint>, BackendError> {
        Ok(None)
    }

    async fn save(&self, _: &str, _: &Checkpoint) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Checkpoints as messages of a store, in a stream for each handler: as durable as the store.
///
/// Each one that is saved is a message more, of 12 bytes and those of the errors that are parked; the last one counts. Retention may remove
/// the others, and must not remove the last.
#[derive(Debug)]
pub struct StoreCheckpoints<S> {
    store: StdArc<S>,
    prefix: Box<str>,
}

/// A message that is no checkpoint.
#[derive(Debug, Error)]
#[error("the checkpoint at position {position} ends in the middle of something")]
#[non_exhaustive]
pub struct InvalidCheckpoint {
    /// Where it is.
    pub position: Position,
}

impl<S: EventStore> StoreCheckpoints<S> {
    /// In the streams `prefix-handler`, for each handler.
    pub fn new(store: StdArc<S>, prefix: impl Into<Box<str>>) -> Self {
        Self { store, prefix: prefix.into() }
    }

    fn stream(&self, handler: &str) -> String {
        format!("{}-{handler}", self.prefix)
    }
}

impl<S: EventStore> Checkpoints for StoreCheckpoints<S> {
    async fn load(&self, handler: &str) -> Result<Option<Checkpoint>, BackendError> {
        let select = Select::stream(self.stream(handler)).backwards().first(1);
        let found = one(self.store.read(select)).await?;
        let decoded = |envelope: Envelope| {
            let invalid = InvalidCheckpoint { position: envelope.position() };
            decode(handler, envelope.payload()).ok_or(invalid)
        };
        Ok(found.map(decoded).transpose()?)
    }

    async fn save(&self, handler: &str, checkpoint: &Checkpoint) -> Result<(), BackendError> {
        let message = Message::event("Checkpoint", encode(checkpoint))?;
        self.store
            .append(&self.stream(handler), message, AppendOptions::new().stored())
            .await
            .map_err(|refused| refused.error)?;
        Ok(())
    }
}

/// The position; how many are parked; of each its position, its calls, the length of what it failed with, and that. Numbers are
/// little-endian, of 8 bytes and of 4.
pub(super) fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut bytes = checkpoint.position.get().to_le_bytes().to_vec();
    bytes.extend(short(checkpoint.parked.len()));
    for parked in &checkpoint.parked {
        let error = match parked.failure.error() {
            // What it said, without what we say of it.
            HandlerError::Failed(error) => error.to_string(),
            other => other.to_string(),
        };
        let error = &error[..error.floor_char_boundary(LONGEST)];
        bytes.extend(parked.position().get().to_le_bytes());
        bytes.extend(parked.calls.to_le_bytes());
        bytes.extend(short(error.len()));
        bytes.extend(error.as_bytes());
    }
    bytes
}

fn short(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// None when it ends in the middle of something, or goes on.
pub(super) fn decode(handler: &str, bytes: &[u8]) -> Option<Checkpoint> {
    let rest = &mut &*bytes;
    let position = long(rest)?;
    let mut parked = Vec::new();
    for _ in 0..number(rest)? {
        let (position, calls, length) = (long(rest)?, number(rest)?, number(rest)?);
        let error = String::from_utf8_lossy(take(rest, length as usize)?).into_owned();
        let error = HandlerError::Failed(error.into());
        parked.push(Parked::new(Failure::new(position, Some(handler), error), calls));
    }
    rest.is_empty().then_some(Checkpoint { position, parked })
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn long(rest: &mut &[u8]) -> Option<Position> {
    take(rest, 8)?.try_into().ok().map(u64::from_le_bytes).map(Position::new)
}
