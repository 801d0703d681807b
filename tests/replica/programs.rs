//! Random programs of what may happen to a replica: see `program`.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::program::{self, Seen};

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Lost, repeated, late and damaged updates, late and failing refetches: the reconciler decides as the model does, never
    /// goes backwards, does nothing after its end, and comes to what the source has.
    #[test]
    fn any_program_keeps_the_rules(program in vec(any::<u8>(), 0..80 * program::STEP)) {
        program::run(&program);
    }
}

/// What fuzzing has found: every program that came by something new.
#[test]
fn programs_that_were_found_pass() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/replica");
    let mut count = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is there") {
        program::run(&fs::read(entry.expect("an entry").path()).expect("a file can be read"));
        count += 1;
    }
    assert!(count > 50, "{count} programs");
}

/// A generator of bytes that is good enough to mix things up, the same each time.
pub fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(next).collect()
}

/// Programs come to everything there is to come to.
#[test]
fn programs_see_every_decision() {
    let mut all = Seen::new();
    for seed in 0..2_000 {
        for (what, count) in program::run(&bytes(seed, 1 + 60 * program::STEP)) {
            *all.entry(what).or_default() += count;
        }
    }
    let seen: Vec<_> = all.iter().filter(|(_, count)| **count >= 50).map(|(what, _)| *what).collect();
    let should = [
        "applied",
        "applied over a gap",
        "baseline",
        "converged",
        "disposed",
        "done",
        "gap",
        "ignored",
        "not refetched",
        "outdated",
        "patch after a gap",
        "patch applied",
        "patch that does not fit",
        "patch, another",
        "schema skew",
        "stale",
        "told after the end",
        "unknown refetch",
        "unparsed",
    ];
    assert_eq!(seen, should, "{all:?}");
}
