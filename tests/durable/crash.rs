//! The power is cut after each operation of some workloads, in every way that `crash_images` knows; then again in the middle of
//! the recovery. What was acknowledged as synced is there, and what is there is a beginning of what was appended (L18).
//!
//! `ANNALS_CRASH_IMAGES`: how many images of each workload, about, before those that are alike are left out. Without it: 2,000.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Barrier;

use annals::{Ack, Limits, Log, Message};

use crate::crash_check::{Demand, Oracle, Run, check, options};
use crate::crash_disk::{CrashDisk, Dice, Image, Lies, Mark, Model, Op};
use crate::crash_images::{Summary, images};

const ACKS: [Ack; 3] = [Ack::Memory, Ack::Written, Ack::Synced];

fn budget() -> usize {
    std::env::var("ANNALS_CRASH_IMAGES").map_or(2_000, |number| number.parse().expect("a number"))
}

/// A disk at one moment, and what a log on it has to have.
#[derive(Clone, Copy)]
struct Owed {
    safe: u64,
    floor: u64,
}

impl Owed {
    const NOTHING: Self = Self { safe: 0, floor: 1 };

    fn note(&mut self, op: &Op) {
        match op {
            Op::Mark(Mark::Safe(safe)) => self.safe = self.safe.max(*safe),
            Op::Mark(Mark::Truncate(floor)) => self.floor = self.floor.max(*floor),
            _ => {}
        }
    }
}

/// One life of a log: the history of its disk, and what it had at the end of it.
struct Life {
    start: Model,
    history: Vec<Op>,
    oracle: Oracle,
    owed: Owed,
}

/// What came of many crashes.
#[derive(Default)]
struct Tally {
    images: usize,
    /// Images by the number of records that were lost.
    lost_some: usize,
    broken: Vec<String>,
}

impl Life {
    fn of(disk: &CrashDisk, oracle: Oracle, owed: Owed) -> Self {
        let (start, history) = disk.history();
        Self { start, history, oracle, owed }
    }

    /// The moments between operations.
    fn moments(&self, mut visit: impl FnMut(usize, &Model, Owed)) {
        let (mut model, mut owed) = (self.start.clone(), self.owed);
        visit(0, &model, owed);
        for (at, op) in self.history.iter().enumerate() {
            model.apply(op);
            owed.note(op);
            visit(at + 1, &model, owed);
        }
    }

    /// Cuts the power at each moment, about `limit` times in all.
    fn cut_everywhere(&self, limit: usize, dice: &mut Dice, tally: &mut Tally) {
        let each = (limit / (self.history.len() + 1)).max(3);
        let mut seen = HashSet::new();
        self.moments(|at, model, owed| {
            for (cut, image) in images(model, each, dice) {
                let mut hasher = DefaultHasher::new();
                (&image, owed.safe, owed.floor).hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    let result = self.check(&image, owed, tally.images);
                    tally.take(result, || format!("after operation {at}, {cut}: {}", Summary(&image)), self);
                }
            }
        });
    }

    fn check(&self, image: &Image, owed: Owed, number: usize) -> Result<u64, String> {
        let Owed { safe, floor } = owed;
        let (closely, goes_on) = (number.is_multiple_of(8), number.is_multiple_of(4));
        check(&CrashDisk::of(image), Demand { oracle: &self.oracle, safe, floor, closely, goes_on })
    }

    /// Starts again, after a kill or a power cut, at some moments, and appends; then cuts the power at each moment of that: the
    /// recovery is among them.
    fn go_on(&self, lives: usize, depth: usize, limit: usize, dice: &mut Dice, tally: &mut Tally) {
        let chosen: HashSet<usize> = (0..lives).map(|_| dice.below(self.history.len() + 1)).collect();
        let mut next = Vec::new();
        self.moments(|at, model, owed| {
            if chosen.contains(&at) {
                let mut found = images(model, 8, dice);
                let cut = Model::of(&found.swap_remove(dice.below(found.len())).1);
                next.push((model.clone(), owed));
                next.push((cut, owed));
            }
        });
        for (model, owed) in next {
            let disk = CrashDisk::after(model);
            let run = Run::going_on(&disk, 60, self.oracle.clone());
            assert!(run.log.end().get() >= owed.safe, "what was safe is there");
            for ack in [Ack::Written, Ack::Synced, Ack::Memory, Ack::Synced] {
                run.one(ack);
            }
            run.batch(2, Ack::Written);
            let life = Life::of(&disk, run.finish(), owed);
            life.cut_everywhere(limit, dice, tally);
            if depth > 1 {
                life.go_on(1, depth - 1, limit, dice, tally);
            }
        }
    }
}

impl Tally {
    fn take(&mut self, result: Result<u64, String>, place: impl FnOnce() -> String, life: &Life) {
        self.images += 1;
        match result {
            Ok(end) => self.lost_some += usize::from(end < life.oracle.envelopes.len() as u64),
            Err(why) => self.broken.push(format!("{why}\n  {}", place())),
        }
    }

    /// Everything is as it has to be, and something was tried.
    fn conclude(self, name: &str, least: usize) {
        println!("{name}: {} images, {} without all records", self.images, self.lost_some);
        let broken = self.broken.len();
        assert!(
            broken == 0,
            "{name}: {broken} of {} broken, first {}",
            self.images,
            self.broken[..broken.min(5)].join("\n")
        );
        assert!(self.images >= least, "{name}: only {} images", self.images);
        assert!(self.lost_some > 0, "{name}: no image without all records");
    }
}

