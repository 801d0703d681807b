//! Values as payloads: what [`serde`] can serialize, as JSON, in the format of bincode or in that of postcard.
//!
//! A log knows payloads as bytes. A [`Codec`] makes them of values and values of them; which one is the application's
//! choice, and a codec of its own is two methods. Each of those here needs a feature of its name; the trait alone, the
//! feature `serde`.

use std::error::Error;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::log::Envelope;
use crate::model::Position;

/// How values become payloads, and payloads values.
///
/// `decode` takes what `encode` gives, and gives an equal value back. Of any other bytes it makes a value or an error, and
/// never panics; how much it allocates is bounded by how much it was given. What that does not cover is the value's type:
/// the format of one that contains itself has no end, and a sequence of values that take no bytes has as many as it says.
/// Don't decode such types from bytes that others write, unless with [`Json`].
pub trait Codec {
    /// What can go wrong.
    type Error: Error + Send + Sync + 'static;

    /// The payload of a value.
    ///
    /// # Errors
    /// When the format has no way to say what the value is, or the value refuses.
    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, Self::Error>;

    /// The value of a payload, of all of it.
    ///
    /// # Errors
    /// When the payload is no such value, or goes on after it.
    fn decode<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, Self::Error>;

    /// The value of an envelope's payload.
    ///
    /// # Errors
    /// [`DecodeError`] names the envelope, and has the error of [`decode`](Self::decode).
    fn decode_envelope<T: DeserializeOwned>(&self, envelope: &Envelope) -> Result<T, DecodeError<Self::Error>> {
        self.decode(envelope.payload()).map_err(|cause| DecodeError {
            position: envelope.position(),
            stream: envelope.stream().into(),
            name: envelope.name().into(),
            cause,
        })
    }
}

/// An envelope whose payload is not what it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the payload of {name:?} at position {position} in stream {stream:?} cannot be decoded: {cause}")]
#[non_exhaustive]
pub struct DecodeError<E> {
    /// Where the envelope is.
    pub position: Position,
    /// The stream that it is in.
    pub stream: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// What is wrong with its payload.
    pub cause: E,
}

/// What the codecs of this module report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value cannot be said in this format.
    #[error("the value cannot be encoded: {0}")]
    Encode(#[source] Box<dyn Error + Send + Sync>),
    /// The bytes are no such value.
    #[error("the bytes cannot be decoded: {0}")]
    Decode(#[source] Box<dyn Error + Send + Sync>),
    /// The bytes are more than the value.
    #[error("{bytes} bytes are left over after the value")]
    #[non_exhaustive]
    LeftOver {
        /// How many too many.
        bytes: usize,
    },
    /// There are more bytes than this codec decodes.
    #[error("{bytes} bytes are more than the {max} that are decoded")]
    #[non_exhaustive]
    TooLong {
        /// How many there are.
        bytes: usize,
        /// How many it decodes.
        max: usize,
    },
}

impl CodecError {
    #[cfg(any(feature = "json", feature = "bincode", feature = "postcard"))]
    fn encode(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Encode(Box::new(error))
    }

    #[cfg(any(feature = "json", feature = "bincode", feature = "postcard"))]
    fn decode(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Decode(Box::new(error))
    }
}

/// The value, when it took all bytes.
#[cfg(any(feature = "bincode", feature = "postcard"))]
fn all_of<T>(value: T, left: usize) -> Result<T, CodecError> {
    if left == 0 { Ok(value) } else { Err(CodecError::LeftOver { bytes: left }) }
}

/// JSON, by `serde_json`. Values may be nested 127 levels deep.
///
/// A double that is infinite or not a number is encoded as `null`, which is no double when it is decoded: JSON has none.
///
/// ```
/// use annals::store::codec::{Codec, Json};
/// use annals::{Log, Message};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Deposited {
///     amount: u64,
/// }
///
/// let log = Log::new();
/// let deposited = Deposited { amount: 100 };
/// log.append("account-1", Message::event("Deposited", Json.encode(&deposited)?)?)?;
/// for envelope in log.read_stream("account-1") {
///     assert_eq!(Json.decode_envelope::<Deposited>(&envelope)?, deposited);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

#[cfg(feature = "json")]
impl Codec for Json {
    type Error = CodecError;

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, CodecError> {
        serde_json::to_vec(value).map(Bytes::from).map_err(CodecError::encode)
    }

    fn decode<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(payload).map_err(CodecError::decode)
    }
}

/// The format of bincode 2, with its standard configuration: small, and not self-describing. Decodes at most 128 MiB.
///
/// The crate is no longer maintained; for new payloads there is [`Postcard`]. A text that claims to be longer than the
/// payload is refused, but only after as much was allocated for it: 1 MiB at most, for payloads of more than 64 KiB 32 MiB, of more than
/// 2 MiB 2 GiB.
#[cfg(feature = "bincode")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bincode;

#[cfg(feature = "bincode")]
impl Bincode {
    const LONGEST: usize = 1 << 27;

    /// bincode allocates what a text claims to have, up to a limit that is constant. The limit is also of what the decoded
    /// values would take with a fixed size each, which is up to 16 times what they take.
    fn take<T: DeserializeOwned>(payload: &[u8]) -> Result<(T, usize), CodecError> {
        use bincode::config::standard;
        use bincode::serde::borrow_decode_from_slice as take;
        let bytes = payload.len();
        if bytes > Self::LONGEST {
            return Err(CodecError::TooLong { bytes, max: Self::LONGEST });
        }
        let taken = if bytes <= 1 << 16 {
            take(payload, standard().with_limit::<{ 1 << 20 }>())
        } else if bytes <= 1 << 21 {
            take(payload, standard().with_limit::<{ 1 << 25 }>())
        } else {
            take(payload, standard().with_limit::<{ 1 << 31 }>())
        };
        taken.map_err(CodecError::decode)
    }
}

#[cfg(feature = "bincode")]
impl Codec for Bincode {
    type Error = CodecError;

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, CodecError> {
        let encoded = bincode::serde::encode_to_vec(value, bincode::config::standard());
        encoded.map(Bytes::from).map_err(CodecError::encode)
    }

    fn decode<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, CodecError> {
        let (value, taken) = Self::take(payload)?;
        all_of(value, payload.len() - taken)
    }
}

/// The format of postcard 1: small, specified, and not self-describing.
#[cfg(feature = "postcard")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Postcard;

#[cfg(feature = "postcard")]
impl Codec for Postcard {
    type Error = CodecError;

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, CodecError> {
        postcard::to_allocvec(value).map(Bytes::from).map_err(CodecError::encode)
    }

    fn decode<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, CodecError> {
        let (value, rest) = postcard::take_from_bytes(payload).map_err(CodecError::decode)?;
        all_of(value, rest.len())
    }
}
