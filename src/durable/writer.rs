//! Writing records to files, one behind the other.
//!
//! A file is begun under another name, with a header; when that is synced, it gets its own. Frames are collected in a buffer
//! and written in one piece; ahead of them the file is filled with zeros, a step at a time, so that a sync has no more to do than to write data. A file
//! that is long enough is synced, gets its footer, is synced again, and only then the next one is begun: so of two files that
//! have records the first is whole. Every step may be the last one before a power cut: `scan` says what that leaves.
//!
//! After a failure nothing is written any more: what the system says of a file after that cannot be relied on.

use super::contents::{Contents, Item};
use super::error::{OpenError, StorageError};
use super::footer::{self, Trailer};
use super::header::{self, Before, Header, LogId};
use super::parts::{Part, Parts, name_of, unfinished_name_of};
use super::storage::{Storage, StoredFile};
use crate::sync::StdArc;

/// How much is written at once.
const PIECE: usize = 1 << 20;
/// From here on so much is written at once that filling ahead is not worth it.
const MUCH: usize = 1 << 16;
/// How far ahead a file is filled with zeros.
const AHEAD: u64 = 1 << 20;

/// How files are to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) log: LogId,
    /// A file that is at least so long is full.
    pub(crate) bytes: u64,
    /// Bytes of the longest frame, its head not included.
    pub(crate) longest: u32,
}

pub(crate) struct Writer {
    storage: StdArc<dyn Storage>,
    parts: StdArc<Parts>,
    shape: Shape,
    /// The file that is being written.
    current: Option<Current>,
    /// What the next file has: it is begun with the next record.
    number: u64,
    before: Before,
    buffer: Vec<u8>,
}

struct Current {
    name: String,
    file: Box<dyn StoredFile>,
    header: Header,
    seed: u32,
    contents: Contents,
    /// Where the next frame goes, those in the buffer included.
    end: u64,
    /// Up to where the file was written.
    written: u64,
    /// Up to where it has zeros at least.
    room: u64,
    /// Something was written since the last sync.
    dirty: bool,
    /// Everything before the next frame has been synced.
    synced: bool,
}

/// Whether a record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// First [`Writer::make_room`], then again.
    Full,
}

impl Writer {
    pub(crate) fn new(
        storage: StdArc<dyn Storage>,
        parts: StdArc<Parts>,
        shape: Shape,
        number: u64,
        before: Before,
    ) -> Self {
        Self { storage, parts, shape, current: None, number, before, buffer: Vec::new() }
    }

    /// Goes on with a file whose frames end at `end`.
    pub(crate) fn go_on(&mut self, header: Header, file: Box<dyn StoredFile>, contents: Contents, end: u64) {
        let name = name_of(header.number);
        let seed = header.seed();
        (self.number, self.before) = (header.number, header.before);
        let (written, room) = (end, end);
        self.current =
            Some(Current { name, file, header, seed, contents, end, written, room, dirty: false, synced: true });
    }

    /// The next file has this number: there is none yet.
    pub(crate) fn begin_at(&mut self, number: u64) {
        self.number = number;
    }

    /// Index after the last record that was taken.
    pub(crate) fn next(&self) -> u64 {
        self.current.as_ref().map_or(self.before.index, |current| current.contents.end())
    }

    /// Takes a record, which comes next. Touches no file. `begins`: it is the first of its batch.
    #[inline]
    pub(crate) fn take(&mut self, item: &Item<'_>, begins: bool) -> Taken {
        let Some(current) = &mut self.current else { return Taken::Full };
        if begins && (self.buffer.len() >= PIECE || current.is_full(self.shape.bytes)) {
            return Taken::Full;
        }
        let frame = current.contents.frame(item, std::mem::take(&mut current.synced));
        let at = self.buffer.len();
        frame.encode(current.seed, current.end, &mut self.buffer);
        let taken = current.contents.take(&frame, current.end);
        debug_assert_eq!(taken, Ok(item.revision), "revisions follow one another");
        current.end += (self.buffer.len() - at) as u64;
        Taken::Yes
    }

    /// Makes room for a record that was not taken: writes what is in the buffer, begins a file.
    pub(crate) fn make_room(&mut self) -> Result<(), StorageError> {
        self.write()?;
        let bytes = self.shape.bytes;
        if self.current.as_ref().is_some_and(|current| current.is_full(bytes)) {
            self.seal()?;
        }
        if self.current.is_none() {
            self.begin()?;
        }
        Ok(())
    }

