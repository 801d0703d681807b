//! Sequential subscriptions: every envelope once, in order, never two at a time (law L10).
//!
//! A subscription is a *cursor* over the log, the index of what it gets next, and a *claim*: who has it may call the handler.
//! Whoever has appended sees to it that the cursor passes its envelope. It tries to claim; if it can, it delivers everything
//! from the cursor up to its own envelope, others' included, and gives the claim back; if it cannot, it waits until the cursor
//! has passed its envelope, or the claim is free again.
//!
//! - *No one drains for ever.* Who has the claim delivers what is before its own envelope and no more. What was appended
//!   meanwhile is left to those who appended it: they wait for the claim, and get it.
//! - *Nothing is left behind.* Each append is passed by its own appender at the latest, so there is nobody who has to look
//!   again after giving the claim back. Who waits registers before it looks; who gives back looks after (see `waiting`).
//! - *Nobody waits with the claim.* While a handler runs its thread is in a turn, and waits for no delivery (law L12).

use std::error::Error;
use std::time::Instant;

use super::deliver::{DELIVERED, Delivery};
use super::metrics::SubscriptionMetrics;
use super::outcome::call;
use super::selection::Selection;
use super::telemetry;
use super::waiting::Waiters;
use crate::log::{Ack, Envelope, Log, Pool, View};
use crate::model::{Failure, HandlerError, Position};
use crate::sync::{AtomicU32, AtomicU64, CopyOnWrite, Ordering};

/// The cursor before its place in the log is known.
const PENDING: u64 = u64::MAX;

const ACTIVE: u32 = 0;
const PARKED: u32 = 1;
const STOPPED: u32 = 2;

/// How many failures a subscription remembers for those whose envelopes failed in another's hands.
const REMEMBERED: usize = 64;

/// What a sequential subscription does when its handler fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// It goes on with the next envelope.
    #[default]
    Continue,
    /// It ends: the subscription gets nothing more.
    Stop,
    /// It stays before the envelope until it is told to go on.
    Park,
}

/// A handler of a sequential subscription.
pub(crate) type SequentialHandler = Box<dyn FnMut(&Envelope) -> Result<(), Box<dyn Error + Send + Sync>> + Send>;

/// What whoever has the claim works with.
struct Run {
    /// None after the subscription was closed.
    handler: Option<SequentialHandler>,
    /// Of a subscription to a stream: the next revision.
    revision: u64,
}

pub(crate) struct Sequential {
    name: Option<Box<str>>,
    /// Of which stream; by name, so that it does not keep its own log.
    stream: Option<Box<str>>,
    selection: Selection,
    on_failure: OnFailure,
    /// How safe what it gets has to be.
    ack: Ack,
    /// Index of the first envelope that it has not passed. Moved by whoever has the claim.
    next: AtomicU64,
    /// Index of the first envelope that is not for it any more.
    until: AtomicU64,
    state: AtomicU32,
    claim: Pool<Run, 1>,
    /// Those who wait for the cursor, or for the claim.
    waiters: Waiters,
    delivered: AtomicU64,
    failed: AtomicU64,
    /// The last failures.
    failures: CopyOnWrite<Vec<Failure>>,
}

/// What was found out about a claim.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The cursor is beyond, or will never get there.
    Passed,
    /// Somebody else has the claim.
    Busy,
}

