//! What a stream of events comes to.

use super::error::LoadError;
use super::event::Event;
use crate::log::Envelope;
use crate::model::{Position, Revision, Timestamp};
use crate::store::Select;

/// State that is the sum of the events of one stream.
///
/// The default is the state before the first event. Cloning is what a snapshot costs.
pub trait Aggregate: Clone + Default + Send + Sync + 'static {
    /// What happens to it.
    type Event: Event + Send + Sync;

    /// The category of its streams: the aggregate `7` of category `account` is the stream `account-7`.
    const CATEGORY: &'static str;

    /// The reducer: what an event makes of the state. Depends on nothing else, and refuses nothing: it happened.
    fn apply(&mut self, event: &Self::Event);
}

/// The stream of an aggregate.
pub(super) fn stream_of<A: Aggregate>(id: &str) -> String {
    format!("{}-{id}", A::CATEGORY)
}

/// An aggregate as it is after some revision.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// The state.
    pub state: A,
    /// The last revision that is in it; none when there was no event.
    pub revision: Option<Revision>,
}

impl<A: Aggregate> Loaded<A> {
    /// The revision of the event that comes next.
    pub(super) fn next(&self) -> Revision {
        self.revision.map_or(Revision::FIRST, Revision::next)
    }

    /// Folds an envelope of the stream. It is the next one, or those between were removed.
    #[inline]
    pub(super) fn fold(&mut self, envelope: &Envelope) -> Result<(), LoadError> {
        let (found, expected) = (envelope.revision(), self.next());
        if found != expected {
            return Err(LoadError::Removed { stream: envelope.stream().into(), expected, found });
        }
        if let Some(event) = A::Event::of(envelope)? {
            self.state.apply(&event);
        }
        self.revision = Some(found);
        Ok(())
    }
}

/// A place in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum At {
    /// With everything up to this position of the store.
    Position(Position),
    /// With everything up to this revision of the stream.
    Revision(Revision),
    /// With everything recorded up to this time, by the store's clock.
    Time(Timestamp),
}

impl At {
    pub(super) fn bound(self, select: Select) -> Select {
        match self {
            Self::Position(position) => select.to(position),
            Self::Revision(revision) => select.to_revision(revision),
            Self::Time(time) => select.until(time),
        }
    }
}

impl From<Position> for At {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

impl From<Revision> for At {
    fn from(revision: Revision) -> Self {
        Self::Revision(revision)
    }
}

impl From<Timestamp> for At {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}
