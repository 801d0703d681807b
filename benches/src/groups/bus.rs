//! Values published to subscribers.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use annals::{Bus, BusSubscription, Key};
use signals2::{Connect1, Emit1, Signal};

use super::contention::together;
use crate::load::{ids, scattered};
use crate::measure::{Group, MakeGroup, Sample, time};

/// Calls of handlers of one run.
const CALLS: u64 = 1_000_000;
const KEYS: usize = 10_000;

pub const ALL: [MakeGroup; 9] =
    [handle_1, handle_10, handle_100, handle_1_000, handle_1_by_2, keys_1, keys_by_2, names_1, names_by_2];

type Handler = Arc<dyn Fn(&u64) + Send + Sync>;

/// A handler with a cell of its own, on a line of its own, as handlers on different threads would have; it stores what it
/// gets. A store and no addition: the same for everybody, and little.
fn handler() -> impl Fn(&u64) + Send + Sync + 'static {
    let cell = Arc::new(AtomicU64::new(0));
    move |value| cell.store(*value, Ordering::Relaxed)
}

/// Nothing is written: two publishers that call one handler do not meet in it.
fn silent() -> impl Fn(&u64) + Send + Sync + 'static {
    |value| {
        black_box(value);
    }
}

/// A bus of one key with so many subscribers.
struct Subscribed {
    key: Key<u64>,
    _subscriptions: Vec<BusSubscription<u64>>,
}

fn subscribed<H: Fn(&u64) + Send + Sync + 'static>(count: usize, handler: fn() -> H) -> Subscribed {
    let bus = Bus::new();
    let subscriptions = (0..count).map(|_| bus.subscribe("key", handler())).collect();
    Subscribed { key: bus.key("key"), _subscriptions: subscriptions }
}

fn handlers<H: Fn(&u64) + Send + Sync + 'static>(count: usize, handler: fn() -> H) -> Vec<Handler> {
    (0..count).map(|_| Arc::new(handler()) as Handler).collect()
}

/// Of `signals2`, the published crate that comes closest: slots called on the emitting thread, in order, from a snapshot of
/// them. It passes values, not references.
fn signal<H: Fn(&u64) + Send + Sync + 'static>(count: usize, handler: fn() -> H) -> Signal<(u64,)> {
    let signal = Signal::new();
    for _ in 0..count {
        let handler = handler();
        signal.connect(move |value: u64| handler(&value));
    }
    signal
}

/// Runs `publish` on what was made once: subscribing is not what is measured.
fn on<S: 'static>(made: S, publish: impl Fn(&S, u64) + 'static) -> impl FnMut(u64) -> Sample {
    move |ops| time(|| (0..ops).for_each(|n| publish(&made, n)))
}

fn call_all(handlers: &[Handler], value: u64) {
    for handler in handlers {
        handler(&value);
    }
}

fn handle(title: &'static str, count: usize) -> Group {
    let publish = |subscribed: &Subscribed, n| {
        black_box(subscribed.key.publish(n));
    };
    Group::new(title, CALLS / count as u64)
        .ours("annals, key", on(subscribed(count, handler), publish))
        .rival(
            "RwLock<Vec<Arc<dyn Fn>>>",
            on(RwLock::new(handlers(count, handler)), |all, n| {
                call_all(&all.read().expect("nobody panics"), n);
            }),
        )
        .rival(
            "parking_lot::RwLock<Vec<Arc<dyn Fn>>>",
            on(parking_lot::RwLock::new(handlers(count, handler)), |all, n| {
                call_all(&all.read(), n);
            }),
        )
        .rival(
            "RwLock<Arc<Vec>>, called unlocked",
            on(RwLock::new(Arc::new(handlers(count, handler))), |all, n| {
                let all = all.read().expect("nobody panics").clone();
                call_all(&all, n);
            }),
        )
        .rival(
            "RwLock<Vec>, cloned, called unlocked",
            on(RwLock::new(handlers(count, handler)), |all, n| {
                let all = all.read().expect("nobody panics").clone();
                call_all(&all, n);
            }),
        )
        .rival("signals2", on(signal(count, handler), |signal, n| _ = signal.emit(n)))
}

pub fn handle_1() -> Group {
    handle("publish by handle, 1 subscriber", 1)
}

pub fn handle_10() -> Group {
    handle("publish by handle, 10 subscribers", 10)
}

pub fn handle_100() -> Group {
    handle("publish by handle, 100 subscribers", 100)
}

pub fn handle_1_000() -> Group {
    handle("publish by handle, 1,000 subscribers", 1_000)
}

/// Two threads publish to what was made once; an operation is a publish of either.
fn both<S: Sync + 'static>(made: S, publish: impl Fn(&S, u64) + Sync + 'static) -> impl FnMut(u64) -> Sample {
    move |ops| together(vec![0, ops / 2], |from| (from..from + ops / 2).for_each(|n| publish(&made, n))).0
}

