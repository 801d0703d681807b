//! What is frozen and who must go on: a scene is played in a child process of its own, once for each position.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{allocator, trace};

/// The operation of a victim, ready to be run: what it was captures all it needs.
pub type Operation = Box<dyn FnOnce() -> Outcome>;

/// What an operation did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// The position of the first message that it appended, 0 when it appended none.
    pub position: u64,
}

/// A thread that will be frozen.
pub struct Victim {
    /// Makes the operation, on the victim's own thread. What it does besides is what warms the thread up.
    pub prepare: Box<dyn FnOnce() -> Operation + Send>,
    /// After the victim was thawed and its operation came to an end: whether that end is right.
    pub check: Box<dyn FnOnce(Outcome) -> Result<(), String> + Send>,
}

/// One of the two other threads. Does its part of a stage; what it returns is for the tracer.
pub type Other = Box<dyn FnMut(Stage) -> Result<u64, String> + Send>;

pub struct Scene {
    pub victims: Vec<Victim>,
    pub others: [Other; 2],
}

/// What the others do when they are told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first one alone: one message. Its position tells whether the victim's slot was taken.
    Probe,
    /// The first one alone: one message, or as many as make it go on to other segments.
    One,
    Many,
    /// Both: what nobody may be able to prevent.
    Work,
    /// The first one alone, when nobody else runs: removes everything, and goes on.
    Clear,
}

const STAGES: [Stage; 5] = [Stage::Probe, Stage::One, Stage::Many, Stage::Work, Stage::Clear];

/// What a thread tells at a breakpoint: that it is there, that its check failed, or a number that came of it.
pub const READY: u64 = 0;
pub const DONE: u64 = 1;
pub const FAILED: u64 = 2;

/// Threads are numbered: the two others, then the victims.
pub const OTHERS: usize = 2;

/// Plays a scene in the child. The calling thread is the first of the others: it may have used the log before.
pub fn play(scene: Scene) -> ! {
    std::panic::set_hook(Box::new(|panic| {
        complain(&panic.to_string());
        trace::exit(101);
    }));
    let [mut first, mut second] = scene.others;
    for (number, victim) in scene.victims.into_iter().enumerate() {
        std::thread::spawn(move || suffer(OTHERS + number, victim));
    }
    std::thread::spawn(move || serve(1, &mut second));
    serve(0, &mut first)
}

/// The life of a victim: see `trace`.
fn suffer(number: usize, victim: Victim) -> ! {
    trace::be_traced();
    trace::breakpoint(READY, number as u64);
    let operation = (victim.prepare)();
    trace::breakpoint(READY, number as u64);
    let outcome = operation();
    trace::breakpoint(DONE, outcome.position);
    // The thread does not end: its end is no part of the operation.
    tell((victim.check)(outcome).map(|()| outcome.position));
    unreachable!("a victim that was checked is not resumed")
}

/// The life of one of the others: it stops after each stage, and is told the next one.
fn serve(number: usize, other: &mut Other) -> ! {
    trace::be_traced();
    let mut next = trace::breakpoint(READY, number as u64);
    loop {
        allocator::spoil();
        next = tell(other(STAGES[next as usize]));
    }
}

fn tell(result: Result<u64, String>) -> u64 {
    match result {
        Ok(value) => trace::breakpoint(DONE, value),
        Err(text) => {
            complain(&text);
            trace::breakpoint(FAILED, 0)
        }
    }
}

/// Writes to standard error without its lock.
fn complain(text: &str) {
    let line = format!("frozen: {text}\n");
    // SAFETY: the text is there.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}

/// Where the others saw the messages of each victim, in this child; 0 when they did not.
pub static SEEN: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// What was seen stays where it was (L3).
pub fn see(victim: usize, position: u64) -> Result<(), String> {
    match SEEN[victim].compare_exchange(0, position, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(()),
        Err(before) if before == position => Ok(()),
        Err(before) => Err(format!("victim {victim} was seen at {before}, now at {position}")),
    }
}
