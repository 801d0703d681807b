//! Lines that are no events: the first few are shown, all are counted.

use indicatif::ProgressBar;

const SHOWN: u64 = 10;
/// A reason may quote the line.
const REASON_CHARS: usize = 200;

#[derive(Debug)]
pub struct Fault {
    pub line: u64,
    pub reason: String,
}

pub struct Faults {
    count: u64,
    progress: ProgressBar,
}

impl Faults {
    pub fn new(progress: ProgressBar) -> Self {
        Self { count: 0, progress }
    }

    /// The faults of a round, in any order.
    pub fn report(&mut self, mut faults: Vec<Fault>) {
        faults.sort_by_key(|fault| fault.line);
        for fault in faults {
            self.count += 1;
            if self.count <= SHOWN {
                let reason: String = fault.reason.chars().take(REASON_CHARS).collect();
                self.progress.suspend(|| eprintln!("line {}: {reason}", fault.line));
            }
        }
    }

    /// How many there were.
    pub fn finish(self) -> u64 {
        self.progress.finish_and_clear();
        if self.count > SHOWN {
            eprintln!("{} more malformed lines", self.count - SHOWN);
        }
        self.count
    }
}
