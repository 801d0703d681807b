//! What to read and what to follow, as values that any backend understands.

use crate::log::Envelope;
use crate::model::{Position, Query, Revision, Timestamp};

/// What to read, and in which order: of the whole store or of one stream.
///
/// Everything is included until a setter leaves it out. Bounds are inclusive unless they say `after`; bounds that lie
/// outside of what is there select what is inside. A stream that was never written reads as empty.
///
/// Of all that the bounds and the query select, [`last`](Self::last) keeps what is nearest to the end, the direction gives
/// the order, and [`first`](Self::first) counts off in that order. The fields are what a backend reads; [`pick`](Self::pick)
/// says in ten lines what they mean.
///
/// ```
/// use annals::store::{MessageStore, Select, block_on, iterate};
/// use annals::{Message, Query};
///
/// let store = MessageStore::new();
/// for n in 0..10u8 {
///     block_on(store.save("numbers", Message::event(if n % 2 == 0 { "Even" } else { "Odd" }, &[n])?))?;
/// }
/// let odd = Select::stream("numbers").matching(Query::name("Odd")?).last(2);
/// let numbers: Vec<_> = iterate(store.read(odd)).map(|envelope| envelope.unwrap().payload()[0]).collect();
/// assert_eq!(numbers, [7, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a selection does nothing until it is read"]
pub struct Select {
    /// Of this stream only.
    pub stream: Option<Box<str>>,
    /// The first position.
    pub from: Position,
    /// The last position.
    pub to: Position,
    /// The first revision. Of a stream only: in the whole store revisions select nothing out.
    pub from_revision: Revision,
    /// The last revision.
    pub to_revision: Revision,
    /// Not recorded before this time. An envelope without a time is not selected.
    pub since: Option<Timestamp>,
    /// Not recorded after this time. As for `since`.
    pub until: Option<Timestamp>,
    /// Only envelopes that match.
    pub query: Option<Query>,
    /// The last one first.
    pub backwards: bool,
    /// No more than so many, in the direction of the read.
    pub first: Option<u64>,
    /// Only so many, those nearest to the end.
    pub last: Option<u64>,
}

impl Default for Select {
    fn default() -> Self {
        Self::all()
    }
}

impl Select {
    /// The whole store.
    pub fn all() -> Self {
        Self {
            stream: None,
            from: Position::NONE,
            to: Position::MAX,
            from_revision: Revision::FIRST,
            to_revision: Revision::MAX,
            since: None,
            until: None,
            query: None,
            backwards: false,
            first: None,
            last: None,
        }
    }

    /// One stream.
    pub fn stream(id: impl Into<Box<str>>) -> Self {
        Self { stream: Some(id.into()), ..Self::all() }
    }

    /// Not before this position.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.from = position.into();
        self
    }

    /// Only after this position.
    pub fn after(self, position: impl Into<Position>) -> Self {
        self.from(position.into().next())
    }

    /// Not after this position.
    pub fn to(mut self, position: impl Into<Position>) -> Self {
        self.to = position.into();
        self
    }

    /// Not before this revision. Of a stream only: in the whole store it changes nothing.
    pub fn from_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.from_revision = revision.into();
        self
    }

    /// Not after this revision. As for [`from_revision`](Self::from_revision).
    pub fn to_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.to_revision = revision.into();
        self
    }

    /// Not recorded before this time.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Not recorded after this time.
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// Only envelopes that match.
    pub fn matching(mut self, query: Query) -> Self {
        self.query = Some(query);
        self
    }

    /// The last one first.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// No more than the first `count`, in the direction of the read.
    pub fn first(mut self, count: u64) -> Self {
        self.first = Some(count);
        self
    }

    /// Of all that is selected, only the `count` nearest to the end; the direction stays.
    pub fn last(mut self, count: u64) -> Self {
        self.last = Some(count);
        self
    }

    /// Whether stream, bounds and query let an envelope through: everything but the counts.
    pub fn admits(&self, envelope: &Envelope) -> bool {
        (self.from..=self.to).contains(&envelope.position())
            && self.stream.as_deref().is_none_or(|stream| {
                stream == envelope.stream() && (self.from_revision..=self.to_revision).contains(&envelope.revision())
            })
            && self.since.is_none_or(|since| envelope.time().is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| envelope.time().is_some_and(|time| time <= until))
            && self.query.as_ref().is_none_or(|query| envelope.matches(query))
    }

    /// The selection as it is defined, of all that is there in order of position. For backends that keep little, and for
    /// tests of those that keep much: looks at every envelope.
    pub fn pick(&self, there: impl IntoIterator<Item = Envelope>) -> Vec<Envelope> {
        let mut picked: Vec<_> = there.into_iter().filter(|envelope| self.admits(envelope)).collect();
        if let Some(last) = self.last {
            let surplus = picked.len().saturating_sub(usize::try_from(last).unwrap_or(usize::MAX));
            picked.drain(..surplus);
        }
        if self.backwards {
            picked.reverse();
        }
        if let Some(first) = self.first {
            picked.truncate(usize::try_from(first).unwrap_or(usize::MAX));
        }
        picked
    }
}

/// What to follow, and from where on: of the whole store or of one stream. Without any setting: what takes effect from now
/// on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
#[must_use = "this does nothing until it is followed"]
pub struct Follow {
    /// This stream only.
    pub stream: Option<Box<str>>,
    /// From the first envelope after this position; none: from now on.
    pub after: Option<Position>,
    /// Only envelopes that match.
    pub query: Option<Query>,
}

impl Follow {
    /// The whole store.
    pub fn all() -> Self {
        Self::default()
    }

    /// One stream. It need not have been written yet.
    pub fn stream(id: impl Into<Box<str>>) -> Self {
        Self { stream: Some(id.into()), ..Self::all() }
    }

    /// From the first envelope after a position: where one left off. After [`Position::NONE`]: everything.
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        self.after = Some(position.into());
        self
    }

    /// Only envelopes that match.
    pub fn matching(mut self, query: Query) -> Self {
        self.query = Some(query);
        self
    }
}
