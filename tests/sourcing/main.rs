//! Events, aggregates, decisions.

mod aggregates;
mod any_store;
mod bank;
mod checkpoints;
#[cfg(feature = "derive")]
mod derived;
mod events;
mod new_events;
mod projections;
mod races;
mod service;
mod service_ends;
