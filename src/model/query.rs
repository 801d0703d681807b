//! What to look for, in a read or in an append condition.

use super::attributes::Id;
use super::error::InvalidName;
#[cfg(feature = "json")]
use super::json::Fields;
use super::message::Kind;
use super::name::check;

/// Which envelopes: those that match at least one of its items. A query without items matches every envelope.
///
/// The shape is that of the Dynamic Consistency Boundary specification (dcb.events): items are OR-ed; in an item the
/// names are OR-ed, the tags are AND-ed. An item may further ask for streams (OR-ed), categories (OR-ed), correlation ids
/// or their prefixes (OR-ed), request ids (OR-ed), session ids (OR-ed), message ids (OR-ed) and a kind; all that an item
/// asks for must hold.
///
/// ```
/// use annals::{Item, Query};
///
/// let query = Query::all()
///     .or(Item::new().name("CourseDefined")?.tag("course:c1")?)
///     .or(Item::new().name("StudentEnrolled")?.tag("course:c1")?.tag("student:s7")?);
/// # Ok::<(), annals::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Query {
    items: Vec<Item>,
}

/// One alternative of a [`Query`]. An item that asks for nothing matches every envelope.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Item {
    kind: Option<Kind>,
    streams: Vec<Box<str>>,
    categories: Vec<Box<str>>,
    names: Vec<Box<str>>,
    tags: Vec<Box<str>>,
    correlations: Vec<Box<str>>,
    correlation_prefixes: Vec<Box<str>>,
    requests: Vec<Box<str>>,
    sessions: Vec<Box<str>>,
    no_session: bool,
    message_ids: Vec<Box<str>>,
    #[cfg(feature = "json")]
    fields: Option<Fields>,
}

impl Query {
    /// Every envelope, until an item narrows it.
    pub fn all() -> Self {
        Self::default()
    }

    /// Adds an alternative.
    #[must_use]
    pub fn or(mut self, item: Item) -> Self {
        self.items.push(item);
        self
    }

    /// Envelopes with this tag.
    ///
    /// # Errors
    /// [`InvalidName`] when no message can have such a tag.
    pub fn tag(tag: &str) -> Result<Self, InvalidName> {
        Ok(Self::all().or(Item::new().tag(tag)?))
    }

    /// Envelopes with this name.
    ///
    /// # Errors
    /// [`InvalidName`] when no message can have such a name.
    pub fn name(name: &str) -> Result<Self, InvalidName> {
        Ok(Self::all().or(Item::new().name(name)?))
    }

    /// Envelopes of this stream.
    ///
    /// # Errors
    /// [`InvalidName`] when no stream can have such an id.
    pub fn stream(stream: &str) -> Result<Self, InvalidName> {
        Ok(Self::all().or(Item::new().stream(stream)?))
    }

    /// Envelopes of the streams of this category.
    ///
    /// # Errors
    /// [`InvalidName`] when no stream can be in such a category.
    pub fn category(category: &str) -> Result<Self, InvalidName> {
        Ok(Self::all().or(Item::new().category(category)?))
    }

    /// Envelopes with this correlation id.
    pub fn correlation(id: &str) -> Self {
        Self::all().or(Item::new().correlation(id))
    }

    /// Envelopes with a correlation id that begins so.
    pub fn correlation_prefix(prefix: &str) -> Self {
        Self::all().or(Item::new().correlation_prefix(prefix))
    }

    /// Envelopes with this request id.
    pub fn request(id: &str) -> Self {
        Self::all().or(Item::new().request(id))
    }

    /// Envelopes with this session id.
    pub fn session(id: &str) -> Self {
        Self::all().or(Item::new().session(id))
    }

    /// Envelopes with this message id.
    pub fn message_id(id: &str) -> Self {
        Self::all().or(Item::new().message_id(id))
    }

    /// Envelopes of this kind.
    pub fn kind(kind: Kind) -> Self {
        Self::all().or(Item::new().kind(kind))
    }

    /// Its alternatives.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Whether it matches. Allocates nothing (but while it reads JSON, see there), calls nothing of the user's.
    #[inline(never)]
    pub(crate) fn matches(&self, recorded: &impl Recorded) -> bool {
        self.items.is_empty() || self.items.iter().any(|item| item.may_match(recorded) && item.matches_rest(recorded))
    }
}

