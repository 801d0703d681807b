//! Asking the processor for what will be looked at next.

/// Whether [`prefetch`] does anything. Not in models, where what it would look at were one more step.
pub(crate) const PREFETCHES: bool = cfg!(all(target_arch = "x86_64", not(any(loom, annals_shuttle))));

/// Has the cache line at an address fetched, where the processor can be asked to. A hint: whatever lies there, nothing is
/// read and nothing faults.
#[inline]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, as said above.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
