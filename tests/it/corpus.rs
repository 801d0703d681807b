//! What the fuzzer has found so far, replayed: each file of the corpus is a program (see `program`).

use std::fs;
use std::path::Path;

use crate::lockstep;
use crate::program::Program;

/// L1, L2, L4, L5, L7, L8, for programs that reach far between them.
#[test]
fn the_corpus_of_the_fuzzer_runs_as_the_model_does() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        // The published package leaves the fuzzer out.
        return;
    }
    let files: Vec<_> = fs::read_dir(fuzz.join("corpus/log_model")).expect("the corpus is there").collect();
    assert!(files.len() >= 20, "the corpus is there");
    for file in files {
        let path = file.expect("an entry").path();
        let program = Program::decode(&fs::read(&path).expect("a file"));
        let result = std::panic::catch_unwind(|| lockstep::run(&program));
        assert!(result.is_ok(), "{}: {program:?}", path.display());
    }
}
