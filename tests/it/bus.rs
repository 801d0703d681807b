//! The bus: its rules one by one, and any program on any threads against a model (L9, L12, L13, L14).

use std::collections::{BTreeSet, HashMap};
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use annals::{Bus, BusSubscription, HandlerError, Key};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};

/// What handlers were called with, in order.
type Seen<T> = Arc<Mutex<Vec<T>>>;

fn seen<T>() -> Seen<T> {
    Arc::default()
}

fn taken<T>(seen: &Seen<T>) -> Vec<T> {
    std::mem::take(&mut *seen.lock().unwrap())
}

/// Subscribes one who notes its name and the value.
fn noting(bus: &Bus<u32>, key: &str, name: char, seen: &Seen<(char, u32)>) -> BusSubscription<u32> {
    let seen = seen.clone();
    bus.subscribe(key, move |value| seen.lock().unwrap().push((name, *value)))
}

#[test]
fn a_publish_calls_the_subscribers_of_its_key_in_subscription_order() {
    let (bus, seen) = (Bus::new(), seen());
    let _subscriptions = ['a', 'b', 'c'].map(|name| noting(&bus, "k", name, &seen));
    let _other = noting(&bus, "other", 'o', &seen);
    let published = bus.publish("k", 1);
    assert_eq!((published.delivered(), published.failures().len(), published.is_deferred()), (3, 0, false));
    assert_eq!(taken(&seen), [('a', 1), ('b', 1), ('c', 1)]);
    assert_eq!(bus.clone().publish("other", 2).delivered(), 1);
    assert_eq!(taken(&seen), [('o', 2)]);
}

#[test]
fn nothing_is_kept_and_without_subscribers_nothing_happens() {
    let (bus, seen) = (Bus::new(), seen());
    assert_eq!(bus.publish("k", 1).delivered(), 0);
    assert_eq!(bus.key("k").publish(2).delivered(), 0);
    let _late = noting(&bus, "k", 'l', &seen);
    assert_eq!(taken(&seen), []);
}

#[test]
fn values_need_be_neither_cloned_nor_sent() {
    let bus = Bus::<std::rc::Rc<u32>>::new();
    let _subscription = bus.subscribe("k", |value| assert_eq!(**value, 7));
    assert_eq!(bus.publish("k", std::rc::Rc::new(7)).delivered(), 1);
    fn is_shared<T: Send + Sync>(_: &T) {}
    is_shared(&bus);
}

/// One that an earlier handler unsubscribed, or dropped, still gets the value at hand; one that it closed does not (L9, L14).
#[test]
fn who_is_removed_during_a_delivery_still_gets_it_unless_closed() {
    for (how, gets) in [("dropped", true), ("unsubscribed", true), ("closed", false)] {
        let (bus, seen) = (Bus::<u32>::new(), seen());
        let victim: Arc<OnceLock<Mutex<Option<BusSubscription<u32>>>>> = Arc::default();
        let remove = {
            let victim = victim.clone();
            move |_: &u32| {
                let mut victim = victim.get().unwrap().lock().unwrap();
                match how {
                    "dropped" => *victim = None,
                    "unsubscribed" => victim.as_ref().unwrap().unsubscribe(),
                    _ => victim.as_ref().unwrap().close(),
                }
            }
        };
        let _first = bus.subscribe("k", remove);
        let second = noting(&bus, "k", 'v', &seen);
        let _third = noting(&bus, "k", 'z', &seen);
        victim.set(Mutex::new(Some(second))).unwrap();
        assert_eq!(bus.publish("k", 1).delivered(), if gets { 3 } else { 2 }, "{how}");
        assert_eq!(taken(&seen).contains(&('v', 1)), gets, "{how}");
        assert_eq!((bus.publish("k", 2).delivered(), bus.subscriber_count("k")), (2, 2), "{how}");
        assert_eq!(taken(&seen), [('z', 2)], "{how}");
    }
}

