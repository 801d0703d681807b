//! Logs on disk.

mod basics;
mod bytes;
mod crash;
mod crash_check;
mod crash_disk;
mod crash_images;
mod faults;
mod locks;
mod rot;
mod segment;
