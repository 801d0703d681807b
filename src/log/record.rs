//! A record: one envelope as bytes in one piece of memory.
//!
//! ```text
//! header       holders, lengths, flags, position, revision, stream              32 bytes
//! i64          the log's time                           when it keeps time
//! u64, u64     bytes and commands of all records before when it counts, or keeps to a number of bytes
//! pointer      next record of the batch                 when there is one
//! Bytes        payload                                  when it is not inline
//!              name, inline payload                     to the byte
//!              u32 length, attributes                   when there are any
//! u64, keys    aligned; how many, and each              when the log has indexes, see `keyed`
//! ```
//!
//! Life of a record:
//! 1. *Draft*: private to the appender that builds it. Position, revision, time, sum and batch link may be rewritten.
//! 2. *Published* by the swap into its slot: nothing in it changes any more but the number of holders.
//! 3. *Dead* when the last holder lets go: its payload is dropped, and its chunk told.
//!
//! The log's slot is one holder; every [`Envelope`](crate::Envelope) is one.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use bytes::Bytes;

use super::arena::Chunk;
use super::canary::Canary;
use super::copy::{copy_by_words, copy_short, start};
use super::counts::Sums;
use super::directory::Entry;
use crate::model::{self, Attributes, Extra, Id, Kind, Parts, Recorded, Timestamp};
use crate::sync::{AtomicU32, Ordering, acquire};

/// The longest payload that a borrowed slice is copied inline for, in bytes.
pub(crate) const INLINE_MAX: usize = 1024;

const COMMAND: u8 = 1;
const TIME: u8 = 2;
const SUM: u8 = 4;
const NEXT: u8 = 8;
const BYTES: u8 = 16;
const ATTRIBUTES: u8 = 32;
/// Two bits: which class of chunk the record lies in.
const CLASS_SHIFT: u32 = 6;
/// In the length of an inline payload, which needs 11 bits: keys follow, see `keyed`.
const KEYED: u16 = 1 << 15;

/// Without a branch: asked for every record.
#[inline]
fn flag(on: bool, flag: u8) -> u8 {
    u8::from(on) * flag
}

/// The fixed part of a record.
#[repr(C)]
pub(crate) struct Header {
    holders: AtomicU32,
    name_len: u8,
    flags: u8,
    payload_len: u16,
    position: u64,
    revision: u64,
    stream: NonNull<Entry>,
    canary: Canary,
}

#[cfg(not(any(loom, annals_shuttle)))]
const _: () = assert!(size_of::<Header>() == 32, "the header is half a cache line");
const _: () =
    assert!(align_of::<Bytes>() == align_of::<usize>() && size_of::<Bytes>().is_multiple_of(size_of::<usize>()));
const _: () = assert!(align_of::<Header>() == ALIGN && align_of::<Bytes>() <= ALIGN);

/// Records lie on multiples of this, which leaves three bits of a slot for tags.
pub(crate) const ALIGN: usize = 8;
const WORD: usize = 8;

/// The optional fields that the log decides on, not the message: flags that all its records have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape(u8);

impl Shape {
    pub(crate) fn new(time: bool, sum: bool) -> Self {
        Self(flag(time, TIME) | flag(sum, SUM))
    }

    #[inline]
    pub(crate) fn any(self) -> bool {
        self.0 != 0
    }

    pub(crate) fn time(self) -> bool {
        self.0 & TIME != 0
    }

    pub(crate) fn sum(self) -> bool {
        self.0 & SUM != 0
    }
}

/// Where the optional fields of a record are; computed from its flags alone. The text follows, see `text_offset`.
struct Offsets {
    time: usize,
    sum: usize,
    next: usize,
    bytes: usize,
}

impl Offsets {
    #[inline]
    fn of(flags: u8) -> Self {
        let word = |flag: u8| if flags & flag != 0 { WORD } else { 0 };
        let time = size_of::<Header>();
        let sum = time + word(TIME);
        let next = sum + 2 * word(SUM);
        let bytes = next + word(NEXT);
        Self { time, sum, next, bytes }
    }
}

