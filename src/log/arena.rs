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

use bytes::Bytes;

use super::canary::Canary;
use super::directory::{Directory, Entry};
use super::keyed::block_len;
use super::keys::Key;
use super::reclaim::dealloc;
use super::record::{ALIGN, Draft, Shape, layout, most_bytes};
use crate::model::{Message, Parts, Payload};
use crate::sync::{Arc, AtomicU32, Ordering, acquire};

/// Size and alignment of the chunks of each class, in bytes.
#[cfg(not(any(loom, annals_shuttle)))]
const CLASS_BYTES: [usize; 3] = [4 << 10, 64 << 10, 2 << 20];
/// Under loom, chunks hold a few records: they must die within a model.
#[cfg(any(loom, annals_shuttle))]
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
        directory.chunks.add(size as u64);
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
        // Release: pairs with the `acquire` below, in whoever subtracts last.
        // SAFETY: allocated, by the contract.
        let chunk = unsafe { this.as_ref() };
        chunk.canary.touch();
        let before = chunk.alive.fetch_sub(count, Ordering::Release);
        debug_assert!(before >= count, "a chunk never counts below zero");
        if before != count {
            return;
        }
        // SAFETY: the caller has subtracted last; nobody else can find the chunk.
        unsafe {
            // Acquire: pairs with the Release above: all uses of the chunk's records come before its end.
            acquire(&this.as_ref().alive);
            let chunk = this.read();
            chunk.canary.die();
            let layout = layout(chunk.size, CLASS_BYTES[usize::from(chunk.class)]);
            chunk.directory.chunks.subtract(chunk.size as u64);
            drop(chunk);
            dealloc(this.as_ptr().cast(), layout);
        }
    }
}

/// Where one appender makes its records.
pub(crate) struct Arena {
    /// Where the next record goes, in the open chunk.
    at: NonNull<u8>,
    /// The address at which the open chunk, or its class, ends: a record ends before it. 0 when no chunk is open.
    limit: usize,
    /// How many records the open chunk has.
    made: u32,
    open_class: u8,
    open: Option<NonNull<Chunk>>,
    /// The class of the chunks to come.
    class: u8,
    chunks_left: u32,
    directory: Arc<Directory>,
}

impl Arena {
    pub(crate) fn new(directory: Arc<Directory>) -> Self {
        Self {
            at: NonNull::dangling(),
            limit: 0,
            made: 0,
            open_class: 0,
            open: None,
            class: 0,
            chunks_left: CHUNKS_PER_CLASS,
            directory,
        }
    }

    /// For records that are mostly gone soon: with chunks that the allocator keeps for the next ones.
    #[cfg(feature = "durable")]
    pub(crate) fn of_small_chunks(directory: Arc<Directory>) -> Self {
        let mut arena = Self::new(directory);
        (arena.class, arena.chunks_left) = (1, u32::MAX);
        arena
    }

    /// Makes a private record. Allocates when the open chunk may be too small for it. A slice payload has at most
    /// `INLINE_MAX` bytes.
    #[inline(never)]
    pub(crate) fn draft(&mut self, message: &Message<'_>, shape: Shape, linked: bool, stream: NonNull<Entry>) -> Draft {
        let parts = message.parts();
        match parts.payload {
            Payload::Slice(slice) => self.draft_of(&parts, slice, None, shape, linked, stream, 0),
            Payload::Bytes(bytes) => self.draft_of(&parts, &[], Some(bytes), shape, linked, stream, 0),
        }
    }

