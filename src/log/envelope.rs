//! A message after it was recorded.

use std::fmt;
use std::mem::ManuallyDrop;

use bytes::Bytes;

use super::record::Record;
use super::watch::Interest;
use crate::model::{
    self, Headers, Id, Kind, Message, Position, Query, Recorded, Revision, Tags, Timestamp, category_of,
};

/// A recorded message: one pointer, counted.
///
/// Nothing in an envelope ever changes, and it stays valid whatever happens to the log: truncated, closed, dropped (law
/// L8). Cloning one is an atomic increment. While one is held, so is its chunk of the log's memory: 4 KiB in a small
/// log, 2 MiB at most, or the record's own size when that is larger. Payloads of other envelopes are not.
#[repr(transparent)]
pub struct Envelope(Record<'static>);

// SAFETY: a record is immutable once published, its count is atomic, and `Bytes`, the one thing in it that is dropped,
// is `Send` and `Sync`.
unsafe impl Send for Envelope {}
// SAFETY: as above.
unsafe impl Sync for Envelope {}

impl Envelope {
    /// A new holder of `record`.
    #[inline]
    pub(crate) fn of(record: Record<'_>) -> Self {
        record.hold();
        // SAFETY: held until dropped, so alive for as long as the envelope.
        Self(unsafe { Record::new(record.as_ptr()) })
    }

    /// The first holder of a record that has no slot.
    ///
    /// # Safety
    /// `record` is complete, and the hold that it was made with is given to the result.
    pub(crate) unsafe fn first(record: Record<'_>) -> Self {
        // SAFETY: held until dropped, by the contract.
        Self(unsafe { Record::new(record.as_ptr()) })
    }

    /// An envelope that is no holder: to be lent, not dropped.
    ///
    /// # Safety
    /// `record` is alive as long as the result is used.
    #[inline]
    pub(crate) unsafe fn lend(record: Record<'_>) -> ManuallyDrop<Self> {
        // SAFETY: by the contract.
        ManuallyDrop::new(Self(unsafe { Record::new(record.as_ptr()) }))
    }

    pub(crate) fn record(&self) -> Record<'_> {
        self.0
    }

    /// Its place in the log.
    #[inline]
    pub fn position(&self) -> Position {
        Position::new(self.0.position())
    }

    /// Its place in its stream.
    #[inline]
    pub fn revision(&self) -> Revision {
        Revision::new(self.0.revision())
    }

    /// Its stream.
    #[inline]
    pub fn stream(&self) -> &str {
        self.0.entry().name()
    }

    /// Whether a query selects it.
    pub fn matches(&self, query: &Query) -> bool {
        query.matches(&self.0)
    }

    /// The message that was recorded: as it was appended.
    pub fn to_message(&self) -> Message<'static> {
        let payload = model::Payload::Bytes(self.payload_bytes());
        match Message::of_record(self.kind(), self.name(), payload, self.0.attributes()) {
            Some(message) => message.into_owned(),
            None => unreachable!("it was a message"),
        }
    }

    /// Who watches its stream.
    pub(crate) fn interest(&self) -> &Interest {
        &self.0.entry().interest
    }

    /// Its stream's category: the part of the stream id before the first `-`, or all of it when there is none.
    pub fn category(&self) -> &str {
        category_of(self.stream())
    }

    /// Command or event.
    #[inline]
    pub fn kind(&self) -> Kind {
        Recorded::kind(&self.0)
    }

    /// The message's name.
    #[inline]
    pub fn name(&self) -> &str {
        self.0.text()
    }

    /// The message's content.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.0.payload()
    }

    /// The message's content as [`Bytes`], without copying it. Allocates when the payload was copied into the record: it
    /// then holds the envelope.
    pub fn payload_bytes(&self) -> Bytes {
        match self.0.bytes() {
            Some(bytes) => bytes.clone(),
            None => Bytes::from_owner(Payload(self.clone())),
        }
    }

    /// When it was recorded, by the log's clock; none when the log has no clock. Never decreases along the log.
    #[inline]
    pub fn time(&self) -> Option<Timestamp> {
        self.0.time()
    }

    /// The message's own timestamp: when it happened, as its author says.
    pub fn own_time(&self) -> Option<Timestamp> {
        self.0.attributes().time()
    }

    /// The request that it belongs to.
    pub fn request_id(&self) -> Option<&str> {
        self.0.attributes().id(Id::Request)
    }

    /// The conversation that it belongs to.
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.attributes().id(Id::Correlation)
    }

    /// The message that caused it.
    pub fn causation_id(&self) -> Option<&str> {
        self.0.attributes().id(Id::Causation)
    }

    /// The session that it belongs to.
    pub fn session_id(&self) -> Option<&str> {
        self.0.attributes().id(Id::Session)
    }

    /// The message's own id, as its author gave it.
    pub fn message_id(&self) -> Option<&str> {
        self.0.attributes().id(Id::Message)
    }

    /// Its tags.
    pub fn tags(&self) -> Tags<'_> {
        self.0.attributes().tags()
    }

    /// Its headers.
    pub fn headers(&self) -> Headers<'_> {
        self.0.attributes().headers()
    }
}

impl Clone for Envelope {
    #[inline]
    fn clone(&self) -> Self {
        Self::of(self.0)
    }
}

impl Drop for Envelope {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: an envelope is a holder, and is gone after this.
        unsafe { self.0.release() };
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("position", &self.position().get())
            .field("stream", &self.stream())
            .field("revision", &self.revision().get())
            .field("kind", &self.kind())
            .field("name", &self.name())
            .field("payload_len", &self.payload().len())
            .finish_non_exhaustive()
    }
}

/// An envelope as the owner of its inline payload.
struct Payload(Envelope);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}
