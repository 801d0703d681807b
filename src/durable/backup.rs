//! Copying a log while it is used.
//!
//! While files are copied none is removed, see `removal`; appends go on. Files that are full are copied as they are. The last
//! one is copied as far as it is synced, and gets a footer; what is written to it meanwhile lies behind that. Checkpoints come
//! first and the end is looked at after them: so none is beyond it. Files of records come last, from the last one back to the
//! first, each under its name only when it is whole: a backup that was interrupted lacks its first file, and does not open.

use std::io;
use std::path::Path;

use thiserror::Error;

use super::commit::Level;
use super::directory::Directory;
use super::error::{Damage, Flaw, OpenError, StorageError};
use super::floor;
use super::footer;
use super::header::{Before, Header};
use super::journal::Journal;
use super::notes::is_note;
use super::open::lock;
use super::parts::{Part, name_of, number_of, read_all};
use super::scan::scan_to;
use super::storage::{Storage, StoredFile, read_exact};
use crate::log::Log;
use crate::model::Position;

/// How much is copied at once.
const PIECE: usize = 1 << 20;

/// Why there is no backup.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The log is in memory alone.
    #[error("a log in memory has no files to copy")]
    InMemory,
    /// There is a log already, or a part of one: a backup that was interrupted, say.
    #[error("there is a file of a log in {directory:?} already: {file:?}")]
    #[non_exhaustive]
    Occupied {
        /// Where.
        directory: Box<str>,
        /// One of its files.
        file: Box<str>,
    },
    /// Files could not be read or written, or are damaged, or the target is in use. What was copied so far does not open.
    #[error(transparent)]
    Failed(#[from] OpenError),
}

impl From<StorageError> for BackupError {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

impl Log {
    /// Copies a log on disk to a directory, which is made when it is not there, while the log is used. Returns the last position
    /// that the copy has: it is a log with the same id, a beginning of this one, batches whole, with everything that the disk
    /// had when this was called. What was removed from this one is removed from it. The checkpoints beside this log
    /// (`sourcing::DiskCheckpoints`) are beside it.
    ///
    /// Blocks on both disks. Holds up no append and no truncation; files that are removed meanwhile go when it is done.
    ///
    /// ```
    /// use annals::{Log, Message};
    ///
    /// # let there = std::env::temp_dir().join(format!("annals-doc-backup-{}", std::process::id()));
    /// # let (directory, copies) = (there.join("events"), there.join("monday"));
    /// let log = Log::open(&directory)?;
    /// log.append("account-1", Message::event("Opened", "")?)?;
    /// let end = log.backup(&copies)?;
    /// assert_eq!(Log::open(&copies)?.end(), end);
    /// # drop(log);
    /// # std::fs::remove_dir_all(&there)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn backup(&self, directory: impl AsRef<Path>) -> Result<Position, BackupError> {
        if self.journal().is_none() {
            return Err(BackupError::InMemory);
        }
        let name = directory.as_ref().display().to_string();
        let made = Directory::create(directory).map_err(|error| StorageError::new("make directory", &name, error))?;
        self.backup_on(&made)
    }

    /// Copies a log on disk to a storage: as [`backup`](Self::backup).
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn backup_on(&self, storage: &dyn Storage) -> Result<Position, BackupError> {
        let journal = self.journal().ok_or(BackupError::InMemory)?;
        let _lock = lock(storage)?;
        let names = storage.names().map_err(|error| StorageError::new("list", "", error))?;
        let is_ours = |name: &&String| {
            let name = name.strip_suffix(".new").unwrap_or(name);
            number_of(name).is_some() || name == floor::NAME || is_note(name)
        };
        if let Some(file) = names.iter().find(is_ours) {
            let (directory, file) = (storage.name().into(), file.as_str().into());
            return Err(BackupError::Occupied { directory, file });
        }
        Ok(Backup { journal, from: journal.storage(), to: storage }.run()?)
    }
}

struct Backup<'b> {
    journal: &'b Journal,
    from: &'b dyn Storage,
    to: &'b dyn Storage,
}

/// A file of the copy: the first bytes of the original, and a footer, unless that was among them.
struct Piece {
    number: u64,
    len: u64,
    footer: Vec<u8>,
}

