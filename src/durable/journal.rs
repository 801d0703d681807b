//! A log's journal: what writes it to its files, and reads it back.
//!
//! Whoever appends and waits for the disk writes, too, see [`commit`](super::commit). What nobody waits for is written by a
//! thread of the log's own, which sleeps while there is nothing to write: an append wakes it as it wakes a follower.

use std::time::{Duration, Instant};

use super::commit::{Commit, Level, Medium};
use super::contents::Item;
use super::error::{Flaw, OpenError, RemovalError, StorageError};
use super::header::LogId;
use super::notes::Notes;
use super::parts::{Part, Parts};
use super::past::Past;
use super::removal::{Hold, Removal};
use super::storage::Storage;
use super::writer::{Taken, Writer};
use crate::delivery::{Delivery, Waiter, Waiters};
use crate::log::{Ack, Backing, Core, Envelope, Interest, Known, Lease, Log, Range, Record, Stopped};
use crate::model::{Position, Query, Recorded, Timestamp};
use crate::sync::{Arc, CopyOnWrite, StdArc, wait};

/// What a log on disk knows of its files. Had by [`Log::journal`].
pub struct Journal {
    commit: Commit<Scribe>,
    past: Past,
    parts: StdArc<Parts>,
    settings: Settings,
    recovered: Recovered,
    lease: StdArc<Lease<Core>>,
    /// The thread that writes, while it has nothing to do, in a log whose appends wait for the disk themselves.
    idle: Waiters,
    /// Wakes the thread that writes.
    thread: once_cell::race::OnceBox<std::task::Waker>,
    removal: Removal,
    notes: Notes,
    /// What failed last when something was read.
    unread: CopyOnWrite<Stopped>,
    _lock: Box<dyn Send + Sync>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) id: LogId,
    pub(crate) ack: Ack,
    /// How long what was written may stay without a sync.
    pub(crate) sync_every: Duration,
    /// Index of the first record that was not there when the log was opened.
    pub(crate) opened_at: u64,
    /// Streams that were.
    pub(crate) streams: u64,
}

/// What was found when a log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// It had not been closed.
    pub unclean: bool,
    /// Bytes of records that had not been synced, and were cut off the end.
    pub torn_bytes: u64,
    /// The last position that was found.
    pub end: Position,
}

/// The writer, between the log and the files.
pub(crate) struct Scribe {
    writer: Writer,
    /// The last file, if it is to be gone on with.
    last: Option<StdArc<Part>>,
}

impl Scribe {
    pub(crate) fn new(writer: Writer, last: Option<StdArc<Part>>) -> Self {
        Self { writer, last }
    }

    fn make_room(&mut self) -> Result<(), Stopped> {
        if let Some(part) = self.last.take() {
            return self.writer.reopen(&part).map_err(Stopped::new);
        }
        self.writer.make_room().map_err(Stopped::new)
    }

    fn close(&mut self) -> Result<(), Stopped> {
        self.writer.close().map_err(Stopped::new)
    }
}

impl Medium for Scribe {
    type Source = Core;
    type Error = Stopped;

    fn write(&mut self, core: &Core) -> Result<u64, Stopped> {
        let end = core.end(&core.pin());
        while self.writer.next() < end {
            let (mut full, mut begins) = (false, true);
            core.visit(self.writer.next(), end, |record, more| {
                full = self.writer.take(&item(record, more), begins) == Taken::Full;
                begins = !more;
                !full
            });
            if full {
                self.make_room()?;
            }
        }
        self.writer.write().map_err(Stopped::new)?;
        Ok(end)
    }

    fn sync(&mut self) -> Result<(), Stopped> {
        self.writer.sync().map_err(Stopped::new)
    }
}

