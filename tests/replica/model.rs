//! What the rules say, said another way: a replica remembers everything it was told, and derives how it stands from that.
//!
//! The reconciler keeps a few numbers up to date. This keeps a list of what was applied and of what was missed, and looks
//! through it for each answer.

use annals::replica::{Decision, Status};

/// What may come. Values say which sequence they are of, so a sequence and whether it can be read are all there is to one.
#[derive(Clone, Copy, Debug)]
pub enum Came {
    Update(u64, Reads),
    /// What makes the value of this sequence of the one before; not read well, it does not fit.
    Patch(u64, Reads),
    Seed(u64, Reads),
    /// The refetch that is in flight brings this.
    Refetched(Option<(u64, Reads)>),
    Failed,
    Asked,
    Rebased,
    NoMore,
    Disposed,
}

/// Whether a value can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    Well,
    NotParsed,
    Skewed,
}

pub struct Model {
    pub applies_gaps: bool,
    pub refetches: bool,
    /// Since the source last counted anew.
    applied: Vec<u64>,
    missed: Vec<u64>,
    value: Option<u64>,
    status: Status,
    in_flight: bool,
    /// What was missed since the flight began.
    missed_in_flight: Vec<u64>,
    pub begun: u64,
    is_disposed: bool,
}

impl Model {
    pub fn new(applies_gaps: bool, refetches: bool) -> Self {
        Self {
            applies_gaps,
            refetches,
            applied: Vec::new(),
            missed: Vec::new(),
            value: None,
            status: Status::Stale,
            in_flight: false,
            missed_in_flight: Vec::new(),
            begun: 0,
            is_disposed: false,
        }
    }

    /// Value, sequence, status, whether a refetch is in flight.
    pub fn stands(&self) -> (Option<u64>, Option<u64>, Status, bool) {
        (self.value, self.sequence(), self.status, self.in_flight)
    }

    fn sequence(&self) -> Option<u64> {
        self.applied.last().copied()
    }

    /// Whether any of these is newer than what is applied.
    fn is_beyond(&self, sequences: &[u64]) -> bool {
        sequences.iter().any(|missed| self.sequence().is_none_or(|sequence| *missed > sequence))
    }

    /// The decision; whether a refetch is begun shows in `begun`.
    pub fn told(&mut self, came: Came) -> Decision {
        if self.is_disposed {
            return Decision::Disposed;
        }
        match came {
            Came::Update(sequence, reads) => self.update(sequence, reads),
            Came::Patch(sequence, reads) => self.patch(sequence, reads),
            Came::Seed(sequence, reads) => {
                let decision = self.snapshot(sequence, reads);
                if reads != Reads::Well {
                    self.refetch_for(sequence);
                }
                decision
            }
            Came::Refetched(_) | Came::Failed if !self.in_flight => Decision::UnknownRefetch,
            Came::Refetched(Some((sequence, reads))) => {
                self.in_flight = false;
                let decision = self.snapshot(sequence, reads);
                self.landed(decision)
            }
            Came::Refetched(None) | Came::Failed => {
                self.in_flight = false;
                self.status = Status::Stale;
                self.landed(Decision::NotRefetched)
            }
            Came::Asked => {
                self.begin();
                Decision::Done
            }
            Came::Rebased => {
                self.applied.clear();
                self.missed.clear();
                self.missed_in_flight.clear();
                self.in_flight = false;
                self.status = Status::Stale;
                self.begin();
                Decision::Done
            }
            Came::NoMore => {
                self.refetches = false;
                if self.in_flight {
                    self.status = Status::Stale;
                }
                self.in_flight = false;
                Decision::Done
            }
            Came::Disposed => {
                self.is_disposed = true;
                self.in_flight = false;
                self.status = Status::Stale;
                Decision::Done
            }
        }
    }

    fn update(&mut self, sequence: u64, reads: Reads) -> Decision {
        if let Some(decision) = self.unreadable(sequence, reads) {
            self.refetch_for(sequence);
            return decision;
        }
        match self.sequence() {
            None => self.apply(sequence, Decision::Baseline),
            Some(_) if self.is_next(sequence) => self.apply(sequence, Decision::Applied),
            Some(_) if self.applied.iter().any(|applied| *applied >= sequence) => Decision::Ignored,
            Some(_) if self.applies_gaps => self.apply(sequence, Decision::AppliedOverGap),
            Some(_) => self.gap(sequence),
        }
    }

    /// Only the next one is looked into, and gaps are gaps.
    fn patch(&mut self, sequence: u64, reads: Reads) -> Decision {
        let is_looked_into = reads == Reads::Skewed || self.is_next(sequence);
        if is_looked_into && let Some(decision) = self.unreadable(sequence, reads) {
            self.refetch_for(sequence);
            return decision;
        }
        match self.sequence() {
            Some(_) if self.is_next(sequence) => self.apply(sequence, Decision::Applied),
            Some(_) if self.applied.iter().any(|applied| *applied >= sequence) => Decision::Ignored,
            _ => self.gap(sequence),
        }
    }

    fn is_next(&self, sequence: u64) -> bool {
        self.sequence().is_some_and(|current| current.checked_add(1) == Some(sequence))
    }

    fn gap(&mut self, sequence: u64) -> Decision {
        self.missed.push(sequence);
        self.status = Status::Stale;
        self.refetch_for(sequence);
        Decision::Gap
    }

    fn snapshot(&mut self, sequence: u64, reads: Reads) -> Decision {
        if let Some(decision) = self.unreadable(sequence, reads) {
            return decision;
        }
        if self.applied.iter().any(|applied| *applied > sequence) {
            return Decision::Outdated;
        }
        self.apply(sequence, Decision::Baseline)
    }

    fn unreadable(&mut self, sequence: u64, reads: Reads) -> Option<Decision> {
        let decision = match reads {
            Reads::Well => return None,
            Reads::NotParsed => Decision::Unparsed,
            Reads::Skewed => Decision::SchemaSkew,
        };
        self.missed.push(sequence);
        self.status = Status::Skew;
        Some(decision)
    }

    fn apply(&mut self, sequence: u64, decision: Decision) -> Decision {
        self.applied.push(sequence);
        self.value = Some(sequence);
        if !self.is_beyond(&self.missed) {
            self.status = Status::Live;
        }
        decision
    }

    fn refetch_for(&mut self, sequence: u64) {
        if self.in_flight {
            self.missed_in_flight.push(sequence);
        }
        self.begin();
    }

    fn begin(&mut self) {
        if self.refetches && !self.in_flight {
            self.in_flight = true;
            self.begun += 1;
        }
    }

    /// What was missed during the flight, and still is, is asked for again. (What was missed before it counts as well: it is
    /// only known to be newer than what came.)
    fn landed(&mut self, decision: Decision) -> Decision {
        let came = !std::mem::take(&mut self.missed_in_flight).is_empty();
        if came && self.is_beyond(&self.missed) {
            self.begin();
        }
        decision
    }
}
