//! Sets of subscribers by key. A key is there while it has subscribers, or somebody holds on to it, and no longer.
//!
//! Keys are spread over buckets by their hash; a bucket is a short list that is copied on write. So looking up is wait-free,
//! and everything else lock-free.
//!
//! A key that nobody needs any more is *retired* before it is removed: its set takes no members from then on. Who comes to
//! a retired set removes it and begins anew, so that one who joins and one who removes the key cannot miss each other.

use ahash::RandomState;
use smallvec::SmallVec;

use super::set::{Member, Set, State};
use super::waiting::Waiters;
use crate::sync::{Arc, CopyOnWrite, Loaded};

/// With ten thousand keys a bucket has ten.
const BUCKETS: usize = if cfg!(any(loom, annals_shuttle)) { 1 } else { 1024 };

pub(crate) struct Keyed<M> {
    hasher: RandomState,
    buckets: Box<[CopyOnWrite<Bucket<M>>]>,
}

/// In no order. One piece of memory for up to twelve keys: each further step of a look-up is a cache miss.
struct Bucket<M> {
    /// The upper halves of the hashes, which the bucket did not use.
    tags: SmallVec<[u32; 12]>,
    topics: SmallVec<[Arc<Topic<M>>; 12]>,
}

/// A key and who subscribed to it. Most keys have room beside the set: to compare one is no cache miss more.
pub(crate) struct Topic<M> {
    /// The bytes of a `str`.
    key: SmallVec<[u8; 24]>,
    pub(crate) set: Set<M>,
    /// Those who wait for the next one, without being members.
    pub(crate) waiters: Waiters,
}

impl<M> Topic<M> {
    pub(crate) fn key(&self) -> &str {
        std::str::from_utf8(&self.key).expect("put there by `add`")
    }
}

impl<M> Topic<M> {
    fn is(&self, key: &str) -> bool {
        self.key.as_slice() == key.as_bytes()
    }
}

impl<M> Bucket<M> {
    #[inline]
    fn find(&self, tag: u32, key: &str) -> Option<&Arc<Topic<M>>> {
        let same = self.tags.iter().zip(&self.topics).filter(|(other, _)| **other == tag);
        same.map(|(_, topic)| topic).find(|topic| topic.is(key))
    }

    /// Another one with room for a topic more.
    fn copy(old: Option<&Self>) -> Self {
        let mut copy = Self { tags: SmallVec::new(), topics: SmallVec::new() };
        if let Some(old) = old {
            copy.tags.extend_from_slice(&old.tags);
            copy.topics.extend(old.topics.iter().cloned());
        }
        copy
    }
}

impl<M: Member> Keyed<M> {
    pub(crate) fn new() -> Self {
        Self { hasher: hasher(), buckets: (0..BUCKETS).map(|_| CopyOnWrite::new()).collect() }
    }

    /// The key's bucket, and its tag there.
    #[inline]
    fn bucket(&self, key: &str) -> (u32, &CopyOnWrite<Bucket<M>>) {
        let hash = self.hasher.hash_one(key);
        let place = usize::try_from(hash % BUCKETS as u64).unwrap_or(0);
        ((hash >> 32) as u32, &self.buckets[place])
    }

    /// The topic of a key, when there is one. Wait-free.
    #[inline]
    pub(crate) fn with<R>(&self, key: &str, use_it: impl FnOnce(&Arc<Topic<M>>) -> R) -> Option<R> {
        let (tag, bucket) = self.bucket(key);
        let loaded = bucket.load();
        loaded.get()?.find(tag, key).map(use_it)
    }

    /// The subscribers of a key. Wait-free. In two words, which are returned in registers: an `Option` of them costs 10 ns.
    #[inline]
    pub(crate) fn members(&self, key: &str) -> Loaded<State<M>> {
        let (tag, bucket) = self.bucket(key);
        let loaded = bucket.load();
        match loaded.get().and_then(|bucket| bucket.find(tag, key)) {
            Some(topic) => topic.set.load(),
            None => Loaded::none(),
        }
    }

    /// The topic of a key, after `join` took part in its set: adding a member, or holding on. `join` is asked again, about
    /// another topic, when it is told that the set is retired (it returns false).
    pub(crate) fn join(&self, key: &str, mut join: impl FnMut(&Topic<M>) -> bool) -> Arc<Topic<M>> {
        loop {
            let topic = match self.with(key, Arc::clone) {
                Some(topic) => topic,
                None => self.add(key),
            };
            if join(&topic) {
                return topic;
            }
            self.remove(&topic);
        }
    }

    fn add(&self, key: &str) -> Arc<Topic<M>> {
        let (tag, bucket) = self.bucket(key);
        let made = Arc::new(Topic { key: key.as_bytes().into(), set: Set::new(), waiters: Waiters::new() });
        let mut there = made.clone();
        bucket.change(|old| {
            if let Some(found) = old.and_then(|old| old.find(tag, key)) {
                there = found.clone();
                return None;
            }
            there = made.clone();
            let mut all = Bucket::copy(old);
            all.tags.push(tag);
            all.topics.push(made.clone());
            Some(Some(all))
        });
        there
    }

    /// Removes a retired topic, unless that was done. Another topic of the same key stays.
    pub(crate) fn remove(&self, topic: &Arc<Topic<M>>) {
        let (_, bucket) = self.bucket(topic.key());
        bucket.change(|old| {
            let at = old?.topics.iter().position(|other| Arc::ptr_eq(other, topic))?;
            let mut all = Bucket::copy(old);
            all.tags.swap_remove(at);
            all.topics.swap_remove(at);
            Some((!all.topics.is_empty()).then_some(all))
        });
    }

    /// All topics, in no order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<Topic<M>>)) {
        for bucket in &self.buckets {
            let loaded = bucket.load();
            loaded.get().into_iter().flat_map(|bucket| &bucket.topics).for_each(&mut visit);
        }
    }
}

#[cfg(not(any(loom, annals_shuttle)))]
fn hasher() -> RandomState {
    RandomState::new()
}

/// Models must do the same every time.
#[cfg(any(loom, annals_shuttle))]
fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}
