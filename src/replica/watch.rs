//! Watching a replica without polling it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::reconciler::Reconciler;
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::delivery::Waiter;
use crate::sync::{Arc, StdArc};

/// The snapshots of a replica: see [`Replica::watch`](super::Replica::watch).
///
/// Runs on the thread of whoever watches; who publishes only wakes it. So a slow watcher holds up nobody: it misses what is
/// between two looks, never the last one. Ends when the replica was disposed of, after the snapshot that says so (unless
/// only values are watched).
///
/// A [`Stream`], for any runtime; [`iterate`](crate::store::iterate) goes through it with a thread.
pub struct Watch<T> {
    place: Place<T>,
    what: What,
    /// The count of changes that was seen last.
    seen: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Everything,
    Value,
}

/// Where one waits for a replica to change. Left when it is dropped.
pub(super) struct Place<T> {
    shared: StdArc<Shared<T>>,
    waiter: Option<Arc<Waiter>>,
}

impl<T> Place<T> {
    pub(super) fn new(shared: StdArc<Shared<T>>) -> Self {
        Self { shared, waiter: None }
    }

    pub(super) fn poll<R>(&mut self, context: &Context<'_>, ready: impl FnMut() -> Option<R>) -> Poll<R> {
        self.shared.poll_watch(&mut self.waiter, context, ready)
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.shared.forget_watcher(&mut self.waiter);
    }
}

impl What {
    fn count<T>(self, state: &Reconciler<T>) -> u64 {
        match self {
            Self::Everything => state.changes(),
            Self::Value => state.values(),
        }
    }
}

impl<T> Watch<T> {
    pub(super) fn new(shared: StdArc<Shared<T>>, what: What) -> Self {
        Self { place: Place::new(shared), what, seen: None }
    }

    /// Ready with the next snapshot, none after the end. Dropped before it is ready, it has taken nothing.
    pub async fn next(&mut self) -> Option<Snapshot<T>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl<T> Stream for Watch<T> {
    type Item = Snapshot<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Snapshot<T>>> {
        let Self { place, what, seen } = &mut *self;
        let shared = place.shared.clone();
        let news = || {
            shared.read(|state| {
                let count = what.count(state);
                if *seen != Some(count) {
                    return Some(Some((count, state.snapshot())));
                }
                state.is_disposed().then_some(None)
            })
        };
        let Poll::Ready(found) = place.poll(context, news) else { return Poll::Pending };
        Poll::Ready(found.map(|(count, snapshot)| {
            self.seen = Some(count);
            snapshot
        }))
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("what", &self.what).field("seen", &self.seen).finish_non_exhaustive()
    }
}
