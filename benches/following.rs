//! Consumers on other threads: throughput, then how late single messages are. `cargo bench --manifest-path benches/Cargo.toml
//! --bench following [-- --quick] [-- --latency]`

use annals_benches::groups::following::{ALL, latencies};
use annals_benches::report;

fn main() {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    if !has("--latency") {
        report::head();
        for make in ALL {
            report::rows(&mut make(), if has("--quick") { 5 } else { 21 });
        }
        println!();
    }
    report::latency_head();
    for latency in latencies() {
        report::latency(2, &latency);
    }
}
