//! A few values of a kind, each lent to one user at a time. Lock-free, and no thread-locals.
//!
//! A place is null until its first use, then holds a value, or the mark of being in use. Taking a value is a
//! compare-and-swap to the mark; only who did that stores to the place again, to put the value back. A user that stops keeps
//! its place, others go on to the next ones. Values go from thread to thread: whoever makes a pool sees to it that they may.

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicPtr, Ordering, probe_relaxed, thread_number};

pub(crate) struct Pool<T, const PLACES: usize>([CachePadded<AtomicPtr<T>>; PLACES]);

/// How many places a borrower tries.
const TRIES: usize = 4;

/// A value out of a pool, put back when this is dropped.
pub(crate) struct Lent<'p, T> {
    place: &'p AtomicPtr<T>,
    value: NonNull<T>,
}

/// The mark of a place whose value somebody uses. Never followed.
fn in_use<T>() -> *mut T {
    ptr::without_provenance_mut(1)
}

impl<T, const PLACES: usize> Pool<T, PLACES> {
    /// A pool of nothing yet.
    #[cfg(not(any(loom, annals_shuttle)))]
    pub(crate) const fn new() -> Self {
        Self([const { CachePadded::new(AtomicPtr::new(ptr::null_mut())) }; PLACES])
    }

    #[cfg(any(loom, annals_shuttle))]
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| CachePadded::new(AtomicPtr::new(ptr::null_mut()))))
    }

    /// A value that nobody else uses; a new one when the place is empty; none when the places tried are in use. Wait-free.
    #[inline]
    pub(crate) fn lend(&self, make: impl FnOnce() -> T) -> Option<Lent<'_, T>> {
        const { assert!(size_of::<T>() > 0, "a box of nothing has the address that is the mark") };
        let start = thread_number();
        for place in (start..start + TRIES.min(PLACES)).map(|n| &*self.0[n % PLACES]) {
            // Relaxed: compared here; the value is used only after the swap below, which acquires it.
            let there = probe_relaxed(place);
            if there == in_use() {
                continue;
            }
            // Acquire: pairs with the Release in `Lent::drop`; what the last user did to the value comes before what we do.
            if place.compare_exchange(there, in_use(), Ordering::Acquire, Ordering::Relaxed).is_ok() {
                let value = NonNull::new(there).unwrap_or_else(|| NonNull::from(Box::leak(Box::new(make()))));
                return Some(Lent { place, value });
            }
        }
        None
    }
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: from a box that only the pool's drop frees; ours alone while the place has the mark.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for Lent<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.value.as_mut() }
    }
}

impl<T> Drop for Lent<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `lend`. A store will do: a place in use is left alone by others.
        self.place.store(self.value.as_ptr(), Ordering::Release);
    }
}

impl<T, const PLACES: usize> Drop for Pool<T, PLACES> {
    fn drop(&mut self) {
        for place in &self.0 {
            // Relaxed: dropped by its owner, which is alone: a borrower borrows the pool.
            let value = place.load(Ordering::Relaxed);
            if !value.is_null() && value != in_use() {
                // SAFETY: from a box, and used by nobody.
                drop(unsafe { Box::from_raw(value) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A borrower gets a value of its own from the next place, up to so many places on; what was put back is lent again.
    #[test]
    fn a_borrower_tries_a_few_places() {
        let (pool, made) = (Pool::<usize, 8>::new(), std::cell::Cell::new(0));
        let lend = || {
            pool.lend(|| {
                made.set(made.get() + 1);
                made.get()
            })
        };
        let lent: Vec<_> = (0..TRIES).map(|_| lend().expect("a place is free")).collect();
        assert_eq!(lent.iter().map(|value| **value).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(lend().is_none(), "all the places that are tried are in use");
        drop(lent);
        assert_eq!(*lend().expect("all places are free"), 1);
        assert_eq!(made.get(), TRIES);
    }

    /// What was lent and put back is dropped with the pool.
    #[test]
    fn a_pool_drops_its_values() {
        let value = std::rc::Rc::new(());
        let pool = Pool::<_, 8>::new();
        drop([pool.lend(|| value.clone()), pool.lend(|| value.clone())]);
        assert_eq!(std::rc::Rc::strong_count(&value), 3);
        drop(pool);
        assert_eq!(std::rc::Rc::strong_count(&value), 1);
    }
}