    /// Hands what is in the buffer to the system.
    pub(crate) fn write(&mut self) -> Result<(), StorageError> {
        let Some(current) = self.current.as_mut().filter(|_| !self.buffer.is_empty()) else { return Ok(()) };
        let failed = |error| StorageError::new("write", &current.name, error);
        current.dirty = true;
        current.file.write(&self.buffer, current.written).map_err(failed)?;
        let len = self.buffer.len();
        current.written = current.end;
        self.buffer.clear();
        // Who writes much at once does not wait for each sync: zeros would be written for nothing.
        if current.written > current.room && len < MUCH {
            let zeros = vec![0; usize::try_from(AHEAD.min(self.shape.bytes)).unwrap_or_default()];
            current.file.write(&zeros, current.written).map_err(failed)?;
            current.room = current.written + zeros.len() as u64;
        }
        Ok(())
    }

    /// What was taken is written, and stays so.
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        self.write()?;
        let Some(current) = self.current.as_mut().filter(|current| current.dirty) else { return Ok(()) };
        current.file.sync().map_err(|error| StorageError::new("sync", &current.name, error))?;
        (current.dirty, current.synced) = (false, true);
        Ok(())
    }

    /// Writes the footer of the current file: it is complete. The next record begins another one.
    pub(crate) fn seal(&mut self) -> Result<(), StorageError> {
        self.sync()?;
        let Some(current) = self.current.take() else { return Ok(()) };
        let Current { name, file, header, contents, end, .. } = current;
        let failed = |error| StorageError::new("close", &name, error);
        let footer = footer::encode(&header, &contents, end);
        let len = end + footer.len() as u64;
        file.write(&footer, end).map_err(failed)?;
        file.set_len(len).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let trailer = Trailer::decode(&header, &footer[footer.len() - footer::TRAILER..]);
        let trailer = trailer.expect("what was encoded is decoded");
        (self.number, self.before) = (header.number + 1, contents.after());
        self.parts.add(&StdArc::new(Part::sealed(header, trailer, len)));
        Ok(())
    }

    /// What was taken stays, and the current file is complete, if there is anything in it.
    pub(crate) fn close(&mut self) -> Result<(), StorageError> {
        if self.current.as_ref().is_some_and(|current| current.contents.count > 0) { self.seal() } else { self.sync() }
    }

    /// Begins the next file.
    fn begin(&mut self) -> Result<(), StorageError> {
        let name = name_of(self.number);
        let failed = |error| StorageError::new("begin", &name, error);
        let header =
            Header { log: self.shape.log, number: self.number, before: self.before, longest: self.shape.longest };
        let unfinished = unfinished_name_of(self.number);
        let file = self.storage.create(&unfinished).map_err(failed)?;
        let mut zeros = vec![0; usize::try_from(AHEAD.min(self.shape.bytes)).unwrap_or_default()];
        zeros[..header::LEN].copy_from_slice(&header.encode());
        file.write(&zeros, 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        self.storage.rename(&unfinished, &name).and_then(|()| self.storage.sync()).map_err(failed)?;
        let (written, room, seed) = (header::LEN as u64, zeros.len() as u64, header.seed());
        let contents = Contents::new(self.before);
        let end = written;
        self.current =
            Some(Current { name, file, header, seed, contents, end, written, room, dirty: false, synced: true });
        Ok(())
    }

    /// Takes up the last file again, which was closed before it was full.
    pub(crate) fn reopen(&mut self, part: &StdArc<Part>) -> Result<(), OpenError> {
        let name = part.name();
        let failed = |error| StorageError::new("open", &name, error);
        let file = self.storage.open(&name).map_err(failed)?;
        let contents = part.contents(&*file)?;
        // The footer goes; whoever reads the part from now on has its contents.
        let known = Part::known(part.header, contents.clone(), part.frames);
        self.parts.add(&StdArc::new(known));
        clear(&*file, part.frames).map_err(failed)?;
        self.go_on(part.header, file, Contents::clone(&contents), part.frames);
        Ok(())
    }
}

impl Current {
    fn is_full(&self, bytes: u64) -> bool {
        self.end >= bytes && self.contents.count > 0
    }
}

/// Nothing but zeros follows `from`, for good.
pub(crate) fn clear(file: &dyn StoredFile, from: u64) -> std::io::Result<()> {
    let len = file.len()?;
    let Some(rest) = len.checked_sub(from).filter(|rest| *rest > 0) else { return Ok(()) };
    let zeros = vec![0; PIECE.min(usize::try_from(rest).unwrap_or(PIECE))];
    let mut at = from;
    while at < len {
        let piece = zeros.len().min(usize::try_from(len - at).unwrap_or(PIECE));
        file.write(&zeros[..piece], at)?;
        at += piece as u64;
    }
    file.sync_all()
}
