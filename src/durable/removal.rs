//! Removing the beginning of a log on disk, for good.
//!
//! First the file `floor` is written, which says what is not seen any more, and what of it is still known (see `floor`). Only
//! when the disk has that, files go that are wholly below it, never the last one. One thread at a time does so, for all who
//! want it; the others wait for it. When something fails, no file goes, and [`failure`](Removal::failure) says so: what had
//! been removed from memory alone comes back with the next opening.
//!
//! A floor is never beyond what is synced: else what is appended after a crash could lie below it.

use super::error::{OpenError, RemovalError, StorageError};
use super::floor::{self, Floor, Gone};
use super::parts::{Part, Parts, name_of};
use super::past::each_time;
use super::storage::Storage;
use crate::delivery::Waiters;
use crate::log::Pool;
use crate::model::{Retention, Timestamp};
use crate::sync::{AtomicU64, CopyOnWrite, Ordering, StdArc};

pub(crate) struct Removal {
    storage: StdArc<dyn Storage>,
    parts: StdArc<Parts>,
    retention: Retention,
    state: Pool<State, 1>,
    /// Indexes before this one are removed, and the disk knows.
    kept: AtomicU64,
    /// Up to where somebody wants it: never beyond what is synced.
    wanted: AtomicU64,
    /// Index after the last part when retention was looked at.
    looked: AtomicU64,
    failure: CopyOnWrite<RemovalError>,
    waiters: Waiters,
}

/// Had by one thread at a time.
struct State {
    /// What the disk has.
    floor: Floor,
    /// Number of the first file that may be there.
    first_file: u64,
    /// How many want the files to stay where they are.
    holds: u64,
}

impl Removal {
    /// `floor`: what the disk has. No file before the one that it names is there.
    pub(crate) fn new(storage: StdArc<dyn Storage>, parts: StdArc<Parts>, retention: Retention, floor: Floor) -> Self {
        let (kept, first_file) = (floor.first, floor.number);
        let state = Pool::new();
        drop(state.lend(|| State { floor, first_file, holds: 0 }));
        Self {
            storage,
            parts,
            retention,
            state,
            kept: AtomicU64::new(kept),
            wanted: AtomicU64::new(kept),
            looked: AtomicU64::new(0),
            failure: CopyOnWrite::new(),
            waiters: Waiters::new(),
        }
    }

    /// Why the last removal was not kept.
    pub(crate) fn failure(&self) -> Option<RemovalError> {
        self.failure.load().get().cloned()
    }

    pub(crate) fn fail(&self, error: &RemovalError) {
        self.failure.change(|_| Some(Some(error.clone())));
    }

    /// Indexes before `floor`, which are synced, are removed for good, as far as nothing fails. Blocks on the disk.
    pub(crate) fn keep(&self, floor: u64) {
        // Relaxed: a number to go by; who has the state acts on it.
        self.wanted.fetch_max(floor, Ordering::Relaxed);
        self.waiters.block(None, || self.is_kept(floor) || self.round());
    }

    fn is_kept(&self, floor: u64) -> bool {
        // Relaxed: nothing is read because of it.
        self.kept.load(Ordering::Relaxed) >= floor && !self.parts.has_before(floor)
    }

    /// Whether this thread did it, with whatever result.
    fn round(&self) -> bool {
        let Some(mut state) = self.state.lend(|| unreachable!("put there by `new`")) else { return false };
        // Relaxed: as above.
        let floor = self.wanted.load(Ordering::Relaxed).max(state.floor.first);
        let done = self.remove(&mut state, floor);
        drop(state);
        let failure = done.err().map(RemovalError::from);
        self.failure.change(|_| Some(failure.clone()));
        self.waiters.wake_all();
        true
    }

    fn remove(&self, state: &mut State, floor: u64) -> Result<(), OpenError> {
        let going = self.parts.before(floor);
        if floor > state.floor.first || !going.is_empty() {
            let mut next = Floor { first: floor, ..state.floor.clone() };
            for part in &going {
                self.take_in(part, &mut next)?;
            }
            floor::replace(&*self.storage, floor::NAME, &next.encode())?;
            // What is gone is known before the parts are not.
            self.parts.forget(&going, &next);
            state.floor = next;
            // Relaxed: see `is_kept`.
            self.kept.store(floor, Ordering::Relaxed);
        }
        Ok(self.clean(state)?)
    }

