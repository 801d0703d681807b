//! Which cases run, in which processes, and what is printed.

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::memory::{self, Measured, Memory};
use crate::pipe::Pipe;
use crate::sweep::{self, Case, Extent, Row};
use crate::{cases, control, pairs, trace};

/// Something to be done in a process of its own.
enum Job {
    Control(usize),
    Case(Case),
    Pair(Case),
    Memory(Memory),
}

#[derive(Clone, Copy)]
enum Came {
    Row(Row),
    Memory(Measured),
}

impl Job {
    fn name(&self) -> &str {
        match self {
            Job::Control(which) => control::NAMES[*which],
            Job::Case(case) | Job::Pair(case) => &case.name,
            Job::Memory(memory) => memory.name,
        }
    }

    fn run(&mut self, extent: Extent) -> Came {
        match self {
            Job::Control(which) => Came::Row(control::run(*which, extent)),
            Job::Case(case) => Came::Row(sweep::run(case, extent)),
            Job::Pair(case) => {
                let (firsts, most) = if extent.all { (20, 100) } else { (2, 15) };
                Came::Row(pairs::run(case, firsts, Extent { all: false, most, ..extent }))
            }
            Job::Memory(memory) => Came::Memory(memory::run(memory)),
        }
    }
}

fn jobs() -> Vec<Job> {
    let mut jobs: Vec<_> = (0..control::NAMES.len()).map(Job::Control).collect();
    jobs.extend(cases::all().into_iter().map(Job::Case));
    jobs.extend(cases::pairs().into_iter().map(Job::Pair));
    jobs.extend(memory::all().into_iter().map(Job::Memory));
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    jobs.retain(|job| words.is_empty() || words.iter().any(|word| job.name().contains(word.as_str())));
    jobs
}

fn extent() -> Extent {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::from(now.subsec_nanos()));
    let seed = number("ANNALS_FROZEN_SEED").unwrap_or_else(now);
    let all = std::env::var("ANNALS_FROZEN").is_ok_and(|value| value == "all");
    let longest = if all || !cfg!(debug_assertions) { u64::MAX } else { 12_000 };
    let most = if cfg!(debug_assertions) { 30 } else { 60 };
    Extent { all, most, longest, seed }
}

pub fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    trace::keep_news();
    let (started, extent, mut jobs) = (Instant::now(), extent(), jobs());
    println!("frozen: ANNALS_FROZEN_SEED={} repeats the choice of positions", extent.seed);
    let came = run_all(&mut jobs, extent);
    let right = print(&jobs, &came);
    println!("\n{:.1} s", started.elapsed().as_secs_f64());
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs every job in a process of its own, one for each processor at a time, and each on its own: a step is a switch from
/// the tracer to the victim and back, which is fastest on one processor.
fn run_all(jobs: &mut [Job], extent: Extent) -> Vec<Option<Came>> {
    let processors = processors();
    let mut came: Vec<Option<Came>> = jobs.iter().map(|_| None).collect();
    let mut running: Vec<Option<(usize, i32, Pipe)>> = processors.iter().map(|_| None).collect();
    let mut next = 0;
    loop {
        for (place, processor) in running.iter_mut().zip(&processors) {
            if place.is_none() && next < jobs.len() {
                *place = Some(start(&mut jobs[next], next, extent, *processor));
                next += 1;
            }
        }
        let Some(place) = first_to_end(&running) else { return came };
        let (job, pid, pipe) = running[place].take().expect("a running job");
        came[job] = pipe.receive();
        let mut status = 0;
        // SAFETY: `status` is there.
        unsafe { libc::waitpid(pid, &mut status, 0) };
    }
}

fn start(job: &mut Job, number: usize, extent: Extent, processor: usize) -> (usize, i32, Pipe) {
    let mut pipe = Pipe::new();
    let pid = trace::fork();
    if pid == 0 {
        stay_on(processor);
        pipe.send(job.run(extent));
        trace::exit(0);
    }
    pipe.keep_reading_end();
    (number, pid, pipe)
}

/// Which of the running jobs has something to say, or died.
fn first_to_end(running: &[Option<(usize, i32, Pipe)>]) -> Option<usize> {
    let descriptor = |place: &Option<(usize, i32, Pipe)>| place.as_ref().map_or(-1, |(.., pipe)| pipe.descriptor());
    let poll = |place| libc::pollfd { fd: descriptor(place), events: libc::POLLIN, revents: 0 };
    let mut polls: Vec<_> = running.iter().map(poll).collect();
    if running.iter().all(Option::is_none) {
        return None;
    }
    // SAFETY: as many as there are.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as u64, -1) };
    polls.iter().position(|poll| poll.revents != 0)
}

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    // SAFETY: a set is an array of bits, and as large as is said.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        set
    };
    // SAFETY: less than the size of a set.
    let all = (0..libc::CPU_SETSIZE as usize).filter(|number| unsafe { libc::CPU_ISSET(*number, &set) });
    all.collect()
}

fn stay_on(processor: usize) {
    // SAFETY: as above. When it is refused, steps are slower.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

/// Prints what came of the jobs. Whether all is right.
fn print(jobs: &[Job], came: &[Option<Came>]) -> bool {
    let mut right = true;
    let mut total = Row::default();
    println!("\n| case | instructions | positions | blocked | s |\n| --- | ---: | ---: | ---: | ---: |");
    for (job, came) in jobs.iter().zip(came) {
        let Some(Came::Row(row)) = came else { continue };
        print_row(job.name(), row);
        if matches!(job, Job::Control(_)) {
            right &= row.blocked > 0 && row.failed == 0;
            continue;
        }
        right &= row.failed == 0 && row.blocked == 0;
        total.instructions += row.instructions;
        total.positions += row.positions;
        total.blocked += row.blocked;
        total.late += row.late;
        total.failed += row.failed;
        total.microseconds += row.microseconds;
    }
    print_row("all but the controls", &total);
    print_memory(jobs, came);
    for (job, _) in jobs.iter().zip(came).filter(|(_, came)| came.is_none()) {
        println!("FAILED: {}: its process died", job.name());
        right = false;
    }
    right && came.iter().flatten().all(|came| !matches!(came, Came::Memory(measured) if measured.failed))
}

fn print_row(name: &str, row: &Row) {
    let Row { instructions, positions, blocked, late, failed, left_out, microseconds } = row;
    let seconds = *microseconds as f64 / 1e6;
    let late = if *late > 0 { format!(" ({late} late)") } else { String::new() };
    let failed = if *failed > 0 { format!(" {failed} FAILED") } else { String::new() };
    if *left_out {
        println!("| {name} | {instructions} or more | left out: run with `--release` | | {seconds:.1} |");
        return;
    }
    println!("| {name} | {instructions} | {positions} | {blocked}{late}{failed} | {seconds:.1} |");
}

fn print_memory(jobs: &[Job], came: &[Option<Came>]) {
    let measured = |came: &Option<Came>| if let Some(Came::Memory(measured)) = came { Some(*measured) } else { None };
    if !came.iter().any(|came| measured(came).is_some()) {
        return;
    }
    println!("\n| memory | unreturned segments, more bytes | after the thaw |\n| --- | ---: | ---: |");
    for (job, came) in jobs.iter().zip(came) {
        let Some(Measured { failed, frozen, thawed }) = measured(came) else { continue };
        let failed = if failed { " FAILED" } else { "" };
        println!("| {} | {}, {} | {}, {}{failed} |", job.name(), frozen.0, frozen.1, thawed.0, thawed.1);
    }
}
