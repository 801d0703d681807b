//! A child: victims that stand where they were put, and what the others can do then.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::rewind::Memory;
use crate::scene::{DONE, OTHERS, Scene, Stage, play};
use crate::trace::{self, Stop, Tid};

/// What happens before the victim is frozen.
#[derive(Clone, Copy, Debug)]
pub enum Move {
    /// A victim goes to the swap that takes its slot, and stops before it.
    ToSwap(usize),
    /// A victim takes its slot and stops.
    Swap(usize),
    /// A victim executes so many instructions.
    Step(usize, u64),
    /// The first of the others does something.
    Other(Stage),
}

/// How the others fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done in time. The value of the first of them.
    Done(u64),
    /// Done within the time of grace only: the machine was busy.
    Late(u64),
    /// Not done.
    Blocked,
    /// A check failed, or something crashed.
    Failed,
}

impl Verdict {
    /// Whether it was done, in time or not.
    pub fn done(self) -> Option<u64> {
        match self {
            Verdict::Done(value) | Verdict::Late(value) => Some(value),
            Verdict::Blocked | Verdict::Failed => None,
        }
    }
}

/// How long the others have.
#[derive(Clone, Copy)]
pub struct Patience {
    pub deadline: Duration,
    /// After a miss, how much longer the same threads are watched to tell a busy machine from a blocked thread.
    pub grace: Duration,
}

/// A victim that crashed or vanished where it should have executed an instruction.
#[derive(Debug)]
pub struct Crash(pub Stop);

/// A child in which a scene is played. All its threads are stopped, but for those that a function of this lets go on and
/// waits for.
pub struct Child {
    pid: Tid,
    /// The others, then the victims.
    threads: Vec<Tid>,
    memory: Option<Memory>,
    /// Victims that stand at the end of their operations, a bit each.
    ended: Cell<u32>,
    kept_ended: u32,
    /// Those who did not arrive in time.
    blocked: RefCell<Vec<Tid>>,
}

impl Child {
    /// Forks, and brings every victim to the beginning of its operation, one after the other.
    pub fn start(scene: &mut Option<Scene>) -> Result<Self, Crash> {
        let victims = scene.as_ref().map_or(0, |scene| scene.victims.len());
        let pid = trace::fork();
        if pid == 0 {
            play(scene.take().expect("a scene is played once in a process"));
        }
        let ended = Cell::new(0);
        let mut child = Self {
            pid,
            threads: vec![0; OTHERS + victims],
            memory: None,
            ended,
            kept_ended: 0,
            blocked: RefCell::default(),
        };
        for _ in 0..child.threads.len() {
            match trace::wait(-1) {
                (tid, Stop::Breakpoint) => child.threads[trace::told(tid).1 as usize] = tid,
                (_, other) => return Err(Crash(other)),
            }
        }
        for victim in &child.threads[OTHERS..] {
            trace::go_on(*victim);
            match trace::wait(*victim).1 {
                Stop::Breakpoint => {}
                other => return Err(Crash(other)),
            }
        }
        child.memory = Some(Memory::new(pid, &child.threads));
        Ok(child)
    }

    /// Remembers the child as it is, to come back to.
    pub fn keep(&mut self) {
        self.memory.as_mut().expect("a child that has started").keep();
        self.kept_ended = self.ended.get();
    }

    pub fn restore(&mut self) {
        self.memory.as_mut().expect("a child that has started").restore();
        self.ended.set(self.kept_ended);
    }

    /// Makes some moves.
    pub fn follow(&mut self, moves: &[Move], patience: Patience) -> Result<(), Crash> {
        for next in moves {
            match *next {
                Move::ToSwap(victim) => self.go_to_swap(victim, patience)?,
                Move::Swap(victim) => {
                    self.go_to_swap(victim, patience)?;
                    self.step(victim, 1)?;
                }
                Move::Step(victim, count) => drop(self.step(victim, count)?),
                Move::Other(stage) => drop(self.value_of_first(stage, patience)),
            }
        }
        Ok(())
    }

