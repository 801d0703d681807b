//! What went in, kept apart from the log: to be held against what comes out.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use annals::{Envelope, Kind, Timestamp};

use crate::event::Event;

#[derive(Debug, Default)]
pub struct Ledger {
    pub streams: HashMap<Box<str>, Tally>,
    pub names: HashSet<Box<str>>,
    /// The first answer of the log, while it was appended to, that was not the one due.
    pub surprise: Option<String>,
}

impl Ledger {
    pub fn events(&self) -> u64 {
        self.streams.values().map(|tally| tally.events).sum()
    }

    pub fn payload_bytes(&self) -> u64 {
        self.streams.values().map(|tally| tally.payload_bytes).sum()
    }
}

/// What one stream was given, or gave back.
///
/// Each event is hashed with its revision, and the hashes are added up: an event that is missing, doubled, changed or
/// moved changes the sum, and reading backwards gives the same sum as reading forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub events: u64,
    pub payload_bytes: u64,
    sum: u64,
}

impl Tally {
    /// An event that goes in, as the next of its stream.
    pub fn give(&mut self, event: &Event) {
        let hash = hash(self.events, Kind::Event, &event.name, event.time, event.tags.iter().map(String::as_str));
        self.add(hash, event.payload());
    }

    /// An event that came out.
    pub fn take(&mut self, envelope: &Envelope) {
        let revision = envelope.revision().get();
        let hash = hash(revision, envelope.kind(), envelope.name(), envelope.own_time(), envelope.tags());
        self.add(hash, envelope.payload());
    }

    fn add(&mut self, mut hash: DefaultHasher, payload: &[u8]) {
        payload.hash(&mut hash);
        self.events += 1;
        self.payload_bytes += payload.len() as u64;
        self.sum = self.sum.wrapping_add(hash.finish());
    }
}

/// Everything but the payload.
fn hash<'t>(
    revision: u64,
    kind: Kind,
    name: &str,
    time: Option<Timestamp>,
    tags: impl Iterator<Item = &'t str>,
) -> DefaultHasher {
    let mut hash = DefaultHasher::new();
    (revision, kind, name, time).hash(&mut hash);
    let mut count = 0_usize;
    for tag in tags {
        tag.hash(&mut hash);
        count += 1;
    }
    count.hash(&mut hash);
    hash
}
