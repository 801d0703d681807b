//! Threads and tasks that wait for something, and waking them.
//!
//! Who waits registers first, then looks whether what it waits for has happened; who makes it happen does so first, then looks
//! whether anybody waits. Between the two steps each has a `fence(SeqCst)`, so one of them sees the other: no wake-up is lost.
//!
//! A [`Waiter`] stays on its list until it leaves for good; its *turn* says whether it waits now. Turns count up: odd while it
//! waits. Who wakes it calls its waker first, which may be called any number of times, and ends that turn after: so a thread
//! that is stopped anywhere in between leaves nobody asleep whom another one would wake, and one that comes late cannot end a
//! turn that began meanwhile.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::sync::{Arc, AtomicU64, CopyOnWrite, Ordering, fence, pause, wait};

/// How often a thread looks before it parks: waking a parked thread takes 15 µs, looking some nanoseconds.
pub(crate) const LOOKS: u32 = if cfg!(any(loom, annals_shuttle)) { 0 } else { 200 };
/// How often it gives its processor away before it parks.
pub(crate) const YIELDS: u32 = if cfg!(any(loom, annals_shuttle)) { 0 } else { 20 };

/// One who waits, again and again, always by the same waker.
pub(crate) struct Waiter {
    waker: Waker,
    turn: AtomicU64,
}

/// Those who wait for one thing.
pub(crate) struct Waiters(CopyOnWrite<Vec<Arc<Waiter>>>);

impl Waiter {
    /// Ends its turn, unless that was done. Whether it was this call that did.
    fn end(&self, turn: u64) -> bool {
        // Release: pairs with `turn`: who sees that the turn is over, and wakes nobody, comes after the waking.
        self.turn.compare_exchange(turn, turn + 1, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// From the turn that it waits in to one of its own right: who has woken it in the old one and has not ended that yet must
    /// not end this one. False when it does not wait.
    fn begin_anew(&self) -> bool {
        let turn = self.turn();
        // Relaxed: nothing was done since the turn began; the fence in `register` orders it before the look.
        is_waiting(turn) && self.turn.compare_exchange(turn, turn + 2, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn turn(&self) -> u64 {
        // Acquire: pairs with the Release of who began the turn, and of who ended it.
        self.turn.load(Ordering::Acquire)
    }
}

fn is_waiting(turn: u64) -> bool {
    turn % 2 == 1
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self(CopyOnWrite::new())
    }

    /// From now on `waker` is woken when the others are, once; `begins` is called before, when that is not so yet. The caller
    /// looks whether it has to wait after this.
    pub(crate) fn register(&self, place: &mut Option<Arc<Waiter>>, waker: &Waker, begins: impl FnOnce()) {
        match place {
            Some(waiter) if waiter.waker.will_wake(waker) => {
                if !waiter.begin_anew() {
                    begins();
                    // Release: pairs with `turn`: what `begins` counted, nobody takes away before it is there. Nobody else
                    // begins a turn of it.
                    waiter.turn.store(waiter.turn() + 1, Ordering::Release);
                }
            }
            // Nobody yet, or another task than before: what the old one waited for, this one does.
            _ => {
                if !place.take().is_some_and(|old| self.forget(&old)) {
                    begins();
                }
                *place = Some(self.add(waker));
            }
        }
        // SeqCst: pairs with the fence in `wake_all`.
        fence(Ordering::SeqCst);
    }

    /// One more on the list, who waits.
    fn add(&self, waker: &Waker) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter { waker: waker.clone(), turn: AtomicU64::new(1) });
        self.0.change(|there| {
            let mut all = there.cloned().unwrap_or_default();
            all.push(waiter.clone());
            Some(Some(all))
        });
        waiter
    }

    /// Wakes everybody who registered before what the caller did last. Lock-free.
    pub(crate) fn wake_all(&self) {
        self.wake_each(|| ());
    }

    /// The same; `ended` is called for each turn that this ends.
    pub(crate) fn wake_each(&self, ended: impl Fn()) {
        // SeqCst: pairs with the fence in `register`.
        fence(Ordering::SeqCst);
        for waiter in self.0.load().get().into_iter().flatten() {
            let turn = waiter.turn();
            if is_waiting(turn) {
                waiter.waker.wake_by_ref();
                if waiter.end(turn) {
                    ended();
                }
            }
        }
    }

    /// The owner waits no longer: whether its turn had to be ended.
    pub(crate) fn disarm(waiter: &Waiter) -> bool {
        let turn = waiter.turn();
        is_waiting(turn) && waiter.end(turn)
    }

    /// Takes a waiter off the list that will not come back. Whether its turn had to be ended.
    pub(crate) fn forget(&self, waiter: &Arc<Waiter>) -> bool {
        self.remove(waiter);
        Self::disarm(waiter)
    }

    fn remove(&self, waiter: &Arc<Waiter>) {
        self.0.change(|there| {
            let there = there?;
            let at = there.iter().position(|other| Arc::ptr_eq(other, waiter))?;
            let mut all = there.clone();
            all.swap_remove(at);
            Some((!all.is_empty()).then_some(all))
        });
    }

    /// Ready when `ready` has something: with that. Dropped before, it leaves nothing on the list.
    pub(crate) async fn until<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
        let mut place = Place::new(self);
        poll_fn(|context| {
            if let Some(it) = ready() {
                return Poll::Ready(it);
            }
            place.register(context);
            ready().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Blocks until `ready` says so, or the time is over. What it said last.
    pub(crate) fn block(&self, until: Option<Instant>, mut ready: impl FnMut() -> bool) -> bool {
        for look in 0..LOOKS + YIELDS {
            if ready() {
                return true;
            }
            if look < LOOKS { pause() } else { wait::yield_now() }
        }
        let (mut place, waker) = (None, wait::thread_waker());
        loop {
            self.register(&mut place, &waker, || ());
            let is_ready = ready();
            if is_ready || wait::is_over(until) {
                if let Some(waiter) = place {
                    self.forget(&waiter);
                }
                return is_ready;
            }
            wait::park(until);
        }
    }
}

/// A place on the list, left when it is dropped.
pub(crate) struct Place<'w> {
    waiters: &'w Waiters,
    waiter: Option<Arc<Waiter>>,
}

impl<'w> Place<'w> {
    pub(crate) fn new(waiters: &'w Waiters) -> Self {
        Self { waiters, waiter: None }
    }

    /// From now on the task is woken when the others are, once. It looks whether it has to wait after this.
    pub(crate) fn register(&mut self, context: &Context<'_>) {
        self.waiters.register(&mut self.waiter, context.waker(), || ());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.waiters.forget(&waiter);
        }
    }
}
