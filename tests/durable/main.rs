//! Logs on disk.
#![allow(clippy::pedantic, reason = "tests are read, not called")]

mod backup;
mod basics;
mod bytes;
mod careful;
mod checkpoints;
mod contract;
mod crash;
mod crash_check;
mod crash_disk;
mod crash_images;
mod faults;
mod format;
mod locks;
mod lockstep;
mod retention;
mod rot;
mod segment;
