//! Threads and tasks that wait for something, and waking them.
//!
//! Who waits registers first, then looks whether what it waits for has happened; who makes it happen does so first, then looks
//! whether anybody waits. Between the two steps each has a `fence(SeqCst)`, so one of them sees the other: no wake-up is lost.
//! Waking takes everybody off the list; who has to wait on comes back.
//!
//! What this does not do: a thread that is stopped between taking the list and waking leaves those on it asleep, until it goes
//! on or their time is over. It holds up nobody else.

use std::task::Waker;
use std::time::Instant;

use crate::sync::wait::{self, AtomicWaker};
use crate::sync::{Arc, AtomicU32, CopyOnWrite, Ordering, fence, pause};

/// Not on a list.
const OUT: u32 = 0;
/// On a list, to be woken.
const ARMED: u32 = 1;
/// On a list, not waiting any more.
const IDLE: u32 = 2;

/// How often a thread looks before it parks: waking a parked thread takes 15 µs, looking some nanoseconds.
pub(crate) const LOOKS: u32 = if cfg!(any(loom, annals_shuttle)) { 0 } else { 200 };
/// How often it gives its processor away before it parks.
pub(crate) const YIELDS: u32 = if cfg!(any(loom, annals_shuttle)) { 0 } else { 20 };

/// One who waits, again and again.
pub(crate) struct Waiter {
    state: AtomicU32,
    waker: AtomicWaker,
}

/// Those who wait for one thing.
pub(crate) struct Waiters(CopyOnWrite<Vec<Arc<Waiter>>>);

impl Waiter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: AtomicU32::new(OUT), waker: AtomicWaker::new() })
    }

    /// Waits no longer. It may stay on its list until somebody wakes it.
    pub(crate) fn disarm(&self) {
        // Relaxed: who takes it off the list meanwhile wakes somebody who does not wait.
        let _ = self.state.compare_exchange(ARMED, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it is on a list.
    pub(crate) fn is_listed(&self) -> bool {
        // Acquire: pairs with the Release in `wake_all`.
        self.state.load(Ordering::Acquire) != OUT
    }
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self(CopyOnWrite::new())
    }

    /// From now on `waker` is woken when the others are, once. The caller looks whether it has to wait after this.
    pub(crate) fn register(&self, waiter: &Arc<Waiter>, waker: &Waker) {
        waiter.waker.register(waker);
        // AcqRel: pairs with the swap in `wake_all`, on either side of it: either that one wakes what was registered, or this
        // one finds itself off the list.
        match waiter.state.compare_exchange(IDLE, ARMED, Ordering::AcqRel, Ordering::Acquire) {
            // Still on the list.
            Ok(_) | Err(ARMED) => {}
            Err(_) => {
                // Release: as above.
                waiter.state.store(ARMED, Ordering::Release);
                self.0.change(|there| {
                    let mut all = there.cloned().unwrap_or_default();
                    all.push(waiter.clone());
                    Some(Some(all))
                });
            }
        }
        // SeqCst: pairs with the fence in `wake_all`.
        fence(Ordering::SeqCst);
    }

    /// Wakes everybody who registered before what the caller did last. Lock-free.
    pub(crate) fn wake_all(&self) {
        // SeqCst: pairs with the fence in `register`.
        fence(Ordering::SeqCst);
        if self.0.load().get().is_none() {
            return;
        }
        for waiter in self.0.take().get().into_iter().flatten() {
            // AcqRel: pairs with `register`.
            if waiter.state.swap(OUT, Ordering::AcqRel) == ARMED {
                waiter.waker.wake();
            }
        }
    }

    /// Takes a waiter off the list that will not come back. The others are woken for it, and come back.
    pub(crate) fn forget(&self, waiter: &Waiter) {
        waiter.disarm();
        if waiter.is_listed() {
            self.wake_all();
        }
    }

    /// Blocks until `ready` says so, or the time is over. What it said last.
    pub(crate) fn block(&self, until: Option<Instant>, mut ready: impl FnMut() -> bool) -> bool {
        for look in 0..LOOKS + YIELDS {
            if ready() {
                return true;
            }
            if look < LOOKS { pause() } else { wait::yield_now() }
        }
        let (waiter, waker) = (Waiter::new(), wait::thread_waker());
        loop {
            self.register(&waiter, &waker);
            let is_ready = ready();
            if is_ready || wait::is_over(until) {
                self.forget(&waiter);
                return is_ready;
            }
            wait::park(until);
        }
    }
}
