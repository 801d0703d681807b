//! One table of everything that matters, in turns. `cargo bench --manifest-path benches/Cargo.toml --bench table
//! [-- --quick] [-- words of a title]`

use annals_benches::groups::{append, contention, read};
use annals_benches::measure::MakeGroup;
use annals_benches::report;

const ROUNDS: usize = 21;
const QUICK_ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    report::head();
    for make in groups() {
        let mut group = make();
        if wanted.is_empty() || wanted.iter().any(|word| group.title.contains(word.as_str())) {
            report::rows(&mut group, if quick { QUICK_ROUNDS } else { ROUNDS });
        }
    }
}

/// In the order in which they run: those with cold memory first.
fn groups() -> impl Iterator<Item = MakeGroup> {
    append::ALL.into_iter().chain(read::ALL).chain(contention::ALL)
}
