//! Who refetches for a replica.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::reconciler::Input;
use super::shared::{Parse, Shared, guarded, reason, whole};
use super::update::Update;
use crate::delivery::{Waiter, message_of};
use crate::store::BackendError;
use crate::sync::{Arc, StdArc};

/// What a refetch comes to: the update that the source has now, or nothing, or an error.
pub type Refetched<V> = Result<Option<Update<V>>, BackendError>;

/// Refetches whenever its replica asks for it, one at a time; ready when the replica has been disposed of.
///
/// There is no runtime in here: refetches go on while this is polled, and only then. So spawn it, or give it a thread with
/// [`block_on`](crate::store::block_on). Dropped, it ends: a refetch in flight counts as failed, and the replica goes on without
/// refetches.
///
/// A refetch that panics, when it is begun or polled, has failed. Between two refetches others of its runtime have their turn.
#[must_use = "refetches go on while this is polled"]
pub struct Refetcher<V: 'static, T> {
    shared: StdArc<Shared<T>>,
    parse: Parse<V, T>,
    refetch: Begin<V>,
    flight: Option<Flight<V>>,
    waiter: Option<Arc<Waiter>>,
}

pub(super) type Begin<V> = Box<dyn FnMut() -> Pending<V> + Send>;
type Pending<V> = Pin<Box<dyn Future<Output = Refetched<V>> + Send>>;

/// A refetch on its way.
struct Flight<V> {
    number: u64,
    future: Pending<V>,
}

/// What the refetcher is to do.
enum Wanted {
    Refetch(u64),
    End,
}

impl<V: 'static, T> Refetcher<V, T> {
    pub(super) fn new(shared: StdArc<Shared<T>>, parse: Parse<V, T>, refetch: Begin<V>) -> Self {
        Self { shared, parse, refetch, flight: None, waiter: None }
    }

    /// What is wanted and not done yet. Between polls this registers to be woken for it.
    fn wanted(&mut self, context: &Context<'_>) -> Poll<Wanted> {
        let Self { shared, flight, waiter, .. } = self;
        let flown = flight.as_ref().map(|flight| flight.number);
        shared.poll_refetcher(waiter, context, || {
            shared.read(|state| match state.refetching() {
                _ if state.is_disposed() => Some(Wanted::End),
                Some(number) if flown != Some(number) => Some(Wanted::Refetch(number)),
                _ => None,
            })
        })
    }

    /// Begins a refetch. One that is in flight is not wanted any more.
    fn begin(&mut self, number: u64) {
        self.drop_flight();
        match guarded(&mut self.refetch) {
            Ok(future) => self.flight = Some(Flight { number, future }),
            Err(panicked) => _ = self.shared.tell(&Input::RefetchFailed(number, panicked)),
        }
    }

    /// Polls what is in flight; whether it landed.
    fn fly(&mut self, context: &mut Context<'_>) -> bool {
        let Some(Flight { number, future }) = &mut self.flight else { return false };
        let number = *number;
        let input = match guarded(|| future.as_mut().poll(context)) {
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(Ok(found))) => Input::Refetched(number, found.map(|update| whole(&self.parse, &update))),
            Ok(Poll::Ready(Err(error))) => Input::RefetchFailed(number, reason(&*error)),
            Err(panicked) => Input::RefetchFailed(number, panicked),
        };
        self.drop_flight();
        self.shared.tell(&input);
        true
    }

    /// The future is the user's: so is a panic while it is dropped.
    fn drop_flight(&mut self) {
        let flight = self.flight.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(flight))) {
            drop(message_of(payload));
        }
    }
}

/// Nothing in here is pinned: what has to be is in a box.
impl<V: 'static, T> Unpin for Refetcher<V, T> {}

impl<V: 'static, T> Future for Refetcher<V, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.wanted(context) {
            Poll::Ready(Wanted::End) => {
                self.drop_flight();
                return Poll::Ready(());
            }
            Poll::Ready(Wanted::Refetch(number)) => self.begin(number),
            Poll::Pending => {}
        }
        // What was begun was not registered for what comes after, and there may be more to do than one refetch.
        if self.fly(context) || self.wanted(context).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<V: 'static, T> Drop for Refetcher<V, T> {
    fn drop(&mut self) {
        self.shared.forget_refetcher(&mut self.waiter);
        self.drop_flight();
        self.shared.tell(&Input::RefetchEnds);
    }
}

impl<V: 'static, T> fmt::Debug for Refetcher<V, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.flight.as_ref().map(|flight| flight.number);
        f.debug_struct("Refetcher").field("in_flight", &number).finish_non_exhaustive()
    }
}
