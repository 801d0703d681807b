//! Waiting with the thread, where there is no runtime.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::sync::wait::{park, thread_waker};

/// Waits for a future with the calling thread. Blocks: parks the thread until the future wakes it; one that is ready at once,
/// as those of [`Log`](crate::Log) are, never parks.
///
/// Not for use inside a task of a runtime.
#[inline]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // What is ready at once needs no waker; making one allocates.
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => wait_for(future),
    }
}

/// Polls again, with a waker: the one before is forgotten by whoever keeps to the contract of `Future`.
#[cold]
fn wait_for<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => park(None),
        }
    }
}

/// The items of a stream, each waited for with the calling thread as in [`block_on`].
pub fn iterate<S: Stream + Unpin>(stream: S) -> Iterate<S> {
    Iterate(stream)
}

/// A stream as an iterator that blocks: see [`iterate`].
#[derive(Debug)]
pub struct Iterate<S>(S);

impl<S: Stream + Unpin> Iterator for Iterate<S> {
    type Item = S::Item;

    #[inline]
    fn next(&mut self) -> Option<S::Item> {
        block_on(std::future::poll_fn(|context| Pin::new(&mut self.0).poll_next(context)))
    }
}