/// Offset of the text for each combination of flags: asked at every append and at every payload read.
const TEXT: [u8; 64] = {
    let mut table = [0; 64];
    let mut flags = 0;
    while flags < 64 {
        let words = (flags & TIME as usize != 0) as usize
            + (flags & SUM as usize != 0) as usize * 2
            + (flags & NEXT as usize != 0) as usize;
        let bytes = if flags & BYTES as usize != 0 { size_of::<Bytes>() } else { 0 };
        let offset = size_of::<Header>() + words * WORD + bytes;
        assert!(offset <= u8::MAX as usize);
        #[allow(clippy::cast_possible_truncation, reason = "just checked")]
        {
            table[flags] = offset as u8;
        }
        flags += 1;
    }
    table
};

#[inline]
fn text_offset(flags: u8) -> usize {
    TEXT[usize::from(flags & 63)].into()
}

/// The longest that everything before the text can be.
const TEXT_MAX: usize = size_of::<Header>() + 4 * WORD + size_of::<Bytes>();

/// Room enough for a record of `parts` that has `inline` of its payload, whatever fields the log adds.
#[inline]
pub(crate) fn most_bytes(parts: &Parts<'_, '_>, inline: &[u8]) -> usize {
    let most = TEXT_MAX + ALIGN + parts.name.len() + inline.len();
    match parts.extra {
        None => most,
        Some(extra) => most + 4 + model::encoded_len(extra),
    }
}

/// A record that nobody else knows yet.
///
/// Does not own anything until it is published: the message it was built from still owns its payload.
#[derive(Clone, Copy)]
pub(crate) struct Draft(NonNull<Header>);

impl Draft {
    /// Writes a record at `at`, and returns the end of it, aligned. Its payload is `inline`, or the handle `bytes`.
    /// `linked`: another record of the same batch follows.
    ///
    /// # Safety
    /// `at` is aligned to `ALIGN` and has [`most_bytes`] writable bytes in a chunk of class `class`; the name
    /// has at most 255 bytes, a slice payload at most [`INLINE_MAX`]; `stream` outlives the chunk.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `Arena::draft_of`, its only caller")]
    #[allow(clippy::too_many_arguments, reason = "all that a record is made of")]
    #[allow(clippy::cast_possible_truncation, reason = "names and inline payloads are bounded, as the contract says")]
    pub(crate) unsafe fn write(
        at: NonNull<u8>,
        class: u8,
        shape: Shape,
        linked: bool,
        parts: &Parts<'_, '_>,
        inline: &[u8],
        bytes: Option<&Bytes>,
        stream: NonNull<Entry>,
    ) -> (Self, NonNull<u8>) {
        debug_assert!(inline.len() <= INLINE_MAX && parts.name.len() <= 255);
        let flags = shape.0
            | flag(parts.kind == Kind::Command, COMMAND)
            | flag(linked, NEXT)
            | flag(bytes.is_some(), BYTES)
            | flag(parts.extra.is_some(), ATTRIBUTES);
        let header = at.cast::<Header>();
        // SAFETY: the memory is ours, aligned and large enough, by the contract of this function; no offset is larger than
        // what `most_bytes` counts for it.
        unsafe {
            // Position and revision follow in `place`.
            (&raw mut (*header.as_ptr()).holders).write(AtomicU32::new(1));
            (&raw mut (*header.as_ptr()).name_len).write(parts.name.len() as u8);
            (&raw mut (*header.as_ptr()).flags).write(flags | class << CLASS_SHIFT);
            (&raw mut (*header.as_ptr()).payload_len).write(inline.len() as u16);
            (&raw mut (*header.as_ptr()).stream).write(stream);
            (&raw mut (*header.as_ptr()).canary).write(Canary::new());
            if linked {
                at.byte_add(Offsets::of(flags).next).cast::<Option<NonNull<Header>>>().write(None);
            }
            let text = at.byte_add(text_offset(flags));
            if let Some(bytes) = bytes {
                // A second copy of the handle, not a clone: on publication the message forgets its own, until then the
                // record's is never used.
                copy_by_words(NonNull::from(bytes), text.byte_sub(size_of::<Bytes>()));
            }
            copy_short(parts.name.as_bytes(), text);
            let mut end = text.byte_add(parts.name.len());
            if !inline.is_empty() {
                end.copy_from_nonoverlapping(start(inline), inline.len());
                end = end.byte_add(inline.len());
            }
            if let Some(extra) = parts.extra {
                end = write_attributes(end, extra);
            }
            let round = end.addr().get().wrapping_neg() % ALIGN;
            (Self(header), end.byte_add(round))
        }
    }

