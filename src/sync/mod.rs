//! Floor 0: what the engine needs of a machine with threads, from `std`, from loom or from shuttle, one to one.
//!
//! Nothing else in the crate imports atomics, cells or threads. A test holds that.

mod backoff;
mod cow;
mod gauge;
mod tally;
pub(crate) mod turn;
pub(crate) mod wait;
pub(crate) mod within;

pub(crate) use backoff::Backoff;
pub(crate) use cow::{CopyOnWrite, Loaded};
pub(crate) use gauge::Gauge;
pub(crate) use tally::Tally;

#[cfg(not(any(loom, annals_shuttle)))]
mod imp {
    pub(crate) use std::hint::spin_loop as pause;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    pub(crate) fn counted<T: ?Sized>(made: Arc<T>) -> Arc<T> {
        made
    }
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::thread::yield_now as pause;

    pub(crate) fn counted<T: ?Sized>(made: std::sync::Arc<T>) -> Arc<T> {
        Arc::from_std(made)
    }
}

#[cfg(annals_shuttle)]
mod imp {
    pub(crate) use std::sync::Arc;

    pub(crate) use shuttle::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use shuttle::thread::yield_now as pause;

    pub(crate) fn counted<T: ?Sized>(made: Arc<T>) -> Arc<T> {
        made
    }
}

pub(crate) use imp::*;
/// For what has no size, which only the standard library's can be made to point to; [`counted`] makes ours of it.
pub(crate) use std::sync::Arc as StdArc;

/// Loads, with Acquire, what a compare-and-swap of the same cell may soon depend on.
///
/// Loom 0.7 does not explore every interleaving of a load followed by a compare-and-swap of the same cell
/// (tokio-rs/loom#166). The models therefore run twice, the second time with this load as a read-modify-write, which
/// restores them.
#[inline]
pub(crate) fn probe<T>(cell: &AtomicPtr<T>) -> *mut T {
    #[cfg(not(annals_rmw_loads))]
    // Acquire: pairs with the Release of whatever was stored into `cell`; every user of `probe` follows the pointer.
    return cell.load(Ordering::Acquire);
    #[cfg(annals_rmw_loads)]
    match cell.compare_exchange(std::ptr::null_mut(), std::ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(seen) | Err(seen) => seen,
    }
}

/// How a slot is swapped, and how the word is loaded after it that says whether anybody watches.
///
/// An appender swaps its slot and then loads the word; who begins to watch changes the word and then loads the slot, with a
/// `fence(SeqCst)` between. One of the two must see the other. On the appender's side a fence would cost a quarter of an
/// append; sequentially consistent accesses say the same, and on x86 they are the instructions of the weaker ones. Loom takes
/// them for acquire and release: for it the appender has the fence, see [`look_up`].
#[inline]
pub(crate) fn decide() -> Ordering {
    if cfg!(any(loom, annals_shuttle)) { Ordering::Release } else { Ordering::SeqCst }
}

/// Loads the word of those who watch, after a swap with [`decide`].
#[inline]
pub(crate) fn look_up(word: &AtomicU64) -> u64 {
    // SeqCst: pairs with the fence of whoever begins to watch.
    #[cfg(not(any(loom, annals_shuttle)))]
    return word.load(Ordering::SeqCst);
    #[cfg(any(loom, annals_shuttle))]
    {
        fence(Ordering::SeqCst);
        word.load(Ordering::Acquire)
    }
}

/// As [`probe`], with Relaxed: for what is only compared, not followed.
#[inline]
pub(crate) fn probe_relaxed<T>(cell: &AtomicPtr<T>) -> *mut T {
    #[cfg(not(annals_rmw_loads))]
    // Relaxed: each caller says why.
    return cell.load(Ordering::Relaxed);
    #[cfg(annals_rmw_loads)]
    match cell.compare_exchange(std::ptr::null_mut(), std::ptr::null_mut(), Ordering::Relaxed, Ordering::Relaxed) {
        Ok(seen) | Err(seen) => seen,
    }
}

/// After `count` was taken down with Release, and nothing is left: all that was done before by whoever took it down comes
/// before what follows.
///
/// `ThreadSanitizer` does not understand fences. For it the same is said by a load, which costs on some machines.
#[inline]
pub(crate) fn acquire(count: &AtomicU32) {
    if cfg!(annals_tsan) {
        count.load(Ordering::Acquire);
    } else {
        fence(Ordering::Acquire);
    }
}

/// Places in an append at which a model can stop a thread for good.
#[cfg(any(loom, annals_shuttle))]
pub(crate) mod stop {
    use std::cell::Cell;

    #[cfg(loom)]
    use loom::thread_local;
    #[cfg(annals_shuttle)]
    use shuttle::thread_local;

    /// Right after the swap.
    pub const SWAPPED: u32 = 1;
    /// After the index was told, before the mark.
    pub const ENTERED: u32 = 2;
    /// In a batch, after one more slot was filled.
    pub const FILLED: u32 = 3;
    /// After the next segment was made, before the tail was moved to it.
    pub const MADE: u32 = 4;
    /// After the tail was moved, before the end hint.
    pub const MOVED: u32 = 5;
    /// While finishing for another, before the mark.
    pub const HELPING: u32 = 6;
    /// After a name was put into the directory's table, before it was counted.
    pub const PUT: u32 = 7;

    thread_local! {
        static PLACE: Cell<u32> = Cell::new(0);
    }

    /// The calling thread's next append stops at `place`: it returns there, as a thread does that is never scheduled again.
    pub fn at(place: u32) {
        PLACE.with(|stop| stop.set(place));
    }

    pub(crate) fn here(place: u32) -> bool {
        PLACE.with(|stop| stop.get() == place)
    }
}

/// Whether the calling thread stops here. Only models stop threads.
#[cfg(not(any(loom, annals_shuttle)))]
pub(crate) mod stop {
    pub(crate) const SWAPPED: u32 = 1;
    pub(crate) const ENTERED: u32 = 2;
    pub(crate) const FILLED: u32 = 3;
    pub(crate) const MADE: u32 = 4;
    pub(crate) const MOVED: u32 = 5;
    pub(crate) const HELPING: u32 = 6;
    pub(crate) const PUT: u32 = 7;

    /// With `annals_yield` a thread is held up here, which makes rare histories frequent.
    #[inline]
    pub(crate) fn here(_place: u32) -> bool {
        if cfg!(annals_yield) {
            std::thread::yield_now();
        }
        false
    }
}

/// A small number that threads running at once mostly do not share. For spreading, not for identity.
pub(crate) fn thread_number() -> usize {
    #[cfg(not(any(loom, annals_shuttle)))]
    {
        use std::sync::atomic::AtomicUsize;
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            // Relaxed: only the number matters, nothing is published by it.
            static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        // During the destruction of thread-locals any number will do.
        NUMBER.try_with(|number| *number).unwrap_or(0)
    }
    #[cfg(any(loom, annals_shuttle))]
    0
}
