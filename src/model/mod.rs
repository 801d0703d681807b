//! Floor 1: the words of the log as types. Plain values, no concurrency, no input or output.
//!
//! What may be said is decided here (names, expectations, conditions, queries); when it is decided and what it costs
//! is the business of the floor above.

mod attributes;
mod condition;
mod error;
mod expected;
mod failure;
#[cfg(feature = "json")]
mod json;
mod limits;
mod message;
mod name;
mod number;
mod payload;
mod query;
mod retention;
mod time;

pub use attributes::{Headers, Tags};
pub use condition::Condition;
pub use error::{InvalidMessage, InvalidName, Limit, LimitExceeded, Part};
pub use expected::Expected;
pub use failure::{Failure, Failures, HandlerError};
pub use limits::Limits;
pub use message::{Kind, Message, MessageBuilder};
pub use name::Name;
pub use number::{Position, Revision};
pub use payload::Payload;
pub use query::{Item, Query};
pub use retention::Retention;
pub use time::{Clock, Timestamp};

pub(crate) use attributes::{Attributes, Extra, Id, encode, encoded_len};
pub(crate) use message::Parts;
pub(crate) use name::check as check_name;
pub(crate) use query::{Field, Recorded, category_of};
