//! The files of a log, as far as they are read: all that are full, and of the one that is being written what was there when the
//! log was opened. The list is replaced when a file is full; a part in it never changes.

use std::collections::BTreeMap;

use once_cell::race::OnceBox;

use super::contents::Contents;
use super::error::OpenError;
use super::error::{Flaw, Found, StorageError};
use super::floor::{Floor, Gone};
use super::footer::{TRAILER, Trailer};
use super::header::Header;
use super::scan::scan;
use super::storage::{Storage, StoredFile, read_exact};
use crate::sync::{CopyOnWrite, StdArc};

/// How many files' contents are kept besides those that cannot be had again.
const KEPT: usize = 8;

/// The name of a file.
pub(crate) fn name_of(number: u64) -> String {
    format!("{number:016}.seg")
}

/// The name of a file until it has a header.
pub(crate) fn unfinished_name_of(number: u64) -> String {
    format!("{number:016}.new")
}

/// Whether a file of ours was not given its name.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".new").is_some_and(|digits| number_of(&format!("{digits}.seg")).is_some())
}

/// The number of a file of ours.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    number.bytes().all(|digit| digit.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Records that are not going to change any more.
pub(crate) struct Part {
    pub(crate) header: Header,
    /// Index after the last record.
    pub(crate) end: u64,
    /// Where in the file its frames end.
    pub(crate) frames: u64,
    /// Bytes of the file, its footer included when it has one.
    pub(crate) len: u64,
    source: Source,
    /// Of the ids of its streams, in order: so that most that it does not have need not be looked for.
    sums: OnceBox<Box<[u32]>>,
}

enum Source {
    /// What the file holds is at its end.
    Footer(Trailer),
    /// The file has no footer, or will lose it.
    Known(StdArc<Contents>),
}

/// A part that can be read.
pub(crate) struct Loaded {
    pub(crate) part: StdArc<Part>,
    pub(crate) file: Box<dyn StoredFile>,
    pub(crate) contents: StdArc<Contents>,
}

impl Part {
    /// A part with a footer, in a file of `len` bytes.
    pub(crate) fn sealed(header: Header, trailer: Trailer, len: u64) -> Self {
        let end = trailer.after(&header).index;
        Self { header, end, frames: trailer.end, len, source: Source::Footer(trailer), sums: OnceBox::new() }
    }

    /// A part whose contents are known.
    pub(crate) fn known(header: Header, contents: StdArc<Contents>, frames: u64) -> Self {
        let end = contents.end();
        Self { header, end, frames, len: frames, source: Source::Known(contents), sums: OnceBox::new() }
    }

    pub(crate) fn first(&self) -> u64 {
        self.header.before.index
    }

    /// Time of the last record, here or before; the least number when there is none.
    pub(crate) fn time(&self) -> i64 {
        match &self.source {
            Source::Footer(trailer) => trailer.time,
            Source::Known(contents) => contents.time,
        }
    }

    /// What the file holds, when its end does not say so.
    pub(crate) fn contents_without_footer(&self) -> Option<&Contents> {
        match &self.source {
            Source::Footer(_) => None,
            Source::Known(contents) => Some(contents),
        }
    }

    pub(crate) fn name(&self) -> String {
        name_of(self.header.number)
    }

    /// Reads what the file holds.
    pub(crate) fn contents(&self, file: &dyn StoredFile) -> Result<StdArc<Contents>, OpenError> {
        let trailer = match &self.source {
            Source::Known(contents) => return Ok(contents.clone()),
            Source::Footer(trailer) => trailer,
        };
        let name = self.name();
        let failed = |error| StorageError::new("read", &name, error);
        let len = file.len().map_err(failed)?;
        let footer = len.checked_sub(TRAILER as u64).and_then(|end| end.checked_sub(trailer.end));
        if let Some(len) = footer.and_then(|len| usize::try_from(len).ok()) {
            let mut section = vec![0; len];
            read_exact(file, &mut section, trailer.end).map_err(failed)?;
            if let Some(contents) = trailer.contents(&self.header, &section) {
                return Ok(StdArc::new(contents));
            }
        }
        // It follows from the frames.
        let bytes = read_all(file, trailer.end).map_err(failed)?;
        let scanned = scan(&self.header, &bytes, Some(self.end)).map_err(|found| found.within(&name))?;
        Ok(StdArc::new(scanned.contents))
    }
}

/// The first `len` bytes of a file, or as many as it has.
pub(crate) fn read_all(file: &dyn StoredFile, len: u64) -> std::io::Result<Vec<u8>> {
    let len = len.min(file.len()?);
    let len = usize::try_from(len).map_err(|_| std::io::ErrorKind::OutOfMemory)?;
    let mut bytes = vec![0; len];
    read_exact(file, &mut bytes, 0)?;
    Ok(bytes)
}

/// All parts, in order, without a gap; and what was read of them last.
pub(crate) struct Parts {
    storage: StdArc<dyn Storage>,
    list: CopyOnWrite<Vec<StdArc<Part>>>,
    kept: CopyOnWrite<Vec<StdArc<Loaded>>>,
    /// Streams with records in files that were removed. Replaced before those are taken off the list: who loads it after
    /// the list misses nothing.
    gone: CopyOnWrite<BTreeMap<Box<str>, Gone>>,
}

