//! A message: what is handed to the log, before it is recorded.

use std::borrow::Cow;

use super::attributes::{self, Attributes, Extra, Id};
use super::error::{InvalidMessage, InvalidName, Limit, LimitExceeded, Part};
use super::limits::Limits;
use super::name::Name;
use super::payload::Payload;
use super::time::Timestamp;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Something somebody wants done.
    Command,
    /// Something that happened.
    Event,
}

impl Kind {
    /// The kind of a message whose author did not say, from where it goes: a command when the stream id contains
    /// `command`, else an event when it contains `event` (both case-sensitive); else a command when it has a request id
    /// that is not empty; else an event.
    ///
    /// ```
    /// use annals::Kind;
    ///
    /// assert_eq!(Kind::infer("commands-of-events", None), Kind::Command);
    /// assert_eq!(Kind::infer("account-1", Some("request-7")), Kind::Command);
    /// assert_eq!(Kind::infer("account-1", None), Kind::Event);
    /// ```
    pub fn infer(stream: &str, request_id: Option<&str>) -> Self {
        Self::of_stream(stream).unwrap_or_else(|| Self::of_request(request_id))
    }

    fn of_stream(stream: &str) -> Option<Self> {
        if stream.contains("command") {
            return Some(Self::Command);
        }
        stream.contains("event").then_some(Self::Event)
    }

    fn of_request(request_id: Option<&str>) -> Self {
        if request_id.is_some_and(|id| !id.is_empty()) { Self::Command } else { Self::Event }
    }
}

/// A message to append: kind, name, payload; and, where wanted, an own timestamp, ids, tags and headers.
///
/// Names, payload and texts may be borrowed: the append copies what it keeps. A message is valid once it exists; only
/// the limits of the log it is appended to can still refuse it.
///
/// ```
/// use annals::Message;
///
/// let small = Message::event("Deposited", "100")?;
/// let large = Message::builder("Deposited")
///     .payload(br#"{"amount":100}"#)
///     .tag("account:42")
///     .correlation_id("order-7")
///     .header("content-type", "application/json")
///     .build()?;
/// assert_eq!(small.name(), large.name());
/// # Ok::<(), annals::InvalidMessage>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    kind: Kind,
    name: Name<'a>,
    payload: Payload<'a>,
    /// Boxed and absent in most messages, so that the common one stays small.
    extra: Option<Box<Extra<'a>>>,
}

/// A message taken apart by the log.
pub(crate) struct Parts<'m, 'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'m str,
    pub(crate) payload: &'m Payload<'a>,
    pub(crate) extra: Option<&'m Extra<'a>>,
}

