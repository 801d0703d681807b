//! Events, aggregates, decisions.

mod aggregates;
mod bank;
#[cfg(feature = "derive")]
mod derived;
mod events;
mod projections;
mod races;
