//! The groups: what is measured.

pub mod append;
pub mod bus;
pub mod contention;
pub mod following;
#[cfg(feature = "published")]
pub mod published;
pub mod read;
pub mod subscribers;
