//! Replicas and transports: the contract of transports, and whether its suite can tell; the rules of the reconciler, one by one
//! and by random programs; replicas on threads; optimistic writes;
//! transactions; presence.
#![allow(clippy::pedantic, reason = "tests are read, not called")]

mod broken;
mod model;
mod offline;
mod optimistic;
mod post;
mod presence;
mod program;
mod programs;
mod rules;
mod shell;
mod transactions;
mod watching;
