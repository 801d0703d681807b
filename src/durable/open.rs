//! Opening a log on disk: which files there are, what they hold, and where to go on.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::directory::Directory;
use super::error::{Damage, Flaw, Found, OpenError, StorageError};
use super::floor::{self, Floor};
use super::footer::{TRAILER, Trailer};
use super::frame::FIXED;
use super::header::{self, Before, Header, LogId, NoHeader, VERSION};
use super::journal::{self, Journal, Recovered, Scribe, Settings};
use super::notes::{Notes, is_note};
use super::parts::{Part, Parts, is_unfinished as is_unfinished_file, name_of, number_of, read_all};
use super::removal::{Removal, remove};
use super::scan::scan;
use super::storage::{Storage, StoredFile, read_exact};
use super::writer::{Shape, Writer, clear};
use crate::log::{Ack, Builder, Interest, Log, Start};
use crate::model::{Limits, Position, Timestamp};
use crate::sync::{StdArc, wait};

/// How a log is kept on disk.
///
/// ```no_run
/// use annals::durable::Options;
/// use annals::{Ack, Log};
///
/// let options = Options::new().acknowledge(Ack::Written).file_bytes(8 << 20);
/// let log = Log::builder().open("events", options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Options {
    ack: Ack,
    file_bytes: u64,
    resident: Option<u64>,
    sync_every: Duration,
}

impl Options {
    /// Appends return when the disk has them; files of 32 MiB; everything that was appended since the log was opened is in
    /// memory, too.
    pub fn new() -> Self {
        Self { ack: Ack::Synced, file_bytes: 32 << 20, resident: None, sync_every: Duration::from_millis(100) }
    }

    /// When an append returns that does not say so itself ([`AppendOptions::acknowledge`](crate::AppendOptions::acknowledge)).
    pub fn acknowledge(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// From how many bytes on a file is full, 4 KiB to 1 GiB. What opening reads after a crash, at most, and what retention
    /// removes at once. A file is longer by its last batch, and by what it says of its content.
    pub fn file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes = bytes;
        self
    }

    /// How many of the last envelopes are in memory. More are while they are not in a file that is full: about as many as fit
    /// into one. Without this, all that were appended since the log was opened.
    pub fn resident(mut self, envelopes: u64) -> Self {
        self.resident = Some(envelopes);
        self
    }

    /// How long what was written stays without a sync when nobody waits for one. Without this: 100 ms.
    pub fn sync_every(mut self, pause: Duration) -> Self {
        self.sync_every = pause;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// Opens the log in a directory, which is made when it is not there. Blocks on the disk.
    ///
    /// Reads the ends of the files, and after a crash the last one. What was appended before is read back when it is asked for.
    /// When the last handle is dropped, everything is written and synced.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder().open(directory, Options::new())
    }
}

