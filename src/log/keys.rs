//! Indexes by what messages say: category, name, tags, ids. Which of them a log keeps is chosen when it is built.
//!
//! A key is a kind and a text, "tag seat:12A". Its hash chooses one of the log's buckets, whose number never changes, and
//! gives a fingerprint of 16 bits. A bucket is an [`Index`], the same as a stream's: its next cell gets the position of each
//! record that has one of its keys, with the key's fingerprint above the position's 48 bits. So there is nothing to add when
//! a key appears and nothing to remove when the last of its records is gone: memory is that of the cells, one for each key
//! of each record that is kept.
//!
//! A record knows the cells of its keys as it knows its revision: they are set while it is private, so whoever finishes it
//! can enter them, any number of times. They are entered before the record's mark, so whoever sees a record finds it in
//! every index; positions that are not visible yet are dropped by who reads, as in a stream.
//!
//! What is found by fingerprint still has to match: different keys may share one. An index says where to look, never what
//! is there.

use ahash::RandomState;
use smallvec::SmallVec;

use super::index::{Index, as_index};
use super::reclaim::Guard;
use crate::model::{Id, Parts, category_of};

/// Which indexes a log keeps, besides those of its streams. They make queries and conditions cost what matches them instead
/// of what is in the log; each costs appends and memory: 24 bytes for each key of a record, and 8 for each record.
///
/// Measured, where an append with all of these texts took 138 ns without index: 47 to 72 ns more for a key that often recurs
/// (names, categories, correlation and session ids), 125 to 135 ns for one of many or one of a kind (tags, message ids), whose
/// bucket is not in the cache; 442 ns for all six.
///
/// ```
/// use annals::{Indexes, Log, Message, Query};
///
/// let log = Log::builder().indexes(Indexes::new().tags().correlations()).build()?;
/// log.append("seats", Message::builder("SeatTaken").tag("seat:12A").build()?)?;
/// assert_eq!(log.read().matching(Query::tag("seat:12A")?).iter().count(), 1); // looks at one record
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexes {
    kinds: u8,
    pub(crate) buckets: usize,
}

/// What a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyKind {
    Category = 1,
    Name = 2,
    Tag = 4,
    Correlation = 8,
    Session = 16,
    MessageId = 32,
}

impl Indexes {
    /// None yet, with 16,384 buckets.
    pub const fn new() -> Self {
        Self { kinds: 0, buckets: 1 << 14 }
    }

    /// All of them.
    pub const fn all() -> Self {
        Self::new().categories().names().tags().correlations().sessions().message_ids()
    }

    /// By category: the part of the stream id before the first `-`.
    #[must_use]
    pub const fn categories(self) -> Self {
        self.and(KeyKind::Category)
    }

    /// By the message's name.
    #[must_use]
    pub const fn names(self) -> Self {
        self.and(KeyKind::Name)
    }

    /// By each tag.
    #[must_use]
    pub const fn tags(self) -> Self {
        self.and(KeyKind::Tag)
    }

    /// By correlation id. Prefixes are not indexed.
    #[must_use]
    pub const fn correlations(self) -> Self {
        self.and(KeyKind::Correlation)
    }

    /// By session id.
    #[must_use]
    pub const fn sessions(self) -> Self {
        self.and(KeyKind::Session)
    }

    /// By message id.
    #[must_use]
    pub const fn message_ids(self) -> Self {
        self.and(KeyKind::MessageId)
    }

    /// How many buckets keys are spread over, 16 bytes each at least: a power of two from 1 to 2^24. A look-up passes over
    /// the cells of all keys of its bucket, 8 bytes each: about as many as there are keys, records times keys of each, divided
    /// by the number of buckets.
    #[must_use]
    pub const fn buckets(mut self, buckets: usize) -> Self {
        self.buckets = buckets;
        self
    }

    const fn and(mut self, kind: KeyKind) -> Self {
        self.kinds |= kind as u8;
        self
    }

    pub(crate) const fn has(self, kind: KeyKind) -> bool {
        self.kinds & kind as u8 != 0
    }

    pub(crate) const fn any(self) -> bool {
        self.kinds != 0
    }
}

impl Default for Indexes {
    fn default() -> Self {
        Self::new()
    }
}

/// Bits of a cell that are the position.
const POSITION_BITS: u32 = 48;

/// No slot at or after this index is taken in a log with indexes.
pub(crate) const KEYED_LIMIT: u64 = (1 << POSITION_BITS) - 1;

/// Where records with a key are entered. In order of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spread {
    pub(crate) bucket: u32,
    fingerprint: u16,
}

impl Spread {
    /// What the cell of a record at `position` holds.
    #[inline]
    pub(crate) fn cell(self, position: u64) -> u64 {
        u64::from(self.fingerprint) << POSITION_BITS | position
    }

    /// Whether a cell of this bucket is of a record with this fingerprint.
    #[inline]
    pub(crate) fn is_in(self, cell: u64) -> bool {
        cell >> POSITION_BITS == u64::from(self.fingerprint)
    }
}

/// The position in a cell of a bucket.
#[inline]
pub(crate) fn position_of(cell: u64) -> u64 {
    cell & KEYED_LIMIT
}

/// A record's place in a bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) at: Spread,
    /// Which cell of the bucket; set with the record's position.
    pub(crate) revision: u64,
}

/// The keys of a message.
pub(crate) type Keys = SmallVec<[Key; 8]>;

