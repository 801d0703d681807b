//! One thread reads. `cargo bench --manifest-path benches/Cargo.toml --bench read`

use annals_benches::groups::read::ALL;
use annals_benches::measure::with_criterion;
use criterion::{Criterion, criterion_group, criterion_main};

fn read(criterion: &mut Criterion) {
    with_criterion(criterion, &ALL);
}

criterion_group!(benches, read);
criterion_main!(benches);
