//! Floor 3: who is told of what is appended.

mod bus;
mod door;
mod keyed;
mod outcome;
mod set;
mod waiting;

pub use bus::{Bus, BusSubscription, Key, Published};
pub use outcome::Outcome;
