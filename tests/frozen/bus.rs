//! Threads that stand still on a bus: in the middle of a publish, a subscription, its end. Two others must, within a second,
//! publish to the same key through a handle and by name, subscribe, unsubscribe one that was there before, close one that
//! came after the freeze, make and remove a key of their own; and find that every value of theirs is delivered, once.
//!
//! What may wait for a frozen thread is left out: to close a subscription whose handler it may be about to call. The victims
//! are [warmed](crate::delivery::warmed) up with another bus.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Bus, BusSubscription, Key, Published};

use crate::operations::silent;
use crate::others::ensure;
use crate::scene::{Operation, Other, Scene, Stage, Victim};
use crate::sweep::Case;

const KEY: &str = "key";
/// Values that each of the two publishes in each way.
const VALUES: u64 = 20;

thread_local! {
    /// Calls of the handler that is always there, by the thread they were made on.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// What a victim's publish came to.
static DELIVERED: AtomicU64 = AtomicU64::new(u64::MAX);

fn told(published: &Published) {
    DELIVERED.store(published.delivered() as u64, Ordering::Relaxed);
}

/// The bus of a scene: one subscriber stays, another one is there until one of the two ends it.
struct Field {
    bus: Bus<u64>,
    key: Key<u64>,
    elder: Option<BusSubscription<u64>>,
}

impl Field {
    fn new() -> Self {
        let bus = Bus::new();
        // Left to the process.
        std::mem::forget(bus.subscribe(KEY, |_: &u64| CALLS.set(CALLS.get() + 1)));
        let elder = bus.subscribe(KEY, |_: &u64| ());
        Self { key: bus.key(KEY), elder: Some(elder), bus }
    }

    fn other(&self, own: &'static Own, elder: Option<BusSubscription<u64>>) -> Other {
        let mut work = Work { bus: self.bus.clone(), key: self.key.clone(), own, elder };
        Box::new(move |stage| match stage {
            Stage::Work => work.work(),
            _ => work.come_and_go("another key").map(|()| 0),
        })
    }
}

/// What one of the two has for itself: a key, and a count of calls of its handler there and elsewhere.
struct Own {
    key: &'static str,
    got: AtomicU64,
}

static OWN: [Own; 2] =
    [Own { key: "first's own", got: AtomicU64::new(0) }, Own { key: "second's own", got: AtomicU64::new(0) }];

struct Work {
    bus: Bus<u64>,
    key: Key<u64>,
    own: &'static Own,
    elder: Option<BusSubscription<u64>>,
}

impl Work {
    fn work(&mut self) -> Result<u64, String> {
        self.publish(|work, value| work.key.publish(value))?;
        self.publish(|work, value| work.bus.publish(KEY, value))?;
        drop(self.elder.take());
        self.come_and_go(KEY)?;
        self.come_and_go(self.own.key)?;
        self.publish(|work, value| work.key.publish(value))?;
        Ok(0)
    }

    /// Each value is delivered here and now, to the subscriber that stays, and once.
    fn publish(&self, publish: impl Fn(&Self, u64) -> Published) -> Result<(), String> {
        for value in 0..VALUES {
            let before = CALLS.get();
            let published = publish(self, value);
            let (calls, delivered) = (CALLS.get() - before, published.delivered());
            ensure(calls == 1, || format!("called {calls} times for one value"))?;
            ensure(delivered >= 1 && published.failures().is_empty(), || format!("{published:?}"))?;
        }
        Ok(())
    }

    /// Subscribes to a key, gets what is published, closes, and gets nothing any more.
    fn come_and_go(&self, key: &str) -> Result<(), String> {
        let got = &self.own.got;
        let before = got.load(Ordering::Relaxed);
        let subscription = self.bus.subscribe(key, |_: &u64| _ = got.fetch_add(1, Ordering::Relaxed));
        self.bus.publish(key, 1);
        ensure(got.load(Ordering::Relaxed) > before, || format!("subscribed to {key:?}, and got nothing"))?;
        subscription.close();
        let after = got.load(Ordering::Relaxed);
        self.bus.publish(key, 2);
        ensure(got.load(Ordering::Relaxed) == after, || format!("called after the close, {key:?}"))
    }
}

/// Makes a victim's operation, on its thread.
type Make = fn(Bus<u64>) -> Operation;

/// `delivers` is how many handlers the victim's publish calls at least and at most, if it is one.
fn case(name: &str, delivers: Option<(u64, u64)>, make: Make) -> Case {
    Case::new(name, move || {
        let mut field = Field::new();
        let elder = field.elder.take();
        let others = [field.other(&OWN[0], None), field.other(&OWN[1], elder)];
        let prepare = Box::new(move || {
            drop(Bus::<u8>::new().subscribe("warm", |_: &u8| ()));
            make(field.bus)
        });
        let check = Box::new(move |_| {
            let delivered = DELIVERED.load(Ordering::Relaxed);
            let right = delivers.is_none_or(|(least, most)| (least..=most).contains(&delivered));
            ensure(right, || format!("delivered to {delivered}"))
        });
        Scene { victims: vec![Victim { prepare, check }], others }
    })
}

/// Leaves what it was made of to the process: to drop that is another operation.
fn publish_through(key: Key<u64>) -> Operation {
    silent(move || {
        told(&key.publish(7));
        std::mem::forget(key);
    })
}

fn publish_to(bus: Bus<u64>, key: &'static str) -> Operation {
    silent(move || {
        told(&bus.publish(key, 7));
        std::mem::forget(bus);
    })
}

fn subscribe_to(bus: Bus<u64>, key: &'static str) -> Operation {
    silent(move || {
        std::mem::forget(bus.subscribe(key, |_: &u64| ()));
        std::mem::forget(bus);
    })
}

/// Subscribes, and does something with the subscription.
fn subscribed(bus: Bus<u64>, key: &'static str, work: fn(BusSubscription<u64>)) -> Operation {
    let subscription = bus.subscribe(key, |_: &u64| ());
    silent(move || work(subscription))
}

fn close(subscription: BusSubscription<u64>) {
    subscription.close();
    std::mem::forget(subscription);
}

/// A handler that publishes: the thread delivers that after the value at hand.
fn publish_within(bus: Bus<u64>) -> Operation {
    let inner = bus.clone();
    std::mem::forget(bus.subscribe("outer", move |value: &u64| _ = inner.publish(KEY, *value)));
    publish_to(bus, "outer")
}

/// The one that stays, and the elder if it was still there.
const SOME: Option<(u64, u64)> = Some((1, 2));

pub fn all() -> Vec<Case> {
    vec![
        case("publish through a handle", SOME, |bus| publish_through(bus.key(KEY))),
        case("publish by name", SOME, |bus| publish_to(bus, KEY)),
        case("publish to a key that nobody has", Some((0, 0)), |bus| publish_to(bus, "nobody's")),
        case("publish inside a handler", Some((1, 1)), publish_within),
        case("a subscription to a key", None, |bus| subscribe_to(bus, KEY)),
        case("a subscription to a new key", None, |bus| subscribe_to(bus, "victim's own")),
        case("a subscription to a key is dropped", None, |bus| subscribed(bus, KEY, drop)),
        case("the last subscription to a key is dropped", None, |bus| subscribed(bus, "victim's own", drop)),
        case("a subscription to a key is closed", None, |bus| subscribed(bus, KEY, close)),
        case("the last subscription to a key is closed", None, |bus| subscribed(bus, "victim's own", close)),
        case("a handle to a key is made", None, |bus| silent(move || std::mem::forget((bus.key(KEY), bus)))),
        case("a handle to a new key is made", None, |bus| {
            silent(move || std::mem::forget((bus.key("victim's own"), bus)))
        }),
        case("a handle to a key is dropped", None, |bus| {
            let key = bus.key("victim's own");
            silent(move || drop(key))
        }),
    ]
}
