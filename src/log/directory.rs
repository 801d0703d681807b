//! Streams by name: an insert-only hash table without locks.
//!
//! Open addressing with linear probing over cells that hold a pointer to an entry, null, or `MOVED`. Entries are never
//! removed, and never move: a stream handle is a pointer to one.
//!
//! Growing: whoever finds the table too full hangs a table of twice the size on it. Before anybody inserts into the new
//! table, the old one is emptied into it, by everybody who comes by and wants to insert: each cell is either copied
//! (the pointer is put into the new table, unless it is there already) or, when it is null, sealed with `MOVED`. A cell
//! with a pointer never changes again, so copying twice is harmless; a sealed cell takes no insert. When all cells were
//! seen, the new table becomes the current one. A look-up that meets `MOVED` goes on in the new table.
//!
//! Rules:
//! 1. A cell goes from null to a pointer or to `MOVED`, once.
//! 2. An insert into a table happens only after the table before it was emptied completely.
//! 3. A table is freed, through `reclaim`, after the directory has moved on from it.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::ptr::{self, NonNull};

use ahash::RandomState;

use super::backing::Known;
use super::canary::Canary;
use super::index::Index;
use super::reclaim::{Guard, dealloc};
use super::record::Record;
use super::search::Removed;
use super::watch::Interest;
use crate::model::{LimitExceeded, Position, Timestamp};
use crate::sync::{AtomicPtr, AtomicU64, Gauge, Ordering, probe, stop};

/// One stream: its name and its index.
#[repr(C)]
pub(crate) struct Entry {
    hash: u64,
    pub(crate) index: Index,
    /// Who watches this stream.
    pub(crate) interest: Interest,
    /// Position and time of the first envelope; no position before that.
    created: AtomicU64,
    created_at: AtomicU64,
    pub(crate) removed: Removed,
    canary: Canary,
    /// Where the name is: behind this, in the same allocation.
    text: NonNull<u8>,
    len: u8,
    /// `len` bytes of UTF-8 follow.
    name: [u8; 0],
}

impl Entry {
    fn layout(len: u8) -> Layout {
        let size = std::mem::offset_of!(Self, name) + usize::from(len);
        Layout::from_size_align(size.max(size_of::<Self>()), align_of::<Self>())
            .expect("a name has at most 255 bytes")
            .pad_to_align()
    }

    /// `known`: what it has that is not in memory.
    fn make(hash: u64, name: &str, known: Option<Known>) -> NonNull<Self> {
        let len = u8::try_from(name.len()).expect("a name has at most 255 bytes");
        let layout = Self::layout(len);
        // SAFETY: the layout is not empty.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: fresh memory of that layout; the name follows the fixed part.
        unsafe {
            let entry = at.cast::<Self>();
            let text = at.byte_add(std::mem::offset_of!(Self, name));
            entry.write(Self {
                hash,
                index: Index::starting_at(known.map_or(0, |known| known.next)),
                interest: Interest::new(),
                created: AtomicU64::new(known.map_or(0, |known| known.created.get())),
                created_at: AtomicU64::new(known.map_or(0, |known| known.created_at.as_nanos().cast_unsigned())),
                removed: Removed::new(),
                canary: Canary::new(),
                text,
                len,
                name: [],
            });
            text.copy_from_nonoverlapping(NonNull::from(name.as_bytes()).cast(), name.len());
            entry
        }
    }

    /// # Safety
    /// Nobody uses the entry any more.
    unsafe fn free(this: *mut Entry) {
        // SAFETY: allocated by `make`; by the contract, ours alone.
        unsafe {
            (*this).canary.die();
            (*this).index.clear();
            dealloc(this.cast(), Self::layout((*this).len));
        }
    }

