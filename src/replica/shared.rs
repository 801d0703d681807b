//! The reconciler behind a replica: whoever has something for it, on whatever thread, copies it, tells the copy, and swaps.
//!
//! So every decision is taken on the state that it changes, and there is one order of decisions, that of the swaps. Who loses a
//! swap asks again: lock-free. Who reads loads: wait-free, and sees all of one decision or nothing of it.
//!
//! What user code there is (parsing, refetching) runs before and outside of that, and its panics become failures.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use super::change::Change;
use super::confirms::Confirms;
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
    /// Who shows more than the confirmed value.
    confirms: Option<StdArc<dyn Confirms<T>>>,
}

/// What makes a value of the replica, or a patch, of one that was published.
pub(super) type Parse<V, T> = StdArc<dyn Fn(&V) -> Result<Change<T>, BackendError> + Send + Sync>;

impl<T> Shared<T> {
    pub(super) fn new(rules: Rules, confirms: Option<StdArc<dyn Confirms<T>>>) -> StdArc<Self> {
        let state = CopyOnWrite::new();
        state.change(|_| Some(Some(Reconciler::new(rules))));
        StdArc::new(Self { state, watchers: Waiters::new(), refetcher: Waiters::new(), confirms })
    }

    /// What the state is asked. Wait-free.
    pub(super) fn read<R>(&self, ask: impl FnOnce(&Reconciler<T>) -> R) -> R {
        let loaded = self.state.load();
        ask(loaded.get().expect("the state is there from the beginning"))
    }

    /// Tells the reconciler, and wakes whoever has to know. Lock-free.
    pub(super) fn tell(&self, input: &Input<T>) -> Decided {
        // Before the swap: whoever takes the value as confirmed must know by then what is in it.
        self.echo(input);
        let mut told = None;
        self.state.change(|state| {
            let before = state?;
            let mut next = before.clone();
            let (decided, is_over) = (next.take(input), before.is_disposed());
            told = Some((decided, next.changes() != before.changes()));
            (!is_over).then_some(Some(next))
        });
        let (decided, is_changed) = told.expect("the state is there from the beginning");
        self.confirm();
        if is_changed {
            // All that changes what is to be refetched, or disposes, is a change.
            wake(&self.watchers);
            wake(&self.refetcher);
        }
        decided
    }

    fn echo(&self, input: &Input<T>) {
        let Some(confirms) = &self.confirms else { return };
        if let Some((operations, mark)) = self.read(|state| state.echoes(input)) {
            confirms.contains(operations, mark);
        }
    }

    /// Whoever swapped last comes here after it, and finds its state or a later one.
    fn confirm(&self) {
        let Some(confirms) = &self.confirms else { return };
        self.read(|state| confirms.stands(state));
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

pub(super) fn poll<R>(
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
pub(super) fn wake(waiters: &Waiters) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waiters.wake_all())) {
        drop(message_of(payload));
    }
}

/// Sends what was published through the parse gate.
pub(super) fn came<V, T>(parse: &Parse<V, T>, update: &Update<V>) -> Input<T> {
    match gate(parse, update) {
        Ok(Change::Whole(value)) => Input::Update(update.with(Ok(value))),
        Ok(Change::Patch(patch)) => Input::Patch(update.with(patch)),
        Err(reason) => Input::Update(update.with(Err(reason))),
    }
}

/// The same for what has to be whole: seeds, and what refetches bring.
pub(super) fn whole<V, T>(parse: &Parse<V, T>, update: &Update<V>) -> Parsed<T> {
    update.with(gate(parse, update).and_then(|change| match change {
        Change::Whole(value) => Ok(value),
        Change::Patch(_) => Err("it is a patch, and has to be whole".into()),
    }))
}

fn gate<V, T>(parse: &Parse<V, T>, update: &Update<V>) -> Result<Change<T>, StdArc<str>> {
    guarded(|| parse(&update.value))?.map_err(|error| reason(&*error))
}

/// What user code returns, or what its panic said.
pub(super) fn guarded<R>(run: impl FnOnce() -> R) -> Result<R, StdArc<str>> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| StdArc::from(message_of(payload)))
}

pub(super) fn reason(error: &(dyn Error + Send + Sync)) -> StdArc<str> {
    StdArc::from(error.to_string())
}
