//! What a replica knows at one instant.

use std::fmt;

use crate::sync::StdArc;

/// How the value of a replica stands to what was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// There is no value yet, or it is known that the value is not the last one, or a refetch failed, or the replica was
    /// disposed of.
    #[default]
    Stale,
    /// The value is the last one that is known of.
    Live,
    /// What came last could not be read: it has another schema, or did not parse.
    Skew,
}

/// What a replica did with what it received. Counts only go up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStatistics {
    /// Values that became the replica's: updates, seeds and refetched ones.
    pub applied: u64,
    /// Updates that were not newer than the value at hand.
    pub ignored: u64,
    /// Updates that came when one before them was missing.
    pub gaps: u64,
    /// Values that did not parse.
    pub parse_errors: u64,
    /// Values with another major number of their schema than the one expected.
    pub schema_skews: u64,
    /// Refetches that were begun.
    pub refetches: u64,
    /// Refetches that failed or brought nothing.
    pub failed_refetches: u64,
    /// Seeds, and what refetches brought, that were older than the value at hand, and dropped.
    pub outdated: u64,
}

/// What a replica knows, all of it at the same instant.
#[non_exhaustive]
pub struct Snapshot<T> {
    /// The last good value; none when there has been none.
    pub value: Option<StdArc<T>>,
    /// The schema of the value, as its publisher wrote it.
    pub schema: Option<StdArc<str>>,
    /// The sequence of the value; none when there is none, or when it says nothing any more (after
    /// [`rebase`](super::Replica::rebase)).
    pub sequence: Option<u64>,
    /// How the value stands to what was published.
    pub status: Status,
    /// What parsing or refetching said when it failed last; none when a value has been applied since.
    pub reason: Option<StdArc<str>>,
    /// Whether a refetch is in flight.
    pub is_refetching: bool,
    /// Whether the replica was disposed of: nothing here changes any more.
    pub is_disposed: bool,
    /// What it did so far.
    pub statistics: ReplicaStatistics,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), schema: self.schema.clone(), reason: self.reason.clone(), ..*self }
    }
}

impl<T: fmt::Debug> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("value", &self.value)
            .field("schema", &self.schema)
            .field("sequence", &self.sequence)
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("is_refetching", &self.is_refetching)
            .field("is_disposed", &self.is_disposed)
            .field("statistics", &self.statistics)
            .finish()
    }
}
