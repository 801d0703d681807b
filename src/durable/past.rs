//! Reading records back from the files: pieces of a few dozen records, found by the marks of their part, checked frame by
//! frame. A record that is wanted becomes an envelope like any other; its payload is not copied when it is long.

use bytes::Bytes;

use super::contents::{MARK_EVERY, StreamPart, since};
use super::error::{Flaw, OpenError, StorageError};
use super::frame::Frame;
use super::parts::{Loaded, Parts};
use super::storage::read_exact;
use crate::log::{Envelope, EnvelopeSource, Pool, Range};
use crate::model::{Attributes, Id, Kind, Limits, Message, Payload, Position, Query, Recorded, Timestamp};
use crate::sync::StdArc;

/// Bytes that are read at once, but for records that are larger.
const PIECE: u64 = 1 << 17;

/// Payloads from here on are not copied out of the piece that was read.
const LONG: usize = 1024;

/// How many sources of envelopes are kept.
const SOURCES: usize = 4;

/// What is known of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamPast {
    /// Its next revision.
    pub(crate) next: u64,
    /// Index of its first record.
    pub(crate) first: u64,
    /// When that was recorded, if it was removed: else the record says so.
    pub(crate) first_time: Option<i64>,
}

pub(crate) struct Past {
    parts: StdArc<Parts>,
    sources: Pool<EnvelopeSource, SOURCES>,
}

/// Some neighbouring records of a part, as bytes.
struct Piece<'l> {
    loaded: &'l Loaded,
    bytes: Bytes,
    /// Offset of the first byte.
    offset: u64,
    /// Of the first record: how many of the part are before it.
    first: u64,
    /// Of the record after the last.
    end: u64,
    /// The time before the first.
    time: i64,
}

/// A record as it is in a file.
struct Found<'p> {
    frame: Frame<'p>,
    attributes: Attributes<'p>,
    piece: &'p Piece<'p>,
    place: u64,
    time: Option<i64>,
}

impl Past {
    pub(crate) fn new(parts: StdArc<Parts>) -> Self {
        Self { parts, sources: Pool::new() }
    }

    /// Envelopes of `rest`, from its beginning on, or backwards from its end; takes away from it what was looked at. Reads one
    /// piece: when nothing in it is wanted, nothing is returned, and there may be more.
    pub(crate) fn read(
        &self,
        rest: &mut Range,
        backwards: bool,
        query: Option<&Query>,
    ) -> Result<Vec<Envelope>, OpenError> {
        let next = if backwards { rest.end.saturating_sub(1) } else { rest.start };
        let Some(part) = self.parts.with(next).filter(|_| rest.start < rest.end) else {
            // Removed meanwhile: what is left comes later.
            let first = self.parts.first();
            let later = Range { start: first, end: rest.end };
            *rest = if !backwards && next < first && first < rest.end { later } else { Range::EMPTY };
            return Ok(Vec::new());
        };
        // Removed this moment: whoever asks again finds it gone.
        let Some(loaded) = self.parts.load(&part)? else { return Ok(Vec::new()) };
        let within = rest.within(part.first(), part.end);
        let piece = Piece::around(&loaded, next - part.first(), within, backwards)?;
        let (mut envelopes, mut revisions) = (Vec::new(), Revisions::default());
        self.with_source(|source| {
            piece.each(|found| {
                let index = part.first() + found.place;
                if index >= within.start && index < within.end && query.is_none_or(|query| query.matches(&found)) {
                    envelopes.push(found.envelope(revisions.of(&found)?, source)?);
                }
                Ok(true)
            })
        })?;
        let (first, end) = (part.first() + piece.first, part.first() + piece.end);
        if backwards {
            envelopes.reverse();
            rest.end = first.max(rest.start);
        } else {
            rest.start = end.min(rest.end);
        }
        Ok(envelopes)
    }

    /// The envelopes of a stream, as [`read`](Self::read) those of the log: `rest` is of revisions.
    pub(crate) fn read_stream(
        &self,
        stream: &str,
        rest: &mut Range,
        backwards: bool,
    ) -> Result<Vec<Envelope>, OpenError> {
        let mut parts = self.parts.between(0, u64::MAX);
        if !backwards {
            parts.reverse();
        }
        // The next part of the stream comes last.
        while let Some(part) = parts.pop() {
            if rest.start >= rest.end {
                break;
            }
            let Some(loaded) = self.parts.load(&part)? else { continue };
            let Some(there) = loaded.contents.stream(stream) else { continue };
            let wanted = rest.within(there.first, there.next());
            if wanted.start >= wanted.end {
                continue;
            }
            return self.read_places(&loaded, there.first, &there.places, wanted, rest, backwards);
        }
        *rest = Range::EMPTY;
        Ok(Vec::new())
    }

