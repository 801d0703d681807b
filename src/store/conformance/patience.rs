//! Waiting for so long and no longer, without a runtime: a thread wakes whoever waits when the time is over.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::sync::wait::{is_over, park, spawn};

/// What the future comes to; none when it is not ready within `patience`.
pub(crate) async fn within<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let until = Instant::now().checked_add(patience);
    let mut woken_later: Option<Waker> = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if is_over(until) {
            return Poll::Ready(None);
        }
        if woken_later.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            woken_later = Some(context.waker().clone());
            wake_at(until, context.waker().clone());
        }
        Poll::Pending
    })
    .await
}

fn wake_at(until: Option<Instant>, waker: Waker) {
    spawn("annals patience", move || {
        while !is_over(until) {
            park(until);
        }
        waker.wake();
    });
}
