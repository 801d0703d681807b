//! The contract of event stores, and whether the suite that holds stores against it can tell.
#![allow(clippy::pedantic, reason = "tests are read, not called")]

mod broken;
mod contract;
mod json;
mod lockstep;
mod programs;
mod shelf;