    /// One piece of the records at some places of a part, which begin with revision `first`.
    fn read_places(
        &self,
        loaded: &StdArc<Loaded>,
        first: u64,
        places: &[u32],
        wanted: Range,
        rest: &mut Range,
        backwards: bool,
    ) -> Result<Vec<Envelope>, OpenError> {
        let place = |revision: u64| usize::try_from(revision - first).ok().and_then(|at| places.get(at)).copied();
        let next = if backwards { wanted.end - 1 } else { wanted.start };
        let Some(at) = place(next).map(u64::from) else { return Ok(Vec::new()) };
        let part = &loaded.part;
        let whole = Range { start: part.first(), end: part.end };
        let piece = Piece::around(loaded, at, whole, backwards)?;
        let mut envelopes = Vec::new();
        let mut revision = first + places.partition_point(|place| u64::from(*place) < piece.first) as u64;
        let begin = revision;
        self.with_source(|source| {
            piece.each(|found| {
                if place(revision).is_some_and(|place| u64::from(place) == found.place) {
                    if revision >= wanted.start && revision < wanted.end {
                        envelopes.push(found.envelope(revision, source)?);
                    }
                    revision += 1;
                }
                Ok(true)
            })
        })?;
        if backwards {
            envelopes.reverse();
            rest.end = begin.max(rest.start);
        } else {
            rest.start = revision.min(rest.end);
        }
        Ok(envelopes)
    }

    fn with_source(&self, work: impl FnOnce(&mut EnvelopeSource) -> Result<(), OpenError>) -> Result<(), OpenError> {
        // What was written had been within the limits of its time.
        let limits = Limits { payload_bytes: usize::MAX, metadata_bytes: usize::MAX, ..Limits::default() };
        let make = || EnvelopeSource::for_reading(limits);
        match self.sources.lend(make) {
            Some(mut source) => work(&mut source),
            None => work(&mut make()),
        }
    }

    /// What is known of a stream from records before an index; none when there is none.
    pub(crate) fn stream(&self, id: &str, before: u64) -> Result<Option<StreamPast>, OpenError> {
        'again: loop {
            let parts = self.parts.between(0, before);
            // After the parts: what is not among them any more is here.
            let gone = self.parts.gone(id);
            let mut last =
                gone.map(|gone| StreamPast { next: gone.next, first: gone.first, first_time: Some(gone.time) });
            for part in parts {
                if !self.parts.may_have(&part, id)? {
                    continue;
                }
                let Some(loaded) = self.parts.load(&part)? else { continue 'again };
                let Some(there) = loaded.contents.stream(id) else { continue };
                let Some(first) = there.places.first() else { continue };
                let index = |place: u32| part.first() + u64::from(place);
                // What was written since is known already.
                if index(*first) >= before {
                    continue;
                }
                let next = there.first + there.places.partition_point(|place| index(*place) < before) as u64;
                let (first, first_time) = last.map_or((index(*first), None), |last| (last.first, last.first_time));
                last = Some(StreamPast { next, first, first_time });
            }
            return Ok(last);
        }
    }

    /// How many revisions of a stream come before an index. Of those that were removed with their files all do.
    pub(crate) fn count_before(&self, id: &str, index: u64) -> Result<u64, OpenError> {
        'again: loop {
            let parts = self.parts.between(0, index);
            let mut count = self.parts.gone(id).map_or(0, |gone| gone.next);
            for part in parts {
                let Some(loaded) = self.parts.load(&part)? else { continue 'again };
                let Some(there) = loaded.contents.stream(id) else { continue };
                let before = |place: &u32| part.first() + u64::from(*place) < index;
                count = there.first + there.places.partition_point(before) as u64;
            }
            return Ok(count);
        }
    }

    /// The streams that begin before an index, in order, with the index of their first record.
    pub(crate) fn streams(&self, before: u64) -> Result<Vec<(Box<str>, u64)>, OpenError> {
        'again: loop {
            let parts = self.parts.between(0, before);
            let mut streams = self.parts.all_gone();
            for part in parts {
                let Some(loaded) = self.parts.load(&part)? else { continue 'again };
                for stream in &loaded.contents.streams {
                    let first = stream.places.first().map(|first| part.first() + u64::from(*first));
                    if let Some(first) = first.filter(|first| stream.first == 0 && *first < before) {
                        streams.push((stream.id.clone(), first));
                    }
                }
            }
            streams.sort_unstable_by_key(|(_, first)| *first);
            // One that was removed this moment may be there twice.
            streams.dedup();
            return Ok(streams);
        }
    }

