//! What a file holds, besides the records: which streams and names, which record is where. Grows as records are written, or as
//! they are read back; written down at the end of a file that is full (see `footer`).

use std::collections::HashMap;

use ahash::RandomState;

use super::frame::{Frame, Ref};
use super::header::Before;
use crate::model::Kind;

/// Of so many records one has its offset noted: as far as a look-up goes from frame to frame.
pub(crate) const MARK_EVERY: u64 = 64;

/// A record to be written.
pub(crate) struct Item<'r> {
    pub(crate) kind: Kind,
    pub(crate) stream: &'r str,
    pub(crate) revision: u64,
    pub(crate) name: &'r str,
    pub(crate) time: Option<i64>,
    pub(crate) attributes: Option<&'r [u8]>,
    pub(crate) payload: &'r [u8],
    /// Its batch goes on.
    pub(crate) more: bool,
}

/// What a file has of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamPart {
    pub(crate) id: Box<str>,
    /// Revision of the first of its records in the file.
    pub(crate) first: u64,
    /// Its records: how many of the file's are before each.
    pub(crate) places: Vec<u32>,
}

impl StreamPart {
    /// The revision after the last one in the file.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.places.len() as u64
    }
}

/// Where a record begins, and the time before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) offset: u64,
    pub(crate) time: i64,
}

#[derive(Clone)]
pub(crate) struct Contents {
    pub(crate) before: Before,
    /// How many records.
    pub(crate) count: u64,
    /// Time of the last record, here or before.
    pub(crate) time: i64,
    /// Of all records of the log up to here.
    pub(crate) commands: u64,
    /// Streams that begin here.
    pub(crate) begun: u64,
    pub(crate) streams: Vec<StreamPart>,
    pub(crate) names: Vec<Box<str>>,
    pub(crate) marks: Vec<Mark>,
    by_id: HashMap<Box<str>, u32, RandomState>,
    by_name: HashMap<Box<str>, u32, RandomState>,
    /// Stream and name of the last record: mostly those of the next.
    last: (u32, u32),
}

/// A frame whose numbers do not fit what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misfit;

impl Contents {
    pub(crate) fn new(before: Before) -> Self {
        Self {
            before,
            count: 0,
            time: before.time,
            commands: before.commands,
            begun: 0,
            streams: Vec::new(),
            names: Vec::new(),
            marks: Vec::new(),
            by_id: HashMap::default(),
            by_name: HashMap::default(),
            last: (0, 0),
        }
    }

    /// With streams and names known already: read from a footer. None when one is there twice.
    pub(crate) fn of(before: Before, streams: Vec<StreamPart>, names: Vec<Box<str>>, marks: Vec<Mark>) -> Option<Self> {
        let by_id = numbers(streams.iter().map(|stream| &stream.id))?;
        let by_name = numbers(names.iter())?;
        Some(Self { streams, names, marks, by_id, by_name, ..Self::new(before) })
    }

    /// Index after the last record.
    pub(crate) fn end(&self) -> u64 {
        self.before.index + self.count
    }

    pub(crate) fn stream(&self, id: &str) -> Option<&StreamPart> {
        self.by_id.get(id).map(|number| &self.streams[*number as usize])
    }

    /// What comes before the next file.
    pub(crate) fn after(&self) -> Before {
        Before {
            index: self.end(),
            time: self.time,
            commands: self.commands,
            streams: self.before.streams + self.begun,
        }
    }

    /// The frame of a record that comes next.
    pub(crate) fn frame<'r>(&self, item: &Item<'r>, synced: bool) -> Frame<'r> {
        let stream = match self.streams.get(self.last.0 as usize) {
            Some(last) if *last.id == *item.stream => Some(&self.last.0),
            _ => self.by_id.get(item.stream),
        };
        let stream = match stream {
            Some(number) => Ref { number: *number, new: None },
            None => Ref { number: count(self.streams.len()), new: Some((item.stream, item.revision)) },
        };
        let name = match self.names.get(self.last.1 as usize) {
            Some(last) if **last == *item.name => Some(&self.last.1),
            _ => self.by_name.get(item.name),
        };
        let name = match name {
            Some(number) => Ref { number: *number, new: None },
            None => Ref { number: count(self.names.len()), new: Some(item.name) },
        };
        Frame {
            kind: item.kind,
            more: item.more,
            synced,
            stream,
            name,
            elapsed: item.time.map(|time| time.wrapping_sub(self.base()).cast_unsigned()),
            attributes: item.attributes,
            payload: item.payload,
        }
    }

    /// What times are counted from.
    fn base(&self) -> i64 {
        since(self.time)
    }

    /// Takes in a frame that lies at `offset`; returns the revision of its record. Refuses one that does not fit, and is as
    /// it was.
    pub(crate) fn take(&mut self, frame: &Frame<'_>, offset: u64) -> Result<u64, Misfit> {
        let place = u32::try_from(self.count).map_err(|_| Misfit)?;
        let stream = frame.stream.number as usize;
        let is_new_stream = check(frame.stream.new.map(|(id, _)| id), stream, self.streams.len(), &self.by_id)?;
        let name = frame.name.number as usize;
        let is_new_name = check(frame.name.new, name, self.names.len(), &self.by_name)?;
        if let Some((id, first)) = frame.stream.new.filter(|_| is_new_stream) {
            self.by_id.insert(id.into(), frame.stream.number);
            self.streams.push(StreamPart { id: id.into(), first, places: Vec::new() });
            self.begun += u64::from(first == 0);
        }
        if let Some(text) = frame.name.new.filter(|_| is_new_name) {
            self.by_name.insert(text.into(), frame.name.number);
            self.names.push(text.into());
        }
        if self.count.is_multiple_of(MARK_EVERY) {
            self.marks.push(Mark { offset, time: self.time });
        }
        if let Some(elapsed) = frame.elapsed {
            self.time = self.base().wrapping_add_unsigned(elapsed);
        }
        self.last = (frame.stream.number, frame.name.number);
        self.commands += u64::from(frame.kind == Kind::Command);
        self.count += 1;
        let part = &mut self.streams[stream];
        let revision = part.next();
        part.places.push(place);
        Ok(revision)
    }
}

/// What times after `time` are counted from.
pub(crate) fn since(time: i64) -> i64 {
    if time == i64::MIN { 0 } else { time }
}

/// A number in a file: frames are shorter than 4 GiB and have a stream and a name each, and files end long before.
fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a file has fewer than 2^32 records")
}

/// Whether a reference is to something new; it must be the next one then, and not there yet.
fn check(
    new: Option<&str>,
    number: usize,
    known: usize,
    by_text: &HashMap<Box<str>, u32, RandomState>,
) -> Result<bool, Misfit> {
    match new {
        None if number < known => Ok(false),
        Some(text) if number == known && !by_text.contains_key(text) => Ok(true),
        _ => Err(Misfit),
    }
}

fn numbers<'t>(texts: impl Iterator<Item = &'t Box<str>>) -> Option<HashMap<Box<str>, u32, RandomState>> {
    let mut numbers = HashMap::default();
    for (number, text) in texts.enumerate() {
        if numbers.insert(text.clone(), u32::try_from(number).ok()?).is_some() {
            return None;
        }
    }
    Some(numbers)
}
