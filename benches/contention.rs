//! Several threads append at once, and how long single appends take. `cargo bench --manifest-path benches/Cargo.toml
//! --bench contention [-- --quick] [-- --latency]`: with `--latency`, only how long single appends take.

use annals_benches::groups::contention::{ALL, latencies, timer};
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
    report::latency(1, &timer());
    for threads in [1, 2, 4, 8] {
        for latency in latencies(threads) {
            report::latency(threads, &latency);
        }
    }
}
