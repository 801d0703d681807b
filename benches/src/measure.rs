//! How a measurement is made: paired, in turns, medians.

use std::ops::Add;
use std::time::{Duration, Instant};

use crate::memory::Memory;

/// The time one piece of work took: by the clock on the wall, and of all processors together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub wall: Duration,
    pub cpu: Duration,
}

impl Add for Sample {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

/// Times `work`.
pub fn time(work: impl FnOnce()) -> Sample {
    let (cpu, wall) = (cpu_time(), Instant::now());
    work();
    let wall = wall.elapsed();
    Sample { wall, cpu: cpu_time() - cpu }
}

/// What this process has used of all processors.
#[cfg(unix)]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the clock of the process is there");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Elsewhere the wall must do.
#[cfg(not(unix))]
pub fn cpu_time() -> Duration {
    use std::sync::LazyLock;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// Which time a group is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// One thread: what it used. Neighbours on the machine hardly change it.
    Cpu,
    /// Several threads: how long it took.
    Wall,
}

/// Somebody who does the work of a group: so many operations, of which it returns the time.
pub struct Contender {
    pub name: &'static str,
    pub ours: bool,
    run: Box<dyn FnMut(u64) -> Sample>,
}

impl Contender {
    pub fn run(&mut self, ops: u64, memory: Memory) -> Sample {
        memory.prepare();
        (self.run)(ops)
    }
}

/// One piece of work, and all who do it.
pub struct Group {
    pub title: &'static str,
    /// Operations of one run. More are done as several runs, so that sizes stay what they are.
    pub ops: u64,
    pub memory: Memory,
    pub by: By,
    pub contenders: Vec<Contender>,
}

/// A group that is made when its turn comes, so that only one lies in memory.
pub type MakeGroup = fn() -> Group;

impl Group {
    pub fn new(title: &'static str, ops: u64) -> Self {
        Self { title, ops, memory: Memory::Warm, by: By::Cpu, contenders: Vec::new() }
    }

    pub fn cold(mut self) -> Self {
        self.memory = Memory::Cold;
        self
    }

    pub fn by_wall(mut self) -> Self {
        self.by = By::Wall;
        self
    }

    pub fn ours(self, name: &'static str, run: impl FnMut(u64) -> Sample + 'static) -> Self {
        self.with(name, true, run)
    }

    pub fn rival(self, name: &'static str, run: impl FnMut(u64) -> Sample + 'static) -> Self {
        self.with(name, false, run)
    }

    fn with(mut self, name: &'static str, ours: bool, run: impl FnMut(u64) -> Sample + 'static) -> Self {
        self.contenders.push(Contender { name, ours, run: Box::new(run) });
        self
    }

    /// The wall time of `ops` operations of one contender, in runs of the group's size.
    pub fn run_for(&mut self, contender: usize, mut ops: u64) -> Duration {
        let mut sum = Sample::default();
        while ops > 0 {
            let now = ops.min(self.ops);
            sum = sum + self.contenders[contender].run(now, self.memory);
            ops -= now;
        }
        sum.wall
    }
}

/// What each contender took in each round: `rounds[r][c]`.
pub struct Paired {
    ops: u64,
    rounds: Vec<Vec<Sample>>,
}

/// Rounds that are run and thrown away. After two, a group that ran alone still met fresh memory: three times the time.
const PRE_ROUNDS: usize = 8;

impl Paired {
    /// A B C, A B C, …
    pub fn measure(group: &mut Group, rounds: usize) -> Self {
        let (ops, memory) = (group.ops, group.memory);
        let mut round = || group.contenders.iter_mut().map(|contender| contender.run(ops, memory)).collect();
        for _ in 0..PRE_ROUNDS {
            let _: Vec<Sample> = round();
        }
        Self { ops, rounds: (0..rounds).map(|_| round()).collect() }
    }

    /// Median nanoseconds an operation.
    pub fn nanos(&self, contender: usize, by: By) -> f64 {
        median(self.rounds.iter().map(|round| by.of(round[contender]) / self.ops as f64))
    }

    /// Median over the rounds of what one took more than another inside each, nanoseconds an operation.
    pub fn more(&self, one: usize, other: usize, by: By) -> f64 {
        median(self.rounds.iter().map(|round| (by.of(round[one]) - by.of(round[other])) / self.ops as f64))
    }

    /// Median over the rounds of the ratio inside each round: what both suffered alike falls out.
    pub fn ratio(&self, ours: usize, rival: usize, by: By) -> f64 {
        median(self.rounds.iter().map(|round| by.of(round[ours]) / by.of(round[rival])))
    }
}

impl By {
    fn of(self, sample: Sample) -> f64 {
        match self {
            By::Cpu => sample.cpu.as_nanos() as f64,
            By::Wall => sample.wall.as_nanos() as f64,
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Gives all groups to criterion.
pub fn with_criterion(criterion: &mut criterion::Criterion, groups: &[MakeGroup]) {
    for make in groups {
        let mut group = make();
        let mut bench = criterion.benchmark_group(group.title);
        bench.throughput(criterion::Throughput::Elements(1));
        for at in 0..group.contenders.len() {
            let name = group.contenders[at].name;
            bench.bench_function(name, |bencher| bencher.iter_custom(|ops| group.run_for(at, ops)));
        }
        bench.finish();
    }
}
