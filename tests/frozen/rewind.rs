//! A child as it was: so that the same one serves for every position, and a victim is not stepped from the beginning
//! again for each.
//!
//! Taken and restored while all threads of the child are stopped, the others at breakpoints. Everything a program can
//! write to is copied: registers, stacks from the stack pointer on, data, thread-locals, libc's heap, and of the allocator's
//! region what has been used. What is used after that is cleared, because the allocator promises zeros. The
//! threads make no system calls that would leave something behind in the kernel.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::AtomicUsize;

use crate::allocator;
use crate::trace::{self, Tid};

/// Below the stack pointer a function may use this much.
const RED_ZONE: usize = 128;

/// Larger mappings than this are stacks, and the allocator's region.
const SMALL: usize = 1 << 20;

/// The memory and the registers of a child.
pub struct Memory {
    pid: Tid,
    /// What is writable: found once, because a child maps no more.
    ranges: Vec<Range<usize>>,
    threads: Vec<Thread>,
    parts: Vec<Part>,
    bytes: Buffer,
    /// How much of the allocator's region was used.
    used: usize,
}

struct Thread {
    tid: Tid,
    registers: libc::user_regs_struct,
    vectors: Vec<u8>,
}

/// Where a part lies in the child, and where its copy begins in the buffer.
struct Part {
    range: Range<usize>,
    copy: usize,
}

/// Memory that is not the allocator's, which never gives anything back, and that no child inherits. Begins with zeros
/// that stay.
struct Buffer(NonNull<u8>);

/// Zeros at the beginning of a buffer: more than the others allocate at one position.
const ZEROS: usize = 16 << 20;
const BUFFER: usize = 128 << 20;

impl Buffer {
    fn new() -> Self {
        let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: fresh memory.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), BUFFER, rights, kind | libc::MAP_NORESERVE, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED, "there is room for a buffer");
        // SAFETY: the range is ours.
        unsafe { libc::madvise(at, BUFFER, libc::MADV_DONTFORK) };
        Self(NonNull::new(at.cast()).expect("not at zero"))
    }

    fn part(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(range.end <= BUFFER, "a child is smaller than the buffer");
        // SAFETY: within the buffer, which is ours.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().add(range.start), range.len()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), BUFFER) };
    }
}

impl Memory {
    pub fn new(pid: Tid, threads: &[Tid]) -> Self {
        let ranges: Vec<_> = trace::maps(&pid.to_string()).into_iter().filter(|map| map.writable).collect();
        let thread = |tid: &Tid| Thread { tid: *tid, registers: trace::registers(*tid), vectors: Vec::new() };
        Self {
            pid,
            ranges: ranges.into_iter().map(|map| map.range).collect(),
            threads: threads.iter().map(thread).collect(),
            parts: Vec::new(),
            bytes: Buffer::new(),
            used: 0,
        }
    }

    /// Remembers everything as it is.
    pub fn keep(&mut self) {
        for thread in &mut self.threads {
            thread.registers = trace::registers(thread.tid);
            trace::vectors(thread.tid, &mut thread.vectors);
        }
        self.used = self.used_now();
        self.parts.clear();
        let mut copy = ZEROS;
        for at in 0..self.ranges.len() {
            for range in self.parts_of(self.ranges[at].clone()).into_iter().flatten() {
                read(self.pid, range.start, self.bytes.part(copy..copy + range.len()));
                copy += range.len();
                self.parts.push(Part { copy: copy - range.len(), range });
            }
        }
    }

    /// Makes everything as it was.
    pub fn restore(&mut self) {
        let used_since = self.used_now() - self.used;
        assert!(used_since <= ZEROS, "the others allocated {used_since} bytes");
        write(self.pid, allocator::region().0.start + self.used, self.bytes.part(0..used_since));
        for Part { range, copy } in &self.parts {
            write(self.pid, range.start, self.bytes.part(*copy..copy + range.len()));
        }
        for thread in &mut self.threads {
            trace::set_registers(thread.tid, &thread.registers);
            trace::set_vectors(thread.tid, &mut thread.vectors);
        }
    }

    /// What of a mapping is kept: one part or two.
    fn parts_of(&self, range: Range<usize>) -> [Option<Range<usize>>; 2] {
        let (region, _) = allocator::region();
        if range.contains(&region.start) {
            return [Some(range.start..region.start + self.used), Some(region.end..range.end)];
        }
        let pointers = self.threads.iter().map(|thread| thread.registers.rsp as usize);
        let pointer = pointers.filter(|at| range.contains(at)).min();
        let start = pointer.map_or(range.start, |pointer| range.start.max(pointer - RED_ZONE));
        assert!(range.end - start <= SMALL, "{range:x?} is larger than was thought");
        [Some(start..range.end), None]
    }

    fn used_now(&self) -> usize {
        let at: *const AtomicUsize = allocator::region().1;
        let mut bytes = [0; size_of::<usize>()];
        read(self.pid, at.addr(), &mut bytes);
        usize::from_ne_bytes(bytes)
    }
}

fn read(pid: Tid, at: usize, bytes: &mut [u8]) {
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there = libc::iovec { iov_base: std::ptr::without_provenance_mut(at), iov_len: bytes.len() };
    // SAFETY: the bytes here are ours; those there are checked by the kernel.
    let read = unsafe { libc::process_vm_readv(pid, &here, 1, &there, 1, 0) };
    assert_eq!(usize::try_from(read), Ok(bytes.len()), "the child's memory at {at:x} can be read");
}

fn write(pid: Tid, at: usize, bytes: &[u8]) {
    let here = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let there = libc::iovec { iov_base: std::ptr::without_provenance_mut(at), iov_len: bytes.len() };
    // SAFETY: the bytes here are ours; those there are checked by the kernel.
    let written = unsafe { libc::process_vm_writev(pid, &here, 1, &there, 1, 0) };
    assert_eq!(usize::try_from(written), Ok(bytes.len()), "the child's memory at {at:x} can be written");
}