    /// Notes where the stream begins; whether nobody had. All note the same.
    fn note(&self, record: Record<'_>) -> bool {
        // Relaxed, both: the mark on the slot, which follows, publishes them to whoever reads the envelope.
        if let Some(time) = record.time() {
            self.created_at.store(time.as_nanos().cast_unsigned(), Ordering::Relaxed);
        }
        self.created.compare_exchange(0, record.position(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The position of the first envelope. The caller believes it up to the end of a view.
    pub(crate) fn created(&self) -> Option<Position> {
        // Relaxed: who made the view acquired the mark on a slot at its end or later, and with it this, for all before.
        let position = self.created.load(Ordering::Relaxed);
        (position != 0).then(|| Position::new(position))
    }

    /// The time of the first envelope, which the caller knows to be `created`.
    pub(crate) fn created_at(&self) -> Timestamp {
        // Relaxed: as `created`.
        Timestamp::from_nanos(self.created_at.load(Ordering::Relaxed).cast_signed())
    }

    /// The stream's id.
    pub(crate) fn name(&self) -> &str {
        self.canary.touch();
        // SAFETY: written from a `str` by `make`, immutable since, allocated as long as the entry.
        unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(self.text.as_ptr(), self.len.into())) }
    }
}

struct Table {
    mask: u64,
    /// Inserts that found a cell here.
    used: AtomicU64,
    /// Hint: cells before this one have been emptied.
    emptied: AtomicU64,
    next: AtomicPtr<Table>,
    canary: Canary,
    cells: Box<[AtomicPtr<Entry>]>,
}

/// The mark of a sealed cell: no entry lies there.
fn moved() -> *mut Entry {
    ptr::without_provenance_mut(1)
}

/// What a walk through a table came to.
enum Found {
    Entry(NonNull<Entry>),
    /// An empty cell: its index.
    Empty(usize),
    /// A sealed cell: look in the next table.
    Moved,
}

impl Table {
    fn make(cells: usize) -> *mut Self {
        let cells: Box<[_]> = (0..cells).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Box::into_raw(Box::new(Self {
            mask: cells.len() as u64 - 1,
            used: AtomicU64::new(0),
            emptied: AtomicU64::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            canary: Canary::new(),
            cells,
        }))
    }

    /// # Safety
    /// Nobody can reach the table any more.
    unsafe fn free(this: *mut Self) {
        // SAFETY: made by `make`; by the contract, ours alone.
        let table = unsafe { Box::from_raw(this) };
        table.canary.die();
    }

    /// Looks for `same` from the home cell of `hash` on.
    #[inline]
    fn walk(&self, hash: u64, same: impl Fn(&Entry) -> bool) -> Found {
        self.canary.touch();
        let mut at = hash & self.mask;
        for _ in 0..self.cells.len() {
            let index = usize::try_from(at).expect("a mask of a slice fits");
            // Acquire: pairs with the Release in `put`; publishes the entry.
            let cell = probe(&self.cells[index]);
            let Some(entry) = NonNull::new(cell) else { return Found::Empty(index) };
            if cell == moved() {
                return Found::Moved;
            }
            // SAFETY: entries live as long as the directory.
            let there = unsafe { entry.as_ref() };
            there.canary.touch();
            if there.hash == hash && same(there) {
                return Found::Entry(entry);
            }
            at = (at + 1) & self.mask;
        }
        // Full: tables grow long before, so every cell has been emptied or sealed by now.
        Found::Moved
    }

    /// Puts `entry` at `index` when nothing is there.
    fn put(&self, index: usize, entry: *mut Entry) -> bool {
        // Release: publishes the entry, pairs with the Acquire in `walk`. Relaxed: a loser walks again.
        let put =
            self.cells[index].compare_exchange(ptr::null_mut(), entry, Ordering::Release, Ordering::Relaxed).is_ok();
        if put && entry != moved() && !stop::here(stop::PUT) {
            // Relaxed: only says when to grow.
            self.used.fetch_add(1, Ordering::Relaxed);
        }
        put
    }

