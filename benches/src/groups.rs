//! The groups: what is measured.

pub mod append;
pub mod contention;
pub mod read;