/// Runs a workload on a new disk, and crashes it everywhere, twice and three times.
fn crash(name: &str, seed: u64, bytes: usize, work: impl FnOnce(&Run)) {
    let disk = CrashDisk::new();
    let run = Run::new(&disk, bytes);
    work(&run);
    crash_again(name, seed, &disk, run.finish());
}

fn crash_again(name: &str, seed: u64, disk: &CrashDisk, oracle: Oracle) {
    let (mut dice, mut tally, budget) = (Dice(seed), Tally::default(), budget());
    let life = Life::of(disk, oracle, Owed::NOTHING);
    life.cut_everywhere(budget / 2, &mut dice, &mut tally);
    life.go_on((budget / 250).max(2), 2, budget / 24, &mut dice, &mut tally);
    tally.conclude(name, budget / 8);
}

/// Every append waits for the disk.
#[test]
fn appends_that_wait_survive() {
    crash("single appends", 1, 60, |run| (0..30).for_each(|_| run.one(Ack::Synced)));
}

/// Batches are whole or not there; some are larger than a file.
#[test]
fn batches_are_whole() {
    crash("batches", 2, 60, |run| {
        for (len, ack) in [(3, 2), (1, 1), (7, 2), (2, 0), (5, 1), (60, 2), (4, 1), (70, 1), (2, 2), (9, 1), (3, 0)] {
            run.batch(len, ACKS[ack]);
        }
    });
}

/// Who waits for less may lose it, and nobody else does.
#[test]
fn kinds_of_acknowledgement_mix() {
    crash("mixed acknowledgements", 3, 60, |run| {
        for n in 0..40 {
            run.one(ACKS[(n * n + n / 7) % 3]);
        }
    });
}

/// Several threads share what is written and synced.
#[test]
fn threads_that_share_a_sync() {
    crash("threads", 4, 60, |run| {
        let begin = Barrier::new(3);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let begin = &begin;
                scope.spawn(move || {
                    begin.wait();
                    for n in 0..10 {
                        if n % 4 == 3 { run.batch(2, ACKS[(n + thread) % 3]) } else { run.one(ACKS[(n + thread) % 3]) }
                    }
                    run.sync();
                });
            }
        });
    });
}

/// One file after the other.
#[test]
fn many_files() {
    crash("many files", 5, 900, |run| {
        for n in 0..40 {
            run.one(Ack::Written);
            if n % 9 == 8 {
                run.sync();
            }
        }
    });
}

/// A log that is closed and opened again: the footer goes, and comes back.
#[test]
fn closed_and_gone_on() {
    let disk = CrashDisk::new();
    let mut oracle = Oracle::default();
    for round in 0..6 {
        let run = Run::going_on(&disk, 100, oracle);
        for n in 0..5 + 3 * (round % 2) {
            run.one(ACKS[(n + round) % 3]);
        }
        oracle = run.finish();
        disk.mark(Mark::Safe(oracle.envelopes.len() as u64));
    }
    crash_again("closed and gone on", 6, &disk, oracle);
}

/// Files whose records are removed go, from the first on.
#[test]
fn removed_from_the_beginning() {
    crash("truncation", 7, 900, |run| {
        for n in 1..=60_u64 {
            run.one(if n % 3 == 0 { Ack::Synced } else { Ack::Written });
            if n % 30 == 0 {
                run.truncate_before(n - 4);
            }
        }
    });
}

/// A file may have been begun when only smaller messages were allowed, and have none of them: larger ones do not go there.
#[test]
fn a_file_begun_under_smaller_limits() {
    let disk = CrashDisk::new();
    let mut small = Limits::default();
    (small.payload_bytes, small.metadata_bytes, small.name_bytes) = (16, 64, 16);
    let log = Log::builder().limits(small).open_on(disk.clone(), options()).unwrap();
    for _ in 0..3 {
        log.append("s", Message::event("E", "small").unwrap()).unwrap();
    }
    drop(log);
    let (mut model, history) = disk.history();
    let mut tried = 0;
    for op in &history {
        model.apply(op);
        for (_, image) in images(&model, 16, &mut Dice(8)) {
            let disk = CrashDisk::of(&image);
            let log = Log::builder().open_on(disk.clone(), options()).unwrap();
            let end = log.end().get();
            log.append("s", Message::event("E", vec![b'x'; 3000]).unwrap()).unwrap();
            // As it is, and after another cut.
            for image in [disk.model().shown(), disk.model().safe()] {
                let log = Log::builder().open_on(CrashDisk::of(&image), options()).unwrap();
                assert_eq!(log.read().iter().count() as u64, end + 1);
            }
            drop(log);
            let log = Log::builder().open_on(disk, options()).unwrap();
            assert_eq!(log.read().iter().count() as u64, end + 1);
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

/// The control: on a disk that says that it has synced, and has not, records that were acknowledged are lost, and the check says
/// so.
#[test]
fn lies_are_noticed() {
    for lies in [Lies { content: true, names: false }, Lies { content: false, names: true }] {
        let disk = CrashDisk::lying(lies);
        let run = Run::new(&disk, 60);
        (0..12).for_each(|_| run.one(Ack::Synced));
        let life = Life::of(&disk, run.finish(), Owed::NOTHING);
        let mut tally = Tally::default();
        life.cut_everywhere(200, &mut Dice(9), &mut tally);
        assert!(tally.broken.iter().any(|why| why.contains("were safe")), "{lies:?}: of {} images", tally.images);
    }
}
