//! The bus: who gets a value while others come and go, keys that are removed and taken again, quiet after close.
//!
//! What is checked is checked outside of handlers: a bus keeps their panics.
#![cfg(loom)]

use annals::{Bus, BusSubscription};
use annals_loom::{Notes, explore};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// The calls of one execution, in the order in which they began. Kept outside of loom, but for a count that tells it that
/// their order matters.
#[derive(Clone, Default)]
struct Calls(std::sync::Arc<(std::sync::Mutex<String>, AtomicUsize)>);

impl Calls {
    fn note(&self, call: &str) {
        // Relaxed: it must not put in order what the bus does not.
        self.0.1.fetch_add(1, Ordering::Relaxed);
        self.0.0.lock().unwrap().push_str(call);
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.0.lock().unwrap())
    }
}

fn named(bus: &Bus<u32>, name: &'static str, calls: &Calls) -> BusSubscription<u32> {
    let calls = calls.clone();
    bus.subscribe("k", move |_: &u32| calls.note(name))
}

/// What a handler owns: called, it is read; dropped, it is written. Loom reports a call beside or after the drop.
struct Owned(Arc<UnsafeCell<u32>>);

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Owned {
    fn new() -> (Self, Arc<UnsafeCell<u32>>) {
        let cell = Arc::new(UnsafeCell::new(0));
        (Self(cell.clone()), cell)
    }

    fn read(&self) {
        // SAFETY: only read; loom checks that nobody writes meanwhile.
        self.0.with(|at| assert_eq!(unsafe { *at }, 0));
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: nobody calls the handler any more; loom checks it.
        self.0.with_mut(|at| unsafe { *at = 1 });
    }
}

/// L9: one comes, then another leaves: a value goes to one of the three sets there were, in order, and never to nobody.
#[test]
fn a_value_goes_to_one_snapshot() {
    explore("a_value_goes_to_one_snapshot", 3, ["a", "ab", "b"].map(String::from), |notes: Notes<String>| {
        let (bus, calls) = (Bus::<u32>::new(), Calls::default());
        let a = named(&bus, "a", &calls);
        let key = bus.key("k");
        let publisher = thread::spawn(move || key.publish(1).delivered());
        let b = named(&bus, "b", &calls);
        drop(a);
        let delivered = publisher.join().unwrap();
        let called = calls.take();
        assert_eq!(called.len(), delivered);
        drop(b);
        assert_eq!(bus.key_count(), 0);
        notes.note(called);
    });
}

/// L9 by name, with the key removed and made anew in between: never to both.
#[test]
fn a_value_goes_to_one_snapshot_of_a_key_made_anew() {
    explore(
        "a_value_goes_to_one_snapshot_of_a_key_made_anew",
        3,
        ["", "a", "b"].map(String::from),
        |notes: Notes<String>| {
            let (bus, calls) = (Bus::<u32>::new(), Calls::default());
            let a = named(&bus, "a", &calls);
            let publisher = {
                let bus = bus.clone();
                thread::spawn(move || bus.publish("k", 1).delivered())
            };
            drop(a);
            let b = named(&bus, "b", &calls);
            let delivered = publisher.join().unwrap();
            let called = calls.take();
            assert_eq!(called.len(), delivered);
            drop(b);
            notes.note(called);
        },
    );
}

/// The last one leaves a key while another comes to it: who has come is there, and stays there.
#[test]
fn a_key_is_removed_while_another_joins() {
    explore("a_key_is_removed_while_another_joins", 3, ["ab", "b"].map(String::from), |notes: Notes<String>| {
        let (bus, calls) = (Bus::<u32>::new(), Calls::default());
        let a = named(&bus, "a", &calls);
        let leaving = thread::spawn(move || drop(a));
        let b = named(&bus, "b", &calls);
        bus.publish("k", 1);
        let first = calls.take();
        leaving.join().unwrap();
        assert_eq!((bus.publish("k", 2).delivered(), bus.key_count()), (1, 1));
        assert_eq!(calls.take(), "b");
        drop(b);
        assert_eq!((bus.publish("k", 3).delivered(), bus.key_count()), (0, 0));
        notes.note(first);
    });
}

/// A handle to a key is let go while another subscribes to it, and the subscriber stays.
#[test]
fn a_handle_is_let_go_while_another_joins() {
    explore("a_handle_is_let_go_while_another_joins", 3, [0, 1], |notes: Notes<usize>| {
        let (bus, calls) = (Bus::<u32>::new(), Calls::default());
        let key = bus.key("k");
        let letting_go = thread::spawn(move || key.publish(1).delivered());
        let b = named(&bus, "b", &calls);
        let delivered = letting_go.join().unwrap();
        assert_eq!((bus.publish("k", 2).delivered(), bus.key_count()), (1, 1));
        drop(b);
        assert_eq!(bus.key_count(), 0);
        notes.note(delivered);
    });
}

