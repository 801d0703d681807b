//! The controls: two logs that do block. The harness is worth something if it says so.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::position::{Child, Patience, Verdict};
use crate::scene::{Other, Outcome, Scene, Stage, Victim};
use crate::sweep::{Extent, Row};

/// Something that can be appended to and counted.
trait Plain: Send + Sync {
    fn append(&self, value: u64);
    fn count(&self) -> usize;
}

struct Locked(Mutex<Vec<u64>>);

impl Plain for Locked {
    fn append(&self, value: u64) {
        self.0.lock().expect("nobody panics").push(value);
    }

    fn count(&self) -> usize {
        self.0.lock().expect("nobody panics").len()
    }
}

/// A counter gives out places; who reads waits for each place that was given out.
struct Reserved {
    next: AtomicUsize,
    places: Box<[AtomicU64]>,
}

impl Plain for Reserved {
    fn append(&self, value: u64) {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        self.places[place].store(value, Ordering::Release);
    }

    fn count(&self) -> usize {
        let end = self.next.load(Ordering::Relaxed);
        for place in &self.places[..end] {
            while place.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
        }
        end
    }
}

fn scene(log: Arc<dyn Plain>) -> Scene {
    (0..10).for_each(|_| log.append(1));
    let other = |log: &Arc<dyn Plain>| -> Other {
        let log = log.clone();
        Box::new(move |_: Stage| {
            (0..50).for_each(|_| log.append(2));
            if log.count() >= 60 { Ok(0) } else { Err("messages are lost".to_owned()) }
        })
    };
    let others = [other(&log), other(&log)];
    let prepare = Box::new(move || {
        log.append(3);
        Box::new(move || {
            log.append(4);
            Outcome::default()
        }) as Box<dyn FnOnce() -> Outcome>
    });
    Scene { victims: vec![Victim { prepare, check: Box::new(|_| Ok(())) }], others }
}

/// A miss is counted as blocked only when the others are done once the victim goes on: so no grace is needed.
const SHORT: Patience = Patience { deadline: Duration::from_millis(150), grace: Duration::ZERO };
const LONG: Patience = Patience { deadline: Duration::from_secs(5), grace: Duration::ZERO };

/// Names of the controls.
pub const NAMES: [&str; 2] = ["a `Vec` behind a `Mutex`", "places from a counter, readers wait"];

pub fn run(which: usize, extent: Extent) -> Row {
    let started = Instant::now();
    let log: Arc<dyn Plain> = match which {
        0 => Arc::new(Locked(Mutex::new(Vec::new()))),
        _ => Arc::new(Reserved { next: AtomicUsize::new(0), places: (0..500).map(|_| AtomicU64::new(0)).collect() }),
    };
    let mut scene = Some(scene(log));
    let enough = if extent.all { 25 } else { 5 };
    let mut row = Row::default();
    loop {
        let child = Child::start(&mut scene).expect("the control does not crash");
        let position = row.positions;
        if child.step(0, position).expect("the control does not crash") < position || row.blocked >= enough {
            break;
        }
        row.positions += 1;
        match child.both(Stage::Work, SHORT) {
            Verdict::Blocked => {
                let freed = child.thaw(0, LONG).done().and(child.rest_arrives(LONG).done());
                if freed.is_some() { row.blocked += 1 } else { row.failed += 1 }
            }
            other => row.count(other),
        }
    }
    row.instructions = row.positions;
    row.microseconds = started.elapsed().as_micros() as u64;
    row
}
