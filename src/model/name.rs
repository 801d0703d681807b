//! Names: of messages, streams, tags, ids. One rule for all of them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use super::error::InvalidName;

/// The longest name that any log accepts, in bytes of UTF-8. A log's limits may be lower.
pub(crate) const MAX_BYTES: usize = 255;

/// A valid name: 1 to 255 bytes of UTF-8 without control characters (Unicode category Cc).
///
/// A `Name` is checked once, when it is made; messages built from it are not checked again. Names of message types are
/// usually constants, checked by the compiler:
///
/// ```
/// use annals::{Message, Name};
///
/// const DEPOSITED: Name = Name::from_static("Deposited");
/// let message = Message::event(DEPOSITED, "100")?;
/// # Ok::<(), annals::InvalidMessage>(())
/// ```
#[derive(Clone)]
pub struct Name<'a>(Text<'a>);

/// Constants are told from what merely borrows, so that owning them costs nothing.
#[derive(Clone)]
enum Text<'a> {
    Constant(&'static str),
    Any(Cow<'a, str>),
}

impl<'a> Name<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty, longer than 255 bytes, or has a control character.
    pub fn new(name: impl Into<Cow<'a, str>>) -> Result<Self, InvalidName> {
        let name = name.into();
        check(&name)?;
        Ok(Self(Text::Any(name)))
    }

    /// The same name without borrowing; allocates when it was borrowed and is no constant.
    pub fn into_owned(self) -> Name<'static> {
        Name(match self.0 {
            Text::Constant(name) => Text::Constant(name),
            Text::Any(name) => Text::Any(Cow::Owned(name.into_owned())),
        })
    }

    /// The same name, borrowed.
    pub(crate) fn lend(&self) -> Name<'_> {
        Name(Text::Any(Cow::Borrowed(self.as_str())))
    }

    /// Whether it has memory of its own.
    #[inline]
    pub(crate) fn is_owned(&self) -> bool {
        matches!(self.0, Text::Any(Cow::Owned(_)))
    }

    /// The name as text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Constant(name) => name,
            Text::Any(name) => name,
        }
    }
}

impl Name<'static> {
    /// Checks a name at compile time when used for a constant.
    ///
    /// # Panics
    /// When the name is not valid; in a constant that is a compile error.
    pub const fn from_static(name: &'static str) -> Self {
        match check_const(name) {
            Ok(()) => Self(Text::Constant(name)),
            Err(InvalidName::Empty) => panic!("a name must not be empty"),
            Err(InvalidName::TooLong { .. }) => panic!("a name has at most 255 bytes"),
            Err(InvalidName::ControlCharacter { .. }) => panic!("a name must not have control characters"),
        }
    }
}

impl Deref for Name<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name<'_> {}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl<'a> TryFrom<&'a str> for Name<'a> {
    type Error = InvalidName;

    fn try_from(name: &'a str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl TryFrom<String> for Name<'_> {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl<'a> TryFrom<&'a String> for Name<'a> {
    type Error = InvalidName;

    fn try_from(name: &'a String) -> Result<Self, InvalidName> {
        Self::new(name.as_str())
    }
}

impl<'a> From<&'a Name<'_>> for Name<'a> {
    fn from(name: &'a Name<'_>) -> Self {
        Self(match &name.0 {
            Text::Constant(name) => Text::Constant(name),
            Text::Any(name) => Text::Any(Cow::Borrowed(name)),
        })
    }
}

impl<'a> From<Name<'a>> for Cow<'a, str> {
    fn from(name: Name<'a>) -> Self {
        match name.0 {
            Text::Constant(name) => Cow::Borrowed(name),
            Text::Any(name) => name,
        }
    }
}

/// The rule of [`Name`].
pub(crate) fn check(name: &str) -> Result<(), InvalidName> {
    check_const(name)
}

/// `const`, so that constants are checked by the compiler: hence bytes and no iterators. C0 controls and DEL are single
/// bytes, C1 controls are `C2 80` to `C2 9F`; nothing else is in category Cc.
const fn check_const(name: &str) -> Result<(), InvalidName> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Err(InvalidName::Empty);
    }
    if bytes.len() > MAX_BYTES {
        return Err(InvalidName::TooLong { bytes: bytes.len(), max: MAX_BYTES });
    }
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let c1 = byte == 0xC2 && bytes[at + 1] < 0xA0;
        if byte < 0x20 || byte == 0x7F || c1 {
            return Err(InvalidName::ControlCharacter { at });
        }
        at += 1;
    }
    Ok(())
}
