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
//! With the feature `testing`, `given` tests a decision without a store.

mod aggregate;
mod aggregates;
mod error;
mod event;
#[cfg(feature = "testing")]
mod given;
mod projection;
mod snapshots;

pub use aggregate::{Aggregate, At, Loaded};
pub use aggregates::{Aggregates, Decided};
pub use error::{DecideError, DecodeFailure, InvalidEvent, LoadError};
pub use event::{Event, Recorded, SCHEMA};
#[cfg(feature = "testing")]
pub use given::{Given, When, given};
pub use projection::{Passed, ProjectError, Projected, Projection, Projector, projection, projection_from};
