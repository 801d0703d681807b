//! Logs on disk.

mod basics;