    /// As [`draft`](Self::draft), with keys.
    #[inline(never)]
    pub(crate) fn draft_keyed(
        &mut self,
        message: &Message<'_>,
        shape: Shape,
        linked: bool,
        stream: NonNull<Entry>,
        keys: &[Key],
    ) -> Draft {
        let (parts, block) = (message.parts(), block_len(keys.len()));
        let draft = match parts.payload {
            Payload::Slice(slice) => self.draft_of(&parts, slice, None, shape, linked, stream, block),
            Payload::Bytes(bytes) => self.draft_of(&parts, &[], Some(bytes), shape, linked, stream, block),
        };
        // SAFETY: `at` is where the draft ends, and there was room for the block.
        self.at = unsafe { draft.write_keys(self.at, keys) };
        draft
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "so that each is made for its kind of payload")]
    #[allow(clippy::too_many_arguments, reason = "all that a record is made of")]
    fn draft_of(
        &mut self,
        parts: &Parts<'_, '_>,
        inline: &[u8],
        bytes: Option<&Bytes>,
        shape: Shape,
        linked: bool,
        stream: NonNull<Entry>,
        behind: usize,
    ) -> Draft {
        let needed = most_bytes(parts, inline) + behind;
        if self.at.addr().get() + needed > self.limit {
            self.refill(needed);
        }
        if let Some(open) = self.open {
            // SAFETY: the bias keeps an open chunk allocated.
            unsafe { open.as_ref() }.canary.touch();
        }
        // SAFETY: the open chunk has that much unused memory from `at` on; the directory held by the chunk keeps the entry.
        let (draft, end) =
            unsafe { Draft::write(self.at, self.open_class, shape, linked, parts, inline, bytes, stream) };
        self.at = end;
        self.made += 1;
        draft
    }

    /// Forgets the last draft made, which was not published.
    pub(crate) fn discard(&mut self, draft: Draft) {
        let chunk = self.open.expect("a draft was made in the open chunk").cast::<u8>();
        let offset = draft.as_ptr().addr().wrapping_sub(chunk.addr().get());
        if offset < self.at.addr().get() - chunk.addr().get() {
            // SAFETY: within the open chunk.
            self.at = unsafe { chunk.byte_add(offset) };
            self.made -= 1;
            return;
        }
        // The draft lies in an earlier chunk, closed while its batch was built: it ends there like any record, but owns
        // no payload. SAFETY: it was counted there, is used by nobody, and is discarded once.
        unsafe { Chunk::record_died(NonNull::new_unchecked(draft.as_ptr()).cast(), draft.class()) };
    }

    /// Opens a chunk for a record of up to `size` bytes.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, size: usize) {
        self.close();
        let (class, bytes) = self.next_class(size);
        let chunk = Chunk::open(class, bytes, self.directory.clone());
        self.open = Some(chunk);
        // SAFETY: a chunk is larger than its head.
        self.at = unsafe { chunk.cast().byte_add(HEAD) };
        self.open_class = class;
        self.made = 0;
        // A record too large for its class lies alone at the start of a chunk of its own size: it passes the limit.
        self.limit = chunk.addr().get() + CLASS_BYTES[usize::from(class)];
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
        self.limit = 0;
        if let Some(chunk) = self.open.take() {
            // SAFETY: it was this arena's open chunk until now.
            unsafe { Chunk::close(chunk, self.made) };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn arena() -> Arena {
        Arena::new(Arc::new(Directory::new(1)))
    }

    /// A small log takes little, a large one few chunks: 16 of 4 KiB, 16 of 64 KiB, then all of 2 MiB.
    #[test]
    fn chunks_grow_with_what_their_appender_writes() {
        let (mut arena, mut taken) = (arena(), Vec::new());
        for _ in 0..40 {
            taken.push(arena.next_class(200).1);
        }
        assert!(taken[..16].iter().all(|bytes| *bytes == 4096));
        assert!(taken[16..32].iter().all(|bytes| *bytes == 65_536));
        assert!(taken[32..].iter().all(|bytes| *bytes == 2 << 20));
    }

    /// A large record does not make all later chunks large, and one beyond every class has a chunk of its own size.
    #[test]
    fn a_large_record_takes_a_large_chunk_once() {
        let mut arena = arena();
        assert_eq!(arena.next_class(4000).1, 4096);
        assert_eq!(arena.next_class(4097).1, 65_536);
        assert_eq!(arena.next_class(100_000).1, 2 << 20);
        assert_eq!(arena.next_class(3 << 20).1, (3 << 20) + HEAD);
        assert_eq!(arena.next_class(4000).1, 4096);
    }

    /// A record for which the room that is left just suffices goes into the open chunk.
    #[test]
    fn a_chunk_is_filled_to_its_end() {
        let (mut arena, payload) = (arena(), [7; 1024]);
        let mut drafts = Vec::new();
        let mut draft = |arena: &mut Arena, len: usize| {
            let message = Message::event("E", &payload[..len]).unwrap();
            drafts.push(arena.draft(&message, Shape::default(), false, NonNull::dangling()));
        };
        let left = |arena: &Arena| arena.limit - arena.at.addr().get();
        draft(&mut arena, 0);
        let (first, smallest) = (arena.open, most_bytes(&Message::event("E", "").unwrap().parts(), &[]));
        while left(&arena) > smallest + payload.len() {
            draft(&mut arena, 500);
        }
        let rest = left(&arena) - smallest;
        draft(&mut arena, rest);
        assert_eq!(arena.open, first);
        drafts.into_iter().rev().for_each(|draft| arena.discard(draft));
    }

    /// The kernel is asked to back the largest chunks by huge pages.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_largest_chunks_ask_for_huge_pages() {
        let bytes = CLASS_BYTES[usize::from(LARGEST)];
        let chunk = Chunk::open(LARGEST, bytes, Arc::new(Directory::new(1)));
        let middle = chunk.addr().get() + bytes / 2;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        // A mapping's first line is its range, in hexadecimal; its flags are the last.
        let (mut inside, mut flags) = (false, None);
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |digits| usize::from_str_radix(digits, 16).ok();
            if let Some((from, to)) = range.and_then(|(from, to)| number(from).zip(number(to))) {
                inside = (from..to).contains(&middle);
            } else if inside && line.starts_with("VmFlags:") {
                flags = Some(line);
            }
        }
        // SAFETY: open, and without a record.
        unsafe { Chunk::close(chunk, 0) };
        // Not every kernel has huge pages, or tells.
        if std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() && maps.contains("VmFlags:") {
            assert!(flags.expect("the chunk is mapped").split(' ').any(|flag| flag == "hg"), "{flags:?}");
        }
    }
}
