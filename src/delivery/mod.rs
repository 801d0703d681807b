//! Floor 3: who is told of what is appended.

mod door;
mod keyed;
mod set;
mod waiting;