    /// More than half full. (Copies count as inserts.)
    fn is_full(&self) -> bool {
        // Relaxed: only says when to grow; with as many threads at once as a quarter of the cells it may be a little late.
        self.used.load(Ordering::Relaxed) > self.mask / 2
    }
}

/// Keyed anew for every log, so that nobody can choose ids that collide.
#[cfg(not(any(loom, annals_shuttle)))]
fn hasher() -> RandomState {
    RandomState::new()
}

/// The same in every execution: loom repeats them.
#[cfg(any(loom, annals_shuttle))]
fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// All streams of a log.
pub(crate) struct Directory {
    current: AtomicPtr<Table>,
    hasher: RandomState,
    /// Entries, or about to be.
    count: AtomicU64,
    /// Those that have been written.
    written: Gauge,
    /// Bytes of the chunks whose records have their streams here.
    pub(crate) chunks: Gauge,
    max: u64,
}

// SAFETY: the raw pointers are to tables and entries, which are shared by the protocol above and by atomics alone.
unsafe impl Send for Directory {}
// SAFETY: as above.
unsafe impl Sync for Directory {}

#[cfg(not(any(loom, annals_shuttle)))]
const FIRST_CELLS: usize = 64;
#[cfg(any(loom, annals_shuttle))]
const FIRST_CELLS: usize = 4;

/// How many cells of a table that is being left are emptied between two marks.
#[cfg(not(loom))]
const MARK_EVERY: u64 = 64;
#[cfg(loom)]
const MARK_EVERY: u64 = 2;

impl Directory {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            current: AtomicPtr::new(Table::make(FIRST_CELLS)),
            hasher: hasher(),
            count: AtomicU64::new(0),
            written: Gauge::new(),
            chunks: Gauge::new(),
            max: max as u64,
        }
    }

    /// How many streams are known.
    pub(crate) fn len(&self) -> u64 {
        // Relaxed: a statistic.
        self.count.load(Ordering::Relaxed)
    }

    /// How many streams have been written.
    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    /// Notes where a stream begins, whose first record this is, and counts the stream: for whoever finishes the record,
    /// before the mark on its slot.
    #[cold]
    pub(crate) fn note_beginning(&self, first: Record<'_>) {
        if first.entry().note(first) {
            self.written.add(1);
        }
    }

    /// The stream with this name.
    pub(crate) fn get(&self, name: &str, _: &Guard) -> Option<NonNull<Entry>> {
        let hash = self.hasher.hash_one(name);
        // Acquire: pairs with the Release in `promote` and, for the first table, with whatever shared the directory.
        let mut table = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: reached from the current table while pinned (rule 3).
            let here = unsafe { &*table };
            match here.walk(hash, |entry| entry.name() == name) {
                Found::Entry(entry) => return Some(entry),
                Found::Empty(_) => return None,
                // Acquire: pairs with the Release in `grow`.
                Found::Moved => table = here.next.load(Ordering::Acquire),
            }
            // Full to the last cell, and not left; or sealed, and the next table not seen yet (see `empty`): either way the
            // name was not there when nothing came after this table.
            if table.is_null() {
                return None;
            }
        }
    }

    /// The stream with this name, added when there is none, with what is `known` of it.
    pub(crate) fn get_or_add(
        &self,
        name: &str,
        known: Option<Known>,
        guard: &Guard,
    ) -> Result<NonNull<Entry>, LimitExceeded> {
        if let Some(entry) = self.get(name, guard) {
            return Ok(entry);
        }
        self.reserve(known.is_some())?;
        let hash = self.hasher.hash_one(name);
        let made = Entry::make(hash, name, known);
        let there = self.insert(hash, made, |entry| entry.name() == name, guard);
        if there != made {
            // Relaxed: see `reserve`.
            self.count.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: never published.
            unsafe { Entry::free(made.as_ptr()) };
        }
        Ok(there)
    }

    /// Whether `more` streams still fit, as of now.
    pub(crate) fn check_room(&self, more: u64) -> Result<(), LimitExceeded> {
        let wanted = self.len().saturating_add(more);
        if wanted > self.max { Err(LimitExceeded::streams(wanted, self.max)) } else { Ok(()) }
    }

    /// `surely`: even if there is no room.
    fn reserve(&self, surely: bool) -> Result<(), LimitExceeded> {
        // Relaxed: a count of its own; a place taken for an entry that another thread adds first is given back.
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before >= self.max && !surely {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(LimitExceeded::streams(before + 1, self.max));
        }
        Ok(())
    }

    /// Inserts `entry`, or returns the one that is the same.
    fn insert(&self, hash: u64, entry: NonNull<Entry>, same: impl Fn(&Entry) -> bool, guard: &Guard) -> NonNull<Entry> {
        loop {
            let table = self.writable(guard);
            match table.walk(hash, &same) {
                Found::Entry(there) => return there,
                Found::Empty(index) if table.put(index, entry.as_ptr()) => return entry,
                Found::Empty(_) => {}
                // Left already; or full to the last cell, perhaps with entries that `used` does not count yet: left now.
                Found::Moved => drop(Self::grow(table)),
            }
        }
    }

    /// The current table, after it was grown when it is too full or about to be left.
    fn writable<'g>(&self, guard: &'g Guard) -> &'g Table {
        loop {
            // Acquire: pairs with the Release in `promote`.
            let current = probe(&self.current);
            // SAFETY: current when loaded, so allocated while pinned (rule 3).
            let table: &'g Table = unsafe { &*current };
            // Relaxed: not followed here, but in `grow`.
            if table.next.load(Ordering::Relaxed).is_null() && !table.is_full() {
                return table;
            }
            let next = Self::grow(table);
            // SAFETY: hung on a table that is allocated, and freed after it.
            Self::empty(table, unsafe { &*next });
            self.promote(current, next, guard);
        }
    }

    #[cold]
    fn grow(table: &Table) -> *mut Table {
        // Acquire: pairs with the Release below.
        let next = probe(&table.next);
        if !next.is_null() {
            return next;
        }
        let made = Table::make(table.cells.len() * 2);
        // Release: publishes the table. Acquire: another's is used.
        match table.next.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {
            Ok(_) => made,
            Err(other) => {
                // SAFETY: never published.
                unsafe { Table::free(made) };
                other
            }
        }
    }

    /// Copies or seals every cell of `from`. Whoever returns from it has seen all of them done.
    #[cold]
    fn empty(from: &Table, to: &Table) {
        // Acquire: pairs with the Release below: cells before the mark are done, their copies are there.
        let start = from.emptied.load(Ordering::Acquire);
        for at in start..from.cells.len() as u64 {
            let index = usize::try_from(at).expect("an index of a slice fits");
            let cell = &from.cells[index];
            // Relaxed: a seal publishes nothing. Who meets it and does not see the next table yet has not seen any of the
            // names added there either: to a look-up they are unknown, and an insert makes a table, loses, and finds it.
            // Acquire: a lost seal finds an entry; pairs with the Release in `put`.
            if let Err(entry) = cell.compare_exchange(ptr::null_mut(), moved(), Ordering::Relaxed, Ordering::Acquire)
                && entry != moved()
            {
                Self::copy(entry, to);
            }
            if (at + 1).is_multiple_of(MARK_EVERY) {
                // Release: pairs with the Acquire above.
                from.emptied.fetch_max(at + 1, Ordering::Release);
            }
        }
    }

    fn copy(entry: *mut Entry, to: &Table) {
        // SAFETY: entries live as long as the directory.
        let there = unsafe { &*entry };
        there.canary.touch();
        let hash = there.hash;
        loop {
            match to.walk(hash, |there| ptr::eq(there, entry)) {
                Found::Empty(index) if to.put(index, entry) => return,
                Found::Empty(_) => {}
                // Copied by another; or `to` is being left already, which means that its filling was complete.
                Found::Entry(_) | Found::Moved => return,
            }
        }
    }

    #[cold]
    fn promote(&self, from: *mut Table, to: *mut Table, guard: &Guard) {
        // Release: pairs with the Acquire of every look-up: all of `from` was emptied into `to`. (`from` was acquired when
        // it was found.)
        if self.current.compare_exchange(from, to, Ordering::Release, Ordering::Relaxed).is_ok() {
            let left = Left(from);
            // SAFETY: nobody finds it any more who was not pinned by now.
            unsafe { guard.defer(move || left.free()) };
            guard.flush();
        }
    }

    /// Frees the index of every stream, and keeps the names.
    ///
    /// # Safety
    /// No index is used any more.
    pub(crate) unsafe fn clear_indexes(&self, guard: &Guard) {
        // SAFETY: entries live as long as the directory; their indexes by the contract.
        self.visit(guard, |entry| unsafe { entry.as_ref().index.clear() });
    }

    /// Every entry, once, that was added before this was called; of others, some. Wait-free.
    ///
    /// One table has them all: whoever added an entry found the current table, or a later one, current, and a table becomes
    /// current after the one before was emptied into it.
    pub(crate) fn visit(&self, _: &Guard, mut visit: impl FnMut(NonNull<Entry>)) {
        // Acquire: pairs with the Release in `promote`: what was copied into the table is there.
        // SAFETY: current when loaded, so allocated while pinned (rule 3).
        let table = unsafe { &*self.current.load(Ordering::Acquire) };
        table.canary.touch();
        for cell in &table.cells {
            // Acquire: pairs with the Release in `put`; publishes the entry.
            let entry = cell.load(Ordering::Acquire);
            if let Some(entry) = NonNull::new(entry).filter(|_| entry != moved()) {
                // SAFETY: entries live as long as the directory.
                unsafe { entry.as_ref() }.canary.touch();
                visit(entry);
            }
        }
    }
}

