//! How far a handler is, and what it could not handle.
//!
//! One worker writes, anybody reads, and waits. What failed for good is *parked* before the position moves past it: so whoever
//! waits for a position and sees it passed finds there how it went.

use super::handler::Parked;
use crate::delivery::Waiters;
use crate::model::{Failure, HandlerError, Position};
use crate::sync::{AtomicU32, AtomicU64, CopyOnWrite, Ordering, StdArc};

/// Only models see it from outside.
pub struct Progress {
    name: Box<str>,
    /// Everything up to this position was handled, passed over, or parked. Moved by the worker.
    position: AtomicU64,
    handled: AtomicU64,
    retried: AtomicU64,
    missed: AtomicU64,
    parked: CopyOnWrite<Vec<Parked>>,
    /// Why the last checkpoint was not saved.
    unsaved: CopyOnWrite<StdArc<str>>,
    closing: AtomicU32,
    /// Why it goes no further, when it does not.
    ended: CopyOnWrite<StdArc<str>>,
    /// Those who wait for it.
    waiters: Waiters,
    /// The worker, while it has nothing to do.
    pub(super) worker: Waiters,
}

/// What a handler has done so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStatus {
    /// Its name.
    pub name: Box<str>,
    /// Everything up to this position was handled, is not for it, or is parked.
    pub position: Position,
    /// How many events it has handled, those that had been parked included.
    pub handled: u64,
    /// How many calls of it were repetitions after a failure.
    pub retried: u64,
    /// How many events are parked.
    pub parked: usize,
    /// How many envelopes were removed from the store before it got to them, for it or not.
    pub missed: u64,
    /// Why the last checkpoint was not saved; none when it was. The handler goes on, and tries again with the next one.
    pub unsaved: Option<StdArc<str>>,
    /// Why it does not go on, when it does not: the store or the service was closed, the store failed, or too much is parked.
    pub ended: Option<StdArc<str>>,
}

