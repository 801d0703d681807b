//! Copying short pieces of memory into a record, without a call and without waiting for the store buffer.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use bytes::Bytes;

/// Copies the handle of a payload word by word. It was just written so: a processor makes wider loads wait until the
/// words have left its store buffer.
///
/// # Safety
/// `to` is aligned to `ALIGN` and has the size of a `Bytes` in writable bytes.
#[inline]
pub(super) unsafe fn copy_by_words(from: NonNull<Bytes>, to: NonNull<u8>) {
    const WORDS: usize = size_of::<Bytes>() / size_of::<usize>();
    let (from, to) = (from.cast::<MaybeUninit<*const ()>>(), to.cast::<MaybeUninit<*const ()>>());
    for word in 0..WORDS {
        // SAFETY: by the contract; a `Bytes` is aligned as a pointer, and a multiple of it in size. Volatile, so that the
        // loads stay apart.
        unsafe { to.add(word).write(from.add(word).read_volatile()) };
    }
}

/// Copies a short text without a call: as two words that overlap.
///
/// # Safety
/// `to` has `from.len()` writable bytes, apart from `from`.
#[inline]
pub(super) unsafe fn copy_short(from: &[u8], to: NonNull<u8>) {
    let len = from.len();
    let from = start(from);
    // SAFETY: both words lie within the `len` bytes of either side.
    unsafe {
        match len {
            8..=16 => {
                let head = from.cast::<u64>().read_unaligned();
                let tail = from.byte_add(len - 8).cast::<u64>().read_unaligned();
                to.cast::<u64>().write_unaligned(head);
                to.byte_add(len - 8).cast::<u64>().write_unaligned(tail);
            }
            17..=32 => {
                let head = from.cast::<u128>().read_unaligned();
                let tail = from.byte_add(len - 16).cast::<u128>().read_unaligned();
                to.cast::<u128>().write_unaligned(head);
                to.byte_add(len - 16).cast::<u128>().write_unaligned(tail);
            }
            _ => to.copy_from_nonoverlapping(from, len),
        }
    }
}

pub(super) fn start(bytes: &[u8]) -> NonNull<u8> {
    NonNull::from(bytes).cast()
}
