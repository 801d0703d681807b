//! Floor 4, beside the store: state as the sum of what happened.
//!
//! An [`Event`] is a value that a message carries. An [`Aggregate`] is what a stream of them comes to, by a reducer without
//! side effects. [`Aggregates`] loads one from any [`EventStore`](crate::store::EventStore), as it is or as it was, decides on
//! it, and appends what was decided if nothing happened meanwhile; else it folds what it missed and decides again.
//!
//! A [`Projection`] is made of the events of the whole store. It is folded before an append returns, or follows at its own pace.
//!
//! Nothing is kept beside the store but [snapshots](Aggregates::snapshots), and those only save reading: what is appended is
//! decided by the stream's revision, so a snapshot can be old, and cannot hide a conflict.
//!
//! A [`Service`] stores events and has them handled, by handlers that go on where they were.
//!
//! With the feature `testing`, `given` tests a decision without a store.

mod aggregate;
mod aggregates;
mod checkpoints;
#[cfg(feature = "durable")]
mod disk_checkpoints;
mod error;
mod event;
mod first_use;
#[cfg(feature = "testing")]
mod given;
mod handler;
mod new_event;
mod progress;
mod projection;
mod reading;
mod service;
mod service_builder;
mod snapshots;
mod worker;

/// Makes an enum, or a struct, an [`Event`](trait@Event). Feature `derive`.
///
/// Each variant is an event, called what the variant is called or what `name` says. Its payload is what the codec makes of its
/// fields, whose types are what [`serde`] can serialize and deserialize: an object of named fields, a list of several without
/// names, the value of a single one, nothing of none. The codec is [`Json`](crate::store::codec::Json), unless the type says
/// `codec`.
///
/// - `#[event(name = "…")]` on a variant, or on a struct: what it is called. Keep it when the variant is renamed.
/// - `#[event(schema = 2, upcast(1 = old))]`: the shape it has now, and the function `fn(&[u8]) -> Result<Self, E>` that reads a
///   payload of an older shape. One that nobody reads is an error, not another event.
/// - `#[event(tag)]` on a field: a tag of the event, `field:value`; with `tag = "atm"` it is `atm:value`.
/// - `#[event(codec = path)]` on the type: a [`Codec`](crate::store::codec::Codec), as an expression of a constant.
/// - `#[serde(…)]` on a field: what serde is told of it.
///
/// ```
/// use annals::sourcing::{Event, Recorded};
///
/// #[derive(Event, Debug, PartialEq)]
/// enum Account {
///     #[event(name = "AccountOpened")]
///     Opened { owner: String },
///     // Withdrawals were bare numbers once.
///     #[event(schema = 2, upcast(1 = bare))]
///     Withdrawn {
///         cents: u64,
///         #[event(tag)]
///         atm: String,
///     },
///     Closed,
/// }
///
/// fn bare(payload: &[u8]) -> Result<Account, Box<dyn std::error::Error + Send + Sync>> {
///     Ok(Account::Withdrawn { cents: str::from_utf8(payload)?.parse()?, atm: "unknown".to_owned() })
/// }
///
/// let message = Account::Withdrawn { cents: 7, atm: "north".to_owned() };
/// let message = message.message()?;
/// assert_eq!((message.name(), message.payload()), ("Withdrawn", &br#"{"cents":7,"atm":"north"}"#[..]));
/// assert_eq!(message.tags().collect::<Vec<_>>(), ["atm:north"]);
/// let old = Recorded { name: "Withdrawn", schema: 1, payload: b"7" };
/// assert_eq!(Account::decode(old)?, Some(Account::Withdrawn { cents: 7, atm: "unknown".to_owned() }));
/// # Ok::<(), annals::store::BackendError>(())
/// ```
///
/// What it cannot be is told at compile time: two variants of one name,
///
/// ```compile_fail
/// #[derive(annals::sourcing::Event)]
/// enum Twice { #[event(name = "B")] A, B }
/// ```
///
/// a name that is none,
///
/// ```compile_fail
/// #[derive(annals::sourcing::Event)]
/// #[event(name = "")]
/// struct Nameless;
/// # fn main() { annals::sourcing::Event::name(&Nameless); }
/// ```
///
/// generic parameters, for which one name would stand,
///
/// ```compile_fail
/// #[derive(annals::sourcing::Event)]
/// struct Of<T>(T);
/// ```
///
/// an older schema that is not older,
///
/// ```compile_fail
/// #[derive(annals::sourcing::Event)]
/// #[event(schema = 2, upcast(2 = old))]
/// struct Renewed;
/// fn old(_: &[u8]) -> Result<Renewed, std::fmt::Error> { Ok(Renewed) }
/// ```
///
/// and what no attribute says.
///
/// ```compile_fail
/// #[derive(annals::sourcing::Event)]
/// #[event(nmae = "A")]
/// struct A;
/// ```
#[cfg(feature = "derive")]
pub use annals_derive::Event;

pub use aggregate::{Aggregate, At, Loaded};
pub use aggregates::{Aggregates, Decided};
pub use checkpoints::{Checkpoint, Checkpoints, InvalidCheckpoint, NoCheckpoints, StoreCheckpoints};
#[cfg(feature = "durable")]
pub use disk_checkpoints::DiskCheckpoints;
pub use error::{
    DecideError, DecodeFailure, DispatchError, InvalidEvent, InvalidService, LoadError, NoSuchHandler, StartError,
};
pub use event::{Event, Recorded, SCHEMA};
#[cfg(feature = "testing")]
pub use given::{Given, When, given};
pub use handler::{Parked, Retry};
pub use new_event::{CREATED_BY, EventBuilder, Events, NewEvent};
pub use progress::HandlerStatus;
pub use projection::{Passed, ProjectError, Projected, Projection, Projector, projection, projection_from};
/// What the code that [`derive@Event`] makes writes and reads with.
#[cfg(feature = "derive")]
#[doc(hidden)]
pub use serde;
pub use service::{Consistency, Service};
pub use service_builder::{HandlerWork, ServiceBuilder};
#[cfg(any(loom, annals_shuttle))]
#[doc(hidden)]
pub use {first_use::FirstUse, progress::Progress};
