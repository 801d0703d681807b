//! One case: its victim is frozen after every one of its instructions, or after some of them, each time in a new child.

use std::time::{Duration, Instant};

use crate::position::{Child, Crash, Move, Patience, Verdict};
use crate::scene::{Scene, Stage};

pub struct Case {
    pub name: String,
    /// Makes the scene, once: the children are forked from a process that has it.
    pub scene: Box<dyn Fn() -> Scene>,
    /// What happens before the victim is followed, in terms of what it does.
    pub before: Vec<Move>,
    /// The victim that is frozen at each position.
    pub frozen: usize,
}

impl Case {
    pub fn new(name: &str, scene: impl Fn() -> Scene + 'static) -> Self {
        Self { name: name.to_owned(), scene: Box::new(scene), before: Vec::new(), frozen: 0 }
    }

    /// The same after some moves.
    pub fn after(mut self, moves: impl Into<Vec<Move>>) -> Self {
        self.before = moves.into();
        self
    }
}

/// What came of a case. Numbers only: it is sent from the process that ran it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    pub instructions: u64,
    pub positions: u64,
    pub blocked: u64,
    pub late: u64,
    pub failed: u64,
    /// The operation has more instructions than a run like this one has time for.
    pub left_out: bool,
    pub microseconds: u64,
}

impl Row {
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Done(_) => {}
            Verdict::Late(_) => self.late += 1,
            Verdict::Blocked => self.blocked += 1,
            Verdict::Failed => self.failed += 1,
        }
    }
}

/// How many positions of a case are visited.
#[derive(Clone, Copy)]
pub struct Extent {
    /// Every instruction.
    pub all: bool,
    /// Otherwise, of each case so many at most.
    pub most: u64,
    /// Operations with more instructions than this are left out.
    pub longest: u64,
    pub seed: u64,
}

pub const PATIENCE: Patience = Patience { deadline: Duration::from_secs(1), grace: Duration::from_secs(3) };

/// So many blocked positions are enough to know.
const ENOUGH: u64 = 25;

pub fn run(case: &Case, extent: Extent) -> Row {
    let started = Instant::now();
    let mut scene = Some((case.scene)());
    let mut row = Row::default();
    let swept = whole(case, &mut scene, extent, &mut row);
    if let Err(Crash(stop)) = swept {
        eprintln!("frozen: {}: the victim came to {stop:?}", case.name);
        row.failed += 1;
    }
    row.microseconds = started.elapsed().as_micros() as u64;
    row
}

fn whole(case: &Case, scene: &mut Option<Scene>, extent: Extent, row: &mut Row) -> Result<(), Crash> {
    for victim in 0..scene.as_ref().map_or(0, |scene| scene.victims.len()) {
        row.instructions = length(scene, &[], victim, extent.longest)?;
        if row.instructions >= extent.longest {
            row.left_out = true;
            return Ok(());
        }
    }
    row.instructions = length(scene, &case.before, case.frozen, u64::MAX)?;
    sweep(case, scene, extent, row)
}

/// Freezes the case's victim at positions of its operation.
pub fn sweep(case: &Case, scene: &mut Option<Scene>, extent: Extent, row: &mut Row) -> Result<(), Crash> {
    let (first, stride) = extent.choose(row.instructions);
    let mut at = 0;
    let mut child = begin(case, scene, at)?;
    for position in (first..row.instructions).step_by(stride) {
        if child.step(case.frozen, position - at)? < position - at {
            // Not every run takes as many instructions: a clock or a hash may differ.
            break;
        }
        at = position;
        row.positions += 1;
        child.keep();
        let verdict = others_go_on(&child);
        if verdict == Verdict::Blocked || verdict == Verdict::Failed {
            // Threads that are blocked cannot be put back.
            child = begin(case, scene, position)?;
            let place = child.place(case.frozen);
            eprintln!("frozen: {}: {verdict:?} after {position} instructions, at {place}", case.name);
        } else {
            child.restore();
        }
        row.count(verdict);
        if row.blocked + row.failed >= ENOUGH {
            break;
        }
    }
    Ok(())
}

/// A child in which the moves were made, and then the frozen victim executed so many instructions.
pub fn begin(case: &Case, scene: &mut Option<Scene>, position: u64) -> Result<Child, Crash> {
    let mut child = Child::start(scene)?;
    child.follow(&case.before, PATIENCE)?;
    child.step(case.frozen, position)?;
    Ok(child)
}

/// Everything that must be possible while the victims stand still, and the end of their operations after their thaw.
pub fn others_go_on(child: &Child) -> Verdict {
    let worked = child.both(Stage::Work, PATIENCE);
    if worked.done().is_none() {
        return worked;
    }
    let cleared = child.first(Stage::Clear, PATIENCE);
    if cleared.done().is_none() {
        return cleared;
    }
    for victim in 0..child.victims() {
        // A thawed victim that does not come to its end is wrong, but nobody was blocked by a frozen one.
        if child.thaw(victim, PATIENCE).done().is_none() {
            return Verdict::Failed;
        }
    }
    if matches!(worked, Verdict::Late(_)) { worked } else { cleared }
}

impl Extent {
    /// First position and distance of the positions.
    pub fn choose(self, instructions: u64) -> (u64, usize) {
        if self.all || instructions == 0 {
            return (0, 1);
        }
        let stride = (instructions / self.most).max(1);
        (self.seed % stride, stride as usize)
    }
}

/// An operation that has not come to an end after so many instructions waits for somebody.
const ENDLESS: u64 = 2_000_000;

/// How many instructions a victim's operation has, after some moves; counted up to `most`.
pub fn length(scene: &mut Option<Scene>, moves: &[Move], victim: usize, most: u64) -> Result<u64, Crash> {
    let mut child = Child::start(scene)?;
    child.follow(moves, PATIENCE)?;
    let length = child.step(victim, most.min(ENDLESS))?;
    assert!(length < ENDLESS, "a victim's operation does not end");
    Ok(length)
}