fn item(record: Record<'_>, more: bool) -> Item<'_> {
    Item {
        kind: Recorded::kind(&record),
        stream: record.stream_id(),
        revision: record.revision(),
        name: record.text(),
        time: record.time().map(Timestamp::as_nanos),
        attributes: record.attribute_bytes(),
        payload: record.payload(),
        more,
    }
}

impl Journal {
    pub(crate) fn new(
        scribe: Scribe,
        parts: StdArc<Parts>,
        removal: Removal,
        notes: Notes,
        settings: Settings,
        recovered: Recovered,
        lock: Box<dyn Send + Sync>,
    ) -> Self {
        Self {
            commit: Commit::new(scribe, settings.opened_at),
            past: Past::new(parts.clone()),
            parts,
            settings,
            recovered,
            lease: StdArc::new(Lease::new()),
            idle: Waiters::new(),
            thread: once_cell::race::OnceBox::new(),
            removal,
            notes,
            unread: CopyOnWrite::new(),
            _lock: lock,
        }
    }

    pub(crate) fn lease(&self) -> &StdArc<Lease<Core>> {
        &self.lease
    }

    pub(crate) fn of(core: &Core) -> Option<&Self> {
        let backing: &dyn std::any::Any = core.backing()?;
        backing.downcast_ref()
    }

    /// The log's own random number, in all of its files.
    pub fn id(&self) -> LogId {
        self.settings.id
    }

    /// What was found when the log was opened.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// The last position that the disk has. Wait-free. It never decreases.
    pub fn synced(&self) -> Position {
        Position::new(self.commit.mark(Level::Synced))
    }

    /// The last position that was handed to the operating system. Wait-free. It never decreases.
    pub fn written(&self) -> Position {
        Position::new(self.commit.mark(Level::Written))
    }

    /// Why nothing is appended any more, if that is so.
    pub fn failure(&self) -> Option<Stopped> {
        self.commit.failure().cloned()
    }

    /// Why what was removed last may be there again after the log was opened anew; none when it will not. No file was removed
    /// then; the next removal tries again.
    pub fn removal_failure(&self) -> Option<RemovalError> {
        self.removal.failure()
    }

    /// What a consumer has noted beside the log. Blocks on the disk.
    pub(crate) fn note(&self, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
        self.notes.load(name)
    }

    /// Notes something for a consumer, in place of what was noted. Blocks on the disk.
    pub(crate) fn keep_note(&self, name: &str, note: &[u8]) -> Result<(), StorageError> {
        self.notes.save(name, note)
    }

    /// A note that says what cannot be.
    pub(crate) fn misplaced_note(name: &str, flaw: Flaw) -> OpenError {
        Notes::misplaced(name, flaw)
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        self.parts.storage()
    }

    /// No file goes until the result is dropped.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.removal.hold()
    }

    /// Index after the last record that got so far.
    pub(crate) fn mark(&self, level: Level) -> u64 {
        self.commit.mark(level)
    }

    /// Removes what retention asks for now, or as of the last record.
    pub(crate) fn retain(&self, core: &Core, now: Timestamp) {
        let end = core.end(&core.pin());
        if let Some(floor) = self.removal.due(end, now) {
            // The floor may have been raised to where no file ended then.
            core.truncate(floor.max(core.first()));
        }
    }

    /// After a failure nothing is appended, and whoever waits is told.
    fn stop_if_failed(&self, core: &Core) {
        if self.commit.failure().is_some() {
            core.close(&core.pin());
            Delivery::of_core(core).wake_all_followers();
        }
    }

    fn reach(&self, core: &Core, end: u64, level: Level) -> Result<(), Stopped> {
        let reached = self.commit.reach(core, end, level);
        match reached {
            Ok(()) => Delivery::of_core(core).marks_moved(core),
            Err(_) => self.stop_if_failed(core),
        }
        if self.removal.should_look()
            && let Some(thread) = self.thread.get()
        {
            thread.wake_by_ref();
        }
        reached
    }

    /// Does what is to be done, and says how long it need not be asked again.
    fn tend(&self, core: &Core, place: &mut Option<Arc<Waiter>>, dirty_since: &mut Option<Instant>) -> Tended {
        let end = core.end(&core.pin());
        if self.commit.failure().is_some() {
            return Tended::Until(None);
        }
        if self.removal.should_look() {
            self.retain(core, Timestamp::MIN);
        }
        let (written, synced) = (self.commit.mark(Level::Written), self.commit.mark(Level::Synced));
        let now = Instant::now();
        let due =
            if written > synced { Some(*dirty_since.get_or_insert(now) + self.settings.sync_every) } else { None };
        let level = if due.is_some_and(|due| due <= now) { Level::Synced } else { Level::Written };
        if written < end || level == Level::Synced {
            if !self.commit.lead(core, level) {
                // Somebody else writes; perhaps not all of it.
                wait::yield_now();
            }
            if level == Level::Synced {
                *dirty_since = None;
            }
            self.stop_if_failed(core);
            Delivery::of_core(core).marks_moved(core);
            return Tended::Again;
        }
        if due.is_none() {
            *dirty_since = None;
        }
        self.rest(core, place, written, due)
    }

    /// Nothing is to be done: registers with whoever says that there is, and looks once more.
    fn rest(&self, core: &Core, place: &mut Option<Arc<Waiter>>, written: u64, due: Option<Instant>) -> Tended {
        let waker = wait::thread_waker();
        if self.settings.ack == Ack::Memory {
            let begins = || core.interest.add(Interest::WAITING);
            Delivery::of_core(core).followers().register(place, &waker, begins);
        } else if due.is_none() {
            self.idle.register(place, &waker, || ());
        }
        // Finishes what is decided, so that the look sees it.
        let unwritten = core.settle(&core.pin()).end > written;
        let unsynced = due.is_none() && self.commit.mark(Level::Written) > self.commit.mark(Level::Synced);
        if unwritten || unsynced { Tended::Again } else { Tended::Until(due) }
    }
}

