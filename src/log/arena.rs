//! Where records live: chunks of memory that each appender fills from front to back.
//!
//! A chunk counts the records in it that are alive, and is freed when the last one dies; while its appender still fills
//! it, the count is kept away from zero by a bias, so that a record costs the chunk nothing on the way in. An envelope
//! that is held keeps its chunk: 4 KiB in a small log, 2 MiB at most (or its own size, when it is larger), but not the
//! payloads of its neighbours.
//!
//! Chunks of a class are aligned to the size of the class, so a record finds its chunk by clearing low bits. They come
//! from and go back to the global allocator. The largest class asks the kernel for huge pages: touching fresh memory for
//! the first time costs more than everything else in an append (measured: ARCHITECTURE.md).

use std::alloc::{alloc, handle_alloc_error};
use std::ptr::NonNull;

use super::canary::Canary;
use super::directory::{Directory, Entry};
use super::reclaim::dealloc;
use super::record::{ALIGN, Draft, Plan, layout};
use crate::model::Parts;
use crate::sync::{Arc, AtomicU32, Ordering, fence};

/// Size and alignment of the chunks of each class, in bytes.
#[cfg(not(loom))]
const CLASS_BYTES: [usize; 3] = [4 << 10, 64 << 10, 2 << 20];
/// Under loom, chunks hold a few records: they must die within a model.
#[cfg(loom)]
const CLASS_BYTES: [usize; 3] = [1 << 10, 2 << 10, 4 << 10];

/// The class of huge pages.
const LARGEST: u8 = 2;

/// How many chunks of a class an appender fills before it goes on to the next class.
const CHUNKS_PER_CLASS: u32 = 16;

/// More records than fit into any chunk.
const BIAS: u32 = 1 << 31;

/// The head of a chunk.
#[repr(C)]
pub(crate) struct Chunk {
    /// Living records; plus `BIAS` less the records made so far, while the chunk is open.
    alive: AtomicU32,
    class: u8,
    size: usize,
    /// Envelopes outlive their log, and know their stream's name: the chunk holds the names.
    directory: Arc<Directory>,
    canary: Canary,
}

const HEAD: usize = size_of::<Chunk>().next_multiple_of(ALIGN);

impl Chunk {
    fn open(class: u8, size: usize, directory: Arc<Directory>) -> NonNull<Self> {
        let layout = layout(size, CLASS_BYTES[usize::from(class)]);
        // SAFETY: the size is not zero.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        if class == LARGEST {
            advise_huge_pages(at, size);
        }
        let at = at.cast::<Self>();
        // SAFETY: fresh memory, aligned to a class and larger than the head.
        unsafe { at.write(Self { alive: AtomicU32::new(BIAS), class, size, directory, canary: Canary::new() }) };
        at
    }

    /// No further record will be made in it; `made` were.
    ///
    /// # Safety
    /// `this` is an open chunk of the calling arena.
    unsafe fn close(this: NonNull<Self>, made: u32) {
        // SAFETY: the bias keeps an open chunk allocated.
        unsafe { Self::subtract(this, BIAS - made) };
    }

    /// # Safety
    /// `record` is the start of a record of a chunk of `class`; it is dead, and this is called once for it.
    pub(crate) unsafe fn record_died(record: NonNull<u8>, class: u8) {
        let mask = !(CLASS_BYTES[usize::from(class)] - 1);
        // Every record starts within the first `CLASS_BYTES` of its chunk, the only one of a larger chunk included.
        let chunk = record.map_addr(|at| std::num::NonZero::new(at.get() & mask).expect("chunks are not at zero"));
        // SAFETY: the chunk is allocated until all its records are subtracted, this one is not yet.
        unsafe { Self::subtract(chunk.cast(), 1) };
    }

    /// # Safety
    /// `this` is allocated, and `count` of what it counts has ended.
    unsafe fn subtract(this: NonNull<Self>, count: u32) {
        // Release: pairs with the Acquire fence below, in whoever subtracts last.
        // SAFETY: allocated, by the contract.
        let chunk = unsafe { this.as_ref() };
        chunk.canary.touch();
        let before = chunk.alive.fetch_sub(count, Ordering::Release);
        debug_assert!(before >= count, "a chunk never counts below zero");
        if before != count {
            return;
        }
        // Acquire: pairs with the Release above: all uses of the chunk's records come before its end.
        fence(Ordering::Acquire);
        // SAFETY: nothing in the chunk is alive, and nobody else can find it.
        unsafe {
            let chunk = this.read();
            chunk.canary.die();
            let layout = layout(chunk.size, CLASS_BYTES[usize::from(chunk.class)]);
            drop(chunk);
            dealloc(this.as_ptr().cast(), layout);
        }
    }
}

