//! The tests of the whole log, through its public face.
#![allow(clippy::pedantic, reason = "tests are read, not called")]

mod bad_input;
mod bus;
mod command_bus;
mod corpus;
mod counts;
mod delivery;
mod delivery_model;
mod delivery_program;
mod delivery_stress;
mod face;
mod history;
mod house;
mod info;
mod isolation;
mod linearizable;
mod lockstep;
mod message_store;
mod model;
mod once;
mod program;
mod properties;
mod retention;
mod sessions;
mod source;
mod stress;