impl Item {
    /// An item that asks for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this kind.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// This name, or another one given.
    ///
    /// # Errors
    /// [`InvalidName`] when no message can have such a name.
    pub fn name(self, name: &str) -> Result<Self, InvalidName> {
        self.with(name, |item| &mut item.names)
    }

    /// This tag, and every other one given.
    ///
    /// # Errors
    /// [`InvalidName`] when no message can have such a tag.
    pub fn tag(self, tag: &str) -> Result<Self, InvalidName> {
        self.with(tag, |item| &mut item.tags)
    }

    /// This stream, or another one given.
    ///
    /// # Errors
    /// [`InvalidName`] when no stream can have such an id.
    pub fn stream(self, stream: &str) -> Result<Self, InvalidName> {
        self.with(stream, |item| &mut item.streams)
    }

    /// Streams of this category, or of another one given: the part of the stream id before the first `-`, or all of it
    /// when there is none.
    ///
    /// # Errors
    /// [`InvalidName`] when no stream can be in such a category.
    pub fn category(self, category: &str) -> Result<Self, InvalidName> {
        self.with(category, |item| &mut item.categories)
    }

    /// This correlation id, or another one given, or one with a prefix given.
    #[must_use]
    pub fn correlation(mut self, id: &str) -> Self {
        self.correlations.push(id.into());
        self
    }

    /// A correlation id that begins so, or one given, or one with another prefix given. Envelopes without a correlation id do
    /// not match, whatever the prefix.
    #[must_use]
    pub fn correlation_prefix(mut self, prefix: &str) -> Self {
        self.correlation_prefixes.push(prefix.into());
        self
    }

    /// This request id, or another one given.
    #[must_use]
    pub fn request(mut self, id: &str) -> Self {
        self.requests.push(id.into());
        self
    }

    /// This session id, or another one given.
    #[must_use]
    pub fn session(mut self, id: &str) -> Self {
        self.sessions.push(id.into());
        self
    }

    /// No session id. (Together with a session id given: nothing.)
    #[must_use]
    pub fn no_session(mut self) -> Self {
        self.no_session = true;
        self
    }

    /// This message id, or another one given.
    #[must_use]
    pub fn message_id(mut self, id: &str) -> Self {
        self.message_ids.push(id.into());
        self
    }

    /// A payload that is a JSON object or array, and has this value at this key. All fields given must be so. Needs the
    /// feature `json`.
    ///
    /// - A key is one of the top level, never a path. The keys of an array are its indices: `"0"` is the first value.
    /// - Values are of one sort: `"1"` is not `1`, and a key that is missing is not `null`.
    /// - Objects are equal when they have the same keys with equal values, arrays when they have equal values in the same
    ///   order. Of several values of one key the last one counts.
    /// - Numbers are equal by value, however they are written: `1`, `1.0` and `10e-1` are one. Integers of 64 bits are
    ///   exact, all others are doubles.
    /// - A payload that is no JSON does not match, whatever was asked for. JSON is what RFC 8259 says, in UTF-8, nested as
    ///   deep as it likes. A text with the escape of half of a surrogate pair is JSON, and equal to none.
    ///
    /// It costs a pass over the whole payload of each envelope for which all else that the item asks for holds, and one over
    /// a nested value for each level down to which it is compared.
    ///
    /// ```
    /// use annals::{Item, Log, Message, Query};
    /// use serde_json::json;
    ///
    /// let log = Log::new();
    /// log.append("order-1", Message::event("Placed", br#"{"total": 10.0, "lines": [1, 2]}"#)?)?;
    /// let found = |item: Item| log.read().matching(Query::all().or(item)).iter().count();
    /// assert_eq!(found(Item::new().field("total", &json!(10)).field("lines", &json!([1, 2]))), 1);
    /// assert_eq!(found(Item::new().field("total", &json!("10"))), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "json")]
    #[must_use]
    pub fn field(mut self, key: &str, value: &serde_json::Value) -> Self {
        self.fields.get_or_insert_default().add(key, value);
        self
    }

    /// A payload that is a JSON object or array, whatever is in it. Needs the feature `json`.
    #[cfg(feature = "json")]
    #[must_use]
    pub fn any_object(mut self) -> Self {
        self.fields.get_or_insert_default();
        self
    }

