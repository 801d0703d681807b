//! When memory that others may still look at can be freed: epoch-based reclamation.
//!
//! A thread *pins* before it follows a shared pointer and unpins before the call returns; no user code runs pinned.
//! What is unlinked while pinned is handed to `defer`, and done once everybody who was pinned then has unpinned.
//! Under loom, crossbeam-epoch is replaced by a stand-in that does it at the earliest moment this contract allows.

#[cfg(not(any(loom, annals_shuttle)))]
mod imp {
    use crossbeam_epoch::{LocalHandle, default_collector};

    use super::super::pool::{Lent, Pool};

    /// Who shares garbage. In production all logs share crossbeam's default collector.
    #[derive(Debug)]
    pub(crate) struct Domain;

    /// A place of one's own among those who pin. It may go from thread to thread like any value (crossbeam's handle is
    /// tied to its user, not to a thread), but never be used by two at once.
    pub(crate) struct Participant(LocalHandle);

    impl Participant {
        fn new() -> Self {
            Self(default_collector().register())
        }

        #[inline]
        pub(crate) fn pin(&self) -> Guard {
            Guard { guard: self.0.pin(), _lent: None }
        }
    }

    /// For whoever has no participant of its own. Not thread-locals: one with a destructor is registered with the C
    /// library, under a lock of it, and a thread stopped there would hold up the first call of every other (law L6).
    static POOL: Pool<Participant, 64> = Pool::new();

    pub(crate) struct Guard {
        guard: crossbeam_epoch::Guard,
        /// Goes back after the guard is gone: fields are dropped in this order.
        _lent: Option<Lent<'static, Participant>>,
    }

    impl Domain {
        #[allow(clippy::unused_self, reason = "under loom a log has a domain of its own")]
        pub(crate) fn participant(&self) -> Participant {
            Participant::new()
        }

        pub(crate) fn new() -> Self {
            Self
        }

        /// Lock-free: when the places tried are in use, with a participant for this once.
        #[inline]
        #[allow(clippy::unused_self, reason = "under loom a log has a domain of its own")]
        pub(crate) fn pin(&self) -> Guard {
            match POOL.lend(Participant::new) {
                Some(lent) => Guard { guard: lent.0.pin(), _lent: Some(lent) },
                None => Participant::new().pin(),
            }
        }
    }

    impl Guard {
        /// Runs `job` once every thread pinned now has unpinned, on whichever thread notices.
        ///
        /// # Safety
        /// `job` may run on another thread, and must be right to run at any later time.
        pub(crate) unsafe fn defer(&self, job: impl FnOnce() + 'static) {
            // SAFETY: passed on to our caller.
            unsafe { self.guard.defer_unchecked(job) };
        }

        /// Asks for deferred work to be done soon: until then it may wait in the participant's bag.
        pub(crate) fn flush(&self) {
            self.guard.flush();
        }
    }
}

#[cfg(any(loom, annals_shuttle))]
mod imp {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use crate::sync::{AtomicU64, Ordering};

    type Job = Box<dyn FnOnce()>;

    /// The bookkeeping is hidden from loom in `std` primitives, which order nothing in the model. What the real thing does
    /// order is said with the two atomics: a deferral before later pins, unpins before the deferred work.
    ///
    /// Only models that free something arm it: each pin costs the others interleavings. Unarmed, everything deferred is
    /// done when the log is gone.
    #[derive(Clone, Default)]
    pub(crate) struct Domain(Arc<Shared>);

    #[derive(Default)]
    struct Shared {
        deferred: AtomicU64,
        unpinned: AtomicU64,
        state: Mutex<State>,
    }

    #[derive(Default)]
    struct State {
        armed: bool,
        next: u64,
        pinned: BTreeSet<u64>,
        jobs: Vec<(BTreeSet<u64>, Job)>,
    }

    pub(crate) struct Guard {
        domain: Domain,
        id: u64,
    }

    /// See the real one.
    pub(crate) struct Participant(Domain);

