//! Something for a thread that does not keep it, a log, say: as long as it is there, and not a moment longer.
//!
//! Who uses it counts itself, then looks whether it is still there; who ends it takes it away, then waits until nobody is
//! counted. Between the two steps each has a `fence(SeqCst)`: one of them sees the other.

use std::ptr;

use crate::sync::{AtomicPtr, AtomicU64, Ordering, fence, wait};

/// See the head of this file.
pub struct Lease<T> {
    it: AtomicPtr<T>,
    users: AtomicU64,
}

impl<T> Lease<T> {
    /// Of nothing.
    #[allow(clippy::new_without_default, reason = "public for models alone")]
    pub fn new() -> Self {
        Self { it: AtomicPtr::new(ptr::null_mut()), users: AtomicU64::new(0) }
    }

    /// From now on it is of this, until [`revoke`](Self::revoke).
    ///
    /// # Safety
    /// Nobody else has the lease yet. What it is of stays where it is, and is not dropped before the lease was revoked.
    pub unsafe fn grant(&self, it: &T) {
        // Relaxed: whoever is given the lease comes after this.
        self.it.store(ptr::from_ref(it).cast_mut(), Ordering::Relaxed);
    }

    /// Works on it, when it is there.
    pub fn with<R>(&self, work: impl FnOnce(&T) -> R) -> Option<R> {
        // Relaxed: the fence orders it before the look.
        self.users.fetch_add(1, Ordering::Relaxed);
        let _used = Used(&self.users);
        // SeqCst: pairs with the fence in `revoke`.
        fence(Ordering::SeqCst);
        // Relaxed: see `grant`.
        let it = self.it.load(Ordering::Relaxed);
        // SAFETY: not null, so granted; who revokes it waits for `users`, which counts this.
        (!it.is_null()).then(|| work(unsafe { &*it }))
    }

    /// Nobody works on it any more, and nobody will. Waits for whoever does.
    pub fn revoke(&self) {
        // Relaxed: the fence orders it before the look.
        self.it.store(ptr::null_mut(), Ordering::Relaxed);
        // SeqCst: pairs with the fence in `with`.
        fence(Ordering::SeqCst);
        // Acquire: pairs with the Release in `Used`: what was done comes before what follows.
        while self.users.load(Ordering::Acquire) != 0 {
            wait::yield_now();
        }
    }
}

/// One who works on it; not any more when this is dropped.
struct Used<'l>(&'l AtomicU64);

impl Drop for Used<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `revoke`.
        self.0.fetch_sub(1, Ordering::Release);
    }
}