struct Left(*mut Table);

impl Left {
    fn free(self) {
        // SAFETY: runs after everybody who was pinned when the directory moved on has unpinned.
        unsafe { Table::free(self.0) };
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Relaxed: dropped by the last owner, which is alone.
        let current = self.current.load(Ordering::Relaxed);
        // SAFETY: alone. A table that growth hung on but nobody promoted has copies only.
        unsafe {
            for cell in &(*current).cells {
                let entry = cell.load(Ordering::Relaxed);
                if !entry.is_null() && entry != moved() {
                    Entry::free(entry);
                }
            }
            let next = (*current).next.load(Ordering::Relaxed);
            if !next.is_null() {
                Table::free(next);
            }
            Table::free(current);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reclaim::Domain;
    use super::*;

    /// A table of `cells` and an entry; frees both.
    fn with_table(cells: usize, test: impl FnOnce(&Table, *mut Entry)) {
        let (table, entry) = (Table::make(cells), Entry::make(0, "s", None).as_ptr());
        // SAFETY: just made, and only known here.
        unsafe {
            test(&*table, entry);
            Table::free(table);
            Entry::free(entry);
        }
    }

    fn used(table: &Table) -> u64 {
        table.used.load(Ordering::Relaxed)
    }

    /// Two names with one hash are two streams.
    #[test]
    fn names_are_told_apart_when_hashes_are_not() {
        let (directory, guard) = (Directory::new(2), Domain::new().pin());
        let insert = |name| {
            let made = Entry::make(7, name, None);
            let there = directory.insert(7, made, |entry| entry.name() == name, &guard);
            assert_eq!(there, made, "{name} is new");
        };
        insert("a");
        insert("b");
    }

    /// A table counts what was put into it: not what came too late, nor the marks of sealed cells.
    #[test]
    fn a_table_counts_its_entries() {
        with_table(4, |table, entry| {
            assert!(table.put(1, entry) && !table.put(1, entry));
            assert_eq!(used(table), 1);
            assert!(table.put(2, moved()) && !table.put(2, moved()));
            assert_eq!(used(table), 1);
        });
    }

    /// A table is left once half of its cells are used, and stays to be left: searches stay short.
    #[test]
    fn a_table_is_full_when_half_of_it_is_used() {
        with_table(64, |table, _| {
            for used in 0..64 {
                table.used.store(used, Ordering::Relaxed);
                assert_eq!(table.is_full(), used >= 32, "{used} used");
            }
        });
    }

    /// An insert leaves a table that is full, or that somebody is about to leave, before it puts anything (rule 2).
    #[test]
    fn inserts_go_to_the_table_to_come() {
        let (directory, guard) = (Directory::new(100), Domain::new().pin());
        let cells = || directory.writable(&guard).cells.len();
        (0..31).for_each(|n| _ = directory.get_or_add(&format!("{n}"), None, &guard).unwrap());
        assert_eq!(cells(), 64);
        directory.get_or_add("31", None, &guard).unwrap();
        assert_eq!(cells(), 128);
        Directory::grow(directory.writable(&guard));
        assert_eq!(cells(), 256, "the next one is there, though this one has room");
        assert!((0..32).all(|n| directory.get(&format!("{n}"), &guard).is_some()));
    }

    /// Who empties a table marks how far all of it is done, and begins at the mark of others.
    #[test]
    fn emptying_a_table_goes_on_where_others_were() {
        with_table(128, |to, entry| {
            with_table(128, |from, _| {
                assert!(from.put(100, entry));
                from.emptied.store(64, Ordering::Relaxed);
                Directory::empty(from, to);
                let sealed = |at: usize| from.cells[at].load(Ordering::Relaxed) == moved();
                assert!((0..64).all(|at| !sealed(at)), "cells before the mark are left alone");
                assert!((64..128).all(|at| sealed(at) != (at == 100)));
                assert_eq!((from.emptied.load(Ordering::Relaxed), used(to)), (128, 1));
            });
        });
    }
}