    /// Sets what is known only at the slot.
    #[inline]
    pub(crate) fn place(self, position: u64, revision: u64) {
        // SAFETY: a draft is private to its appender (life of a record, 1).
        unsafe {
            let header = self.0.as_ptr();
            (*header).canary.change();
            (*header).position = position;
            (*header).revision = revision;
        }
    }

    /// Sets time and sums, where the record has them.
    #[inline]
    pub(crate) fn stamp(self, time: Timestamp, sums: impl FnOnce() -> Sums) {
        // SAFETY: as in `place`; the flags say that the fields are there.
        unsafe {
            let flags = (*self.0.as_ptr()).flags;
            let offsets = Offsets::of(flags);
            if flags & TIME != 0 {
                self.0.byte_add(offsets.time).cast::<i64>().write(time.as_nanos());
            }
            if flags & SUM != 0 {
                self.0.byte_add(offsets.sum).cast::<Sums>().write(sums());
            }
        }
    }

    /// Sets the next record of the batch. The plan of this one said that there is one.
    pub(crate) fn link(self, next: Draft) {
        // SAFETY: as in `place`; the flag is checked.
        unsafe {
            let flags = (*self.0.as_ptr()).flags;
            assert!(flags & NEXT != 0, "only a record planned as linked is linked");
            self.0.byte_add(Offsets::of(flags).next).cast::<Option<NonNull<Header>>>().write(Some(next.0));
        }
    }

    /// Says that keys follow.
    pub(super) fn mark_keyed(self) {
        // SAFETY: as in `place`.
        unsafe { (*self.0.as_ptr()).payload_len |= KEYED };
    }

    pub(crate) fn as_ptr(self) -> *mut Header {
        self.0.as_ptr()
    }

    pub(crate) fn class(self) -> u8 {
        self.record().header().flags >> CLASS_SHIFT
    }

    /// The draft as a record, for its appender.
    pub(crate) fn record<'d>(self) -> Record<'d> {
        Record(self.0, PhantomData)
    }
}

/// Writes the attributes with their length, and returns the end of them. Apart from the records that have none.
///
/// # Safety
/// `at` has 4 bytes and those of the encoded attributes, writable.
#[inline(never)]
unsafe fn write_attributes(at: NonNull<u8>, extra: &Extra<'_>) -> NonNull<u8> {
    let len = model::encoded_len(extra);
    // SAFETY: by the contract.
    unsafe {
        at.cast::<u32>().write_unaligned(u32::try_from(len).expect("metadata is limited to 16 MiB"));
        let block = at.byte_add(4);
        block.write_bytes(0, len);
        model::encode(extra, std::slice::from_raw_parts_mut(block.as_ptr(), len));
        block.byte_add(len)
    }
}

/// A published record, alive for `'r`.
#[derive(Clone, Copy)]
pub(crate) struct Record<'r>(NonNull<Header>, PhantomData<&'r Header>);

impl<'r> Record<'r> {
    /// # Safety
    /// `at` is a published record that stays alive for `'r`.
    #[inline]
    pub(crate) unsafe fn new(at: NonNull<Header>) -> Self {
        Self(at, PhantomData)
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> NonNull<Header> {
        self.0
    }

    #[inline]
    fn header(self) -> &'r Header {
        // SAFETY: alive for 'r, by `new`; a published record is not written to.
        let header = unsafe { self.0.as_ref() };
        header.canary.touch();
        header
    }

    #[inline]
    pub(crate) fn position(self) -> u64 {
        self.header().position
    }

    #[inline]
    pub(crate) fn revision(self) -> u64 {
        self.header().revision
    }

