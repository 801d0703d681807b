//! The end of a file that is full, or was closed: what the file holds, so that opening it and finding something in it does not
//! mean to read it. Everything in it follows from the frames; without it they are read.
//!
//! ```text
//!        names: v how many; each 1 + n its length and text
//!        streams: v how many; each 1 + n its id, v revision of its first record here, v how many records,
//!               v each: records of other streams since the one before, or since the beginning of the file
//!        marks: v how many; one for every 64 records, of the first of them: v bytes since the mark before or the header,
//!               v the time before the record, counted from that of the mark before (from 0)
//! then, at the very end of the file, 64 bytes:
//! offset bytes
//!      0     8  "annalsFT"
//!      8     8  offset of the end of the frames, where names begin
//!     16     8  how many records
//!     24     8  time of the last record, here or before; the least number when there is none
//!     32     8  how many of all records up to here are commands
//!     40     8  how many streams have begun up to here
//!     48     4  CRC-32C of names, streams and marks
//!     52     8  zeros
//!     60     4  CRC-32C of the 60 bytes before, begun with the file's seed
//! ```

use super::contents::{Contents, MARK_EVERY, Mark, StreamPart};
use super::fields::{Fields, put_short, put_varint};
use super::header::{self, Before, Header};

pub(crate) const TRAILER: usize = 64;
const MAGIC: &[u8; 8] = b"annalsFT";
const CHECKED: usize = TRAILER - 4;

/// The last bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Offset of the end of the frames.
    pub(crate) end: u64,
    pub(crate) count: u64,
    pub(crate) time: i64,
    pub(crate) commands: u64,
    /// Of all files up to this one.
    pub(crate) streams: u64,
    sum: u32,
}

/// The footer of a file whose frames end at `end`.
pub(crate) fn encode(header: &Header, contents: &Contents, end: u64) -> Vec<u8> {
    let mut to = Vec::new();
    put_varint(contents.names.len() as u64, &mut to);
    contents.names.iter().for_each(|name| put_short(name, &mut to));
    put_varint(contents.streams.len() as u64, &mut to);
    for stream in &contents.streams {
        put_short(&stream.id, &mut to);
        put_varint(stream.first, &mut to);
        put_varint(stream.places.len() as u64, &mut to);
        let mut next = 0;
        for place in &stream.places {
            put_varint(u64::from(place - next), &mut to);
            next = place + 1;
        }
    }
    put_varint(contents.marks.len() as u64, &mut to);
    let mut last = Mark { offset: header::LEN as u64, time: 0 };
    for mark in &contents.marks {
        put_varint(mark.offset - last.offset, &mut to);
        put_varint(mark.time.wrapping_sub(last.time).cast_unsigned(), &mut to);
        last = *mark;
    }
    let after = contents.after();
    let sum = crc32c::crc32c(&to);
    let at = to.len();
    to.extend_from_slice(MAGIC);
    for number in [end, contents.count, after.time.cast_unsigned(), after.commands, after.streams] {
        to.extend_from_slice(&number.to_le_bytes());
    }
    to.extend_from_slice(&sum.to_le_bytes());
    to.resize(at + CHECKED, 0);
    let sum = crc32c::crc32c_append(header.seed(), &to[at..]);
    to.extend_from_slice(&sum.to_le_bytes());
    to
}

impl Trailer {
    /// From the last bytes of a file; none when it does not end with a trailer of its own.
    pub(crate) fn decode(header: &Header, bytes: &[u8]) -> Option<Self> {
        let checked = bytes.get(..CHECKED)?;
        if crc32c::crc32c_append(header.seed(), checked) != Fields(bytes.get(CHECKED..TRAILER)?).u32()? {
            return None;
        }
        let mut fields = Fields(checked);
        if fields.take(8)? != MAGIC {
            return None;
        }
        let (end, count, time) = (fields.u64()?, fields.u64()?, fields.i64()?);
        let (commands, streams) = (fields.u64()?, fields.u64()?);
        Some(Self { end, count, time, commands, streams, sum: fields.u32()? })
    }

    /// Whether a file of `len` bytes can end with it. If not, some are missing: no crash does that.
    pub(crate) fn fits(&self, len: u64) -> bool {
        self.end >= header::LEN as u64 && len.checked_sub(TRAILER as u64).is_some_and(|last| self.end <= last)
    }

    /// What comes before the next file.
    pub(crate) fn after(&self, header: &Header) -> Before {
        Before {
            index: header.before.index + self.count,
            time: self.time,
            commands: self.commands,
            streams: self.streams,
        }
    }

    /// What the file holds, from the bytes between the frames and the trailer; none when they are damaged.
    pub(crate) fn contents(&self, header: &Header, section: &[u8]) -> Option<Contents> {
        if crc32c::crc32c(section) != self.sum {
            return None;
        }
        let mut fields = Fields(section);
        let names = fields.varint_as::<usize>()?;
        let names = (0..names).map(|_| fields.short().map(Box::from)).collect::<Option<Vec<Box<str>>>>()?;
        let streams = fields.varint_as::<usize>()?;
        let streams = (0..streams).map(|_| self.stream(&mut fields)).collect::<Option<Vec<_>>>()?;
        let marks = fields.varint()?;
        if marks != self.count.div_ceil(MARK_EVERY) {
            return None;
        }
        let mut last = Mark { offset: header::LEN as u64, time: 0 };
        let marks = (0..marks).map(|_| {
            last.offset = last.offset.checked_add(fields.varint()?).filter(|offset| *offset < self.end)?;
            last.time = last.time.wrapping_add_unsigned(fields.varint()?);
            Some(last)
        });
        let marks = marks.collect::<Option<Vec<_>>>()?;
        let begun = self.streams.checked_sub(header.before.streams)?;
        let records: u64 = streams.iter().map(|stream| stream.places.len() as u64).sum();
        let mut contents = Contents::of(header.before, streams, names, marks)?;
        (contents.count, contents.time, contents.commands, contents.begun) =
            (self.count, self.time, self.commands, begun);
        (fields.0.is_empty() && records == self.count).then_some(contents)
    }

    fn stream(&self, fields: &mut Fields<'_>) -> Option<StreamPart> {
        let (id, first) = (fields.short()?.into(), fields.varint()?);
        let count = fields.varint_as::<usize>()?;
        let mut next = 0_u64;
        let places = (0..count).map(|_| {
            let place = next.checked_add(fields.varint()?).filter(|place| *place < self.count)?;
            next = place + 1;
            u32::try_from(place).ok()
        });
        Some(StreamPart { id, first, places: places.collect::<Option<_>>()? })
    }
}
