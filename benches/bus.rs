//! Values published to subscribers. `cargo bench --manifest-path benches/Cargo.toml --bench bus [-- --quick]
//! [-- words of a title]`

use annals_benches::groups::bus::ALL;
use annals_benches::report;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    report::head();
    for make in ALL {
        let mut group = make();
        if wanted.is_empty() || wanted.iter().any(|word| group.title.contains(word.as_str())) {
            report::rows(&mut group, if quick { 5 } else { 21 });
        }
    }
}