    #[inline]
    pub(crate) fn entry(self) -> &'r Entry {
        // SAFETY: the chunk that the record lies in holds the directory, and the directory its entries.
        unsafe { self.header().stream.as_ref() }
    }

    /// The log's time, when it keeps one.
    #[inline]
    pub(crate) fn time(self) -> Option<Timestamp> {
        let flags = self.header().flags;
        // SAFETY: the flag says that the field is there.
        (flags & TIME != 0)
            .then(|| Timestamp::from_nanos(unsafe { self.0.byte_add(Offsets::of(flags).time).cast::<i64>().read() }))
    }

    /// Sums of all records before, when the log keeps them.
    #[inline]
    pub(crate) fn sum(self) -> Option<Sums> {
        let flags = self.header().flags;
        // SAFETY: the flag says that the field is there.
        (flags & SUM != 0).then(|| unsafe { self.0.byte_add(Offsets::of(flags).sum).cast::<Sums>().read() })
    }

    /// The next record of the same batch.
    #[inline]
    pub(crate) fn next(self) -> Option<Record<'r>> {
        let flags = self.header().flags;
        if flags & NEXT == 0 {
            return None;
        }
        // SAFETY: the flag says that the field is there. The records of a batch are published together, and each is held
        // by its own slot; whoever may look at the first may look at all of them (see the head of `log`).
        unsafe {
            let next = self.0.byte_add(Offsets::of(flags).next).cast::<Option<NonNull<Header>>>().read();
            next.map(|next| Record::new(next))
        }
    }

    /// Bytes that the record takes, a payload outside of it included.
    pub(crate) fn weight(self) -> u64 {
        let outside = if self.header().flags & BYTES != 0 { self.payload().len() } else { 0 };
        (self.size_without_keys() + self.size_of_keys() + outside) as u64
    }

    /// Where the keys begin, when there are any.
    pub(super) fn size_without_keys(self) -> usize {
        let header = self.header();
        let attributes = if header.flags & ATTRIBUTES != 0 { 4 + self.attribute_len() } else { 0 };
        let size = text_offset(header.flags) + usize::from(header.name_len) + self.inline_len() + attributes;
        size.next_multiple_of(ALIGN)
    }

    #[inline]
    fn inline_len(self) -> usize {
        (self.header().payload_len & !KEYED).into()
    }

    pub(super) fn is_keyed(self) -> bool {
        self.header().payload_len & KEYED != 0
    }

    #[inline]
    pub(crate) fn payload(self) -> &'r [u8] {
        let header = self.header();
        if let Some(bytes) = self.bytes() {
            return bytes;
        }
        let at = text_offset(header.flags) + usize::from(header.name_len);
        // SAFETY: written by `Draft::write`, immutable since.
        unsafe { std::slice::from_raw_parts(self.0.cast::<u8>().byte_add(at).as_ptr(), self.inline_len()) }
    }

    /// The payload when it is not inline.
    #[inline]
    pub(crate) fn bytes(self) -> Option<&'r Bytes> {
        let flags = self.header().flags;
        // SAFETY: the flag says that the field is there, right before the text; it is owned by the record since its
        // publication.
        (flags & BYTES != 0)
            .then(|| unsafe { self.0.byte_add(text_offset(flags) - size_of::<Bytes>()).cast::<Bytes>().as_ref() })
    }

    pub(crate) fn attributes(self) -> Attributes<'r> {
        if self.header().flags & ATTRIBUTES == 0 {
            return Attributes::default();
        }
        // SAFETY: written by `Draft::write`, immutable since.
        Attributes::new(unsafe {
            std::slice::from_raw_parts(self.attribute_block().byte_add(4).as_ptr(), self.attribute_len())
        })
    }

    #[cfg(feature = "durable")]
    pub(crate) fn stream_id(self) -> &'r str {
        self.entry().name()
    }

    /// The attributes as they were encoded; none when there are none.
    #[cfg(feature = "durable")]
    pub(crate) fn attribute_bytes(self) -> Option<&'r [u8]> {
        // SAFETY: as in `attributes`.
        (self.header().flags & ATTRIBUTES != 0).then(|| unsafe {
            std::slice::from_raw_parts(self.attribute_block().byte_add(4).as_ptr(), self.attribute_len())
        })
    }

    fn attribute_block(self) -> NonNull<u8> {
        let header = self.header();
        let at = text_offset(header.flags) + usize::from(header.name_len) + self.inline_len();
        // SAFETY: within the record when it has attributes, at its very end otherwise.
        unsafe { self.0.cast::<u8>().byte_add(at) }
    }

    fn attribute_len(self) -> usize {
        // SAFETY: only called when the record has attributes; their length comes first.
        unsafe { self.attribute_block().cast::<u32>().read_unaligned() as usize }
    }

    /// One more holder.
    #[inline]
    pub(crate) fn hold(self) {
        // Relaxed: who adds a holder is protected by one that exists; nothing is published by it (as in `Arc`).
        let before = self.header().holders.fetch_add(1, Ordering::Relaxed);
        if before > u32::MAX / 2 {
            // Two thousand million envelopes leaked with `mem::forget`: stop before the count wraps.
            std::process::abort();
        }
    }

    /// One holder less.
    ///
    /// # Safety
    /// The caller is a holder, and uses the record no more.
    #[inline]
    pub(crate) unsafe fn release(self) {
        // Release: pairs with the `acquire` below, in whoever lets go last: all uses come before the end.
        if self.header().holders.fetch_sub(1, Ordering::Release) == 1 {
            // SAFETY: that was the last holder.
            unsafe { self.die() };
        }
    }

    #[cold]
    unsafe fn die(self) {
        // Acquire: pairs with the Release in `release`.
        acquire(&self.header().holders);
        let header = self.header();
        header.canary.die();
        let flags = header.flags;
        // Told even if the drop of the payload's owner panics.
        let _tell_chunk = Died { record: self.0.cast(), class: flags >> CLASS_SHIFT };
        if flags & BYTES != 0 {
            // SAFETY: the record owns its payload, nobody else looks at it any more, and it is dropped once.
            unsafe { self.0.byte_add(Offsets::of(flags).bytes).cast::<Bytes>().drop_in_place() };
        }
    }
}