impl Progress {
    pub(super) fn new(name: &str, position: Position, parked: &[Parked]) -> Self {
        let there = CopyOnWrite::new();
        if !parked.is_empty() {
            there.change(|_| Some(Some(parked.to_vec())));
        }
        Self {
            name: name.into(),
            position: AtomicU64::new(position.get()),
            handled: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            parked: there,
            unsaved: CopyOnWrite::new(),
            closing: AtomicU32::new(0),
            ended: CopyOnWrite::new(),
            waiters: Waiters::new(),
            worker: Waiters::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn position(&self) -> Position {
        // Acquire: pairs with the Release of `pass`: what was parked before is there, what the handler did has happened.
        Position::new(self.position.load(Ordering::Acquire))
    }

    pub(super) fn status(&self) -> HandlerStatus {
        // Relaxed: counters.
        HandlerStatus {
            name: self.name.clone(),
            position: self.position(),
            handled: self.handled.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            parked: self.parked().len(),
            missed: self.missed.load(Ordering::Relaxed),
            unsaved: self.unsaved.load().get().cloned(),
            ended: self.ended(),
        }
    }

    /// Everything up to `position` is done with.
    pub(super) fn pass(&self, position: Position) {
        // Release: pairs with `position`.
        self.position.store(position.get(), Ordering::Release);
        self.waiters.wake_all();
    }

    pub(super) fn count_handled(&self) {
        // Relaxed, here and below: counters.
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_retry(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_missed(&self, missed: u64) {
        self.missed.fetch_add(missed, Ordering::Relaxed);
    }

    pub(super) fn parked(&self) -> Vec<Parked> {
        self.parked.load().get().cloned().unwrap_or_default()
    }

    /// Parks an event; false when there are `at_most` already.
    pub(super) fn park(&self, parked: &Parked, at_most: usize) -> bool {
        self.parked.change(|there| {
            let mut all = there.cloned().unwrap_or_default();
            if all.len() >= at_most {
                return None;
            }
            all.push(parked.clone());
            Some(Some(all))
        })
    }

    /// It was handled again, and failed again. When it was discarded meanwhile, it stays so.
    pub(super) fn stays_parked(&self, parked: &Parked) {
        self.parked.change(|there| {
            let mut all = there?.clone();
            *all.iter_mut().find(|other| other.position() == parked.position())? = parked.clone();
            Some(Some(all))
        });
        self.waiters.wake_all();
    }

    /// It is parked no longer. Whether it was.
    pub(super) fn unpark(&self, position: Position) -> bool {
        let done = self.parked.change(|there| {
            let mut all = there?.clone();
            let at = all.iter().position(|parked| parked.position() == position)?;
            all.remove(at);
            Some(Some(all))
        });
        self.waiters.wake_all();
        done
    }

    /// Asks the worker to handle again what is parked.
    pub(super) fn ask_again(&self) {
        self.parked.change(|there| {
            let mut all = there?.clone();
            for parked in &mut all {
                parked.again = true;
            }
            Some(Some(all))
        });
        self.worker.wake_all();
    }

    /// The first parked event that is to be handled again.
    pub(super) fn to_do_again(&self) -> Option<Parked> {
        self.parked.load().get()?.iter().find(|parked| parked.again).cloned()
    }

    pub(super) fn saved(&self, result: Result<(), StdArc<str>>) {
        let failed = result.err();
        self.unsaved.change(|_| Some(failed.clone()));
    }

    /// The worker is to end.
    pub(super) fn close(&self) {
        // Relaxed: nothing comes with it; the fence of `wake_all` orders it before the look at those who wait.
        self.closing.store(1, Ordering::Relaxed);
        self.worker.wake_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        // Relaxed: as in `close`.
        self.closing.load(Ordering::Relaxed) != 0
    }

    /// The worker goes no further. The first reason counts.
    pub(super) fn end(&self, reason: &str) {
        self.ended.change(|there| there.is_none().then(|| Some(reason.into())));
        self.waiters.wake_all();
    }

    pub(super) fn ended(&self) -> Option<StdArc<str>> {
        self.ended.load().get().cloned()
    }

    /// Ready when the event at `position` was handled, or was not: with how it failed.
    pub(super) async fn outcome(&self, position: Position) -> Option<Failure> {
        self.waiters
            .until(|| {
                // Why it ended first: what it passed before is passed.
                let ended = self.ended();
                if self.position() >= position {
                    let parked = self.parked.load();
                    let failed = parked.get().and_then(|all| all.iter().find(|parked| parked.position() == position));
                    return Some(failed.map(|parked| parked.failure.clone()));
                }
                let error = |reason| HandlerError::Failed(format!("it does not go on: {reason}").into());
                ended.map(|reason| Some(Failure::new(position, Some(&self.name), error(reason))))
            })
            .await
    }

    /// Ready when nothing is to be handled again, or it goes no further.
    pub(super) async fn done_again(&self) {
        self.waiters.until(|| (self.ended().is_some() || self.to_do_again().is_none()).then_some(())).await;
    }

    /// Ready when the worker has ended.
    pub(super) async fn over(&self) {
        self.waiters.until(|| self.ended().map(drop)).await;
    }
}

/// What models do with it.
#[cfg(any(loom, annals_shuttle))]
impl Progress {
    /// Of a handler that has done nothing.
    pub fn of_nothing() -> Self {
        Self::new("h", Position::NONE, &[])
    }

    /// The handler fails at a position, and is done with it.
    pub fn fails_at(&self, position: Position) {
        let failure = Failure::new(position, Some(&self.name), HandlerError::Removed(1));
        assert!(self.park(&Parked::new(failure, 1), 1), "there is room for one");
        self.pass(position);
    }

    /// Whether the handler, when it is done with a position, has failed there.
    pub async fn has_failed_at(&self, position: Position) -> bool {
        self.outcome(position).await.is_some()
    }
}
