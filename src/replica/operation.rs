//! What an operation is known by.

use std::fmt;

use crate::sync::StdArc;

/// The id of an operation on a key: of a write that somebody proposed, and an authority carries out or rejects.
///
/// Any text; whoever proposes chooses one that nobody has used. The authority tells by it what it has seen before, the proposer
/// what an update contains.
///
/// ```
/// use annals::replica::{OperationId, Update};
///
/// let update = Update::new(7, 1_250).operation("till-3/41");
/// assert_eq!(*update.operations, [OperationId::from("till-3/41")]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(StdArc<str>);

impl OperationId {
    /// The id of this text.
    pub fn new(text: impl Into<StdArc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for OperationId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for OperationId {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
