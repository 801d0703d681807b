//! Records on disk, paired. `cargo bench --manifest-path benches/Cargo.toml --bench durable [--features disk] [-- --quick] [-- words
//! of a title]`

use annals_benches::groups::durable;
use annals_benches::report;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let rounds = if arguments.iter().any(|argument| argument == "--quick") { 3 } else { 9 };
    report::head();
    for make in durable::ALL {
        let mut group = make();
        if words.is_empty() || words.iter().any(|word| group.title.contains(word.as_str())) {
            report::rows(&mut group, rounds);
        }
    }
    if words.is_empty() {
        println!();
        println!("bytes on disk for a record of 256: {:.1}", durable::bytes_a_record());
        println!("opening a log of a million records, closed before: {:.0} us", durable::open_micros());
    }
}
