//! Bigger scenarios than loom can hold, in schedules drawn at random: four and eight threads with many operations each, on
//! annals' own code. Shuttle runs one thread at a time and chooses at each atomic access who goes on, so what it shows is
//! sequentially consistent: it sees wrong protocols, never wrong orderings. Loom sees those.
#![cfg(annals_shuttle)]

use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler, UrwRandomScheduler};
use shuttle::{Config, Runner};

/// Runs `scenario` in `schedules` schedules of each kind, times `ANNALS_SHUTTLE`. The seeds are fixed, so that a run can be
/// repeated; `ANNALS_SHUTTLE_SEED` gives others. A failure prints a schedule to replay.
///
/// Random choices find what many schedules show; PCT (Burckhardt et al. 2010) what takes 2 or 4 preemptions at certain
/// places; uniform random walks (Zhao et al. 2025) what uneven threads hide.
pub fn explore(name: &str, schedules: usize, scenario: impl Fn() + Send + Sync + Clone + 'static) {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let schedules = schedules * number("ANNALS_SHUTTLE", 1);
    let seed = number("ANNALS_SHUTTLE_SEED", 1) as u64;
    let schedulers: [(&str, Box<dyn Scheduler + Send>); 4] = [
        ("random", Box::new(RandomScheduler::new_from_seed(seed, schedules))),
        ("PCT 3", Box::new(PctScheduler::new_from_seed(seed, 3, schedules))),
        ("PCT 5", Box::new(PctScheduler::new_from_seed(seed, 5, schedules))),
        ("URW", Box::new(UrwRandomScheduler::new_from_seed(seed, schedules))),
    ];
    for (kind, scheduler) in schedulers {
        let started = Instant::now();
        println!("{name}, {kind}, seed {seed}");
        let run = Runner::new(scheduler, config()).run(scenario.clone());
        println!("{name}, {kind}: {run} schedules, {:.1} s", started.elapsed().as_secs_f64());
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    // Orderings are not what is looked for here.
    config.silence_warnings = true;
    config
}
