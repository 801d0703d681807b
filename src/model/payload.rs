//! What a message carries.

use bytes::Bytes;
use std::fmt;

/// The content of a message: opaque bytes, borrowed or shared.
///
/// A borrowed slice is copied into the record when it is appended (up to 1,024 bytes without any allocation of its
/// own); [`Bytes`] are moved and never copied. Made with `into()` from `&[u8]`, `&str`, `&[u8; N]`, `Bytes`, `Vec<u8>`,
/// `String`.
#[derive(Clone)]
pub enum Payload<'a> {
    /// To be copied by the append.
    Slice(&'a [u8]),
    /// To be moved by the append.
    Bytes(Bytes),
}

impl Payload<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Slice(slice) => slice,
            Payload::Bytes(bytes) => bytes,
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The same payload without borrowing; copies a slice.
    pub fn into_owned(self) -> Payload<'static> {
        Payload::Bytes(match self {
            Payload::Slice(slice) => Bytes::copy_from_slice(slice),
            Payload::Bytes(bytes) => bytes,
        })
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Payload<'_> {}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(slice: &'a [u8]) -> Self {
        Payload::Slice(slice)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(slice: &'a [u8; N]) -> Self {
        Payload::Slice(slice)
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    fn from(text: &'a str) -> Self {
        Payload::Slice(text.as_bytes())
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Payload::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Payload::Bytes(bytes.into())
    }
}

impl From<String> for Payload<'_> {
    fn from(text: String) -> Self {
        Payload::Bytes(text.into())
    }
}
