//! A log for a thread that does not keep it: as long as the log is there, and not a moment longer.
//!
//! Who uses the log counts itself, then looks whether it is still there; who ends it takes it away, then waits until nobody is
//! counted. Between the two steps each has a `fence(SeqCst)`: one of them sees the other.

use std::ptr;

use super::core::Core;
use crate::sync::{AtomicPtr, AtomicU64, Ordering, fence, wait};

pub(crate) struct Lease {
    core: AtomicPtr<Core>,
    users: AtomicU64,
}

impl Lease {
    /// Of nothing.
    pub(crate) fn new() -> Self {
        Self { core: AtomicPtr::new(ptr::null_mut()), users: AtomicU64::new(0) }
    }

    /// From now on it is this log's, until [`revoke`](Self::revoke).
    ///
    /// # Safety
    /// The log stays where it is, and is not dropped before the lease was revoked.
    pub(crate) unsafe fn grant(&self, core: &Core) {
        // Release: pairs with the Acquire in `with`.
        self.core.store(ptr::from_ref(core).cast_mut(), Ordering::Release);
    }

    /// Works on the log, when it is there.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&Core) -> R) -> Option<R> {
        // Relaxed: the fence orders it before the look.
        self.users.fetch_add(1, Ordering::Relaxed);
        let _used = Used(self);
        // SeqCst: pairs with the fence in `revoke`.
        fence(Ordering::SeqCst);
        // Acquire: pairs with the Release in `grant`.
        let core = self.core.load(Ordering::Acquire);
        // SAFETY: not null, so granted; who revokes it waits for `users`, which counts this.
        (!core.is_null()).then(|| work(unsafe { &*core }))
    }

    /// Nobody works on the log any more, and nobody will. Waits for whoever does.
    pub(crate) fn revoke(&self) {
        // Relaxed: the fence orders it before the look.
        self.core.store(ptr::null_mut(), Ordering::Relaxed);
        // SeqCst: pairs with the fence in `with`.
        fence(Ordering::SeqCst);
        // Acquire: pairs with the Release in `Used`: what was done comes before what follows.
        while self.users.load(Ordering::Acquire) != 0 {
            wait::yield_now();
        }
    }
}

struct Used<'l>(&'l Lease);

impl Drop for Used<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `revoke`.
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}