enum Tended {
    Again,
    /// Nothing to do before this, unless woken.
    Until(Option<Instant>),
}

/// The thread of a log.
pub(crate) fn run(lease: &Lease<Core>) {
    let (mut place, mut dirty_since) = (None, None);
    loop {
        let tended = lease.with(|core| {
            let journal = Journal::of(core)?;
            journal.thread.get_or_init(|| Box::new(wait::thread_waker()));
            Some(journal.tend(core, &mut place, &mut dirty_since))
        });
        match tended.flatten() {
            None => return,
            Some(Tended::Again) => {}
            Some(Tended::Until(until)) => wait::park(until),
        }
    }
}

impl Backing for Journal {
    fn acknowledge(&self, core: &Core, end: u64, ack: Option<Ack>) -> Result<(), Stopped> {
        match ack.unwrap_or(self.settings.ack) {
            // Of a log where that is usual, the thread is woken by the append itself.
            Ack::Memory if self.settings.ack == Ack::Memory => Ok(()),
            Ack::Memory => {
                if let Some(thread) = self.thread.get() {
                    thread.wake_by_ref();
                }
                Ok(())
            }
            Ack::Written => {
                let written = self.reach(core, end, Level::Written);
                // Somebody has to sync it.
                self.idle.wake_all();
                written
            }
            Ack::Synced => self.reach(core, end, Level::Synced),
        }
    }

    fn stopped(&self) -> Option<Stopped> {
        self.failure()
    }

    fn unreadable(&self) -> Option<Stopped> {
        self.unread.load().get().cloned()
    }

    fn dropped(&self, core: &Core) {
        self.lease.revoke();
        if let Some(thread) = self.thread.get() {
            thread.wake_by_ref();
        }
        // Who failed has been told; nobody is left to be told of this.
        let _ = self.commit.with_medium(|scribe| {
            scribe.write(core)?;
            scribe.close()
        });
    }

