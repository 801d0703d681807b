//! An embeddable, lock-free event log.
//!
//! Append messages to streams. Every envelope gets a gapless global position and a gapless revision in its stream, and goes
//! to its subscribers, in order, before `append` returns. Readers never block and are never blocked. [`Log`] is where to begin.
//!
//! ```
//! use annals::{Expected, Log, Message};
//!
//! let log = Log::new();
//! log.append("account-1", Message::event("Opened", "")?)?;
//! log.append_with("account-1", Message::event("Deposited", "100")?, Expected::exactly(0))?;
//!
//! let late = log.append_with("account-1", Message::event("Deposited", "50")?, Expected::exactly(0));
//! assert_eq!(late.unwrap_err().to_string(), r#"stream "account-1" is at revision 1, expected at revision 0"#);
//!
//! for envelope in log.read() {
//!     println!("{} {}@{} {}", envelope.position(), envelope.stream(), envelope.revision(), envelope.name());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The house
//!
//! A module imports from the floors below its own, and from nothing above.
//!
//! | floor | module | what |
//! | --- | --- | --- |
//! | 5 | [`replica`] | the last value of a key, kept up to date by what is published to it, over any transport |
//! | 4 | [`sourcing`] | events as values, aggregates, decisions, projections, services |
//! | 4 | [`store`] | the interface of all backends; messages with sessions and filters; commands; values as payloads |
//! | 4 | `durable` | the log on disk: files, group commit, recovery (built with the feature `durable`) |
//! | 3 | `delivery` | subscribers, in order and inline; followers; the bus; metrics |
//! | 2 | `log` | slots, segments, streams, append, read, retention; the only `unsafe` |
//! | 1 | `model` | names, messages, expectations, conditions, queries, errors |
//! | 0 | `sync` | atomics and threads, from `std` or from loom |
//!
//! Where to begin with events and state: `guide`, from first event to replica (built with the feature `derive`).
//! How it works is told in `ARCHITECTURE.md` and at the heads of `src/log/mod.rs` and `src/delivery/mod.rs`.

mod delivery;
#[cfg(feature = "durable")]
pub mod durable;
mod log;
mod model;
pub mod replica;
pub mod sourcing;
pub mod store;
mod sync;

#[cfg(all(any(doc, doctest), feature = "derive"))]
#[doc = include_str!("guide.md")]
pub mod guide {}

pub use bytes;

/// The README's code is compiled and run with the tests of all features.
#[cfg(all(doctest, feature = "durable"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// What models need besides the public interface.
#[cfg(any(loom, annals_shuttle))]
#[doc(hidden)]
pub mod model_checking {
    #[cfg(feature = "durable")]
    pub use crate::log::Lease;
    pub use crate::log::{arm_reclamation, empty_quarantine, nearly_full_log};
    pub use crate::sync::stop::{ENTERED, FILLED, HELPING, MADE, MOVED, PUT, SWAPPED, at as stop_at};
}

pub use delivery::{
    Bus, BusSubscription, Feed, Followed, Follower, Items, Key, Metrics, NothingYet, OnFailure, Outcome, Published,
    SubscribeError, Subscription, SubscriptionMetrics, WaitError,
};
pub use log::{
    Ack, AppendError, AppendOptions, Appended, Appender, Batch, BatchAppended, BuildError, Builder, ConditionFailed,
    Conflict, Counts, Cursor, Envelope, EnvelopeError, EnvelopeSource, Envelopes, Indexes, Log, NotThereYet, OneStream,
    Read, Rejected, Stopped, Stream, StreamError, StreamInfo, Target, View, WholeLog,
};
pub use model::{
    Clock, Condition, Expected, Failure, Failures, HandlerError, Headers, InvalidMessage, InvalidName, Item, Kind,
    Limit, LimitExceeded, Limits, Message, MessageBuilder, Name, Part, Payload, Position, Query, Retention, Revision,
    Tags, Timestamp,
};
