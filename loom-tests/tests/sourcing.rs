//! What a service does once, by whoever comes first; and what whoever waits for a handler sees.
#![cfg(loom)]

use std::future::ready;

use annals::Position;
use annals::sourcing::{FirstUse, Progress};
use annals::store::block_on;
use annals_loom::explore;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

/// Two come at once: one does it, and what it did is there for both, whoever it was.
#[test]
fn of_two_who_come_first_one_does_it() {
    explore("of_two_who_come_first_one_does_it", 3, [0, 1], |notes| {
        let shared = Arc::new((FirstUse::new(), AtomicU32::new(0)));
        let threads = [0, 1].map(|number| {
            let shared = shared.clone();
            let notes = notes.clone();
            thread::spawn(move || {
                let (first, done) = &*shared;
                let work = || {
                    notes.note(number);
                    // Relaxed: `FirstUse` has to publish it.
                    done.store(done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    ready(Ok::<_, ()>(()))
                };
                block_on(first.ensure(work)).unwrap();
                assert_eq!(done.load(Ordering::Relaxed), 1);
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(shared.0.is_done());
    });
}

/// Two come at once, and whoever begins first fails: the other takes over, and has what the first one did before; or, if it was
/// done when nobody had begun, nobody failed. None waits for ever.
#[test]
fn who_fails_leaves_it_to_the_other() {
    explore("who_fails_leaves_it_to_the_other", 3, [1, 2], |notes| {
        let shared = Arc::new((FirstUse::new(), AtomicU32::new(0)));
        let threads = [false, true].map(|fails| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (first, tries) = &*shared;
                let work = || {
                    // Relaxed: as above.
                    tries.store(tries.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    ready(if fails { Err(()) } else { Ok(()) })
                };
                let ended = block_on(first.ensure(work));
                assert!(ended.is_ok() || fails, "who does not fail gets it done");
                u32::from(ended.is_err())
            })
        });
        let failed: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(shared.0.is_done());
        let tries = shared.1.load(Ordering::Relaxed);
        assert_eq!(tries, 1 + failed, "who takes over knows of who failed");
        notes.note(tries);
    });
}

/// Who waits for a handler to be done with a position sees, when it is, that it failed there.
#[test]
fn who_sees_a_handler_pass_sees_how_it_went() {
    explore("who_sees_a_handler_pass_sees_how_it_went", 3, [true], |notes| {
        let progress = Arc::new(Progress::of_nothing());
        let worker = {
            let progress = progress.clone();
            thread::spawn(move || progress.fails_at(Position::new(1)))
        };
        let waits = thread::spawn(move || notes.note(block_on(progress.has_failed_at(Position::new(1)))));
        worker.join().unwrap();
        waits.join().unwrap();
    });
}
