//! Envelopes that come from elsewhere: from a file, a network, another kind of log.
//!
//! An envelope is a record in a chunk of an arena, and its stream an entry of a directory that the chunk keeps. A source has
//! both and nothing else of a log: no slots, no order. What a record is for a log's slot, its first holder, is here the
//! envelope that is handed out.

use std::fmt;
use std::ptr::NonNull;

use thiserror::Error;

use super::arena::Arena;
use super::counts::Sums;
use super::directory::{Directory, Entry};
use super::envelope::Envelope;
use super::reclaim::Domain;
use super::record::{INLINE_MAX, Shape};
use crate::model::{InvalidName, Limit, LimitExceeded, Limits, Message, Position, Revision, Timestamp, check_name};
use crate::sync::Arc;

/// How many streams a source knows at once, without limits of its own.
const STREAMS: usize = 1 << 16;

/// Makes [`Envelope`]s of messages that were recorded elsewhere, so that whatever takes envelopes takes them as if they
/// came from a [`Log`](crate::Log). For one thread at a time; it may go from thread to thread.
///
/// Envelopes outlive their source. One that is held keeps its chunk of memory, 4 KiB to 2 MiB or its own size if that is
/// larger, and the names of the streams that the source knew with it.
///
/// ```
/// use annals::{EnvelopeSource, Message, Timestamp};
///
/// let mut source = EnvelopeSource::new();
/// let time = Timestamp::from_nanos(1_700_000_000_000_000_000);
/// let envelope = source.envelope("account-1", 7, 2, Some(time), Message::event("Deposited", "50")?)?;
/// drop(source);
/// assert_eq!((envelope.position().get(), envelope.revision().get()), (7, 2));
/// assert_eq!((envelope.category(), envelope.payload()), ("account", &b"50"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EnvelopeSource {
    arena: Arena,
    directory: Arc<Directory>,
    domain: Domain,
    limits: Limits,
}

// SAFETY: the raw pointers in the arena are to an open chunk that nobody else writes to.
unsafe impl Send for EnvelopeSource {}

/// A message that no envelope can be made of. Nothing was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The stream id is not a name.
    #[error("the stream id is not valid: {0}")]
    InvalidStream(#[from] InvalidName),
    /// Something is larger than the source allows.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// Positions begin at 1.
    #[error("no envelope has position 0")]
    NoPosition,
}

impl EnvelopeSource {
    /// A source with the default [`Limits`], but 65,536 streams.
    pub fn new() -> Self {
        Self::with_limits(Limits { streams: STREAMS, ..Limits::default() })
    }

    /// A source with limits. [`Limits::streams`] is how many streams it knows at once: with one more it forgets them all
    /// and begins anew, which costs an allocation for each that comes again. [`Limits::batch_len`] is of no concern. Names of
    /// more than 255 bytes and metadata of more than 16 MiB are never allowed.
    pub fn with_limits(mut limits: Limits) -> Self {
        limits.streams = limits.streams.max(1);
        limits.name_bytes = limits.name_bytes.min(255);
        limits.metadata_bytes = limits.metadata_bytes.min(1 << 24);
        let directory = Arc::new(Directory::new(limits.streams));
        Self { arena: Arena::new(directory.clone()), directory, domain: Domain::new(), limits }
    }

    /// A source of envelopes that are read and let go: in chunks of 64 KiB.
    #[cfg(feature = "durable")]
    pub(crate) fn for_reading(limits: Limits) -> Self {
        let mut source = Self::with_limits(limits);
        source.arena = Arena::of_small_chunks(source.directory.clone());
        source
    }

    /// An envelope of a message. Neither position nor revision is checked against others: what they mean is the caller's
    /// business. A payload of up to 1,024 borrowed bytes is copied without an allocation, [`Bytes`](crate::bytes::Bytes)
    /// are moved.
    ///
    /// # Errors
    /// [`EnvelopeError`] when the stream id is not a [`Name`](crate::Name), a limit is exceeded, or the position is 0.
    pub fn envelope(
        &mut self,
        stream: &str,
        position: impl Into<Position>,
        revision: impl Into<Revision>,
        time: Option<Timestamp>,
        mut message: Message<'_>,
    ) -> Result<Envelope, EnvelopeError> {
        let position = position.into();
        if position == Position::NONE {
            return Err(EnvelopeError::NoPosition);
        }
        message.check(&self.limits)?;
        let entry = self.entry(stream)?;
        message.share_payload(INLINE_MAX);
        let draft = self.arena.draft(&message, Shape::new(time.is_some(), false), false, entry);
        draft.place(position.get(), revision.into().get());
        if let Some(time) = time {
            draft.stamp(time, Sums::default);
        }
        message.recorded();
        // SAFETY: complete, and nobody else knows it: its one hold is the envelope's.
        Ok(unsafe { Envelope::first(draft.record()) })
    }

    fn entry(&mut self, stream: &str) -> Result<NonNull<Entry>, EnvelopeError> {
        let guard = self.domain.pin();
        if let Some(entry) = self.directory.get(stream, &guard) {
            return Ok(entry);
        }
        check_name(stream)?;
        LimitExceeded::check(Limit::NameBytes, stream.len(), self.limits.name_bytes)?;
        if self.directory.check_room(1).is_err() {
            // Envelopes keep the old one.
            self.directory = Arc::new(Directory::new(self.limits.streams));
            self.arena = Arena::new(self.directory.clone());
        }
        Ok(self.directory.get_or_add(stream, None, &guard)?)
    }
}

impl Default for EnvelopeSource {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EnvelopeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvelopeSource")
            .field("streams", &self.directory.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