    /// How many commands come before an index. Reads the records of its file that do.
    pub(crate) fn commands_before(&self, index: u64) -> Result<u64, OpenError> {
        let Some(last) = index.checked_sub(1) else { return Ok(0) };
        let Some(part) = self.parts.with(last) else { return Ok(self.parts.commands(index)) };
        let Some(loaded) = self.parts.load(&part)? else { return Ok(self.parts.commands(index)) };
        if index == part.end {
            return Ok(loaded.contents.commands);
        }
        let (mut commands, mut at) = (part.header.before.commands, part.first());
        while at < index {
            let within = Range { start: at, end: index };
            let piece = Piece::around(&loaded, at - part.first(), within, false)?;
            piece.each(|found| {
                let there = part.first() + found.place;
                commands += u64::from(there < index && found.frame.kind == Kind::Command);
                Ok(true)
            })?;
            at = part.first() + piece.end;
        }
        Ok(commands)
    }

    /// The last index up to `index` that no batch lies across.
    pub(crate) fn between_batches(&self, index: u64) -> Result<u64, OpenError> {
        let mut at = index;
        while at > 0 {
            let Some(part) = self.parts.with(at - 1) else { return Ok(at) };
            let Some(loaded) = self.parts.load(&part)? else { return Ok(at) };
            let within = Range { start: part.first(), end: part.end };
            let piece = Piece::around(&loaded, at - 1 - part.first(), within, true)?;
            // The end of the last batch that ends up to there.
            let mut end = None;
            piece.each(|found| {
                let next = part.first() + found.place + 1;
                if !found.frame.more {
                    end = Some(next);
                }
                Ok(next < at)
            })?;
            match end {
                Some(end) => return Ok(end),
                None => at = part.first() + piece.first,
            }
        }
        Ok(0)
    }

    /// The first index from `from` to `to` whose record's time is not before `time`; `to` when there is none.
    pub(crate) fn index_at(&self, time: i64, from: u64, to: u64) -> Result<u64, OpenError> {
        for part in self.parts.between(from, to) {
            let Some(loaded) = self.parts.load(&part)? else { continue };
            if loaded.contents.time < time {
                continue;
            }
            // The time of a mark is that of the record before.
            let marks = &loaded.contents.marks;
            let mark = marks.partition_point(|mark| mark.time < time).saturating_sub(1);
            let whole = Range { start: part.first(), end: part.end };
            let piece = Piece::around(&loaded, mark as u64 * MARK_EVERY, whole, false)?;
            let mut first = None;
            piece.each(|found| {
                let index = part.first() + found.place;
                let late = index >= from && found.time.is_some_and(|there| there >= time);
                first = late.then_some(index);
                Ok(!late)
            })?;
            if let Some(index) = first {
                return Ok(index.min(to));
            }
        }
        Ok(to)
    }
}

/// Calls `visit` with the place and the time of each record of a part, until it says that it was the last.
pub(crate) fn each_time(loaded: &Loaded, mut visit: impl FnMut(u64, Option<i64>) -> bool) -> Result<(), OpenError> {
    let whole = Range { start: loaded.part.first(), end: loaded.part.end };
    let (mut place, mut goes_on) = (0, true);
    while goes_on && place < loaded.contents.count {
        let piece = Piece::around(loaded, place, whole, false)?;
        piece.each(|found| {
            goes_on = visit(found.place, found.time);
            Ok(goes_on)
        })?;
        place = piece.end;
    }
    Ok(())
}

