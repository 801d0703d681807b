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
}

impl Condition {
    /// No envelope in the log matches `query`.
    pub fn none(query: Query) -> Self {
        Self { query, after: Position::NONE }
    }

    /// No envelope after `position` matches.
    #[must_use]
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        self.after = position.into();
        self
    }

    /// What must not be there.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The position after which it must not be there.
    pub fn position(&self) -> Position {
        self.after
    }
}