#[test]
fn who_is_added_during_a_delivery_does_not_get_it() {
    let (bus, seen) = (Bus::<u32>::new(), seen());
    let added = Arc::new(Mutex::new(Vec::new()));
    let adding = {
        let (bus, seen, added) = (bus.clone(), seen.clone(), added.clone());
        move |_: &u32| added.lock().unwrap().push(noting(&bus, "k", 'n', &seen))
    };
    let adds = bus.subscribe("k", adding);
    assert_eq!(bus.publish("k", 1).delivered(), 1);
    assert_eq!(taken(&seen), []);
    adds.unsubscribe();
    assert_eq!(bus.publish("k", 2).delivered(), 1);
    assert_eq!(taken(&seen), [('n', 2)]);
}

/// A publish from within a handler is delivered afterwards: everybody sees 1 before 2 before 3 (L12).
#[test]
fn what_a_handler_publishes_comes_after() {
    let (bus, seen) = (Bus::<u32>::new(), seen());
    let (again, key) = (bus.clone(), bus.key("k"));
    let _first = bus.subscribe("k", move |value: &u32| {
        if *value < 3 {
            let nested = if *value == 1 { again.publish("k", 2) } else { key.publish(3) };
            assert!(nested.is_deferred());
            assert_eq!((nested.delivered(), nested.failures().len()), (0, 0));
        }
    });
    let _rest = ['b', 'c'].map(|name| noting(&bus, "k", name, &seen));
    assert_eq!(bus.publish("k", 1).delivered(), 3);
    assert_eq!(taken(&seen), [('b', 1), ('c', 1), ('b', 2), ('c', 2), ('b', 3), ('c', 3)]);
    assert!(!bus.publish("k", 4).is_deferred(), "the turn is over");
}

/// What is deferred goes to who is subscribed when its delivery begins, not when it was published.
#[test]
fn a_deferred_value_goes_to_those_who_are_there_then() {
    let (bus, seen) = (Bus::<u32>::new(), seen());
    let late = Arc::new(Mutex::new(None));
    let handler = {
        let (bus, seen, late) = (bus.clone(), seen.clone(), late.clone());
        move |_: &u32| {
            // The handle is gone, and the key with it, before the value is delivered.
            bus.key("new").publish(2);
            *late.lock().unwrap() = Some(noting(&bus, "new", 'n', &seen));
        }
    };
    let _subscription = bus.subscribe("k", handler);
    bus.publish("k", 1);
    assert_eq!(taken(&seen), [('n', 2)]);
}

/// Handlers of two buses publish to each other a million times, on a small stack (L12).
#[test]
fn a_million_publishes_in_a_chain_need_no_stack() {
    let chain = || {
        let (there, back) = (Bus::<u32>::new(), Bus::<u32>::new());
        let count = Arc::new(AtomicUsize::new(0));
        let forward = |to: Key<u32>, count: Arc<AtomicUsize>| {
            move |value: &u32| {
                count.fetch_add(1, Ordering::Relaxed);
                if *value < 1_000_000 {
                    to.publish(*value + 1);
                }
            }
        };
        let first = there.subscribe("k", forward(back.key("k"), count.clone()));
        let second = back.subscribe("k", forward(there.key("k"), count.clone()));
        there.publish("k", 1);
        drop((first, second));
        count.load(Ordering::Relaxed)
    };
    let thread = thread::Builder::new().stack_size(256 << 10).spawn(chain).unwrap();
    assert_eq!(thread.join().unwrap(), 1_000_000);
}

#[derive(Debug)]
struct Refused;

impl From<Refused> for Box<dyn std::error::Error + Send + Sync> {
    fn from(Refused: Refused) -> Self {
        "refused".into()
    }
}

