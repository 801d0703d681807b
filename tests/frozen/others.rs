//! What must be possible while threads stand still: appends, reads, truncation, on the victim's stream and elsewhere.
//! Everything that comes back is checked.

use annals::{Batch, Cursor, Log, Message, Stream};

use crate::scene::{Other, Outcome, Scene, Stage, Victim, see};

/// Messages that each of the two appends.
const MESSAGES: usize = 50;

/// The log of a scene, and what is known of it.
#[derive(Clone)]
pub struct Field {
    pub log: Log,
    /// The stream that the victims write to.
    pub stream: Stream,
    /// Messages that the operation of each victim appends.
    pub appends: Vec<u64>,
    /// Where the log ended before the victims came.
    end: u64,
}

/// The names of the victims' own messages.
pub const VICTIM: [&str; 2] = ["Victim-0", "Victim-1"];

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn message(name: &'static str) -> Message<'static> {
    Message::event(name, b"as it was written").expect("a name and a short payload")
}

impl Field {
    pub fn new(log: &Log, stream: &Stream, appends: &[u64]) -> Self {
        let (log, stream) = (log.clone(), stream.clone());
        Self { end: log.end().get(), log, stream, appends: appends.to_vec() }
    }

    /// The scene of these victims.
    pub fn scene(self, prepare: Vec<Box<dyn FnOnce() -> crate::scene::Operation + Send>>) -> Scene {
        let victims = prepare.into_iter().enumerate().map(|(number, prepare)| {
            let field = self.clone();
            Victim { prepare, check: Box::new(move |outcome| field.outcome(number, outcome)) }
        });
        Scene { victims: victims.collect(), others: [self.clone().first(), self.clone().second()] }
    }

    /// After the thaw: an operation that says it appended did, and one that others have seen says so.
    fn outcome(&self, number: usize, outcome: Outcome) -> Result<(), String> {
        let at = outcome.position;
        let seen = crate::scene::SEEN[number].load(std::sync::atomic::Ordering::Relaxed);
        ensure(seen == 0 || seen == at, || format!("victim {number} was seen at {seen} and is told {at}"))?;
        if at == 0 {
            return Ok(());
        }
        ensure(self.log.end().get() >= at, || format!("told {at}, but the log ends at {}", self.log.end()))?;
        for position in at..at + self.appends[number] {
            match self.log.get(position) {
                Some(envelope) => ensure(envelope.name() == VICTIM[number], || format!("{envelope:?}"))?,
                None => ensure(self.log.first().get() > position, || format!("{position} is not there"))?,
            }
        }
        Ok(())
    }

    /// Appends to the victims' stream, reads the log and the stream; alone with the log it also clears it.
    fn first(self) -> Other {
        let mut mine = Vec::with_capacity(128);
        Box::new(move |stage| match stage {
            Stage::Probe | Stage::One => self.append(&mut mine),
            Stage::Many => {
                (0..20).try_for_each(|_| self.append(&mut mine).map(drop))?;
                Ok(0)
            }
            Stage::Work => {
                // Before anything is appended, which would finish what a victim left.
                self.read(&[])?;
                for _ in 0..MESSAGES {
                    self.append(&mut mine)?;
                }
                self.read(&mine)?;
                self.read_stream()?;
                Ok(0)
            }
            Stage::Clear => self.clear(),
        })
    }

    /// Appends by name, makes streams, appends batches, truncates.
    fn second(self) -> Other {
        let mut mine = Vec::with_capacity(128);
        Box::new(move |stage| {
            ensure(stage == Stage::Work, || format!("{stage:?} is not for both"))?;
            self.read(&[])?;
            let mut turn = 0;
            while mine.len() < MESSAGES {
                self.append_elsewhere(turn, &mut mine)?;
                turn += 1;
            }
            self.read(&mine)?;
            let half = self.end / 2 + 1;
            let first = self.log.truncate_before(half);
            ensure(first.get() >= half, || format!("truncated before {half}, but {first} is the first"))?;
            self.read(&mine)?;
            Ok(0)
        })
    }

    fn append(&self, mine: &mut Vec<u64>) -> Result<u64, String> {
        let position = self.stream.append(message("First")).map_err(text)?.position.get();
        note(mine, position)?;
        Ok(position)
    }

    fn append_elsewhere(&self, turn: usize, mine: &mut Vec<u64>) -> Result<(), String> {
        const NEW: [&str; 4] = ["new-0", "new-1", "new-2", "new-3"];
        if turn % 8 == 7 {
            let batch = Batch::new().add("elsewhere", message("Second"));
            let batch = batch.add(NEW[turn / 8 % 4], message("Second")).add(&self.stream, message("Second"));
            let appended = self.log.append_batch(batch).map_err(text)?;
            return (appended.first.get()..=appended.last.get()).try_for_each(|position| note(mine, position));
        }
        note(mine, self.log.append("elsewhere", message("Second")).map_err(text)?.position.get())
    }

    /// Reads the whole log: no gaps, every stream in order, the messages of the reader all there, those of a victim once
    /// or not at all.
    fn read(&self, mine: &[u64]) -> Result<(), String> {
        let mut scan = Scan::new(self);
        let view = self.log.view();
        scan.read(view.read().cursor())?;
        let all_removed = self.log.first() > view.end();
        ensure(scan.last == view.end().get() || all_removed, || {
            format!("read to {}, not to {}", scan.last, view.end())
        })?;
        scan.victims()?;
        let mut missing = mine.iter().filter(|position| scan.own.binary_search(position).is_err());
        let removed = |position: &&u64| self.log.first().get() > **position;
        if let Some(lost) = missing.find(|position| !removed(position)) {
            return Err(format!("{lost} was appended and is not there"));
        }
        let Some(&last) = mine.last() else { return Ok(()) };
        match self.log.get(last) {
            Some(envelope) => ensure(envelope.position() == last, || format!("{envelope:?}")),
            None => ensure(self.log.first().get() > last, || format!("{last} is not there")),
        }
    }

    fn read_stream(&self) -> Result<(), String> {
        let mut cursor = self.log.read_stream(&self.stream).cursor();
        let (mut last, mut position) = (None, 0);
        while let Some(envelope) = cursor.next() {
            let revision = envelope.revision().get();
            let gap = last.is_some_and(|last: u64| revision != last + 1) && self.log.first() != envelope.position();
            ensure(!gap || self.log.first().get() > position, || format!("{last:?}, then revision {revision}"))?;
            ensure(envelope.position().get() > position, || format!("{envelope:?} after {position}"))?;
            (last, position) = (Some(revision), envelope.position().get());
        }
        let now = self.stream.revision().map(|revision| revision.get());
        ensure(now >= last, || format!("{last:?} was read, but {now:?} is the last"))
    }

    /// Removes all there is, and goes on.
    fn clear(&self) -> Result<u64, String> {
        let end = self.log.end();
        let first = self.log.truncate_before(end.next());
        ensure(first > end, || format!("truncated all up to {end}, but {first} is the first"))?;
        let position = self.stream.append(message("First")).map_err(text)?.position;
        ensure(position > end, || format!("appended at {position} to a log that ended at {end}"))?;
        self.log.maintain();
        ensure(self.log.get(position).is_some(), || format!("{position} was appended and is not there"))?;
        for _ in 0..MESSAGES {
            self.stream.append(message("First")).map_err(text)?;
        }
        Ok(position.get())
    }
}

/// Positions only go up.
fn note(mine: &mut Vec<u64>, position: u64) -> Result<(), String> {
    ensure(mine.last().is_none_or(|last| *last < position), || format!("{position} after {mine:?}"))?;
    mine.push(position);
    Ok(())
}

/// What one pass over the log meets.
struct Scan<'f> {
    field: &'f Field,
    start: u64,
    last: u64,
    /// Each stream's last revision.
    streams: Vec<(String, u64)>,
    /// Positions of the messages of the two others.
    own: Vec<u64>,
    victims: [Vec<u64>; 2],
}

