//! Tables in Markdown.

use crate::groups::contention::Latency;
use crate::measure::{By, Group, Paired};

pub fn head() {
    println!("| work | who | CPU ns/op | wall ns/op | ours ÷ theirs |");
    println!("| --- | --- | ---: | ---: | ---: |");
}

/// Measures a group and prints its rows. The ratio is to the group's first contender, which is ours.
pub fn rows(group: &mut Group, rounds: usize) {
    let paired = Paired::measure(group, rounds);
    for at in 0..group.contenders.len() {
        row(group, &paired, at);
    }
}

fn row(group: &Group, paired: &Paired, at: usize) {
    let (cpu, wall) = (paired.nanos(at, By::Cpu), paired.nanos(at, By::Wall));
    let title = if at == 0 { group.title } else { "" };
    let name = group.contenders[at].name;
    let (bold, ratio) = match group.contenders[at].ours {
        true => ("**", String::new()),
        false => ("", ratio(paired.ratio(0, at, group.by))),
    };
    println!("| {title} | {bold}{name}{bold} | {cpu:.1} | {wall:.1} | {ratio} |");
}

pub fn cost_head() {
    println!("| work | who | CPU ns/op | more than the first | ÷ the first |");
    println!("| --- | --- | ---: | ---: | ---: |");
}

/// Measures a group and prints its rows; what each takes more than the first contender.
pub fn costs(group: &mut Group, rounds: usize) {
    let paired = Paired::measure(group, rounds);
    for (at, contender) in group.contenders.iter().enumerate() {
        let title = if at == 0 { group.title } else { "" };
        let bold = if contender.ours { "**" } else { "" };
        let (nanos, name) = (paired.nanos(at, group.by), contender.name);
        let (more, ratio) = match at {
            0 => (String::new(), String::new()),
            _ => (format!("{:.1}", paired.more(at, 0, group.by)), ratio(paired.ratio(at, 0, group.by))),
        };
        println!("| {title} | {bold}{name}{bold} | {nanos:.1} | {more} | {ratio} |");
    }
}

/// Four digits where two would tell nothing.
fn ratio(value: f64) -> String {
    let digits = if value < 0.1 { 4 } else { 2 };
    format!("{value:.digits$}")
}

pub fn latency_head() {
    println!("| threads | who | p50 ns | p99 ns | p99.9 ns | max ns |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: |");
}

pub fn latency(threads: usize, latency: &Latency) {
    let Latency { name, times } = latency;
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| times.value_at_quantile(quantile));
    println!("| {threads} | {name} | {p50} | {p99} | {p999} | {} |", times.max());
}