/// Handlers that panic or fail stop nobody, and the publisher is told, in order (L13).
#[test]
fn handlers_that_fail_cost_the_others_nothing() {
    struct Worse;
    impl Drop for Worse {
        fn drop(&mut self) {
            panic!("once more");
        }
    }
    let (bus, seen) = (Bus::<u32>::new(), seen());
    let _subscriptions = (
        noting(&bus, "k", 'a', &seen),
        bus.subscribe("k", |value: &u32| -> () { panic!("{value} is too much") }),
        noting(&bus, "k", 'b', &seen),
        bus.subscribe("k", |_: &u32| Err::<(), _>(Refused)),
        bus.subscribe("k", |_: &u32| -> () { panic_any(Worse) }),
        noting(&bus, "k", 'c', &seen),
        bus.subscribe("k", |_: &u32| Ok::<(), Refused>(())),
        bus.subscribe("k", |_: &u32| Err::<(), _>("a text")),
        bus.subscribe("k", |_: &u32| -> () { panic!("the last one") }),
    );
    let published = bus.publish("k", 1);
    assert_eq!(published.delivered(), 9);
    assert_eq!(taken(&seen), [('a', 1), ('b', 1), ('c', 1)]);
    let told: Vec<_> = published.failures().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "the handler panicked: 1 is too much",
            "the handler failed: refused",
            "the handler panicked: of no text",
            "the handler failed: a text",
            "the handler panicked: the last one",
        ]
    );
    assert!(matches!(&published.failures()[1], HandlerError::Failed(_)));
    assert_eq!(bus.failed_count(), 5);
    assert!(!bus.publish("other", 1).is_deferred(), "the turn is over");
}

/// A deferred delivery reports to nobody; its failures are counted, and those behind it come all the same.
#[test]
fn a_deferred_delivery_that_fails_is_counted() {
    struct Value(u32);
    impl Drop for Value {
        fn drop(&mut self) {
            assert_ne!(self.0, 2, "a value that panics when it is dropped");
        }
    }
    let (bus, seen) = (Bus::<Value>::new(), seen());
    let (again, noted) = (bus.clone(), seen.clone());
    let _subscription = bus.subscribe("k", move |value: &Value| {
        noted.lock().unwrap().push(value.0);
        match value.0 {
            1 => drop([again.publish("k", Value(2)), again.publish("k", Value(3))]),
            3 => panic!("three"),
            _ => {}
        }
    });
    assert!(bus.publish("k", Value(1)).failures().is_empty());
    assert_eq!(taken(&seen), [1, 2, 3]);
    assert_eq!(bus.failed_count(), 1);
    assert_eq!(bus.publish("k", Value(4)).delivered(), 1);
}

/// Handlers are dropped wherever the last set with them goes, and their panics stay there.
#[test]
fn a_handler_that_panics_when_it_is_dropped_harms_nobody() {
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a handler that panics when it is dropped");
        }
    }
    let (bus, dropped) = (Bus::<u32>::new(), Arc::new(AtomicUsize::new(0)));
    let bombs = || {
        let bomb = Bomb(dropped.clone());
        bus.subscribe("k", move |_: &u32| _ = &bomb)
    };
    let (first, second, third) = (bombs(), bombs(), bombs());
    assert_eq!(bus.publish("k", 1).delivered(), 3);
    drop(first);
    second.close();
    third.unsubscribe();
    assert_eq!((dropped.load(Ordering::Relaxed), bus.key_count()), (3, 0));
}

#[test]
fn unsubscribing_again_does_nothing_to_later_ones() {
    let (bus, seen) = (Bus::new(), seen());
    let first = noting(&bus, "k", 'a', &seen);
    first.unsubscribe();
    let _second = noting(&bus, "k", 'b', &seen);
    first.unsubscribe();
    first.close();
    drop(first);
    assert_eq!((bus.publish("k", 1).delivered(), bus.subscriber_count("k")), (1, 1));
    assert_eq!(taken(&seen), [('b', 1)]);
}

#[test]
fn the_last_one_out_removes_the_key() {
    let (bus, seen) = (Bus::new(), seen());
    let subscriptions: Vec<_> = ["a", "b", "b"].map(|key| noting(&bus, key, '-', &seen)).into();
    assert_eq!((bus.key_count(), bus.subscriber_count("b"), bus.subscriber_count("c")), (2, 2, 0));
    let handle = bus.key("c");
    assert_eq!(bus.key_count(), 2, "a handle is no subscriber");
    drop(subscriptions);
    assert_eq!((bus.key_count(), bus.subscriber_count("b"), handle.subscriber_count()), (0, 0, 0));
}