impl<'f> Scan<'f> {
    fn new(field: &'f Field) -> Self {
        Self { field, start: 0, last: 0, streams: Vec::new(), own: Vec::new(), victims: [Vec::new(), Vec::new()] }
    }

    fn read(&mut self, mut cursor: Cursor) -> Result<(), String> {
        while let Some(envelope) = cursor.next() {
            let position = envelope.position().get();
            // What lies in a gap was removed while we read.
            let gap = self.last != 0 && position != self.last + 1;
            ensure(!gap || self.field.log.first().get() > self.last + 1, || format!("{position} after {}", self.last))?;
            if gap || self.last == 0 {
                self.start = position;
                self.streams.clear();
                self.victims.iter_mut().for_each(Vec::clear);
            }
            self.last = position;
            self.revision(envelope.stream(), envelope.revision().get())?;
            match envelope.name() {
                "First" | "Second" => self.own.push(position),
                name => {
                    if let Some(victim) = VICTIM.iter().position(|victim| *victim == name) {
                        self.victims[victim].push(position);
                    }
                }
            }
        }
        Ok(())
    }

    fn revision(&mut self, stream: &str, revision: u64) -> Result<(), String> {
        let Some((_, last)) = self.streams.iter_mut().find(|(name, _)| name == stream) else {
            self.streams.push((stream.to_owned(), revision));
            return Ok(());
        };
        ensure(revision == *last + 1, || format!("stream {stream:?}: {revision} after {last}"))?;
        *last = revision;
        Ok(())
    }

    /// The messages of a victim: all of them in a row, or none; where they always were.
    fn victims(&self) -> Result<(), String> {
        for (number, appends) in self.field.appends.iter().enumerate() {
            let seen = &self.victims[number];
            let Some(first) = seen.first().filter(|first| **first != self.start) else { continue };
            let whole = seen.len() as u64 == *appends && seen.last().is_some_and(|last| last - first + 1 == *appends);
            ensure(whole, || format!("victim {number} appends {appends} messages, and {seen:?} are there"))?;
            see(number, *first)?;
        }
        Ok(())
    }
}