    fn with(mut self, text: &str, list: fn(&mut Self) -> &mut Vec<Box<str>>) -> Result<Self, InvalidName> {
        check(text)?;
        list(&mut self).push(text.into());
        Ok(self)
    }

    /// What mostly decides, the cheapest first. The rest apart, so that this needs few registers.
    #[inline]
    fn may_match(&self, recorded: &impl Recorded) -> bool {
        self.kind.is_none_or(|kind| kind == recorded.kind())
            && (self.names.is_empty() || one_of(&self.names, recorded.name().as_bytes()))
            && self.tags.iter().all(|tag| recorded.has_tag(tag))
    }

    /// All that [`may_match`](Self::may_match) does not ask.
    #[inline(never)]
    fn matches_rest(&self, recorded: &impl Recorded) -> bool {
        let id_of = |wanted: &[Box<str>], which| {
            wanted.is_empty() || recorded.id(which).is_some_and(|actual| one_of(wanted, actual))
        };
        (self.streams.is_empty() || one_of(&self.streams, recorded.stream().as_bytes()))
            && (self.categories.is_empty() || self.categories.iter().any(|it| is_in(recorded.stream(), it)))
            && self.matches_correlation(recorded)
            && id_of(&self.requests, Id::Request)
            && id_of(&self.sessions, Id::Session)
            && (!self.no_session || recorded.id(Id::Session).is_none())
            && id_of(&self.message_ids, Id::Message)
            && self.matches_fields(recorded)
    }

    /// The dearest question comes last.
    #[cfg(feature = "json")]
    fn matches_fields(&self, recorded: &impl Recorded) -> bool {
        self.fields.as_ref().is_none_or(|fields| fields.matches(recorded.payload()))
    }

    #[cfg(not(feature = "json"))]
    #[allow(clippy::unused_self)]
    fn matches_fields(&self, _: &impl Recorded) -> bool {
        true
    }

    fn matches_correlation(&self, recorded: &impl Recorded) -> bool {
        if self.correlations.is_empty() && self.correlation_prefixes.is_empty() {
            return true;
        }
        recorded.id(Id::Correlation).is_some_and(|id| {
            one_of(&self.correlations, id)
                || self.correlation_prefixes.iter().any(|prefix| id.starts_with(prefix.as_bytes()))
        })
    }
}

/// A field that an index can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Stream,
    Category,
    Name,
    /// All of them have to be there, of the others one.
    Tag,
    Correlation,
    Session,
    MessageId,
}

impl Item {
    /// What it asks for, as far as an index can answer.
    pub(crate) fn wishes(&self) -> [(Field, &[Box<str>]); 7] {
        // A prefix is another way to match.
        let correlations = if self.correlation_prefixes.is_empty() { &self.correlations[..] } else { &[] };
        [
            (Field::Stream, &self.streams),
            (Field::Category, &self.categories),
            (Field::Name, &self.names),
            (Field::Tag, &self.tags),
            (Field::Correlation, correlations),
            (Field::Session, &self.sessions),
            (Field::MessageId, &self.message_ids),
        ]
    }
}

#[inline]
fn one_of(wanted: &[Box<str>], actual: &[u8]) -> bool {
    wanted.iter().any(|wish| same(wish.as_bytes(), actual))
}

/// Whether a text is the one that is wanted. Texts of one length mostly begin alike and differ at their ends: so those are
/// compared first. Branches on what is wanted, which is the same for every record.
#[inline]
pub(crate) fn same(wanted: &[u8], actual: &[u8]) -> bool {
    match wanted.last_chunk::<8>() {
        Some(end) => wanted.len() == actual.len() && actual.last_chunk::<8>() == Some(end) && wanted == actual,
        None => wanted == actual,
    }
}

/// What a query looks at.
pub(crate) trait Recorded {
    fn kind(&self) -> Kind;
    fn stream(&self) -> &str;
    fn name(&self) -> &str;
    fn has_tag(&self, tag: &str) -> bool;
    fn id(&self, which: Id) -> Option<&[u8]>;
    #[cfg(feature = "json")]
    fn payload(&self) -> &[u8];
}

/// Whether a stream is in a category; without looking for the end of the category first.
fn is_in(stream: &str, category: &str) -> bool {
    let begins = stream.strip_prefix(category).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    begins && !category.contains('-')
}

/// The part of a stream id before the first `-`; the whole id when there is none.
pub(crate) fn category_of(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}