#[test]
fn a_handle_works_on_after_its_key_was_emptied_and_taken_again() {
    let (bus, seen) = (Bus::new(), seen());
    let first = noting(&bus, "k", 'a', &seen);
    let (key, other) = (bus.key("k"), bus.key("k").clone());
    drop(first);
    assert_eq!(key.publish(1).delivered(), 0);
    for name in ['b', 'c'] {
        let subscription = noting(&bus, "k", name, &seen);
        assert_eq!(
            (key.publish(2).delivered(), other.publish(3).delivered(), bus.publish("k", 4).delivered()),
            (1, 1, 1)
        );
        assert_eq!(taken(&seen), [(name, 2), (name, 3), (name, 4)]);
        drop(subscription);
    }
    assert_eq!((key.name(), bus.key_count()), ("k", 0));
}

/// A subscription, a key and a handler that hold the bus work without any other handle to it.
#[test]
fn everything_holds_the_bus() {
    let (bus, seen) = (Bus::new(), seen());
    let (key, subscription) = (bus.key("k"), noting(&bus, "k", 'a', &seen));
    drop(bus);
    assert_eq!(key.publish(1).delivered(), 1);
    drop(subscription);
    assert_eq!(key.publish(2).delivered(), 0);
    assert_eq!(taken(&seen), [('a', 1)]);
}

/// When `close` has returned, the handler has ended and has been dropped, whoever was in the middle of it (L14).
#[test]
fn close_waits_for_the_handler() {
    let bus = Bus::<u32>::new();
    let (inside, held) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU64::new(0)));
    let owned = Arc::new(());
    let alive: Weak<()> = Arc::downgrade(&owned);
    let handler = {
        let (inside, held) = (inside.clone(), held.clone());
        move |_: &u32| {
            let _owned = &owned;
            inside.wait();
            thread::sleep(Duration::from_millis(30));
            held.store(1, Ordering::Relaxed);
        }
    };
    let subscription = bus.subscribe("k", handler);
    let key = bus.key("k");
    thread::scope(|scope| {
        scope.spawn(|| key.publish(1));
        inside.wait();
        subscription.close();
        assert_eq!(held.load(Ordering::Relaxed), 1, "the handler had ended");
        assert!(alive.upgrade().is_none(), "and was dropped");
        subscription.close();
    });
}