/// Tells the chunk of a dead record.
struct Died {
    record: NonNull<u8>,
    class: u8,
}

impl Drop for Died {
    fn drop(&mut self) {
        // SAFETY: made once for a record that is dead, which lies in a chunk of this class and was counted by it.
        unsafe { Chunk::record_died(self.record, self.class) };
    }
}

impl Recorded for Record<'_> {
    #[inline]
    fn kind(&self) -> Kind {
        if self.header().flags & COMMAND != 0 { Kind::Command } else { Kind::Event }
    }

    fn stream(&self) -> &str {
        self.entry().name()
    }

    #[inline]
    fn name(&self) -> &str {
        self.text()
    }

    #[inline]
    fn has_tag(&self, tag: &str) -> bool {
        self.attributes().tags().has(tag)
    }

    fn id(&self, which: Id) -> Option<&[u8]> {
        self.attributes().id_bytes(which)
    }

    #[cfg(feature = "json")]
    fn payload(&self) -> &[u8] {
        Record::payload(*self)
    }
}

impl<'r> Record<'r> {
    /// The message's name.
    #[inline]
    pub(crate) fn text(self) -> &'r str {
        let header = self.header();
        // SAFETY: written by `Draft::write` from a `str`, immutable since.
        unsafe {
            let at = self.0.cast::<u8>().byte_add(text_offset(header.flags));
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(at.as_ptr(), header.name_len.into()))
        }
    }
}

/// The layout of a chunk's memory, shared with the arena.
pub(crate) fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("sizes are bounded by the limits of the log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Message;

    /// A log's records have the fields that it asks for.
    #[test]
    fn a_shape_has_what_was_asked_for() {
        for (time, sum) in [(false, false), (false, true), (true, false), (true, true)] {
            let shape = Shape::new(time, sum);
            assert_eq!((shape.time(), shape.sum(), shape.any()), (time, sum, time || sum));
        }
    }

    /// A record never takes more than was set aside for it, whatever fields it has, and with all of them hardly less.
    #[test]
    fn a_record_fits_into_what_was_set_aside() {
        let shared = Bytes::from_static(b"shared");
        for (length, fields) in (1..=40).flat_map(|length| (0..16).map(move |fields| (length, fields))) {
            let message = Message::builder("n".repeat(length));
            let message = if fields & 8 == 0 { message } else { message.tag("a tag") }.build().unwrap();
            let (inline, bytes) = if fields & 4 == 0 { (&[7; 13][..], None) } else { (&[][..], Some(&shared)) };
            let (parts, shape) = (message.parts(), Shape::new(fields & 1 != 0, fields & 2 != 0));
            let mut memory = [0_u64; 64];
            let at = NonNull::from(&mut memory).cast();
            // SAFETY: 512 bytes are more than any of these records takes; the stream is not looked at.
            let (_, end) = unsafe { Draft::write(at, 0, shape, true, &parts, inline, bytes, NonNull::dangling()) };
            let (taken, most) = (end.addr().get() - at.addr().get(), most_bytes(&parts, inline));
            assert!(taken <= most && (fields < 15 || most - taken <= ALIGN), "{length} {fields}");
        }
    }
}