    fn truncate(&self, core: &Core, floor: u64) {
        match self.reach(core, floor, Level::Synced) {
            Ok(()) => self.removal.keep(floor),
            Err(stopped) => self.removal.fail(&stopped.into()),
        }
    }

    fn maintain(&self, core: &Core) {
        self.retain(core, core.config.time.now());
    }

    fn end(&self) -> u64 {
        self.parts.end()
    }

    fn default_ack(&self) -> Ack {
        self.settings.ack
    }

    fn mark(&self, ack: Ack) -> u64 {
        match ack {
            Ack::Memory => u64::MAX,
            Ack::Written => self.commit.mark(Level::Written),
            Ack::Synced => self.commit.mark(Level::Synced),
        }
    }

    fn read(&self, rest: &mut Range, backwards: bool, query: Option<&Query>) -> Result<Vec<Envelope>, Stopped> {
        self.past.read(rest, backwards, query).map_err(|error| {
            let stopped = Stopped::new(error);
            self.unread.change(|_| Some(Some(stopped.clone())));
            stopped
        })
    }

    fn read_stream(&self, stream: &str, rest: &mut Range, backwards: bool) -> Result<Vec<Envelope>, Stopped> {
        self.past.read_stream(stream, rest, backwards).map_err(Stopped::new)
    }

    fn stream(&self, id: &str) -> Result<Option<Known>, Stopped> {
        self.known(id).map_err(Stopped::new)
    }

    fn count_before(&self, id: &str, index: u64) -> Result<u64, Stopped> {
        self.past.count_before(id, index).map_err(Stopped::new)
    }

    fn commands_before(&self, index: u64) -> Result<u64, Stopped> {
        self.past.commands_before(index).map_err(Stopped::new)
    }

    fn between_batches(&self, index: u64) -> Result<u64, Stopped> {
        self.past.between_batches(index).map_err(Stopped::new)
    }

    fn index_at(&self, time: Timestamp, from: u64, to: u64) -> Result<u64, Stopped> {
        self.past.index_at(time.as_nanos(), from, to).map_err(Stopped::new)
    }

    fn streams(&self) -> Result<Vec<Box<str>>, Stopped> {
        let streams = self.past.streams(self.settings.opened_at).map_err(Stopped::new)?;
        Ok(streams.into_iter().map(|(id, _)| id).collect())
    }

    fn stream_count(&self) -> u64 {
        self.settings.streams
    }
}

impl Journal {
    fn known(&self, id: &str) -> Result<Option<Known>, OpenError> {
        let Some(stream) = self.past.stream(id, self.settings.opened_at)? else { return Ok(None) };
        let created_at = if let Some(time) = stream.first_time {
            Timestamp::from_nanos(time)
        } else {
            let mut first = Range { start: stream.first, end: stream.first + 1 };
            // The stream is there even if its first record cannot be read: that is told to whoever reads it.
            let first = self.past.read(&mut first, false, None).unwrap_or_default();
            first.first().and_then(Envelope::time).unwrap_or(Timestamp::MIN)
        };
        Ok(Some(Known { next: stream.next, created: Position::new(stream.first + 1), created_at }))
    }
}

impl Log {
    /// What the log knows of its files; none when it is in memory alone.
    pub fn journal(&self) -> Option<&Journal> {
        Journal::of(self.core())
    }

    /// Blocks until the disk has everything that was appended before this call; returns up to where. Of a log in memory: its
    /// end, at once.
    ///
    /// # Errors
    /// [`Stopped`] when the disk failed, now or before.
    pub fn sync(&self) -> Result<Position, Stopped> {
        let end = self.end();
        if let Some(journal) = self.journal() {
            journal.reach(self.core(), end.get(), Level::Synced)?;
        }
        Ok(end)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("id", &self.settings.id)
            .field("written", &self.written())
            .field("synced", &self.synced())
            .field("failure", &self.failure())
            .finish_non_exhaustive()
    }
}
