//! Values published to subscribers, and appends to subscribers. `cargo bench --manifest-path benches/Cargo.toml --bench bus
//! [-- --quick] [-- words of a title]`

use annals_benches::groups::{bus, subscribers};
use annals_benches::report;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    report::head();
    for make in bus::ALL.iter().chain(&subscribers::ALL) {
        let mut group = make();
        if wanted.is_empty() || wanted.iter().any(|word| group.title.contains(word.as_str())) {
            report::rows(&mut group, if quick { 5 } else { 21 });
        }
    }
}
