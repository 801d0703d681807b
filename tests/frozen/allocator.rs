//! The allocator is excluded from law L6: so the one here cannot block anybody. An allocation is one `fetch_add`, memory
//! is never used twice. What is freed is counted, and in a child whose victims have stopped also overwritten, so that
//! a use after free shows.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub struct Bump;

/// Bytes for one process. Untouched pages cost nothing.
const REGION: usize = 1 << 30;

/// How much of freed memory is overwritten: enough to spoil every header.
const SPOILED: usize = 512;

#[repr(align(4096))]
struct Region(UnsafeCell<[u8; REGION]>);

// SAFETY: every byte is handed out once.
unsafe impl Sync for Region {}

static MEMORY: Region = Region(UnsafeCell::new([0; REGION]));
static NEXT: AtomicUsize = AtomicUsize::new(0);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);
static SPOIL: AtomicBool = AtomicBool::new(false);

/// From now on, in this process, freed memory is overwritten.
pub fn spoil() {
    SPOIL.store(true, Ordering::Relaxed);
}

/// Bytes that are allocated in this process.
pub fn live() -> usize {
    ALLOCATED.load(Ordering::Relaxed) - FREED.load(Ordering::Relaxed)
}

/// Where the memory lies, and how much of it has been used. At the same addresses in every process that was forked.
pub fn region() -> (std::ops::Range<usize>, &'static AtomicUsize) {
    let start = MEMORY.0.get().addr();
    (start..start + REGION, &NEXT)
}

// SAFETY: hands out disjoint, aligned parts of a static region, none of them twice.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let room = layout.size() + layout.align() - 1;
        let at = NEXT.fetch_add(room, Ordering::Relaxed);
        if at + room > REGION {
            return std::ptr::null_mut();
        }
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        let base = MEMORY.0.get().cast::<u8>();
        // SAFETY: `at` and what follows lie in the region, as was just checked.
        let free = unsafe { base.add(at) };
        free.map_addr(|address| address.next_multiple_of(layout.align()))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's contract. The region is zero where nothing was handed out.
        unsafe { self.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size(), Ordering::Relaxed);
        if SPOIL.load(Ordering::Relaxed) {
            // SAFETY: the caller gives this memory up.
            unsafe { at.write_bytes(0xdd, layout.size().min(SPOILED)) };
        }
    }
}