impl Builder {
    /// Opens the log in a directory: as [`Log::open`], with settings.
    ///
    /// [Retention](Self::retention) is kept to by whole files: when one is full, at [`maintain`](Log::maintain), and here, files
    /// are removed from the first on, never the last one: those without one of the last [`records`](crate::Retention::records);
    /// as many as there are more than [`bytes`](crate::Retention::bytes) on disk, of files that are full; those whose last record
    /// is older than [`age`](crate::Retention::age). What is in memory is another matter, see [`Options::resident`].
    ///
    /// [Indexes](Self::indexes) are kept, but neither reads nor conditions of a log on disk use them so far.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(self, directory: impl AsRef<Path>, options: Options) -> Result<Log, OpenError> {
        let made = Directory::create(&directory);
        let name = directory.as_ref().display().to_string();
        let storage = made.map_err(|error| StorageError::new("make directory", &name, error))?;
        self.open_on(storage, options)
    }

    /// Opens the log in a storage: as [`open`](Self::open).
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(self, storage: impl Storage, options: Options) -> Result<Log, OpenError> {
        let storage: StdArc<dyn Storage> = StdArc::new(storage);
        let longest = longest(self.limits_given())?;
        if !(4096..=1 << 30).contains(&options.file_bytes) {
            return Err(OpenError::FileSize { bytes: options.file_bytes });
        }
        let lock = lock(&*storage)?;
        let found = recover(&*storage)?;
        let end = found.before;
        let start = Start { index: end.index, time: Timestamp::from_nanos(end.time), commands: end.commands };
        let (builder, retention) = self.resident(options.resident)?;
        let log = builder.build_from(start, found.first())?;
        let id = match found.id {
            Some(id) => id,
            None => random()?,
        };
        let last = found.last;
        let floor = found.floor.unwrap_or_else(|| Floor::nothing(id));
        let parts = StdArc::new(Parts::new(storage.clone(), &found.parts, &floor));
        let notes = Notes::new(storage.clone(), id);
        let removal = Removal::new(storage.clone(), parts.clone(), retention, floor);
        let shape = Shape { log: id, bytes: options.file_bytes, longest };
        let mut writer = Writer::new(storage.clone(), parts.clone(), shape, found.number, end);
        let mut reopened = None;
        match last {
            Some(Last::Open { header, file, contents, .. }) if contents.count == 0 => {
                // It is made again, when there is something to be in it.
                drop(file);
                remove_for_good(&*storage, &name_of(header.number))?;
                writer.begin_at(header.number);
            }
            Some(Last::Open { header, file, contents, end }) if header.longest >= longest => {
                writer.go_on(header, file, *contents, end);
            }
            Some(Last::Open { header, file, contents, end }) => {
                writer.go_on(header, file, *contents, end);
                writer.close()?;
            }
            Some(Last::Sealed(part)) if part.frames < options.file_bytes / 2 && part.header.longest >= longest => {
                reopened = Some(part);
            }
            Some(Last::Sealed(_)) | None => {}
        }
        let settings = Settings {
            id,
            ack: options.ack,
            sync_every: options.sync_every,
            opened_at: end.index,
            streams: end.streams,
        };
        let journal =
            Journal::new(Scribe::new(writer, reopened), parts, removal, notes, settings, found.recovered, lock);
        attach(log, journal, options.ack)
    }
}

fn attach(log: Log, journal: Journal, ack: Ack) -> Result<Log, OpenError> {
    let lease = journal.lease().clone();
    log.rest_on(journal, &lease);
    log.maintain();
    if ack != Ack::Memory {
        // Every append is told of: it waits.
        log.core().interest.add(Interest::WAITING);
    }
    let thread = lease.clone();
    if wait::spawn("annals-journal", move || journal::run(&thread)) { Ok(log) } else { Err(OpenError::NoThread) }
}

fn random() -> Result<LogId, StorageError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StorageError::new("make a random id", "", io::Error::other(error)))?;
    Ok(LogId(id))
}

pub(super) fn lock(storage: &dyn Storage) -> Result<Box<dyn Send + Sync>, OpenError> {
    let locked = storage.lock().map_err(|error| StorageError::new("lock", &storage.name(), error))?;
    locked.map_err(|holder| OpenError::Locked { directory: storage.name().into(), holder: holder.into() })
}

/// Bytes of the longest frame's body that the limits allow.
fn longest(limits: &Limits) -> Result<u32, OpenError> {
    let Limits { payload_bytes, name_bytes, metadata_bytes, .. } = *limits;
    let parts = [payload_bytes, metadata_bytes, name_bytes, name_bytes];
    let bytes = parts.iter().fold(FIXED, |sum, bytes| sum.saturating_add(*bytes as u64));
    u32::try_from(bytes).ok().filter(|bytes| *bytes <= 1 << 30).ok_or(OpenError::Limit { bytes })
}

/// What the files of a log are.
struct Files {
    id: Option<LogId>,
    parts: Vec<StdArc<Part>>,
    last: Option<Last>,
    /// What comes before the next record.
    before: Before,
    /// What was removed.
    floor: Option<Floor>,
    /// Number of the next file to be begun.
    number: u64,
    recovered: Recovered,
}

