//! Any bytes are a program of what may happen to a replica (see `tests/replica/program.rs`): the reconciler and the model must
//! decide alike, step by step, and come to what the source has.
#![no_main]

#[path = "../../tests/replica/model.rs"]
mod model;
#[path = "../../tests/replica/program.rs"]
mod program;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Longer programs repeat what shorter ones did.
    if bytes.len() <= 1 + 80 * program::STEP {
        program::run(bytes);
    }
});
