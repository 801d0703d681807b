//! Floor 4: stores of messages, over a [`Log`](crate::Log) or any other backend.
//!
//! [`EventStore`] is what every backend does, as futures and streams that need no runtime; the log does it as it is. What to
//! read is a [`Select`], what to follow a [`Follow`]: plain values. [`MessageStore`] has over that what applications ask for:
//! sessions, filters, counts, a reset. [`CommandBus`] brings commands to their handlers, and what these answer into a store.
//!
//! With the feature `testing`, `conformance` holds any implementation against the contract.

#[cfg(feature = "json")]
mod base64;
mod block_on;
mod capabilities;
mod command_bus;
mod error;
mod event_store;
mod filter;
mod message_store;
mod on_log;
mod select;
mod session;
mod sessions;
mod stamped;

#[cfg(feature = "serde")]
pub mod codec;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "json")]
pub mod ndjson;

pub use block_on::{Iterate, block_on, iterate};
pub use capabilities::{Capabilities, Capability, Statistics};
pub use command_bus::{AlreadyHandled, CommandBus, DispatchError};
pub use error::{AppendFailure, BackendError, ConditionMatched, ReadFailure, StreamConflict, TruncateFailure};
pub use event_store::{EventStore, RefusedBatch, RefusedMessage};
pub use filter::Filter;
pub use message_store::{MessageStore, StoreBuilder};
pub use select::{Follow, Select};
pub use session::Session;
pub use sessions::{SessionError, SessionInfo};
