//! Waiting for something on another thread.

use std::task::{Wake, Waker};
use std::time::Instant;

#[cfg(not(any(loom, annals_shuttle)))]
mod imp {
    pub(crate) use std::thread::{Builder, Thread, current, yield_now};

    pub(crate) use atomic_waker::AtomicWaker;

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
    use std::sync::Mutex;

    use loom::sync::atomic::{AtomicU32, Ordering};
    pub(crate) use loom::thread::{Builder, Thread, current, yield_now};

    use super::{Instant, Waker};

    /// Loom's own cell forgets a waker that is registered while the one before is woken, and the thread's token with it.
    /// Here either is one step of the model; the mutex is never held where loom may change threads.
    pub(crate) struct AtomicWaker {
        waker: Mutex<Option<Waker>>,
        steps: AtomicU32,
    }

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self { waker: Mutex::new(None), steps: AtomicU32::new(0) }
        }

        pub(crate) fn register(&self, waker: &Waker) {
            // AcqRel: as the cell of `std`'s build promises.
            self.steps.fetch_add(1, Ordering::AcqRel);
            let before = self.waker.lock().unwrap().replace(waker.clone());
            drop(before);
        }

        pub(crate) fn wake(&self) {
            // AcqRel: as above.
            self.steps.fetch_add(1, Ordering::AcqRel);
            let waker = self.waker.lock().unwrap().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

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

    /// Shuttle has no such cell; a lock of its own does, schedules are all that it looks at.
    pub(crate) struct AtomicWaker(shuttle::sync::Mutex<Option<std::task::Waker>>);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self(shuttle::sync::Mutex::new(None))
        }

        pub(crate) fn register(&self, waker: &std::task::Waker) {
            *self.0.lock().unwrap() = Some(waker.clone());
        }

        pub(crate) fn wake(&self) {
            let waker = self.0.lock().unwrap().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Starts a thread that nobody joins; false when the system has none.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> bool {
    imp::Builder::new().name(name.to_owned()).spawn(run).is_ok()
}

pub(crate) use imp::{AtomicWaker, is_over, park, yield_now};

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
