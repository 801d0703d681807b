//! Floor 0: what the engine needs of a machine with threads, from `std` or from loom, one to one.
//!
//! Nothing else in the crate imports atomics, cells or threads. A test holds that.

mod backoff;

pub(crate) use backoff::Backoff;

#[cfg(not(loom))]
mod imp {
    pub(crate) use std::hint::spin_loop as pause;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::thread::yield_now as pause;
}

pub(crate) use imp::*;

/// Loads what a compare-and-swap of the same cell will soon depend on.
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

/// A small number that threads running at once mostly do not share. For spreading, not for identity.
pub(crate) fn thread_number() -> usize {
    #[cfg(not(loom))]
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
    #[cfg(loom)]
    0
}