/// Where one appender makes its records.
pub(crate) struct Arena {
    directory: Arc<Directory>,
    open: Option<Open>,
    class: u8,
    chunks_left: u32,
}

struct Open {
    chunk: NonNull<Chunk>,
    class: u8,
    /// Offset of the next record.
    at: usize,
    /// Bytes from there to the end of the class.
    room: usize,
    made: u32,
}

impl Arena {
    pub(crate) fn new(directory: Arc<Directory>) -> Self {
        Self { directory, open: None, class: 0, chunks_left: CHUNKS_PER_CLASS }
    }

    /// Makes a private record. Allocates when the open chunk is full.
    #[inline]
    pub(crate) fn draft(&mut self, plan: Plan, parts: &Parts<'_, '_>, stream: NonNull<Entry>) -> Draft {
        let open = match &mut self.open {
            Some(open) if open.room >= plan.size => open,
            _ => self.refill(plan.size),
        };
        // SAFETY: the bias keeps an open chunk allocated.
        unsafe { open.chunk.as_ref() }.canary.touch();
        // SAFETY: offset and size lie in the open chunk, whose memory from `at` on is unused. A slice payload was bounded
        // by whoever planned; the directory held by the chunk keeps the entry.
        let draft = unsafe { Draft::write(open.chunk.cast::<u8>().byte_add(open.at), plan, open.class, parts, stream) };
        open.at += plan.size;
        // A record too large for its class leaves none.
        open.room = open.room.saturating_sub(plan.size);
        open.made += 1;
        draft
    }

    /// Forgets the last draft made, which was not published.
    pub(crate) fn discard(&mut self, draft: Draft) {
        let open = self.open.as_mut().expect("a draft was made in the open chunk");
        let address = draft.as_ptr().addr();
        let offset = address.wrapping_sub(open.chunk.addr().get());
        if offset < open.at {
            open.at = offset;
            open.room = CLASS_BYTES[usize::from(open.class)].saturating_sub(offset);
            open.made -= 1;
            return;
        }
        // The draft lies in an earlier chunk, closed while its batch was built: it ends there like any record, but owns
        // no payload. SAFETY: it was counted there, is used by nobody, and is discarded once.
        unsafe { Chunk::record_died(NonNull::new_unchecked(draft.as_ptr()).cast(), draft.class()) };
    }

    #[cold]
    fn refill(&mut self, size: usize) -> &mut Open {
        self.close();
        let (class, bytes) = self.next_class(size);
        let chunk = Chunk::open(class, bytes, self.directory.clone());
        // A record too large for its class lies alone at the start of a chunk of its own size.
        self.open.insert(Open { chunk, class, at: HEAD, room: CLASS_BYTES[usize::from(class)] - HEAD, made: 0 })
    }

    fn next_class(&mut self, size: usize) -> (u8, usize) {
        let needed = HEAD + size;
        if self.chunks_left == 0 && self.class < LARGEST {
            self.class += 1;
            self.chunks_left = CHUNKS_PER_CLASS;
        }
        self.chunks_left = self.chunks_left.saturating_sub(1);
        let fits = |class: &u8| CLASS_BYTES[usize::from(*class)] >= needed;
        match (self.class..=LARGEST).find(fits) {
            Some(class) => (class, CLASS_BYTES[usize::from(class)]),
            None => (1, needed.next_multiple_of(ALIGN)),
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            // SAFETY: it was this arena's open chunk until now.
            unsafe { Chunk::close(open.chunk, open.made) };
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(all(target_os = "linux", not(loom)))]
fn advise_huge_pages(at: NonNull<u8>, size: usize) {
    // SAFETY: the range is ours. The advice may be refused, which changes only the speed.
    unsafe { libc::madvise(at.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
}

#[cfg(not(all(target_os = "linux", not(loom))))]
fn advise_huge_pages(_at: NonNull<u8>, _size: usize) {}
