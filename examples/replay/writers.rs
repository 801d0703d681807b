//! Events into the log, by several threads.
//!
//! Each stream belongs to one thread, so that its events keep the order of the input.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use annals::{Appender, Log, Message, Stream, StreamError};

use crate::event::Event;
use crate::faults::Fault;
use crate::ledger::{Ledger, Tally};

pub struct Writers {
    log: Log,
    /// One for each thread.
    appenders: Vec<Appender>,
    lanes: Vec<Lane>,
    by_id: HashMap<Box<str>, usize>,
    ledger: Ledger,
    appended: u64,
    /// Spent on handles and messages, before anything was appended.
    pub prepare: Duration,
    /// From the first append of a round to the end of its last one, added up.
    pub append: Duration,
}

/// A stream, and what has been appended to it.
struct Lane {
    stream: Stream,
    tally: Tally,
}

/// An event that is ready to be appended.
struct Ready<'e> {
    event: &'e Event,
    lane: usize,
    message: Message<'e>,
}

/// An event that the log has decided on: its revision, or why it was refused.
struct Decided<'e> {
    event: &'e Event,
    lane: usize,
    answer: Result<u64, String>,
}

/// What one thread did with its part of a round.
struct Part<'e> {
    decided: Vec<Decided<'e>>,
    began: Instant,
    ended: Instant,
}

impl Writers {
    pub fn new(log: &Log, threads: usize) -> Self {
        Self {
            log: log.clone(),
            appenders: (0..threads).map(|_| log.appender()).collect(),
            lanes: Vec::new(),
            by_id: HashMap::new(),
            ledger: Ledger::default(),
            appended: 0,
            prepare: Duration::ZERO,
            append: Duration::ZERO,
        }
    }

    /// How many events have been appended.
    pub fn events(&self) -> u64 {
        self.appended
    }

    /// Appends a round. Returns the events that break a rule of the log.
    pub fn append(&mut self, events: &[Event]) -> Vec<Fault> {
        let mut faults = Vec::new();
        let began = Instant::now();
        let ready = self.prepare(events, &mut faults);
        self.prepare += began.elapsed();
        let parts = append_all(&mut self.appenders, &self.lanes, ready);
        if let (Some(began), Some(ended)) =
            (parts.iter().map(|part| part.began).min(), parts.iter().map(|part| part.ended).max())
        {
            self.append += ended - began;
        }
        for decided in parts.into_iter().flat_map(|part| part.decided) {
            self.enter(decided, &mut faults);
        }
        self.check_end();
        faults
    }

    /// The ledger, when everything is in the log. The writers let go of the log.
    pub fn into_ledger(self) -> Ledger {
        let Self { lanes, mut ledger, .. } = self;
        let written = lanes.into_iter().filter(|lane| lane.tally.events > 0);
        ledger.streams = written.map(|lane| (lane.stream.id().into(), lane.tally)).collect();
        ledger
    }

    /// For each thread what it shall append.
    fn prepare<'e>(&mut self, events: &'e [Event], faults: &mut Vec<Fault>) -> Vec<Vec<Ready<'e>>> {
        let mut ready: Vec<Vec<Ready<'e>>> = self.appenders.iter().map(|_| Vec::new()).collect();
        for event in events {
            match self.ready(event) {
                Ok(one) => ready[one.lane % self.appenders.len()].push(one),
                Err(reason) => faults.push(Fault { line: event.line, reason }),
            }
        }
        ready
    }

    fn ready<'e>(&mut self, event: &'e Event) -> Result<Ready<'e>, String> {
        let message = event.message().map_err(|error| error.to_string())?;
        let lane = self.lane(&event.stream).map_err(|error| error.to_string())?;
        Ok(Ready { event, lane, message })
    }

    fn lane(&mut self, id: &str) -> Result<usize, StreamError> {
        if let Some(lane) = self.by_id.get(id) {
            return Ok(*lane);
        }
        let stream = self.log.stream(id)?;
        self.lanes.push(Lane { stream, tally: Tally::default() });
        self.by_id.insert(id.into(), self.lanes.len() - 1);
        Ok(self.lanes.len() - 1)
    }

    /// Enters in the ledger what the log has taken.
    fn enter(&mut self, decided: Decided<'_>, faults: &mut Vec<Fault>) {
        let Decided { event, lane, answer } = decided;
        let Lane { stream, tally } = &mut self.lanes[lane];
        match answer {
            Err(reason) => faults.push(Fault { line: event.line, reason }),
            Ok(revision) => {
                if revision != tally.events {
                    let surprise = format!("revision {revision} in {:?}, {} was due", stream.id(), tally.events);
                    self.ledger.surprise.get_or_insert(surprise);
                }
                tally.give(event);
                self.appended += 1;
                if !self.ledger.names.contains(event.name.as_str()) {
                    self.ledger.names.insert(event.name.as_str().into());
                }
            }
        }
    }

    /// Nobody appends between two rounds.
    fn check_end(&mut self) {
        let end = self.log.end();
        if end != self.appended {
            let surprise = format!("the log ended at {end} after {} events", self.appended);
            self.ledger.surprise.get_or_insert(surprise);
        }
    }
}

/// Appends with all threads at once.
fn append_all<'e>(appenders: &mut [Appender], lanes: &[Lane], ready: Vec<Vec<Ready<'e>>>) -> Vec<Part<'e>> {
    thread::scope(|scope| {
        let threads: Vec<_> = appenders
            .iter_mut()
            .zip(ready)
            .filter(|(_, ready)| !ready.is_empty())
            .map(|(appender, ready)| scope.spawn(move || append_part(appender, lanes, ready)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("an append does not panic")).collect()
    })
}

fn append_part<'e>(appender: &mut Appender, lanes: &[Lane], ready: Vec<Ready<'e>>) -> Part<'e> {
    // The memory for the answers is not the log's.
    let mut decided = Vec::with_capacity(ready.len());
    let began = Instant::now();
    for Ready { event, lane, message } in ready {
        let answer = appender.append(&lanes[lane].stream, message);
        let answer = answer.map(|appended| appended.revision.get()).map_err(|refused| refused.to_string());
        decided.push(Decided { event, lane, answer });
    }
    Part { decided, began, ended: Instant::now() }
}
