//! Any bytes are a program of appends and subscriptions (see `tests/it/delivery_model.rs`): what is delivered, to whom, in
//! which order, must be what the model says.
#![no_main]

#[path = "../../tests/it/delivery_model.rs"]
mod delivery_model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Longer programs repeat what shorter ones did.
    if bytes.len() <= 40 * delivery_model::CHUNK {
        delivery_model::run(&delivery_model::decode(bytes));
    }
});
