//! Law L6, instruction by instruction: a thread that stands still does not stop others.
//!
//! A thread, the *victim*, begins a call and is frozen after its first instruction, in another process after its second,
//! and so on to the last: by `ptrace`, one instruction at a time. It is left where it is. Then two other threads of
//! the same process must, within a second, append 50 messages each (through a handle of the victim's stream; by name, to
//! new streams, in batches), read the whole log and the stream and find everything right, remove the first half of the
//! log, then all of it, and go on. At last the victim goes on, too, and must come to an end that agrees with what
//! the others saw, although what it was looking at has been removed (freed memory is overwritten).
//!
//! - A miss of the deadline is watched three seconds more, to tell a busy machine (*late*) from a thread that waits for
//!   another (*blocked*).
//! - The memory allocator is excluded, by one that cannot block (`allocator`).
//! - A thread's first call into a log is tested apart from later ones, and so are other threads' first calls beside it.
//! - Two logs that do block are the control: the harness must say so (`control`).
//! - Who stands still on a bus has others of its own (`bus`).
//! - Pairs of victims, each frozen somewhere, are sampled (`pairs`).
//! - What a frozen thread keeps of the log's memory is bounded, and is returned after the thaw (`memory`).
//!
//! Plain: some positions of every case, every n-th from an offset chosen by a seed that is printed. `ANNALS_FROZEN=all`:
//! every instruction, to be used with `--release`. `ANNALS_FROZEN_SEED` repeats a run. An argument selects cases by name.
//!
//! Linux on x86-64 only; elsewhere this does nothing, and says so.
#![allow(clippy::pedantic, reason = "tests are read, not called")]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod allocator;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod bus;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cases;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod control;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod delivery;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod memory;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod operations;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod others;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod pairs;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod pipe;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod position;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod rewind;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod run;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod scene;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sweep;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trace;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: allocator::Bump = allocator::Bump;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    println!("frozen: threads are single-stepped on Linux and x86-64 only; nothing was tested");
}
