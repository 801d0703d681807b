//! Group commit, and the thread that writes for a log it does not keep. The disk is a number: what it has.
#![cfg(loom)]

use std::sync::Arc as StdArc;

use annals::durable::{Commit, Level, Medium};
use annals::model_checking::Lease;
use annals_loom::explore;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;

/// A log that only has an end.
#[derive(Default)]
struct Source {
    end: AtomicU64,
}

/// A disk: what was written, and what it has after the last sync, for all to see.
struct Disk {
    /// What the system was handed.
    written: StdArc<AtomicU64>,
    has: StdArc<AtomicU64>,
    syncs: u32,
    /// Which sync fails; and all after it would succeed.
    fails_at: u32,
}

impl Medium for Disk {
    type Source = Source;
    type Error = u32;

    fn write(&mut self, source: &Source) -> Result<u64, u32> {
        let end = source.end.load(Ordering::Acquire);
        // Relaxed: as in `sync`.
        self.written.store(end, Ordering::Relaxed);
        Ok(end)
    }

    fn sync(&mut self) -> Result<(), u32> {
        self.syncs += 1;
        if self.syncs == self.fails_at {
            return Err(self.syncs);
        }
        // Relaxed: who is told that it is there has to be told by `Commit`.
        self.has.store(self.written.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }
}

struct Shared {
    source: Source,
    commit: Commit<Disk>,
    written: StdArc<AtomicU64>,
    has: StdArc<AtomicU64>,
}

fn shared(fails_at: u32) -> Arc<Shared> {
    let [written, has] = [0, 0].map(|end| StdArc::new(AtomicU64::new(end)));
    let disk = Disk { written: written.clone(), has: has.clone(), syncs: 0, fails_at };
    Arc::new(Shared { source: Source::default(), commit: Commit::new(disk, 0), written, has })
}

/// Appends one, and waits until the disk has it.
fn append(shared: &Shared) -> Result<(), u32> {
    let end = shared.source.end.fetch_add(1, Ordering::AcqRel) + 1;
    let reached = shared.commit.reach(&shared.source, end, Level::Synced);
    if reached.is_ok() {
        // Relaxed: see `sync`.
        assert!(shared.has.load(Ordering::Relaxed) >= end, "acknowledged, and the disk does not have it");
    }
    reached
}

/// Two who append at once, each on a thread of its own (loom does not let one that joins be woken by anything else).
fn both(shared: &Arc<Shared>) -> [Result<(), u32>; 2] {
    let threads = [0, 1].map(|_| {
        let shared = shared.clone();
        thread::spawn(move || append(&shared))
    });
    threads.map(|thread| thread.join().unwrap())
}

/// M35: two who append at once. Each is told, and not before the disk has it, whoever did the work; nobody sleeps for ever.
#[test]
fn who_waits_for_the_disk_is_told_when_it_has_it() {
    explore("who_waits_for_the_disk_is_told_when_it_has_it", 3, [2], |notes| {
        let shared = shared(0);
        assert_eq!(both(&shared), [Ok(()), Ok(())]);
        notes.note(shared.commit.mark(Level::Synced));
    });
}

/// M36: the first sync fails, later ones would not. Everybody is told of the failure, and nobody ever that the disk has it.
#[test]
fn a_failed_sync_fails_for_all_and_for_ever() {
    explore("a_failed_sync_fails_for_all_and_for_ever", 3, [(1, 1)], |notes| {
        let shared = shared(1);
        let [one, other] = both(&shared);
        notes.note((one.unwrap_err(), other.unwrap_err()));
        assert_eq!(append(&shared), Err(1), "what fails once has failed");
        assert_eq!(shared.commit.mark(Level::Synced), 0);
    });
}

/// M36: the second sync fails. Who was before it is fine, who came after it is not.
#[test]
fn who_was_synced_before_a_failure_was_synced() {
    let outcomes = [(true, true), (true, false), (false, true)];
    explore("who_was_synced_before_a_failure_was_synced", 3, outcomes, |notes| {
        let shared = shared(2);
        let [one, other] = both(&shared).map(|reached| reached.is_ok());
        notes.note((one, other));
        assert!(shared.commit.mark(Level::Synced) >= 1 && (one || other));
    });
}

/// M37: the mark never says more than what the disk has, whatever is appended while it syncs.
#[test]
fn the_mark_never_passes_what_the_disk_has() {
    explore("the_mark_never_passes_what_the_disk_has", 2, [0, 1, 2], |notes| {
        let shared = shared(0);
        let observer = {
            let (shared, notes) = (shared.clone(), notes.clone());
            thread::spawn(move || {
                let mark = shared.commit.mark(Level::Synced);
                // Relaxed: see `sync`.
                assert!(mark <= shared.has.load(Ordering::Relaxed), "the mark is ahead of the disk");
                let written = shared.commit.mark(Level::Written);
                assert!(written <= shared.written.load(Ordering::Relaxed), "the mark is ahead of the system");
                notes.note(mark);
            })
        };
        assert_eq!(both(&shared), [Ok(()), Ok(())]);
        observer.join().unwrap();
    });
}

/// A thread works on something as long as it is there: who ends it waits for that, and afterwards nobody works on it.
#[test]
fn nobody_works_on_what_is_gone() {
    explore("nobody_works_on_what_is_gone", 3, [0, 1], |notes| {
        // What is leased: 0 while it is there; each use is counted.
        let it = StdArc::new((AtomicU32::new(0), AtomicU32::new(0)));
        let lease = Arc::new(Lease::new());
        // SAFETY: `it` is kept until the end.
        unsafe { lease.grant(&*it) };
        let worker = {
            let lease = lease.clone();
            thread::spawn(move || {
                lease.with(|(gone, used)| {
                    // Relaxed: the lease has to order it.
                    assert_eq!(gone.load(Ordering::Relaxed), 0, "gone");
                    used.store(1, Ordering::Relaxed);
                })
            })
        };
        lease.revoke();
        // Relaxed: as above.
        let used = it.1.load(Ordering::Relaxed);
        it.0.store(1, Ordering::Relaxed);
        let worked = worker.join().unwrap().is_some();
        assert_eq!(u32::from(worked), used, "what was done before the end is seen after it");
        assert!(lease.with(|_| ()).is_none());
        notes.note(used);
    });
}