impl<'a> Message<'a> {
    /// An event.
    ///
    /// # Errors
    /// [`InvalidMessage`] when the name is not valid, see [`Name`].
    #[inline]
    pub fn event<N>(name: N, payload: impl Into<Payload<'a>>) -> Result<Self, InvalidMessage>
    where
        N: TryInto<Name<'a>>,
        InvalidName: From<N::Error>,
    {
        Self::new(Kind::Event, name, payload.into())
    }

    /// A command.
    ///
    /// # Errors
    /// [`InvalidMessage`] when the name is not valid, see [`Name`].
    #[inline]
    pub fn command<N>(name: N, payload: impl Into<Payload<'a>>) -> Result<Self, InvalidMessage>
    where
        N: TryInto<Name<'a>>,
        InvalidName: From<N::Error>,
    {
        Self::new(Kind::Command, name, payload.into())
    }

    /// A command or an event, by the stream that it will be appended to: see [`Kind::infer`]. It has no request id; for one
    /// that has, see [`MessageBuilder::infer_kind`].
    ///
    /// # Errors
    /// [`InvalidMessage`] when the name is not valid, see [`Name`].
    pub fn inferred<N>(stream: &str, name: N, payload: impl Into<Payload<'a>>) -> Result<Self, InvalidMessage>
    where
        N: TryInto<Name<'a>>,
        InvalidName: From<N::Error>,
    {
        Self::new(Kind::infer(stream, None), name, payload.into())
    }

    #[inline]
    fn new<N>(kind: Kind, name: N, payload: Payload<'a>) -> Result<Self, InvalidMessage>
    where
        N: TryInto<Name<'a>>,
        InvalidName: From<N::Error>,
    {
        let name = name.try_into().map_err(|e| InvalidMessage::new(Part::Name, e.into()))?;
        Ok(Self { kind, name, payload, extra: None })
    }

    /// What was recorded, as a message; none when the name is not one.
    pub(crate) fn of_record(
        kind: Kind,
        name: &'a str,
        payload: Payload<'a>,
        attributes: Attributes<'a>,
    ) -> Option<Self> {
        let extra = if attributes.is_empty() { None } else { Some(Box::new(attributes.to_extra()?)) };
        Some(Self { kind, name: Name::new(name).ok()?, payload, extra })
    }

    /// Starts an event with more than a name and a payload.
    pub fn builder(name: impl Into<Cow<'a, str>>) -> MessageBuilder<'a> {
        MessageBuilder {
            kind: Said::Nothing,
            name: name.into(),
            payload: Payload::Slice(&[]),
            extra: Extra::default(),
            invalid: None,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its content.
    pub fn payload(&self) -> &[u8] {
        self.payload.as_slice()
    }

    /// Its own timestamp: kept as it is, beside the time at which the log records it.
    pub fn own_time(&self) -> Option<Timestamp> {
        self.extra.as_ref()?.time
    }

    /// The request that it belongs to.
    pub fn request_id(&self) -> Option<&str> {
        self.id(Id::Request)
    }

    /// The conversation that it belongs to.
    pub fn correlation_id(&self) -> Option<&str> {
        self.id(Id::Correlation)
    }

    /// The message that caused it.
    pub fn causation_id(&self) -> Option<&str> {
        self.id(Id::Causation)
    }

    /// The session that it belongs to.
    pub fn session_id(&self) -> Option<&str> {
        self.id(Id::Session)
    }

    /// Its own id.
    pub fn message_id(&self) -> Option<&str> {
        self.id(Id::Message)
    }

    fn id(&self, which: Id) -> Option<&str> {
        self.extra.as_ref()?.id(which)
    }

    /// Its tags, in the order they were given.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.extra.iter().flat_map(|extra| extra.tags.iter().map(Name::as_str))
    }

    /// A builder that has everything the message has, for adding to it or changing it.
    ///
    /// ```
    /// use annals::Message;
    ///
    /// let message = Message::event("Deposited", "100")?;
    /// let stamped = message.into_builder().session_id("session-7").build()?;
    /// assert_eq!((stamped.payload(), stamped.session_id()), (&b"100"[..], Some("session-7")));
    /// # Ok::<(), annals::InvalidMessage>(())
    /// ```
    pub fn into_builder(self) -> MessageBuilder<'a> {
        MessageBuilder {
            kind: Said::Kind(self.kind),
            name: self.name.into(),
            payload: self.payload,
            extra: self.extra.map_or_else(Extra::default, |extra| *extra),
            invalid: None,
        }
    }

    /// The same message without borrowing.
    pub fn into_owned(self) -> Message<'static> {
        Message {
            kind: self.kind,
            name: self.name.into_owned(),
            payload: self.payload.into_owned(),
            extra: self.extra.map(|extra| Box::new(extra.into_owned())),
        }
    }

    /// Makes a borrowed payload of more than `inline_max` bytes a shared one: the one copy it takes to record it.
    #[inline]
    pub(crate) fn share_payload(&mut self, inline_max: usize) {
        if let Payload::Slice(slice) = self.payload
            && slice.len() > inline_max
        {
            self.payload = Payload::Bytes(copy_of(slice));
        }
    }

    /// The message was recorded: its payload is the record's now, and no longer its own.
    #[inline]
    pub(crate) fn recorded(&mut self) {
        std::mem::forget(std::mem::replace(&mut self.payload, Payload::Slice(&[])));
    }

    /// Whether dropping it frees anything. Cheaper to ask than to drop what owns nothing.
    #[inline]
    pub(crate) fn owns_anything(&self) -> bool {
        self.name.is_owned() || self.extra.is_some() || matches!(self.payload, Payload::Bytes(_))
    }

    /// Gives it a session id, or takes it away.
    pub(crate) fn set_session(&mut self, id: Option<Name<'a>>) {
        self.set_id(Id::Session, id);
    }

    /// Gives it the request and correlation id of `cause`, where it has none of its own.
    pub(crate) fn inherit(&mut self, cause: &Message<'_>) {
        for which in [Id::Request, Id::Correlation] {
            if let (None, Some(id)) = (self.id(which), cause.extra.as_ref().and_then(|extra| extra.name(which))) {
                self.set_id(which, Some(id.clone().into_owned()));
            }
        }
    }

    fn set_id(&mut self, which: Id, id: Option<Name<'a>>) {
        let extra = self.extra.get_or_insert_default();
        extra.set_id(which, id);
        if **extra == Extra::default() {
            self.extra = None;
        }
    }

    /// The message, leaving an empty one.
    pub(crate) fn take(&mut self) -> Self {
        let empty = Self { kind: self.kind, name: Name::from_static("-"), payload: Payload::Slice(&[]), extra: None };
        std::mem::replace(self, empty)
    }

    #[inline]
    pub(crate) fn parts(&self) -> Parts<'_, 'a> {
        Parts { kind: self.kind, name: &self.name, payload: &self.payload, extra: self.extra.as_deref() }
    }

    /// Whether a log with these limits takes the message: everything that a log can have against it, found without
    /// appending it.
    ///
    /// # Errors
    /// The first limit that is exceeded.
    #[inline]
    pub fn check(&self, limits: &Limits) -> Result<(), LimitExceeded> {
        LimitExceeded::check(Limit::PayloadBytes, self.payload.len(), limits.payload_bytes)?;
        LimitExceeded::check(Limit::NameBytes, self.name.len(), limits.name_bytes)?;
        match &self.extra {
            None => Ok(()),
            Some(extra) => {
                LimitExceeded::check(Limit::MetadataBytes, attributes::encoded_len(extra), limits.metadata_bytes)
            }
        }
    }
}

impl Message<'_> {
    /// Whether [`check`](Self::check) has nothing against it.
    #[inline]
    pub(crate) fn is_within(&self, limits: &Limits) -> bool {
        self.payload.len() <= limits.payload_bytes
            && self.name.len() <= limits.name_bytes
            && (self.extra.is_none() || self.check(limits).is_ok())
    }
}

/// Out of the way of the small payloads.
#[inline(never)]
fn copy_of(slice: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(slice)
}

/// Builds a [`Message`]. The first thing that is not valid is reported by [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct MessageBuilder<'a> {
    kind: Said,
    name: Cow<'a, str>,
    payload: Payload<'a>,
    extra: Extra<'a>,
    invalid: Option<InvalidMessage>,
}

/// What a builder was told of the kind.
#[derive(Clone, Copy, Debug)]
enum Said {
    Nothing,
    Kind(Kind),
    /// To infer it: what the stream says, if anything.
    Infer(Option<Kind>),
}

impl<'a> MessageBuilder<'a> {
    /// Event (the default) or command. Wins over what is inferred, in whichever order they are called.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Said::Kind(kind);
        self
    }

    /// Command or event by [`Kind::infer`], from the stream that the message will be appended to and its request id, unless
    /// [`kind`](Self::kind) says which.
    pub fn infer_kind(mut self, stream: &str) -> Self {
        if !matches!(self.kind, Said::Kind(_)) {
            self.kind = Said::Infer(Kind::of_stream(stream));
        }
        self
    }

    /// The content; none by default.
    pub fn payload(mut self, payload: impl Into<Payload<'a>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The message's own timestamp: when it happened, whenever it is recorded.
    pub fn own_time(mut self, time: Timestamp) -> Self {
        self.extra.time = Some(time);
        self
    }

    /// The request that it belongs to.
    pub fn request_id(self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id(Id::Request, Part::RequestId, id.into())
    }

    /// The conversation that it belongs to.
    pub fn correlation_id(self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id(Id::Correlation, Part::CorrelationId, id.into())
    }

    /// The message that caused it.
    pub fn causation_id(self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id(Id::Causation, Part::CausationId, id.into())
    }

    /// The session that it belongs to: what one user or process does from one beginning to one end.
    pub fn session_id(self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id(Id::Session, Part::SessionId, id.into())
    }

    /// The message's own id. The log keeps it as it is, and does not ask whether another message has the same.
    pub fn message_id(self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id(Id::Message, Part::MessageId, id.into())
    }

    /// Adds a tag, for queries and conditions.
    pub fn tag(mut self, tag: impl Into<Cow<'a, str>>) -> Self {
        if let Some(tag) = self.checked(Part::Tag, tag.into()) {
            self.extra.tags.push(tag);
        }
        self
    }

    /// Adds a header. The value may be any text.
    pub fn header(mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        if let Some(key) = self.checked(Part::HeaderKey, key.into()) {
            self.extra.headers.push((key, value.into()));
        }
        self
    }

    /// The message.
    ///
    /// # Errors
    /// [`InvalidMessage`] names the first part that is not valid, and why.
    pub fn build(mut self) -> Result<Message<'a>, InvalidMessage> {
        let name = std::mem::take(&mut self.name);
        let name = Name::new(name).map_err(|reason| InvalidMessage::new(Part::Name, reason))?;
        if let Some(invalid) = self.invalid {
            return Err(invalid);
        }
        let kind = match self.kind {
            Said::Nothing => Kind::Event,
            Said::Kind(kind) => kind,
            Said::Infer(kind) => kind.unwrap_or_else(|| Kind::of_request(self.extra.id(Id::Request))),
        };
        let extra = (self.extra != Extra::default()).then(|| Box::new(self.extra));
        Ok(Message { kind, name, payload: self.payload, extra })
    }

    fn id(mut self, which: Id, part: Part, id: Cow<'a, str>) -> Self {
        if let Some(id) = self.checked(part, id) {
            self.extra.ids[which as usize] = Some(id);
        }
        self
    }

    fn checked(&mut self, part: Part, text: Cow<'a, str>) -> Option<Name<'a>> {
        match Name::new(text) {
            Ok(name) => Some(name),
            Err(reason) => {
                self.invalid.get_or_insert(InvalidMessage::new(part, reason));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFERRED: [(&str, Option<&str>, Kind); 14] = [
        ("command", None, Kind::Command),
        ("my-commands-1", Some(""), Kind::Command),
        ("event", None, Kind::Event),
        ("events", Some("r"), Kind::Event),
        ("prevented", Some("r"), Kind::Event),
        // The command is looked for first, wherever it is.
        ("event-command", None, Kind::Command),
        ("command-event", Some(""), Kind::Command),
        // Case counts.
        ("Command", None, Kind::Event),
        ("COMMAND", Some("r"), Kind::Command),
        ("Event", Some("r"), Kind::Command),
        ("comman-d", None, Kind::Event),
        ("account-1", None, Kind::Event),
        ("account-1", Some(""), Kind::Event),
        ("account-1", Some("r"), Kind::Command),
    ];

    /// The rule of who does not say what kind a message is: the stream, then the request id.
    #[test]
    fn kinds_are_inferred() {
        for (stream, request, kind) in INFERRED {
            assert_eq!(Kind::infer(stream, request), kind, "{stream} {request:?}");
            if request.is_none() {
                assert_eq!(Message::inferred(stream, "M", "").unwrap().kind(), kind, "{stream}");
            }
        }
    }

    /// A builder infers by the same rule, whether the request id comes before or after; what is said wins.
    #[test]
    fn builders_infer_kinds_unless_told() {
        for (stream, request, kind) in INFERRED {
            let builder = || Message::builder("M");
            let (after, before) = match request {
                Some("") => continue,
                Some(id) => (builder().infer_kind(stream).request_id(id), builder().request_id(id).infer_kind(stream)),
                None => (builder().infer_kind(stream), builder().infer_kind("command").infer_kind(stream)),
            };
            assert_eq!((after.clone().build().unwrap().kind(), before.clone().build().unwrap().kind()), (kind, kind));
            for said in [Kind::Command, Kind::Event] {
                assert_eq!(after.clone().kind(said).build().unwrap().kind(), said);
                let told = before.clone().kind(said).infer_kind(stream).build().unwrap();
                assert_eq!((told.kind(), told.into_builder().infer_kind(stream).build().unwrap().kind()), (said, said));
            }
        }
        assert_eq!(Message::builder("M").request_id("r").build().unwrap().kind(), Kind::Event, "not asked to infer");
    }
}
