//! What a victim does for subscribers, and as one. Subscriptions and followers are left to the process: their drop is another
//! operation.

use std::hint::black_box;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use annals::{Bus, Envelope, Follower, Log, Stream, Subscription};

use crate::operations::{Make, append, silent};

/// The first use of arc-swap by a thread registers a destructor with the C library, under a lock of its loader. Victims have
/// that behind them: the same, as a thread that has delivered before.
pub fn warmed(make: impl Make) -> impl Make {
    move |log, stream| {
        drop(Bus::<u8>::new().subscribe("warm", |_: &u8| ()));
        make(log, stream)
    }
}

/// What the observers' handler does: something that others can do at the same time.
fn count(_: &Envelope) {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed);
}

fn observed(log: &Log) -> Subscription {
    log.observe(count).expect("the log is open")
}

fn observed_stream(stream: &Stream) -> Subscription {
    stream.observe(count).expect("the log is open")
}

pub fn append_observed() -> impl Make {
    |log, stream| {
        observed(&log).detach();
        append(0)(log, stream)
    }
}

pub fn append_observed_in_stream() -> impl Make {
    |log, stream| {
        observed_stream(&stream).detach();
        append(0)(log, stream)
    }
}

pub fn append_beside_a_subscription() -> impl Make {
    |log, stream| {
        observed_stream(&log.stream("beside").expect("a stream")).detach();
        append(0)(log, stream)
    }
}

/// A follower that has everything, and waits as a task does.
fn waiting(mut follower: Follower) {
    let mut context = Context::from_waker(Waker::noop());
    while futures_core::Stream::poll_next(Pin::new(&mut follower), &mut context).is_ready() {}
    std::mem::forget(follower);
}

pub fn append_followed() -> impl Make {
    |log, stream| {
        waiting(log.follow());
        append(0)(log, stream)
    }
}

pub fn append_followed_in_stream() -> impl Make {
    |log, stream| {
        waiting(stream.follow());
        append(0)(log, stream)
    }
}

pub fn observe() -> impl Make {
    |log, _| silent(move || observed(&log).detach())
}

pub fn observe_stream() -> impl Make {
    |_, stream| silent(move || observed_stream(&stream).detach())
}

pub fn observe_beside() -> impl Make {
    |log, _| {
        observed(&log).detach();
        silent(move || observed(&log).detach())
    }
}

pub fn drop_subscription() -> impl Make {
    |log, _| {
        observed(&log).detach();
        let subscription = observed(&log);
        silent(move || drop(subscription))
    }
}

pub fn drop_subscription_to_stream() -> impl Make {
    |_, stream| {
        let subscription = observed_stream(&stream);
        silent(move || drop(subscription))
    }
}

pub fn make_follower() -> impl Make {
    |log, _| silent(move || std::mem::forget(log.follow()))
}

fn next(mut follower: Follower) -> crate::scene::Operation {
    silent(move || {
        // An envelope, or word that others have removed it meanwhile.
        _ = black_box(follower.try_next());
        std::mem::forget(follower);
    })
}

pub fn follow_next() -> impl Make {
    |log, _| next(log.feed().from_beginning().follow())
}

pub fn follow_stream_next() -> impl Make {
    |_, stream| next(stream.feed().from_beginning().follow())
}

fn wait(mut follower: Follower) -> crate::scene::Operation {
    silent(move || {
        let mut context = Context::from_waker(Waker::noop());
        while futures_core::Stream::poll_next(Pin::new(&mut follower), &mut context).is_ready() {}
        std::mem::forget(follower);
    })
}

pub fn follow_wait() -> impl Make {
    |log, _| wait(log.follow())
}

pub fn follow_stream_wait() -> impl Make {
    |_, stream| wait(stream.follow())
}