    /// Keeps what has to be known of the streams of a part that goes.
    fn take_in(&self, part: &StdArc<Part>, floor: &mut Floor) -> Result<(), OpenError> {
        let Some(loaded) = self.parts.load(part)? else { return Ok(()) };
        let mut begun = Vec::new();
        for stream in &loaded.contents.streams {
            let Some(first) = stream.places.first() else { continue };
            let gone = floor.streams.entry(stream.id.clone()).or_insert_with(|| {
                begun.push((u64::from(*first), stream.id.clone()));
                Gone { next: 0, first: part.first() + u64::from(*first), time: i64::MIN }
            });
            gone.next = stream.next();
        }
        (floor.number, floor.kept) = (part.header.number + 1, part.end);
        begun.sort_unstable();
        let mut begun = begun.into_iter().peekable();
        if begun.peek().is_none() {
            return Ok(());
        }
        each_time(&loaded, |place, time| {
            if let (Some((_, id)), Some(time)) = (begun.next_if(|(first, _)| *first == place), time)
                && let Some(gone) = floor.streams.get_mut(&id)
            {
                gone.time = time;
            }
            begun.peek().is_some()
        })
    }

    /// Removes the files that nobody needs. From the first on: whatever stops this, what is left is one piece.
    fn clean(&self, state: &mut State) -> Result<(), StorageError> {
        if state.holds > 0 || state.first_file == state.floor.number {
            return Ok(());
        }
        while state.first_file < state.floor.number {
            remove(&*self.storage, &name_of(state.first_file))?;
            state.first_file += 1;
        }
        self.storage.sync().map_err(|error| StorageError::new("sync", "", error))
    }

    /// Up to where retention asks for removal, at a time that is at least the last record's.
    pub(crate) fn due(&self, end: u64, time: Timestamp) -> Option<u64> {
        // Relaxed: two looks do no harm.
        self.looked.store(self.parts.end(), Ordering::Relaxed);
        let parts = self.parts.between(0, u64::MAX);
        let (last, parts) = parts.split_last()?;
        let Retention { records, bytes, age } = self.retention;
        let now = time.max(Timestamp::from_nanos(last.time()));
        let mut total: u64 = parts.iter().map(|part| part.len).sum::<u64>() + last.len;
        let mut floor = 0;
        for part in parts {
            let too_many = records.is_some_and(|records| end.saturating_sub(part.end) >= records);
            let too_large = bytes.is_some_and(|bytes| total > bytes);
            let has_time = part.time() != i64::MIN;
            let too_old = has_time && age.is_some_and(|age| Timestamp::from_nanos(part.time()) < now.before(age));
            if !(too_many || too_large || too_old) {
                break;
            }
            total -= part.len;
            floor = part.end;
        }
        Some(floor)
    }

    /// Whether a file became full since retention was looked at.
    pub(crate) fn should_look(&self) -> bool {
        // Relaxed: as above.
        self.looked.load(Ordering::Relaxed) != self.parts.end()
    }

    /// No file goes until the result is dropped: with what the disk knows of removals, and the parts that there are.
    pub(crate) fn hold(&self) -> Hold<'_> {
        let mut held = None;
        self.waiters.block(None, || {
            let Some(mut state) = self.state.lend(|| unreachable!("put there by `new`")) else { return false };
            state.holds += 1;
            held = Some((state.floor.clone(), self.parts.between(0, u64::MAX)));
            drop(state);
            self.waiters.wake_all();
            true
        });
        let (floor, parts) = held.expect("made when it was lent");
        Hold { removal: self, floor, parts }
    }
}

/// See [`Removal::hold`].
pub(crate) struct Hold<'r> {
    removal: &'r Removal,
    pub(crate) floor: Floor,
    pub(crate) parts: Vec<StdArc<Part>>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let removal = self.removal;
        removal.waiters.block(None, || {
            let Some(mut state) = removal.state.lend(|| unreachable!("put there by `new`")) else { return false };
            state.holds -= 1;
            if let Err(error) = removal.clean(&mut state) {
                removal.fail(&OpenError::from(error).into());
            }
            drop(state);
            removal.waiters.wake_all();
            true
        });
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(storage: &dyn Storage, name: &str) -> Result<(), StorageError> {
    match storage.remove(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StorageError::new("remove", name, error)),
        _ => Ok(()),
    }
}
