//! What the fuzzer has found so far, replayed: each file of the corpus is a program (see `program`).

use std::fs;
use std::path::Path;

use crate::lockstep;
use crate::program::Program;

/// L1, L2, L4, L5, L7, L8, for programs that reach far between them.
#[test]
fn the_corpus_of_the_fuzzer_runs_as_the_model_does() {
    replay("log_model", |bytes| lockstep::run(&Program::decode(bytes)));
}

/// Runs each file of a fuzz target's corpus.
pub fn replay(target: &str, run: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        // The published package leaves the fuzzer out.
        return;
    }
    let files: Vec<_> = fs::read_dir(fuzz.join("corpus").join(target)).expect("the corpus is there").collect();
    assert!(files.len() >= 20, "the corpus is there");
    for file in files {
        let path = file.expect("an entry").path();
        let bytes = fs::read(&path).expect("a file");
        let result = std::panic::catch_unwind(|| run(&bytes));
        assert!(result.is_ok(), "{}", path.display());
    }
}
