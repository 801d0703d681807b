//! A keyed bus: values published to a key go to the subscribers of that key, on the thread that publishes.
//!
//! Each key has a copy-on-write [`set`](super::set) of subscribers. A publish loads it once, when its delivery begins, and
//! calls who is in it, in subscription order (law L9): no lock, and no write to memory that publishers share. So publishers
//! do not hold each other up, and handlers may do to the bus what they like.
//!
//! - *Later* (L12): a publish from within a handler, of this bus, another bus or a log, goes to the thread's
//!   [`turn`] and is delivered after the one at hand.
//! - *Closed* (L14): whoever unsubscribes without closing still gets what is being delivered. One that was closed must not be
//!   called any more, not even by deliveries that have it in their set. To look at each subscriber's door before each call
//!   would cost a cache miss each. So closing counts, after the subscriber left the set; a delivery looks at the count before
//!   it loads the set, and again before each call. As long as it is the same, nobody in the set has finished closing.
//! - *Isolated* (L13): one `catch_unwind` around all calls; after a panic the next one begins behind who panicked.

mod key;
mod member;
mod subscription;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_utils::CachePadded;

pub use key::Key;
pub use subscription::BusSubscription;

use self::member::Member;
use super::door::Door;
use super::keyed::{Keyed, Topic};
use super::outcome::{Outcome, message_of};
use super::set::State;
use crate::model::HandlerError;
use crate::sync::{Arc, AtomicU64, Loaded, Ordering, turn};

/// Values by key, to whoever subscribed to the key. Nothing is kept: who subscribes later gets later values.
///
/// A clone is another handle to the same bus. Any number of threads may publish, subscribe and unsubscribe at once; publishing
/// takes no lock and waits for nobody but the handlers it calls.
///
/// Values need neither be `Clone` nor `Send`: handlers get a reference, on the thread that publishes.
///
/// ```
/// use annals::Bus;
///
/// let bus = Bus::new();
/// let subscription = bus.subscribe("price", |cents: &u64| println!("now {cents}"));
/// assert_eq!(bus.publish("price", 1_250).delivered(), 1);
/// drop(subscription);
/// assert_eq!(bus.key_count(), 0);
/// ```
pub struct Bus<V: 'static>(Arc<Core<V>>);

/// What all handles to a bus share.
struct Core<V: 'static> {
    keyed: Keyed<Member<V>>,
    numbers: AtomicU64,
    failed: AtomicU64,
    /// How many subscriptions were closed. On a line of its own: read before each call of a handler.
    closings: CachePadded<AtomicU64>,
}

/// What became of a value that was published.
///
/// Two words, so that it is returned in registers: a third field cost 12 ns.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// How many handlers were called, or [`DEFERRED`].
    delivered: u64,
    failures: Option<Arc<Vec<HandlerError>>>,
}

const DEFERRED: u64 = u64::MAX;

impl<V: 'static> Bus<V> {
    /// A bus without subscribers.
    pub fn new() -> Self {
        Self(Arc::new(Core {
            keyed: Keyed::new(),
            numbers: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            closings: CachePadded::new(AtomicU64::new(0)),
        }))
    }

    /// Gives a value to everybody who is subscribed to the key as the delivery begins, in subscription order, on this thread.
    /// Without subscribers nothing happens.
    ///
    /// From within a handler the value is delivered after what is being delivered on this thread, before the outermost call
    /// returns; [`Published::is_deferred`] says so. Concurrent publishers call handlers concurrently.
    ///
    /// Wait-free but for the handlers. A handler's panic or error reaches the result, and nobody else. To publish to one key
    /// often, take its [`Key`].
    pub fn publish(&self, key: &str, value: V) -> Published {
        let Some(turn) = turn::begin() else {
            Core::defer(&self.0, key, value);
            return Published::DEFERRED;
        };
        let published = self.0.deliver_to(key, &value);
        drop(turn);
        published
    }

    /// Calls `handler` with every value that is published to the key from now on, until the subscription ends: by
    /// [`close`](BusSubscription::close), by [`unsubscribe`](BusSubscription::unsubscribe), or when it is dropped.
    ///
    /// A handler returns nothing, or a `Result` whose error goes to the publisher. It may do anything with the bus: publish,
    /// subscribe, unsubscribe, drop its own subscription. A handler that owns a handle to the bus keeps it until its
    /// subscription ends.
    ///
    /// Lock-free. Takes time and memory in proportion to the subscribers of the key, whose set is copied.
    pub fn subscribe<R: Outcome>(
        &self,
        key: &str,
        handler: impl Fn(&V) -> R + Send + Sync + 'static,
    ) -> BusSubscription<V> {
        // Relaxed: only the number matters. Who subscribes after another has returned has a higher one.
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let (door, ticket) = Door::new();
        let member = Member::new(number, handler, ticket);
        let topic = self.0.keyed.join(key, |topic| topic.set.enter(&member).is_some());
        BusSubscription::new(self.0.clone(), topic, door, number)
    }

    /// A handle to a key, which publishes without looking the key up. The key is there while it has handles, but counts only
    /// while it has subscribers. Lock-free; takes time in proportion to the subscribers of the key.
    pub fn key(&self, key: &str) -> Key<V> {
        let topic = self.0.keyed.join(key, |topic| topic.set.hold());
        Key::new(self.0.clone(), topic)
    }

    /// How many keys have subscribers. Looks at all keys, each as it is when its turn comes; wait-free.
    pub fn key_count(&self) -> usize {
        let mut count = 0;
        self.0.keyed.for_each(|topic| count += usize::from(topic.set.load().get().is_some_and(State::has_members)));
        count
    }

    /// How many subscribers a key has. Wait-free.
    pub fn subscriber_count(&self, key: &str) -> usize {
        self.0.keyed.with(key, |topic| topic.set.load().get().map_or(0, |state| state.members.len())).unwrap_or(0)
    }

    /// How many calls of handlers failed, by a panic or an error, deferred deliveries included.
    pub fn failed_count(&self) -> u64 {
        // Relaxed: a counter.
        self.0.failed.load(Ordering::Relaxed)
    }
}

