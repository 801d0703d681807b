//! Events, aggregates, decisions.

mod aggregates;
mod bank;
mod events;
mod projections;
mod races;