    impl Participant {
        pub(crate) fn pin(&self) -> Guard {
            self.0.pin()
        }
    }

    impl Domain {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn participant(&self) -> Participant {
            Participant(self.clone())
        }

        pub(crate) fn arm(&self) {
            self.0.state.lock().unwrap().armed = true;
        }

        pub(crate) fn pin(&self) -> Guard {
            if !self.0.state.lock().unwrap().armed {
                return Guard { domain: self.clone(), id: u64::MAX };
            }
            // Acquire, as a read-modify-write so that it reads the last value: pairs with the Release in `defer`. Who
            // pins after a deferral sees the unlinking before it.
            self.0.deferred.fetch_add(0, Ordering::Acquire);
            let mut state = self.0.state.lock().unwrap();
            let id = state.next;
            state.next += 1;
            state.pinned.insert(id);
            Guard { domain: self.clone(), id }
        }
    }

    impl Guard {
        /// See the real one.
        ///
        /// # Safety
        /// As there.
        pub(crate) unsafe fn defer(&self, job: impl FnOnce() + 'static) {
            // Release: pairs with the Acquire in `pin`.
            self.domain.0.deferred.fetch_add(1, Ordering::Release);
            let mut state = self.domain.0.state.lock().unwrap();
            let waiting_for = state.pinned.clone();
            state.jobs.push((waiting_for, Box::new(job)));
        }

        pub(crate) fn flush(&self) {}
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            let shared = &self.domain.0;
            if !shared.state.lock().unwrap().armed {
                return;
            }
            // Release: pairs with the Acquire below, in whichever guard's drop does the work.
            shared.unpinned.fetch_add(1, Ordering::Release);
            let due = shared.state.lock().unwrap().unpin(self.id);
            if due.is_empty() {
                return;
            }
            // Acquire, as a read-modify-write: everything done before the unpins counted so far comes before the work.
            shared.unpinned.fetch_add(0, Ordering::Acquire);
            due.into_iter().for_each(|job| job());
        }
    }

    impl State {
        /// The jobs that nobody waits for any more.
        fn unpin(&mut self, id: u64) -> Vec<Job> {
            self.pinned.remove(&id);
            let mut due = Vec::new();
            for (mut waiting_for, job) in std::mem::take(&mut self.jobs) {
                waiting_for.remove(&id);
                if waiting_for.is_empty() { due.push(job) } else { self.jobs.push((waiting_for, job)) }
            }
            due
        }
    }

    impl Drop for Shared {
        fn drop(&mut self) {
            let state = self.state.get_mut().unwrap();
            std::mem::take(&mut state.jobs).into_iter().for_each(|(_, job)| job());
        }
    }
}

pub(crate) use imp::{Domain, Guard, Participant};

/// Gives memory back. Under loom it is kept until the next execution, so that a use after this shows at a canary instead
/// of crashing the checker.
///
/// # Safety
/// `at` was allocated with `layout`, and nobody uses it any more.
pub(crate) unsafe fn dealloc(at: *mut u8, layout: std::alloc::Layout) {
    #[cfg(not(any(loom, annals_shuttle)))]
    // SAFETY: passed on to our caller.
    unsafe {
        std::alloc::dealloc(at, layout);
    }
    #[cfg(any(loom, annals_shuttle))]
    quarantine::put(at, layout);
}

#[cfg(any(loom, annals_shuttle))]
pub(crate) mod quarantine {
    use std::alloc::Layout;
    use std::sync::Mutex;

    static FREED: Mutex<Vec<(usize, Layout)>> = Mutex::new(Vec::new());

    pub(crate) fn put(at: *mut u8, layout: Layout) {
        FREED.lock().unwrap().push((at.expose_provenance(), layout));
    }

    /// Really frees what the last execution of a model freed.
    pub fn empty() {
        for (at, layout) in FREED.lock().unwrap().drain(..) {
            // SAFETY: put there by `dealloc`, in an execution that is over.
            unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(at), layout) };
        }
    }
}