/// The buckets of a log.
pub(crate) struct KeyTable {
    indexes: Indexes,
    hasher: RandomState,
    buckets: Box<[Index]>,
}

/// Keyed anew for every log, so that nobody can choose tags that collide.
#[cfg(not(any(loom, annals_shuttle)))]
fn hasher() -> RandomState {
    RandomState::new()
}

/// The same in every execution: loom repeats them.
#[cfg(any(loom, annals_shuttle))]
fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

impl KeyTable {
    pub(crate) fn new(indexes: Indexes) -> Self {
        Self { indexes, hasher: hasher(), buckets: (0..indexes.buckets).map(|_| Index::new()).collect() }
    }

    pub(crate) fn has(&self, kind: KeyKind) -> bool {
        self.indexes.has(kind)
    }

    /// Where records with this key are entered.
    pub(crate) fn spread(&self, kind: KeyKind, text: &str) -> Spread {
        let hash = self.hasher.hash_one((kind as u8, text));
        let bucket = u32::try_from(hash & (self.buckets.len() as u64 - 1)).expect("at most 2^24 buckets");
        Spread { bucket, fingerprint: u16::try_from(hash >> POSITION_BITS).expect("16 bits are left") }
    }

    pub(crate) fn bucket(&self, number: u32) -> &Index {
        &self.buckets[as_index(number.into())]
    }

    /// Puts the keys of a message for a stream into `keys`: each once, those of a bucket side by side. Their revisions follow.
    pub(crate) fn keys_of(&self, stream: &str, parts: &Parts<'_, '_>, keys: &mut Keys) {
        keys.clear();
        let mut add = |kind: KeyKind, text: &str| {
            let at = self.spread(kind, text);
            // Buckets are all over the memory: while theirs comes, the record is written.
            self.bucket(at.bucket).prefetch();
            keys.push(Key { at, revision: 0 });
        };
        if self.has(KeyKind::Category) {
            add(KeyKind::Category, category_of(stream));
        }
        if self.has(KeyKind::Name) {
            add(KeyKind::Name, parts.name);
        }
        if let Some(extra) = parts.extra {
            if self.has(KeyKind::Tag) {
                extra.tags().for_each(|tag| add(KeyKind::Tag, tag));
            }
            for (kind, id) in [
                (KeyKind::Correlation, Id::Correlation),
                (KeyKind::Session, Id::Session),
                (KeyKind::MessageId, Id::Message),
            ] {
                if self.has(kind) {
                    extra.id(id).into_iter().for_each(|id| add(kind, id));
                }
            }
        }
        if keys.len() > 1 {
            keys.sort_unstable_by_key(|key| key.at);
            keys.dedup_by_key(|key| key.at);
        }
    }

    /// Gives the keys of one record, as `keys_of` put them, the next cells of their buckets, and makes sure that they exist.
    /// What is read is right if the slot that the append competes for is empty afterwards, as with revisions.
    pub(crate) fn place(&self, keys: &mut [Key], guard: &Guard) {
        let mut before = None;
        for key in keys {
            let bucket = self.bucket(key.at.bucket);
            key.revision = match before {
                Some(Key { at, revision }) if at.bucket == key.at.bucket => {
                    bucket.reserve(revision + 1, 1, guard);
                    revision + 1
                }
                _ => bucket.place(guard).reserve(bucket, guard).revision(),
            };
            before = Some(*key);
        }
    }

    /// Enters a record's key. Idempotent.
    pub(crate) fn enter(&self, key: Key, position: u64, guard: &Guard) {
        self.bucket(key.at.bucket).enter(key.revision, key.at.cell(position), guard);
    }

    /// A record with this key has been freed.
    pub(crate) fn freed(&self, key: Key, guard: &Guard) {
        self.bucket(key.at.bucket).record_freed(key.revision, guard);
    }
}

impl Drop for KeyTable {
    fn drop(&mut self) {
        // SAFETY: nobody else has the table any more.
        self.buckets.iter().for_each(|bucket| unsafe { bucket.clear() });
    }
}

/// How many cells an append needs in a bucket, and the first of them.
pub(crate) struct BucketPlan {
    bucket: u32,
    count: u64,
    next: u64,
}

/// What an append needs in all buckets, sorted by them.
#[derive(Default)]
pub(crate) struct KeyPlan(SmallVec<[BucketPlan; 8]>);

impl KeyPlan {
    /// Counts the keys of one more record.
    pub(crate) fn add(&mut self, keys: &[Key]) {
        for key in keys {
            let bucket = key.at.bucket;
            match self.0.binary_search_by_key(&bucket, |plan| plan.bucket) {
                Ok(at) => self.0[at].count += 1,
                Err(at) => self.0.insert(at, BucketPlan { bucket, count: 1, next: 0 }),
            }
        }
    }

    /// Finds the next cells of every bucket, and makes sure that they exist. What is read is right if the slot that the append
    /// competes for is empty afterwards, as with revisions.
    pub(crate) fn reserve(&mut self, table: &KeyTable, guard: &Guard) {
        for plan in &mut self.0 {
            let index = table.bucket(plan.bucket);
            plan.next = index.place(guard).revision();
            index.reserve(plan.next, plan.count, guard);
        }
    }

    /// The next cell of a bucket that was counted.
    pub(crate) fn take(&mut self, bucket: u32) -> u64 {
        let at = self.0.binary_search_by_key(&bucket, |plan| plan.bucket).expect("every key was counted");
        self.0[at].next += 1;
        self.0[at].next - 1
    }
}