impl Parts {
    pub(crate) fn new(storage: StdArc<dyn Storage>, list: &[StdArc<Part>], floor: &Floor) -> Self {
        let parts = Self { storage, list: CopyOnWrite::new(), kept: CopyOnWrite::new(), gone: CopyOnWrite::new() };
        parts.list.change(|_| Some(Some(list.to_vec())));
        parts.gone.change(|_| Some(Some(floor.streams.clone())));
        parts
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Adds a part at the end, in place of the last one if that is of the same file.
    pub(crate) fn add(&self, part: &StdArc<Part>) {
        self.list.change(|list| {
            let mut list = list.cloned().unwrap_or_default();
            list.pop_if(|last| last.header.number == part.header.number);
            list.push(part.clone());
            Some(Some(list))
        });
    }

    /// Those whose records all come before an index, but the last.
    pub(crate) fn before(&self, index: u64) -> Vec<StdArc<Part>> {
        let list = self.list.load();
        let but_last = list.get().and_then(|list| list.split_last()).map_or(&[][..], |(_, before)| before);
        but_last.iter().take_while(|part| part.end <= index).cloned().collect()
    }

    /// Whether there are any.
    pub(crate) fn has_before(&self, index: u64) -> bool {
        self.list.load().get().is_some_and(|list| list.len() > 1 && list[0].end <= index)
    }

    /// Parts, the first ones, are gone: what is left of them is what `floor` says.
    pub(crate) fn forget(&self, going: &[StdArc<Part>], floor: &Floor) {
        let Some(last) = going.last() else { return };
        self.gone.change(|_| Some(Some(floor.streams.clone())));
        let stays = |part: &Part| part.first() >= last.end;
        self.list.change(|list| Some(Some(list?.iter().filter(|part| stays(part)).cloned().collect())));
        self.kept.change(|kept| Some(Some(kept?.iter().filter(|loaded| stays(&loaded.part)).cloned().collect())));
    }

    /// What is known of a stream from files that were removed.
    pub(crate) fn gone(&self, id: &str) -> Option<Gone> {
        self.gone.load().get()?.get(id).copied()
    }

    /// All streams that have records in such files, with the index of their first.
    pub(crate) fn all_gone(&self) -> Vec<(Box<str>, u64)> {
        let gone = self.gone.load();
        gone.get().into_iter().flatten().map(|(id, gone)| (id.clone(), gone.first)).collect()
    }

    /// Index of the first record of them.
    pub(crate) fn first(&self) -> u64 {
        self.list.load().get().and_then(|list| list.first()).map_or(0, |part| part.first())
    }

    /// How many commands come before an index that is not after the first record.
    pub(crate) fn commands(&self, index: u64) -> u64 {
        let first = self.list.load().get().and_then(|list| list.first()).map(|part| part.header.before);
        first.filter(|before| before.index >= index).map_or(0, |before| before.commands)
    }

    /// Index after the last record of them.
    pub(crate) fn end(&self) -> u64 {
        self.list.load().get().and_then(|list| list.last()).map_or(0, |part| part.end)
    }

    /// Those with records from `from` on and before `to`.
    pub(crate) fn between(&self, from: u64, to: u64) -> Vec<StdArc<Part>> {
        let list = self.list.load();
        let wanted = |part: &&StdArc<Part>| part.end > from && part.first() < to;
        list.get().into_iter().flatten().filter(wanted).cloned().collect()
    }

    /// The part with a record.
    pub(crate) fn with(&self, index: u64) -> Option<StdArc<Part>> {
        let list = self.list.load();
        let list = list.get()?;
        let at = list.partition_point(|part| part.end <= index);
        list.get(at).filter(|part| part.first() <= index).cloned()
    }

    /// Whether a part has a stream, perhaps. Reads what the part has, the first time.
    pub(crate) fn may_have(&self, part: &StdArc<Part>, id: &str) -> Result<bool, OpenError> {
        if part.sums.get().is_none() {
            let Some(loaded) = self.load(part)? else { return Ok(true) };
            let streams = &loaded.contents.streams;
            let mut sums: Vec<u32> = streams.iter().map(|stream| crc32c::crc32c(stream.id.as_bytes())).collect();
            sums.sort_unstable();
            // Whoever was faster has found the same.
            let _ = part.sums.set(Box::new(sums.into()));
        }
        let sums = part.sums.get().map_or(&[][..], |sums| sums);
        Ok(sums.binary_search(&crc32c::crc32c(id.as_bytes())).is_ok())
    }

    /// Opens a part, unless it was opened lately; none when it was removed meanwhile.
    pub(crate) fn load(&self, part: &StdArc<Part>) -> Result<Option<StdArc<Loaded>>, OpenError> {
        let same = |loaded: &&StdArc<Loaded>| StdArc::ptr_eq(&loaded.part, part);
        if let Some(loaded) = self.kept.load().get().and_then(|kept| kept.iter().find(same)) {
            return Ok(Some(loaded.clone()));
        }
        let loaded = match self.open(part) {
            Ok(loaded) => StdArc::new(loaded),
            // What was removed cannot be read: that is no failure.
            Err(_) if part.first() < self.first() => return Ok(None),
            Err(error) => return Err(error),
        };
        self.kept.change(|kept| {
            let mut kept = kept.cloned().unwrap_or_default();
            if kept.len() >= KEPT {
                kept.remove(0);
            }
            kept.push(loaded.clone());
            Some(Some(kept))
        });
        Ok(Some(loaded))
    }

    fn open(&self, part: &StdArc<Part>) -> Result<Loaded, OpenError> {
        let name = part.name();
        let file = self.storage.open(&name).map_err(|error| StorageError::new("open", &name, error))?;
        let contents = part.contents(&*file)?;
        Ok(Loaded { part: part.clone(), file, contents })
    }
}

impl Loaded {
    /// A flaw in the part's file.
    pub(crate) fn damaged(&self, offset: u64, index: u64, flaw: Flaw) -> OpenError {
        Found { offset, index, flaw }.within(&self.part.name()).into()
    }
}
