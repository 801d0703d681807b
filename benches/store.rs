//! Indexes, filtered reads, conditions and the message store, paired. `cargo bench --manifest-path benches/Cargo.toml --bench
//! store [--features published] [-- --quick] [-- --large] [-- words of a title]`: with `--large`, filtered reads over 10
//! million records as well, which takes about 8 GiB.

use annals_benches::groups::{filter, message_store, sourcing, store};
use annals_benches::measure::Group;
use annals_benches::report;

const SMALL: u64 = 100_000;
const LARGE: u64 = 10_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |group: &Group| words.is_empty() || words.iter().any(|word| group.title.contains(word.as_str()));
    let rounds = if has("--quick") { 5 } else { 21 };
    if has("--large") {
        report::head();
        filter::for_each(LARGE, |mut group| {
            if wanted(&group) {
                report::rows(&mut group, rounds.min(7));
            }
        });
        return;
    }
    report::cost_head();
    for make in store::COSTS {
        let mut group = make();
        if wanted(&group) {
            report::costs(&mut group, rounds);
        }
    }
    println!();
    report::head();
    filter::for_each(SMALL, |mut group| {
        if wanted(&group) {
            report::rows(&mut group, rounds);
        }
    });
    #[cfg(feature = "published")]
    {
        let mut group = filter::published();
        if wanted(&group) {
            report::rows(&mut group, rounds);
        }
    }
    for make in store::ALL.into_iter().chain(message_store::ALL).chain(sourcing::ALL) {
        let mut group = make();
        if wanted(&group) {
            report::rows(&mut group, rounds);
        }
    }
}