/// Two come and one leaves, all at once: none of the three is lost.
#[test]
fn a_set_is_changed_by_three() {
    explore("a_set_is_changed_by_three", 2, ["bc", "cb"].map(String::from), |notes: Notes<String>| {
        let (bus, calls) = (Bus::<u32>::new(), Calls::default());
        let a = named(&bus, "a", &calls);
        let joining = {
            let (bus, calls) = (bus.clone(), calls.clone());
            thread::spawn(move || named(&bus, "b", &calls))
        };
        let leaving = thread::spawn(move || drop(a));
        let c = named(&bus, "c", &calls);
        let b = joining.join().unwrap();
        leaving.join().unwrap();
        assert_eq!(bus.publish("k", 1).delivered(), 2);
        notes.note(calls.take());
        drop((b, c));
        assert_eq!(bus.key_count(), 0);
    });
}

/// A set is replaced while somebody goes through it: its handlers live until that one is done, and not longer.
#[test]
fn a_set_that_is_gone_through_lives_on() {
    explore("a_set_that_is_gone_through_lives_on", 3, [0, 1], |notes: Notes<usize>| {
        let bus = Bus::<u32>::new();
        let (owned, cell) = Owned::new();
        let subscription = bus.subscribe("k", move |_: &u32| owned.read());
        let key = bus.key("k");
        let publisher = thread::spawn(move || key.publish(1).delivered());
        drop(subscription);
        let delivered = publisher.join().unwrap();
        // SAFETY: the publisher is done, so the handler has been dropped, before this; loom checks it.
        cell.with(|at| assert_eq!(unsafe { *at }, 1));
        notes.note(delivered);
    });
}

/// L14: when `close` has returned, the handler has been dropped, and whatever it did comes before.
#[test]
fn quiet_after_close() {
    explore("quiet_after_close", 3, [0, 1], |notes: Notes<usize>| {
        let bus = Bus::<u32>::new();
        let (owned, cell) = Owned::new();
        let subscription = bus.subscribe("k", move |_: &u32| owned.read());
        let key = bus.key("k");
        let publisher = thread::spawn(move || key.publish(1).delivered());
        subscription.close();
        // SAFETY: nobody calls or drops the handler any more; loom checks it.
        cell.with(|at| assert_eq!(unsafe { *at }, 1));
        notes.note(publisher.join().unwrap());
    });
}

/// L14: `close` in a handler does not wait; but nobody who knows that it has returned begins to call what was closed.
#[test]
fn nobody_begins_to_call_what_a_handler_closed() {
    // Whether the one before in the set knew, and whether the closed one was called.
    let outcomes = [(false, false), (false, true), (true, false)];
    explore("nobody_begins_to_call_what_a_handler_closed", 3, outcomes, |notes: Notes<(bool, bool)>| {
        let (bus, closing, calls) = (Bus::<u32>::new(), Bus::<u32>::new(), Calls::default());
        let closed = Arc::new(AtomicBool::new(false));
        let before = {
            let (closed, calls) = (closed.clone(), calls.clone());
            // Acquire: pairs with the store of whoever closed.
            bus.subscribe("k", move |_: &u32| calls.note(if closed.load(Ordering::Acquire) { "knew" } else { "" }))
        };
        let victim = named(&bus, "v", &calls);
        let key = bus.key("k");
        let publisher = thread::spawn(move || drop(key.publish(1)));
        let closer = closing.subscribe("c", move |_: &u32| {
            victim.close();
            // Release: pairs with the load of the one before.
            closed.store(true, Ordering::Release);
        });
        closing.publish("c", 1);
        publisher.join().unwrap();
        let called = calls.take();
        notes.note((called.contains("knew"), called.contains('v')));
        drop((before, closer));
    });
}

/// L12: what a handler publishes comes after the value at hand, for everybody, whatever other threads publish meanwhile.
#[test]
fn what_a_handler_publishes_comes_after() {
    let outcomes = ["123", "132", "312"].map(String::from);
    explore("what_a_handler_publishes_comes_after", 3, outcomes, |notes: Notes<String>| {
        let (bus, calls) = (Bus::<u32>::new(), Calls::default());
        let again = bus.key("k");
        let first = bus.subscribe("k", move |value: &u32| {
            if *value == 1 {
                again.publish(2);
            }
        });
        let noted = calls.clone();
        let second = bus.subscribe("k", move |value: &u32| noted.note(&value.to_string()));
        let key = bus.key("k");
        let other = thread::spawn(move || assert_eq!(key.publish(3).delivered(), 2));
        bus.publish("k", 1);
        other.join().unwrap();
        notes.note(calls.take());
        drop((first, second));
    });
}