impl<'l> Piece<'l> {
    /// The piece with the record at `place`: that one first, or backwards last, as near as marks allow.
    fn around(loaded: &'l Loaded, place: u64, within: Range, backwards: bool) -> Result<Self, OpenError> {
        let Loaded { part, contents, file } = loaded;
        let marks = &contents.marks;
        let offset = |mark: u64| {
            let mark = usize::try_from(mark).ok().and_then(|mark| marks.get(mark));
            mark.map_or(part.frames, |mark| mark.offset)
        };
        let mut first = place / MARK_EVERY;
        let mut end = first + 1;
        if backwards {
            let least = (within.start - part.first()) / MARK_EVERY;
            while first > least && offset(end) - offset(first - 1) <= PIECE {
                first -= 1;
            }
        } else {
            let most = (within.end - part.first()).div_ceil(MARK_EVERY);
            while end < most && offset(end + 1) - offset(first) <= PIECE {
                end += 1;
            }
        }
        let (from, to) = (offset(first), offset(end));
        let Some(mark) = usize::try_from(first).ok().and_then(|first| marks.get(first)) else {
            return Err(loaded.damaged(part.frames, part.first() + place, Flaw::Footer));
        };
        let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(usize::MAX)];
        read_exact(&**file, &mut bytes, from).map_err(|error| StorageError::new("read", &part.name(), error))?;
        let end = (end * MARK_EVERY).min(contents.count);
        Ok(Self { loaded, bytes: bytes.into(), offset: from, first: first * MARK_EVERY, end, time: mark.time })
    }

    /// Calls `visit` with each record, until it says that it was the last.
    fn each(&self, mut visit: impl FnMut(Found<'_>) -> Result<bool, OpenError>) -> Result<(), OpenError> {
        let header = &self.loaded.part.header;
        let (seed, mut at, mut time) = (header.seed(), 0, self.time);
        for place in self.first..self.end {
            let offset = self.offset + at as u64;
            let damaged = |flaw| self.loaded.damaged(offset, header.before.index + place, flaw);
            let rest = &self.bytes[at..];
            let (frame, len) =
                Frame::decode(seed, offset, header.longest, rest).map_err(|none| damaged(none.into()))?;
            let attributes = match frame.attributes {
                None => Attributes::default(),
                Some(block) => Attributes::checked(block).ok_or_else(|| damaged(Flaw::Fields))?,
            };
            if let Some(elapsed) = frame.elapsed {
                time = since(time).wrapping_add_unsigned(elapsed);
            }
            let found = Found { attributes, piece: self, place, time: frame.elapsed.map(|_| time), frame };
            if !visit(found)? {
                return Ok(());
            }
            at += len;
        }
        Ok(())
    }
}

impl Found<'_> {
    fn stream(&self) -> Option<&StreamPart> {
        self.piece.loaded.contents.streams.get(self.frame.stream.number as usize)
    }

    fn damaged(&self) -> OpenError {
        let loaded = self.piece.loaded;
        loaded.damaged(self.piece.offset, loaded.part.first() + self.place, Flaw::Fields)
    }

    fn envelope(&self, revision: u64, source: &mut EnvelopeSource) -> Result<Envelope, OpenError> {
        self.message()
            .and_then(|(stream, message)| {
                let position = Position::new(self.piece.loaded.part.first() + self.place + 1);
                let time = self.time.map(Timestamp::from_nanos);
                source.envelope(stream, position, revision, time, message).ok()
            })
            .ok_or_else(|| self.damaged())
    }

    fn message(&self) -> Option<(&str, Message<'_>)> {
        let stream = self.stream()?;
        let name = self.piece.loaded.contents.names.get(self.frame.name.number as usize)?;
        let payload = self.frame.payload;
        let payload = if payload.len() > LONG {
            Payload::Bytes(self.piece.bytes.slice_ref(payload))
        } else {
            Payload::Slice(payload)
        };
        let message = Message::of_record(self.frame.kind, name, payload, self.attributes)?;
        Some((&stream.id, message))
    }
}

/// Finds the revisions of records that are met in order: mostly of the stream of the one before.
#[derive(Default)]
struct Revisions {
    stream: u32,
    /// Which of the stream's records comes next, perhaps.
    next: usize,
}

impl Revisions {
    fn of(&mut self, found: &Found<'_>) -> Result<u64, OpenError> {
        let stream = found.stream().ok_or_else(|| found.damaged())?;
        let is = |place: &u32| u64::from(*place) == found.place;
        let at = if self.stream == found.frame.stream.number && stream.places.get(self.next).is_some_and(is) {
            self.next
        } else {
            let at = stream.places.binary_search_by_key(&found.place, |place| u64::from(*place));
            at.map_err(|_| found.damaged())?
        };
        *self = Self { stream: found.frame.stream.number, next: at + 1 };
        Ok(stream.first + at as u64)
    }
}

impl Recorded for Found<'_> {
    fn kind(&self) -> Kind {
        self.frame.kind
    }

    fn stream(&self) -> &str {
        Found::stream(self).map_or("", |stream| &stream.id)
    }

    fn name(&self) -> &str {
        let names = &self.piece.loaded.contents.names;
        names.get(self.frame.name.number as usize).map_or("", |name| name)
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.attributes.tags().has(tag)
    }

    fn id(&self, which: Id) -> Option<&[u8]> {
        self.attributes.id_bytes(which)
    }

    #[cfg(feature = "json")]
    fn payload(&self) -> &[u8] {
        self.frame.payload
    }
}
