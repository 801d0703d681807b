//! Sets of subscribers by key. A key is there while it has subscribers, or somebody holds on to it, and no longer.
//!
//! Keys are spread over buckets by their hash; a bucket is a sorted list that is copied on write. So looking up is wait-free,
//! and everything else lock-free.
//!
//! A key that nobody needs any more is *retired* before it is removed: its set takes no members from then on. Who comes to
//! a retired set removes it and begins anew, so that one who joins and one who removes the key cannot miss each other.

use ahash::RandomState;

use super::set::{Member, Set, State};
use crate::sync::{Arc, CopyOnWrite, Loaded};

/// With ten thousand keys a bucket has ten.
const BUCKETS: usize = if cfg!(any(loom, annals_shuttle)) { 1 } else { 1024 };

pub(crate) struct Keyed<M> {
    hasher: RandomState,
    buckets: Box<[CopyOnWrite<Bucket<M>>]>,
}

/// Sorted by hash.
struct Bucket<M>(Vec<(u64, Arc<Topic<M>>)>);

/// A key and who subscribed to it.
pub(crate) struct Topic<M> {
    key: Box<str>,
    pub(crate) set: Set<M>,
}

impl<M> Topic<M> {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

impl<M> Bucket<M> {
    fn find(&self, hash: u64, key: &str) -> Option<&Arc<Topic<M>>> {
        let from = self.0.partition_point(|(other, _)| *other < hash);
        let same = self.0[from..].iter().take_while(|(other, _)| *other == hash);
        same.map(|(_, topic)| topic).find(|topic| &*topic.key == key)
    }
}

impl<M: Member> Keyed<M> {
    pub(crate) fn new() -> Self {
        Self { hasher: hasher(), buckets: (0..BUCKETS).map(|_| CopyOnWrite::new()).collect() }
    }

    fn bucket(&self, key: &str) -> (u64, &CopyOnWrite<Bucket<M>>) {
        let hash = self.hasher.hash_one(key);
        let place = usize::try_from(hash % BUCKETS as u64).unwrap_or(0);
        (hash, &self.buckets[place])
    }

    /// The topic of a key, when there is one. Wait-free.
    #[inline]
    pub(crate) fn with<R>(&self, key: &str, use_it: impl FnOnce(&Arc<Topic<M>>) -> R) -> Option<R> {
        let (hash, bucket) = self.bucket(key);
        let loaded = bucket.load();
        loaded.get()?.find(hash, key).map(use_it)
    }

    /// The subscribers of a key. Wait-free. In two words, which are returned in registers: an `Option` of them costs 10 ns.
    #[inline]
    pub(crate) fn members(&self, key: &str) -> Loaded<State<M>> {
        let (hash, bucket) = self.bucket(key);
        let loaded = bucket.load();
        match loaded.get().and_then(|bucket| bucket.find(hash, key)) {
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
        let (hash, bucket) = self.bucket(key);
        let made = Arc::new(Topic { key: key.into(), set: Set::new() });
        let mut there = made.clone();
        bucket.change(|old| {
            if let Some(found) = old.and_then(|old| old.find(hash, key)) {
                there = found.clone();
                return None;
            }
            there = made.clone();
            let mut all: Vec<_> = old.map(|old| old.0.clone()).unwrap_or_default();
            all.insert(all.partition_point(|(other, _)| *other < hash), (hash, made.clone()));
            Some(Some(Bucket(all)))
        });
        there
    }

    /// Removes a retired topic, unless that was done. Another topic of the same key stays.
    pub(crate) fn remove(&self, topic: &Arc<Topic<M>>) {
        let (_, bucket) = self.bucket(&topic.key);
        bucket.change(|old| {
            let old = &old?.0;
            let at = old.iter().position(|(_, other)| Arc::ptr_eq(other, topic))?;
            let mut all = old.clone();
            all.remove(at);
            Some((!all.is_empty()).then_some(Bucket(all)))
        });
    }

    /// All topics, in no order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<Topic<M>>)) {
        for bucket in &self.buckets {
            let loaded = bucket.load();
            loaded.get().into_iter().flat_map(|bucket| &bucket.0).for_each(|(_, topic)| visit(topic));
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