impl<V: 'static> Core<V> {
    /// To be called before the set is loaded.
    #[inline]
    fn closings(&self) -> u64 {
        // Acquire: pairs with the count in `closed`. Who is counted has left the set that is loaded next.
        self.closings.load(Ordering::Acquire)
    }

    #[inline]
    fn deliver_to(&self, key: &str, value: &V) -> Published {
        let closings = self.closings();
        self.deliver(&self.keyed.members(key), closings, value)
    }

    /// Delivers a value to a set.
    #[allow(clippy::inline_always, reason = "apart, a publish takes a tenth longer")]
    #[inline(always)]
    fn deliver(&self, loaded: &Loaded<State<Member<V>>>, closings: u64, value: &V) -> Published {
        let Some(state) = loaded.get() else { return Published::NONE };
        Delivery { core: self, members: &state.members, closings, value }.run()
    }

    /// Delivers later. What fails then is counted, and told to nobody; neither does a value that panics when it is dropped
    /// stop those that wait behind. By name: until then a handle to the key may be gone, and with it the topic.
    #[cold]
    fn defer(this: &Arc<Self>, key: &str, value: V) {
        let (core, key) = (this.clone(), Box::<str>::from(key));
        turn::defer(Box::new(move || {
            let deliver = AssertUnwindSafe(move || {
                let published = core.deliver_to(&key, &value);
                drop((published, value));
            });
            if let Err(payload) = catch_unwind(deliver) {
                drop(message_of(payload));
            }
        }));
    }

    /// A subscriber has left its set for good and is not to be called, not even by those who loaded the set before.
    fn closed(&self) {
        // Release: pairs with the load in `closings`: who sees the count before it loads the set, loads it without the
        // subscriber.
        self.closings.fetch_add(1, Ordering::Release);
    }

    /// A member, or a handle, of this topic has left it without any.
    fn remove(&self, topic: &Arc<Topic<Member<V>>>) {
        self.keyed.remove(topic);
    }
}

/// One value on its way to the members of one set. Copied into registers: a handler may change anything that is in memory.
struct Delivery<'d, V: 'static> {
    core: &'d Core<V>,
    members: &'d [Member<V>],
    /// The count of closings when the set was loaded.
    closings: u64,
    value: &'d V,
}

/// How far a delivery has come.
#[derive(Default)]
struct Progress {
    /// Who is called next.
    next: usize,
    skipped: usize,
    failures: Option<Arc<Vec<HandlerError>>>,
}

impl<V: 'static> Delivery<'_, V> {
    #[allow(clippy::inline_always, reason = "apart, a publish takes a tenth longer")]
    #[inline(always)]
    fn run(self) -> Published {
        let mut progress = Progress::default();
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.call_rest(&mut progress))) {
            self.fail(&mut progress, HandlerError::Panicked(message_of(payload)));
        }
        Published { delivered: (self.members.len() - progress.skipped) as u64, failures: progress.failures }
    }

    #[allow(clippy::inline_always, reason = "apart, a publish takes a tenth longer")]
    #[inline(always)]
    fn call_rest(&self, progress: &mut Progress) {
        let Self { core, members, closings, value } = *self;
        let from = progress.next;
        for (at, member) in members.get(from..).unwrap_or_default().iter().enumerate() {
            // Stored, not counted up: that would have each call wait for the one before.
            progress.next = from + at + 1;
            // Relaxed: who comes after a close sees its count, and the door; beside the close either will do.
            if core.closings.load(Ordering::Relaxed) != closings && member.is_closed() {
                progress.skipped += 1;
            } else if let Err(error) = member.call(value) {
                self.fail(progress, HandlerError::Failed(error));
            }
        }
    }

    #[cold]
    fn fail(&self, progress: &mut Progress, failure: HandlerError) {
        // Relaxed: a counter.
        self.core.failed.fetch_add(1, Ordering::Relaxed);
        let failures = progress.failures.get_or_insert_default();
        Arc::get_mut(failures).expect("nobody else has it yet").push(failure);
    }
}

impl Published {
    const NONE: Self = Self { delivered: 0, failures: None };
    const DEFERRED: Self = Self { delivered: DEFERRED, failures: None };

    /// How many handlers were called, those that failed included. Zero when the delivery is deferred.
    pub fn delivered(&self) -> usize {
        if self.is_deferred() { 0 } else { usize::try_from(self.delivered).unwrap_or(usize::MAX) }
    }

    /// Whether this was published from within a handler: it is delivered after what is being delivered, and reports to
    /// nobody; failures are counted by [`Bus::failed_count`].
    pub fn is_deferred(&self) -> bool {
        self.delivered == DEFERRED
    }

    /// What went wrong in handlers, in the order in which they were called: mostly nothing, which takes no memory.
    pub fn failures(&self) -> &[HandlerError] {
        self.failures.as_ref().map_or(&[], |failures| failures.as_slice())
    }
}

impl<V: 'static> Clone for Bus<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V: 'static> Default for Bus<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: 'static> fmt::Debug for Bus<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("keys", &self.key_count()).field("failed", &self.failed_count()).finish()
    }
}
