//! Any bytes are a program of what a message store can do (see `tests/store/lockstep.rs`): a store over the log and a store
//! over one lock and one vector must answer it alike, step by step.
#![no_main]

#[path = "../../tests/store/lockstep.rs"]
mod lockstep;
#[path = "../../tests/store/shelf.rs"]
mod shelf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Longer programs repeat what shorter ones did.
    if bytes.len() <= 60 * lockstep::STEP {
        lockstep::run(bytes);
    }
});
