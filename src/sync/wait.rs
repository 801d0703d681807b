//! Waiting for something on another thread.

use std::task::{Wake, Waker};
use std::time::Instant;

#[cfg(not(any(loom, annals_shuttle)))]
mod imp {
    pub(crate) use std::thread::{Builder, Thread, current, yield_now};

    use super::Instant;

    pub(crate) fn park(until: Option<Instant>) {
        match until {
            None => std::thread::park(),
            Some(until) => std::thread::park_timeout(until.saturating_duration_since(Instant::now())),
        }
    }

    /// Whether the time has come.
    pub(crate) fn is_over(until: Option<Instant>) -> bool {
        until.is_some_and(|until| Instant::now() >= until)
    }
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::thread::{Builder, Thread, current, yield_now};

    use super::Instant;

    /// Models have no time: whoever waits with a limit waits without one.
    pub(crate) fn park(_: Option<Instant>) {
        loom::thread::park();
    }

    pub(crate) fn is_over(_: Option<Instant>) -> bool {
        false
    }
}

#[cfg(annals_shuttle)]
mod imp {
    pub(crate) use shuttle::thread::{Builder, Thread, current, yield_now};

    use super::Instant;

    pub(crate) fn park(_: Option<Instant>) {
        shuttle::thread::park();
    }

    pub(crate) fn is_over(_: Option<Instant>) -> bool {
        false
    }
}

/// Starts a thread that nobody joins; false when the system has none.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> bool {
    imp::Builder::new().name(name.to_owned()).spawn(run).is_ok()
}

pub(crate) use imp::{is_over, park, yield_now};

/// Wakes the thread that made it.
struct Unpark(imp::Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

/// What wakes the calling thread when it is parked.
pub(crate) fn thread_waker() -> Waker {
    Waker::from(std::sync::Arc::new(Unpark(imp::current())))
}
