//! What an appender expects of a stream.

use super::number::Revision;

/// What must be true of a stream at the instant an append takes effect (law L5).
///
/// Decided exactly: the append is refused if and only if the expectation is false at that instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Expected {
    /// Nothing: append in any case.
    #[default]
    Any,
    /// The stream has never been written.
    NoStream,
    /// The stream has been written, at whatever revision.
    Exists,
    /// The last envelope of the stream has this revision. (Truncation does not change it.)
    Exactly(Revision),
}

impl Expected {
    /// Shorthand for [`Expected::Exactly`].
    pub const fn exactly(revision: u64) -> Self {
        Self::Exactly(Revision::new(revision))
    }

    /// Whether a stream whose last revision is `actual` (none: never written) meets the expectation.
    pub fn admits(self, actual: Option<Revision>) -> bool {
        match self {
            Expected::Any => true,
            Expected::NoStream => actual.is_none(),
            Expected::Exists => actual.is_some(),
            Expected::Exactly(revision) => actual == Some(revision),
        }
    }

    /// The first revision that a caller with this expectation has not seen: what a conflict hands over starts here.
    pub(crate) fn first_unseen(self) -> Revision {
        match self {
            Expected::Exactly(revision) => revision.next(),
            Expected::Any | Expected::NoStream | Expected::Exists => Revision::FIRST,
        }
    }
}
