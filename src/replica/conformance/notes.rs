//! What handlers noted, for a clause to wait for.

use std::future::poll_fn;
use std::task::Poll;

use crate::delivery::{Waiter, Waiters};
use crate::sync::{Arc, CopyOnWrite, StdArc};

/// Notes in the order in which they were made, from any thread. A clone is the same notes.
pub(super) struct Notes<N>(StdArc<Inner<N>>);

struct Inner<N> {
    all: CopyOnWrite<Vec<N>>,
    waiters: Waiters,
}

impl<N: Clone> Notes<N> {
    pub(super) fn new() -> Self {
        Self(StdArc::new(Inner { all: CopyOnWrite::new(), waiters: Waiters::new() }))
    }

    pub(super) fn add(&self, note: N) {
        self.0.all.change(|there| {
            let mut all = there.cloned().unwrap_or_default();
            all.push(note.clone());
            Some(Some(all))
        });
        self.0.waiters.wake_all();
    }

    pub(super) fn all(&self) -> Vec<N> {
        self.0.all.load().get().cloned().unwrap_or_default()
    }

    /// What was noted since the last time.
    pub(super) fn take(&self) -> Vec<N> {
        self.0.all.take().get().cloned().unwrap_or_default()
    }

    /// Waits until the notes are as wanted.
    pub(super) async fn until(&self, wanted: impl Fn(&[N]) -> bool) {
        let mut place: Option<Arc<Waiter>> = None;
        poll_fn(|context| {
            self.0.waiters.register(&mut place, context.waker(), || ());
            if wanted(&self.all()) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if let Some(waiter) = place {
            self.0.waiters.forget(&waiter);
        }
    }
}

impl<N> Clone for Notes<N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