pub fn handle_1_by_2() -> Group {
    Group::new("publish by handle, 1 subscriber, 2 threads", CALLS)
        .by_wall()
        .ours(
            "annals, key",
            both(subscribed(1, silent), |subscribed, n| {
                black_box(subscribed.key.publish(n));
            }),
        )
        .rival(
            "annals, 1 thread",
            on(subscribed(1, silent), |subscribed, n| {
                black_box(subscribed.key.publish(n));
            }),
        )
        .rival(
            "RwLock<Vec<Arc<dyn Fn>>>",
            both(RwLock::new(handlers(1, silent)), |all, n| {
                call_all(&all.read().expect("nobody panics"), n);
            }),
        )
        .rival(
            "parking_lot::RwLock<Vec<Arc<dyn Fn>>>",
            both(parking_lot::RwLock::new(handlers(1, silent)), |all, n| {
                call_all(&all.read(), n);
            }),
        )
        .rival(
            "Mutex<Vec<Arc<dyn Fn>>>",
            both(Mutex::new(handlers(1, silent)), |all, n| {
                call_all(&all.lock().expect("nobody panics"), n);
            }),
        )
        .rival(
            "RwLock<Arc<Vec>>, called unlocked",
            both(RwLock::new(Arc::new(handlers(1, silent))), |all, n| {
                let all = all.read().expect("nobody panics").clone();
                call_all(&all, n);
            }),
        )
        .rival("signals2", both(signal(1, silent), |signal, n| _ = signal.emit(n)))
}

/// Ten thousand keys with one subscriber each.
struct Keyed {
    bus: Bus<u64>,
    keys: Vec<Key<u64>>,
    names: Vec<String>,
    _subscriptions: Vec<BusSubscription<u64>>,
}

fn keyed() -> Keyed {
    let (bus, names) = (Bus::new(), ids(KEYS));
    let subscriptions = names.iter().map(|name| bus.subscribe(name, silent())).collect();
    let keys = names.iter().map(|name| bus.key(name)).collect();
    Keyed { bus, keys, names, _subscriptions: subscriptions }
}

type Map = HashMap<String, Vec<Handler>, ahash::RandomState>;

fn map() -> (Map, Vec<String>) {
    let names = ids(KEYS);
    (names.iter().map(|name| (name.clone(), handlers(1, silent))).collect(), names)
}

type Boxed = Box<dyn Fn(&u64) + Send + Sync>;

fn boxed() -> (HashMap<String, Vec<Boxed>>, Vec<String>) {
    let names = ids(KEYS);
    let boxed = || vec![Box::new(silent()) as Boxed];
    (names.iter().map(|name| (name.clone(), boxed())).collect(), names)
}

/// `run` is [`on`] or [`both`].
macro_rules! over_keys {
    ($title:expr, $run:ident, $ours:expr, $name:expr) => {
        Group::new($title, CALLS)
            .ours($name, $run(keyed(), $ours))
            .rival("parking_lot::RwLock<HashMap>", {
                let (map, names) = map();
                $run((parking_lot::RwLock::new(map), names), |(map, names), n| {
                    call_all(&map.read()[&names[scattered(n, KEYS)]], n);
                })
            })
            .rival("RwLock<HashMap>", {
                let (map, names) = map();
                $run((RwLock::new(map), names), |(map, names), n| {
                    call_all(&map.read().expect("nobody panics")[&names[scattered(n, KEYS)]], n);
                })
            })
            .rival("Mutex<HashMap<String, Vec<Box<dyn Fn>>>>, std's hasher", {
                let (map, names) = boxed();
                $run((Mutex::new(map), names), |(map, names), n| {
                    for handler in &map.lock().expect("nobody panics")[&names[scattered(n, KEYS)]] {
                        handler(&n);
                    }
                })
            })
            .rival("DashMap<String, Vec>", {
                let (map, names) = map();
                let sharded: dashmap::DashMap<_, _, ahash::RandomState> = map.into_iter().collect();
                $run((sharded, names), |(map, names), n| {
                    call_all(&map.get(&names[scattered(n, KEYS)]).expect("it is there"), n);
                })
            })
    };
}

fn by_handle(keyed: &Keyed, n: u64) {
    black_box(keyed.keys[scattered(n, KEYS)].publish(n));
}

fn by_name(keyed: &Keyed, n: u64) {
    black_box(keyed.bus.publish(&keyed.names[scattered(n, KEYS)], n));
}

pub fn keys_1() -> Group {
    over_keys!("publish by handle, 10,000 keys", on, by_handle, "annals, key")
}

pub fn keys_by_2() -> Group {
    over_keys!("publish by handle, 10,000 keys, 2 threads", both, by_handle, "annals, key").by_wall()
}

pub fn names_1() -> Group {
    over_keys!("publish by name, 10,000 keys", on, by_name, "annals, name")
}

pub fn names_by_2() -> Group {
    over_keys!("publish by name, 10,000 keys, 2 threads", both, by_name, "annals, name").by_wall()
}
