//! What is known to block: a thread's first call into any log while another thread's first call is frozen.
//!
//! A thread registers with crossbeam-epoch when it first pins, and has the registration undone at its end: for that, the
//! standard library calls libc's `__cxa_thread_atexit_impl`, and glibc holds its loader's lock inside. So a thread that
//! is frozen there, in libc, keeps other threads from their first calls until it goes on; those that have called before are
//! not concerned, and nobody is once the call is over. This counts the instructions, and holds that they are libc's.

use std::time::{Duration, Instant};

use crate::position::{Crash, Patience, Verdict};
use crate::scene::Stage;
use crate::sweep::{Case, Extent, Row, begin, length};

/// A miss is counted as blocked only when the others are done once the victim goes on: so no grace is needed.
const SHORT: Patience = Patience { deadline: Duration::from_millis(150), grace: Duration::ZERO };
const LONG: Patience = Patience { deadline: Duration::from_secs(5), grace: Duration::ZERO };

pub fn run(case: &Case, extent: Extent) -> Row {
    let started = Instant::now();
    let mut row = Row::default();
    if let Err(Crash(stop)) = sweep(case, extent, &mut row) {
        eprintln!("frozen: {}: the victim came to {stop:?}", case.name);
        row.failed += 1;
    }
    row.microseconds = started.elapsed().as_micros() as u64;
    row
}

fn sweep(case: &Case, extent: Extent, row: &mut Row) -> Result<(), Crash> {
    let mut scene = Some((case.scene)());
    row.instructions = length(&mut scene, &[], 0, extent.longest)?;
    row.left_out = row.instructions >= extent.longest;
    if row.left_out {
        return Ok(());
    }
    let (first, stride) = extent.choose(row.instructions);
    let mut at = 0;
    let mut child = begin(case, &mut scene, at)?;
    for position in (first..row.instructions).step_by(stride) {
        child.step(0, position - at)?;
        at = position;
        row.positions += 1;
        child.keep();
        match child.both(Stage::Work, SHORT) {
            Verdict::Blocked => {
                let place = child.place(0);
                let released = child.thaw(0, LONG).done().and(child.rest_arrives(LONG).done()).is_some();
                let in_libc = place.contains(" of ld-") || place.contains(" of libc");
                if released && in_libc {
                    row.blocked += 1;
                } else {
                    eprintln!("frozen: {}: blocked after {position} instructions, at {place}", case.name);
                    row.failed += 1;
                }
            }
            other => row.count(other),
        }
        // All have arrived.
        child.restore();
    }
    Ok(())
}
