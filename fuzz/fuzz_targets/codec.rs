//! Any bytes are decoded by every codec (see `tests/codec/shapes.rs`): never a panic, and what is decoded comes back.
#![no_main]

#[path = "../../tests/codec/shapes.rs"]
mod shapes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    shapes::check_bytes(bytes);
});
