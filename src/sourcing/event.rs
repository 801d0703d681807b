//! Values that messages carry.

use std::borrow::Cow;

use super::error::{DecodeFailure, InvalidEvent};
use crate::log::Envelope;
use crate::model::{Message, Name, Payload};
use crate::store::BackendError;

/// The header that says which shape a payload has; without it, 1.
pub const SCHEMA: &str = "schema";

/// A value that is recorded as a message: what it is called there, and how it becomes a payload and comes back.
///
/// The name is chosen, not derived from a path in Rust: it stays when the type moves or is renamed. A payload whose shape has
/// changed gets a higher [`schema`](Self::schema); `decode` is told which shape it finds, and makes of an older one what it
/// would be today.
///
/// What is decoded from what was encoded must be the same value: an aggregate that decided is kept as if it had been loaded.
///
/// ```
/// use annals::Name;
/// use annals::sourcing::{Event, Recorded};
/// use annals::store::BackendError;
///
/// #[derive(Debug, PartialEq)]
/// enum Account {
///     Deposited { cents: u64 },
///     Closed,
/// }
///
/// impl Event for Account {
///     fn name(&self) -> Name<'static> {
///         match self {
///             Self::Deposited { .. } => const { Name::from_static("Deposited") },
///             Self::Closed => const { Name::from_static("Closed") },
///         }
///     }
///
///     // Deposits were in whole units once.
///     fn schema(&self) -> u32 {
///         if matches!(self, Self::Deposited { .. }) { 2 } else { 1 }
///     }
///
///     fn encode(&self) -> Result<annals::Payload<'_>, BackendError> {
///         match self {
///             Self::Deposited { cents } => Ok(cents.to_le_bytes().to_vec().into()),
///             Self::Closed => Ok("".into()),
///         }
///     }
///
///     fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
///         let number = || recorded.payload.try_into().map(u64::from_le_bytes);
///         Ok(match (recorded.name, recorded.schema) {
///             ("Deposited", 1) => Some(Self::Deposited { cents: number()? * 100 }),
///             ("Deposited", _) => Some(Self::Deposited { cents: number()? }),
///             ("Closed", _) => Some(Self::Closed),
///             _ => None,
///         })
///     }
/// }
///
/// let message = Account::Deposited { cents: 150 }.message()?;
/// assert_eq!((message.name(), message.payload()[0]), ("Deposited", 150));
/// let old = Recorded { name: "Deposited", schema: 1, payload: &7u64.to_le_bytes() };
/// assert_eq!(Account::decode(old)?, Some(Account::Deposited { cents: 700 }));
/// # Ok::<(), BackendError>(())
/// ```
pub trait Event: Sized {
    /// What it is called.
    fn name(&self) -> Name<'static>;

    /// Which shape its payload has, from 1 on.
    fn schema(&self) -> u32 {
        1
    }

    /// Its tags.
    fn tags(&self) -> Vec<Cow<'_, str>> {
        Vec::new()
    }

    /// Its payload.
    ///
    /// # Errors
    /// When the value cannot be said.
    fn encode(&self) -> Result<Payload<'_>, BackendError>;

    /// The value of what was recorded; none when it is an event of another type, which whoever folds passes over.
    ///
    /// # Errors
    /// When the payload is not what the name says.
    fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError>;

    /// The message that carries it.
    ///
    /// # Errors
    /// [`InvalidEvent`].
    fn message(&self) -> Result<Message<'_>, InvalidEvent> {
        let refused = |source| InvalidEvent { name: self.name().as_str().into(), source };
        let payload = self.encode().map_err(refused)?;
        let (tags, schema) = (self.tags(), self.schema());
        let message = if tags.is_empty() && schema == 1 {
            Message::event(self.name(), payload)
        } else {
            let mut builder = Message::builder(self.name().as_str().to_owned()).payload(payload);
            if schema != 1 {
                builder = builder.header(SCHEMA, schema.to_string());
            }
            tags.into_iter().fold(builder, crate::model::MessageBuilder::tag).build()
        };
        message.map_err(|invalid| refused(invalid.into()))
    }

    /// The value of an envelope; none when it is an event of another type.
    ///
    /// # Errors
    /// [`DecodeFailure`] names the envelope.
    fn of(envelope: &Envelope) -> Result<Option<Self>, DecodeFailure> {
        let decoded = schema_of(envelope)
            .and_then(|schema| Self::decode(Recorded { name: envelope.name(), schema, payload: envelope.payload() }));
        decoded.map_err(|source| DecodeFailure {
            position: envelope.position(),
            stream: envelope.stream().into(),
            name: envelope.name().into(),
            source,
        })
    }
}

/// An event as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded<'e> {
    /// What it is called.
    pub name: &'e str,
    /// Which shape its payload has.
    pub schema: u32,
    /// The payload.
    pub payload: &'e [u8],
}

fn schema_of(envelope: &Envelope) -> Result<u32, BackendError> {
    match envelope.headers().find(|(key, _)| *key == SCHEMA) {
        None => Ok(1),
        Some((_, schema)) => Ok(schema.parse().map_err(|_| format!("its schema is {schema:?}, which is no number"))?),
    }
}
