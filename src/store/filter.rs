//! What a message store reads across its streams.

use super::select::Select;
use crate::model::{InvalidName, Item, Kind, Position, Query, Timestamp};

/// The session of what was saved without one.
pub(super) const NO_SESSION: &str = "no-session";

/// Which messages: those for which everything that is asked for holds. Without any setting: all.
///
/// An empty list of names, an empty stream, session, correlation or request id ask for nothing. Bounds are inclusive; times
/// are the store's, not the messages' own.
///
/// ```
/// use annals::store::{Filter, MessageStore, block_on, iterate};
/// use annals::Message;
///
/// let store = MessageStore::new();
/// for name in ["Placed", "Paid", "Placed", "Sent"] {
///     block_on(store.save("orders", Message::event(name, "")?))?;
/// }
/// let filter = Filter::new().names(["Placed", "Sent"])?.count(2);
/// let names: Vec<_> = iterate(store.read_all(&filter)).map(|it| it.unwrap().name().to_owned()).collect();
/// assert_eq!(names, ["Placed", "Sent"], "the two most recent, in order");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a filter does nothing until it is read with"]
pub struct Filter {
    item: Item,
    kind: Option<Kind>,
    session: Option<Box<str>>,
    bounds: Select,
}

impl Filter {
    /// Everything, until it is narrowed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this kind. Reads of all commands and of all events ask for their own kind instead.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// One of these names, or one given before. None given: any name.
    ///
    /// # Errors
    /// [`InvalidName`] when no message can have such a name.
    pub fn names<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Result<Self, InvalidName> {
        for name in names {
            self.item = self.item.name(name)?;
        }
        Ok(self)
    }

    /// Only this stream.
    pub fn stream(mut self, id: &str) -> Self {
        self.bounds.stream = given(id).map(Into::into);
        self
    }

    /// Only this session; `no-session`: what was saved without one.
    pub fn session(mut self, id: &str) -> Self {
        self.session = given(id).map(Into::into);
        self
    }

    /// Only this correlation id, or one given before.
    pub fn correlation(mut self, id: &str) -> Self {
        if let Some(id) = given(id) {
            self.item = self.item.correlation(id);
        }
        self
    }

    /// Only this request id, or one given before.
    pub fn request(mut self, id: &str) -> Self {
        if let Some(id) = given(id) {
            self.item = self.item.request(id);
        }
        self
    }

    /// A payload with this value of a field: see [`Item::field`]. Needs the feature `json`.
    #[cfg(feature = "json")]
    pub fn field(mut self, key: &str, value: &serde_json::Value) -> Self {
        self.item = self.item.field(key, value);
        self
    }

    /// A payload that is a JSON object or array: see [`Item::any_object`]. Needs the feature `json`.
    #[cfg(feature = "json")]
    pub fn any_object(mut self) -> Self {
        self.item = self.item.any_object();
        self
    }

    /// Not before this position.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.bounds = self.bounds.from(position);
        self
    }

    /// Not after this position.
    pub fn to(mut self, position: impl Into<Position>) -> Self {
        self.bounds = self.bounds.to(position);
        self
    }

    /// Not stored before this time.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.bounds = self.bounds.since(time);
        self
    }

    /// Not stored after this time.
    pub fn until(mut self, time: Timestamp) -> Self {
        self.bounds = self.bounds.until(time);
        self
    }

    /// The most recent `count` of what matches; 0: all. The order stays.
    pub fn count(mut self, count: u64) -> Self {
        self.bounds.last = (count > 0).then_some(count);
        self
    }

    /// No more than the first `count` of what matches, in the direction of the read.
    pub fn first(mut self, count: u64) -> Self {
        self.bounds = self.bounds.first(count);
        self
    }

    /// The last one first.
    pub fn backwards(mut self) -> Self {
        self.bounds = self.bounds.backwards();
        self
    }

    /// What it selects, for any store.
    pub fn select(&self) -> Select {
        self.of_kind(self.kind)
    }

    /// What it selects of one kind, whatever its own.
    pub(super) fn of_kind(&self, kind: Option<Kind>) -> Select {
        self.select_of(kind, self.session.as_deref())
    }

    /// What it selects of one session, whatever its own.
    pub(super) fn of_session(&self, session: &str) -> Select {
        self.select_of(self.kind, Some(session))
    }

    fn select_of(&self, kind: Option<Kind>, session: Option<&str>) -> Select {
        let mut item = self.item.clone();
        if let Some(kind) = kind {
            item = item.kind(kind);
        }
        let query = match session {
            Some(NO_SESSION) => Query::all().or(item.clone().no_session()).or(item.session(NO_SESSION)),
            Some(id) => Query::all().or(item.session(id)),
            None if item == Item::default() => return self.bounds.clone(),
            None => Query::all().or(item),
        };
        self.bounds.clone().matching(query)
    }
}

/// An empty text asks for nothing.
fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