    /// Brings a victim to before the instruction that takes its slot: a compare-and-swap, after which a message of
    /// another thread gets a later position than before it. The other thread's message is taken back.
    fn go_to_swap(&mut self, victim: usize, patience: Patience) -> Result<(), Crash> {
        self.keep();
        let free = self.value_of_first(Stage::Probe, patience);
        self.restore();
        loop {
            if trace::is_before_swap(self.threads[OTHERS + victim]) {
                self.keep();
                self.step(victim, 1)?;
                let next = self.value_of_first(Stage::Probe, patience);
                self.restore();
                if next != free {
                    return Ok(());
                }
            }
            assert_eq!(self.step(victim, 1)?, 1, "an append swaps");
        }
    }

    fn value_of_first(&self, stage: Stage, patience: Patience) -> u64 {
        let verdict = self.first(stage, patience);
        verdict.done().unwrap_or_else(|| panic!("{stage:?} on the way: {verdict:?}"))
    }

    /// Has a victim execute up to `count` instructions, and no more than its operation has. How many it executed.
    pub fn step(&self, victim: usize, count: u64) -> Result<u64, Crash> {
        if self.has_ended(victim) {
            return Ok(0);
        }
        for done in 0..count {
            match trace::step(self.threads[OTHERS + victim]) {
                Stop::Step => {}
                Stop::Breakpoint => {
                    self.ended.set(self.ended.get() | 1 << victim);
                    return Ok(done);
                }
                other => return Err(Crash(other)),
            }
        }
        Ok(count)
    }

    fn has_ended(&self, victim: usize) -> bool {
        self.ended.get() & 1 << victim != 0
    }

    /// Has the first of the others do its part of a stage.
    pub fn first(&self, stage: Stage, patience: Patience) -> Verdict {
        trace::tell(self.threads[0], stage as u64);
        self.go_on(&self.threads[..1], patience)
    }

    /// Has both of the others do their parts of a stage.
    pub fn both(&self, stage: Stage, patience: Patience) -> Verdict {
        let others = &self.threads[..OTHERS];
        others.iter().for_each(|other| trace::tell(*other, stage as u64));
        self.go_on(others, patience)
    }

    /// Lets threads go on to their next breakpoints.
    fn go_on(&self, threads: &[Tid], patience: Patience) -> Verdict {
        threads.iter().for_each(|thread| trace::go_on(*thread));
        self.arrive(threads, patience)
    }

    /// Waits for those of the others who did not arrive before.
    pub fn rest_arrives(&self, patience: Patience) -> Verdict {
        self.arrive(&self.blocked.take(), patience)
    }

    fn arrive(&self, threads: &[Tid], patience: Patience) -> Verdict {
        let started = Instant::now();
        let stops = trace::wait_for(threads, patience.deadline + patience.grace);
        let blocked = threads.iter().zip(&stops).filter(|(_, stop)| stop.is_none());
        self.blocked.borrow_mut().extend(blocked.map(|(thread, _)| *thread));
        let told = |thread: &Tid, stop: Stop| stop == Stop::Breakpoint && trace::told(*thread).0 == DONE;
        if threads.iter().zip(&stops).any(|(thread, stop)| stop.is_some_and(|stop| !told(thread, stop))) {
            return Verdict::Failed;
        }
        if stops.iter().any(Option::is_none) {
            return Verdict::Blocked;
        }
        let value = threads.first().map_or(0, |first| trace::told(*first).1);
        if started.elapsed() > patience.deadline { Verdict::Late(value) } else { Verdict::Done(value) }
    }

    /// Lets a victim go on from where it is, to the end of its operation and of its own check.
    pub fn thaw(&self, victim: usize, patience: Patience) -> Verdict {
        let thread = &self.threads[OTHERS + victim..=OTHERS + victim];
        if !self.has_ended(victim) && self.go_on(thread, patience).done().is_none() {
            return Verdict::Failed;
        }
        self.go_on(thread, patience)
    }

    pub fn victims(&self) -> usize {
        self.threads.len() - OTHERS
    }

    /// Where a victim stands.
    pub fn place(&self, victim: usize) -> String {
        trace::place(self.threads[OTHERS + victim])
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        trace::end(self.pid, &self.threads);
    }
}
