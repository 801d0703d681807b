//! What a store promises beyond the contract, and what it knows of itself.

use std::fmt;

use crate::model::{Position, Timestamp};

/// What a store may do without, by law L19: whatever is not declared here is promised by every store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Positions are 1, 2, 3, … without gaps. Without it they only increase.
    DensePositions,
    /// Append conditions, decided exactly.
    Conditions,
    /// Batches over several streams.
    ManyStreams,
    /// Envelopes have the time at which they were stored, and reads select by it.
    Times,
    /// What is before a position can be removed.
    Truncation,
    /// Statistics count commands and events apart.
    Kinds,
    /// Appends that happen once, by message id: [`AppendOptions::once`](crate::AppendOptions::once).
    Once,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DensePositions => "dense positions",
            Self::Conditions => "append conditions",
            Self::ManyStreams => "batches over several streams",
            Self::Times => "times",
            Self::Truncation => "truncation",
            Self::Kinds => "counts of commands and events",
            Self::Once => "appends that happen once",
        })
    }
}

/// What a store declares: a set of [`Capability`].
///
/// ```
/// use annals::store::{Capabilities, Capability};
///
/// let without = Capabilities::all().without(Capability::DensePositions);
/// assert!(!without.has(Capability::DensePositions) && without.has(Capability::Conditions));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Everything there is.
    pub const fn all() -> Self {
        Self(u32::MAX)
    }

    /// All but one.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u32))
    }

    /// Whether it is declared.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u32) != 0
    }
}

/// What a store knows of itself. Exact when nothing is appended meanwhile; none: the store does not count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Envelopes that are kept.
    pub messages: u64,
    /// Of which commands.
    pub commands: Option<u64>,
    /// Of which events.
    pub events: Option<u64>,
    /// Streams that have been written, those removed included.
    pub streams: u64,
    /// Sessions that were opened, those ended included. A message store counts them; elsewhere none.
    pub sessions: Option<u64>,
    /// Bytes of memory in use for envelopes, as of about now.
    pub memory: Option<u64>,
    /// The time of the oldest envelope that is kept.
    pub oldest: Option<Timestamp>,
    /// The time of the newest.
    pub newest: Option<Timestamp>,
    /// The position of the last envelope, kept or not.
    pub end: Position,
}
