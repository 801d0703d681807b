//! Why a value was refused before any log saw it, or because of a log's limits. The evidence is in the fields.
//!
//! Errors that hand over envelopes live one floor up, beside what they hand over.

use std::fmt;

use thiserror::Error;

/// A name that no log accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// It has no characters.
    #[error("the name is empty")]
    Empty,
    /// It is longer than any log accepts.
    #[error("the name has {bytes} bytes, at most {max} are allowed")]
    #[non_exhaustive]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        max: usize,
    },
    /// It has a control character.
    #[error("the name has a control character at byte {at}")]
    #[non_exhaustive]
    ControlCharacter {
        /// Where, in bytes from the start.
        at: usize,
    },
}

impl From<std::convert::Infallible> for InvalidName {
    /// A name that is one already cannot be invalid.
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// A part of a message that has a [`Name`](crate::Name)'s rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The message's name.
    Name,
    /// A tag.
    Tag,
    /// The key of a header.
    HeaderKey,
    /// The request id.
    RequestId,
    /// The correlation id.
    CorrelationId,
    /// The causation id.
    CausationId,
    /// The session id.
    SessionId,
    /// The message id.
    MessageId,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Name => "name",
            Part::Tag => "tag",
            Part::HeaderKey => "header key",
            Part::RequestId => "request id",
            Part::CorrelationId => "correlation id",
            Part::CausationId => "causation id",
            Part::SessionId => "session id",
            Part::MessageId => "message id",
        })
    }
}

/// A message that cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the message's {part} is not valid: {reason}")]
#[non_exhaustive]
pub struct InvalidMessage {
    /// Which part of the message.
    pub part: Part,
    /// What is wrong with it.
    pub reason: InvalidName,
}

impl InvalidMessage {
    pub(crate) fn new(part: Part, reason: InvalidName) -> Self {
        Self { part, reason }
    }
}

/// What a log limits. Each has a default, see [`Limits`](crate::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Bytes of one payload.
    PayloadBytes,
    /// Messages in one batch.
    BatchLength,
    /// Streams of one log.
    Streams,
    /// Bytes of a stream id or message name.
    NameBytes,
    /// Bytes of tags, headers and ids of one message together.
    MetadataBytes,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::PayloadBytes => "bytes of payload",
            Limit::BatchLength => "messages in a batch",
            Limit::Streams => "streams",
            Limit::NameBytes => "bytes in a name",
            Limit::MetadataBytes => "bytes of metadata",
        })
    }
}

/// Something is larger, or there is more of it, than this log allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{actual} {limit} are more than the {max} this log allows")]
#[non_exhaustive]
pub struct LimitExceeded {
    /// Which limit.
    pub limit: Limit,
    /// What was asked for.
    pub actual: u64,
    /// What is allowed.
    pub max: u64,
}

impl LimitExceeded {
    /// An error when `actual` is more than `max`.
    pub(crate) fn check(limit: Limit, actual: usize, max: usize) -> Result<(), Self> {
        if actual <= max {
            return Ok(());
        }
        Err(Self { limit, actual: actual as u64, max: max as u64 })
    }

    /// One stream too many.
    pub(crate) fn streams(actual: u64, max: u64) -> Self {
        Self { limit: Limit::Streams, actual, max }
    }
}
