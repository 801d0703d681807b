//! What is published to a key.

use std::str::FromStr;

use thiserror::Error;

use super::operation::OperationId;
use crate::sync::StdArc;

/// A value as it is published to a key: with its place in the order of that key's values, and the schema it is written in.
///
/// Whether something is missing before it, is repeated, or comes late, is for the consumer to see: transports look at none of
/// this.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Update<V> {
    /// What is published.
    pub value: V,
    /// The schema of the value, such as `2.1`; none when its publisher does not say. See [`Schema`].
    pub schema: Option<StdArc<str>>,
    /// Its place among the values of its key: each value that replaces another has the number after it.
    pub sequence: u64,
    /// Operations that the value contains, as far as its publisher says: an update tells which it carries out; a seed, or what
    /// a refetch brings, the last ones that the source remembers. Who proposed one of them takes it as confirmed.
    pub operations: StdArc<[OperationId]>,
}

impl<V> Update<V> {
    /// A value without a schema, and without operations.
    pub fn new(sequence: u64, value: V) -> Self {
        Self { value, schema: None, sequence, operations: StdArc::default() }
    }

    /// The same, written in this schema. Any text: what is not a [`Schema`] is carried along, and compared with nothing.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<StdArc<str>>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// The same, said to contain this operation.
    #[must_use]
    pub fn operation(self, id: impl Into<OperationId>) -> Self {
        self.with_operations([id.into()])
    }

    /// The same, said to contain these operations and no others.
    #[must_use]
    pub fn with_operations(mut self, ids: impl IntoIterator<Item = OperationId>) -> Self {
        self.operations = ids.into_iter().collect();
        self
    }

    /// The same with another value.
    pub(crate) fn with<U>(&self, value: U) -> Update<U> {
        Update { value, schema: self.schema.clone(), sequence: self.sequence, operations: self.operations.clone() }
    }
}

/// The schema that values are written in: numbers that only grow. Another major number means values that cannot be read as
/// those of this one; another minor number, that they can.
///
/// As text: one to three decimal numbers with dots between them, of which the first is the major number, and whatever follows
/// a `-` or a `+`. So `2`, `2.1`, `2.1.0` and `2.1.0-rc.1` have the major number 2.
///
/// ```
/// use annals::replica::Schema;
///
/// assert_eq!("2.1".parse::<Schema>()?.major(), 2);
/// assert!("two".parse::<Schema>().is_err());
/// # Ok::<(), annals::replica::InvalidSchema>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Schema {
    major: u64,
}

/// A text that is not a [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not a schema: one to three numbers with dots between them")]
#[non_exhaustive]
pub struct InvalidSchema {
    /// The text.
    pub text: Box<str>,
}

impl Schema {
    /// The schema with this major number, whatever its minor one.
    pub fn new(major: u64) -> Self {
        Self { major }
    }

    /// The major number.
    pub fn major(self) -> u64 {
        self.major
    }
}

impl FromStr for Schema {
    type Err = InvalidSchema;

    fn from_str(text: &str) -> Result<Self, InvalidSchema> {
        let invalid = || InvalidSchema { text: text.into() };
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers.splitn(4, '.').map(str::parse::<u64>);
        let major = numbers.next().and_then(Result::ok).ok_or_else(invalid)?;
        let is_whole = numbers.by_ref().take(2).all(|number| number.is_ok()) && numbers.next().is_none();
        if is_whole { Ok(Self { major }) } else { Err(invalid()) }
    }
}
