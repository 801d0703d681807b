//! How many bytes are allocated, counted as they come and go.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, counted. The count is shared by all threads: an append that allocates pays for it.
pub struct Counting;

static LIVE: AtomicU64 = AtomicU64::new(0);

/// The bytes that `release` gives back.
pub fn given_back_by(release: impl FnOnce()) -> u64 {
    let before = LIVE.load(Ordering::Relaxed);
    release();
    before.saturating_sub(LIVE.load(Ordering::Relaxed))
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's contract, which is the same.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            LIVE.fetch_add(layout.size() as u64, Ordering::Relaxed);
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's contract, which is the same.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            LIVE.fetch_add(layout.size() as u64, Ordering::Relaxed);
        }
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller's contract, which is the same.
        let moved = unsafe { System.realloc(memory, layout, size) };
        if !moved.is_null() {
            LIVE.fetch_add(size as u64, Ordering::Relaxed);
            LIVE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        }
        moved
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by the caller's contract, which is the same.
        unsafe { System.dealloc(memory, layout) };
        LIVE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
    }
}
