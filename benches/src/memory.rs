//! Whether memory comes from the kernel, or from what was freed before.

/// Which memory a measurement begins with. The same for everybody in a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// What earlier rounds freed: mapped, and mostly in the cache.
    Warm,
    /// Fresh from the kernel: the first touch of every page is part of the work.
    Cold,
}

impl Memory {
    /// Tells the allocator. To be called before each measurement.
    pub fn prepare(self) {
        match self {
            Memory::Warm => keep(),
            Memory::Cold => give_back(),
        }
    }
}

/// Freed memory stays in the process: nothing is mapped apart, and the heap never shrinks.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep() {
    // SAFETY: plain settings of the allocator; refused ones change nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}

/// Large pieces are mapped apart, and unmapped when freed; everything that is free now goes back to the kernel.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // SAFETY: as above.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 65_536);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}
