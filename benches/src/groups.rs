//! The groups: what is measured.

pub mod append;
pub mod bus;
pub mod contention;
pub mod durable;
pub mod filter;
pub mod following;
pub mod message_store;
#[cfg(feature = "published")]
pub mod published;
pub mod read;
pub mod sourcing;
pub mod store;
pub mod subscribers;
