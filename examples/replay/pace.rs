//! How fast the log is read.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use annals::{Cursor, View};

use crate::ledger::Ledger;
use crate::report;

/// A log that is read in microseconds is read again until this much time has passed.
const AT_LEAST: Duration = Duration::from_millis(25);

pub struct Pace {
    /// In one pass.
    events: u64,
    passes: u32,
    elapsed: Duration,
}

impl Pace {
    pub fn of_log(view: &View) -> Self {
        Self::measure(|| look_at(view.read().cursor()))
    }

    pub fn of_streams(view: &View, ledger: &Ledger) -> Self {
        Self::measure(|| ledger.streams.keys().map(|id| look_at(view.read_stream(id).cursor())).sum())
    }

    /// `pass` returns how many events it read.
    fn measure(pass: impl Fn() -> u64) -> Self {
        let began = Instant::now();
        let (mut events, mut passes) = (pass(), 1);
        while began.elapsed() < AT_LEAST {
            events = pass();
            passes += 1;
        }
        Self { events, passes, elapsed: began.elapsed() }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", report::rate(self.events, self.elapsed / self.passes))
    }
}

/// Looks at the first and the last byte of every payload, so that memory is fetched and not only its address.
fn look_at(mut cursor: Cursor) -> u64 {
    let mut events = 0;
    while let Some(envelope) = cursor.next() {
        let payload = envelope.payload();
        black_box((envelope.position(), payload.first().copied(), payload.last().copied()));
        events += 1;
    }
    events
}
