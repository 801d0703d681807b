//! The two numbers every envelope has.

use std::fmt;

/// The place of an envelope in the log: 1, 2, 3, … without gaps.
///
/// [`Position::NONE`] (zero) means "nothing yet": the end of an empty log, or a reader that has read nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// Before the first envelope.
    pub const NONE: Self = Self(0);
    /// The first envelope of every log.
    pub const FIRST: Self = Self(1);
    /// No envelope is ever at or after this position.
    pub const MAX: Self = Self(u64::MAX);

    /// Wraps a number. Any number is a position; the log says whether an envelope is there.
    pub const fn new(position: u64) -> Self {
        Self(position)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one; [`Position::MAX`] stays where it is.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The place of an envelope in its stream: 0, 1, 2, … without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// The first envelope of every stream.
    pub const FIRST: Self = Self(0);
    /// No envelope ever has this revision.
    pub const MAX: Self = Self(u64::MAX);

    /// Wraps a number. Any number is a revision; the stream says whether an envelope is there.
    pub const fn new(revision: u64) -> Self {
        Self(revision)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one; [`Revision::MAX`] stays where it is.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

macro_rules! number {
    ($name:ident) => {
        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl PartialEq<u64> for $name {
            fn eq(&self, other: &u64) -> bool {
                self.0 == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number!(Position);
number!(Revision);
