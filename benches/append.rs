//! One thread appends. `cargo bench --manifest-path benches/Cargo.toml --bench append`

use annals_benches::groups::append::ALL;
use annals_benches::measure::with_criterion;
use criterion::{Criterion, criterion_group, criterion_main};

fn append(criterion: &mut Criterion) {
    with_criterion(criterion, &ALL);
}

criterion_group!(benches, append);
criterion_main!(benches);
