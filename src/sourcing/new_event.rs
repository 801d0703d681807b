//! Events that are about to be dispatched, and who gives them their ids.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use super::error::InvalidEvent;
use super::event::Event;
use crate::model::{Expected, Message, MessageBuilder, Payload, Timestamp};
use crate::sync::StdArc;

/// The header that says who created an event.
pub const CREATED_BY: &str = "created-by";

/// An event that is not stored yet: a message, and for which stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewEvent<'e> {
    /// The stream.
    pub stream: Cow<'e, str>,
    /// What is stored.
    pub message: Message<'e>,
    /// What the stream must be like.
    pub expected: Expected,
}

impl<'e> NewEvent<'e> {
    /// A message for a stream, whatever that is like.
    pub fn new(stream: impl Into<Cow<'e, str>>, message: Message<'e>) -> Self {
        Self { stream: stream.into(), message, expected: Expected::Any }
    }

    /// What the stream must be like. The version of an aggregate is the revision of its last event: who expects one is refused,
    /// with the stream's name, when somebody else was faster.
    #[must_use]
    pub fn expected(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }
}

type Ids = StdArc<dyn Fn() -> String + Send + Sync>;
type Now = StdArc<dyn Fn() -> Timestamp + Send + Sync>;

/// Makes events of one type of aggregate, each with an id of its own and the time at which it was made.
///
/// Where ids and times come from is injected: tests give numbers.
///
/// ```
/// use annals::sourcing::Events;
/// use annals::Timestamp;
///
/// let events = Events::new("account", || "id-1".to_owned()).clock(|| Timestamp::from_nanos(7));
/// let event = events.named("Opened").aggregate("ada").by("clerk").payload("{}").build()?;
/// assert_eq!((&*event.stream, event.message.message_id()), ("account-ada", Some("id-1")));
/// assert_eq!(event.message.own_time(), Some(Timestamp::from_nanos(7)));
/// # Ok::<(), annals::sourcing::InvalidEvent>(())
/// ```
#[derive(Clone)]
pub struct Events {
    aggregate_type: StdArc<str>,
    event_ids: Ids,
    aggregate_ids: Ids,
    now: Now,
}

impl Events {
    /// Events of aggregates of a type, which is the category of their streams. `ids` gives ids that are never given twice: to
    /// events, and to aggregates that are given none.
    pub fn new(aggregate_type: impl Into<StdArc<str>>, ids: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let ids: Ids = StdArc::new(ids);
        Self {
            aggregate_type: aggregate_type.into(),
            event_ids: ids.clone(),
            aggregate_ids: ids,
            now: StdArc::new(|| SystemTime::now().into()),
        }
    }

    /// With UUIDs of version 7 as ids: 48 bits of milliseconds, then 74 random ones, so that later ids are mostly greater.
    #[cfg(feature = "uuid")]
    pub fn uuid_v7(aggregate_type: impl Into<StdArc<str>>) -> Self {
        Self::new(aggregate_type, || uuid::Uuid::now_v7().to_string())
    }

    /// Where the ids of aggregates come from, when not from where those of events do.
    #[must_use]
    pub fn aggregate_ids(self, ids: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { aggregate_ids: StdArc::new(ids), ..self }
    }

    /// What says the time. Without this: the system's clock.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: StdArc::new(now), ..self }
    }

    /// An event by its name.
    pub fn named<'e>(&self, name: impl Into<Cow<'e, str>>) -> EventBuilder<'e> {
        let name = name.into();
        self.begin(name.as_ref().into(), Message::builder(name))
    }

    /// A typed event.
    ///
    /// # Errors
    /// [`InvalidEvent`] when it cannot be recorded.
    pub fn event<'e>(&self, event: &'e impl Event) -> Result<EventBuilder<'e>, InvalidEvent> {
        let message = event.message()?;
        Ok(self.begin(message.name().into(), message.into_builder()))
    }

    fn begin<'e>(&self, name: Box<str>, message: MessageBuilder<'e>) -> EventBuilder<'e> {
        let message = message.message_id((self.event_ids)()).own_time((self.now)());
        EventBuilder { events: self.clone(), name, message, aggregate: None, expected: Expected::Any }
    }
}

/// An event that is being made.
#[must_use = "a builder does nothing until `build`"]
pub struct EventBuilder<'e> {
    events: Events,
    name: Box<str>,
    message: MessageBuilder<'e>,
    aggregate: Option<Cow<'e, str>>,
    expected: Expected,
}

impl<'e> EventBuilder<'e> {
    /// Of which aggregate. Without this: of a new one.
    pub fn aggregate(mut self, id: impl Into<Cow<'e, str>>) -> Self {
        self.aggregate = Some(id.into());
        self
    }

    /// Another id than the one it was given.
    pub fn id(self, id: impl Into<Cow<'e, str>>) -> Self {
        self.with(|message| message.message_id(id))
    }

    /// Another time than that of its making.
    pub fn created_at(self, time: Timestamp) -> Self {
        self.with(|message| message.own_time(time))
    }

    /// Who creates it: the header [`CREATED_BY`].
    pub fn by(self, who: impl Into<Cow<'e, str>>) -> Self {
        self.metadata(CREATED_BY, who)
    }

    /// A header, passed through as it is.
    pub fn metadata(self, key: impl Into<Cow<'e, str>>, value: impl Into<Cow<'e, str>>) -> Self {
        self.with(|message| message.header(key, value))
    }

    /// The payload, of an event by its name.
    pub fn payload(self, payload: impl Into<Payload<'e>>) -> Self {
        self.with(|message| message.payload(payload))
    }

    /// What the aggregate must be like: see [`NewEvent::expected`].
    pub fn expected(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }

    /// The event.
    ///
    /// # Errors
    /// [`InvalidEvent`] when a part of it is not valid.
    pub fn build(self) -> Result<NewEvent<'e>, InvalidEvent> {
        let message = self.message.build();
        let message = message.map_err(|invalid| InvalidEvent { name: self.name, source: invalid.into() })?;
        let id = self.aggregate.unwrap_or_else(|| (self.events.aggregate_ids)().into());
        let stream = format!("{}-{id}", self.events.aggregate_type);
        Ok(NewEvent { stream: stream.into(), message, expected: self.expected })
    }

    fn with(self, change: impl FnOnce(MessageBuilder<'e>) -> MessageBuilder<'e>) -> Self {
        Self { message: change(self.message), ..self }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("aggregate_type", &self.aggregate_type).finish_non_exhaustive()
    }
}

impl fmt::Debug for EventBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBuilder").field("message", &self.message).finish_non_exhaustive()
    }
}
