//! The real crossbeam-epoch, as `src/log/reclaim.rs` uses it: a pointer is swapped, what it pointed to is freed by deferred
//! work, readers follow it pinned. Freed memory has a canary: a read that is not ordered before the freeing fails.
#![cfg(crossbeam_loom)]

use crossbeam_epoch::{Collector, Guard, LocalHandle};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicPtr, Ordering};
use loom::thread;

/// What is freed. Leaked, so that a read after that meets the canary and not the allocator.
struct Node {
    alive: UnsafeCell<bool>,
}

impl Node {
    fn leak() -> *mut Self {
        Box::into_raw(Box::new(Self { alive: UnsafeCell::new(true) }))
    }
}

struct Shared {
    at: AtomicPtr<Node>,
    collector: Collector,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { at: AtomicPtr::new(Node::leak()), collector: Collector::new() })
    }

    /// As a reader does: follows the pointer while pinned.
    fn read(&self, _: &Guard) {
        // SAFETY: nodes are leaked.
        let node = unsafe { &*self.at.load(Ordering::Acquire) };
        // SAFETY: loom itself reports a write that races with this read.
        node.alive.with(|alive| assert!(unsafe { *alive }, "used after it was freed"));
    }

    /// As truncation does: unlinks, defers the freeing, flushes.
    fn replace(&self, guard: &Guard) {
        let old = self.at.swap(Node::leak(), Ordering::AcqRel);
        // SAFETY: nodes are leaked; loom itself reports an access that races with the write.
        unsafe {
            guard.defer_unchecked(move || (*old).alive.with_mut(|alive| assert!(alive.replace(false), "freed twice")))
        };
        guard.flush();
    }

    /// Lets epochs pass, as `Core::collect` does.
    fn collect(handle: &LocalHandle) {
        for _ in 0..4 {
            handle.pin().flush();
        }
    }
}

fn check(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// A handle, which belongs to its user and not to a thread.
struct Moved(LocalHandle);

// SAFETY: what annals relies on, and what is checked here: one thread at a time uses it.
unsafe impl Send for Moved {}

/// Two threads: a reader beside one that replaces and collects.
#[test]
fn a_reader_and_a_replacement() {
    check(1, || {
        let shared = Shared::new();
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                let handle = shared.collector.register();
                shared.replace(&handle.pin());
                Shared::collect(&handle);
            })
        };
        let reader = thread::spawn(move || {
            let handle = shared.collector.register();
            shared.read(&handle.pin());
            shared.read(&handle.pin());
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

/// Three threads: a replacement beside two readers. Threads change only where one waits or ends: with one preemption the
/// model does not end within a minute.
#[test]
fn a_replacement_and_two_readers() {
    check(0, || {
        let shared = Shared::new();
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                let handle = shared.collector.register();
                shared.replace(&handle.pin());
            })
        };
        let reader = |shared: Arc<Shared>| {
            move || {
                let handle = shared.collector.register();
                shared.read(&handle.pin());
            }
        };
        let (a, b) = (thread::spawn(reader(shared.clone())), thread::spawn(reader(shared.clone())));
        for thread in [writer, a, b] {
            thread.join().unwrap();
        }
    });
}

/// An appender's handle goes to another thread between two pins, as an `Appender` may.
#[test]
fn a_handle_changes_threads() {
    check(1, || {
        let shared = Shared::new();
        let handle = Moved(shared.collector.register());
        shared.read(&handle.0.pin());
        let reader = {
            let shared = shared.clone();
            thread::spawn(move || {
                // Taken whole: a part of it alone could not go to another thread.
                let Moved(handle) = { handle };
                shared.read(&handle.pin());
                shared.read(&handle.pin());
            })
        };
        let writer = thread::spawn(move || {
            let handle = shared.collector.register();
            shared.replace(&handle.pin());
            Shared::collect(&handle);
        });
        reader.join().unwrap();
        writer.join().unwrap();
    });
}

/// The models can fail: a reader that is not pinned is caught.
#[test]
#[should_panic]
fn a_reader_that_is_not_pinned_is_caught() {
    check(2, || {
        let shared = Shared::new();
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                let handle = shared.collector.register();
                shared.replace(&handle.pin());
                Shared::collect(&handle);
            })
        };
        let reader = thread::spawn(move || {
            // SAFETY: none: that is the point.
            shared.read(unsafe { crossbeam_epoch::unprotected() });
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}
