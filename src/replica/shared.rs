//! The reconciler behind a replica: whoever has something for it, on whatever thread, copies it, tells the copy, and swaps.
//!
//! So every decision is taken on the state that it changes, and there is one order of decisions, that of the swaps. Who loses a
//! swap asks again: lock-free. Who reads loads: wait-free, and sees all of one decision or nothing of it.
//!
//! What user code there is (parsing, refetching) runs before and outside of that, and its panics become failures.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use super::reconciler::{Decided, Input, Parsed, Reconciler, Rules};
use super::update::Update;
use crate::delivery::{Waiter, Waiters, message_of};
use crate::store::BackendError;
use crate::sync::{Arc, CopyOnWrite, StdArc};

pub(super) struct Shared<T> {
    /// Never empty.
    state: CopyOnWrite<Reconciler<T>>,
    /// Those who watch, and those who wait for a refetch to land.
    watchers: Waiters,
    /// Who refetches: it waits to be asked.
    refetcher: Waiters,
}

/// What makes a value of the replica of one that was published.
pub(super) type Parse<V, T> = StdArc<dyn Fn(&V) -> Result<T, BackendError> + Send + Sync>;

impl<T> Shared<T> {
    pub(super) fn new(rules: Rules) -> StdArc<Self> {
        let state = CopyOnWrite::new();
        state.change(|_| Some(Some(Reconciler::new(rules))));
        StdArc::new(Self { state, watchers: Waiters::new(), refetcher: Waiters::new() })
    }

    /// What the state is asked. Wait-free.
    pub(super) fn read<R>(&self, ask: impl FnOnce(&Reconciler<T>) -> R) -> R {
        let loaded = self.state.load();
        ask(loaded.get().expect("the state is there from the beginning"))
    }

    /// Tells the reconciler, and wakes whoever has to know. Lock-free.
    pub(super) fn tell(&self, input: &Input<T>) -> Decided {
        let mut told = None;
        self.state.change(|state| {
            let before = state?;
            let mut next = before.clone();
            let (decided, is_over) = (next.take(input), before.is_disposed());
            told = Some((decided, next.changes() != before.changes()));
            (!is_over).then_some(Some(next))
        });
        let (decided, is_changed) = told.expect("the state is there from the beginning");
        if is_changed {
            // All that changes what is to be refetched, or disposes, is a change.
            wake(&self.watchers);
            wake(&self.refetcher);
        }
        decided
    }

    /// Ready when `ready` has something; whoever waits in `place` is woken for the next change.
    pub(super) fn poll_watch<R>(
        &self,
        place: &mut Option<Arc<Waiter>>,
        context: &Context<'_>,
        ready: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        poll(&self.watchers, place, context, ready)
    }

    pub(super) fn poll_refetcher<R>(
        &self,
        place: &mut Option<Arc<Waiter>>,
        context: &Context<'_>,
        ready: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        poll(&self.refetcher, place, context, ready)
    }

    pub(super) fn forget_watcher(&self, place: &mut Option<Arc<Waiter>>) {
        place.take().inspect(|waiter| _ = self.watchers.forget(waiter));
    }

    pub(super) fn forget_refetcher(&self, place: &mut Option<Arc<Waiter>>) {
        place.take().inspect(|waiter| _ = self.refetcher.forget(waiter));
    }
}

fn poll<R>(
    waiters: &Waiters,
    place: &mut Option<Arc<Waiter>>,
    context: &Context<'_>,
    mut ready: impl FnMut() -> Option<R>,
) -> Poll<R> {
    if let Some(it) = ready() {
        return Poll::Ready(it);
    }
    waiters.register(place, context.waker(), || ());
    match ready() {
        Some(it) => Poll::Ready(it),
        None => Poll::Pending,
    }
}

/// Wakers are the runtime's. One that panics must not break who publishes.
fn wake(waiters: &Waiters) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waiters.wake_all())) {
        drop(message_of(payload));
    }
}

/// Sends a value through the parse gate.
pub(super) fn parsed<V, T>(parse: &Parse<V, T>, update: &Update<V>) -> Parsed<T> {
    let value = match guarded(|| parse(&update.value)) {
        Ok(Ok(value)) => Ok(StdArc::new(value)),
        Ok(Err(error)) => Err(reason(&*error)),
        Err(panicked) => Err(panicked),
    };
    update.with(value)
}

/// What user code returns, or what its panic said.
pub(super) fn guarded<R>(run: impl FnOnce() -> R) -> Result<R, StdArc<str>> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| StdArc::from(message_of(payload)))
}

pub(super) fn reason(error: &(dyn Error + Send + Sync)) -> StdArc<str> {
    StdArc::from(error.to_string())
}
