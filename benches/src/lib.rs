//! What the benchmarks share: the record, the rivals, and how a measurement is made.
//!
//! A [`measure::Group`] is one piece of work, done by us and by rivals. The criterion benches and the table run the same
//! groups, so that both tell of the same thing.

pub mod by_hand;
pub mod disk;
pub mod groups;
pub mod load;
pub mod measure;
pub mod memory;
#[cfg(feature = "published")]
pub mod published;
pub mod report;
pub mod rivals;
