//! Group commit: whoever waits for the disk does the work for all who wait, if nobody is at it.
//!
//! The medium, which writes and syncs, is lent to one thread at a time: the *leader*. A leader writes all that the log has by
//! then, syncs once, and moves the marks; the others, whose records were among it, have nothing left to do. Those whose records
//! came later find the medium given back, and one of them leads the next round.
//!
//! - *A mark is moved to what was written before the sync began*, never to what the log has afterwards.
//! - *No wake-up is lost.* Who waits registers before it looks, at the marks and at whether the medium is free; who gives the
//!   medium back does so before it wakes (see `delivery::waiting`).
//! - *A failure is for ever.* It is kept before the medium is given back, and whoever gets the medium looks for it first: so no
//!   mark is moved after it. Those who wait are told; what was synced before, was.
//!
//! Waiting blocks on the disk. A leader that waits for the disk holds up those who wait for it too, never an append.

use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use crate::delivery::Waiters;
use crate::log::Pool;
use crate::sync::{AtomicU64, Ordering, wait};

/// How long a leader waits at most for as many to come as waited last time.
const GATHERING: Duration = Duration::from_micros(30);

/// What writes.
pub trait Medium: Send {
    /// Where the records are.
    type Source: ?Sized;
    /// What a failure is.
    type Error: Clone + Send + Sync;

    /// Writes all that the source has and that was not written. Index after the last of it.
    ///
    /// # Errors
    /// What failed, for good.
    fn write(&mut self, source: &Self::Source) -> Result<u64, Self::Error>;

    /// What was written stays written.
    ///
    /// # Errors
    /// What failed, for good.
    fn sync(&mut self) -> Result<(), Self::Error>;
}

/// How far a record is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Handed to the system.
    Written,
    /// On disk.
    Synced,
}

/// See the head of this file.
pub struct Commit<M: Medium> {
    medium: Pool<M, 1>,
    /// Index after the last record that was handed to the system.
    written: AtomicU64,
    /// Index after the last record that is on disk.
    synced: AtomicU64,
    failure: OnceBox<M::Error>,
    /// Who waits for a sync.
    waiting: AtomicU64,
    /// Who waited in the last round.
    group: AtomicU64,
    waiters: Waiters,
}

impl<M: Medium> Commit<M> {
    /// Everything before `end` is on disk.
    pub fn new(medium: M, end: u64) -> Self {
        let pool = Pool::new();
        drop(pool.lend(|| medium));
        Self {
            medium: pool,
            written: AtomicU64::new(end),
            synced: AtomicU64::new(end),
            failure: OnceBox::new(),
            waiting: AtomicU64::new(0),
            group: AtomicU64::new(0),
            waiters: Waiters::new(),
        }
    }

    /// Index after the last record that got so far.
    pub fn mark(&self, level: Level) -> u64 {
        let mark = match level {
            Level::Written => &self.written,
            Level::Synced => &self.synced,
        };
        // Acquire: pairs with the Release in `round`: who sees that a record is on disk comes after it got there.
        mark.load(Ordering::Acquire)
    }

    /// What failed, if anything has.
    pub fn failure(&self) -> Option<&M::Error> {
        self.failure.get()
    }

    /// Blocks until everything before `index` has got so far: does the work, or waits for whoever is at it.
    ///
    /// # Errors
    /// What failed before it had.
    pub fn reach(&self, source: &M::Source, index: u64, level: Level) -> Result<(), M::Error> {
        if self.mark(level) >= index {
            return Ok(());
        }
        // Relaxed, both: a number to go by.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.waiters
            .block(None, || self.is_settled(index, level) || self.lead(source, level) && self.is_settled(index, level));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.outcome(index, level).unwrap_or(Ok(()))
    }

    /// How it went with everything before `index`; none when that is not known yet.
    pub fn outcome(&self, index: u64, level: Level) -> Option<Result<(), M::Error>> {
        if self.mark(level) >= index {
            return Some(Ok(()));
        }
        self.failure().map(|failure| Err(failure.clone()))
    }

    fn is_settled(&self, index: u64, level: Level) -> bool {
        self.mark(level) >= index || self.failure().is_some()
    }

    /// Does one round, unless somebody else is at it. Whether it did.
    pub fn lead(&self, source: &M::Source, level: Level) -> bool {
        let Some(mut medium) = self.medium.lend(|| unreachable!("put there by `new`")) else { return false };
        self.round(&mut medium, source, level);
        drop(medium);
        self.waiters.wake_all();
        true
    }

    fn round(&self, medium: &mut M, source: &M::Source, level: Level) {
        if self.failure().is_some() {
            return;
        }
        if level == Level::Synced {
            self.gather();
        }
        if let Err(error) = self.work(medium, source, level) {
            // Nobody else has the medium, so nobody else has failed.
            let _ = self.failure.set(Box::new(error));
        }
    }

    fn work(&self, medium: &mut M, source: &M::Source, level: Level) -> Result<(), M::Error> {
        let end = medium.write(source)?;
        // Release, both: pairs with the Acquire in `mark`.
        self.written.store(end, Ordering::Release);
        if level == Level::Synced {
            medium.sync()?;
            self.synced.store(end, Ordering::Release);
        }
        Ok(())
    }

    /// Waits until as many wait as in the last round, if there were several: they are on their way. Who is alone goes ahead.
    fn gather(&self) {
        // Relaxed, all: numbers to go by.
        let last = self.group.load(Ordering::Relaxed);
        if last > 1 && !cfg!(any(loom, annals_shuttle)) {
            let begin = Instant::now();
            while self.waiting.load(Ordering::Relaxed) < last && begin.elapsed() < GATHERING {
                wait::yield_now();
            }
        }
        self.group.store(self.waiting.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Lends the medium for something else, when nobody has it, and it has not failed.
    pub(crate) fn with_medium<R>(
        &self,
        work: impl FnOnce(&mut M) -> Result<R, M::Error>,
    ) -> Option<Result<R, M::Error>> {
        let mut medium = self.medium.lend(|| unreachable!("put there by `new`"))?;
        let result = match self.failure() {
            Some(failure) => Err(failure.clone()),
            None => work(&mut medium),
        };
        if let Err(error) = &result
            && self.failure().is_none()
        {
            let _ = self.failure.set(Box::new(error.clone()));
        }
        drop(medium);
        self.waiters.wake_all();
        Some(result)
    }
}
