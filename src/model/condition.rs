//! Append conditions, after the Dynamic Consistency Boundary specification (dcb.events).

use super::number::Position;
use super::query::Query;

/// An append goes through only if no envelope matches `query` after a position.
///
/// This is the *append condition* of the Dynamic Consistency Boundary specification: read what a decision depends on
/// with a query, remember the last position, and append under the condition that nothing matching was added since.
/// The position is exclusive; without one, no envelope in the log may match. Envelopes removed by retention are not
/// seen, as by any other reader.
///
/// ```
/// use annals::{Condition, Log, Message, Query};
///
/// let log = Log::new();
/// let seat = || Message::builder("SeatTaken").tag("seat:12A").build().unwrap();
/// let free = Condition::none(Query::tag("seat:12A")?);
/// assert!(log.append_with("booking-1", seat(), &free).is_ok());
/// assert!(log.append_with("booking-2", seat(), &free).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    query: Query,
    after: Position,
    and: Option<Box<Condition>>,
}

impl Condition {
    /// No envelope in the log matches `query`.
    pub fn none(query: Query) -> Self {
        Self { query, after: Position::NONE, and: None }
    }

    /// No envelope after `position` matches.
    #[must_use]
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        self.after = position.into();
        self
    }

    /// Adds another condition, with a position of its own: both must hold. Joining *n* conditions takes time in proportion to
    /// *n*.
    #[must_use]
    pub fn and(mut self, other: Condition) -> Self {
        let mut last = &mut self.and;
        while let Some(next) = last {
            last = &mut next.and;
        }
        *last = Some(Box::new(other));
        self
    }

    /// It and those that were added, in order.
    pub fn parts(&self) -> impl Iterator<Item = &Condition> {
        std::iter::successors(Some(self), |part| part.and.as_deref())
    }

    /// What must not be there. Of the first part.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The position after which it must not be there. Of the first part.
    pub fn position(&self) -> Position {
        self.after
    }
}