/// The last file with records.
enum Last {
    /// It has a footer.
    Sealed(StdArc<Part>),
    Open {
        header: Header,
        file: Box<dyn StoredFile>,
        contents: Box<super::contents::Contents>,
        end: u64,
    },
}

/// A file with a header.
struct Begun {
    header: Header,
    file: Box<dyn StoredFile>,
    len: u64,
    trailer: Option<Trailer>,
}

/// Reads what there is. Changes nothing but what a crash left behind: a file that was not begun, the torn end of the last one,
/// files that were to be removed.
fn recover(storage: &dyn Storage) -> Result<Files, OpenError> {
    let names = storage.names().map_err(|error| StorageError::new("list", "", error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    let floor = Floor::load(storage)?;
    // Those before were to be removed: nothing is asked of them.
    let first = floor.as_ref().map_or(1, |floor| floor.number);
    let going = numbers.drain(..numbers.partition_point(|number| *number < first)).collect::<Vec<_>>();
    let begun = numbers.iter().map(|number| begin(storage, *number)).collect::<Result<_, _>>()?;
    let mut files = chain(begun, floor)?;
    if let Some(Last::Open { header, file, .. }) = &files.last {
        // Whoever was killed may not have synced what is there. From now on it is counted on.
        let failed = |error| StorageError::new("sync", &name_of(header.number), error);
        file.sync_all().and_then(|()| storage.sync()).map_err(failed)?;
    }
    let unfinished = names.into_iter().filter(|name| is_unfinished(name)).collect::<Vec<_>>();
    files.recovered.unclean |= !unfinished.is_empty();
    let going: Vec<String> = going.into_iter().map(name_of).chain(unfinished).collect();
    if !going.is_empty() {
        let sync = || storage.sync().map_err(|error| StorageError::new("sync", "", error));
        // Whoever was killed may not have synced the name of the floor, by which they go: it stays before they do not.
        sync()?;
        going.iter().try_for_each(|name| remove(storage, name))?;
        sync()?;
    }
    Ok(files)
}

/// Whether a file was to take the place of another, or its name, and did not come to it.
fn is_unfinished(name: &str) -> bool {
    let of = name.strip_suffix(".new");
    of.is_some_and(|of| of == floor::NAME || is_note(of)) || is_unfinished_file(name)
}

impl Files {
    /// Index of the first record that is seen.
    fn first(&self) -> u64 {
        self.floor.as_ref().map_or(0, |floor| floor.first.max(floor.kept))
    }

    /// Whether the first file is the one that should be.
    fn check_first(&self, header: &Header) -> Result<(), Damage> {
        let nothing = Floor::nothing(header.log);
        let floor = self.floor.as_ref().unwrap_or(&nothing);
        let (number, flaw) = match header.number.cmp(&floor.number) {
            _ if header.log != floor.log => (header.number, Flaw::Foreign),
            std::cmp::Ordering::Equal if header.before.index == floor.kept => return Ok(()),
            std::cmp::Ordering::Greater => (floor.number, Flaw::Missing),
            _ => (header.number, Flaw::Foreign),
        };
        Err(Damage { file: name_of(number).into(), offset: 0, position: Position::new(floor.kept + 1), flaw })
    }

    /// Whether the files go as far as they must: nothing was removed that had not been synced.
    fn check_end(&self) -> Result<(), Damage> {
        let Some(floor) = &self.floor else { return Ok(()) };
        if self.id.is_some() && self.before.index >= floor.first {
            return Ok(());
        }
        let number = if self.id.is_some() { self.number - 1 } else { floor.number };
        let position = Position::new(if self.id.is_some() { self.before.index } else { floor.kept } + 1);
        Err(Damage { file: name_of(number).into(), offset: 0, position, flaw: Flaw::Missing })
    }
}

fn remove_for_good(storage: &dyn Storage, name: &str) -> Result<(), StorageError> {
    remove(storage, name)?;
    storage.sync().map_err(|error| StorageError::new("sync", "", error))
}

/// Opens a file.
fn begin(storage: &dyn Storage, number: u64) -> Result<Begun, OpenError> {
    let name = name_of(number);
    let failed = |error| StorageError::new("open", &name, error);
    let file = storage.open(&name).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let mut bytes = [0; header::LEN];
    let there = usize::try_from(len).unwrap_or(header::LEN).min(header::LEN);
    read_exact(&*file, &mut bytes[..there], 0).map_err(failed)?;
    let flaw = match Header::decode(&bytes) {
        Ok(header) if header.number == number => {
            let trailer = trailer(&*file, &header, len).map_err(failed)?;
            if trailer.is_some_and(|trailer| !trailer.fits(len)) {
                let position = Position::new(header.before.index + 1);
                return Err(Damage { file: name.into(), offset: len, position, flaw: Flaw::Footer }.into());
            }
            return Ok(Begun { header, file, len, trailer });
        }
        Ok(_) => Flaw::Foreign,
        Err(NoHeader::Version(version)) => {
            return Err(OpenError::Newer { file: name.into(), version, known: VERSION });
        }
        Err(NoHeader::Damaged) => Flaw::Header,
    };
    Err(Damage { file: name.into(), offset: 0, position: Position::NONE, flaw }.into())
}

fn trailer(file: &dyn StoredFile, header: &Header, len: u64) -> io::Result<Option<Trailer>> {
    let Some(at) = len.checked_sub(TRAILER as u64).filter(|at| *at >= header::LEN as u64) else { return Ok(None) };
    let mut bytes = [0; TRAILER];
    read_exact(file, &mut bytes, at)?;
    Ok(Trailer::decode(header, &bytes))
}

/// Sees whether each file goes on where the one before ends.
fn chain(begun: Vec<Begun>, floor: Option<Floor>) -> Result<Files, OpenError> {
    let mut files = Files {
        id: None,
        parts: Vec::new(),
        last: None,
        before: Before::NOTHING,
        floor,
        number: 1,
        recovered: Recovered::default(),
    };
    let mut rest = begun.into_iter().peekable();
    while let Some(Begun { header, file, len, trailer }) = rest.next() {
        let name = name_of(header.number);
        let damaged = |flaw| Damage {
            file: name.clone().into(),
            offset: 0,
            position: Position::new(header.before.index + 1),
            flaw,
        };
        match files.id {
            None => {
                files.check_first(&header)?;
                (files.id, files.before) = (Some(header.log), header.before);
            }
            Some(_) if header.number != files.number => {
                let missing = name_of(files.number).into();
                let position = Position::new(files.before.index + 1);
                return Err(Damage { file: missing, offset: 0, position, flaw: Flaw::Missing }.into());
            }
            Some(id) if id != header.log || header.before != files.before => return Err(damaged(Flaw::Foreign).into()),
            Some(_) => {}
        }
        files.number = header.number + 1;
        let next = rest.peek().map(|next: &Begun| next.header.before.index);
        if let Some(trailer) = trailer {
            let part = StdArc::new(Part::sealed(header, trailer, len));
            files.before = trailer.after(&header);
            files.parts.push(part.clone());
            files.last = Some(Last::Sealed(part));
            continue;
        }
        let failed = |error| StorageError::new("read", &name, error);
        let bytes = read_all(&*file, len).map_err(failed)?;
        let scanned = scan(&header, &bytes, next).map_err(|found: Found| found.within(&name))?;
        files.before = scanned.contents.after();
        if scanned.contents.count > 0 {
            let contents = StdArc::new(scanned.contents.clone());
            files.parts.push(StdArc::new(Part::known(header, contents, scanned.end)));
        }
        if next.is_none() {
            (files.recovered.unclean, files.recovered.torn_bytes) = (true, scanned.torn);
            if scanned.torn > 0 {
                clear(&*file, scanned.end).map_err(|error| StorageError::new("cut", &name, error))?;
            }
            let contents = Box::new(scanned.contents);
            files.last = Some(Last::Open { header, file, contents, end: scanned.end });
        }
    }
    files.check_end()?;
    files.recovered.end = Position::new(files.before.index);
    Ok(files)
}