impl Sequential {
    /// A subscription that begins with the envelope at index `next`, or where `start` will say.
    pub(crate) fn new(
        name: Option<Box<str>>,
        stream: Option<Box<str>>,
        selection: Selection,
        on_failure: OnFailure,
        ack: Ack,
        next: Option<u64>,
        handler: SequentialHandler,
    ) -> Self {
        let claim = Pool::new();
        drop(claim.lend(|| Run { handler: Some(handler), revision: 0 }));
        Self {
            name,
            stream,
            selection,
            on_failure,
            ack,
            next: AtomicU64::new(next.unwrap_or(PENDING)),
            until: AtomicU64::new(u64::MAX),
            state: AtomicU32::new(ACTIVE),
            claim,
            waiters: Waiters::new(),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failures: CopyOnWrite::new(),
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn metrics(&self) -> SubscriptionMetrics {
        SubscriptionMetrics {
            name: self.name().unwrap_or_default().into(),
            position: self.position(),
            lag: 0,
            delivered: self.delivered(),
            failed: self.failed(),
            parked: self.is_parked(),
        }
    }

    pub(crate) fn delivered(&self) -> u64 {
        // Relaxed: a counter.
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        // Relaxed: a counter.
        self.failed.load(Ordering::Relaxed)
    }

    /// The position of the last envelope that it has passed.
    pub(crate) fn position(&self) -> Position {
        Position::new(match self.next() {
            PENDING => 0,
            next => next,
        })
    }

    #[inline]
    fn next(&self) -> u64 {
        // Acquire: pairs with the Release of whoever moved the cursor: what its handler did comes before.
        self.next.load(Ordering::Acquire)
    }

    /// Whether its place in the log is not known yet. Whoever finds that finds the place out, see `deliver`.
    pub(crate) fn is_pending(&self) -> bool {
        self.next() == PENDING
    }

    /// Its place in the log, unless another thread was faster.
    pub(crate) fn start(&self, index: u64) {
        // Release: pairs with `next`: who sees the place sees a log that is so long. Relaxed: the loser looks again.
        if self.next.compare_exchange(PENDING, index, Ordering::Release, Ordering::Relaxed).is_ok() {
            self.waiters.wake_all();
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        // Acquire: pairs with the Release of the handler's caller who parked or stopped it, and of who resumed it.
        self.state.load(Ordering::Acquire) == ACTIVE
    }

    pub(crate) fn is_parked(&self) -> bool {
        // Acquire: as in `is_active`.
        self.state.load(Ordering::Acquire) == PARKED
    }

    /// Goes on, at the envelope that failed.
    pub(crate) fn resume(&self) {
        // Release: pairs with the load in `is_active`: what was done before comes before the next call of the handler. (What
        // its last call did comes with the claim.)
        let _ = self.state.compare_exchange(PARKED, ACTIVE, Ordering::Release, Ordering::Relaxed);
    }

    /// Goes on, after the envelope that failed. Waits for whoever parked it to give the claim back: no handler runs until then,
    /// so this may be called inside one.
    pub(crate) fn skip(&self) {
        self.waiters.block(None, || {
            if !self.is_parked() {
                return true;
            }
            let Some(run) = self.claim.lend(|| unreachable!("put there by `new`")) else { return false };
            if self.is_parked() {
                // Release: as in `deliver`, which left the cursor before the envelope that failed.
                self.next.store(self.next() + 1, Ordering::Release);
                self.resume();
            }
            drop(run);
            true
        });
        // Those who found it claimed.
        self.waiters.wake_all();
    }

    /// Nothing is delivered any more; those who wait go on.
    pub(crate) fn stop(&self) {
        // Relaxed: nothing comes with it; the fence of `wake_all` orders it before the look at those who wait.
        self.state.store(STOPPED, Ordering::Relaxed);
        self.waiters.wake_all();
    }

    /// It was unsubscribed when the log ended at `end`: what comes later is not for it. What is being delivered, is (L9).
    pub(crate) fn end_at(&self, end: u64) {
        // Relaxed: as in `stop`.
        self.until.fetch_min(end, Ordering::Relaxed);
        self.waiters.wake_all();
    }

    /// Whether it was unsubscribed: nothing of the past is delivered any more.
    fn is_left(&self) -> bool {
        // Relaxed: as in `is_over`.
        self.until.load(Ordering::Relaxed) != u64::MAX
    }

    fn is_over(&self, index: u64) -> bool {
        // Relaxed: only the number matters.
        index >= self.until.load(Ordering::Relaxed)
    }

    /// Drops the handler, when nobody can call it any more.
    pub(crate) fn drop_handler(&self) {
        if let Some(mut run) = self.claim.lend(|| unreachable!("put there by `new`")) {
            let handler = run.handler.take();
            drop(run);
            drop(handler);
        }
    }

    /// Whether an envelope at an index before `end` need not be waited for.
    #[inline]
    fn has_passed(&self, end: u64) -> bool {
        let next = self.next();
        next >= end || !self.is_active() || self.is_over(next)
    }

    /// Sees to it that everything before `end` is delivered, unless somebody else is at it. `envelope` is the one before
    /// `end`, when the caller has it. Not pinned.
    pub(crate) fn pass(&self, log: &Log, end: u64, envelope: Option<&Envelope>, delivery: &Delivery) -> Pass {
        if self.has_passed(end) {
            return Pass::Passed;
        }
        let Some(mut run) = self.claim.lend(|| unreachable!("put there by `new`")) else { return Pass::Busy };
        self.drain(&mut run, log, end, envelope, delivery);
        drop(run);
        self.waiters.wake_all();
        Pass::Passed
    }

    /// As `pass`; waits for whoever is at it. False when the time is over.
    pub(crate) fn pass_or_wait(
        &self,
        log: &Log,
        end: u64,
        envelope: Option<&Envelope>,
        until: Option<Instant>,
        delivery: &Delivery,
    ) -> bool {
        self.waiters.block(until, || self.pass(log, end, envelope, delivery) == Pass::Passed)
    }

    /// Waits, without delivering anything, until everything before `end` has been. False when the time is over, or it will
    /// never be.
    pub(crate) fn wait(&self, log: &Log, end: u64, until: Option<Instant>) -> bool {
        let in_vain =
            || !self.is_active() || self.is_over(end.saturating_sub(1)) || log.end().get() < end && log.is_closed();
        self.waiters.block(until, || self.has_reached(log, end) || in_vain()) && self.has_reached(log, end)
    }

    /// Wakes those who wait, to look again.
    pub(crate) fn wake(&self) {
        self.waiters.wake_all();
    }

    /// Whether the cursor is at `end`; of a stream, or nothing lies between.
    fn has_reached(&self, log: &Log, end: u64) -> bool {
        let next = self.next();
        let nothing_between = |stream: &str| {
            let view = View::new(log.clone(), Position::new(end));
            log.end().get() >= end && view.read_stream(stream).after(next).cursor().next().is_none()
        };
        next != PENDING && (next >= end || self.stream.as_deref().is_some_and(nothing_between))
    }

    /// The failure of the envelope at `position`, if it is remembered.
    pub(crate) fn failure_at(&self, position: Position) -> Option<Failure> {
        if self.failed() == 0 {
            return None;
        }
        self.failures.load().get()?.iter().rev().find(|failure| failure.position() == position).cloned()
    }

    fn drain(&self, run: &mut Run, log: &Log, end: u64, at_hand: Option<&Envelope>, delivery: &Delivery) {
        let next = self.next();
        if next >= end {
            return;
        }
        if self.ack != Ack::Memory && !self.is_safe(log, end, delivery) {
            return;
        }
        // Mostly the appender's own envelope is the only one there is to deliver.
        if let Some(envelope) = at_hand
            && self.is_next(run, next, envelope)
        {
            self.deliver(run, envelope, delivery);
            return;
        }
        let view = View::new(log.clone(), Position::new(end));
        let mut expected = next;
        let mut cursor = match &self.stream {
            None => view.read().after(next).cursor(),
            Some(stream) => view.read_stream(&**stream).after(next).cursor(),
        };
        while let Some(envelope) = cursor.next() {
            let index = envelope.position().get() - 1;
            if self.stream.is_none() && index > expected {
                self.report_removed(expected, index - expected, delivery);
            }
            // Without an envelope at hand this is the past, which ends when the subscription does.
            if at_hand.is_none() && self.is_left() || !self.deliver(run, envelope, delivery) {
                return;
            }
            expected = index + 1;
        }
        if let Some(failure) = cursor.failure() {
            // It stays where it is, and the next append tries again.
            let error = HandlerError::Unreadable(failure.to_string().into());
            self.remember(&Failure::new(Position::new(expected + 1), self.name(), error), delivery);
            return;
        }
        if self.stream.is_none() && end > expected {
            self.report_removed(expected, end - expected, delivery);
        }
        // Release: as in `deliver`.
        self.next.store(end, Ordering::Release);
    }

    /// Waits until what is before `end` is as safe as it has to be: for the disk, which waits for nobody. False when it will
    /// never be.
    #[cold]
    fn is_safe(&self, log: &Log, end: u64, delivery: &Delivery) -> bool {
        let core = log.core();
        let Some(backing) = core.backing().filter(|backing| backing.mark(self.ack) < end) else { return true };
        let Err(stopped) = backing.acknowledge(core, end, Some(self.ack)) else { return true };
        let error = HandlerError::Unreadable(stopped.to_string().into());
        self.remember(&Failure::new(Position::new(end), self.name(), error), delivery);
        false
    }

    /// Whether `envelope` comes right after what was delivered.
    fn is_next(&self, run: &Run, next: u64, envelope: &Envelope) -> bool {
        match self.stream {
            None => envelope.position().get() == next + 1,
            Some(_) => run.revision > 0 && envelope.revision().get() == run.revision,
        }
    }

    /// Delivers one envelope and moves the cursor past it; false when it stays where it is.
    fn deliver(&self, run: &mut Run, envelope: &Envelope, delivery: &Delivery) -> bool {
        let position = envelope.position();
        if !self.is_active() || self.is_over(position.get() - 1) {
            return false;
        }
        if self.selection.selects(envelope)
            && let Some(handler) = &mut run.handler
        {
            match call(|| handler(envelope)) {
                // Relaxed: a counter, and the claim makes it one thread's.
                Ok(()) => {
                    self.delivered.fetch_add(1, Ordering::Relaxed);
                    delivery.tally.add(DELIVERED, 1);
                }
                Err(error) => {
                    self.remember(&Failure::new(position, self.name(), error), delivery);
                    if self.on_failure != OnFailure::Continue {
                        let state = if self.on_failure == OnFailure::Park { PARKED } else { STOPPED };
                        // Right before the envelope, for `skip`. Release: as below.
                        self.next.store(position.get() - 1, Ordering::Release);
                        // Release: pairs with the load in `is_active`. Unless it was stopped meanwhile.
                        let _ = self.state.compare_exchange(ACTIVE, state, Ordering::Release, Ordering::Relaxed);
                        telemetry::halted(self.name(), position.get(), state == PARKED);
                        return false;
                    }
                }
            }
        }
        run.revision = envelope.revision().get() + 1;
        // Release: pairs with the Acquire in `next`: what the handler did comes before.
        self.next.store(position.get(), Ordering::Release);
        true
    }

    fn report_removed(&self, from: u64, count: u64, delivery: &Delivery) {
        let error = HandlerError::Removed(count);
        self.remember(&Failure::new(Position::new(from + 1), self.name(), error), delivery);
    }

    fn remember(&self, failure: &Failure, delivery: &Delivery) {
        self.failures.change(|old| {
            let mut all = old.cloned().unwrap_or_default();
            if all.len() == REMEMBERED {
                all.remove(0);
            }
            all.push(failure.clone());
            Some(Some(all))
        });
        // Relaxed: a counter. Who waited for the cursor comes after it.
        self.failed.fetch_add(1, Ordering::Relaxed);
        delivery.report(failure);
    }
}
