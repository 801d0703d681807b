//! Several threads append at once. `cargo bench --manifest-path benches/Cargo.toml --bench contention [-- --quick]`

use annals_benches::groups::contention::{ALL, latencies, timer};
use annals_benches::report;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    report::head();
    for make in ALL {
        report::rows(&mut make(), if quick { 5 } else { 21 });
    }
    println!();
    report::latency_head();
    report::latency(1, &timer());
    for threads in [1, 2, 8] {
        for latency in latencies(threads) {
            report::latency(threads, &latency);
        }
    }
}
