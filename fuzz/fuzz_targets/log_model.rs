//! Any bytes are a program (see `tests/it/program.rs`): a log and the model must answer it alike, step by step.
#![no_main]

#[path = "../../tests/it/lockstep.rs"]
mod lockstep;
#[path = "../../tests/it/model.rs"]
mod model;
#[path = "../../tests/it/program.rs"]
mod program;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Longer programs repeat what shorter ones did.
    if bytes.len() <= program::HEAD + 30 * program::CHUNK {
        lockstep::run(&program::Program::decode(bytes));
    }
});
