//! Logs on disk.
#![allow(clippy::pedantic, reason = "tests are read, not called")]

mod backup;
mod basics;
mod checkpoints;
mod contract;
mod lockstep;
mod retention;