impl Backup<'_> {
    fn run(&self) -> Result<Position, OpenError> {
        self.copy_notes()?;
        let hold = self.journal.hold();
        let full = hold.parts.last().map_or(0, |part| part.end);
        // What is in a file that is full is synced, whether the mark has been moved yet or not.
        let end = self.journal.mark(Level::Synced).max(full);
        if hold.floor.first > 0 {
            floor::replace(self.to, floor::NAME, &hold.floor.encode())?;
        }
        let (number, index, full) = match hold.parts.split_last() {
            Some((last, full)) => (last.header.number, last.first(), full),
            None => (hold.floor.number, hold.floor.kept, &[][..]),
        };
        let mut pieces = Vec::new();
        for part in full {
            pieces.push(Self::whole(part));
        }
        self.add_last(number, index, end, &mut pieces)?;
        while let Some(piece) = pieces.pop() {
            if pieces.is_empty() {
                self.sync()?;
            }
            self.copy(&piece)?;
        }
        if end == 0 {
            self.begin()?;
        }
        self.sync()?;
        Ok(Position::new(end))
    }

    /// Each checkpoint as it is now.
    fn copy_notes(&self) -> Result<(), StorageError> {
        let names = self.from.names().map_err(|error| StorageError::new("list", "", error))?;
        for name in names.iter().filter(|name| is_note(name)) {
            if let Some(bytes) = floor::load(self.from, name)? {
                floor::replace(self.to, name, &bytes)?;
            }
        }
        Ok(())
    }

    /// A file that is full. One that has lost its footer gets another.
    fn whole(part: &Part) -> Piece {
        let footer = match part.contents_without_footer() {
            Some(contents) => footer::encode(&part.header, contents, part.frames),
            None => Vec::new(),
        };
        Piece { number: part.header.number, len: part.len, footer }
    }

    /// The files from the last one on that was full when files were held, up to the one with the record before `end`: others may
    /// have become full meanwhile, and that one may have lost its footer. What is after that is not looked at.
    fn add_last(&self, mut number: u64, mut index: u64, end: u64, pieces: &mut Vec<Piece>) -> Result<(), OpenError> {
        while index < end {
            let name = name_of(number);
            let failed = |error| StorageError::new("read", &name, error);
            let damaged =
                |flaw| Damage { file: name.clone().into(), offset: 0, position: Position::new(index + 1), flaw };
            let file = self.from.open(&name).map_err(failed)?;
            let bytes = file.len().and_then(|len| read_all(&*file, len)).map_err(failed)?;
            let header = Header::decode(&bytes).map_err(|_| damaged(Flaw::Header))?;
            let (contents, len) = scan_to(&header, &bytes, end);
            if contents.before.index != index || contents.count == 0 {
                return Err(damaged(Flaw::Missing).into());
            }
            pieces.push(Piece { number, len, footer: footer::encode(&header, &contents, len) });
            (number, index) = (number + 1, contents.end());
        }
        Ok(())
    }

    /// A log without records: its id is in the header of a file.
    fn begin(&self) -> Result<(), StorageError> {
        let longest = 1 << 30;
        let header = Header { log: self.journal.id(), number: 1, before: Before::NOTHING, longest };
        self.write(1, |file| file.write(&header.encode(), 0))
    }

    fn copy(&self, piece: &Piece) -> Result<(), StorageError> {
        let Piece { number, len, footer } = piece;
        let name = name_of(*number);
        let source = self.from.open(&name).map_err(|error| StorageError::new("read", &name, error))?;
        self.write(*number, |file| {
            let mut bytes = vec![0; PIECE];
            let mut at = 0;
            while at < *len {
                let piece = bytes.len().min(usize::try_from(*len - at).unwrap_or(PIECE));
                read_exact(&*source, &mut bytes[..piece], at)?;
                file.write(&bytes[..piece], at)?;
                at += piece as u64;
            }
            if footer.is_empty() { Ok(()) } else { file.write(footer, *len) }
        })
    }

    /// Makes a file, which has its name when it is whole.
    fn write(&self, number: u64, fill: impl FnOnce(&dyn StoredFile) -> io::Result<()>) -> Result<(), StorageError> {
        let name = name_of(number);
        let new = floor::new_name(&name);
        let written = self.to.create(&new).and_then(|file| {
            fill(&*file)?;
            file.sync_all()?;
            drop(file);
            self.to.rename(&new, &name)
        });
        written.map_err(|error| StorageError::new("copy", &name, error))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.to.sync().map_err(|error| StorageError::new("sync", "", error))
    }
}
