//! Event stores that others have published. `cargo bench --manifest-path benches/Cargo.toml --features published --bench
//! published [-- --quick]`

use annals_benches::groups::published::ALL;
use annals_benches::report;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    report::head();
    for make in ALL {
        report::rows(&mut make(), if quick { 5 } else { 21 });
    }
}
