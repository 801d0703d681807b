//! Records with keys: a block at their end that says in which cells of which buckets they are entered (see `keys`).

use std::ptr::NonNull;

use super::keys::{KEYED_LIMIT, Key, KeyPlan, KeyTable};
use super::reclaim::Guard;
use super::record::{ALIGN, Draft, Record};

/// What the record of a single append is entered in besides its stream's index: nothing, or the buckets of its keys. Known
/// when an append is compiled, so that a log without indexes does not ask.
pub(crate) trait Besides: Copy {
    /// Whether no slot at this index may be taken.
    fn is_full(self, index: u64) -> bool;

    /// Gives a draft its places, as if it took the slot that it competes for, and makes sure that they exist.
    fn place(self, draft: Draft, guard: &Guard);

    /// Enters a record that took its slot. Idempotent.
    fn enter(self, record: Record<'_>, guard: &Guard);
}

impl Besides for () {
    #[inline]
    fn is_full(self, _: u64) -> bool {
        false
    }

    #[inline]
    fn place(self, _: Draft, _: &Guard) {}

    #[inline]
    fn enter(self, _: Record<'_>, _: &Guard) {}
}

impl Besides for &KeyTable {
    #[inline]
    fn is_full(self, index: u64) -> bool {
        index >= KEYED_LIMIT
    }

    #[inline]
    fn place(self, draft: Draft, guard: &Guard) {
        let (first, len) = draft.record().key_block();
        // SAFETY: a draft is private to its appender; the block has so many keys.
        KeyTable::place(self, unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), len) }, guard);
    }

    #[inline]
    fn enter(self, record: Record<'_>, guard: &Guard) {
        record.enter_keys(self, guard);
    }
}

/// What comes before the keys: how many there are.
const HEAD: usize = size_of::<u64>();

const _: () = assert!(align_of::<Key>() <= ALIGN && size_of::<Key>() == 16);

/// Bytes of a block of keys.
pub(crate) fn block_len(keys: usize) -> usize {
    HEAD + keys * size_of::<Key>()
}

impl Draft {
    /// Appends the block of keys to a draft that ends at `at`, and returns where it ends now.
    ///
    /// # Safety
    /// `at` is what [`Draft::write`] returned, with [`block_len`] writable bytes behind it.
    pub(crate) unsafe fn write_keys(self, at: NonNull<u8>, keys: &[Key]) -> NonNull<u8> {
        debug_assert_eq!(at.addr().get() - self.as_ptr().addr(), self.record().size_without_keys());
        self.mark_keyed();
        // SAFETY: the memory is the draft's, by the contract, and aligned, as records end.
        unsafe {
            at.cast::<u64>().write(keys.len() as u64);
            let first = at.byte_add(HEAD).cast::<Key>();
            first.copy_from_nonoverlapping(NonNull::from(keys).cast(), keys.len());
            at.byte_add(block_len(keys.len()))
        }
    }

    /// Gives each key its cell.
    pub(crate) fn place_keys(self, plan: &mut KeyPlan) {
        let record = self.record();
        let (first, len) = record.key_block();
        for number in 0..len {
            // SAFETY: a draft is private to its appender; the block has so many keys.
            unsafe {
                let key = first.add(number).as_ptr();
                (*key).revision = plan.take((*key).at.bucket);
            }
        }
    }
}

impl<'r> Record<'r> {
    /// Its keys, in a log that has indexes.
    pub(crate) fn keys(self) -> &'r [Key] {
        if !self.is_keyed() {
            return &[];
        }
        let (first, len) = self.key_block();
        // SAFETY: written by `write_keys`, and immutable since the record was published.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), len) }
    }

    /// Enters every key. Idempotent: all that is stored follows from the record.
    pub(crate) fn enter_keys(self, table: &KeyTable, guard: &Guard) {
        self.keys().iter().for_each(|key| table.enter(*key, self.position(), guard));
    }

    pub(super) fn size_of_keys(self) -> usize {
        if self.is_keyed() { block_len(self.key_block().1) } else { 0 }
    }

    /// The first of the keys, which are there, and how many they are.
    #[allow(clippy::cast_possible_truncation, reason = "the length of a slice")]
    fn key_block(self) -> (NonNull<Key>, usize) {
        // SAFETY: a keyed record has the block right behind the rest of it.
        unsafe {
            let at = self.as_ptr().cast::<u8>().byte_add(self.size_without_keys());
            (at.byte_add(HEAD).cast(), at.cast::<u64>().read() as usize)
        }
    }
}