/// A handler closes its own subscription, and drops it: nothing waits.
#[test]
fn a_handler_ends_its_own_subscription() {
    for closes in [true, false] {
        let bus = Bus::<u32>::new();
        let own: Arc<OnceLock<BusSubscription<u32>>> = Arc::default();
        let count = Arc::new(AtomicUsize::new(0));
        let handler = {
            let (own, count) = (own.clone(), count.clone());
            move |_: &u32| {
                count.fetch_add(1, Ordering::Relaxed);
                let own = own.get().unwrap();
                if closes { own.close() } else { own.unsubscribe() }
            }
        };
        own.set(bus.subscribe("k", handler)).unwrap();
        assert_eq!((bus.publish("k", 1).delivered(), bus.publish("k", 2).delivered()), (1, 0));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}

/// Two buses whose handlers, on two threads, publish to each other and close each other's subscriptions: nobody waits.
#[test]
fn handlers_on_two_threads_do_not_wait_for_each_other() {
    for _ in 0..200 {
        let (left, right) = (Bus::<u32>::new(), Bus::<u32>::new());
        let meet = Arc::new(Barrier::new(2));
        let ends: [Arc<OnceLock<BusSubscription<u32>>>; 2] = Default::default();
        let handler = |to: Key<u32>, other: Arc<OnceLock<BusSubscription<u32>>>| {
            let meet = meet.clone();
            move |value: &u32| {
                if *value == 0 {
                    meet.wait();
                    to.publish(1);
                    other.get().unwrap().close();
                }
            }
        };
        ends[0].set(left.subscribe("k", handler(right.key("k"), ends[1].clone()))).unwrap();
        ends[1].set(right.subscribe("k", handler(left.key("k"), ends[0].clone()))).unwrap();
        thread::scope(|scope| {
            [&left, &right].map(|bus| scope.spawn(|| bus.publish("k", 0))).map(|it| it.join().unwrap())
        });
        assert_eq!((left.key_count(), right.key_count()), (0, 0));
    }
}

/// Publishers on two threads are in one handler at the same time.
#[test]
fn publishers_call_handlers_concurrently() {
    let bus = Bus::<u32>::new();
    let both = Barrier::new(2);
    let _subscription = bus.subscribe("k", move |_: &u32| _ = both.wait());
    thread::scope(|scope| [(); 2].map(|()| scope.spawn(|| bus.publish("k", 1))).map(|it| it.join().unwrap()));
}

/// Three threads subscribe to a key and leave it, as fast as they can; whoever has subscribed gets its own next publish, so
/// nobody's key was removed under it.
#[test]
fn a_key_is_not_removed_under_who_joins_it() {
    let bus = Bus::<u64>::new();
    let work = |thread: u64| {
        let bus = &bus;
        move || {
            for n in 0..5_000 {
                let got = Arc::new(AtomicBool::new(false));
                let (own, flag) = (thread << 32 | n, got.clone());
                let subscription = bus.subscribe("k", move |value| {
                    flag.fetch_or(*value == own, Ordering::Relaxed);
                });
                if n % 2 == 0 {
                    bus.publish("k", own)
                } else {
                    bus.key("k").publish(own)
                };
                assert!(got.load(Ordering::Relaxed), "publish {n} of thread {thread} was lost");
                if n % 3 == 0 { subscription.close() } else { drop(subscription) }
            }
        }
    };
    thread::scope(|scope| (0..3).for_each(|thread| drop(scope.spawn(work(thread)))));
    assert_eq!(bus.key_count(), 0);
}

#[derive(Clone, Debug)]
enum Operation {
    Subscribe {
        key: usize,
    },
    /// Of the thread's own subscriptions, one that is open.
    End {
        which: usize,
        closes: bool,
    },
    Publish {
        key: usize,
        by_handle: bool,
    },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let key = 0..3usize;
    let operation = prop_oneof![
        key.clone().prop_map(|key| Operation::Subscribe { key }),
        (0..8usize, proptest::bool::ANY).prop_map(|(which, closes)| Operation::End { which, closes }),
        (key, proptest::bool::ANY).prop_map(|(key, by_handle)| Operation::Publish { key, by_handle }),
        Just(Operation::Publish { key: 0, by_handle: true }),
    ];
    vec(operation, 1..40)
}

/// The next instant, for all threads together.
fn now() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// From when to when something was going on.
type Span = (u64, u64);

/// What was observed of a subscription.
struct Subscribed {
    id: usize,
    key: usize,
    began: Span,
    ended: Span,
    closed: bool,
}

struct Publish {
    value: u64,
    key: usize,
    span: Span,
    delivered: usize,
}

#[derive(Default)]
struct Observed {
    subscriptions: Vec<Subscribed>,
    publishes: Vec<Publish>,
}

/// Which subscription was called with which value, and when.
type Calls = Arc<Mutex<Vec<(usize, u64, u64)>>>;

/// Runs one thread's program.
fn run(bus: &Bus<u64>, thread: usize, program: &[Operation], calls: &Calls) -> Observed {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let mut observed = Observed::default();
    let mut open: Vec<(usize, usize, Span, BusSubscription<u64>)> = Vec::new();
    let end = |observed: &mut Observed,
               (id, key, began, subscription): (usize, usize, Span, BusSubscription<u64>),
               closed| {
        let from = now();
        if closed {
            subscription.close()
        } else {
            drop(subscription)
        }
        observed.subscriptions.push(Subscribed { id, key, began, ended: (from, now()), closed });
    };
    for (n, operation) in program.iter().enumerate() {
        let id = thread << 16 | n;
        match *operation {
            Operation::Subscribe { key } => {
                let (calls, from) = (calls.clone(), now());
                let subscription = bus.subscribe(KEYS[key], move |value| {
                    calls.lock().unwrap().push((id, *value, now()));
                });
                open.push((id, key, (from, now()), subscription));
            }
            Operation::End { which, closes } if !open.is_empty() => {
                let which = open.swap_remove(which % open.len());
                end(&mut observed, which, closes);
            }
            Operation::End { .. } => {}
            Operation::Publish { key, by_handle } => {
                let from = now();
                let value = id as u64;
                let published = match by_handle {
                    true => bus.key(KEYS[key]).publish(value),
                    false => bus.publish(KEYS[key], value),
                };
                let span = (from, now());
                observed.publishes.push(Publish { value, key, span, delivered: published.delivered() });
            }
        }
    }
    for subscription in open {
        end(&mut observed, subscription, true);
    }
    observed
}

/// A publish goes to exactly one set, which was there at an instant of it: to all who were in before and stayed beyond, to
/// nobody who left before or came after, to nobody twice; nobody is called after its `close` has returned.
fn check(observed: &[Observed], calls: &[(usize, u64, u64)]) {
    let mut by_value: HashMap<u64, Vec<usize>> = HashMap::new();
    for (id, value, _) in calls {
        by_value.entry(*value).or_default().push(*id);
    }
    let subscriptions: Vec<_> = observed.iter().flat_map(|observed| &observed.subscriptions).collect();
    for publish in observed.iter().flat_map(|observed| &observed.publishes) {
        let called = by_value.remove(&publish.value).unwrap_or_default();
        let distinct: BTreeSet<_> = called.iter().copied().collect();
        assert_eq!((called.len(), distinct.len()), (publish.delivered, publish.delivered), "nobody is called twice");
        let of_key = subscriptions.iter().filter(|subscription| subscription.key == publish.key);
        let known = of_key.clone().filter(|subscription| distinct.contains(&subscription.id)).count();
        assert_eq!(known, distinct.len(), "only subscribers of the key are called");
        // The instant at which the set was taken lies after all who were called had begun and before those who were not.
        let (mut from, mut to) = publish.span;
        for subscription in of_key.clone() {
            match distinct.contains(&subscription.id) {
                true => (from, to) = (from.max(subscription.began.0), to.min(subscription.ended.1)),
                false => {
                    let whole = subscription.began.1 < publish.span.0 && subscription.ended.0 > publish.span.1;
                    assert!(!whole, "{} missed {}", subscription.id, publish.value);
                }
            }
        }
        assert!(from <= to, "no instant at which those who got {} were subscribed", publish.value);
        for subscription in of_key.filter(|subscription| !distinct.contains(&subscription.id)) {
            let throughout = subscription.began.1 < from && subscription.ended.0 > to;
            assert!(
                !throughout,
                "{} was subscribed all the time in which {} may have been taken",
                subscription.id, publish.value
            );
        }
    }
    assert!(by_value.is_empty(), "only what was published is delivered");
    for subscription in subscriptions.iter().filter(|subscription| subscription.closed) {
        let late = calls.iter().find(|(id, _, at)| *id == subscription.id && *at > subscription.ended.1);
        assert_eq!(late, None, "called after it was closed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// L9, L14.
    #[test]
    fn every_value_goes_to_one_snapshot(programs in vec(operations(), 1..4)) {
        let (bus, calls) = (Bus::<u64>::new(), Calls::default());
        let observed: Vec<Observed> = thread::scope(|scope| {
            let (bus, calls) = (&bus, &calls);
            let threads: Vec<_> = programs.iter().enumerate()
                .map(|(thread, program)| scope.spawn(move || run(bus, thread, program, calls)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        check(&observed, &calls.lock().unwrap());
        assert_eq!(bus.key_count(), 0);
    }
}
