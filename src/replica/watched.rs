//! A state that is replaced as a whole, and those who wait for it to change.
//!
//! Who has something to change copies the state, changes the copy, and swaps; who loses a swap does it again: lock-free. Who
//! reads loads: wait-free, and sees all of one change or nothing of it. Who watches registers before it looks, who changes
//! wakes after the swap, so no change is missed ([`Waiters`]).
//!
//! [`Shared`](super::shared::Shared) is the same for a reconciler, which has two kinds of waiters.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::shared::{poll, wake};
use crate::delivery::{Waiter, Waiters};
use crate::sync::{Arc, CopyOnWrite, StdArc};

pub(super) struct Watched<S> {
    /// Never empty.
    state: CopyOnWrite<S>,
    watchers: Waiters,
}

/// What a watcher makes of a state.
pub(super) struct Look<R> {
    /// Another number, another state to tell of.
    pub(super) change: u64,
    /// This is the last there is to tell of.
    pub(super) is_last: bool,
    pub(super) shown: R,
}

impl<S> Watched<S> {
    pub(super) fn new(state: S) -> StdArc<Self> {
        let (cell, mut state) = (CopyOnWrite::new(), Some(state));
        // Nobody else has the cell, so this is asked once.
        cell.change(|_| state.take().map(Some));
        StdArc::new(Self { state: cell, watchers: Waiters::new() })
    }

    /// Wait-free.
    pub(super) fn read<R>(&self, ask: impl FnOnce(&S) -> R) -> R {
        let loaded = self.state.load();
        ask(loaded.get().expect("the state is there from the beginning"))
    }

    /// Replaces the state by what `next` makes of it, and wakes whoever watches; none leaves it. Whether it was replaced.
    /// Lock-free; `next` is asked again when others were faster.
    pub(super) fn change(&self, mut next: impl FnMut(&S) -> Option<S>) -> bool {
        let is_changed = self.change_unseen(&mut next);
        if is_changed {
            wake(&self.watchers);
        }
        is_changed
    }

    /// The same for what watchers do not look at.
    pub(super) fn change_unseen(&self, mut next: impl FnMut(&S) -> Option<S>) -> bool {
        self.state.change(|state| state.and_then(&mut next).map(Some))
    }

    /// Ready with what `ready` finds, when it finds something. Registered until the future is dropped.
    pub(super) async fn wait_for<R>(self: &StdArc<Self>, mut ready: impl FnMut(&S) -> Option<R>) -> R {
        let mut place = Place { watched: self.clone(), waiter: None };
        poll_fn(|context| place.poll(context, &mut ready)).await
    }

    /// The states, one for each change; what changes while nobody looks is told as one change.
    pub(super) fn watch<R: Send>(self: &StdArc<Self>, look: fn(&S) -> Look<R>) -> Watching<S, R> {
        Watching { place: Place { watched: self.clone(), waiter: None }, look, seen: None, is_over: false }
    }
}

/// Where one waits. Left when it is dropped.
struct Place<S> {
    watched: StdArc<Watched<S>>,
    waiter: Option<Arc<Waiter>>,
}

impl<S> Place<S> {
    fn poll<R>(&mut self, context: &Context<'_>, mut ready: impl FnMut(&S) -> Option<R>) -> Poll<R> {
        let Self { watched, waiter } = self;
        poll(&watched.watchers, waiter, context, || watched.read(&mut ready))
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.waiter.take().inspect(|waiter| _ = self.watched.watchers.forget(waiter));
    }
}

pub(super) struct Watching<S, R> {
    place: Place<S>,
    look: fn(&S) -> Look<R>,
    seen: Option<u64>,
    is_over: bool,
}

impl<S, R> Stream for Watching<S, R> {
    type Item = R;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R>> {
        let Self { place, look, seen, is_over } = &mut *self;
        if *is_over {
            return Poll::Ready(None);
        }
        place
            .poll(context, |state| {
                let looked = look(state);
                (*seen != Some(looked.change)).then_some(looked)
            })
            .map(|looked| {
                *seen = Some(looked.change);
                *is_over = looked.is_last;
                Some(looked.shown)
            })
    }
}
