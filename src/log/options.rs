//! On what terms an append goes through.

use super::backing::{Ack, Waits};
use crate::model::{Condition, Expected, Timestamp};

/// What an append asks for besides its messages. Everything is optional.
///
/// ```
/// use annals::{AppendOptions, Condition, Expected, Log, Message, Query};
///
/// let log = Log::new();
/// let unseen = Condition::none(Query::tag("order:7")?);
/// let options = AppendOptions::new().expected(Expected::NoStream).condition(&unseen);
/// log.append_with("order-7", Message::event("Placed", "")?, options)?;
/// // One wish alone needs no options:
/// log.append_with("order-7", Message::event("Paid", "")?, Expected::exactly(0))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct AppendOptions<'c> {
    pub(crate) expected: Expected,
    pub(crate) condition: Option<&'c Condition>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) stored: bool,
    pub(crate) once: bool,
    pub(crate) ack: Option<Ack>,
}

impl<'c> AppendOptions<'c> {
    /// Nothing is asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the stream must be like.
    pub fn expected(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }

    /// What must not be in the log.
    pub fn condition(mut self, condition: &'c Condition) -> Self {
        self.condition = Some(condition);
        self
    }

    /// The time of the append, instead of the clock's. A time before the log's last is raised to it.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// The append returns when the envelope is stored. Subscribers get it from a thread of the log's own, soon after, and
    /// failures go to the hook and the counters alone. Without this an append returns when it is stored and delivered.
    pub fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    #[inline]
    pub(crate) fn waits(&self) -> Waits {
        Waits { stored: self.stored, ack: self.ack }
    }

    /// The append returns when the envelope is as safe as this, whatever the log is set to. In a log in memory it makes no
    /// difference. Of an append inside a handler, the handler waits.
    pub fn acknowledge(mut self, ack: Ack) -> Self {
        self.ack = Some(ack);
        self
    }

    /// The message is appended unless one with the same [`message_id`](crate::MessageBuilder::message_id) is among the last
    /// envelopes of the log: as many as [`Builder::once_within`](crate::Builder::once_within) says, less what retention has
    /// removed. A repeat is told where the first went ([`Appended::repeated`](crate::Appended::repeated)), and is asked
    /// nothing else, not even its other terms: so a caller who does not know whether an append went through may try again.
    ///
    /// However many threads try at once, one appends. Lock-free. Looks through the window, or, with an index of message ids,
    /// only where that leads.
    ///
    /// ```
    /// use annals::{AppendOptions, Expected, Indexes, Log, Message};
    ///
    /// let log = Log::builder().indexes(Indexes::new().message_ids()).build()?;
    /// let paid = || Message::builder("Paid").message_id("payment-7").build();
    /// let terms = AppendOptions::new().expected(Expected::NoStream).once();
    /// let first = log.append_with("order-1", paid()?, terms)?;
    /// let again = log.append_with("order-1", paid()?, terms)?;
    /// assert_eq!((first.repeated, again.repeated), (false, true));
    /// assert_eq!(first.position, again.position);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A message without an id is refused ([`AppendError::MissingMessageId`](crate::AppendError::MissingMessageId)).
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }
}

impl From<Expected> for AppendOptions<'_> {
    fn from(expected: Expected) -> Self {
        Self::new().expected(expected)
    }
}

impl<'c> From<&'c Condition> for AppendOptions<'c> {
    fn from(condition: &'c Condition) -> Self {
        Self::new().condition(condition)
    }
}
